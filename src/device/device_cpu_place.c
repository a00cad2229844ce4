/* Where the columns of an integer matrix stand in its panels, and quantised activations beside
 * them.
 *
 * Most matrices keep their columns where they are. Two kinds do not: groups that are no multiple of
 * 16 columns, or longer than 128 and no multiple of 128, are cut into equal segments each padded to
 * 16; and a second ternary plane stands behind the first, as further columns whose activations are
 * the same once more, so that the kernels need not know of it.
 */
#include <string.h>

#include "device/device_cpu.h"

enum { UNIT = STERNA_COLUMN_UNIT, LONGEST = 128 };

static size_t divide_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

static size_t whole_units(size_t columns)
{
    return divide_up(columns, UNIT) * UNIT;
}

/* Segments must nest with groups, and lines must not straddle two. */
static bool stays_in_place(const sterna_weight *weight)
{
    size_t group = weight->group;
    if (weight->planes > 1) return false;
    if (group == 0 || group >= weight->cols) return true;
    bool cut = weight->activation == STERNA_ACT_INT8_GROUP && group > LONGEST;
    return group % UNIT == 0 && (!cut || group % LONGEST == 0);
}

void sterna_cpu_place(sterna_weight *weight)
{
    size_t group = weight->group ? weight->group : weight->cols;
    bool cut = weight->activation == STERNA_ACT_INT8_GROUP;
    size_t groups = divide_up(weight->cols, group);
    if (stays_in_place(weight)) {
        weight->padded = weight->plane = whole_units(weight->cols);
        weight->take = 0;
        weight->segment = whole_units(group < weight->cols ? group : weight->cols);
        if (cut && weight->segment > LONGEST) weight->segment = LONGEST;
        weight->segments = divide_up(weight->padded, weight->segment);
        weight->segments_per_scale = groups > 1 ? group / weight->segment : weight->segments;
    } else {
        size_t pieces = cut ? divide_up(group, LONGEST) : 1;
        weight->take = divide_up(group, pieces);
        weight->segment = whole_units(weight->take);
        weight->plane = groups * pieces * weight->segment;
        weight->padded = weight->planes * weight->plane;
        weight->segments = weight->planes * groups * pieces;
        weight->segments_per_scale = pieces;
    }
    weight->groups = weight->group ? weight->planes * groups : 0;
}

tern5_map sterna_cpu_tern5(const sterna_weight *weight)
{
    return tern5_map_of(weight->padded, weight->segment, weight->segments);
}

size_t sterna_cpu_column(const sterna_weight *weight, size_t k)
{
    if (!weight->take) return k;
    size_t group = weight->group ? weight->group : weight->cols;
    size_t inside = k % group, pieces = weight->segments_per_scale;
    return (k / group * pieces + inside / weight->take) * weight->segment + inside % weight->take;
}

bool sterna_cpu_same_places(const sterna_weight *a, const sterna_weight *b)
{
    return a->segment == b->segment && a->take == b->take && a->plane == b->plane &&
           a->planes == b->planes && (!a->take || a->group == b->group);
}

/* Segment `s` of a matrix whose segments are padded; those of a last, shorter group may be empty.
 */
static float quantise_segment(sterna_quantize_fn *quantize, const sterna_weight *weight, size_t s,
                              const float *x, int8_t *q, int32_t *sums)
{
    size_t group = weight->group ? weight->group : weight->cols;
    size_t pieces = weight->segments_per_scale, first = s / pieces * group, end = first + group;
    if (end > weight->cols) end = weight->cols;
    size_t begin = first + s % pieces * weight->take, count = 0;
    if (begin < end) count = end - begin < weight->take ? end - begin : weight->take;
    float scale = count ? quantize(x + begin, count, 0, q, sums) : 0;
    size_t done = whole_units(count);
    memset(q + done, 0, weight->segment - done);
    memset(sums + done / UNIT, 0, (weight->segment - done) / UNIT * sizeof *sums);
    return scale;
}

void sterna_cpu_quantise(sterna_quantize_fn *quantize, const sterna_weight *weight, const float *x,
                         int8_t *q, int32_t *sums, float *scales)
{
    size_t cols = weight->cols, segment = weight->segment, plane = weight->plane;
    size_t segments = weight->segments / weight->planes;
    if (weight->activation == STERNA_ACT_INT8_TOKEN) { /* never with padded segments */
        size_t done = whole_units(cols);
        scales[0] = quantize(x, cols, 1e-5f, q, sums);
        memset(q + done, 0, plane - done);
        memset(sums + done / UNIT, 0, (plane - done) / UNIT * sizeof *sums);
    } else if (weight->take) {
        for (size_t s = 0; s < segments; s++)
            scales[s] = quantise_segment(quantize, weight, s, x, q + s * segment,
                                         sums + s * segment / UNIT);
    } else {
        for (size_t i = 0; i < cols; i += segment)
            scales[i / segment] =
                quantize(x + i, cols - i < segment ? cols - i : segment, 0, q + i, sums + i / UNIT);
    }
    for (size_t p = 1; p < weight->planes; p++) {
        memcpy(q + p * plane, q, plane);
        memcpy(sums + p * plane / UNIT, sums, plane / UNIT * sizeof *sums);
        if (weight->activation == STERNA_ACT_INT8_GROUP)
            memcpy(scales + p * segments, scales, segments * sizeof *scales);
    }
}
