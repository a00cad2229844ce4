/* Exact conversion between ternary layouts.
 *
 * A row is trits and scales whatever the layout, so conversion is: read the row, find the scale of
 * every target group, write the row. It is exact where each target group has one scale. Source
 * groups whose trits are all zero say nothing about a scale, so they never stand in the way.
 */
#include "ternary/tensor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"
#include "ternary/blocks.h"
#include "ternary/native.h"

/* A row on its way; `source_group` columns share scales[i], `group` columns will share out[j]. */
typedef struct conversion {
    const sterna_tensor *tensor;
    sterna_type type;
    const sterna_type_info *target;
    bool round_scales;
    size_t cols, source_group, group;
    int8_t *trits;
    float *scales, *out;
} conversion;

static bool all_zero(const int8_t *trits, size_t count)
{
    int any = 0;
    for (size_t i = 0; i < count; i++) any |= trits[i];
    return any == 0;
}

/* The scale of target group `index`, which must be one that float16 holds (or rounds to, if asked).
 */
static sterna_status group_scale(const conversion *c, uint64_t row, size_t index, sterna_error *err)
{
    const char *name = c->tensor->name;
    size_t begin = index * c->group, end = begin + c->group;
    float scale = 0;
    bool found = false;
    for (size_t at = begin; at < end;) {
        size_t source = at / c->source_group, next = (source + 1) * c->source_group;
        if (next > end) next = end;
        float here = c->scales[source];
        if (!isfinite(here))
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "tensor '%s', row %" PRIu64 ": the scale of group %zu is not a "
                               "finite number; the file is damaged",
                               name, row, source);
        if (!all_zero(c->trits + at, next - at)) {
            if (found && here != scale)
                return sterna_fail(
                    err, STERNA_ERROR_UNSUPPORTED,
                    "tensor '%s', row %" PRIu64 ": %s shares one scale among %zu columns, but "
                    "columns %zu to %zu have the scales %.9g and %.9g (groups of %zu); choose a "
                    "type with groups of at most %zu",
                    name, row, c->target->name, c->group, begin, end - 1, (double)scale,
                    (double)here, c->source_group, c->source_group);
            scale = here;
            found = true;
        }
        at = next;
    }
    float rounded = sterna_f16_to_f32(sterna_f32_to_f16(scale));
    bool near = fabsf(rounded - scale) <= fabsf(scale) * 0x1p-11f;
    if (rounded != scale && !(c->round_scales && near))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s', row %" PRIu64 ": the scale %.9g is no float16 number, "
                           "which is what %s stores; %s",
                           name, row, (double)scale, c->target->name,
                           near ? "allow scales to be rounded if a change of up to 0.05 % is fine"
                                : "it is out of float16's range");
    c->out[index] = rounded;
    return STERNA_OK;
}

static sterna_status convert_rows(conversion *c, uint8_t *out, sterna_error *err)
{
    uint64_t rows = sterna_tensor_rows(c->tensor);
    size_t row_bytes = c->cols / c->target->block * c->target->block_bytes;
    for (uint64_t row = 0; row < rows; row++, out += row_bytes) {
        if (!sterna_tensor_row_trits(c->tensor, row, c->trits, c->scales))
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "tensor '%s', row %" PRIu64
                               " holds a %s code that is none of -1, 0, "
                               "+1, so it is not ternary; convert it to F16 or Q8_0",
                               c->tensor->name, row, sterna_type_describe(c->tensor->type)->name);
        for (size_t i = 0; i < c->cols / c->group; i++) {
            sterna_status status = group_scale(c, row, i, err);
            if (status) return status;
        }
        sterna_type_pack(c->type, c->trits, c->out, c->cols, out);
    }
    return STERNA_OK;
}

/* Same bytes under another name: nothing to decode, and code 3 passes. */
static bool same_layout(sterna_type a, sterna_type b)
{
    if (a == STERNA_TYPE_NATIVE) return false; /* has no bytes of its own */
    return a == b || (a == STERNA_TYPE_Q2_0_G128 && b == STERNA_TYPE_PQ2_0);
}

sterna_status sterna_tensor_convert(const sterna_tensor *tensor, sterna_type target,
                                    bool round_scales, uint8_t *out, sterna_error *err)
{
    const sterna_type_info *from = sterna_type_describe(tensor->type);
    const sterna_type_info *to = sterna_type_describe(target);
    uint64_t cols = tensor->dims[0], rows = sterna_tensor_rows(tensor), bytes;
    if (!sterna_tensor_is_plain(tensor))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s' has a shift, a second plane or outlier columns, which %s "
                           "has no place for; choose the type native",
                           tensor->name, to->name);
    if (same_layout(tensor->type, target)) {
        memcpy(out, tensor->data, (size_t)tensor->bytes);
        return STERNA_OK;
    }
    if (from->kind != STERNA_KIND_TERNARY || to->kind != STERNA_KIND_TERNARY || !to->writable)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s': no exact conversion from %s to %s exists; exact ones lead "
                           "from ternary types to native, TQ1_0, TQ2_0, Q2_0, PQ2_0 or PTQ1_0",
                           tensor->name, from->name, to->name);
    if (!sterna_type_bytes(target, cols, rows, &bytes))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s' has rows of %" PRIu64 " weights, which blocks of %" PRIu32
                           " (%s) do not divide; choose a type with smaller blocks",
                           tensor->name, cols, to->block, to->name);
    conversion c = {.tensor = tensor,
                    .type = target,
                    .target = to,
                    .round_scales = round_scales,
                    .cols = (size_t)cols,
                    .source_group = (size_t)sterna_tensor_group(tensor),
                    .group = to->group};
    c.trits = sterna_alloc(c.cols, 1);
    c.scales = sterna_alloc(c.cols, sizeof *c.scales); /* never more scales than columns */
    c.out = sterna_alloc(c.cols, sizeof *c.out);
    sterna_status status = c.trits && c.scales && c.out ? convert_rows(&c, out, err)
                                                        : sterna_fail_memory(err, "a tensor's row");
    sterna_free(c.trits);
    sterna_free(c.scales);
    sterna_free(c.out);
    return status;
}
