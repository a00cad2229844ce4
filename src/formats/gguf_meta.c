/* GGUF metadata: keys and values, read in place.
 *
 * Every count is held against the bytes that are left before memory is taken for it, so that a
 * 40-byte file cannot ask for gigabytes or spin. Strings and arrays point into the mapping; only
 * the tables of string arrays are memory of ours.
 */
#include "formats/internal.h"

#include <string.h>

#include "base/memory.h"

static const uint8_t value_sizes[STERNA_GGUF_VALUE_TYPES] = {
    [STERNA_GGUF_U8] = 1,  [STERNA_GGUF_I8] = 1,  [STERNA_GGUF_U16] = 2, [STERNA_GGUF_I16] = 2,
    [STERNA_GGUF_U32] = 4, [STERNA_GGUF_I32] = 4, [STERNA_GGUF_F32] = 4, [STERNA_GGUF_BOOL] = 1,
    [STERNA_GGUF_U64] = 8, [STERNA_GGUF_I64] = 8, [STERNA_GGUF_F64] = 8,
};

size_t sterna_gguf_value_size(uint32_t gguf_type)
{
    return gguf_type < STERNA_GGUF_VALUE_TYPES ? value_sizes[gguf_type] : 0;
}

/* Where we are, for sentences. */
typedef struct reader {
    sterna_arena *arena;
    sterna_cursor *cursor;
    const char *path;
    sterna_text key; /* the key whose value is being read */
} reader;

static sterna_status fail_end(const reader *r, sterna_error *err)
{
    return sterna_fail(
        err, STERNA_ERROR_FORMAT,
        "%s: the file ends in the metadata, at key '%.*s'; it is cut off or damaged: "
        "get it again",
        r->path, (int)r->key.size, r->key.data);
}

static sterna_status read_string(reader *r, uint64_t limit, sterna_text *out, sterna_error *err)
{
    uint64_t size = sterna_cursor_u64(r->cursor);
    const uint8_t *bytes = sterna_cursor_bytes(r->cursor, size);
    if (r->cursor->failed) return fail_end(r, err);
    if (size > limit)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: key '%.*s': a string of %llu bytes; at most %llu are allowed here",
                           r->path, (int)r->key.size, r->key.data, (unsigned long long)size,
                           (unsigned long long)limit);
    *out = (sterna_text){.data = (const char *)bytes, .size = (size_t)size};
    return STERNA_OK;
}

static sterna_status read_key(reader *r, uint64_t number, sterna_error *err)
{
    uint64_t size = sterna_cursor_u64(r->cursor);
    const uint8_t *bytes = sterna_cursor_bytes(r->cursor, size);
    if (r->cursor->failed)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the file ends in metadata key %llu; it is cut off or damaged: get "
                           "it again",
                           r->path, (unsigned long long)number);
    if (!size || size > STERNA_GGUF_MAX_KEY_BYTES || !sterna_name_is_clean(bytes, (size_t)size))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: metadata key %llu: expected a name of 1 to %d bytes of UTF-8 "
                           "without control characters, found something else",
                           r->path, (unsigned long long)number, STERNA_GGUF_MAX_KEY_BYTES);
    r->key = (sterna_text){.data = (const char *)bytes, .size = (size_t)size};
    return STERNA_OK;
}

static sterna_status check_bools(const reader *r, const uint8_t *bytes, uint64_t count,
                                 sterna_error *err)
{
    for (uint64_t i = 0; i < count; i++)
        if (bytes[i] > 1)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: key '%.*s': a truth value is 0 or 1, found %d", r->path,
                               (int)r->key.size, r->key.data, bytes[i]);
    return STERNA_OK;
}

static sterna_status read_strings(reader *r, sterna_meta *meta, sterna_error *err)
{
    if (meta->count > sterna_cursor_left(r->cursor) / 8) return fail_end(r, err);
    sterna_text *strings = sterna_arena_alloc(r->arena, (size_t)meta->count, sizeof *strings);
    if (!strings) return sterna_fail_memory(err, r->path);
    for (uint64_t i = 0; i < meta->count; i++) {
        sterna_status status = read_string(r, STERNA_GGUF_MAX_ELEMENT_BYTES, &strings[i], err);
        if (status) return status;
    }
    meta->strings = strings;
    return STERNA_OK;
}

static sterna_status read_array(reader *r, sterna_meta *meta, sterna_error *err)
{
    meta->type = STERNA_META_ARRAY;
    meta->element_type = sterna_cursor_u32(r->cursor);
    meta->count = sterna_cursor_u64(r->cursor);
    if (r->cursor->failed) return fail_end(r, err);
    if (meta->count > STERNA_GGUF_MAX_ARRAY)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: key '%.*s': an array of %llu elements; at most %d are allowed",
                           r->path, (int)r->key.size, r->key.data, (unsigned long long)meta->count,
                           STERNA_GGUF_MAX_ARRAY);
    if (meta->element_type == STERNA_GGUF_STRING) return read_strings(r, meta, err);
    size_t size = sterna_gguf_value_size(meta->element_type);
    if (!size)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: key '%.*s': an array of elements of type %u; only numbers, truth "
                           "values and strings may be in an array",
                           r->path, (int)r->key.size, r->key.data, meta->element_type);
    meta->raw = sterna_cursor_bytes(r->cursor, meta->count * size);
    if (r->cursor->failed) return fail_end(r, err);
    if (meta->element_type == STERNA_GGUF_BOOL) return check_bools(r, meta->raw, meta->count, err);
    return STERNA_OK;
}

static sterna_status read_value(reader *r, sterna_meta *meta, sterna_error *err)
{
    sterna_cursor *cursor = r->cursor;
    meta->gguf_type = sterna_cursor_u32(cursor);
    uint8_t truth = 0;
    switch (meta->gguf_type) {
    case STERNA_GGUF_U8: meta->value.u = sterna_cursor_u8(cursor); break;
    case STERNA_GGUF_U16: meta->value.u = sterna_cursor_u16(cursor); break;
    case STERNA_GGUF_U32: meta->value.u = sterna_cursor_u32(cursor); break;
    case STERNA_GGUF_U64: meta->value.u = sterna_cursor_u64(cursor); break;
    case STERNA_GGUF_I8: meta->value.i = (int8_t)sterna_cursor_u8(cursor); break;
    case STERNA_GGUF_I16: meta->value.i = (int16_t)sterna_cursor_u16(cursor); break;
    case STERNA_GGUF_I32: meta->value.i = (int32_t)sterna_cursor_u32(cursor); break;
    case STERNA_GGUF_I64: meta->value.i = (int64_t)sterna_cursor_u64(cursor); break;
    case STERNA_GGUF_F32: meta->value.f = (double)sterna_cursor_f32(cursor); break;
    case STERNA_GGUF_F64: meta->value.f = sterna_cursor_f64(cursor); break;
    case STERNA_GGUF_BOOL:
        truth = sterna_cursor_u8(cursor);
        meta->value.b = truth != 0;
        break;
    case STERNA_GGUF_STRING:
        meta->type = STERNA_META_STRING;
        return read_string(r, STERNA_GGUF_MAX_STRING_BYTES, &meta->value.s, err);
    case STERNA_GGUF_ARRAY: return read_array(r, meta, err);
    default:
        if (cursor->failed) return fail_end(r, err);
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: key '%.*s': value type %u is unknown (0 to %d exist); the file is "
                           "damaged or newer than this program",
                           r->path, (int)r->key.size, r->key.data, meta->gguf_type,
                           STERNA_GGUF_VALUE_TYPES - 1);
    }
    if (cursor->failed) return fail_end(r, err);
    static const uint8_t kinds[STERNA_GGUF_VALUE_TYPES] = {
        [STERNA_GGUF_U8] = STERNA_META_UINT,   [STERNA_GGUF_U16] = STERNA_META_UINT,
        [STERNA_GGUF_U32] = STERNA_META_UINT,  [STERNA_GGUF_U64] = STERNA_META_UINT,
        [STERNA_GGUF_I8] = STERNA_META_INT,    [STERNA_GGUF_I16] = STERNA_META_INT,
        [STERNA_GGUF_I32] = STERNA_META_INT,   [STERNA_GGUF_I64] = STERNA_META_INT,
        [STERNA_GGUF_F32] = STERNA_META_FLOAT, [STERNA_GGUF_F64] = STERNA_META_FLOAT,
        [STERNA_GGUF_BOOL] = STERNA_META_BOOL,
    };
    meta->type = (sterna_meta_type)kinds[meta->gguf_type];
    return check_bools(r, &truth, 1, err);
}

sterna_status sterna_gguf_read_meta(sterna_arena *arena, sterna_cursor *cursor, const char *path,
                                    uint64_t count, sterna_meta **out, sterna_map **keys,
                                    sterna_error *err)
{
    enum { SMALLEST = 8 + 1 + 4 + 1 }; /* a key of one letter and a byte */
    if (count > STERNA_GGUF_MAX_KEYS)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: %llu metadata keys; at most %d are allowed", path,
                           (unsigned long long)count, STERNA_GGUF_MAX_KEYS);
    if (count > sterna_cursor_left(cursor) / SMALLEST)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %llu metadata keys are announced, but only %zu bytes follow; it is "
                           "cut off or damaged: get it again",
                           path, (unsigned long long)count, sterna_cursor_left(cursor));
    sterna_meta *meta = sterna_arena_alloc(arena, (size_t)count, sizeof *meta);
    sterna_map *map = sterna_map_new((size_t)count);
    sterna_status status = meta && map ? STERNA_OK : sterna_fail_memory(err, path);
    reader r = {.arena = arena, .cursor = cursor, .path = path};
    for (uint64_t i = 0; i < count && !status; i++) {
        memset(&meta[i], 0, sizeof meta[i]);
        status = read_key(&r, i, err);
        if (status) break;
        meta[i].key = r.key;
        int32_t old;
        status = sterna_map_put(map, r.key.data, r.key.size, (int32_t)i, &old, err);
        if (!status && old >= 0)
            status = sterna_fail(err, STERNA_ERROR_FORMAT,
                                 "%s: key '%.*s' appears twice; a key may be there only once", path,
                                 (int)r.key.size, r.key.data);
        if (!status) status = read_value(&r, &meta[i], err);
    }
    if (status) {
        sterna_map_free(map);
        return status;
    }
    *out = meta;
    *keys = map;
    return STERNA_OK;
}
