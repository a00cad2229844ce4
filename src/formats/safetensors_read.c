/* safetensors: u64 header size, a JSON object "name -> {dtype, shape, data_offsets}", the data.
 *
 * The header is walked entry by entry and each entry parsed alone, so that a header of 100 MB never
 * becomes a tree of gigabytes. Data must cover the file from the header's end to the last byte
 * without gap or overlap, as the specification demands: a file can then hide nothing, and the same
 * bytes cannot be read in two ways. Shapes are turned around: dims[0] is the last one.
 */
#include "formats/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MAX_ENTRY_BYTES = 64 << 10, MAX_METADATA_BYTES = 4 << 20, MAX_SHAPE = 16 };

typedef struct extent {
    uint64_t begin, end; /* within the data */
    const char *name;
} extent;

/* The walk through the header. */
typedef struct walk {
    sterna_model_file *file;
    const char *path;
    const char *json;
    size_t size, at;
    const uint8_t *data; /* behind the header */
    uint64_t data_size;
    extent *extents;
    size_t n_extents, room;
    bool has_metadata;
} walk;

static const struct {
    const char *name;
    sterna_type type;
    size_t size;
} dtypes[] = {
    {"F32", STERNA_TYPE_F32, 4}, {"F16", STERNA_TYPE_F16, 2}, {"BF16", STERNA_TYPE_BF16, 2},
    {"F64", STERNA_TYPE_F64, 8}, {"I8", STERNA_TYPE_I8, 1},   {"I16", STERNA_TYPE_I16, 2},
    {"I32", STERNA_TYPE_I32, 4}, {"I64", STERNA_TYPE_I64, 8}, {"U8", STERNA_TYPE_U8, 1},
    {"BOOL", STERNA_TYPE_U8, 1},
};

static void skip_space(walk *w)
{
    while (w->at < w->size && strchr(" \t\r\n", w->json[w->at]) && w->json[w->at]) w->at++;
}

static sterna_status fail_header(const walk *w, const char *expected, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: safetensors header, byte %zu: expected %s; the file is damaged: get it "
                       "again",
                       w->path, w->at, expected);
}

static sterna_status take(walk *w, char c, sterna_error *err)
{
    skip_space(w);
    const char expected[] = {'\'', c, '\'', 0};
    if (w->at >= w->size || w->json[w->at] != c) return fail_header(w, expected, err);
    w->at++;
    return STERNA_OK;
}

/* One JSON value of at most `limit` bytes; the walk goes on behind it. */
static sterna_status take_value(walk *w, size_t limit, json_t **out, sterna_error *err)
{
    skip_space(w);
    size_t left = w->size - w->at;
    json_error_t why;
    json_t *value =
        json_loadb(w->json + w->at, left < limit ? left : limit,
                   JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &why);
    if (!value && sterna_json_no_memory(&why)) return sterna_fail_memory(err, w->path);
    if (!value)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: safetensors header, entry at byte %zu: %s (an entry may have %zu "
                           "bytes)",
                           w->path, w->at, why.text, limit);
    w->at += (size_t)why.position;
    *out = value;
    return STERNA_OK;
}

/* ---- one entry ---- */

static sterna_status fail_entry(const walk *w, const char *name, const char *what,
                                sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: tensor '%s': %s", w->path, name, what);
}

/* More than four dimensions (the kernels of convolutions) fold into the outermost one. */
static sterna_status read_shape(const walk *w, const char *name, const json_t *shape,
                                sterna_tensor *tensor, sterna_error *err)
{
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > MAX_SHAPE)
        return fail_entry(w, name, "expected \"shape\", an array of up to 16 integers", err);
    tensor->n_dims = n > 4 ? 4 : n ? (int)n : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *number = json_array_get(shape, n - 1 - i);
        size_t d = i < 4 ? i : 3;
        json_int_t value = json_integer_value(number);
        if (!json_is_integer(number) || value < 0)
            return fail_entry(w, name, "\"shape\" holds something other than integers from 0 on",
                              err);
        if (!sterna_mul_u64(tensor->dims[d], (uint64_t)value, &tensor->dims[d]))
            return fail_entry(w, name, "\"shape\" is larger than any file", err);
    }
    return STERNA_OK;
}

static sterna_status read_offsets(const walk *w, const char *name, const json_t *offsets,
                                  extent *out, sterna_error *err)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return fail_entry(w, name, "expected \"data_offsets\", two integers", err);
    json_int_t b = json_integer_value(begin), e = json_integer_value(end);
    if (b < 0 || e < b || (uint64_t)e > w->data_size)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s': data_offsets %lld to %lld do not lie within the %llu "
                           "bytes of data; the file is cut off or damaged: get it again",
                           w->path, name, (long long)b, (long long)e,
                           (unsigned long long)w->data_size);
    out->begin = (uint64_t)b;
    out->end = (uint64_t)e;
    return STERNA_OK;
}

static sterna_status read_dtype(const walk *w, const char *name, const json_t *dtype,
                                sterna_tensor *tensor, size_t *size, sterna_error *err)
{
    const char *text = json_string_value(dtype);
    if (!text) return fail_entry(w, name, "expected \"dtype\", a string", err);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(text, dtypes[i].name) == 0) {
            tensor->type = dtypes[i].type;
            *size = dtypes[i].size;
            return STERNA_OK;
        }
    if (strlen(text) > 32 || !sterna_name_is_clean(text, strlen(text))) text = "?";
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: tensor '%s' has dtype %s, which cannot be read; use the model's F32, "
                       "F16 or BF16 form",
                       w->path, name, text);
}

static sterna_status add_entry(walk *w, const char *name, const json_t *entry, sterna_error *err)
{
    sterna_tensor tensor = {.dims = {1, 1, 1, 1}};
    extent where = {0};
    size_t size = 0;
    if (!json_is_object(entry)) return fail_entry(w, name, "expected an object", err);
    sterna_status status =
        read_dtype(w, name, json_object_get(entry, "dtype"), &tensor, &size, err);
    if (!status) status = read_shape(w, name, json_object_get(entry, "shape"), &tensor, err);
    if (!status)
        status = read_offsets(w, name, json_object_get(entry, "data_offsets"), &where, err);
    if (status) return status;
    uint64_t bytes = size;
    for (int d = 0; d < 4; d++)
        if (!sterna_mul_u64(bytes, tensor.dims[d], &bytes))
            return fail_entry(w, name, "\"shape\" is larger than any file", err);
    if (bytes != where.end - where.begin)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s': its shape and dtype make %llu bytes, data_offsets "
                           "%llu",
                           w->path, name, (unsigned long long)bytes,
                           (unsigned long long)(where.end - where.begin));
    if (!bytes) return STERNA_OK; /* a tensor without elements: nothing to hand out */
    tensor.bytes = bytes;
    tensor.data = w->data + where.begin;
    status = sterna_directory_add(w->file, w->path, name, strlen(name), &tensor, err);
    if (status) return status;
    if (w->n_extents == w->room) {
        size_t room = w->room ? w->room * 2 : 256;
        extent *extents = sterna_realloc(w->extents, room, sizeof *extents);
        if (!extents) return sterna_fail_memory(err, w->path);
        w->extents = extents;
        w->room = room;
    }
    where.name = w->file->tensors[w->file->n_tensors - 1].name;
    w->extents[w->n_extents++] = where;
    return STERNA_OK;
}

static sterna_status check_metadata(walk *w, json_t *metadata, sterna_error *err)
{
    const char *key;
    json_t *value;
    if (w->has_metadata) return fail_header(w, "\"__metadata__\" only once", err);
    w->has_metadata = true;
    if (!json_is_object(metadata)) return fail_header(w, "\"__metadata__\" to be an object", err);
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return fail_header(
        w, "strings in \"__metadata__\"", err);
    return STERNA_OK;
}

/* ---- the whole ---- */

static sterna_status read_entries(walk *w, sterna_error *err)
{
    sterna_status status = take(w, '{', err);
    skip_space(w);
    bool more = !status && !(w->at < w->size && w->json[w->at] == '}');
    while (more && !status) {
        json_t *name = NULL, *value = NULL;
        status = take_value(w, MAX_ENTRY_BYTES, &name, err);
        if (!status && !json_is_string(name)) status = fail_header(w, "a name", err);
        if (!status) status = take(w, ':', err);
        bool metadata = !status && strcmp(json_string_value(name), "__metadata__") == 0;
        if (!status)
            status = take_value(w, metadata ? MAX_METADATA_BYTES : MAX_ENTRY_BYTES, &value, err);
        if (!status)
            status = metadata ? check_metadata(w, value, err)
                              : add_entry(w, json_string_value(name), value, err);
        json_decref(name);
        json_decref(value);
        skip_space(w);
        more = w->at < w->size && w->json[w->at] == ',';
        w->at += more;
    }
    if (!status) status = take(w, '}', err);
    skip_space(w);
    if (!status && w->at < w->size) status = fail_header(w, "nothing behind the object", err);
    return status;
}

static int by_begin(const void *left, const void *right)
{
    const extent *a = left, *b = right;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

static sterna_status check_coverage(const walk *w, sterna_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < w->n_extents; i++) {
        const extent *e = &w->extents[i];
        if (e->begin != at)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: tensor '%s' begins at data byte %llu, but the tensor before it "
                               "ends at %llu; gaps and overlaps are not allowed: the file is "
                               "damaged",
                               w->path, e->name, (unsigned long long)e->begin,
                               (unsigned long long)at);
        at = e->end;
    }
    if (at != w->data_size)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %llu bytes of data belong to no tensor; the file is damaged",
                           w->path, (unsigned long long)(w->data_size - at));
    return STERNA_OK;
}

bool sterna_safetensors_is(const sterna_source *source)
{
    sterna_cursor cursor = {.data = source->data, .size = source->size};
    uint64_t size = sterna_cursor_u64(&cursor);
    return sterna_cursor_u8(&cursor) == '{' && !cursor.failed &&
           (size <= source->size - 8 || size <= STERNA_SAFETENSORS_MAX_HEADER);
}

sterna_status sterna_safetensors_read(sterna_model_file *file, size_t index, sterna_error *err)
{
    const sterna_source *source = &file->private_data->sources[index];
    sterna_cursor cursor = {.data = source->data, .size = source->size};
    uint64_t size = sterna_cursor_u64(&cursor);
    if (!cursor.failed && size > STERNA_SAFETENSORS_MAX_HEADER)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: a safetensors header of %llu bytes; at most %d are allowed",
                           source->path, (unsigned long long)size, STERNA_SAFETENSORS_MAX_HEADER);
    const uint8_t *json = sterna_cursor_bytes(&cursor, size);
    if (cursor.failed)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the file ends inside its safetensors header; it is cut off or "
                           "damaged: get it again",
                           source->path);
    walk w = {.file = file,
              .path = source->path,
              .json = (const char *)json,
              .size = (size_t)size,
              .data = source->data + cursor.at,
              .data_size = source->size - cursor.at};
    sterna_status status =
        size && json[0] == '{' ? read_entries(&w, err) : fail_header(&w, "'{'", err);
    if (!status && w.n_extents) qsort(w.extents, w.n_extents, sizeof *w.extents, by_begin);
    if (!status) status = check_coverage(&w, err);
    sterna_free(w.extents);
    return status;
}
