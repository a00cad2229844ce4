#include "quant/quantize.h"

#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "quant/export.h"
#include "quant/receipt.h"
#include "quant/roles.h"

typedef struct settings {
    sterna_fit_method method;
    sterna_scales scales;
    sterna_type type, keep;
    int threads;
    bool named; /* the caller chose the method or the scales */
} settings;

/* The index of `name` in `choices`; `standard` when it is NULL. */
static sterna_status choose(const char *option, const char *name, const char *const *choices,
                            int count, int standard, int *index, sterna_error *err)
{
    *index = standard;
    if (!name) return STERNA_OK;
    for (int i = 0; i < count; i++)
        if (strcmp(choices[i], name) == 0) {
            *index = i;
            return STERNA_OK;
        }
    char list[128] = "";
    for (int i = 0; i < count; i++) {
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, choices[i], sizeof list - strlen(list) - 1);
    }
    return sterna_fail(err, STERNA_ERROR_ARGUMENT, "quantize: %s '%s' is unknown; there are: %s",
                       option, name, list);
}

static sterna_status read_settings(const sterna_quantize_options *options, settings *out,
                                   sterna_error *err)
{
    static const char *const methods[] = {"itf", "absmean"};
    static const char *const scales[] = {"group", "row", "tensor"};
    static const char *const keeps[] = {"Q8_0", "F16"};
    static const char *const layouts[] = {"Q2_0", "TQ1_0", "TQ2_0", "PQ2_0", "PTQ1_0"};
    int method, scale, keep, layout;
    sterna_status status = choose("method", options->method, methods, 2, 0, &method, err);
    if (!status) status = choose("scales", options->scales, scales, 3, 0, &scale, err);
    if (!status) status = choose("keep", options->keep, keeps, 2, 0, &keep, err);
    if (!status) status = choose("type", options->type, layouts, 5, 0, &layout, err);
    if (status) return status;
    out->method = method ? STERNA_FIT_ABSMEAN : STERNA_FIT_ITF;
    out->scales = (sterna_scales)scale;
    out->keep = keep ? STERNA_TYPE_F16 : STERNA_TYPE_Q8_0;
    sterna_type_from_name(layouts[layout], &out->type);
    out->named = options->method || options->scales;
    out->threads = options->threads > 0 ? options->threads : sterna_cpu_count();
    return STERNA_OK;
}

static json_t *describe_settings(const settings *s)
{
    static const char *const scales[] = {"group", "row", "tensor"};
    return json_pack("{s:s, s:s, s:s, s:s}", "method",
                     s->method == STERNA_FIT_ABSMEAN ? "absmean" : "itf", "type",
                     sterna_type_describe(s->type)->name, "scales", scales[s->scales], "keep",
                     sterna_type_describe(s->keep)->name);
}

/* Exact conversion keeps what is ternary already, if the groups allow. */
static bool converts_exactly(const sterna_tensor *tensor, sterna_type type)
{
    uint64_t bytes;
    if (sterna_type_describe(tensor->type)->kind != STERNA_KIND_TERNARY ||
        !sterna_type_bytes(type, tensor->dims[0], sterna_tensor_rows(tensor), &bytes))
        return false;
    uint8_t *out = sterna_alloc((size_t)bytes, 1);
    bool exact = out && sterna_tensor_convert(tensor, type, true, out, NULL) == STERNA_OK;
    sterna_free(out);
    return exact;
}

static void plan_item(sterna_item *item, const settings *s)
{
    const sterna_tensor *tensor = item->tensor;
    switch (sterna_role_of(tensor)) {
    case STERNA_ROLE_INTEGER: return; /* copied */
    case STERNA_ROLE_VECTOR:
        item->type = STERNA_TYPE_F32;
        item->verb = STERNA_VERB_ENCODE;
        return;
    case STERNA_ROLE_TABLE:
        item->type = sterna_fitting_type(s->keep, tensor->dims[0]);
        item->verb = STERNA_VERB_ENCODE;
        break;
    case STERNA_ROLE_LINEAR:
        item->type = sterna_fitting_type(s->type, tensor->dims[0]);
        item->verb = STERNA_VERB_FIT;
        if (sterna_type_describe(item->type)->kind != STERNA_KIND_TERNARY) {
            item->verb = STERNA_VERB_ENCODE;
            item->note = "no ternary block divides its width";
        } else if (item->type != s->type) {
            item->note = "the chosen block does not divide its width";
        }
        if (item->verb == STERNA_VERB_FIT && converts_exactly(tensor, item->type)) {
            item->verb = STERNA_VERB_CONVERT;
            item->note = "was ternary: kept exactly";
        }
        break;
    }
    if (item->type == tensor->type && item->verb == STERNA_VERB_ENCODE &&
        item->type == STERNA_TYPE_Q8_0)
        item->verb = STERNA_VERB_COPY;
}

static sterna_status count_linear(const char *in, const sterna_export *plan, sterna_error *err)
{
    for (size_t i = 0; i < plan->count; i++)
        if (sterna_type_describe(plan->items[i].type)->kind == STERNA_KIND_TERNARY)
            return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: no weight matrix inside a numbered layer (such as blk.0.ffn_up.weight) "
                       "was found, so there is nothing to make ternary",
                       in);
}

/* What the file is made of, for whoever opens it later. */
static sterna_status write_origin(sterna_model_writer *writer, const settings *s, sterna_error *err)
{
    static const char *const scales[] = {"group", "row", "tensor"};
    const char *const facts[][2] = {
        {"sterna.version", sterna_version()},
        {"sterna.quantize.method", s->method == STERNA_FIT_ABSMEAN ? "absmean" : "itf"},
        {"sterna.quantize.scales", scales[s->scales]}};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < sizeof facts / sizeof *facts && !status; i++)
        status = sterna_model_writer_meta_string(writer, facts[i][0], facts[i][1],
                                                 strlen(facts[i][1]), err);
    return status;
}

static sterna_status write_model(sterna_stream *stream, const char *in, sterna_export *plan,
                                 settings *s, sterna_error *err)
{
    sterna_status status =
        sterna_export_open(stream->file, STERNA_GGUF, false, stream->writer, plan, err);
    if (status) return status;
    if (plan->ternarize && !s->named) { /* BitNet master weights: trained for exactly this */
        s->method = STERNA_FIT_ABSMEAN;
        s->scales = STERNA_SCALES_TENSOR;
    }
    stream->method = s->method;
    stream->scales = s->scales;
    for (size_t i = 0; i < plan->count; i++) plan_item(&plan->items[i], s);
    status = count_linear(in, plan, err);
    if (!status) status = write_origin(stream->writer, s, err);
    if (!status) status = sterna_export_file_type(stream->writer, plan->items, plan->count, err);
    if (!status) status = sterna_stream_write(stream, plan->items, plan->count, err);
    return status;
}

static bool is_gguf_name(const char *path)
{
    size_t size = strlen(path);
    return size > 5 && strcmp(path + size - 5, ".gguf") == 0;
}

sterna_status sterna_quantize_model(const char *in, const char *out,
                                    const sterna_quantize_options *options, char **receipt,
                                    sterna_error *err)
{
    settings s;
    sterna_export plan = {0};
    sterna_model_file *file = NULL;
    sterna_stream stream = {.round_scales = true, .finite = true, .stage = "quantizing"};
    if (!is_gguf_name(out))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: ternary models are written as GGUF; choose a name that ends in "
                           ".gguf",
                           out);
    sterna_status status = read_settings(options, &s, err);
    if (status) return status;
    status = sterna_model_file_open(in, NULL, &file, err);
    if (!status) status = sterna_model_writer_open(out, &stream.writer, err);
    if (status) goto end;
    stream.file = file;
    stream.threads = s.threads;
    stream.progress = options->progress;
    stream.progress_context = options->progress_context;
    status = write_model(&stream, in, &plan, &s, err);
    if (status) goto end;
    status = sterna_model_writer_commit(stream.writer, err);
    stream.writer = NULL;
    if (!status && receipt)
        status = sterna_receipt_write(in, out, file, plan.items, plan.count, describe_settings(&s),
                                      receipt, err);
end:
    sterna_model_writer_abort(stream.writer);
    sterna_export_close(&plan);
    sterna_model_file_close(file);
    return status;
}
