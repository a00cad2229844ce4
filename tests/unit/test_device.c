/* device/: every operation of the CPU device against a naive double computation, every weight type,
 * odd shapes, several thread counts; equality to the bit between thread counts, between a batch and
 * its tokens one by one, and between instruction sets. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/half.h"
#include "base/memory.h"
#include "base/rng.h"
#include "device/device.h"

static sterna_rng rng;

static float uniform(void)
{
    return (float)(2 * sterna_rng_double(&rng) - 1);
}

static float *floats(size_t n)
{
    float *out = malloc((n ? n : 1) * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) out[i] = uniform();
    return out;
}

static sterna_device *open_with(int threads, uint32_t features)
{
    sterna_device *device = NULL;
    sterna_cpu_options options = {.threads = threads, .features = features};
    assert_int_equal(sterna_device_cpu_open(&options, &device, NULL), STERNA_OK);
    return device;
}

/* Where a block type keeps its float16 scales; random bytes elsewhere are valid codes. */
static const struct {
    sterna_type type;
    uint32_t at[2];
    int count;
} half_fields[] = {
    {STERNA_TYPE_Q8_0, {0, 0}, 1},      {STERNA_TYPE_Q4_0, {0, 0}, 1},
    {STERNA_TYPE_Q4_1, {0, 2}, 2},      {STERNA_TYPE_Q5_0, {0, 0}, 1},
    {STERNA_TYPE_Q5_1, {0, 2}, 2},      {STERNA_TYPE_Q2_K, {80, 82}, 2},
    {STERNA_TYPE_Q3_K, {108, 0}, 1},    {STERNA_TYPE_Q4_K, {0, 2}, 2},
    {STERNA_TYPE_Q5_K, {0, 2}, 2},      {STERNA_TYPE_Q6_K, {208, 0}, 1},
    {STERNA_TYPE_Q1_0, {0, 0}, 1},      {STERNA_TYPE_Q2_0, {0, 0}, 1},
    {STERNA_TYPE_Q2_0_G128, {0, 0}, 1},
};

static void fill_blocks(const sterna_type_info *info, sterna_type type, uint8_t *data,
                        uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) data[i] = (uint8_t)sterna_rng_u64(&rng);
    for (size_t f = 0; f < sizeof half_fields / sizeof *half_fields; f++) {
        if (half_fields[f].type != type) continue;
        for (uint64_t block = 0; block < bytes; block += info->block_bytes)
            for (int i = 0; i < half_fields[f].count; i++) {
                uint16_t half = sterna_f32_to_f16(0.02f * uniform());
                memcpy(data + block + half_fields[f].at[i], &half, 2);
            }
    }
}

/* A random tensor of a type; free tensor.data. */
static sterna_tensor random_tensor(sterna_type type, uint64_t cols, uint64_t rows)
{
    const sterna_type_info *info = sterna_type_describe(type);
    sterna_tensor tensor = {.name = "test", .type = type, .n_dims = 2, .dims = {cols, rows, 1, 1}};
    assert_true(sterna_type_bytes(type, cols, rows, &tensor.bytes));
    uint8_t *data = malloc(tensor.bytes);
    assert_non_null(data);
    tensor.data = data;
    tensor.scale = 0.37f;
    if (info->kind == STERNA_KIND_BLOCK || type == STERNA_TYPE_Q1_0 || type == STERNA_TYPE_Q2_0 ||
        type == STERNA_TYPE_Q2_0_G128) { /* Q2_0 with all four codes */
        fill_blocks(info, type, data, tensor.bytes);
        return tensor;
    }
    if (type == STERNA_TYPE_I2_S || type == STERNA_TYPE_BITNET) {
        for (uint64_t i = 0; i < tensor.bytes; i++) {
            data[i] = 0;
            for (int f = 0; f < 8; f += 2)
                data[i] = (uint8_t)(data[i] | sterna_rng_u64(&rng) % 3 << f);
        }
        float scale = 0.37f;
        if (type == STERNA_TYPE_I2_S) memcpy(data + cols * rows / 4, &scale, 4);
        return tensor;
    }
    uint64_t row_bytes = tensor.bytes / rows;
    for (uint64_t r = 0; r < rows; r++) {
        uint8_t *out = data + r * row_bytes;
        if (info->kind == STERNA_KIND_TERNARY) {
            int8_t *trits = malloc(cols);
            float *scales = floats(cols / info->group + 1);
            for (uint64_t i = 0; i < cols; i++)
                trits[i] = (int8_t)((int)(sterna_rng_u64(&rng) % 3) - 1);
            sterna_type_pack(type, trits, scales, cols, out);
            free(trits);
            free(scales);
            continue;
        }
        float *row = floats(cols);
        if (type == STERNA_TYPE_F64)
            for (uint64_t i = 0; i < cols; i++) memcpy(out + 8 * i, &(double){(double)row[i]}, 8);
        else
            sterna_type_encode(type, row, cols, out);
        free(row);
    }
    return tensor;
}

/* x as the device quantises it, back in floats. */
static void quantise_naive(const float *x, size_t cols, size_t group, float floor, double *out)
{
    for (size_t begin = 0; begin < cols; begin += group) {
        size_t end = begin + group < cols ? begin + group : cols;
        float max = floor;
        for (size_t i = begin; i < end; i++) max = fmaxf(max, fabsf(x[i]));
        for (size_t i = begin; i < end; i++)
            out[i] = max > 0 ? (double)rintf(x[i] * (127.0f / max)) * (double)max / 127 : 0;
    }
}

/* Held as they are. */
static bool is_k(sterna_type type)
{
    return type == STERNA_TYPE_Q4_K || type == STERNA_TYPE_Q5_K || type == STERNA_TYPE_Q6_K;
}

/* How far y may be: float rounding, and what the layout rounds in a weight. */
static double tolerance(sterna_type type, bool exact_weights, const float *w, const double *x,
                        size_t cols)
{
    double sum = 0, lost = 0;
    for (size_t i = 0; i < cols; i += 32) {
        double max = 0, size = 0;
        for (size_t j = i; j < i + 32 && j < cols; j++) {
            sum += fabs((double)w[j] * x[j]);
            max = fmax(max, fabs((double)w[j]));
            size += fabs(x[j]);
        }
        lost += max * size; /* every weight of a group may be off by a fraction of its largest */
    }
    /* K blocks: 63 times the minimum and 63 * 31 times the scale may cancel */
    if (is_k(type)) return 1e-5 * sum + 1e-6 * lost + 1e-5;
    if (exact_weights) return 1e-5 * sum + 1e-9;
    return lost * (1.0 / 254 + 1.0 / 1024) + 1e-9;
}

static bool is_exact(sterna_type type, sterna_activation_mode mode)
{
    const sterna_type_info *info = sterna_type_describe(type);
    if (mode == STERNA_ACT_FLOAT || info->kind == STERNA_KIND_TERNARY) return true;
    if (info->kind == STERNA_KIND_FLOAT) return mode == STERNA_ACT_AUTO;
    return type == STERNA_TYPE_Q8_0 || type == STERNA_TYPE_Q4_0 || type == STERNA_TYPE_Q4_1 ||
           type == STERNA_TYPE_Q5_0 || type == STERNA_TYPE_Q5_1 || is_k(type);
}

/* Columns that share an activation scale: those that share a weight scale, at most 128. */
static size_t activation_group(const sterna_tensor *tensor)
{
    if (tensor->type == STERNA_TYPE_Q6_K) return 16;
    if (sterna_type_describe(tensor->type)->kind != STERNA_KIND_TERNARY) return 32;
    size_t group = (size_t)sterna_tensor_group(tensor);
    return group && group < 128 ? group : 128;
}

static void check_matmul(sterna_device *device, sterna_type type, size_t rows, size_t cols,
                         size_t n, sterna_activation_mode mode)
{
    const sterna_type_info *info = sterna_type_describe(type);
    sterna_tensor tensor = random_tensor(type, cols, rows);
    sterna_weight_options options = {.activation = mode, .row_scale = 0.5f};
    sterna_weight *weight = NULL;
    sterna_error err = {0};
    if (device->weight_load(device, &tensor, &options, &weight, &err)) fail_msg("%s", err.message);
    assert_int_equal(device->reserve(device, 7, cols, rows, 1, 1, NULL), STERNA_OK);

    size_t stride = rows + 3;
    float *x = floats(n * cols), *y = floats(n * stride), *bias = floats(rows);
    float *w = floats(cols), *canary = floats(n * stride);
    memcpy(canary, y, n * stride * sizeof *y);
    sterna_product product = {weight, bias, y, stride};
    device->matmul(device, x, n, &product, 1);

    double *real = malloc(n * cols * sizeof *real);
    bool token = mode == STERNA_ACT_INT8_TOKEN;
    bool is_float =
        mode == STERNA_ACT_FLOAT || (mode == STERNA_ACT_AUTO && info->kind == STERNA_KIND_FLOAT);
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < cols; i++) real[t * cols + i] = (double)x[t * cols + i];
        if (!is_float)
            quantise_naive(x + t * cols, cols, token ? cols : activation_group(&tensor),
                           token ? 1e-5f : 0, real + t * cols);
        for (size_t r = rows; r < stride; r++)
            assert_true(y[t * stride + r] == canary[t * stride + r]);
    }
    for (size_t r = 0; r < rows; r++) {
        sterna_tensor_row(&tensor, r, w);
        for (size_t t = 0; t < n; t++) {
            double want = 0;
            for (size_t i = 0; i < cols; i++) want += (double)w[i] * real[t * cols + i];
            double got = (double)y[t * stride + r];
            double limit = tolerance(type, is_exact(type, mode), w, real + t * cols, cols);
            if (!(fabs(got - (0.5 * want + (double)bias[r])) <= limit + 1e-6))
                fail_msg("%s mode %d [%zu][%zu] n %zu: token %zu row %zu: %g, want %g +- %g",
                         info->name, (int)mode, rows, cols, n, t, r, got,
                         0.5 * want + (double)bias[r], limit);
        }
    }
    /* embedding rows are the weights */
    int32_t id = (int32_t)(rows - 1);
    float *row = floats(cols);
    device->embed(device, weight, &id, 1, 2.0f, row);
    sterna_tensor_row(&tensor, rows - 1, w);
    for (size_t i = 0; i < cols; i++) {
        double limit = is_exact(type, mode) ? 1e-6 : 1e-2;
        float largest = 0;
        for (size_t j = i / 32 * 32; j < cols && j < i / 32 * 32 + 32; j++)
            largest = fmaxf(largest, fabsf(w[j]));
        assert_true(fabs((double)row[i] - (double)w[i]) <=
                    limit * (double)largest + 1e-4 * (limit > 1e-5));
    }
    free(row);
    free(real);
    free(x);
    free(y);
    free(bias);
    free(w);
    free(canary);
    device->weight_free(device, weight);
    free((void *)(uintptr_t)tensor.data);
}

static void every_type_multiplies(void **state)
{
    (void)state;
    static const size_t rows_of[] = {1, 16, 36, 100}, ns[] = {1, 3, 13};
    static const sterna_activation_mode modes[] = {STERNA_ACT_AUTO, STERNA_ACT_FLOAT,
                                                   STERNA_ACT_INT8_TOKEN, STERNA_ACT_INT8_GROUP};
    sterna_device *device = open_with(2, sterna_cpu_features());
    for (int type = 0; type < STERNA_TYPES; type++) {
        const sterna_type_info *info = sterna_type_describe((sterna_type)type);
        if (info->kind == STERNA_KIND_INTEGER || type == STERNA_TYPE_NATIVE) continue;
        size_t unit = info->block ? info->block : 128;
        size_t cols[] = {unit == 1 ? 172 : unit, unit == 1 ? 65 : 3 * unit,
                         unit == 1 ? 576 : (1200 + unit - 1) / unit * unit};
        for (size_t m = 0; m < 4; m++)
            for (size_t c = 0; c < 3; c++)
                for (size_t r = 0; r < 4; r++) {
                    size_t rows = rows_of[r];
                    if (info->block == 0 && rows % 4) continue;
                    check_matmul(device, (sterna_type)type, rows, cols[c], ns[(m + c + r) % 3],
                                 modes[m]);
                }
    }
    device->close(device);
}

/* y of a ternary and an int4 matrix for n tokens, on a device of so many threads. */
static float *run_pair(int threads, uint32_t features, const sterna_tensor *a,
                       const sterna_tensor *b, const float *x, size_t n, size_t step)
{
    size_t cols = a->dims[0], rows = a->dims[1];
    sterna_device *device = open_with(threads, features);
    sterna_weight *weights[2];
    sterna_weight_options options = {.activation = STERNA_ACT_INT8_GROUP};
    assert_int_equal(device->weight_load(device, a, &options, &weights[0], NULL), STERNA_OK);
    assert_int_equal(device->weight_load(device, b, &options, &weights[1], NULL), STERNA_OK);
    assert_int_equal(device->reserve(device, n, cols, rows, 1, 1, NULL), STERNA_OK);
    float *y = floats(2 * n * rows);
    for (size_t t = 0; t < n; t += step) {
        sterna_product products[2] = {{weights[0], NULL, y + t * rows, 0},
                                      {weights[1], NULL, y + (n + t) * rows, 0}};
        device->matmul(device, x + t * cols, n - t < step ? n - t : step, products, 2);
    }
    device->weight_free(device, weights[0]);
    device->weight_free(device, weights[1]);
    device->close(device);
    return y;
}

static void results_do_not_depend_on_the_split(void **state)
{
    (void)state;
    enum { N = 19, ROWS = 500, COLS = 768 };
    static const sterna_type types[] = {STERNA_TYPE_TQ2_0, STERNA_TYPE_Q4_K, STERNA_TYPE_PQ2_0,
                                        STERNA_TYPE_Q8_0,  STERNA_TYPE_Q2_0, STERNA_TYPE_Q5_1,
                                        STERNA_TYPE_Q6_K,  STERNA_TYPE_Q5_K};
    for (int i = 0; i < 8; i += 2) {
        sterna_tensor a = random_tensor(types[i], COLS, ROWS);
        sterna_tensor b = random_tensor(types[i + 1], COLS, ROWS);
        float *x = floats(N * COLS);
        float *law = run_pair(1, 0, &a, &b, x, N, N);
        static const struct {
            int threads;
            size_t step;
        } ways[] = {{1, N}, {2, 1}, {3, 4}, {2, 9}};
        for (int w = 0; w < 4; w++) {
            float *y = run_pair(ways[w].threads, sterna_cpu_features(), &a, &b, x, N, ways[w].step);
            assert_memory_equal(y, law, 2 * N * ROWS * sizeof *y);
            free(y);
        }
        free(law);
        free(x);
        free((void *)(uintptr_t)a.data);
        free((void *)(uintptr_t)b.data);
    }
}

static void rows_slice_and_order(void **state)
{
    (void)state;
    sterna_device *device = open_with(1, 0);
    sterna_tensor tensor = random_tensor(STERNA_TYPE_F32, 8, 10);
    uint32_t order[] = {4, 0, 2};
    sterna_weight_options options = {.first_row = 3, .rows = 3, .row_order = order};
    sterna_weight *weight;
    assert_int_equal(device->weight_load(device, &tensor, &options, &weight, NULL), STERNA_OK);
    float got[24], want[8];
    int32_t ids[] = {0, 1, 2};
    device->embed(device, weight, ids, 3, 1, got);
    for (int i = 0; i < 3; i++) {
        sterna_tensor_row(&tensor, 3 + order[i], want);
        assert_memory_equal(got + 8 * i, want, sizeof want);
    }
    device->weight_free(device, weight);
    sterna_error err;
    order[1] = 7;
    assert_int_equal(device->weight_load(device, &tensor, &options, &weight, &err),
                     STERNA_ERROR_ARGUMENT);
    options = (sterna_weight_options){.first_row = 8, .rows = 3};
    assert_int_equal(device->weight_load(device, &tensor, &options, &weight, &err),
                     STERNA_ERROR_FORMAT);
    free((void *)(uintptr_t)tensor.data);
    device->close(device);
}

static void bad_weights_are_refused(void **state)
{
    (void)state;
    sterna_device *device = open_with(2, 0);
    sterna_weight_options options = {0};
    sterna_weight *weight = NULL;
    sterna_error err;
    sterna_tensor tensor = random_tensor(STERNA_TYPE_TQ2_0, 256, 40);
    ((uint8_t *)(uintptr_t)tensor.data)[66 * 7 + 65] = 0x7c; /* an infinite scale in row 7 */
    assert_int_equal(device->weight_load(device, &tensor, &options, &weight, &err),
                     STERNA_ERROR_FORMAT);
    assert_non_null(strstr(err.message, "'test'"));
    assert_non_null(strstr(err.message, "row 7"));
    ((uint8_t *)(uintptr_t)tensor.data)[66 * 7 + 65] = 0;
    ((uint8_t *)(uintptr_t)tensor.data)[66 * 39] = 0xff; /* code 3 */
    assert_int_equal(device->weight_load(device, &tensor, &options, &weight, &err),
                     STERNA_ERROR_FORMAT);
    assert_non_null(strstr(err.message, "row 39"));
    free((void *)(uintptr_t)tensor.data);

    tensor = random_tensor(STERNA_TYPE_F32, 96, 4);
    options.hadamard.block = 64; /* does not divide 96 */
    assert_int_equal(device->weight_load(device, &tensor, &options, &weight, &err),
                     STERNA_ERROR_UNSUPPORTED);
    options.hadamard.block = 32;
    for (long i = 0; i < 40; i++) { /* every allocation may fail */
        sterna_alloc_fail_after(i);
        sterna_status status = device->weight_load(device, &tensor, &options, &weight, &err);
        if (!status) status = device->reserve(device, 4, 96, 96, 1, 1, &err);
        sterna_alloc_fail_after(-1);
        if (weight) device->weight_free(device, weight);
        weight = NULL;
        if (!status) break;
        assert_int_equal(status, STERNA_ERROR_MEMORY);
        assert_true(i < 39);
    }
    free((void *)(uintptr_t)tensor.data);
    device->close(device);
}

/* Three trits in five bits where the processor has byte permutes, and room for Q2_0's code 3 where
 * a tensor needs it. */
static void ternary_layouts(void **state)
{
    (void)state;
    static const struct {
        sterna_type type;
        uint64_t cols;
        const char *layout;
        uint64_t bytes; /* of 32 rows */
    } cases[] = {
        /* 6 groups of 128: two trios of 20 lines a panel, 3 scales and a factor a row */
        {STERNA_TYPE_TQ2_0, 768, "tern5 g256", 2 * 40 * 64 + 32 * (3 * 2 + 4)},
        /* 4 groups: one trio and 8 lines */
        {STERNA_TYPE_PQ2_0, 512, "tern5 g128", 2 * (20 + 8) * 64 + 32 * (4 * 2 + 4)},
        {STERNA_TYPE_PQ2_0, 256, "tern2 g128", 2 * 16 * 64 + 32 * (2 * 2 + 4)},
        {STERNA_TYPE_Q2_0, 768, "tern2 g64", 2 * 48 * 64 + 32 * (12 * 2 + 4)}, /* all four codes */
    };
    sterna_device *best = open_with(2, sterna_cpu_features()), *plain = open_with(2, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sterna_tensor tensor = random_tensor(cases[i].type, cases[i].cols, 32);
        sterna_weight_options options = {0};
        sterna_weight *weight = NULL;
        sterna_weight_info info;
        for (long n = 0; !weight; n++) { /* every allocation may fail */
            sterna_alloc_fail_after(n);
            sterna_status status = best->weight_load(best, &tensor, &options, &weight, NULL);
            sterna_alloc_fail_after(-1);
            assert_int_equal(status, weight ? STERNA_OK : STERNA_ERROR_MEMORY);
        }
        best->weight_info(weight, &info);
        if (sterna_cpu_features() & STERNA_CPU_AVX512VBMI) {
            assert_string_equal(info.layout, cases[i].layout);
            assert_int_equal(info.bytes, cases[i].bytes);
        }
        best->weight_free(best, weight);
        assert_int_equal(plain->weight_load(plain, &tensor, &options, &weight, NULL), STERNA_OK);
        plain->weight_info(weight, &info);
        assert_memory_equal(info.layout, "tern2", 5);
        plain->weight_free(plain, weight);
        free((void *)(uintptr_t)tensor.data);
    }
    best->close(best);
    plain->close(plain);
}

static void hadamard_inputs(void **state)
{
    (void)state;
    sterna_device *device = open_with(1, sterna_cpu_features());
    for (uint32_t block = 32; block <= 1024; block *= 2) {
        size_t cols = 2 * block;
        sterna_tensor tensor = random_tensor(STERNA_TYPE_F32, cols, 20);
        float *signs = floats(cols), *x = floats(cols), y[20], *row = floats(cols),
              *w = floats(cols);
        for (size_t i = 0; i < cols; i++) signs[i] = signs[i] < 0 ? -1.0f : 1.0f;
        sterna_weight_options options = {.hadamard = {block, signs},
                                         .inverse_hadamard = {block, signs}};
        sterna_weight *weight;
        assert_int_equal(device->weight_load(device, &tensor, &options, &weight, NULL), STERNA_OK);
        assert_int_equal(device->reserve(device, 1, cols, 20, 1, 1, NULL), STERNA_OK);
        sterna_product product = {weight, NULL, y, 0};
        device->matmul(device, x, 1, &product, 1);
        int32_t id = 13;
        device->embed(device, weight, &id, 1, 1, row);
        /* H[i][j] = (-1)^popcount(i & j) / sqrt(block) */
        for (size_t r = 0; r < 20; r++) {
            sterna_tensor_row(&tensor, r, w);
            double want = 0;
            for (size_t i = 0; i < cols; i++) {
                double transformed = 0, back = 0;
                for (size_t j = i / block * block; j < i / block * block + block; j++) {
                    double h = __builtin_popcountll((i & j) % block) % 2 ? -1 : 1;
                    transformed += h * (double)(signs[j] * x[j]) / sqrt(block);
                    back += h * (double)w[j] / sqrt(block);
                }
                want += transformed * (double)w[i];
                if (r == 13) assert_true(fabs((double)row[i] - back * (double)signs[i]) < 1e-5);
            }
            assert_true(fabs((double)y[r] - want) < 1e-5 * sqrt((double)cols) * 10);
        }
        device->weight_free(device, weight);
        free(signs);
        free(x);
        free(row);
        free(w);
        free((void *)(uintptr_t)tensor.data);
    }
    device->close(device);
}

static void small_operations(void **state)
{
    (void)state;
    sterna_device *device = open_with(2, sterna_cpu_features());
    static const size_t dims[] = {1, 7, 16, 100, 2560, 40000};
    for (int d = 0; d < 6; d++) {
        size_t n = dims[d];
        float *a = floats(n), *b = floats(n), *out = floats(n);
        for (size_t i = 0; i < n; i++) a[i] *= 12;
        device->rmsnorm(device, a, 1, n, b, 1e-5f, out);
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)a[i];
        for (size_t i = 0; i < n; i++) {
            double want = (double)a[i] / sqrt(sum / (double)n + 1e-5) * (double)b[i];
            assert_true(fabs((double)out[i] - want) <= 2e-6 * fabs(want) + 1e-7);
        }
        for (int kind = 0; kind < 4; kind++) {
            device->gate(device, (sterna_gate)kind, a, b, out, n);
            for (size_t i = 0; i < n; i++) {
                double g = (double)a[i], want = g > 0 ? g * g : 0;
                if (kind == STERNA_GATE_SILU) want = g / (1 + exp(-g));
                if (kind == STERNA_GATE_GELU) want = 0.5 * g * (1 + erf(g / sqrt(2)));
                if (kind == STERNA_GATE_GELU_TANH)
                    want = 0.5 * g *
                           (1 + tanh(sqrt(2 / 3.14159265358979) * (g + 0.044715 * g * g * g)));
                assert_true(fabs((double)out[i] - want * (double)b[i]) <= 3e-6 * fabs(want) + 2e-6);
            }
        }
        memcpy(out, a, n * sizeof *a);
        device->soft_cap(device, out, n, 5);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs((double)out[i] - 5 * tanh((double)a[i] / 5)) < 5e-6);
        memcpy(out, a, n * sizeof *a);
        device->add(device, out, b, n);
        for (size_t i = 0; i < n; i++) assert_true(out[i] == a[i] + b[i]);
        free(a);
        free(b);
        free(out);
    }
    device->close(device);
}

static void rotations(void **state)
{
    (void)state;
    sterna_device *device = open_with(1, 0);
    enum { N = 3, HEADS = 2, DIM = 10, PAIRS = 4 };
    float frequencies[PAIRS] = {1, 0.3f, 0.01f, 0.001f}, table[N * PAIRS * 2];
    sterna_batch_place places[N] = {{NULL, 5}, {NULL, 0}, {NULL, 4000}};
    device->rope_table(device, places, N, frequencies, PAIRS, 1.5f, table);
    for (int style = 0; style < 2; style++) {
        float *x = floats(N * HEADS * DIM), *y = floats(N * HEADS * DIM);
        memcpy(y, x, N * HEADS * DIM * sizeof *x);
        device->rope(device, y, N, HEADS, DIM, table, PAIRS, (sterna_rope_style)style);
        for (int t = 0; t < N; t++)
            for (int h = 0; h < HEADS; h++) {
                const float *in = x + (t * HEADS + h) * DIM, *out = y + (t * HEADS + h) * DIM;
                for (int i = 0; i < PAIRS; i++) {
                    double angle = (double)(float)((float)places[t].position * frequencies[i]);
                    int a = style == STERNA_ROPE_PAIRS ? 2 * i : i;
                    int b = style == STERNA_ROPE_PAIRS ? 2 * i + 1 : i + PAIRS;
                    double c = 1.5 * cos(angle), s = 1.5 * sin(angle);
                    assert_true(fabs((double)out[a] - ((double)in[a] * c - (double)in[b] * s)) <
                                1e-6);
                    assert_true(fabs((double)out[b] - ((double)in[b] * c + (double)in[a] * s)) <
                                1e-6);
                }
                for (int i = 2 * PAIRS; i < DIM; i++) assert_true(out[i] == in[i]);
            }
        free(x);
        free(y);
    }
    device->close(device);
}

typedef struct attention_case {
    sterna_kv_type type;
    uint32_t heads, kv_heads, dim, window;
    size_t before, n; /* keys in the cache before the batch, tokens in it */
    float soft_cap;
} attention_case;

/* Attention of n tokens after `before`, in calls of `step` tokens. */
static float *run_attention(const attention_case *c, int threads, uint32_t features, size_t step,
                            const float *q, const float *k, const float *v)
{
    sterna_device *device = open_with(threads, features);
    size_t keys = c->before + c->n, kv_width = c->kv_heads * c->dim, width = c->heads * c->dim;
    sterna_kv *kv;
    assert_int_equal(
        device->kv_new(device, c->type, 2, c->kv_heads, c->dim, (uint32_t)keys, &kv, NULL),
        STERNA_OK);
    assert_int_equal(device->reserve(device, c->n, width, width, c->heads, (uint32_t)keys, NULL),
                     STERNA_OK);
    sterna_batch_place *places = malloc(keys * sizeof *places);
    for (size_t i = 0; i < keys; i++) places[i] = (sterna_batch_place){kv, (uint32_t)i};
    if (c->before) device->kv_store(device, places, c->before, 1, k, v);
    float *out = floats(c->n * width);
    for (size_t t = 0; t < c->n; t += step) {
        size_t some = c->n - t < step ? c->n - t : step, at = c->before + t;
        device->kv_store(device, places + at, some, 1, k + at * kv_width, v + at * kv_width);
        sterna_attention args = {.q = q + t * width,
                                 .out = out + t * width,
                                 .places = places + at,
                                 .n = some,
                                 .layer = 1,
                                 .heads = c->heads,
                                 .kv_heads = c->kv_heads,
                                 .head_dim = c->dim,
                                 .scale = 0.2f,
                                 .soft_cap = c->soft_cap,
                                 .window = c->window};
        device->attention(device, &args);
    }
    free(places);
    device->kv_free(device, kv);
    device->close(device);
    return out;
}

static void check_attention(const attention_case *c)
{
    size_t keys = c->before + c->n, kv_width = c->kv_heads * c->dim, width = c->heads * c->dim;
    float *q = floats(c->n * width), *k = floats(keys * kv_width), *v = floats(keys * kv_width);
    for (size_t i = 0; i < c->n * width; i++) q[i] *= 8;
    float *out = run_attention(c, 2, sterna_cpu_features(), c->n, q, k, v);
    double *p = malloc(keys * sizeof *p);
    double limit = c->type == STERNA_KV_F32 ? 1e-5 : c->type == STERNA_KV_F16 ? 3e-3 : 4e-2;
    for (size_t t = 0; t < c->n; t++)
        for (size_t h = 0; h < c->heads; h++) {
            size_t group = h / (c->heads / c->kv_heads), last = c->before + t + 1;
            size_t first = c->window && last > c->window ? last - c->window : 0;
            double sum = 0;
            for (size_t i = first; i < last; i++) {
                double s = 0;
                for (size_t d = 0; d < c->dim; d++)
                    s += (double)q[t * width + h * c->dim + d] *
                         (double)k[i * kv_width + group * c->dim + d];
                s *= 0.2;
                if (c->soft_cap > 0) s = (double)c->soft_cap * tanh(s / (double)c->soft_cap);
                p[i] = exp(s);
                sum += p[i];
            }
            for (size_t d = 0; d < c->dim; d++) {
                double want = 0;
                for (size_t i = first; i < last; i++)
                    want += p[i] / sum * (double)v[i * kv_width + group * c->dim + d];
                double got = (double)out[t * width + h * c->dim + d];
                if (!(fabs(got - want) <= limit))
                    fail_msg("attention type %d heads %u/%u dim %u before %zu n %zu window %u: %g, "
                             "want %g",
                             (int)c->type, c->heads, c->kv_heads, c->dim, c->before, c->n,
                             c->window, got, want);
            }
        }
    static const struct {
        int threads;
        size_t step;
    } ways[] = {{1, 1000}, {2, 1}, {3, 5}};
    for (int w = 0; w < 3; w++) {
        uint32_t features = w == 0 ? 0 : sterna_cpu_features();
        float *again = run_attention(c, ways[w].threads, features, ways[w].step, q, k, v);
        assert_memory_equal(again, out, c->n * width * sizeof *out);
        free(again);
    }
    free(p);
    free(q);
    free(k);
    free(v);
    free(out);
}

static void attends(void **state)
{
    (void)state;
    static const attention_case cases[] = {
        {STERNA_KV_F32, 4, 2, 16, 0, 0, 1, 0},     {STERNA_KV_F32, 4, 4, 8, 0, 3, 7, 0},
        {STERNA_KV_F32, 6, 2, 20, 0, 0, 70, 0},    {STERNA_KV_F16, 8, 2, 64, 0, 500, 30, 0},
        {STERNA_KV_F16, 2, 1, 128, 0, 1100, 3, 0}, {STERNA_KV_F16, 3, 3, 80, 100, 600, 20, 0},
        {STERNA_KV_Q8, 4, 2, 64, 0, 200, 9, 0},    {STERNA_KV_Q8, 2, 1, 96, 33, 1500, 2, 0},
        {STERNA_KV_Q8, 2, 1, 40, 0, 5, 4, 0},      {STERNA_KV_F16, 2, 2, 256, 0, 90, 5, 30.0f},
        {STERNA_KV_F32, 70, 1, 4, 0, 40, 6, 2.0f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_attention(&cases[i]);
}

static void sequences_share_a_batch(void **state)
{
    (void)state;
    enum { HEADS = 2, DIM = 16, SEQS = 5, EACH = 3 };
    sterna_device *device = open_with(2, sterna_cpu_features());
    assert_int_equal(device->reserve(device, 16, 32, 32, HEADS, 8, NULL), STERNA_OK);
    float *q = floats(SEQS * EACH * 32), *k = floats(SEQS * EACH * 32),
          *v = floats(SEQS * EACH * 32);
    float *out = floats(SEQS * EACH * 32), alone[EACH * 32];
    sterna_kv *kv[SEQS];
    sterna_batch_place places[SEQS * EACH];
    for (uint32_t s = 0; s < SEQS; s++) {
        assert_int_equal(device->kv_new(device, STERNA_KV_F16, 1, HEADS, DIM, 8, &kv[s], NULL),
                         STERNA_OK);
        for (uint32_t i = 0; i < EACH; i++) places[s * EACH + i] = (sterna_batch_place){kv[s], i};
    }
    device->kv_store(device, places, SEQS * EACH, 0, k, v);
    sterna_attention args = {.q = q,
                             .out = out,
                             .places = places,
                             .n = SEQS * EACH,
                             .heads = HEADS,
                             .kv_heads = HEADS,
                             .head_dim = DIM,
                             .scale = 1};
    device->attention(device, &args);
    for (size_t s = 0; s < SEQS; s++) {
        args.q = q + s * EACH * 32;
        args.out = alone;
        args.places = places + s * EACH;
        args.n = EACH;
        device->attention(device, &args);
        assert_memory_equal(alone, out + s * EACH * 32, sizeof alone);
        device->kv_free(device, kv[s]);
    }
    device->kv_free(device, NULL);
    free(q);
    free(k);
    free(v);
    free(out);
    device->close(device);
}

static void limits_are_measured(void **state)
{
    (void)state;
    sterna_device *device = open_with(1, sterna_cpu_features());
    assert_true(device->read_speed(device) > 1e7);
    assert_true(device->int8_peak(device) > 1e7);
    sterna_alloc_fail_after(0);
    double speed = device->read_speed(device);
    sterna_alloc_fail_after(-1);
    assert_true(speed == 0);
    device->close(device);
}

int main(void)
{
    const char *seed = getenv("STERNA_SEED");
    uint64_t value = seed ? strtoull(seed, NULL, 0) : 1;
    printf("STERNA_SEED=%llu\n", (unsigned long long)value);
    sterna_rng_seed(&rng, value);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_multiplies),
        cmocka_unit_test(results_do_not_depend_on_the_split),
        cmocka_unit_test(rows_slice_and_order),
        cmocka_unit_test(bad_weights_are_refused),
        cmocka_unit_test(ternary_layouts),
        cmocka_unit_test(hadamard_inputs),
        cmocka_unit_test(small_operations),
        cmocka_unit_test(rotations),
        cmocka_unit_test(attends),
        cmocka_unit_test(sequences_share_a_batch),
        cmocka_unit_test(limits_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
