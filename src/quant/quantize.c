#include "quant/quantize.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "quant/export.h"
#include "quant/propagate.h"
#include "quant/receipt.h"
#include "quant/roles.h"
#include "quant/rotate.h"

enum { USUAL_TOKENS = 16384 };

typedef struct settings {
    bool calibrated; /* method sterna; else `method` */
    sterna_fit_method method;
    sterna_scales scales;
    sterna_type type, keep;
    int threads;
    bool named; /* the caller chose the method or the scales */
    sterna_calibration_options calibration;
    sterna_propagation propagation;
    /* for the receipt */
    size_t windows, length, generated;
    double seconds;
} settings;

static const char *const scale_names[] = {"group", "row", "tensor"};

static const char *method_name(const settings *s)
{
    return s->calibrated ? "sterna" : s->method == STERNA_FIT_ABSMEAN ? "absmean" : "itf";
}

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

static float strength(float value, float usual)
{
    return value == 0 ? usual : value < 0 ? 0 : value;
}

static sterna_status read_calibration(const sterna_quantize_options *options, settings *s,
                                      sterna_error *err)
{
    if (!s->calibrated && (options->calibration || options->tokens || options->group ||
                           options->drift != 0 || options->residual != 0 || options->damping != 0))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: the method %s looks at no calibration text; its options need "
                           "the method sterna",
                           method_name(s));
    if (s->calibrated && s->scales == STERNA_SCALES_TENSOR)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: the method sterna has a scale for each group or row, not one "
                           "for a tensor; choose the method itf or absmean");
    if (!isfinite(options->drift) || !isfinite(options->residual) || !(options->damping >= 0) ||
        !(options->damping <= 100))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: strengths must be finite numbers and the damping one from 0 "
                           "to 100");
    s->calibration =
        (sterna_calibration_options){.path = options->calibration,
                                     .tokens = options->tokens ? options->tokens : USUAL_TOKENS,
                                     .threads = s->threads,
                                     .progress = options->progress,
                                     .progress_context = options->progress_context};
    s->propagation =
        (sterna_propagation){.group = options->group,
                             .whole_rows = s->scales == STERNA_SCALES_ROW,
                             .damping = options->damping > 0 ? options->damping : 0.01f,
                             .drift = strength(options->drift, 0.5f),
                             .residual = strength(options->residual, 0.5f),
                             .rotate = !options->portable,
                             .threads = s->threads,
                             .progress = options->progress,
                             .progress_context = options->progress_context};
    return STERNA_OK;
}

static sterna_status read_settings(const sterna_quantize_options *options, settings *out,
                                   sterna_error *err)
{
    static const char *const methods[] = {"sterna", "itf", "absmean"};
    static const char *const keeps[] = {"Q8_0", "F16"};
    static const char *const layouts[] = {"Q2_0", "TQ1_0", "TQ2_0", "PQ2_0", "PTQ1_0"};
    int method, scale, keep, layout;
    sterna_status status = choose("method", options->method, methods, 3, 0, &method, err);
    if (!status) status = choose("scales", options->scales, scale_names, 3, 0, &scale, err);
    if (!status) status = choose("keep", options->keep, keeps, 2, 0, &keep, err);
    if (!status) status = choose("type", options->type, layouts, 5, 0, &layout, err);
    if (status) return status;
    *out = (settings){0};
    out->calibrated = method == 0;
    out->method = method == 2 ? STERNA_FIT_ABSMEAN : STERNA_FIT_ITF;
    out->scales = (sterna_scales)scale;
    out->keep = keep ? STERNA_TYPE_F16 : STERNA_TYPE_Q8_0;
    sterna_type_from_name(layouts[layout], &out->type);
    out->named = options->method || options->scales;
    out->threads = options->threads > 0 ? options->threads : sterna_cpu_count();
    return read_calibration(options, out, err);
}

/* Resident bytes at the peak of this process so far. */
static double peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : 1024.0 * (double)usage.ru_maxrss;
}

static json_t *describe_settings(const settings *s)
{
    json_t *all = json_pack("{s:s, s:s, s:s, s:s}", "method", method_name(s), "type",
                            sterna_type_describe(s->type)->name, "scales", scale_names[s->scales],
                            "keep", sterna_type_describe(s->keep)->name);
    const sterna_propagation *p = &s->propagation;
    if (all && s->calibrated) {
        json_t *calibration =
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:b, s:f, s:f, s:f}", "text",
                      s->calibration.path ? s->calibration.path : "built in", "tokens",
                      (json_int_t)(s->windows * s->length), "window", (json_int_t)s->length,
                      "generated_tokens", (json_int_t)(s->generated * s->length), "group",
                      (json_int_t)p->group, "transform", p->rotate, "drift", (double)p->drift,
                      "residual", (double)p->residual, "damping", (double)p->damping);
        json_object_set_new(all, "calibration", calibration);
    }
    json_object_set_new(all, "seconds", json_real(s->seconds));
    json_object_set_new(all, "peak_bytes", json_integer((json_int_t)peak_memory()));
    return all;
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
    const char *const facts[][2] = {{"sterna.version", sterna_version()},
                                    {"sterna.quantize.method", method_name(s)},
                                    {"sterna.quantize.scales", scale_names[s->scales]}};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < sizeof facts / sizeof *facts && !status; i++)
        status = sterna_model_writer_meta_string(writer, facts[i][0], facts[i][1],
                                                 strlen(facts[i][1]), err);
    return status;
}

/* ---- the calibrated method ---- */

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

static bool anything_to_fit(const sterna_export *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->items[i].verb == STERNA_VERB_FIT) return true;
    return false;
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

static sterna_status calibrate(const sterna_stream *stream, const char *in, sterna_export *plan,
                               settings *s, sterna_error *err)
{
    sterna_calibration calibration;
    sterna_hadamard_rules rules = {0};
    sterna_status status = check_source(stream->file, err);
    for (size_t i = 0; i < plan->count && !status; i++)
        if (plan->items[i].verb == STERNA_VERB_FIT)
            status = sterna_item_check(&plan->items[i], s->threads, err);
    if (status) return status;
    status = sterna_calibration_make(in, &s->calibration, &calibration, err);
    if (status == STERNA_ERROR_UNSUPPORTED)
        sterna_fail_prefix(err, "calibration runs the model (--method itf does not)");
    if (status) return status;
    s->windows = calibration.windows;
    s->length = calibration.length;
    s->generated = calibration.generated;
    status = sterna_propagate(stream->file, &calibration, &s->propagation, plan->items, plan->count,
                              &rules, err);
    sterna_calibration_free(&calibration);
    if (!status) status = write_rotation(&rules, plan, stream->writer, err);
    sterna_hadamard_free(&rules);
    return status;
}

static sterna_status write_model(sterna_stream *stream, const char *in, sterna_export *plan,
                                 settings *s, sterna_error *err)
{
    sterna_status status =
        sterna_export_open(stream->file, STERNA_GGUF, false, stream->writer, plan, err);
    if (status) return status;
    if (plan->ternarize && !s->named) { /* BitNet master weights: trained for exactly this */
        s->calibrated = false;
        s->method = STERNA_FIT_ABSMEAN;
        s->scales = STERNA_SCALES_TENSOR;
    }
    if (plan->ternarize && s->calibrated)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the weights were trained for one scale per tensor (BitNet): choose "
                           "--method absmean --scales tensor",
                           in);
    stream->method = s->method;
    stream->scales = s->scales;
    for (size_t i = 0; i < plan->count; i++) plan_item(&plan->items[i], s);
    status = count_linear(in, plan, err);
    if (!status && s->calibrated && anything_to_fit(plan))
        status = calibrate(stream, in, plan, s, err);
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
    double start = sterna_now();
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
    s.seconds = sterna_now() - start;
    if (!status && receipt)
        status = sterna_receipt_write(in, out, file, plan.items, plan.count, describe_settings(&s),
                                      receipt, err);
end:
    sterna_model_writer_abort(stream.writer);
    sterna_export_close(&plan);
    sterna_model_file_close(file);
    return status;
}
