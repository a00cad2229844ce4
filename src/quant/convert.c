#include "quant/convert.h"

#include <string.h>

#include "base/cpu.h"
#include "quant/export.h"
#include "quant/receipt.h"
#include "quant/roles.h"

typedef struct settings {
    bool has_type, has_float_type;
    sterna_type type, float_type;
    sterna_container target;
    sterna_file_options open;
} settings;

static bool ends_with(const char *path, const char *end)
{
    size_t size = strlen(path), tail = strlen(end);
    return size > tail && strcmp(path + size - tail, end) == 0;
}

static sterna_status read_settings(const char *out, const sterna_convert_options *options,
                                   settings *s, sterna_error *err)
{
    *s = (settings){.has_type = options->type, .has_float_type = options->float_type};
    s->target = ends_with(out, ".gguf") ? STERNA_GGUF : STERNA_HF;
    bool known = s->has_type && sterna_type_from_name(options->type, &s->type);
    bool native = known && s->type == STERNA_TYPE_NATIVE;
    if (s->has_type && !native &&
        (!known || sterna_type_describe(s->type)->kind != STERNA_KIND_TERNARY ||
         !sterna_type_describe(s->type)->writable))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "convert: '%s' is no ternary layout that can be written; there are: "
                           "native, TQ1_0, TQ2_0, Q2_0, PQ2_0, PTQ1_0",
                           options->type);
    if (s->has_float_type && (!sterna_type_from_name(options->float_type, &s->float_type) ||
                              sterna_type_describe(s->float_type)->kind == STERNA_KIND_TERNARY ||
                              !sterna_type_describe(s->float_type)->writable))
        return sterna_fail(
            err, STERNA_ERROR_ARGUMENT,
            "convert: '%s' is no type for float matrices; there are: F32, F16, BF16, "
            "Q8_0",
            options->float_type);
    if (s->has_type && s->target == STERNA_HF && !native)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "convert: safetensors cannot hold %s, only native; or write a .gguf "
                           "file",
                           options->type);
    return sterna_i2s_order_from_name(options->i2s_order, &s->open.i2s_order, err);
}

/* The type that says the same in safetensors: halves for ternary weights with half scales, float32
 * for the rest. */
static sterna_type plain_type(sterna_type type)
{
    const sterna_type_info *info = sterna_type_describe(type);
    if (info->kind == STERNA_KIND_FLOAT || info->kind == STERNA_KIND_INTEGER ||
        type == STERNA_TYPE_NATIVE)
        return type;
    return info->kind == STERNA_KIND_TERNARY && info->group ? STERNA_TYPE_F16 : STERNA_TYPE_F32;
}

/* The ternary layout of a matrix that has none in GGUF, or float32 where no block divides its
 * width: both say the same. */
static sterna_type layout_for(const sterna_tensor *tensor, const settings *s)
{
    sterna_type wanted = s->has_type ? s->type : STERNA_TYPE_TQ2_0;
    sterna_type type = sterna_fitting_type(wanted, tensor->dims[0]);
    return sterna_type_describe(type)->kind == STERNA_KIND_TERNARY ? type : STERNA_TYPE_F32;
}

static void plan_ternary(sterna_item *item, const settings *s)
{
    /* Q2_0 with groups of 128 and Hugging Face's packing have no number in GGUF */
    if (item->type == STERNA_TYPE_BITNET)
        item->type = layout_for(item->tensor, s);
    else if (s->has_type)
        item->type = s->type;
    else if (item->type == STERNA_TYPE_Q2_0_G128)
        item->type = STERNA_TYPE_PQ2_0;
    if (item->type == STERNA_TYPE_F32)
        item->verb = STERNA_VERB_ENCODE;
    else if (item->type != item->tensor->type)
        item->verb = STERNA_VERB_CONVERT;
    if (item->verb != STERNA_VERB_CONVERT) return;
    sterna_item_group(item, 0); /* of a standard layout: no parts */
    if (item->type == STERNA_TYPE_NATIVE) sterna_item_plan_native(item);
}

static void plan_item(sterna_item *item, const settings *s, bool ternarize)
{
    sterna_role role = sterna_role_of(item->tensor);
    sterna_type before = item->tensor->type;
    if (role == STERNA_ROLE_INTEGER) return;
    if (role == STERNA_ROLE_LINEAR && ternarize &&
        sterna_type_describe(before)->kind == STERNA_KIND_FLOAT) {
        item->type = layout_for(item->tensor, s);
        item->verb = STERNA_VERB_FIT;
        sterna_item_group(item, 0);
        item->note = "master weights: trits by the mean magnitude";
        return;
    }
    bool native = before == STERNA_TYPE_NATIVE || (s->has_type && s->type == STERNA_TYPE_NATIVE);
    if (sterna_type_describe(before)->kind == STERNA_KIND_TERNARY &&
        (s->target == STERNA_GGUF || native)) {
        plan_ternary(item, s);
        return;
    }
    if (role == STERNA_ROLE_VECTOR) {
        if (s->target == STERNA_GGUF) item->type = STERNA_TYPE_F32; /* what every reader expects */
    } else if (s->has_float_type) {
        item->type = sterna_fitting_type(s->float_type, item->tensor->dims[0]);
        if (item->type != s->float_type) item->note = "blocks of 32 do not divide its width";
    }
    if (s->target == STERNA_HF) item->type = plain_type(item->type);
    bool turned = role == STERNA_ROLE_VECTOR && item->pair_heads;
    if (item->type != before || item->shift != 0 || turned) item->verb = STERNA_VERB_ENCODE;
}

static json_t *describe_settings(const sterna_convert_options *options)
{
    return json_pack("{s:s?, s:s?, s:b}", "type", options->type, "float_type", options->float_type,
                     "round_scales", (int)options->round_scales);
}

sterna_status sterna_convert_model(const char *in, const char *out,
                                   const sterna_convert_options *options, char **report,
                                   sterna_error *err)
{
    settings s;
    sterna_export plan = {0};
    sterna_model_file *file = NULL;
    sterna_stream stream = {.method = STERNA_FIT_ABSMEAN, /* what ternarize means */
                            .round_scales = options->round_scales,
                            .threads = sterna_cpu_count(),
                            .stage = "converting",
                            .progress = options->progress,
                            .progress_context = options->progress_context};
    sterna_status status = read_settings(out, options, &s, err);
    if (status) return status;
    status = sterna_model_file_open(in, &s.open, &file, err);
    if (!status) status = sterna_model_writer_open(out, &stream.writer, err);
    if (status) goto end;
    stream.file = file;
    status = sterna_export_open(file, s.target, !options->round_scales, stream.writer, &plan, err);
    for (size_t i = 0; i < plan.count && !status; i++)
        plan_item(&plan.items[i], &s, plan.ternarize);
    if (!status && s.target == STERNA_GGUF)
        status = sterna_export_file_type(stream.writer, plan.items, plan.count, err);
    if (!status) status = sterna_model_writer_side_files(stream.writer, file, err);
    if (!status) status = sterna_stream_write(&stream, plan.items, plan.count, err);
    if (status) goto end;
    status = sterna_model_writer_commit(stream.writer, err);
    stream.writer = NULL;
    if (!status && report) {
        json_t *all =
            sterna_receipt_make(in, out, file, plan.items, plan.count, describe_settings(options));
        status = sterna_receipt_text(all, report, err);
        json_decref(all);
    }
end:
    sterna_model_writer_abort(stream.writer);
    sterna_export_close(&plan);
    sterna_model_file_close(file);
    return status;
}
