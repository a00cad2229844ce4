/* The header of a safetensors file. Tensors are laid out in the order in which they were declared,
 * without gaps, as the format demands; shapes are turned around (dims[0] comes last). */
#include <string.h>

#include "formats/writer_internal.h"

const char *sterna_safetensors_dtype(sterna_type type)
{
    switch (type) {
    case STERNA_TYPE_F32: return "F32";
    case STERNA_TYPE_F16: return "F16";
    case STERNA_TYPE_BF16: return "BF16";
    case STERNA_TYPE_F64: return "F64";
    case STERNA_TYPE_I8: return "I8";
    case STERNA_TYPE_I16: return "I16";
    case STERNA_TYPE_I32: return "I32";
    case STERNA_TYPE_I64: return "I64";
    case STERNA_TYPE_U8: return "U8";
    default: return NULL;
    }
}

static int append(const char *bytes, size_t size, void *buffer)
{
    sterna_buffer_add(buffer, bytes, size);
    return ((sterna_buffer *)buffer)->failed ? -1 : 0;
}

/* `text` in quotes, escaped; false when it is not UTF-8 (or memory ran out, which the buffer or
 * jansson notices in the same way). */
static bool add_string(sterna_buffer *out, const char *text, size_t size)
{
    json_t *string = json_stringn(text, size);
    bool done = string && json_dump_callback(string, append, out, JSON_ENCODE_ANY) == 0;
    json_decref(string);
    return done;
}

static sterna_status add_metadata(const sterna_model_writer *writer, sterna_buffer *out,
                                  sterna_error *err)
{
    if (writer->folder) { /* config.json has the metadata; this is what other readers look for */
        sterna_buffer_add_text(out, "\"__metadata__\":{\"format\":\"pt\"}");
        return STERNA_OK;
    }
    sterna_buffer_add_text(out, "\"__metadata__\":{");
    for (size_t i = 0; i < writer->n_items; i++) {
        const sterna_meta_item *item = &writer->items[i];
        if (i) sterna_buffer_add_char(out, ',');
        bool done = add_string(out, item->key.data, item->key.size);
        sterna_buffer_add_char(out, ':');
        /* the value is a GGUF string: eight bytes of length first */
        done = done && add_string(out, item->value.data + 8, item->value.size - 8);
        if (!done && !out->failed)
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "%s: metadata '%.*s': safetensors holds UTF-8 text only",
                               writer->path, (int)item->key.size, item->key.data);
    }
    sterna_buffer_add_char(out, '}');
    return STERNA_OK;
}

sterna_status sterna_safetensors_directory(const sterna_model_writer *writer, sterna_buffer *out,
                                           sterna_error *err)
{
    sterna_put_u64(out, 0); /* the header's size, known at the end */
    sterna_buffer_add_char(out, '{');
    bool metadata = writer->n_items || writer->folder;
    if (metadata) {
        sterna_status status = add_metadata(writer, out, err);
        if (status) return status;
    }
    for (size_t i = 0; i < writer->n_entries; i++) {
        const sterna_tensor *tensor = &writer->entries[i].tensor;
        if (i || metadata) sterna_buffer_add_char(out, ',');
        if (!add_string(out, tensor->name, strlen(tensor->name)))
            return sterna_fail_memory(err, writer->path);
        sterna_buffer_format(out, ":{\"dtype\":\"%s\",\"shape\":[",
                             sterna_safetensors_dtype(tensor->type));
        for (int d = tensor->n_dims - 1; d >= 0; d--)
            sterna_buffer_format(out, "%llu%s", (unsigned long long)tensor->dims[d], d ? "," : "");
        uint64_t begin = writer->entries[i].offset;
        sterna_buffer_format(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                             (unsigned long long)(begin + tensor->bytes));
    }
    sterna_buffer_add_char(out, '}');
    while (out->size % 8 && !out->failed) sterna_buffer_add_char(out, ' ');
    if (out->failed) return sterna_fail_memory(err, writer->path);
    uint64_t size = out->size - 8;
    if (size > STERNA_SAFETENSORS_MAX_HEADER)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: a header of %llu bytes; at most %d are allowed", writer->path,
                           (unsigned long long)size, STERNA_SAFETENSORS_MAX_HEADER);
    for (int i = 0; i < 8; i++) out->data[i] = (char)(size >> 8 * i);
    return STERNA_OK;
}
