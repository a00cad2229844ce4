/* Joins the parts of native matrices (ternary/native.h) into one tensor of the directory each.
 *
 * A tensor NAME.layout says what there must be: every part that it speaks of has to be there with
 * the type and the shape that follow from it, and no other. Contents of codes and scales are
 * checked when they are packed, outlier columns here.
 */
#include <string.h>

#include "base/memory.h"
#include "formats/internal.h"
#include "ternary/native.h"

enum { SUFFIX_ROOM = 32, MAX_COLUMNS = 1 << 30 };

typedef struct joiner {
    sterna_model_file *file;
    sterna_error *err;
    bool *drop; /* [n_tensors] */
    char name[STERNA_MAX_TENSOR_NAME_BYTES + SUFFIX_ROOM];
    size_t stem; /* bytes of the matrix's name in `name` */
} joiner;

static sterna_tensor *find(joiner *j, const char *suffix)
{
    size_t size = strlen(suffix);
    memcpy(j->name + j->stem, suffix, size + 1);
    int32_t i = sterna_map_get(j->file->private_data->names, j->name, j->stem + size);
    return i < 0 ? NULL : &j->file->private_data->tensors[i];
}

static sterna_status fail(joiner *j, sterna_status status, const char *what)
{
    return sterna_fail(j->err, status, "%s: tensor '%.200s' of a native matrix %s", j->file->path,
                       j->name, what);
}

/* The eight numbers of NAME.layout. */
static sterna_status read_header(joiner *j, const sterna_tensor *header, uint64_t *cols,
                                 sterna_native *native)
{
    if (header->type != STERNA_TYPE_I32 || header->bytes != 4 * STERNA_NATIVE_HEADER)
        return fail(j, STERNA_ERROR_FORMAT, "is not eight numbers of type I32");
    sterna_cursor at = {.data = header->data, .size = (size_t)header->bytes};
    uint32_t v[STERNA_NATIVE_HEADER];
    for (int i = 0; i < STERNA_NATIVE_HEADER; i++) v[i] = sterna_cursor_u32(&at);
    if (v[0] != STERNA_NATIVE_VERSION || v[7])
        return fail(j, STERNA_ERROR_UNSUPPORTED,
                    "has another version than 1, which is what this Sterna knows");
    bool anything = v[1] || v[4] || v[5] || v[6];
    if (v[1] > STERNA_CODE_TWO_BIT || v[6] > STERNA_CODE_TWO_BIT || v[4] > 1 || !anything ||
        v[2] < 1 || v[2] > MAX_COLUMNS || v[3] > v[2] || v[5] > v[2])
        return fail(j, STERNA_ERROR_FORMAT,
                    "holds a number out of its range (docs/FORMAT.md); the file is damaged");
    *cols = v[2];
    *native = (sterna_native){.code = (sterna_trit_code)v[1],
                              .code2 = (sterna_trit_code)v[6],
                              .group = v[3],
                              .shifted = v[4] != 0,
                              .outliers = v[5]};
    return STERNA_OK;
}

/* The tensor whose rows give the matrix its own, and that the matrix takes the place of. */
static sterna_status find_base(joiner *j, uint64_t cols, const sterna_native *native,
                               sterna_tensor **base)
{
    sterna_tensor *plain = find(j, "");
    if (native->code) {
        if (plain) return fail(j, STERNA_ERROR_FORMAT, "is there beside its own codes");
        *base = find(j, sterna_part_suffix(STERNA_PART_CODES));
        return *base ? STERNA_OK : fail(j, STERNA_ERROR_FORMAT, "is missing");
    }
    *base = plain;
    if (!plain) return fail(j, STERNA_ERROR_FORMAT, "is missing");
    const sterna_type_info *type = sterna_type_describe(plain->type);
    if (type->kind != STERNA_KIND_TERNARY || !type->group || plain->native)
        return fail(j, STERNA_ERROR_FORMAT, "is not of a ternary type made of blocks");
    if (plain->dims[0] != cols || (native->group % type->group && native->group != cols))
        return fail(j, STERNA_ERROR_FORMAT,
                    "has other columns, or groups that do not divide those of its layout");
    return STERNA_OK;
}

static bool same_shape(const sterna_tensor *a, const sterna_tensor *b)
{
    return memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

/* Takes a part out of the directory, when the matrix has one. */
static sterna_status take_part(joiner *j, sterna_tensor *matrix, sterna_native *native,
                               sterna_part_kind kind)
{
    sterna_tensor expected;
    bool needed = sterna_native_part(matrix, kind, &expected);
    sterna_tensor *part = find(j, sterna_part_suffix(kind));
    if (!needed)
        return part ? fail(j, STERNA_ERROR_FORMAT, "is there, but its layout does not say so")
                    : STERNA_OK;
    if (!part) return fail(j, STERNA_ERROR_FORMAT, "is missing");
    bool bytes = expected.type == STERNA_TYPE_I8 && part->type == STERNA_TYPE_U8;
    if ((part->type != expected.type && !bytes) || !same_shape(part, &expected))
        return sterna_fail(
            j->err, STERNA_ERROR_FORMAT,
            "%s: tensor '%.200s' of a native matrix is %s of %llu x %llu (columns x rows); its "
            "layout asks for %s of %llu x %llu",
            j->file->path, j->name, sterna_type_describe(part->type)->name,
            (unsigned long long)part->dims[0], (unsigned long long)sterna_tensor_rows(part),
            sterna_type_describe(expected.type)->name, (unsigned long long)expected.dims[0],
            (unsigned long long)sterna_tensor_rows(&expected));
    native->part[kind] = part->data;
    j->drop[part - j->file->private_data->tensors] = true;
    return STERNA_OK;
}

static sterna_status check_outliers(joiner *j, const sterna_native *native, uint64_t cols)
{
    sterna_cursor at = {.data = native->part[STERNA_PART_OUTLIER_COLUMNS],
                        .size = (size_t)native->outliers * 4};
    uint64_t least = 0;
    for (uint32_t i = 0; i < native->outliers; i++) {
        uint32_t column = sterna_cursor_u32(&at);
        find(j, sterna_part_suffix(STERNA_PART_OUTLIER_COLUMNS)); /* the name for the sentence */
        if (column < least || column >= cols)
            return fail(j, STERNA_ERROR_FORMAT,
                        "does not hold columns of the matrix in ascending order");
        least = (uint64_t)column + 1;
    }
    return STERNA_OK;
}

/* One float32 scale for a row or the tensor, where nothing needs finer ones beside it. */
static bool is_wide(joiner *j, const sterna_native *native, uint64_t cols)
{
    const sterna_tensor *scales = find(j, sterna_part_suffix(STERNA_PART_SCALES));
    return native->code && scales && scales->type == STERNA_TYPE_F32 && !native->shifted &&
           !native->code2 && (native->group == 0 || native->group == cols);
}

/* The matrix whose layout is tensor `index` of the directory. */
static sterna_status join(joiner *j, size_t index)
{
    struct sterna_model_file_private *own = j->file->private_data;
    sterna_native *native = sterna_arena_alloc(&own->arena, 1, sizeof *native);
    if (!native) return sterna_fail_memory(j->err, j->file->path);
    uint64_t cols = 0;
    sterna_tensor *base = NULL;
    sterna_status status = read_header(j, &own->tensors[index], &cols, native);
    if (!status) status = find_base(j, cols, native, &base);
    if (status) return status;
    native->wide = is_wide(j, native, cols);
    sterna_tensor matrix = *base;
    matrix.native = native;
    matrix.name = sterna_arena_string(&own->arena, j->name, j->stem);
    if (!matrix.name) return sterna_fail_memory(j->err, j->file->path);
    if (native->code) {
        matrix.type = STERNA_TYPE_NATIVE;
        matrix.dims[0] = cols;
        matrix.data = NULL;
        matrix.bytes = 0;
    }
    for (int kind = 0; kind < STERNA_PARTS && !status; kind++)
        status = take_part(j, &matrix, native, (sterna_part_kind)kind);
    if (!status) status = check_outliers(j, native, cols);
    if (status) return status;
    matrix.bytes += sterna_native_bytes(&matrix);
    j->drop[index] = true;
    j->drop[base - own->tensors] = false;
    *base = matrix;
    return STERNA_OK;
}

sterna_status sterna_native_join(sterna_model_file *file, sterna_error *err)
{
    static const char suffix[] = STERNA_NATIVE_HEADER_SUFFIX;
    const size_t tail = sizeof suffix - 1;
    joiner j = {.file = file, .err = err};
    j.drop = sterna_calloc(file->n_tensors, sizeof *j.drop);
    if (!j.drop) return sterna_fail_memory(err, file->path);
    sterna_status status = STERNA_OK;
    bool any = false;
    for (size_t i = 0; i < file->n_tensors && !status; i++) {
        const char *name = file->tensors[i].name;
        size_t size = strlen(name);
        if (size <= tail || strcmp(name + size - tail, suffix) != 0) continue;
        memcpy(j.name, name, size + 1);
        j.stem = size - tail;
        any = true;
        status = join(&j, i);
    }
    if (!status && any) status = sterna_directory_prune(file, j.drop, err);
    sterna_free(j.drop);
    return status;
}
