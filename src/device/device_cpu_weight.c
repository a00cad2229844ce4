/* Packed matrices of the CPU device: from a tensor's rows to panels of 16 rows (kernels.h), one
 * tensor at a time on all threads; and rows back to floats for embedding.
 *
 * Ternary types, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K and Q6_K are held exactly; Q5_0, Q5_1 too (as int8
 * codes). Other block types become int8 with one scale per 32 columns. Where float activations are
 * asked for, float types keep their bits and everything else becomes float32.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/half.h"
#include "base/memory.h"
#include "device/device_cpu.h"
#include "ternary/affine.h"
#include "ternary/native.h"

enum { INT8_GROUP = 32, ACT_GROUP = 128, LARGE_PAGE = 2 << 20 };

static const struct layout {
    const char *name;
    size_t line_cols, line_bytes;
} layouts[] = {
    [STERNA_LAYOUT_TERN2] = {"tern2", 16, 64},   [STERNA_LAYOUT_INT4] = {"int4", 8, 64},
    [STERNA_LAYOUT_INT8] = {"int8", 4, 64},      [STERNA_LAYOUT_Q4K] = {"q4k", 256, 36 * 64},
    [STERNA_LAYOUT_Q5K] = {"q5k", 256, 44 * 64}, [STERNA_LAYOUT_Q6K] = {"q6k", 256, 53 * 64},
    [STERNA_LAYOUT_F32] = {"f32", 1, 64},        [STERNA_LAYOUT_F16] = {"f16", 1, 32},
    [STERNA_LAYOUT_BF16] = {"bf16", 1, 32},
};

/* What one thread needs to pack a panel. */
typedef struct packer {
    float *row;    /* [padded] */
    int8_t *codes; /* [16][padded]: trits, or codes as packed */
    float *scales; /* [16][groups] */
    float *mins;   /* [16][groups] */
} packer;

/* The whole load. */
typedef struct load {
    const sterna_tensor *tensor;
    const sterna_weight_options *options;
    const sterna_kernels *kernels;
    sterna_weight *weight;
    float row_scale;
    bool has_min, trits; /* trits: every row so far held only trits */
    bool affine;
    bool outliers; /* the weight holds the tensor's outlier columns, and nothing else */
    /* the first failure, by row */
    uint64_t bad_row;
    const char *bad;
} load;

static bool is_float_layout(sterna_cpu_layout layout)
{
    return layout >= STERNA_LAYOUT_F32;
}

/* A scale per token leaves no room for padded segments. */
static bool group_fits(const sterna_weight *weight, size_t group)
{
    return weight->activation == STERNA_ACT_INT8_GROUP || group % STERNA_COLUMN_UNIT == 0;
}

/* Trits as they are, with shifts as minimums and the second plane behind the first. */
static void choose_ternary(load *job)
{
    const sterna_native *native = job->tensor->native;
    sterna_weight *weight = job->weight;
    size_t group = (size_t)sterna_tensor_group(job->tensor);
    job->has_min = native && native->shifted;
    if (native && native->code2) weight->planes = 2;
    bool scales = job->has_min || weight->planes > 1; /* more than one number in a row */
    if (group >= weight->cols) group = scales ? weight->cols : 0;
    weight->layout = STERNA_LAYOUT_TERN2;
    weight->group = group;
    job->trits = true;
}

static sterna_status choose_layout(load *job, sterna_error *err)
{
    const sterna_tensor *tensor = job->tensor;
    const sterna_type_info *info = sterna_type_describe(tensor->type);
    sterna_weight *weight = job->weight;
    weight->activation = job->options->activation;
    if (info->kind == STERNA_KIND_INTEGER)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s' has type %s, which is no weight type", tensor->name,
                           info->name);
    if (weight->activation == STERNA_ACT_AUTO)
        weight->activation =
            info->kind == STERNA_KIND_FLOAT ? STERNA_ACT_FLOAT : STERNA_ACT_INT8_GROUP;
    if (weight->activation == STERNA_ACT_FLOAT) {
        weight->layout = tensor->type == STERNA_TYPE_F16    ? STERNA_LAYOUT_F16
                         : tensor->type == STERNA_TYPE_BF16 ? STERNA_LAYOUT_BF16
                                                            : STERNA_LAYOUT_F32;
        return STERNA_OK;
    }
    sterna_affine affine;
    weight->layout = STERNA_LAYOUT_INT8;
    weight->group = INT8_GROUP;
    if (job->outliers) return STERNA_OK;
    if (info->kind == STERNA_KIND_TERNARY) {
        uint64_t group = sterna_tensor_group(tensor);
        if (group >= weight->cols || group_fits(weight, (size_t)group)) choose_ternary(job);
    } else if (sterna_cpu_k_layout(tensor->type, weight)) {
        job->has_min = false; /* minimums are inside the blocks */
    } else if (sterna_affine_describe(tensor->type, &affine)) {
        job->affine = true;
        job->has_min = affine.has_min;
        if (affine.bits == 4) weight->layout = STERNA_LAYOUT_INT4;
        weight->zero = affine.zero;
        weight->group = affine.group;
    }
    if (weight->cols > STERNA_MAX_COLS)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "tensor '%s' has %zu columns; the limit for integer matrices is %d",
                           tensor->name, weight->cols, STERNA_MAX_COLS);
    return STERNA_OK;
}

/* Scales beside the codes. */
static bool has_scales(const sterna_weight *weight)
{
    return weight->group && !sterna_cpu_is_k(weight->layout);
}

/* Sizes and the walk, after the layout. */
static bool measure(const load *job)
{
    sterna_weight *weight = job->weight;
    const struct layout *layout = &layouts[weight->layout];
    weight->panels = (weight->rows + STERNA_PANEL - 1) / STERNA_PANEL;
    if (is_float_layout(weight->layout))
        weight->padded = weight->cols;
    else
        sterna_cpu_place(weight);
    if (!sterna_mul_size(weight->padded / layout->line_cols, layout->line_bytes,
                         &weight->panel_bytes))
        return false;
    size_t scale_count = has_scales(weight) ? job->has_min ? 2 : 1 : 0;
    weight->bytes =
        weight->panels * (weight->panel_bytes + STERNA_PANEL * sizeof(float) +
                          scale_count * weight->groups * STERNA_PANEL * sizeof(uint16_t));
    return true;
}

/* Memory that is streamed: large pages cost fewer faults now and fewer address misses later. A
 * kernel without them loses nothing. */
static void *streamed(size_t count, size_t size)
{
    void *block = sterna_alloc(count, size);
    uintptr_t begin = ((uintptr_t)block + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    uintptr_t end = ((uintptr_t)block + count * size) / LARGE_PAGE * LARGE_PAGE;
    if (block && begin < end) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    return block;
}

static sterna_status allocate(load *job, sterna_error *err)
{
    sterna_weight *weight = job->weight;
    size_t panel_scales = weight->groups * STERNA_PANEL;
    weight->codes = streamed(weight->panels, weight->panel_bytes);
    weight->factors = sterna_calloc(weight->panels, STERNA_PANEL * sizeof(float));
    bool complete = weight->codes && weight->factors;
    if (complete && has_scales(weight)) {
        weight->scales = streamed(weight->panels, panel_scales * sizeof(uint16_t));
        complete = weight->scales != NULL;
        if (complete && job->has_min) {
            weight->mins = streamed(weight->panels, panel_scales * sizeof(uint16_t));
            complete = weight->mins != NULL;
        }
    }
    if (!complete) return sterna_fail_memory(err, job->tensor->name);
    return STERNA_OK;
}

/* The tensor's row that becomes row i of the weight. */
static uint64_t source_row(const load *job, size_t i)
{
    const uint32_t *order = job->options->row_order;
    return job->options->first_row + (order ? order[i] : i);
}

/* A row of {-d, 0, d, 2d} per group as codes -1..2 (Q2_0 with code 3; the doubled value tells the
 * sign of d). False when the values are not of that form. */
static bool quads_from_floats(const float *row, size_t cols, size_t group, int8_t *codes,
                              float *scales)
{
    for (size_t begin = 0, g = 0; begin < cols; begin += group, g++) {
        size_t end = begin + group < cols ? begin + group : cols;
        float least = INFINITY, most = 0;
        for (size_t i = begin; i < end; i++) {
            float size = fabsf(row[i]);
            if (!(size < INFINITY)) return false;
            if (size > 0 && size < least) least = size;
            if (size > fabsf(most)) most = row[i];
        }
        if (most == 0) least = 0;
        scales[g] = fabsf(most) > least && most < 0 ? -least : least;
        for (size_t i = begin; i < end; i++) {
            float code = least > 0 ? row[i] / scales[g] : 0;
            if (code != -1 && code != 0 && code != 1 && code != 2) return false;
            codes[i] = (int8_t)code;
        }
    }
    return true;
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
static const char *read_planes(load *job, packer *pack, uint64_t row, int8_t *codes, float *scales,
                               float *mins)
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

/* Row i as codes and scales; NULL or what is wrong with it. */
static const char *read_codes(load *job, packer *pack, size_t i)
{
    const sterna_weight *weight = job->weight;
    const sterna_tensor *tensor = job->tensor;
    size_t lane = i % STERNA_PANEL, groups = weight->groups ? weight->groups : 1;
    size_t group = weight->group ? weight->group : weight->cols;
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
        bool quads = tensor->type == STERNA_TYPE_Q2_0 || tensor->type == STERNA_TYPE_Q2_0_G128;
        if (!quads || tensor->native) return "holds a code that is no trit";
        sterna_tensor_row(tensor, row, pack->row);
        if (!quads_from_floats(pack->row, weight->cols, group, codes, scales))
            return "holds a scale that is NaN or infinite";
    }
    for (size_t g = 0; g < groups; g++)
        if (!isfinite(scales[g]) || (job->has_min && !isfinite(mins[g])))
            return "holds a scale that is NaN or infinite";
    return NULL;
}

/* Scales of row i to the packed arrays: float16 times a power of two that keeps them in range. */
static void store_scales(load *job, const packer *pack, size_t i)
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

static void pack_codes(const sterna_weight *weight, int8_t *codes, uint8_t *out)
{
    size_t padded = weight->padded;
    if (weight->layout == STERNA_LAYOUT_TERN2) {
        for (size_t i = 0; i < STERNA_PANEL * padded; i++) codes[i]++;
        pack_tern2(padded, codes, out);
    } else if (weight->layout == STERNA_LAYOUT_INT4) {
        pack_int4(padded, codes, out);
    } else {
        pack_int8(padded, codes, out);
    }
}

static const char *pack_int_panel(load *job, packer *pack, size_t panel)
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
                job->bad_row = source_row(job, i);
                return bad;
            }
        }
        store_scales(job, pack, i);
    }
    pack_codes(weight, pack->codes, weight->codes + panel * weight->panel_bytes);
    return NULL;
}

static const char *pack_k_panel(load *job, size_t panel)
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
    if (sterna_cpu_k_pack(weight, rows, weight->codes + panel * weight->panel_bytes, &bad))
        return NULL;
    job->bad_row = source_row(job, panel * STERNA_PANEL + bad);
    return "holds a scale that is NaN or infinite";
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

static void pack_float_panel(load *job, packer *pack, size_t panel)
{
    sterna_weight *weight = job->weight;
    size_t line_bytes = layouts[weight->layout].line_bytes;
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

static bool packer_new(const sterna_weight *weight, packer *pack)
{
    size_t groups = weight->groups ? weight->groups : 1;
    bool is_float = is_float_layout(weight->layout) || sterna_cpu_is_k(weight->layout);
    pack->row = sterna_calloc(weight->padded, sizeof(float));
    pack->codes = sterna_calloc(is_float ? 1 : weight->padded, STERNA_PANEL);
    pack->scales = sterna_calloc(groups, STERNA_PANEL * sizeof(float));
    pack->mins = sterna_calloc(groups, STERNA_PANEL * sizeof(float));
    return pack->row && pack->codes && pack->scales && pack->mins;
}

static void packer_free(packer *pack)
{
    sterna_free(pack->row);
    sterna_free(pack->codes);
    sterna_free(pack->scales);
    sterna_free(pack->mins);
}

static sterna_status pack_all(load *job, int threads, sterna_error *err)
{
    sterna_weight *weight = job->weight;
    if ((size_t)threads > weight->panels) threads = (int)weight->panels;
    packer *packers = sterna_calloc((size_t)threads, sizeof *packers);
    bool complete = packers != NULL;
    for (int t = 0; complete && t < threads; t++) complete = packer_new(weight, &packers[t]);
    if (complete) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4)
        for (size_t panel = 0; panel < weight->panels; panel++) {
            packer *pack = &packers[omp_get_thread_num()];
            const char *bad = NULL;
            if (is_float_layout(weight->layout))
                pack_float_panel(job, pack, panel);
            else if (sterna_cpu_is_k(weight->layout))
                bad = pack_k_panel(job, panel);
            else
                bad = pack_int_panel(job, pack, panel);
            if (bad) {
#pragma omp critical(sterna_weight_load)
                job->bad = bad;
            }
        }
    }
    for (int t = 0; packers && t < threads; t++) packer_free(&packers[t]);
    sterna_free(packers);
    if (!complete) return sterna_fail_memory(err, job->tensor->name);
    if (job->bad)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "tensor '%s' (%s), row %llu: %s; the file is damaged", job->tensor->name,
                           sterna_type_describe(job->tensor->type)->name,
                           (unsigned long long)job->bad_row, job->bad);
    return STERNA_OK;
}

static sterna_status copy_hadamard(const sterna_hadamard *from, size_t cols, const char *name,
                                   sterna_hadamard *to, sterna_error *err)
{
    if (!from->block) return STERNA_OK;
    uint32_t block = from->block;
    if (block < 2 || block > 4096 || block & (block - 1) || cols % block)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s': a Hadamard block must be a power of two up to 4096 that "
                           "divides the %zu columns, not %u",
                           name, cols, block);
    to->block = block;
    if (!from->signs) return STERNA_OK;
    float *signs = sterna_alloc(cols, sizeof(float));
    if (!signs) return sterna_fail_memory(err, name);
    memcpy(signs, from->signs, cols * sizeof(float));
    to->signs = signs;
    return STERNA_OK;
}

static sterna_status check_rows(const load *job, sterna_error *err)
{
    const sterna_weight_options *options = job->options;
    uint64_t rows = sterna_tensor_rows(job->tensor), first = options->first_row;
    uint64_t count = job->weight->rows;
    if (job->tensor->dims[0] == 0 || rows == 0 || first > rows || count > rows - first)
        return sterna_fail(
            err, STERNA_ERROR_FORMAT,
            "tensor '%s' has %llu rows of %llu columns; rows %llu to %llu are needed",
            job->tensor->name, (unsigned long long)rows, (unsigned long long)job->tensor->dims[0],
            (unsigned long long)first, (unsigned long long)(first + count));
    for (uint64_t i = 0; options->row_order && i < count; i++)
        if (options->row_order[i] >= rows - first)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "tensor '%s': row order %llu names row %u of %llu",
                               job->tensor->name, (unsigned long long)i, options->row_order[i],
                               (unsigned long long)(rows - first));
    return STERNA_OK;
}

static void name_weight(const sterna_kernels *kernels, bool has_min, sterna_weight *weight)
{
    const char *suffixes[] = {
        kernels->matmul_tern2_suffix, kernels->matmul_int4_suffix, kernels->matmul_int8_suffix,
        kernels->matmul_q4k_suffix,   kernels->matmul_q5k_suffix,  kernels->matmul_q6k_suffix,
        kernels->matmul_f32_suffix,   kernels->matmul_f16_suffix,  kernels->matmul_bf16_suffix};
    const char *name = layouts[weight->layout].name;
    if (is_float_layout(weight->layout) || sterna_cpu_is_k(weight->layout))
        snprintf(weight->layout_name, sizeof weight->layout_name, "%s", name);
    else if (weight->group)
        snprintf(weight->layout_name, sizeof weight->layout_name, "%s g%zu%s%s", name,
                 weight->group, weight->planes > 1 ? " x2" : "", has_min ? "+min" : "");
    else
        snprintf(weight->layout_name, sizeof weight->layout_name, "%s row", name);
    snprintf(weight->kernel_name, sizeof weight->kernel_name, "%s_%s", name,
             suffixes[weight->layout]);
}

/* Packs what `job` names into its weight. */
static sterna_status make_weight(sterna_cpu *cpu, load *job, sterna_error *err)
{
    const sterna_weight_options *options = job->options;
    sterna_weight *weight = job->weight;
    const char *name = job->tensor->name;
    weight->planes = 1;
    sterna_status status = check_rows(job, err);
    if (!status) status = choose_layout(job, err);
    if (!status && !measure(job))
        status = sterna_fail(err, STERNA_ERROR_LIMIT, "tensor '%s' has too many columns", name);
    if (!status && !job->outliers)
        status = copy_hadamard(&options->hadamard, weight->cols, name, &weight->hadamard, err);
    if (!status && !job->outliers)
        status =
            copy_hadamard(&options->inverse_hadamard, weight->cols, name, &weight->inverse, err);
    if (!status && !cpu->plan) status = allocate(job, err);
    if (!status && !cpu->plan) status = pack_all(job, cpu->threads, err);
    name_weight(&cpu->kernels, job->has_min, weight);
    return status;
}

/* The columns that a ternary tensor keeps in int8, as a matrix of their own. */
static sterna_status load_outliers(sterna_cpu *cpu, const load *main, sterna_error *err)
{
    sterna_weight *weight = main->weight;
    uint32_t count = sterna_tensor_outliers(main->tensor);
    if (!count || !main->trits) return STERNA_OK; /* floats and int8 have them among the others */
    sterna_weight_options options = *main->options;
    options.activation = STERNA_ACT_INT8_GROUP;
    load job = *main;
    job.options = &options;
    job.weight = weight->outliers = sterna_calloc(1, sizeof *weight->outliers);
    weight->outlier_columns = sterna_alloc(count, sizeof *weight->outlier_columns);
    if (!weight->outliers || !weight->outlier_columns)
        return sterna_fail_memory(err, main->tensor->name);
    sterna_tensor_outlier_columns(main->tensor, weight->outlier_columns);
    job.outliers = true;
    job.has_min = job.trits = false;
    job.weight->rows = weight->rows;
    job.weight->cols = count;
    sterna_status status = make_weight(cpu, &job, err);
    weight->bytes += job.weight->bytes + count * sizeof *weight->outlier_columns;
    size_t used = strlen(weight->layout_name);
    snprintf(weight->layout_name + used, sizeof weight->layout_name - used, "+%u int8", count);
    return status;
}

sterna_status sterna_cpu_weight_load(sterna_device *device, const sterna_tensor *tensor,
                                     const sterna_weight_options *options, sterna_weight **out,
                                     sterna_error *err)
{
    sterna_cpu *cpu = sterna_cpu_of(device);
    sterna_weight *weight = sterna_calloc(1, sizeof *weight);
    if (!weight) return sterna_fail_memory(err, tensor->name);
    load job = {.tensor = tensor, .options = options, .kernels = &cpu->kernels, .weight = weight};
    job.row_scale = options->row_scale != 0 ? options->row_scale : 1;
    uint64_t rows = options->rows ? options->rows : sterna_tensor_rows(tensor) - options->first_row;
    weight->rows = (size_t)rows;
    weight->cols = (size_t)tensor->dims[0];
    sterna_status status = make_weight(cpu, &job, err);
    if (!status) status = load_outliers(cpu, &job, err);
    size_t cols = (weight->cols + STERNA_COLUMN_UNIT - 1) / STERNA_COLUMN_UNIT * STERNA_COLUMN_UNIT;
    if (weight->padded > cols) cols = weight->padded;
    if (!status)
        status =
            sterna_cpu_make_room(device, cols, weight->outliers ? weight->outliers->cols : 0, err);
    if (status) {
        sterna_cpu_weight_free(device, weight);
        return status;
    }
    *out = weight;
    return STERNA_OK;
}

void sterna_cpu_weight_free(sterna_device *device, sterna_weight *weight)
{
    if (!weight) return;
    sterna_cpu_weight_free(device, weight->outliers);
    sterna_free(weight->outlier_columns);
    sterna_free(weight->codes);
    sterna_free(weight->scales);
    sterna_free(weight->mins);
    sterna_free(weight->factors);
    sterna_free((void *)(uintptr_t)weight->hadamard.signs);
    sterna_free((void *)(uintptr_t)weight->inverse.signs);
    sterna_free(weight);
}

void sterna_cpu_weight_info(const sterna_weight *weight, sterna_weight_info *info)
{
    info->rows = weight->rows;
    info->cols = weight->cols;
    info->bytes = weight->bytes;
    info->layout = weight->layout_name;
    info->kernel = weight->kernel_name;
}

static float int_code(const sterna_weight *weight, const uint8_t *line, size_t lane, size_t k)
{
    switch (weight->layout) {
    case STERNA_LAYOUT_TERN2: return (float)((line[4 * lane + k % 4] >> 2 * (k % 16 / 4) & 3) - 1);
    case STERNA_LAYOUT_INT4:
        return (float)((line[4 * lane + k % 4] >> 4 * (k % 8 / 4) & 15) - weight->zero);
    default: return (float)((int8_t)line[4 * lane + k % 4] - weight->zero);
    }
}

/* Packed column k of a row: its value but for the factor. */
static float packed_value(const sterna_weight *weight, size_t panel, size_t lane, size_t k)
{
    const struct layout *layout = &layouts[weight->layout];
    const uint8_t *line =
        weight->codes + panel * weight->panel_bytes + k / layout->line_cols * layout->line_bytes;
    if (is_float_layout(weight->layout)) {
        float value;
        uint16_t half;
        memcpy(&value, line + 4 * (weight->layout == STERNA_LAYOUT_F32 ? lane : 0), 4);
        memcpy(&half, line + 2 * lane, 2);
        if (weight->layout == STERNA_LAYOUT_F16) return sterna_f16_to_f32(half);
        return weight->layout == STERNA_LAYOUT_BF16 ? sterna_bf16_to_f32(half) : value;
    }
    float value = int_code(weight, line, lane, k);
    if (!weight->group) return value;
    size_t scale = k / weight->segment / weight->segments_per_scale;
    size_t at = (panel * weight->groups + scale) * STERNA_PANEL + lane;
    value *= sterna_f16_to_f32(weight->scales[at]);
    return weight->mins ? value + sterna_f16_to_f32(weight->mins[at]) : value;
}

/* Row r of a packed matrix as floats, times scale. */
static void unpack_row(const sterna_weight *weight, size_t r, float scale, float *out)
{
    size_t panel = r / STERNA_PANEL, lane = r % STERNA_PANEL;
    float factor = weight->factors[r] * scale;
    if (sterna_cpu_is_k(weight->layout)) {
        sterna_cpu_k_unpack_row(weight, r, out);
        for (size_t k = 0; k < weight->cols; k++) out[k] *= factor;
        return;
    }
    for (size_t k = 0; k < weight->cols; k++) {
        size_t at = sterna_cpu_column(weight, k);
        float value = packed_value(weight, panel, lane, at);
        if (weight->planes > 1) value += packed_value(weight, panel, lane, at + weight->plane);
        out[k] = value * factor;
    }
    const sterna_weight *thin = weight->outliers;
    for (size_t i = 0; thin && i < thin->cols; i++)
        out[weight->outlier_columns[i]] +=
            packed_value(thin, panel, lane, i) * thin->factors[r] * scale;
}

typedef struct embed_job {
    const sterna_cpu *cpu;
    const sterna_weight *table;
    const int32_t *ids;
    float scale, *x;
} embed_job;

static void embed_tokens(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const embed_job *job = context;
    const sterna_weight *table = job->table;
    const sterna_hadamard *inverse = &table->inverse;
    for (size_t t = begin; t < end; t++) {
        float *row = job->x + t * table->cols;
        unpack_row(table, (size_t)job->ids[t], job->scale, row);
        if (!inverse->block) continue;
        for (size_t i = 0; i < table->cols; i += inverse->block)
            job->cpu->kernels.hadamard(row + i, NULL, row + i, inverse->block);
        for (size_t i = 0; inverse->signs && i < table->cols; i++) row[i] *= inverse->signs[i];
    }
}

void sterna_cpu_embed(sterna_device *device, const sterna_weight *table, const int32_t *ids,
                      size_t n, float scale, float *x)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    embed_job job = {cpu, table, ids, scale, x};
    sterna_pool_run(cpu->pool, n, 4, embed_tokens, &job);
}
