/* Items: what their output looks like, and matrices that are filled row by row. */
#include "quant/stream.h"

#include <string.h>

#include "base/memory.h"

static bool is_ternary(const sterna_item *item)
{
    return sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
}

bool sterna_item_has_parts(const sterna_item *item)
{
    const sterna_native *form = &item->form;
    return is_ternary(item) && (item->type == STERNA_TYPE_NATIVE || form->shifted || form->code2 ||
                                form->outliers);
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
    if (form->group > cols) form->group = (uint32_t)cols;
    if (item->type != STERNA_TYPE_NATIVE) {
        form->code = STERNA_CODE_NONE;
        form->wide = false;
        if (!type->group || (form->group % type->group && form->group != cols))
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "tensor '%s': groups of %u columns do not consist of the groups of "
                               "%u that %s has; choose a multiple of %u, or the type native, "
                               "which holds any group",
                               item->name, form->group, type->group, type->name, type->group);
    } else if (!form->code) {
        form->code = STERNA_CODE_BASE3;
    }
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
    if (shape.native)
        sterna_native_store(&shape, item->packed + base_bytes(item), row, values);
}
