#include "quant/export.h"

#include <string.h>

#include "base/memory.h"

/* Keys that describe the file they stand in, not the model. */
static bool is_of_the_file(const sterna_text *key)
{
    static const char *const keys[] = {"split.no", "split.count", "split.tensors.count",
                                       "general.alignment"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strlen(keys[i]) == key->size && memcmp(keys[i], key->data, key->size) == 0) return true;
    return false;
}

/* A transform that is not told to the reader gives fluent garbage. */
static sterna_status refuse_lost(const sterna_model_file *file, const sterna_text *key,
                                 sterna_error *err)
{
    static const char *const rules[] = {"prism.hadamard.", "sterna.hadamard."};
    for (size_t i = 0; i < 2; i++)
        if (key->size > strlen(rules[i]) && memcmp(key->data, rules[i], strlen(rules[i])) == 0)
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "%s: its matrices are stored transformed, which a bare safetensors "
                               "file cannot tell; write a .gguf file",
                               file->path);
    return STERNA_OK;
}

static sterna_status copy_metadata(const sterna_model_file *file, sterna_container target,
                                   sterna_model_writer *writer, sterna_error *err)
{
    for (size_t i = 0; i < file->n_meta; i++) {
        const sterna_meta *meta = &file->meta[i];
        if (is_of_the_file(&meta->key)) continue;
        bool all = target == STERNA_GGUF || sterna_model_writer_is_folder(writer);
        if (!all && meta->type != STERNA_META_STRING) { /* a bare safetensors file has strings */
            sterna_status lost = refuse_lost(file, &meta->key, err);
            if (lost) return lost;
            continue;
        }
        sterna_status status = sterna_model_writer_copy_meta(writer, meta, err);
        if (status) return status;
    }
    return STERNA_OK;
}

/* Every tensor under its own name. */
static sterna_status list_all(const sterna_model_file *file, sterna_export *out, sterna_error *err)
{
    out->items = sterna_calloc(file->n_tensors, sizeof *out->items);
    if (!out->items) return sterna_fail_memory(err, "the directory of the output");
    for (size_t i = 0; i < file->n_tensors; i++)
        out->items[i] = (sterna_item){.tensor = &file->tensors[i],
                                      .name = file->tensors[i].name,
                                      .from = file->tensors[i].type,
                                      .type = file->tensors[i].type,
                                      .verb = STERNA_VERB_COPY};
    for (size_t i = 0; i < file->n_tensors; i++)
        if (file->tensors[i].native) out->items[i].form = *file->tensors[i].native;
    out->count = file->n_tensors;
    return STERNA_OK;
}

/* What the tensor of this name is called in the output. */
static sterna_text translate_name(const sterna_export *out, sterna_text name)
{
    for (size_t i = 0; i < out->count; i++) {
        const char *from = out->items[i].tensor->name;
        if (from && strlen(from) == name.size && memcmp(from, name.data, name.size) == 0)
            return (sterna_text){out->items[i].name, strlen(out->items[i].name)};
    }
    return name;
}

/* Keys of Sterna's own keep their meaning; lists of tensors follow the new names. */
static sterna_status translate_metadata(const sterna_model_file *file, const sterna_export *out,
                                        sterna_model_writer *writer, sterna_error *err)
{
    for (size_t i = 0; i < file->n_meta; i++) {
        sterna_meta meta = file->meta[i];
        sterna_text *names = NULL;
        if (meta.strings) {
            names = sterna_alloc((size_t)meta.count, sizeof *names);
            if (!names) return sterna_fail_memory(err, "a list of tensor names");
            for (uint64_t k = 0; k < meta.count; k++)
                names[k] = translate_name(out, meta.strings[k]);
            meta.strings = names;
        }
        sterna_status status = sterna_model_writer_copy_meta(writer, &meta, err);
        sterna_free(names);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_status translate(const sterna_model_file *file, bool split_scales,
                               sterna_model_writer *writer, sterna_export *out, sterna_error *err)
{
    sterna_config config;
    sterna_status status = sterna_config_read(file, &config, err);
    if (status) return status;
    status = sterna_export_config(file, &config, writer, err);
    if (!status) status = sterna_export_tokenizer(file, &config, writer, err);
    if (!status) status = sterna_export_tensors(file, &config, split_scales, out, err);
    if (!status) status = translate_metadata(file, out, writer, err);
    sterna_config_free(&config);
    return status;
}

sterna_status sterna_export_open(const sterna_model_file *file, sterna_container target,
                                 bool split_scales, sterna_model_writer *writer, sterna_export *out,
                                 sterna_error *err)
{
    sterna_status status = sterna_model_writer_accepts(writer, file, err);
    if (status) return status;
    if (target == STERNA_GGUF && file->container != STERNA_GGUF)
        return translate(file, split_scales, writer, out, err);
    status = copy_metadata(file, target, writer, err);
    return status ? status : list_all(file, out, err);
}

void sterna_export_close(sterna_export *plan)
{
    for (size_t i = 0; i < plan->count; i++) sterna_free(plan->items[i].packed);
    sterna_free(plan->items);
    sterna_free(plan->names);
    sterna_free(plan->tensors);
    sterna_free(plan->values);
    *plan = (sterna_export){0};
}

/* ---- general.file_type ---- */

/* ggml's numbers; -1 where there is none. */
static int file_type_of(sterna_type type)
{
    switch (type) {
    case STERNA_TYPE_F32: return 0;
    case STERNA_TYPE_F16: return 1;
    case STERNA_TYPE_Q4_0: return 2;
    case STERNA_TYPE_Q4_1: return 3;
    case STERNA_TYPE_Q8_0: return 7;
    case STERNA_TYPE_Q5_0: return 8;
    case STERNA_TYPE_Q5_1: return 9;
    case STERNA_TYPE_Q2_K: return 10;
    case STERNA_TYPE_Q3_K: return 12;
    case STERNA_TYPE_Q4_K: return 15;
    case STERNA_TYPE_Q5_K: return 17;
    case STERNA_TYPE_Q6_K: return 18;
    case STERNA_TYPE_BF16: return 32;
    case STERNA_TYPE_TQ1_0: return 36;
    case STERNA_TYPE_TQ2_0: return 37;
    case STERNA_TYPE_Q1_0: return 40;
    case STERNA_TYPE_Q2_0: return 41;
    case STERNA_TYPE_PQ2_0: return 141;
    default: return -1;
    }
}

sterna_status sterna_export_file_type(sterna_model_writer *writer, const sterna_item *items,
                                      size_t count, sterna_error *err)
{
    uint64_t weights[STERNA_TYPES] = {0};
    int most = STERNA_TYPE_F32;
    for (size_t i = 0; i < count; i++) {
        sterna_type type = items[i].type;
        weights[type] += items[i].tensor->dims[0] * sterna_tensor_rows(items[i].tensor);
        if (weights[type] > weights[most]) most = (int)type;
    }
    int number = file_type_of((sterna_type)most);
    if (number < 0) return STERNA_OK;
    return sterna_model_writer_meta_u32(writer, "general.file_type", (uint32_t)number, err);
}
