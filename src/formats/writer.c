/* The common part of the writers: metadata kept until the directory is written, the declared
 * tensors, the bytes that must follow in their order. How a directory looks is the business of
 * gguf_write.c and safetensors_write.c. */
#include "formats/writer.h"

#include <string.h>

#include "base/memory.h"
#include "formats/internal.h"
#include "formats/writer_internal.h"

static bool ends_with(const char *path, const char *end)
{
    size_t size = strlen(path), tail = strlen(end);
    return size > tail && strcmp(path + size - tail, end) == 0;
}

sterna_status sterna_model_writer_open(const char *path, sterna_model_writer **out,
                                       sterna_error *err)
{
    bool gguf = ends_with(path, ".gguf"), folder = !gguf && !ends_with(path, ".safetensors");
    if (folder && strchr(sterna_path_name(path), '.'))
        return sterna_fail(
            err, STERNA_ERROR_ARGUMENT,
            "%s: the name must end in .gguf or .safetensors, or be that of a folder: "
            "without a dot, or with a slash at its end",
            path);
    sterna_model_writer *writer = sterna_calloc(1, sizeof *writer);
    if (!writer) return sterna_fail_memory(err, path);
    writer->safetensors = !gguf;
    writer->alignment = STERNA_GGUF_DEFAULT_ALIGNMENT;
    if (!folder) writer->path = sterna_strdup(path);
    writer->names = sterna_map_new(0);
    writer->keys = sterna_map_new(0);
    sterna_status status = (folder || writer->path) && writer->names && writer->keys
                               ? STERNA_OK
                               : sterna_fail_memory(err, path);
    if (!status && folder) status = sterna_folder_begin(writer, path, err);
    if (!status) status = sterna_writer_open(writer->path, &writer->file, err);
    if (status)
        sterna_model_writer_abort(writer);
    else
        *out = writer;
    return status;
}

void sterna_model_writer_abort(sterna_model_writer *writer)
{
    if (!writer) return;
    sterna_writer_abort(writer->file);
    sterna_folder_discard(writer);
    for (size_t i = 0; i < writer->n_items; i++) sterna_buffer_free(&writer->items[i].value);
    sterna_free(writer->items);
    sterna_free(writer->entries);
    sterna_map_free(writer->names);
    sterna_map_free(writer->keys);
    sterna_arena_free(&writer->arena);
    sterna_free(writer->path);
    sterna_free(writer);
}

/* ---- metadata ---- */

static sterna_status add_item(sterna_model_writer *writer, sterna_text key, sterna_error *err)
{
    if (writer->n_items >= STERNA_GGUF_MAX_KEYS)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "%s: more than %d metadata keys", writer->path,
                           STERNA_GGUF_MAX_KEYS);
    if (writer->n_items == writer->item_room) {
        size_t room = writer->item_room ? writer->item_room * 2 : 64;
        sterna_meta_item *items = sterna_realloc(writer->items, room, sizeof *items);
        if (!items) return sterna_fail_memory(err, writer->path);
        writer->items = items;
        writer->item_room = room;
    }
    char *copy = sterna_arena_string(&writer->arena, key.data, key.size);
    if (!copy) return sterna_fail_memory(err, writer->path);
    sterna_status status =
        sterna_map_put(writer->keys, copy, key.size, (int32_t)writer->n_items, NULL, err);
    if (status) return status;
    writer->items[writer->n_items++] = (sterna_meta_item){.key = {.data = copy, .size = key.size}};
    return STERNA_OK;
}

/* The item of a key, new or emptied; it holds the value as GGUF stores it. */
static sterna_status begin_item(sterna_model_writer *writer, sterna_text key, uint32_t gguf_type,
                                sterna_buffer **value, sterna_error *err)
{
    if (writer->n_entries)
        return sterna_fail(err, STERNA_ERROR_INTERNAL, "%s: metadata '%.*s' after the first tensor",
                           writer->path, (int)key.size, key.data);
    if (!key.size || key.size > STERNA_GGUF_MAX_KEY_BYTES ||
        !sterna_name_is_clean(key.data, key.size))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: a metadata key must have 1 to %d bytes of UTF-8 without control "
                           "characters",
                           writer->path, STERNA_GGUF_MAX_KEY_BYTES);
    if (writer->safetensors && !writer->folder && gguf_type != STERNA_GGUF_STRING)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: metadata '%.*s': safetensors holds strings only", writer->path,
                           (int)key.size, key.data);
    int32_t i = sterna_map_get(writer->keys, key.data, key.size);
    if (i < 0) {
        sterna_status status = add_item(writer, key, err);
        if (status) return status;
        i = (int32_t)writer->n_items - 1;
    }
    writer->items[i].gguf_type = gguf_type;
    sterna_buffer_clear(&writer->items[i].value);
    *value = &writer->items[i].value;
    return STERNA_OK;
}

static sterna_status end_item(const sterna_model_writer *writer, const sterna_buffer *value,
                              sterna_error *err)
{
    return value->failed ? sterna_fail_memory(err, writer->path) : STERNA_OK;
}

void sterna_put_u32(sterna_buffer *buffer, uint32_t value)
{
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    sterna_buffer_add(buffer, bytes, sizeof bytes);
}

void sterna_put_u64(sterna_buffer *buffer, uint64_t value)
{
    sterna_put_u32(buffer, (uint32_t)value);
    sterna_put_u32(buffer, (uint32_t)(value >> 32));
}

void sterna_put_string(sterna_buffer *buffer, const void *bytes, size_t size)
{
    sterna_put_u64(buffer, size);
    sterna_buffer_add(buffer, bytes, size);
}

static void put_little(sterna_buffer *buffer, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) sterna_buffer_add_char(buffer, (char)(value >> 8 * i));
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void put_number(sterna_buffer *buffer, const sterna_meta *meta)
{
    size_t size = sterna_gguf_value_size(meta->gguf_type);
    switch (meta->type) {
    case STERNA_META_FLOAT:
        put_little(buffer,
                   size == 4 ? sterna_float_bits((float)meta->value.f) : bits_of(meta->value.f),
                   size);
        break;
    case STERNA_META_BOOL: put_little(buffer, meta->value.b, size); break;
    case STERNA_META_INT: put_little(buffer, (uint64_t)meta->value.i, size); break;
    default: put_little(buffer, meta->value.u, size); break;
    }
}

sterna_status sterna_model_writer_copy_meta(sterna_model_writer *writer, const sterna_meta *meta,
                                            sterna_error *err)
{
    sterna_buffer *value = NULL;
    sterna_status status = begin_item(writer, meta->key, meta->gguf_type, &value, err);
    if (status) return status;
    if (meta->type == STERNA_META_STRING) {
        sterna_put_string(value, meta->value.s.data, meta->value.s.size);
    } else if (meta->type == STERNA_META_ARRAY) {
        sterna_put_u32(value, meta->element_type);
        sterna_put_u64(value, meta->count);
        for (uint64_t i = 0; meta->strings && i < meta->count; i++)
            sterna_put_string(value, meta->strings[i].data, meta->strings[i].size);
        if (meta->raw)
            sterna_buffer_add(value, meta->raw,
                              (size_t)meta->count * sterna_gguf_value_size(meta->element_type));
    } else {
        put_number(value, meta);
    }
    return end_item(writer, value, err);
}

static sterna_text text_of(const char *key)
{
    return (sterna_text){.data = key, .size = strlen(key)};
}

sterna_status sterna_model_writer_meta_u32(sterna_model_writer *writer, const char *key,
                                           uint32_t value, sterna_error *err)
{
    sterna_meta meta = {.key = text_of(key),
                        .type = STERNA_META_UINT,
                        .gguf_type = STERNA_GGUF_U32,
                        .value.u = value};
    return sterna_model_writer_copy_meta(writer, &meta, err);
}

sterna_status sterna_model_writer_meta_float(sterna_model_writer *writer, const char *key,
                                             float value, sterna_error *err)
{
    sterna_meta meta = {.key = text_of(key),
                        .type = STERNA_META_FLOAT,
                        .gguf_type = STERNA_GGUF_F32,
                        .value.f = (double)value};
    return sterna_model_writer_copy_meta(writer, &meta, err);
}

sterna_status sterna_model_writer_meta_bool(sterna_model_writer *writer, const char *key,
                                            bool value, sterna_error *err)
{
    sterna_meta meta = {.key = text_of(key),
                        .type = STERNA_META_BOOL,
                        .gguf_type = STERNA_GGUF_BOOL,
                        .value.b = value};
    return sterna_model_writer_copy_meta(writer, &meta, err);
}

sterna_status sterna_model_writer_meta_string(sterna_model_writer *writer, const char *key,
                                              const char *value, size_t size, sterna_error *err)
{
    sterna_meta meta = {.key = text_of(key),
                        .type = STERNA_META_STRING,
                        .gguf_type = STERNA_GGUF_STRING,
                        .value.s = {.data = value, .size = size}};
    return sterna_model_writer_copy_meta(writer, &meta, err);
}

static sterna_status begin_array(sterna_model_writer *writer, const char *key,
                                 uint32_t element_type, size_t count, sterna_buffer **value,
                                 sterna_error *err)
{
    sterna_status status = begin_item(writer, text_of(key), STERNA_GGUF_ARRAY, value, err);
    if (status) return status;
    sterna_put_u32(*value, element_type);
    sterna_put_u64(*value, count);
    return STERNA_OK;
}

sterna_status sterna_model_writer_meta_strings(sterna_model_writer *writer, const char *key,
                                               const sterna_text *values, size_t count,
                                               sterna_error *err)
{
    sterna_buffer *value = NULL;
    sterna_status status = begin_array(writer, key, STERNA_GGUF_STRING, count, &value, err);
    if (status) return status;
    for (size_t i = 0; i < count; i++) sterna_put_string(value, values[i].data, values[i].size);
    return end_item(writer, value, err);
}

sterna_status sterna_model_writer_meta_i32s(sterna_model_writer *writer, const char *key,
                                            const int32_t *values, size_t count, sterna_error *err)
{
    sterna_buffer *value = NULL;
    sterna_status status = begin_array(writer, key, STERNA_GGUF_I32, count, &value, err);
    if (status) return status;
    for (size_t i = 0; i < count; i++) sterna_put_u32(value, (uint32_t)values[i]);
    return end_item(writer, value, err);
}

sterna_status sterna_model_writer_meta_floats(sterna_model_writer *writer, const char *key,
                                              const float *values, size_t count, sterna_error *err)
{
    sterna_buffer *value = NULL;
    sterna_status status = begin_array(writer, key, STERNA_GGUF_F32, count, &value, err);
    if (status) return status;
    for (size_t i = 0; i < count; i++) sterna_put_u32(value, sterna_float_bits(values[i]));
    return end_item(writer, value, err);
}

/* ---- tensors ---- */

/* The format's own conditions. */
static sterna_status check_type(const sterna_model_writer *writer, const sterna_tensor *tensor,
                                sterna_error *err)
{
    const sterna_type_info *type = sterna_type_describe(tensor->type);
    if (tensor->type == STERNA_TYPE_Q2_0_G128 && !writer->safetensors)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%s': Q2_0 with groups of 128 shares its number with the "
                           "Q2_0 of today; write it as PQ2_0, which has the same bytes",
                           writer->path, tensor->name);
    if (writer->safetensors ? !sterna_safetensors_dtype(tensor->type) : type->gguf_id < 0)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%s': %s cannot hold the type %s", writer->path,
                           tensor->name, writer->safetensors ? "safetensors" : "GGUF", type->name);
    return STERNA_OK;
}

sterna_status sterna_model_writer_declare(sterna_model_writer *writer, const sterna_tensor *tensor,
                                          sterna_error *err)
{
    if (writer->directory_written)
        return sterna_fail(err, STERNA_ERROR_INTERNAL, "%s: tensor '%s' declared after data",
                           writer->path, tensor->name);
    size_t size = strlen(tensor->name);
    if (!size || size > STERNA_MAX_TENSOR_NAME_BYTES || !sterna_name_is_clean(tensor->name, size) ||
        writer->n_entries >= STERNA_MAX_TENSORS || tensor->n_dims < 1 || tensor->n_dims > 4)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: tensor %zu: a name of 1 to %d bytes and 1 to 4 dimensions are "
                           "needed, and at most %d tensors fit",
                           writer->path, writer->n_entries, STERNA_MAX_TENSOR_NAME_BYTES,
                           STERNA_MAX_TENSORS);
    sterna_status status = check_type(writer, tensor, err);
    if (!status && !writer->n_entries) /* the metadata are complete now */
        status = sterna_writer_settle_alignment(writer, err);
    if (status) return status;
    sterna_written_tensor entry = {.tensor = *tensor, .offset = writer->data_size};
    uint64_t rows = 1;
    bool fits = tensor->dims[0] > 0;
    for (int d = 1; d < 4; d++)
        fits = fits && tensor->dims[d] && sterna_mul_u64(rows, tensor->dims[d], &rows);
    if (!fits || !sterna_type_bytes(tensor->type, tensor->dims[0], rows, &entry.tensor.bytes) ||
        entry.tensor.bytes > INT64_MAX - writer->data_size - STERNA_GGUF_MAX_ALIGNMENT)
        return sterna_fail_shape(err, writer->path, tensor);
    if (writer->n_entries == writer->room) {
        size_t room = writer->room ? writer->room * 2 : 256;
        sterna_written_tensor *entries = sterna_realloc(writer->entries, room, sizeof *entries);
        if (!entries) return sterna_fail_memory(err, writer->path);
        writer->entries = entries;
        writer->room = room;
    }
    const char *name = sterna_arena_string(&writer->arena, tensor->name, size);
    if (!name) return sterna_fail_memory(err, writer->path);
    int32_t old;
    status = sterna_map_put(writer->names, name, size, (int32_t)writer->n_entries, &old, err);
    if (status) return status;
    if (old >= 0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT, "%s: tensor '%s' is declared twice",
                           writer->path, name);
    entry.tensor.name = name;
    writer->entries[writer->n_entries++] = entry;
    writer->data_size += entry.tensor.bytes;
    if (!writer->safetensors)
        writer->data_size =
            (writer->data_size + writer->alignment - 1) & ~(uint64_t)(writer->alignment - 1);
    return STERNA_OK;
}

static sterna_status write_directory(sterna_model_writer *writer, sterna_error *err)
{
    if (writer->directory_written) return STERNA_OK;
    sterna_buffer directory = {0};
    sterna_status status = STERNA_OK;
    if (writer->safetensors)
        status = sterna_safetensors_directory(writer, &directory, err);
    else
        sterna_gguf_directory(writer, &directory);
    if (!status && directory.failed) status = sterna_fail_memory(err, writer->path);
    if (!status) status = sterna_writer_write(writer->file, directory.data, directory.size, err);
    sterna_buffer_free(&directory);
    writer->directory_written = !status;
    return status;
}

sterna_status sterna_model_writer_data(sterna_model_writer *writer, const void *bytes, size_t size,
                                       sterna_error *err)
{
    sterna_status status = write_directory(writer, err);
    if (status) return status;
    if (writer->current >= writer->n_entries ||
        size > writer->entries[writer->current].tensor.bytes - writer->written)
        return sterna_fail(err, STERNA_ERROR_INTERNAL, "%s: more data than was declared",
                           writer->path);
    status = sterna_writer_write(writer->file, bytes, size, err);
    if (status) return status;
    writer->written += size;
    if (writer->written < writer->entries[writer->current].tensor.bytes) return STERNA_OK;
    writer->current++;
    writer->written = 0;
    return writer->safetensors ? STERNA_OK
                               : sterna_writer_align(writer->file, writer->alignment, err);
}

sterna_status sterna_model_writer_commit(sterna_model_writer *writer, sterna_error *err)
{
    sterna_status status = write_directory(writer, err);
    if (!status && writer->current < writer->n_entries)
        status = sterna_fail(err, STERNA_ERROR_INTERNAL, "%s: tensor '%s' was not written whole",
                             writer->path, writer->entries[writer->current].tensor.name);
    if (!status) {
        status = sterna_writer_commit(writer->file, err);
        writer->file = NULL;
    }
    if (!status && writer->folder) status = sterna_folder_finish(writer, err);
    sterna_model_writer_abort(writer);
    return status;
}
