#include "quant/quantize.h"

#include <string.h>

#include "quant/calibrated.h"
#include "quant/plan.h"
#include "quant/receipt.h"
#include "quant/recipe.h"

/* What the file is made of, for whoever opens it later. */
static sterna_status write_origin(sterna_model_writer *writer, const sterna_settings *s,
                                  sterna_error *err)
{
    const char *const facts[][2] = {{"sterna.version", sterna_version()},
                                    {"sterna.quantize.method", sterna_settings_method(s)},
                                    {"sterna.quantize.scales", sterna_settings_scales(s)}};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < sizeof facts / sizeof *facts && !status; i++)
        status = sterna_model_writer_meta_string(writer, facts[i][0], facts[i][1],
                                                 strlen(facts[i][1]), err);
    return status;
}

static sterna_status write_model(sterna_stream *stream, const char *in, sterna_export *plan,
                                 sterna_settings *s, sterna_facts *facts, sterna_error *err)
{
    sterna_status status = sterna_export_open(stream->file, s->folder ? STERNA_HF : STERNA_GGUF,
                                              false, stream->writer, plan, err);
    if (!status) status = sterna_plan(in, plan, s, err);
    if (!status && s->calibrated)
        status = sterna_calibrated(stream->file, in, s, plan, stream->writer, facts, err);
    if (!status) status = write_origin(stream->writer, s, err);
    if (!status && !s->folder)
        status = sterna_export_file_type(stream->writer, plan->items, plan->count, err);
    if (!status) status = sterna_model_writer_side_files(stream->writer, stream->file, err);
    if (status) return status;
    stream->method = s->method;
    status = sterna_stream_write(stream, plan->items, plan->count, err);
    if (!status) status = sterna_model_writer_commit(stream->writer, err);
    stream->writer = NULL;
    sterna_facts_stage(facts, "writing");
    return status;
}

static sterna_status write_receipt(const char *in, const char *out, const sterna_model_file *file,
                                   const sterna_settings *s, const sterna_facts *facts,
                                   const sterna_export *plan, char **text, sterna_error *err)
{
    json_t *receipt =
        sterna_receipt_make(in, out, file, plan->items, plan->count, sterna_settings_describe(s));
    if (receipt &&
        (sterna_facts_describe(facts, receipt) ||
         json_object_set_new(receipt, "recipe", sterna_recipe_make(s, plan->items, plan->count)))) {
        json_decref(receipt);
        receipt = NULL;
    }
    return sterna_receipt_text(receipt, text, err);
}

static bool ends_with(const char *path, const char *end)
{
    size_t size = strlen(path), tail = strlen(end);
    return size > tail && strcmp(path + size - tail, end) == 0;
}

/* A name that is no .gguf file is that of a folder, which holds less. */
static sterna_status check_target(const char *out, const sterna_quantize_options *options,
                                  sterna_settings *s, sterna_error *err)
{
    if (ends_with(out, ".gguf")) return STERNA_OK;
    if (s->type != STERNA_TYPE_NATIVE)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: safetensors cannot hold %s, only native; choose that type or a "
                           ".gguf file",
                           out, sterna_type_describe(s->type)->name);
    if (s->bits > 0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: safetensors cannot hold Q4_0 and Q8_0, which a budget of bits "
                           "chooses from; choose a .gguf file",
                           out);
    if (options->keep_type && s->keep_type == STERNA_TYPE_Q8_0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: safetensors cannot hold Q8_0; keep embeddings and head in F16",
                           out);
    s->folder = true;
    s->keep_type = STERNA_TYPE_F16;
    return STERNA_OK;
}

sterna_status sterna_quantize_model(const char *in, const char *out,
                                    const sterna_quantize_options *options, char **receipt,
                                    sterna_error *err)
{
    sterna_settings s;
    sterna_facts facts;
    sterna_export plan = {0};
    sterna_model_file *file = NULL;
    sterna_stream stream = {.round_scales = true, .finite = true, .stage = "quantizing"};
    sterna_facts_start(&facts);
    sterna_status status = sterna_settings_read(options, &s, err);
    if (!status) status = check_target(out, options, &s, err);
    if (status) goto end;
    status = sterna_model_file_open(in, NULL, &file, err);
    if (!status) status = sterna_model_writer_open(out, &stream.writer, err);
    if (status) goto end;
    stream.file = file;
    stream.threads = s.threads;
    stream.progress = options->progress;
    stream.progress_context = options->progress_context;
    status = write_model(&stream, in, &plan, &s, &facts, err);
    if (!status && receipt) status = write_receipt(in, out, file, &s, &facts, &plan, receipt, err);
end:
    sterna_model_writer_abort(stream.writer);
    sterna_export_close(&plan);
    sterna_model_file_close(file);
    sterna_settings_free(&s);
    return status;
}
