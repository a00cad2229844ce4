/* A model file: opening by content, the tensor directory, access to the metadata. What the
 * containers look like inside is the readers' business. */
#include "formats/model_file.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "formats/internal.h"
#include "ternary/native.h"

/* ---- memory that lives as long as the model file ---- */

typedef struct sterna_arena_chunk {
    struct sterna_arena_chunk *next;
    size_t size, used;
    max_align_t bytes[];
} chunk;

void *sterna_arena_alloc(sterna_arena *arena, size_t count, size_t size)
{
    enum { UNIT = sizeof(max_align_t), SMALL_CHUNK = 16 << 10 };
    size_t bytes;
    if (!sterna_mul_size(count, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + UNIT - 1) / UNIT * UNIT;
    chunk *top = arena->chunks;
    if (!top || top->size - top->used < bytes) {
        size_t room = bytes > SMALL_CHUNK ? bytes : SMALL_CHUNK;
        chunk *fresh = sterna_alloc(1, sizeof *fresh + room);
        if (!fresh) return NULL;
        *fresh = (chunk){.next = top, .size = room};
        arena->chunks = top = fresh;
    }
    void *block = (char *)top->bytes + top->used;
    top->used += bytes;
    return block;
}

char *sterna_arena_string(sterna_arena *arena, const void *bytes, size_t size)
{
    char *copy = size < SIZE_MAX ? sterna_arena_alloc(arena, size + 1, 1) : NULL;
    if (!copy) return NULL;
    if (size) memcpy(copy, bytes, size);
    copy[size] = 0;
    return copy;
}

void sterna_arena_free(sterna_arena *arena)
{
    for (chunk *at = arena->chunks, *next; at; at = next) {
        next = at->next;
        sterna_free(at);
    }
    arena->chunks = NULL;
}

/* ---- building the directory ---- */

static sterna_status add_source(sterna_model_file *file, const char *path, const void *bytes,
                                size_t size, sterna_file *mapping, sterna_error *err)
{
    struct sterna_model_file_private *own = file->private_data;
    char *name = sterna_arena_string(&own->arena, path, strlen(path));
    sterna_source *sources = sterna_realloc(own->sources, own->n_sources + 1, sizeof *own->sources);
    if (sources) own->sources = sources;
    if (!name || !sources) return sterna_fail_memory(err, path);
    own->sources[own->n_sources++] =
        (sterna_source){.path = name, .data = bytes, .size = size, .mapping = mapping};
    file->bytes += size;
    return STERNA_OK;
}

sterna_status sterna_source_open(sterna_model_file *file, const char *path, size_t *index,
                                 sterna_error *err)
{
    sterna_file *mapping = NULL;
    sterna_status status = sterna_file_open(path, &mapping, err);
    if (status) return status;
    status = add_source(file, path, mapping->data, mapping->size, mapping, err);
    if (status)
        sterna_file_close(mapping);
    else
        *index = file->private_data->n_sources - 1;
    return status;
}

bool sterna_name_is_clean(const void *bytes, size_t size)
{
    const uint8_t *at = bytes, *end = at + size;
    while (at < end) {
        uint8_t first = *at++;
        if (first < 0x20 || first == 0x7f) return false;
        if (first < 0x80) continue;
        int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || end - at < more) return false;
        uint32_t code = first & (0x3fu >> more);
        for (int i = 0; i < more; i++) {
            if ((at[i] & 0xc0) != 0x80) return false;
            code = code << 6 | (at[i] & 0x3fu);
        }
        at += more;
        bool short_enough = code >= (more == 3 ? 0x10000u : more == 2 ? 0x800u : 0x80u);
        if (!short_enough || code > 0x10ffff || code < 0xa0 || (code >= 0xd800 && code < 0xe000))
            return false;
    }
    return true;
}

sterna_status sterna_directory_add(sterna_model_file *file, const char *path, const void *name,
                                   size_t name_size, const sterna_tensor *tensor, sterna_error *err)
{
    struct sterna_model_file_private *own = file->private_data;
    if (!name_size || name_size > STERNA_MAX_TENSOR_NAME_BYTES ||
        !sterna_name_is_clean(name, name_size))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor %zu: expected a name of 1 to %d bytes of UTF-8 without "
                           "control characters, found something else",
                           path, file->n_tensors, STERNA_MAX_TENSOR_NAME_BYTES);
    if (file->n_tensors >= STERNA_MAX_TENSORS)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "%s: more than %d tensors", path,
                           STERNA_MAX_TENSORS);
    if (file->n_tensors == own->tensor_room) {
        size_t room = own->tensor_room ? own->tensor_room * 2 : 256;
        sterna_tensor *tensors = sterna_realloc(own->tensors, room, sizeof *tensors);
        if (!tensors) return sterna_fail_memory(err, path);
        file->tensors = own->tensors = tensors;
        own->tensor_room = room;
    }
    char *copy = sterna_arena_string(&own->arena, name, name_size);
    if (!copy) return sterna_fail_memory(err, path);
    int32_t old;
    sterna_status status =
        sterna_map_put(own->names, copy, name_size, (int32_t)file->n_tensors, &old, err);
    if (status) return status;
    if (old >= 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' appears twice; a name may be there only once", path,
                           copy);
    own->tensors[file->n_tensors] = *tensor;
    own->tensors[file->n_tensors].name = copy;
    file->n_tensors++;
    return STERNA_OK;
}

sterna_status sterna_directory_prune(sterna_model_file *file, const bool *drop, sterna_error *err)
{
    struct sterna_model_file_private *own = file->private_data;
    sterna_map *names = sterna_map_new(file->n_tensors);
    if (!names) return sterna_fail_memory(err, file->path);
    size_t kept = 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        if (drop[i]) continue;
        const char *name = own->tensors[i].name;
        sterna_status status = sterna_map_put(names, name, strlen(name), (int32_t)kept, NULL, err);
        if (status) {
            sterna_map_free(names);
            return status;
        }
        own->tensors[kept++] = own->tensors[i];
    }
    sterna_map_free(own->names);
    own->names = names;
    file->n_tensors = kept;
    return STERNA_OK;
}

sterna_status sterna_fail_shape(sterna_error *err, const char *path, const sterna_tensor *tensor)
{
    const sterna_type_info *type = sterna_type_describe(tensor->type);
    const unsigned long long cols = tensor->dims[0];
    if (type->block && cols % type->block)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' of type %s has rows of %llu weights, which is no "
                           "multiple of its block of %u",
                           path, tensor->name, type->name, cols, type->block);
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: tensor '%s' of type %s cannot have the dimensions %llu x %llu x %llu "
                       "x %llu",
                       path, tensor->name, type->name, cols, (unsigned long long)tensor->dims[1],
                       (unsigned long long)tensor->dims[2], (unsigned long long)tensor->dims[3]);
}

/* ---- opening ---- */

sterna_model_file *sterna_model_file_new(const char *path, const sterna_file_options *options)
{
    sterna_model_file *file = sterna_calloc(1, sizeof *file);
    if (!file) return NULL;
    file->private_data = sterna_calloc(1, sizeof *file->private_data);
    file->path = sterna_strdup(path);
    if (file->private_data) {
        file->private_data->names = sterna_map_new(0);
        if (options) file->private_data->i2s_order = options->i2s_order;
    }
    if (!file->private_data || !file->path || !file->private_data->names) {
        sterna_model_file_close(file);
        return NULL;
    }
    return file;
}

/* What a file that cannot be read is, as far as its first bytes tell. */
static sterna_status fail_content(const sterna_source *source, sterna_error *err)
{
    static const struct {
        const char *magic, *advice;
    } known[] = {
        {"PK\3\4", "a zip archive or PyTorch file, which can run code and is never opened; get the "
                   "model as safetensors or GGUF"},
        {"\x80\2", "a pickle file, which can run code and is never opened; get the model as "
                   "safetensors or GGUF"},
        {"FUGG", "a GGUF file with its bytes swapped; convert the model again"},
        {"lmgg", "a GGML file from before GGUF; convert the model again from its source"},
        {"tjgg", "a GGML file from before GGUF; convert the model again from its source"},
        {"fmgg", "a GGML file from before GGUF; convert the model again from its source"},
        {"version https://git-lfs", "the place-holder of a Git LFS file; run 'git lfs pull'"},
    };
    const char *path = source->path;
    if (!source->size)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: the file is empty; get it again", path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t size = strlen(known[i].magic);
        if (source->size >= size && memcmp(source->data, known[i].magic, size) == 0)
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED, "%s: %s", path, known[i].advice);
    }
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: not a model file that can be read, or a damaged one; expected GGUF, "
                       "safetensors, a llama2.c .bin or a Hugging Face folder",
                       path);
}

/* Reads source 0 by what its first bytes say. */
static sterna_status read_by_content(sterna_model_file *file, sterna_error *err)
{
    const sterna_source *source = &file->private_data->sources[0];
    const char *name = sterna_path_name(file->path);
    size_t size = strlen(name);
    if (source->size >= 4 && memcmp(source->data, "GGUF", 4) == 0)
        return sterna_gguf_read(file, err);
    if (sterna_llama2c_is(source)) return sterna_llama2c_read(file, err);
    if (sterna_safetensors_is(source) || (size > 12 && !strcmp(name + size - 12, ".safetensors")))
        return sterna_hf_read_file(file, err);
    return fail_content(source, err);
}

sterna_status sterna_model_file_finish(sterna_model_file *file, sterna_status status,
                                       sterna_model_file **out)
{
    if (status)
        sterna_model_file_close(file);
    else
        *out = file;
    return status;
}

sterna_status sterna_model_file_open(const char *path, const sterna_file_options *options,
                                     sterna_model_file **out, sterna_error *err)
{
    char *folder = NULL;
    sterna_status status = sterna_hf_folder_of(path, &folder, err);
    if (status) return status;
    sterna_model_file *file = sterna_model_file_new(folder ? folder : path, options);
    if (!file) {
        status = sterna_fail_memory(err, path);
    } else if (folder) {
        status = sterna_hf_read_folder(file, err);
    } else {
        size_t index;
        status = sterna_source_open(file, path, &index, err);
        if (!status) status = read_by_content(file, err);
    }
    if (!status) status = sterna_native_join(file, err);
    sterna_free(folder);
    return sterna_model_file_finish(file, status, out);
}

sterna_status sterna_model_file_open_memory(const char *name, const void *bytes, size_t size,
                                            const sterna_file_options *options,
                                            sterna_model_file **out, sterna_error *err)
{
    sterna_model_file *file = sterna_model_file_new(name, options);
    if (!file) return sterna_fail_memory(err, name);
    sterna_status status = add_source(file, name, bytes, size, NULL, err);
    if (!status) status = read_by_content(file, err);
    if (!status) status = sterna_native_join(file, err);
    return sterna_model_file_finish(file, status, out);
}

void sterna_model_file_close(sterna_model_file *file)
{
    if (!file) return;
    struct sterna_model_file_private *own = file->private_data;
    if (own) {
        for (size_t i = 0; i < own->n_sources; i++) sterna_file_close(own->sources[i].mapping);
        sterna_free(own->sources);
        sterna_free(own->tensors);
        sterna_map_free(own->names);
        sterna_map_free(own->keys);
        sterna_arena_free(&own->arena);
        sterna_free(own);
    }
    json_decref(file->config);
    json_decref(file->generation_config);
    json_decref(file->tokenizer_config);
    json_decref(file->special_tokens_map);
    sterna_free(file->tokenizer_json_path);
    sterna_free(file->tokenizer_model_path);
    sterna_free(file->chat_template);
    sterna_free(file->path);
    sterna_free(file);
}

/* ---- tensors ---- */

const sterna_tensor *sterna_model_file_find(const sterna_model_file *file, const char *name)
{
    int32_t i = sterna_map_get(file->private_data->names, name, strlen(name));
    return i < 0 ? NULL : &file->tensors[i];
}

static void release_bytes(const sterna_model_file *file, const uint8_t *data, uint64_t bytes)
{
    const struct sterna_model_file_private *own = file->private_data;
    for (size_t i = 0; i < own->n_sources; i++) {
        const sterna_source *source = &own->sources[i];
        uintptr_t start = (uintptr_t)source->data, at = (uintptr_t)data;
        if (source->mapping && at >= start && at - start < source->size)
            sterna_file_release(source->mapping, at - start, (size_t)bytes);
    }
}

void sterna_model_file_release(const sterna_model_file *file, const sterna_tensor *tensor)
{
    uint64_t beside = tensor->native ? sterna_native_bytes(tensor) : 0;
    if (tensor->data) release_bytes(file, tensor->data, tensor->bytes - beside);
    sterna_tensor part;
    for (int kind = 0; kind < STERNA_PARTS && tensor->native; kind++)
        if (sterna_native_part(tensor, (sterna_part_kind)kind, &part))
            release_bytes(file, part.data, part.bytes);
}

/* ---- metadata ---- */

const sterna_meta *sterna_model_file_meta(const sterna_model_file *file, const char *key)
{
    const sterna_map *keys = file->private_data->keys;
    int32_t i = keys ? sterna_map_get(keys, key, strlen(key)) : -1;
    return i < 0 ? NULL : &file->meta[i];
}

static sterna_status fail_absent(const sterna_model_file *file, const char *key, bool required,
                                 sterna_error *err)
{
    if (!required) return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: metadata key '%s' is missing; convert the model again from its source",
                       file->path, key);
}

static sterna_status fail_kind(const sterna_model_file *file, const sterna_meta *meta,
                               const char *key, const char *expected, sterna_error *err)
{
    static const char *const kinds[] = {"an unsigned integer", "an integer", "a float",
                                        "a truth value",       "a string",   "an array"};
    return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: metadata key '%s': expected %s, found %s",
                       file->path, key, expected, kinds[meta->type]);
}

sterna_status sterna_meta_u32(const sterna_model_file *file, const char *key, bool required,
                              uint32_t min, uint32_t max, uint32_t *out, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(file, key);
    if (!meta) return fail_absent(file, key, required, err);
    if (meta->type == STERNA_META_UINT && meta->value.u >= min && meta->value.u <= max) {
        *out = (uint32_t)meta->value.u;
        return STERNA_OK;
    }
    if (meta->type == STERNA_META_INT && meta->value.i >= min && meta->value.i <= max) {
        *out = (uint32_t)meta->value.i;
        return STERNA_OK;
    }
    if (meta->type == STERNA_META_UINT)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: metadata key '%s' is %llu; expected %u to %u", file->path, key,
                           (unsigned long long)meta->value.u, min, max);
    if (meta->type == STERNA_META_INT)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: metadata key '%s' is %lld; expected %u to %u", file->path, key,
                           (long long)meta->value.i, min, max);
    return fail_kind(file, meta, key, "an integer", err);
}

sterna_status sterna_meta_float(const sterna_model_file *file, const char *key, bool required,
                                float *out, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(file, key);
    if (!meta) return fail_absent(file, key, required, err);
    float value;
    switch (meta->type) {
    case STERNA_META_FLOAT: value = (float)meta->value.f; break;
    case STERNA_META_UINT: value = (float)meta->value.u; break;
    case STERNA_META_INT: value = (float)meta->value.i; break;
    default: return fail_kind(file, meta, key, "a number", err);
    }
    if (!isfinite(value))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: metadata key '%s': expected a finite number, found %g", file->path,
                           key, (double)value);
    *out = value;
    return STERNA_OK;
}

sterna_status sterna_meta_bool(const sterna_model_file *file, const char *key, bool required,
                               bool *out, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(file, key);
    if (!meta) return fail_absent(file, key, required, err);
    if (meta->type != STERNA_META_BOOL) return fail_kind(file, meta, key, "a truth value", err);
    *out = meta->value.b;
    return STERNA_OK;
}

sterna_status sterna_meta_string(const sterna_model_file *file, const char *key, bool required,
                                 sterna_text *out, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(file, key);
    if (!meta) return fail_absent(file, key, required, err);
    if (meta->type != STERNA_META_STRING) return fail_kind(file, meta, key, "a string", err);
    *out = meta->value.s;
    return STERNA_OK;
}

double sterna_meta_element(const sterna_meta *meta, uint64_t i)
{
    size_t size = sterna_gguf_value_size(meta->element_type);
    if (!meta->raw || i >= meta->count) return 0;
    sterna_cursor at = {.data = meta->raw + i * size, .size = size};
    switch (meta->element_type) {
    case STERNA_GGUF_I8: return (int8_t)sterna_cursor_u8(&at);
    case STERNA_GGUF_U16: return sterna_cursor_u16(&at);
    case STERNA_GGUF_I16: return (int16_t)sterna_cursor_u16(&at);
    case STERNA_GGUF_U32: return sterna_cursor_u32(&at);
    case STERNA_GGUF_I32: return (int32_t)sterna_cursor_u32(&at);
    case STERNA_GGUF_F32: return (double)sterna_cursor_f32(&at);
    case STERNA_GGUF_U64: return (double)sterna_cursor_u64(&at);
    case STERNA_GGUF_I64: return (double)(int64_t)sterna_cursor_u64(&at);
    case STERNA_GGUF_F64: return sterna_cursor_f64(&at);
    default: return sterna_cursor_u8(&at); /* U8, BOOL */
    }
}
