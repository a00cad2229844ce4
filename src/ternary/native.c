/* Parts of the native form: their sizes, rows in and out. */
#include "ternary/native.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"
#include "ternary/blocks.h"

enum { CHUNK = 256 };

/* ---- sizes ---- */

const char *sterna_part_suffix(sterna_part_kind kind)
{
    static const char *const suffixes[STERNA_PARTS] = {
        [STERNA_PART_CODES] = ".codes",       [STERNA_PART_SCALES] = ".scales",
        [STERNA_PART_SHIFTS] = ".shift",      [STERNA_PART_CODES2] = ".codes2",
        [STERNA_PART_SCALES2] = ".scales2",   [STERNA_PART_OUTLIER_COLUMNS] = ".outlier_columns",
        [STERNA_PART_OUTLIERS] = ".outliers", [STERNA_PART_OUTLIER_SCALES] = ".outlier_scales",
    };
    return suffixes[kind];
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

size_t sterna_native_groups(const sterna_native *native, uint64_t cols)
{
    return native->group ? (size_t)divide_up(cols, native->group) : 1;
}

static uint64_t row_codes(sterna_trit_code code, uint64_t cols)
{
    return divide_up(cols, code == STERNA_CODE_BASE3 ? 5 : 4);
}

bool sterna_native_part(const sterna_tensor *matrix, sterna_part_kind kind, sterna_tensor *out)
{
    const sterna_native *n = matrix->native;
    uint64_t cols = matrix->dims[0], groups = sterna_native_groups(n, cols), count = 0;
    sterna_type type = STERNA_TYPE_F16;
    bool by_row = n->group != 0; /* else one number for the tensor */
    switch (kind) {
    case STERNA_PART_CODES:
    case STERNA_PART_CODES2: {
        sterna_trit_code code = kind == STERNA_PART_CODES ? n->code : n->code2;
        if (code) count = row_codes(code, cols);
        type = STERNA_TYPE_I8;
        by_row = true;
        break;
    }
    case STERNA_PART_SCALES:
        if (n->code) count = groups;
        if (n->wide) type = STERNA_TYPE_F32;
        break;
    case STERNA_PART_SHIFTS: count = n->shifted ? groups : 0; break;
    case STERNA_PART_SCALES2: count = n->code2 ? groups : 0; break;
    case STERNA_PART_OUTLIER_COLUMNS:
        count = n->outliers;
        type = STERNA_TYPE_I32;
        by_row = false;
        break;
    case STERNA_PART_OUTLIERS:
        count = n->outliers;
        type = STERNA_TYPE_I8;
        by_row = true;
        break;
    default:
        count = divide_up(n->outliers, STERNA_OUTLIER_GROUP);
        by_row = true;
        break;
    }
    if (count == 0) return false;
    *out = (sterna_tensor){.name = matrix->name, .type = type, .n_dims = 1, .data = n->part[kind]};
    memcpy(out->dims, (const uint64_t[4]){count, 1, 1, 1}, sizeof out->dims);
    if (by_row) {
        out->n_dims = matrix->n_dims > 2 ? matrix->n_dims : 2;
        memcpy(out->dims + 1, matrix->dims + 1, 3 * sizeof *out->dims);
    }
    return sterna_type_bytes(type, count, sterna_tensor_rows(out), &out->bytes);
}

uint64_t sterna_native_bytes(const sterna_tensor *matrix)
{
    uint64_t bytes = STERNA_NATIVE_HEADER * sizeof(int32_t);
    sterna_tensor part;
    for (int kind = 0; kind < STERNA_PARTS; kind++)
        if (sterna_native_part(matrix, (sterna_part_kind)kind, &part)) bytes += part.bytes;
    return bytes;
}

void sterna_native_header(const sterna_tensor *matrix, int32_t header[STERNA_NATIVE_HEADER])
{
    const sterna_native *n = matrix->native;
    const int32_t values[STERNA_NATIVE_HEADER] = {STERNA_NATIVE_VERSION,
                                                  (int32_t)n->code,
                                                  (int32_t)matrix->dims[0],
                                                  (int32_t)n->group,
                                                  n->shifted,
                                                  (int32_t)n->outliers,
                                                  (int32_t)n->code2,
                                                  0};
    memcpy(header, values, sizeof values);
}

/* Where a part begins in the block that holds all of them. */
static uint64_t part_offset(const sterna_tensor *matrix, sterna_part_kind kind)
{
    uint64_t offset = 0;
    sterna_tensor part;
    for (int k = 0; k < (int)kind; k++)
        if (sterna_native_part(matrix, (sterna_part_kind)k, &part)) offset += part.bytes;
    return offset;
}

void sterna_native_bind(const sterna_tensor *matrix, sterna_native *native, uint8_t *block)
{
    sterna_tensor part;
    for (int kind = 0; kind < STERNA_PARTS; kind++) {
        bool present = sterna_native_part(matrix, (sterna_part_kind)kind, &part);
        native->part[kind] = present ? block + part_offset(matrix, (sterna_part_kind)kind) : NULL;
    }
}

/* ---- codes ---- */

/* `count` trits from column `begin` of a row of codes. */
static void unpack_range(sterna_trit_code code, const uint8_t *row, size_t cols, size_t begin,
                         size_t count, int8_t *trits)
{
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    size_t width = (size_t)row_codes(code, cols);
    while (count) {
        size_t digit = begin / width, at = begin % width;
        size_t run = width - at < count ? width - at : count;
        if (code == STERNA_CODE_BASE3) {
            unsigned power = powers[digit];
            for (size_t i = 0; i < run; i++) {
                uint16_t fraction = (uint16_t)(row[at + i] * power & 0xffu);
                trits[i] = (int8_t)((fraction * 3 >> 8) - 1);
            }
        } else {
            unsigned move = 2 * (unsigned)digit;
            for (size_t i = 0; i < run; i++) trits[i] = (int8_t)((row[at + i] >> move & 3) - 1);
        }
        begin += run;
        trits += run;
        count -= run;
    }
}

/* Whether every code of a row is a trit. */
static bool codes_are_trits(sterna_trit_code code, const uint8_t *row, size_t cols)
{
    size_t width = (size_t)row_codes(code, cols);
    unsigned worst = 0;
    if (code == STERNA_CODE_TWO_BIT) {
        for (size_t i = 0; i < width; i++) worst |= row[i] & row[i] >> 1 & 0x55u;
        return worst == 0;
    }
    for (size_t i = 0; i < width; i++) { /* trit_blocks.c says why */
        unsigned remainder = row[i] * 243u & 0xffu;
        worst = remainder > worst ? remainder : worst;
    }
    return worst < 243;
}

static void pack_codes(sterna_trit_code code, const int8_t *trits, size_t cols, uint8_t *row)
{
    size_t width = (size_t)row_codes(code, cols);
    bool base3 = code == STERNA_CODE_BASE3;
    for (size_t i = 0; i < width; i++) {
        unsigned value = 0;
        for (size_t n = 0; n < (base3 ? 5u : 4u); n++) {
            unsigned digit = n * width + i < cols ? (unsigned)(trits[n * width + i] + 1) : 1;
            value = base3 ? value * 3 + digit : value | digit << 2 * n;
        }
        row[i] = (uint8_t)(base3 ? (value * 256 + 242) / 243 : value);
    }
}

/* ---- rows in ---- */

static void store_halves(const sterna_tensor *matrix, uint8_t *block, sterna_part_kind kind,
                         uint64_t row, const float *values)
{
    sterna_tensor part;
    if (!sterna_native_part(matrix, kind, &part)) return;
    size_t count = (size_t)part.dims[0], size = part.type == STERNA_TYPE_F32 ? 4 : 2;
    uint64_t index = matrix->native->group || kind == STERNA_PART_OUTLIER_SCALES ? row : 0;
    uint8_t *out = block + part_offset(matrix, kind) + index * count * size;
    sterna_type_encode(part.type, values, count, out);
}

static void store_codes(const sterna_tensor *matrix, uint8_t *block, sterna_part_kind kind,
                        uint64_t row, const int8_t *trits)
{
    sterna_tensor part;
    if (!sterna_native_part(matrix, kind, &part)) return;
    uint8_t *out = block + part_offset(matrix, kind) + row * part.dims[0];
    if (kind == STERNA_PART_OUTLIERS)
        memcpy(out, trits, (size_t)part.dims[0]);
    else
        pack_codes(kind == STERNA_PART_CODES ? matrix->native->code : matrix->native->code2, trits,
                   (size_t)matrix->dims[0], out);
}

static float round_half(float value)
{
    return sterna_f16_to_f32(sterna_f32_to_f16(value));
}

/* One scale for up to 32 weights, and their codes. */
static float quantise_outliers(const float *weights, size_t count, int8_t *codes)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(weights[i]));
    float scale = round_half(most / 127);
    for (size_t i = 0; i < count; i++) {
        float code = scale > 0 ? rintf(weights[i] / scale) : 0;
        codes[i] = (int8_t)fminf(fmaxf(code, -127), 127);
    }
    return scale;
}

static void store_outliers(const sterna_tensor *matrix, uint8_t *block, uint64_t row,
                           const float *weights)
{
    sterna_tensor codes, scales;
    if (!sterna_native_part(matrix, STERNA_PART_OUTLIERS, &codes) ||
        !sterna_native_part(matrix, STERNA_PART_OUTLIER_SCALES, &scales))
        return;
    uint8_t *code = block + part_offset(matrix, STERNA_PART_OUTLIERS) + row * codes.dims[0];
    uint8_t *scale =
        block + part_offset(matrix, STERNA_PART_OUTLIER_SCALES) + row * scales.dims[0] * 2;
    for (size_t i = 0; i < codes.dims[0]; i += STERNA_OUTLIER_GROUP, scale += 2) {
        size_t left = (size_t)codes.dims[0] - i;
        float value = quantise_outliers(weights + i,
                                        left < STERNA_OUTLIER_GROUP ? left : STERNA_OUTLIER_GROUP,
                                        (int8_t *)code + i);
        sterna_store_u16(scale, sterna_f32_to_f16(value));
    }
}

void sterna_native_store(const sterna_tensor *matrix, uint8_t *block, uint64_t row,
                         const sterna_ternary_row *values)
{
    store_codes(matrix, block, STERNA_PART_CODES, row, values->trits);
    store_halves(matrix, block, STERNA_PART_SCALES, row, values->scales);
    store_halves(matrix, block, STERNA_PART_SHIFTS, row, values->shifts);
    store_codes(matrix, block, STERNA_PART_CODES2, row, values->trits2);
    store_halves(matrix, block, STERNA_PART_SCALES2, row, values->scales2);
    if (values->outliers) {
        store_outliers(matrix, block, row, values->outliers);
    } else {
        store_codes(matrix, block, STERNA_PART_OUTLIERS, row, values->outlier_codes);
        store_halves(matrix, block, STERNA_PART_OUTLIER_SCALES, row, values->outlier_scales);
    }
}

/* ---- rows out ---- */

/* Number `index` of a part of scales or shifts. */
static float number(const sterna_native *native, sterna_part_kind kind, uint64_t index)
{
    const uint8_t *at = native->part[kind];
    if (kind == STERNA_PART_SCALES && native->wide)
        return sterna_bits_float(sterna_load_u32(at + 4 * index));
    return sterna_f16_to_f32(sterna_load_u16(at + 2 * index));
}

/* The first scale (or shift) of a row. */
static uint64_t first_of_row(const sterna_tensor *tensor, uint64_t row)
{
    const sterna_native *n = tensor->native;
    return n->group ? row * sterna_native_groups(n, tensor->dims[0]) : 0;
}

static const uint8_t *codes_of_row(const sterna_tensor *tensor, sterna_part_kind kind, uint64_t row)
{
    const sterna_native *n = tensor->native;
    sterna_trit_code code = kind == STERNA_PART_CODES ? n->code : n->code2;
    return n->part[kind] + row * row_codes(code, tensor->dims[0]);
}

/* out = scale * trit, or out += it. */
static void add_plane(const sterna_tensor *tensor, sterna_part_kind codes, sterna_part_kind scales,
                      uint64_t row, bool add, float *out)
{
    const sterna_native *n = tensor->native;
    size_t cols = (size_t)tensor->dims[0], group = n->group ? n->group : cols;
    const uint8_t *bytes = codes_of_row(tensor, codes, row);
    sterna_trit_code code = codes == STERNA_PART_CODES ? n->code : n->code2;
    uint64_t first = first_of_row(tensor, row);
    int8_t trits[CHUNK];
    for (size_t at = 0, count; at < cols; at += count) {
        size_t left = (at / group + 1) * group - at;
        count = left < cols - at ? left : cols - at;
        if (count > CHUNK) count = CHUNK;
        float scale = number(n, scales, first + at / group);
        unpack_range(code, bytes, cols, at, count, trits);
        for (size_t i = 0; i < count; i++)
            out[at + i] = (add ? out[at + i] : 0) + scale * (float)trits[i];
    }
}

void sterna_native_row(const sterna_tensor *tensor, uint64_t row, float *out)
{
    add_plane(tensor, STERNA_PART_CODES, STERNA_PART_SCALES, row, false, out);
}

void sterna_native_add(const sterna_tensor *tensor, uint64_t row, float *out)
{
    const sterna_native *n = tensor->native;
    size_t cols = (size_t)tensor->dims[0], group = n->group ? n->group : cols;
    uint64_t first = first_of_row(tensor, row);
    for (size_t i = 0; n->shifted && i < cols; i++)
        out[i] += number(n, STERNA_PART_SHIFTS, first + i / group);
    if (n->code2) add_plane(tensor, STERNA_PART_CODES2, STERNA_PART_SCALES2, row, true, out);
    if (!n->outliers) return;
    const uint8_t *columns = n->part[STERNA_PART_OUTLIER_COLUMNS];
    const int8_t *codes = (const int8_t *)n->part[STERNA_PART_OUTLIERS] + row * n->outliers;
    uint64_t scales = row * divide_up(n->outliers, STERNA_OUTLIER_GROUP);
    for (uint32_t i = 0; i < n->outliers; i++)
        out[sterna_load_u32(columns + 4 * (size_t)i)] +=
            (float)codes[i] *
            number(n, STERNA_PART_OUTLIER_SCALES, scales + i / STERNA_OUTLIER_GROUP);
}

static bool plane_trits(const sterna_tensor *tensor, sterna_part_kind codes, uint64_t row,
                        int8_t *trits)
{
    const sterna_native *n = tensor->native;
    sterna_trit_code code = codes == STERNA_PART_CODES ? n->code : n->code2;
    const uint8_t *bytes = codes_of_row(tensor, codes, row);
    size_t cols = (size_t)tensor->dims[0];
    unpack_range(code, bytes, cols, 0, cols, trits);
    return codes_are_trits(code, bytes, cols);
}

bool sterna_native_row_trits(const sterna_tensor *tensor, uint64_t row, int8_t *trits,
                             float *scales)
{
    uint64_t first = first_of_row(tensor, row);
    size_t groups = sterna_native_groups(tensor->native, tensor->dims[0]);
    for (size_t g = 0; g < groups; g++)
        scales[g] = number(tensor->native, STERNA_PART_SCALES, first + g);
    return plane_trits(tensor, STERNA_PART_CODES, row, trits);
}

bool sterna_tensor_is_plain(const sterna_tensor *tensor)
{
    const sterna_native *n = tensor->native;
    return !n || (!n->shifted && !n->code2 && !n->outliers);
}

/* Numbers of a part for each group of the tensor's first plane, which lies inside one of the
 * part's. */
static void spread(const sterna_tensor *tensor, sterna_part_kind kind, uint64_t row, float *out)
{
    const sterna_native *n = tensor->native;
    uint64_t cols = tensor->dims[0], own = n->group ? n->group : cols;
    uint64_t group = sterna_tensor_group(tensor), first = first_of_row(tensor, row);
    for (uint64_t at = 0; at < cols; at += group) *out++ = number(n, kind, first + at / own);
}

bool sterna_tensor_row_plane2(const sterna_tensor *tensor, uint64_t row, int8_t *trits,
                              float *scales)
{
    uint64_t cols = tensor->dims[0];
    if (!tensor->native || !tensor->native->code2) {
        memset(trits, 0, (size_t)cols);
        memset(scales, 0, (size_t)divide_up(cols, sterna_tensor_group(tensor)) * sizeof *scales);
        return true;
    }
    spread(tensor, STERNA_PART_SCALES2, row, scales);
    return plane_trits(tensor, STERNA_PART_CODES2, row, trits);
}

void sterna_tensor_row_shifts(const sterna_tensor *tensor, uint64_t row, float *shifts)
{
    uint64_t groups = divide_up(tensor->dims[0], sterna_tensor_group(tensor));
    if (tensor->native && tensor->native->shifted)
        spread(tensor, STERNA_PART_SHIFTS, row, shifts);
    else
        memset(shifts, 0, (size_t)groups * sizeof *shifts);
}

uint32_t sterna_tensor_outliers(const sterna_tensor *tensor)
{
    return tensor->native ? tensor->native->outliers : 0;
}

void sterna_tensor_outlier_columns(const sterna_tensor *tensor, uint32_t *columns)
{
    for (uint32_t i = 0; i < sterna_tensor_outliers(tensor); i++)
        columns[i] =
            sterna_load_u32(tensor->native->part[STERNA_PART_OUTLIER_COLUMNS] + 4 * (size_t)i);
}

void sterna_tensor_row_outliers(const sterna_tensor *tensor, uint64_t row, int8_t *codes,
                                float *scales)
{
    const sterna_native *n = tensor->native;
    uint32_t count = sterna_tensor_outliers(tensor);
    uint64_t groups = divide_up(count, STERNA_OUTLIER_GROUP);
    if (count) memcpy(codes, n->part[STERNA_PART_OUTLIERS] + row * count, count);
    for (uint64_t g = 0; g < groups; g++)
        scales[g] = number(n, STERNA_PART_OUTLIER_SCALES, row * groups + g);
}
