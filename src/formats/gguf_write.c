/* The directory of a GGUF version 3 file, as docs/gguf.md of ggml specifies it. */
#include <string.h>

#include "formats/writer_internal.h"

sterna_status sterna_writer_settle_alignment(sterna_model_writer *writer, sterna_error *err)
{
    static const char key[] = "general.alignment";
    for (size_t i = 0; !writer->safetensors && i < writer->n_items; i++) {
        const sterna_meta_item *item = &writer->items[i];
        if (item->key.size != sizeof key - 1 || memcmp(item->key.data, key, sizeof key - 1) != 0)
            continue;
        sterna_cursor cursor = {.data = (const uint8_t *)item->value.data,
                                .size = item->value.size};
        uint32_t value = sterna_cursor_u32(&cursor);
        if (item->gguf_type != STERNA_GGUF_U32 || !value || value & (value - 1) ||
            value > STERNA_GGUF_MAX_ALIGNMENT)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "%s: general.alignment must be a uint32, a power of two up to %d",
                               writer->path, STERNA_GGUF_MAX_ALIGNMENT);
        writer->alignment = value;
    }
    return STERNA_OK;
}

void sterna_gguf_items(const sterna_model_writer *writer, sterna_buffer *out)
{
    for (size_t i = 0; i < writer->n_items; i++) {
        const sterna_meta_item *item = &writer->items[i];
        sterna_put_string(out, item->key.data, item->key.size);
        sterna_put_u32(out, item->gguf_type);
        sterna_buffer_add(out, item->value.data, item->value.size);
    }
}

void sterna_gguf_directory(const sterna_model_writer *writer, sterna_buffer *out)
{
    sterna_buffer_add(out, "GGUF", 4);
    sterna_put_u32(out, 3);
    sterna_put_u64(out, writer->n_entries);
    sterna_put_u64(out, writer->n_items);
    sterna_gguf_items(writer, out);
    for (size_t i = 0; i < writer->n_entries; i++) {
        const sterna_tensor *tensor = &writer->entries[i].tensor;
        sterna_put_string(out, tensor->name, strlen(tensor->name));
        sterna_put_u32(out, (uint32_t)tensor->n_dims);
        for (int d = 0; d < tensor->n_dims; d++) sterna_put_u64(out, tensor->dims[d]);
        sterna_put_u32(out, (uint32_t)sterna_type_describe(tensor->type)->gguf_id);
        sterna_put_u64(out, writer->entries[i].offset);
    }
    while (out->size & (writer->alignment - 1) && !out->failed) sterna_buffer_add_char(out, 0);
}
