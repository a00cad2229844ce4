/* Items: what their output looks like, and matrices that are filled row by row. */
#include "quant/stream.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

static bool is_ternary(const sterna_item *item)
{
    return sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
}

void sterna_item_group(sterna_item *item, uint64_t group)
{
    uint64_t cols = item->tensor->dims[0];
    bool native = item->type == STERNA_TYPE_NATIVE;
    item->form = (sterna_native){.code = native ? STERNA_CODE_BASE3 : STERNA_CODE_NONE,
                                 .group = (uint32_t)(group < cols ? group : cols),
                                 .wide = native && group == 0};
}

bool sterna_item_has_parts(const sterna_item *item)
{
    const sterna_native *form = &item->form;
    return is_ternary(item) &&
           (item->type == STERNA_TYPE_NATIVE || form->shifted || form->code2 || form->outliers);
}

/* The output without data: what sizes depend on. */
static sterna_tensor shape_of(const sterna_item *item)
{
    sterna_tensor shape = *item->tensor;
    shape.name = item->name;
    shape.type = item->type;
    shape.native = sterna_item_has_parts(item) ? &item->form : NULL;
    shape.data = NULL;
    return shape;
}

/* Bytes of the tensor itself, without parts beside it. */
static uint64_t base_bytes(const sterna_item *item)
{
    uint64_t bytes = 0;
    if (item->type != STERNA_TYPE_NATIVE)
        sterna_type_bytes(item->type, item->tensor->dims[0], sterna_tensor_rows(item->tensor),
                          &bytes);
    return bytes;
}

uint64_t sterna_item_bytes(const sterna_item *item)
{
    sterna_tensor shape = shape_of(item);
    return base_bytes(item) + (shape.native ? sterna_native_bytes(&shape) : 0);
}

sterna_tensor sterna_item_output(const sterna_item *item)
{
    sterna_tensor output = shape_of(item);
    output.bytes = sterna_item_bytes(item);
    if (item->type != STERNA_TYPE_NATIVE) output.data = item->packed;
    return output;
}

/* Little-endian int32 values. */
static void put_columns(uint8_t *out, const uint32_t *columns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (int b = 0; b < 4; b++) *out++ = (uint8_t)(columns[i] >> 8 * b);
}

sterna_status sterna_item_prepare(sterna_item *item, const uint32_t *columns, sterna_error *err)
{
    sterna_native *form = &item->form;
    const sterna_type_info *type = sterna_type_describe(item->type);
    uint64_t cols = item->tensor->dims[0];
    if (item->type != STERNA_TYPE_NATIVE &&
        (!type->group || (form->group % type->group && form->group != cols)))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "tensor '%s': groups of %u columns do not consist of the groups of %u "
                           "that %s has; choose a multiple of %u, or the type native, which holds "
                           "any group",
                           item->name, form->group, type->group, type->name, type->group);
    sterna_free(item->packed);
    item->packed = sterna_calloc((size_t)sterna_item_bytes(item), 1);
    if (!item->packed) return sterna_fail_memory(err, item->name);
    sterna_tensor shape = shape_of(item);
    if (shape.native) sterna_native_bind(&shape, form, item->packed + base_bytes(item));
    if (shape.native && form->outliers)
        put_columns((uint8_t *)(uintptr_t)form->part[STERNA_PART_OUTLIER_COLUMNS], columns,
                    form->outliers);
    item->verb = STERNA_VERB_READY;
    item->measured = true;
    return STERNA_OK;
}

sterna_status sterna_item_restore(sterna_item *item, const uint8_t *bytes, sterna_error *err)
{
    size_t size = (size_t)sterna_item_bytes(item);
    sterna_tensor shape = shape_of(item);
    item->packed = sterna_alloc(size, 1);
    if (!item->packed) return sterna_fail_memory(err, item->name);
    if (shape.native) sterna_native_bind(&shape, &item->form, item->packed + base_bytes(item));
    memcpy(item->packed, bytes, size); /* the header of the parts is the same */
    item->verb = STERNA_VERB_READY;
    item->measured = true;
    return STERNA_OK;
}

/* Scales and trits of a row into the blocks of a standard layout. */
static void store_blocks(sterna_item *item, uint64_t row, const sterna_ternary_row *values)
{
    const sterna_type_info *type = sterna_type_describe(item->type);
    size_t cols = (size_t)item->tensor->dims[0], group = item->form.group ? item->form.group : cols;
    size_t bytes = cols / type->block * type->block_bytes;
    uint8_t *out = item->packed + row * bytes;
    for (size_t at = 0; at < cols; at += type->block, out += type->block_bytes)
        sterna_type_pack(item->type, values->trits + at, &values->scales[at / group], type->block,
                         out);
}

void sterna_item_store(sterna_item *item, uint64_t row, const sterna_ternary_row *values)
{
    sterna_tensor shape = shape_of(item);
    if (item->type != STERNA_TYPE_NATIVE) store_blocks(item, row, values);
    if (shape.native) sterna_native_store(&shape, item->packed + base_bytes(item), row, values);
}

/* ---- from another ternary layout ---- */

typedef struct native_row {
    int8_t *trits, *trits2, *outlier_codes;
    float *scales, *shifts, *scales2, *outlier_scales;
} native_row;

static bool all_finite(const float *values, size_t count)
{
    bool finite = true;
    for (size_t i = 0; i < count; i++) finite &= (bool)isfinite(values[i]);
    return finite;
}

static sterna_status move_rows(sterna_item *item, const native_row *row, sterna_error *err)
{
    const sterna_tensor *tensor = item->tensor;
    size_t groups = sterna_native_groups(&item->form, tensor->dims[0]);
    size_t outlier_groups = (item->form.outliers + STERNA_OUTLIER_GROUP - 1) / STERNA_OUTLIER_GROUP;
    const sterna_ternary_row values = {.trits = row->trits,
                                       .scales = row->scales,
                                       .shifts = row->shifts,
                                       .trits2 = row->trits2,
                                       .scales2 = row->scales2,
                                       .outlier_codes = row->outlier_codes,
                                       .outlier_scales = row->outlier_scales};
    for (uint64_t r = 0; r < sterna_tensor_rows(tensor); r++) {
        bool trits = sterna_tensor_row_trits(tensor, r, row->trits, row->scales);
        trits &= sterna_tensor_row_plane2(tensor, r, row->trits2, row->scales2);
        sterna_tensor_row_shifts(tensor, r, row->shifts);
        sterna_tensor_row_outliers(tensor, r, row->outlier_codes, row->outlier_scales);
        if (!trits || !all_finite(row->scales, groups) || !all_finite(row->scales2, groups) ||
            !all_finite(row->shifts, groups) || !all_finite(row->outlier_scales, outlier_groups))
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "tensor '%s', row %" PRIu64 " holds a %s code that is none of -1, "
                               "0, +1, or a scale that is not finite, so it is not ternary",
                               tensor->name, r, sterna_type_describe(tensor->type)->name);
        sterna_item_store(item, r, &values);
    }
    return STERNA_OK;
}

void sterna_item_plan_native(sterna_item *item)
{
    const sterna_tensor *tensor = item->tensor;
    const sterna_native *native = tensor->native;
    bool whole = tensor->type == STERNA_TYPE_I2_S || tensor->type == STERNA_TYPE_BITNET ||
                 (tensor->type == STERNA_TYPE_NATIVE && !native->group);
    item->type = STERNA_TYPE_NATIVE;
    sterna_item_group(item, whole ? 0 : sterna_tensor_group(tensor));
    if (!native) return;
    item->form.shifted = native->shifted;
    item->form.code2 = native->code2;
    item->form.outliers = native->outliers;
    item->form.wide = native->wide;
}

sterna_status sterna_item_to_native(sterna_item *item, sterna_error *err)
{
    const sterna_tensor *tensor = item->tensor;
    size_t cols = (size_t)tensor->dims[0], outliers = sterna_tensor_outliers(tensor);
    sterna_item_plan_native(item);
    native_row row = {.trits = sterna_alloc(cols, 1),
                      .trits2 = sterna_alloc(cols, 1),
                      .outlier_codes = sterna_alloc(outliers, 1),
                      .scales = sterna_alloc(cols, sizeof(float)), /* never more than columns */
                      .shifts = sterna_alloc(cols, sizeof(float)),
                      .scales2 = sterna_alloc(cols, sizeof(float)),
                      .outlier_scales = sterna_alloc(outliers, sizeof(float))};
    uint32_t *columns = sterna_alloc(outliers, sizeof *columns);
    sterna_status status = STERNA_OK;
    if (!row.trits || !row.trits2 || !row.outlier_codes || !row.scales || !row.shifts ||
        !row.scales2 || !row.outlier_scales || !columns)
        status = sterna_fail_memory(err, "a tensor's row");
    if (!status) {
        sterna_tensor_outlier_columns(tensor, columns);
        status = sterna_item_prepare(item, columns, err);
    }
    item->measured = false; /* nothing changed */
    if (!status) status = move_rows(item, &row, err);
    sterna_free(row.trits);
    sterna_free(row.trits2);
    sterna_free(row.outlier_codes);
    sterna_free(row.scales);
    sterna_free(row.shifts);
    sterna_free(row.scales2);
    sterna_free(row.outlier_scales);
    sterna_free(columns);
    return status;
}
