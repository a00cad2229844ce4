/* From a tensor's rows to panels of 16 rows (kernels.h), a panel at a time on all threads of the
 * device. What the bytes of a row mean is ternary/'s business.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"
#include "device/device_cpu_pack.h"
#include "ternary/affine.h"
#include "ternary/native.h"

enum { INT8_GROUP = 32 };

/* What one thread needs to pack a panel. */
typedef struct packer {
    float *row;     /* [padded] */
    int8_t *codes;  /* [16][padded]: trits, or codes as packed */
    float *scales;  /* [16][groups] */
    float *mins;    /* [16][groups] */
    uint8_t *lines; /* tern5: a panel as tern2 */
    bool threes;    /* tern5: a code 3 was met */
    /* the first row that cannot be packed, and why */
    uint64_t bad_row;
    const char *bad;
} packer;

/* The tensor's row that becomes row i of the weight. */
static uint64_t source_row(const sterna_cpu_load *job, size_t i)
{
    const uint32_t *order = job->options->row_order;
    return job->options->first_row + (order ? order[i] : i);
}

static bool all_finite(const float *row, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, row + i, 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

/* Floats to int8 codes with a scale of absmax / 127 per group of 32. */
static void quantise_row(sterna_quantize_fn *quantize, const float *row, size_t cols, int8_t *codes,
                         float *scales)
{
    int32_t sums[INT8_GROUP / STERNA_COLUMN_UNIT];
    for (size_t begin = 0, g = 0; begin < cols; begin += INT8_GROUP, g++) {
        size_t n = cols - begin < INT8_GROUP ? cols - begin : INT8_GROUP;
        scales[g] = quantize(row + begin, n, 0, codes + begin, sums);
    }
}

/* The trits of a plane to where they stand. */
static void place_trits(const sterna_weight *weight, const int8_t *trits, int8_t *codes)
{
    memset(codes, 0, weight->plane);
    if (!weight->take) memcpy(codes, trits, weight->cols);
    for (size_t k = 0; weight->take && k < weight->cols; k++)
        codes[sterna_cpu_column(weight, k)] = trits[k];
}

/* A row with a shift, a second plane, or groups that need padding. */
static const char *read_planes(const sterna_cpu_load *job, packer *pack, uint64_t row,
                               int8_t *codes, float *scales, float *mins)
{
    const sterna_weight *weight = job->weight;
    int8_t *trits = (int8_t *)pack->row; /* [padded] floats are room for as many bytes */
    size_t groups = weight->groups / weight->planes;
    if (!sterna_tensor_row_trits(job->tensor, row, trits, scales))
        return "holds a code that is no trit";
    place_trits(weight, trits, codes);
    if (job->has_min) {
        memset(mins, 0, weight->groups * sizeof *mins);
        sterna_tensor_row_shifts(job->tensor, row, mins);
    }
    if (weight->planes == 1) return NULL;
    if (!sterna_tensor_row_plane2(job->tensor, row, trits, scales + groups))
        return "holds a code that is no trit";
    place_trits(weight, trits, codes + weight->plane);
    return NULL;
}

static const char *check_scales(const sterna_cpu_load *job, const packer *pack, size_t lane)
{
    size_t groups = job->weight->groups ? job->weight->groups : 1;
    const float *scales = pack->scales + lane * groups, *mins = pack->mins + lane * groups;
    for (size_t g = 0; g < groups; g++)
        if (!isfinite(scales[g]) || (job->has_min && !isfinite(mins[g])))
            return "holds a scale that is NaN or infinite";
    return NULL;
}

/* Row i as codes and scales; NULL or what is wrong with it. */
static const char *read_codes(const sterna_cpu_load *job, packer *pack, size_t i)
{
    const sterna_weight *weight = job->weight;
    const sterna_tensor *tensor = job->tensor;
    size_t lane = i % STERNA_PANEL, groups = weight->groups ? weight->groups : 1;
    int8_t *codes = pack->codes + lane * weight->padded;
    float *scales = pack->scales + lane * groups, *mins = pack->mins + lane * groups;
    uint64_t row = source_row(job, i);
    const char *bad = NULL;
    if (!weight->take) memset(codes + weight->cols, 0, weight->padded - weight->cols);
    if (job->outliers) {
        sterna_tensor_row_outliers(tensor, row, codes, scales);
    } else if (job->trits && (weight->planes > 1 || weight->take || job->has_min)) {
        bad = read_planes(job, pack, row, codes, scales, mins);
        if (bad) return bad;
    } else if (job->affine) {
        sterna_affine_row(tensor, row, codes, scales, mins);
    } else if (!job->trits) {
        sterna_tensor_row(tensor, row, pack->row);
        if (!all_finite(pack->row, weight->cols)) return "holds a value that is NaN or infinite";
        quantise_row(job->kernels->quantize, pack->row, weight->cols, codes, scales);
    } else if (!sterna_tensor_row_trits(tensor, row, codes, scales)) {
        return "holds a code that is no trit";
    }
    return check_scales(job, pack, lane);
}

/* Scales of row i to the packed arrays: float16 times a power of two that keeps them in range. */
static void store_scales(const sterna_cpu_load *job, const packer *pack, size_t i)
{
    sterna_weight *weight = job->weight;
    size_t lane = i % STERNA_PANEL, panel = i / STERNA_PANEL;
    float *factor = &weight->factors[i];
    if (!weight->group) {
        *factor = pack->scales[lane] * job->row_scale;
        return;
    }
    const float *scales = pack->scales + lane * weight->groups;
    const float *mins = pack->mins + lane * weight->groups;
    float max = 0;
    for (size_t g = 0; g < weight->groups; g++) {
        float size = fabsf(scales[g]), low = job->has_min ? fabsf(mins[g]) : 0;
        max = size > max ? size : max;
        max = low > max ? low : max;
    }
    /* Types whose scales are float16 in the file are exact without it, and must not lose bits. */
    int shift = 0;
    if (max > 0 && (max < 0x1p-10f || max >= 0x1p15f)) frexpf(max, &shift);
    if (shift < -120) shift = -120; /* 2^-shift is a float */
    float inverse = ldexpf(1, -shift);
    *factor = ldexpf(job->row_scale, shift);
    size_t at = panel * weight->groups * STERNA_PANEL + lane;
    for (size_t g = 0; g < weight->groups; g++, at += STERNA_PANEL) {
        weight->scales[at] = sterna_f32_to_f16(scales[g] * inverse);
        if (job->has_min) weight->mins[at] = sterna_f32_to_f16(mins[g] * inverse);
    }
}

/* Eight bytes of codes, the first one least significant. */
static uint64_t eight(const int8_t *codes)
{
    uint64_t word;
    memcpy(&word, codes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static void put32(uint8_t *at, uint32_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    memcpy(at, &word, sizeof word);
}

/* codes[16][padded] to lines. Codes of tern2 and int4 leave the high bits of their bytes free, so
 * that two fields are joined by one shift of eight bytes. */
static void pack_tern2(size_t padded, const int8_t *codes, uint8_t *out)
{
    for (size_t k = 0; k < padded; k += 16, out += 64)
        for (size_t r = 0; r < STERNA_PANEL; r++) {
            uint64_t a = eight(codes + r * padded + k), b = eight(codes + r * padded + k + 8);
            put32(out + 4 * r, (uint32_t)(a | a >> 30) | (uint32_t)(b | b >> 30) << 4);
        }
}

static void pack_int4(size_t padded, const int8_t *codes, uint8_t *out)
{
    for (size_t k = 0; k < padded; k += 8, out += 64)
        for (size_t r = 0; r < STERNA_PANEL; r++) {
            uint64_t a = eight(codes + r * padded + k);
            put32(out + 4 * r, (uint32_t)(a | a >> 28));
        }
}

static void pack_int8(size_t padded, const int8_t *codes, uint8_t *out)
{
    for (size_t k = 0; k < padded; k += 8, out += 128)
        for (size_t r = 0; r < STERNA_PANEL; r++) {
            uint64_t a = eight(codes + r * padded + k);
            put32(out + 4 * r, (uint32_t)a);
            put32(out + 64 + 4 * r, (uint32_t)(a >> 32));
        }
}

/* Where the lines of a panel go: tern5 is made from lines of tern2. */
static uint8_t *lines_of(const sterna_weight *weight, const packer *pack, size_t panel)
{
    if (weight->layout == STERNA_LAYOUT_TERN5) return pack->lines;
    return weight->codes + panel * weight->panel_bytes;
}

static void finish_lines(const sterna_weight *weight, packer *pack, size_t panel)
{
    if (weight->layout != STERNA_LAYOUT_TERN5) return;
    uint8_t *out = weight->codes + panel * weight->panel_bytes;
    if (!sterna_cpu_pack_tern5(sterna_cpu_tern5(weight), weight->padded, pack->lines, out))
        pack->threes = true;
}

static void pack_codes(const sterna_weight *weight, int8_t *codes, uint8_t *out)
{
    size_t padded = weight->padded;
    if (weight->layout == STERNA_LAYOUT_TERN2 || weight->layout == STERNA_LAYOUT_TERN5) {
        for (size_t i = 0; i < STERNA_PANEL * padded; i++) codes[i]++;
        pack_tern2(padded, codes, out);
    } else if (weight->layout == STERNA_LAYOUT_INT4) {
        pack_int4(padded, codes, out);
    } else {
        pack_int8(padded, codes, out);
    }
}

/* Notes that a row cannot be packed. */
static void refuse(packer *pack, uint64_t row, const char *why)
{
    if (pack->bad && pack->bad_row <= row) return;
    pack->bad = why;
    pack->bad_row = row;
}

static void pack_int_panel(const sterna_cpu_load *job, packer *pack, size_t panel)
{
    sterna_weight *weight = job->weight;
    for (size_t i = panel * STERNA_PANEL; i < (panel + 1) * STERNA_PANEL; i++) {
        if (i >= weight->rows) { /* padding rows: zero weights, zero scales */
            size_t lane = i % STERNA_PANEL, groups = weight->groups ? weight->groups : 1;
            memset(pack->codes + lane * weight->padded, 0, weight->padded);
            memset(pack->scales + lane * groups, 0, groups * sizeof(float));
            memset(pack->mins + lane * groups, 0, groups * sizeof(float));
        } else {
            const char *bad = read_codes(job, pack, i);
            if (bad) {
                refuse(pack, source_row(job, i), bad);
                return;
            }
        }
        store_scales(job, pack, i);
    }
    pack_codes(weight, pack->codes, lines_of(weight, pack, panel));
    finish_lines(weight, pack, panel);
}

/* The matrix is trits that stand where the kernels want them, from blocks that need no detour. */
static bool takes_lines(const sterna_cpu_load *job)
{
    return job->trits && !job->weight->take && sterna_tensor_has_lines(job->tensor);
}

static void pack_lines(const sterna_cpu_load *job, packer *pack, size_t panel)
{
    sterna_weight *weight = job->weight;
    size_t first = panel * STERNA_PANEL, groups = weight->groups ? weight->groups : 1;
    size_t count = weight->rows - first < STERNA_PANEL ? weight->rows - first : STERNA_PANEL;
    uint64_t rows[STERNA_PANEL] = {0};
    for (size_t lane = 0; lane < count; lane++) rows[lane] = source_row(job, first + lane);
    memset(pack->scales, 0, STERNA_PANEL * groups * sizeof(float));
    int bad = sterna_tensor_lines(job->tensor, rows, count, lines_of(weight, pack, panel),
                                  pack->scales, groups);
    if (bad >= 0) refuse(pack, rows[bad], "holds a code that is no trit");
    for (size_t lane = 0; lane < STERNA_PANEL; lane++) {
        const char *why = check_scales(job, pack, lane);
        if (why) refuse(pack, rows[lane], why);
        store_scales(job, pack, first + lane);
    }
    finish_lines(weight, pack, panel);
}

static void pack_k_panel(const sterna_cpu_load *job, packer *pack, size_t panel)
{
    sterna_weight *weight = job->weight;
    const sterna_tensor *tensor = job->tensor;
    uint64_t row_bytes = tensor->bytes / sterna_tensor_rows(tensor);
    const uint8_t *rows[STERNA_PANEL] = {NULL};
    for (size_t lane = 0; lane < STERNA_PANEL; lane++) {
        size_t i = panel * STERNA_PANEL + lane;
        if (i < weight->rows) rows[lane] = tensor->data + source_row(job, i) * row_bytes;
        weight->factors[i] = i < weight->rows ? job->row_scale : 0;
    }
    size_t bad;
    if (!sterna_cpu_k_pack(weight, rows, weight->codes + panel * weight->panel_bytes, &bad))
        refuse(pack, source_row(job, panel * STERNA_PANEL + bad),
               "holds a scale that is NaN or infinite");
}

static void store_float(const sterna_weight *weight, uint8_t *line, size_t lane, float value)
{
    if (weight->layout == STERNA_LAYOUT_F32) {
        memcpy(line + 4 * lane, &value, 4);
        return;
    }
    uint16_t half =
        weight->layout == STERNA_LAYOUT_F16 ? sterna_f32_to_f16(value) : sterna_f32_to_bf16(value);
    memcpy(line + 2 * lane, &half, 2);
}

static void pack_float_panel(const sterna_cpu_load *job, packer *pack, size_t panel)
{
    sterna_weight *weight = job->weight;
    size_t line_bytes = sterna_cpu_lines[weight->layout].line_bytes;
    uint8_t *out = weight->codes + panel * weight->panel_bytes;
    for (size_t lane = 0; lane < STERNA_PANEL; lane++) {
        size_t i = panel * STERNA_PANEL + lane;
        if (i < weight->rows)
            sterna_tensor_row(job->tensor, source_row(job, i), pack->row);
        else
            memset(pack->row, 0, weight->cols * sizeof(float));
        weight->factors[i] = i < weight->rows ? job->row_scale : 0;
        for (size_t k = 0; k < weight->cols; k++)
            store_float(weight, out + k * line_bytes, lane, pack->row[k]);
    }
}

static bool packer_new(const sterna_cpu_load *job, packer *pack)
{
    const sterna_weight *weight = job->weight;
    size_t groups = weight->groups ? weight->groups : 1;
    bool bytes = !sterna_cpu_is_float(weight->layout) && !sterna_cpu_is_k(weight->layout) &&
                 !takes_lines(job);
    pack->row = sterna_calloc(weight->padded, sizeof(float));
    pack->codes = sterna_calloc(bytes ? weight->padded : 1, STERNA_PANEL);
    pack->scales = sterna_calloc(groups, STERNA_PANEL * sizeof(float));
    pack->mins = sterna_calloc(groups, STERNA_PANEL * sizeof(float));
    bool lines = weight->layout == STERNA_LAYOUT_TERN5;
    if (lines) pack->lines = sterna_alloc(weight->padded / 16, 64);
    return pack->row && pack->codes && pack->scales && pack->mins && (pack->lines || !lines);
}

static void packer_free(packer *pack)
{
    sterna_free(pack->row);
    sterna_free(pack->codes);
    sterna_free(pack->scales);
    sterna_free(pack->mins);
    sterna_free(pack->lines);
}

typedef struct pack_job {
    const sterna_cpu_load *load;
    packer *packers;
} pack_job;

static void pack_panels(void *context, size_t begin, size_t end, int thread)
{
    const pack_job *job = context;
    packer *pack = &job->packers[thread];
    sterna_cpu_layout layout = job->load->weight->layout;
    for (size_t panel = begin; panel < end; panel++)
        if (sterna_cpu_is_float(layout))
            pack_float_panel(job->load, pack, panel);
        else if (sterna_cpu_is_k(layout))
            pack_k_panel(job->load, pack, panel);
        else if (takes_lines(job->load))
            pack_lines(job->load, pack, panel);
        else
            pack_int_panel(job->load, pack, panel);
}

sterna_status sterna_cpu_pack(sterna_cpu *cpu, const sterna_cpu_load *load, bool *threes,
                              sterna_error *err)
{
    enum { GRAIN = 4 };
    const sterna_tensor *tensor = load->tensor;
    packer *packers = sterna_calloc((size_t)cpu->threads, sizeof *packers), worst = {0};
    bool complete = packers != NULL;
    for (int t = 0; complete && t < cpu->threads; t++) complete = packer_new(load, &packers[t]);
    if (complete)
        sterna_pool_run(cpu->pool, load->weight->panels, GRAIN, pack_panels,
                        &(pack_job){load, packers});
    for (int t = 0; packers && t < cpu->threads; t++) {
        *threes |= packers[t].threes;
        if (packers[t].bad) refuse(&worst, packers[t].bad_row, packers[t].bad);
        packer_free(&packers[t]);
    }
    sterna_free(packers);
    if (!complete) return sterna_fail_memory(err, tensor->name);
    if (worst.bad)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "tensor '%s' (%s), row %llu: %s; the file is damaged", tensor->name,
                           sterna_type_describe(tensor->type)->name,
                           (unsigned long long)worst.bad_row, worst.bad);
    return STERNA_OK;
}
