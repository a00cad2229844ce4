#include "quant/calibrated.h"

#include <string.h>

#include "base/memory.h"
#include "quant/ranks.h"
#include "quant/rotate.h"
#include "quant/sensitivity.h"

/* What a model must not have to be calibrated. */
static sterna_status check_source(const sterna_model_file *file, sterna_error *err)
{
    sterna_hadamard_rules rules;
    sterna_status status = sterna_hadamard_read(file, &rules, err);
    if (status) return status;
    bool transformed = rules.names || rules.inverse_names;
    sterna_hadamard_free(&rules);
    if (transformed)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model's matrices are stored transformed (Hadamard metadata); "
                           "quantize the model that it was made from",
                           file->path);
    for (size_t i = 0; i < file->n_tensors; i++) {
        const char *name = file->tensors[i].name;
        size_t size = strlen(name);
        if (size > 6 && strcmp(name + size - 6, ".scale") == 0)
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "%s: the factor '%s' of a matrix cannot be calibrated; choose the "
                               "method itf",
                               file->path, name);
    }
    return STERNA_OK;
}

/* The names of the matrices whose inputs are transformed, into the metadata. */
static sterna_status write_rotation(const sterna_hadamard_rules *rules, const sterna_export *plan,
                                    sterna_model_writer *writer, sterna_error *err)
{
    sterna_text *names = sterna_calloc(plan->count, sizeof *names);
    if (!names) return sterna_fail_memory(err, "the names of the transformed tensors");
    size_t count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const sterna_item *item = &plan->items[i];
        bool known = false;
        for (size_t k = 0; k < rules->n_widths; k++)
            known |= rules->widths[k].width == item->tensor->dims[0];
        if (item->verb == STERNA_VERB_READY && known)
            names[count++] = (sterna_text){item->name, strlen(item->name)};
    }
    sterna_status status = sterna_rotation_write(rules, names, count, writer, err);
    sterna_free(names);
    return status;
}

static bool anything_to_fit(const sterna_export *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->items[i].verb == STERNA_VERB_FIT) return true;
    return false;
}

static sterna_status check(const sterna_model_file *file, const sterna_export *plan, int threads,
                           sterna_error *err)
{
    sterna_status status = check_source(file, err);
    for (size_t i = 0; i < plan->count && !status; i++) {
        const sterna_item *item = &plan->items[i];
        bool copied = item->verb == STERNA_VERB_COPY &&
                      sterna_type_describe(item->type)->kind != STERNA_KIND_INTEGER;
        if (item->verb != STERNA_VERB_FIT && !copied) continue;
        status = sterna_item_check(item, threads, err);
        sterna_model_file_release(file, item->tensor);
    }
    return status;
}

static void add_tensor(sterna_digest *digest, const sterna_tensor *tensor)
{
    size_t size = (size_t)tensor->bytes, part = size < 4096 ? size : 4096;
    uint64_t numbers[6] = {tensor->type,    tensor->bytes,   tensor->dims[0],
                           tensor->dims[1], tensor->dims[2], tensor->dims[3]};
    sterna_digest_add(digest, tensor->name, strlen(tensor->name) + 1);
    sterna_digest_add(digest, numbers, sizeof numbers);
    if (!tensor->data) return;
    sterna_digest_add(digest, tensor->data, part);
    sterna_digest_add(digest, tensor->data + size - part, part);
}

sterna_status sterna_calibrated_identity(const sterna_model_file *file,
                                         const sterna_settings *settings,
                                         uint8_t identity[STERNA_DIGEST_BYTES], sterna_error *err)
{
    sterna_digest digest;
    sterna_digest_start(&digest);
    json_t *all = sterna_settings_describe(settings);
    json_object_del(all, "threads"); /* changes nothing */
    if (settings->recipe && json_object_set(all, "recipe", settings->recipe)) {
        json_decref(all);
        all = NULL;
    }
    char *text = all ? json_dumps(all, JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(all);
    if (!text) return sterna_fail_memory(err, "the settings");
    uint64_t tokens = settings->calibration.tokens;
    sterna_digest_add(&digest, sterna_version(), strlen(sterna_version()));
    sterna_digest_add(&digest, text, strlen(text));
    sterna_digest_add(&digest, &tokens, sizeof tokens);
    sterna_free(text);
    if (settings->calibration.path) {
        sterna_status status = sterna_digest_file(settings->calibration.path, identity, err);
        if (status) return status;
        sterna_digest_add(&digest, identity, STERNA_DIGEST_BYTES);
    }
    for (size_t i = 0; i < file->n_tensors; i++) add_tensor(&digest, &file->tensors[i]);
    sterna_digest_end(&digest, identity);
    return STERNA_OK;
}

/* The windows of the run that this one goes on with, or new ones. */
static sterna_status make_calibration(const char *in, const sterna_settings *settings,
                                      sterna_calibration *out, sterna_error *err)
{
    sterna_journal *journal = settings->propagation.journal;
    if (journal && sterna_journal_has_calibration(journal))
        return sterna_journal_get_calibration(journal, out, err);
    sterna_status status = sterna_calibration_make(in, &settings->calibration, out, err);
    if (status == STERNA_ERROR_UNSUPPORTED)
        sterna_fail_prefix(err, "calibration runs the model (--method itf does not)");
    if (!status && out->windows == 0)
        status = sterna_fail(err, STERNA_ERROR_ARGUMENT,
                             "%s holds less than a window of %zu tokens, and the model has no room "
                             "to write more; choose a longer text",
                             settings->calibration.path ? settings->calibration.path
                                                        : "the built-in calibration text",
                             out->length);
    if (status) return status;
    sterna_ranks_share(out->ids, out->windows * out->length * sizeof *out->ids);
    if (!journal) return STERNA_OK;
    status = sterna_journal_put_calibration(journal, out, err);
    if (status) sterna_calibration_free(out);
    return status;
}

/* The windows to tune with are more of the text, and what the model wrote for the calibration. */
static sterna_status tune(const sterna_model_file *file, const char *in,
                          const sterna_settings *settings, const sterna_calibration *calibration,
                          sterna_export *plan, const sterna_hadamard_rules *rules,
                          sterna_facts *facts, sterna_error *err)
{
    sterna_calibration text;
    sterna_calibration_options options = settings->calibration;
    sterna_tune_settings tuning = settings->tuning;
    sterna_status status = STERNA_OK;
    if (tuning.tokens > 0 && !tuning.wanted)
        status = sterna_tune_shorten(file, calibration, &tuning, plan->items, plan->count, rules,
                                     facts, err);
    if (status || tuning.tokens == 0) return status;
    options.tokens = tuning.tokens;
    options.text_only = true;
    status = sterna_calibration_make(in, &options, &text, err);
    if (status) return status;
    status =
        sterna_tune(file, &text, calibration, &tuning, plan->items, plan->count, rules, facts, err);
    sterna_calibration_free(&text);
    return status;
}

sterna_status sterna_calibrated(const sterna_model_file *file, const char *in,
                                const sterna_settings *settings, sterna_export *plan,
                                sterna_model_writer *writer, sterna_facts *facts, sterna_error *err)
{
    sterna_calibration calibration;
    sterna_hadamard_rules rules = {0};
    if (!anything_to_fit(plan)) return STERNA_OK;
    sterna_status status = check(file, plan, settings->threads, err);
    sterna_facts_stage(facts, "checking");
    if (status) return status;
    status = make_calibration(in, settings, &calibration, err);
    if (status) return status;
    facts->windows = calibration.windows;
    facts->length = calibration.length;
    facts->generated = calibration.generated;
    facts->text = settings->calibration.path;
    memcpy(facts->text_digest, calibration.text_digest, sizeof facts->text_digest);
    sterna_facts_stage(facts, "calibration text");
    if (settings->bits > 0) {
        status = sterna_sensitivity(file, &calibration, &settings->propagation, plan->items,
                                    plan->count, err);
        if (!status)
            status = sterna_allocate(plan->items, plan->count, settings->bits, settings->folder,
                                     &facts->bits, err);
        sterna_facts_stage(facts, "sensitivities");
    }
    if (!status)
        status = sterna_propagate(file, &calibration, &settings->propagation, plan->items,
                                  plan->count, &rules, err);
    sterna_facts_stage(facts, "fitting layers");
    if (!status) status = write_rotation(&rules, plan, writer, err);
    if (!status && sterna_rank() == 0) /* the others have done their share */
        status = tune(file, in, settings, &calibration, plan, &rules, facts, err);
    sterna_calibration_free(&calibration);
    sterna_hadamard_free(&rules);
    return status;
}
