#include "quant/evaluate.h"

#include "base/file.h"
#include "base/memory.h"
#include "run/eval.h"

enum { WINDOW = 512, WINDOWS = 4, MAX_TEXT_BYTES = 64 << 20 };

/* Windows fit into the context of both models. */
static uint32_t window_of(const sterna_model *before, const sterna_model *after)
{
    uint32_t a = sterna_decoder_config(before->decoder)->context,
             b = sterna_decoder_config(after->decoder)->context, least = a < b ? a : b;
    return least < WINDOW ? least : WINDOW;
}

static sterna_status score(sterna_model *before, sterna_model *after, const char *name,
                           sterna_text text, const sterna_evaluation_options *options,
                           json_t *results, sterna_error *err)
{
    const sterna_eval_options eval = {.context = window_of(before, after),
                                      .limit = WINDOWS,
                                      .progress = options->progress,
                                      .progress_context = options->progress_context};
    sterna_perplexity_result r;
    sterna_status status =
        sterna_run_perplexity(after, before, text.data, text.size, &eval, &r, err);
    if (status) return sterna_fail_prefix(err, "%s", name);
    json_t *one = json_pack("{s:s, s:I, s:f, s:f, s:f, s:f}", "text", name, "tokens",
                            (json_int_t)r.tokens, "before", r.other_perplexity, "after",
                            r.perplexity, "kl", r.kl, "agreement", r.agreement);
    return json_array_append_new(results, one) ? sterna_fail_memory(err, "an evaluation")
                                               : STERNA_OK;
}

static sterna_status score_file(sterna_model *before, sterna_model *after, const char *path,
                                const sterna_evaluation_options *options, json_t *results,
                                sterna_error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    sterna_status status = sterna_file_read(path, MAX_TEXT_BYTES, &bytes, &size, err);
    if (!status)
        status = score(before, after, sterna_path_name(path), (sterna_text){bytes, size}, options,
                       results, err);
    sterna_free(bytes);
    return status;
}

double sterna_evaluation_tokens(size_t count)
{
    return (double)(count ? count : sterna_evaluation_text_count) * WINDOWS * WINDOW;
}

sterna_status sterna_evaluate(const char *before, const char *after,
                              const sterna_evaluation_options *options, json_t **results,
                              sterna_error *err)
{
    const sterna_model_options load = {.threads = options->threads,
                                       .progress = options->progress,
                                       .progress_context = options->progress_context};
    sterna_model *models[2] = {NULL, NULL};
    json_t *all = json_array();
    sterna_status status = all ? sterna_run_open(before, &load, &models[0], err)
                               : sterna_fail_memory(err, "an evaluation");
    if (!status) status = sterna_run_open(after, &load, &models[1], err);
    for (size_t i = 0; i < options->count && !status; i++)
        status = score_file(models[0], models[1], options->paths[i], options, all, err);
    for (size_t i = 0; options->count == 0 && i < sterna_evaluation_text_count && !status; i++)
        status = score(models[0], models[1], sterna_evaluation_texts[i].name,
                       sterna_evaluation_texts[i].text, options, all, err);
    sterna_run_close(models[0]);
    sterna_run_close(models[1]);
    if (status)
        json_decref(all);
    else
        *results = all;
    return status;
}
