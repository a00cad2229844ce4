/* GGUF versions 2 and 3: header, metadata, tensor directory; split files.
 *
 * Layout: "GGUF", u32 version, u64 tensors, u64 keys, the keys and values, the tensor entries
 * (name, dims, type, offset), padding to the alignment, the data. Tensors may lie in any order and
 * with any padding between them, but inside the file, aligned and without overlap. (Specification:
 * ggml docs/gguf.md.)
 */
#include "formats/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The directory of one part: what precedes its tensor entries. */
typedef struct part {
    sterna_cursor cursor; /* behind the metadata */
    const char *path;
    uint32_t version, alignment;
    uint64_t n_tensors, n_meta;
    sterna_meta *meta;
    sterna_map *keys;
    uint32_t split_no, split_count; /* split_count 0: not a part of a split file */
    uint64_t split_tensors;
} part;

static const sterna_meta *part_meta(const part *p, const char *key)
{
    int32_t i = sterna_map_get(p->keys, key, strlen(key));
    return i < 0 ? NULL : &p->meta[i];
}

/* ---- header ---- */

static sterna_status read_alignment(part *p, sterna_error *err)
{
    p->alignment = STERNA_GGUF_DEFAULT_ALIGNMENT;
    const sterna_meta *meta = part_meta(p, "general.alignment");
    if (!meta) return STERNA_OK;
    if (meta->gguf_type != STERNA_GGUF_U32)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: general.alignment: expected a value of type 4 (uint32), found "
                           "type %u",
                           p->path, meta->gguf_type);
    uint64_t alignment = meta->value.u;
    if (!alignment || alignment & (alignment - 1) || alignment > STERNA_GGUF_MAX_ALIGNMENT)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: general.alignment is %llu; expected a power of two up to %d",
                           p->path, (unsigned long long)alignment, STERNA_GGUF_MAX_ALIGNMENT);
    p->alignment = (uint32_t)alignment;
    return STERNA_OK;
}

/* The split.* numbers; gguf-split and others write them with different integer types. */
static sterna_status read_split_number(const part *p, const char *key, uint64_t max, uint64_t *out,
                                       sterna_error *err)
{
    const sterna_meta *meta = part_meta(p, key);
    if (!meta) return STERNA_OK;
    bool known =
        meta->type == STERNA_META_UINT || (meta->type == STERNA_META_INT && meta->value.i >= 0);
    uint64_t value = meta->type == STERNA_META_INT ? (uint64_t)meta->value.i : meta->value.u;
    if (!known || value > max)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: key '%s': expected an integer from 0 to %llu", p->path, key,
                           (unsigned long long)max);
    *out = value;
    return STERNA_OK;
}

static sterna_status read_split(part *p, sterna_error *err)
{
    uint64_t no = 0, count = 0;
    sterna_status status = read_split_number(p, "split.count", UINT16_MAX, &count, err);
    if (!status) status = read_split_number(p, "split.no", UINT16_MAX, &no, err);
    p->split_tensors = UINT64_MAX;
    if (!status)
        status =
            read_split_number(p, "split.tensors.count", STERNA_MAX_TENSORS, &p->split_tensors, err);
    if (status) return status;
    if (count && no >= count)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: split.no is %llu, but split.count is %llu; parts are numbered from "
                           "0",
                           p->path, (unsigned long long)no, (unsigned long long)count);
    p->split_no = (uint32_t)no;
    p->split_count = (uint32_t)count;
    return STERNA_OK;
}

static sterna_status check_version(const char *path, uint32_t version, sterna_error *err)
{
    if (version == 2 || version == 3) return STERNA_OK;
    if (version == UINT32_C(2) << 24 || version == UINT32_C(3) << 24)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: a big-endian GGUF file; convert the model again for little-endian "
                           "machines",
                           path);
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: GGUF version %u; versions 2 and 3 can be read: convert the model again "
                       "from its source",
                       path, version);
}

static sterna_status read_header(sterna_model_file *file, const sterna_source *source, part *p,
                                 sterna_error *err)
{
    *p = (part){.path = source->path};
    p->cursor = (sterna_cursor){.data = source->data, .size = source->size};
    const uint8_t *magic = sterna_cursor_bytes(&p->cursor, 4);
    p->version = sterna_cursor_u32(&p->cursor);
    p->n_tensors = sterna_cursor_u64(&p->cursor);
    p->n_meta = sterna_cursor_u64(&p->cursor);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) /* a later part of a split file */
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: not a GGUF file", p->path);
    if (source->size >= 8) {
        sterna_status status = check_version(p->path, p->version, err);
        if (status) return status;
    }
    if (p->cursor.failed)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the file ends inside its header of 24 bytes; get it again",
                           p->path);
    sterna_status status = sterna_gguf_read_meta(&file->private_data->arena, &p->cursor, p->path,
                                                 p->n_meta, &p->meta, &p->keys, err);
    if (!status) status = read_alignment(p, err);
    if (!status) status = read_split(p, err);
    return status;
}

/* ---- tensors ---- */

typedef struct place {
    uint64_t offset; /* from the start of the data */
    size_t index;    /* of the tensor */
} place;

static const struct {
    uint32_t id;
    const char *name;
} foreign_types[] = {
    {4, "Q4_2, removed"},
    {5, "Q4_3, removed"},
    {9, "Q8_1"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS"},
    {29, "IQ1_M"},
    {31, "Q4_0_4_4"},
    {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"},
    {37, "I8_S"},
    {38, "TL1 of bitnet.cpp"},
    {39, "MXFP4 or TL2"},
    {40, "NVFP4"},
    {134, "IQ1_BN of ik_llama.cpp"},
    {135, "IQ2_BN of ik_llama.cpp"},
};

static sterna_status fail_type(sterna_error *err, const char *path, const char *name, uint32_t id)
{
    const char *known = "";
    for (size_t i = 0; i < sizeof foreign_types / sizeof *foreign_types; i++)
        if (foreign_types[i].id == id) known = foreign_types[i].name;
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: tensor '%s' has type %u%s%s%s, which cannot be read; convert the model "
                       "from its source to F16, Q8_0, a K-quant or a ternary type",
                       path, name, id, *known ? " (" : "", known, *known ? ")" : "");
}

/* One entry. The tensor's data and size are settled when all entries are known. */
static sterna_status read_entry(sterna_model_file *file, part *p, place *where, sterna_error *err)
{
    sterna_cursor *cursor = &p->cursor;
    uint64_t name_size = sterna_cursor_u64(cursor);
    const uint8_t *name = sterna_cursor_bytes(cursor, name_size);
    uint32_t n_dims = sterna_cursor_u32(cursor);
    sterna_tensor tensor = {.dims = {1, 1, 1, 1}};
    bool dims_ok = n_dims >= 1 && n_dims <= 4;
    for (uint32_t i = 0; dims_ok && i < n_dims; i++) tensor.dims[i] = sterna_cursor_u64(cursor);
    uint32_t id = sterna_cursor_u32(cursor);
    where->offset = sterna_cursor_u64(cursor);
    where->index = file->n_tensors;
    if (cursor->failed)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the file ends in the tensor directory, at tensor %zu; it is cut "
                           "off or damaged: get it again",
                           p->path, file->n_tensors);
    sterna_status status =
        sterna_directory_add(file, p->path, name, (size_t)name_size, &tensor, err);
    if (status) return status;
    sterna_tensor *added = &file->private_data->tensors[where->index];
    if (!dims_ok)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' has %u dimensions; expected 1 to 4", p->path,
                           added->name, n_dims);
    added->n_dims = (int)n_dims;
    for (uint32_t i = 0; i < n_dims; i++)
        if (!added->dims[i])
            return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: tensor '%s': dimension %u is 0",
                               p->path, added->name, i);
    added->order = file->private_data->i2s_order;
    if (!sterna_type_from_gguf(id, &added->type)) return fail_type(err, p->path, added->name, id);
    return STERNA_OK;
}

static int by_offset(const void *left, const void *right)
{
    const place *a = left, *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Two layouts go by type number 42: groups of 64 (18 bytes a block), and an older one with groups
 * of 128 (34 bytes). The distance to the next tensor tells them apart, unless padding hides the
 * difference (tensors of a few hundred weights); one tensor that can tell speaks for the file, and
 * where none can, the layout of today is taken. */
static sterna_status settle_q2_0(sterna_model_file *file, const part *p, const place *places,
                                 size_t count, uint64_t data_size, sterna_error *err)
{
    const char *of64 = NULL, *of128 = NULL;
    sterna_tensor *tensors = file->private_data->tensors;
    for (size_t i = 0; i < count; i++) {
        const sterna_tensor *tensor = &tensors[places[i].index];
        uint64_t end = i + 1 < count ? places[i + 1].offset : data_size, mask = p->alignment - 1;
        if (tensor->type != STERNA_TYPE_Q2_0 || end < places[i].offset) continue;
        uint64_t distance = end - places[i].offset, size64, size128,
                 rows = sterna_tensor_rows(tensor);
        if (!sterna_type_bytes(STERNA_TYPE_Q2_0, tensor->dims[0], rows, &size64)) continue;
        if (!sterna_type_bytes(STERNA_TYPE_Q2_0_G128, tensor->dims[0], rows, &size128)) {
            of64 = tensor->name;
            continue;
        }
        uint64_t padded64 = (size64 + mask) & ~mask, padded128 = (size128 + mask) & ~mask;
        if (distance < size64 || (distance == padded128 && padded128 != padded64))
            of128 = tensor->name;
        else if (distance == padded64 && padded128 != padded64)
            of64 = tensor->name;
    }
    if (of64 && of128)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: by their distances tensor '%s' (type 42, Q2_0) has groups of 64 "
                           "and tensor '%s' groups of 128; a file holds one of the two: it is "
                           "damaged, or was put together from different files",
                           p->path, of64, of128);
    for (size_t i = 0; of128 && i < count; i++) {
        sterna_tensor *tensor = &tensors[places[i].index];
        if (tensor->type == STERNA_TYPE_Q2_0) tensor->type = STERNA_TYPE_Q2_0_G128;
    }
    return STERNA_OK;
}

/* Sizes, alignment, bounds and overlaps of one part's tensors, `places` sorted by offset. */
static sterna_status place_tensors(sterna_model_file *file, const part *p, const place *places,
                                   size_t count, const uint8_t *data, uint64_t data_size,
                                   sterna_error *err)
{
    const sterna_tensor *before = NULL;
    for (size_t i = 0; i < count; i++) {
        sterna_tensor *tensor = &file->private_data->tensors[places[i].index];
        uint64_t offset = places[i].offset;
        uint64_t n = tensor->dims[0], rows = 1;
        bool fits = true;
        for (int d = 1; d < 4; d++) fits = fits && sterna_mul_u64(rows, tensor->dims[d], &rows);
        fits = fits && sterna_mul_u64(n, rows, &n) && n <= INT64_MAX;
        if (!fits || !sterna_type_bytes(tensor->type, tensor->dims[0], rows, &tensor->bytes))
            return sterna_fail_shape(err, p->path, tensor);
        if (offset & (p->alignment - 1))
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: tensor '%s' begins at data byte %llu, which is no multiple of "
                               "the alignment %u",
                               p->path, tensor->name, (unsigned long long)offset, p->alignment);
        if (offset > data_size || tensor->bytes > data_size - offset)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: tensor '%s' takes %llu bytes from data byte %llu on, but the "
                               "file has %llu bytes of data; it is cut off or damaged: get it "
                               "again",
                               p->path, tensor->name, (unsigned long long)tensor->bytes,
                               (unsigned long long)offset, (unsigned long long)data_size);
        tensor->data = data + offset;
        if (before && tensor->data < before->data + before->bytes)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: the tensors '%s' and '%s' overlap; the file is damaged",
                               p->path, before->name, tensor->name);
        before = tensor;
    }
    return STERNA_OK;
}

static sterna_status read_tensors(sterna_model_file *file, const sterna_source *source, part *p,
                                  sterna_error *err)
{
    enum { SMALLEST = 8 + 1 + 4 + 8 + 4 + 8 }; /* a name of one letter, one dimension */
    if (p->n_tensors > STERNA_MAX_TENSORS)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "%s: %llu tensors; at most %d are allowed",
                           p->path, (unsigned long long)p->n_tensors, STERNA_MAX_TENSORS);
    if (p->n_tensors > sterna_cursor_left(&p->cursor) / SMALLEST)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %llu tensors are announced, but only %zu bytes follow; it is cut "
                           "off or damaged: get it again",
                           p->path, (unsigned long long)p->n_tensors,
                           sterna_cursor_left(&p->cursor));
    size_t count = (size_t)p->n_tensors;
    place *places = sterna_alloc(count, sizeof *places);
    if (!places) return sterna_fail_memory(err, p->path);
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < count && !status; i++) status = read_entry(file, p, &places[i], err);
    size_t start = (p->cursor.at + p->alignment - 1) & ~(size_t)(p->alignment - 1);
    uint64_t data_size = start < source->size ? source->size - start : 0;
    if (!status) {
        qsort(places, count, sizeof *places, by_offset);
        status = settle_q2_0(file, p, places, count, data_size, err);
    }
    if (!status)
        status = place_tensors(file, p, places, count, data_size ? source->data + start : NULL,
                               data_size, err);
    sterna_free(places);
    return status;
}

/* ---- split files ---- */

enum { SUFFIX = sizeof "-00001-of-00002.gguf" - 1 };

/* A part of a split file is called "anything-00001-of-00003.gguf"; the others are found by changing
 * the number, so the given name must be its own. */
static bool named_as_part(const part *given)
{
    char suffix[SUFFIX + 16];
    size_t size = strlen(given->path);
    snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", given->split_no + 1, given->split_count);
    return size > SUFFIX && strcmp(given->path + size - SUFFIX, suffix) == 0;
}

static const char *part_path(sterna_arena *arena, const part *given, uint32_t no)
{
    char suffix[SUFFIX + 16];
    size_t size = strlen(given->path);
    snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", no + 1, given->split_count);
    char *path = sterna_arena_string(arena, given->path, size);
    if (path) memcpy(path + size - SUFFIX, suffix, SUFFIX);
    return path;
}

static sterna_status check_part(const part *given, const part *p, uint32_t no, sterna_error *err)
{
    if (p->split_count != given->split_count || p->split_no != no)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: expected part %u of %u by its name, but it says that it is part %u "
                           "of %u; give the parts their own names back",
                           p->path, no + 1, given->split_count, p->split_no + 1, p->split_count);
    const sterna_meta *a = part_meta(given, "general.architecture"),
                      *b = part_meta(p, "general.architecture");
    bool differs = a && b && a->type == STERNA_META_STRING && b->type == STERNA_META_STRING &&
                   (a->value.s.size != b->value.s.size ||
                    memcmp(a->value.s.data, b->value.s.data, a->value.s.size) != 0);
    if (differs || p->split_tensors != given->split_tensors || p->version != given->version)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s and %s are parts of different models; get all %u parts from one "
                           "place",
                           given->path, p->path, given->split_count);
    return STERNA_OK;
}

/* The part's metadata become the file's, without the keys that tell of the split. */
static void adopt_meta(sterna_model_file *file, part *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n_meta; i++)
        if (p->meta[i].key.size < 6 || memcmp(p->meta[i].key.data, "split.", 6) != 0)
            p->meta[kept++] = p->meta[i];
    file->gguf_version = p->version;
    file->alignment = p->alignment;
    file->meta = p->meta;
    file->n_meta = kept;
}

/* Keys to indices, for the metadata that were kept. */
static sterna_status index_meta(sterna_model_file *file, sterna_error *err)
{
    sterna_map *keys = sterna_map_new(file->n_meta);
    if (!keys) return sterna_fail_memory(err, file->path);
    file->private_data->keys = keys;
    for (size_t i = 0; i < file->n_meta; i++) {
        const sterna_text *key = &file->meta[i].key;
        sterna_status status = sterna_map_put(keys, key->data, key->size, (int32_t)i, NULL, err);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_status open_part(sterna_model_file *file, const part *given, uint32_t no, part *p,
                               size_t *source, sterna_error *err)
{
    const char *path = part_path(&file->private_data->arena, given, no);
    if (!path) return sterna_fail_memory(err, given->path);
    sterna_status status = sterna_source_open(file, path, source, err);
    if (status == STERNA_ERROR_IO)
        return sterna_fail_prefix(err,
                                  "%s: part %u of %u cannot be read; all parts must be in one "
                                  "folder",
                                  sterna_path_name(given->path), no + 1, given->split_count);
    if (!status) status = read_header(file, &file->private_data->sources[*source], p, err);
    return status ? status : check_part(given, p, no, err);
}

/* All parts in their order; `given` is the one whose path the caller has, source 0. */
static sterna_status read_parts(sterna_model_file *file, part *given, sterna_error *err)
{
    if (!file->private_data->sources[0].mapping)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: part %u of %u of a split file; only from a path can the others be "
                           "found",
                           given->path, given->split_no + 1, given->split_count);
    if (!named_as_part(given))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: says that it is part %u of %u, so its name must end in "
                           "-%05u-of-%05u.gguf; give the parts their own names back",
                           given->path, given->split_no + 1, given->split_count,
                           given->split_no + 1, given->split_count);
    sterna_status status = STERNA_OK;
    for (uint32_t no = 0; no < given->split_count && !status; no++) {
        part other = {0}, *p = no == given->split_no ? given : &other;
        size_t source = 0;
        if (p == &other) status = open_part(file, given, no, p, &source, err);
        if (!status) status = read_tensors(file, &file->private_data->sources[source], p, err);
        if (!status && !no) adopt_meta(file, p);
        sterna_map_free(other.keys);
    }
    if (!status && given->split_tensors != UINT64_MAX && file->n_tensors != given->split_tensors)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the %u parts hold %zu tensors together, but split.tensors.count is "
                           "%llu; get the parts again from one place",
                           given->path, given->split_count, file->n_tensors,
                           (unsigned long long)given->split_tensors);
    return status;
}

sterna_status sterna_gguf_read(sterna_model_file *file, sterna_error *err)
{
    part p = {0};
    sterna_status status = read_header(file, &file->private_data->sources[0], &p, err);
    if (!status && p.split_count > 1) {
        status = read_parts(file, &p, err);
    } else if (!status) {
        status = read_tensors(file, &file->private_data->sources[0], &p, err);
        adopt_meta(file, &p);
    }
    sterna_map_free(p.keys);
    file->container = STERNA_GGUF;
    return status ? status : index_meta(file, err);
}
