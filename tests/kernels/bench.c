/* The speed of kernels in one thread. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "checks.h"
#include "kernels/tern5.h"

/* Seconds of this thread's own work: other processes on the machine do not count. */
static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint8_t *bench_memory;
enum { BENCH_BYTES = 256 << 20 }; /* far beyond the last-level cache */

bool bench_begin(void)
{
    bench_memory =
        mmap(NULL, BENCH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bench_memory == MAP_FAILED) return false;
    madvise(bench_memory, BENCH_BYTES, MADV_HUGEPAGE); /* as the device has it */
    memset(bench_memory, 0x15, BENCH_BYTES);
    return true;
}

static double median_of(double *values, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (values[j] < values[i]) {
                double t = values[i];
                values[i] = values[j];
                values[j] = t;
            }
    return values[n / 2];
}

enum { COLS = 2560 };

/* Decode: a pass over 64 MB of codes, other memory each time; prefill: 64 rows for 128 tokens. */
static void bench_int(sterna_matmul_int_fn *kernel, size_t panel_bytes, bool mins, size_t group,
                      size_t n)
{
    enum { REPEATS = 5, TOKENS = 128 };
    size_t panels = n > 8 ? 64 : (size_t)(64 << 20) / panel_bytes / 4 * 4;
    size_t groups = group ? COLS / group : 1, segment = group ? group : COLS;
    if (segment > 128 && group) segment = 128;
    size_t segments = COLS / segment;
    uint16_t *scales = calloc(panels * groups * 16, 2);
    float *factors = calloc(panels * 16, 4), *y = calloc(panels * 16 * TOKENS, 4);
    float *x_scales = calloc(segments * TOKENS, 4), *x_offsets = calloc(segments * TOKENS, 4);
    int32_t *x_sums = calloc(segments * TOKENS, 4);
    int8_t *x = aligned_alloc(64, COLS * TOKENS);
    if (!scales || !factors || !y || !x_scales || !x_offsets || !x_sums || !x) exit(1);
    fill_activations(x, COLS * TOKENS, 0);
    double seconds[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        const uint8_t *codes = bench_memory + (n > 8 ? 0 : (size_t)(r % 4) * (64 << 20));
        double start = cpu_now();
        for (size_t p = 0; p < panels / 4; p++) {
            sterna_int_tile tile = {.panels = 4,
                                    .codes = codes + p * panel_bytes,
                                    .scales = group ? scales + p * groups * 16 : NULL,
                                    .mins = mins ? scales + p * groups * 16 : NULL,
                                    .factors = factors + p * 16,
                                    .codes_step = panels / 4 * panel_bytes,
                                    .scales_step = panels / 4 * groups * 16,
                                    .row_step = panels / 4 * 16,
                                    .cols = COLS,
                                    .segment = segment,
                                    .segments = segments,
                                    .segments_per_scale = segments / groups,
                                    .n = n,
                                    .x = x,
                                    .x_stride = COLS,
                                    .x_step = n,
                                    .x_scales = x_scales,
                                    .x_sums = x_sums,
                                    .x_offsets = x_offsets,
                                    .y = y + p * 16,
                                    .y_stride = panels * 16};
            kernel(&tile);
        }
        seconds[r] = cpu_now() - start;
    }
    double time = median_of(seconds, REPEATS);
    printf("  %-28s group %-4zu n %-4zu %7.1f GB/s %8.1f GOP/s\n", current, group, n,
           (double)(panels * panel_bytes) / time / 1e9,
           2.0 * (double)(panels * 16 * COLS * n) / time / 1e9);
    free(scales);
    free(factors);
    free(y);
    free(x_scales);
    free(x_offsets);
    free(x_sums);
    free(x);
}

static const size_t ternary_groups[] = {0, 128, 64, 32};

void bench_matmul_tern2(sterna_matmul_int_fn *kernel)
{
    static const size_t counts[] = {1, 8, 128};
    for (size_t i = 0; i < 3; i++)
        for (size_t g = 0; g < 4; g++)
            bench_int(kernel, COLS / 16 * 64, false, ternary_groups[g], counts[i]);
}

void bench_matmul_tern5(sterna_matmul_int_fn *kernel)
{
    static const size_t counts[] = {1, 8, 128};
    for (size_t i = 0; i < 3; i++)
        for (size_t g = 0; g < 4; g++) {
            size_t segment = ternary_groups[g] ? ternary_groups[g] : COLS;
            tern5_map map = tern5_map_of(COLS, segment, COLS / segment);
            bench_int(kernel, tern5_panel_bytes(map, COLS), false, ternary_groups[g], counts[i]);
        }
}

static void bench_dense(sterna_matmul_int_fn *kernel, size_t panel_bytes, bool mins, size_t group)
{
    static const size_t counts[] = {1, 8, 128};
    for (size_t i = 0; i < 3; i++) bench_int(kernel, panel_bytes, mins, group, counts[i]);
}

void bench_matmul_int4(sterna_matmul_int_fn *kernel)
{
    bench_dense(kernel, COLS / 8 * 64, true, 32);
}

void bench_matmul_int8(sterna_matmul_int_fn *kernel)
{
    bench_dense(kernel, COLS / 4 * 64, false, 32);
}

void bench_matmul_q4k(sterna_matmul_int_fn *kernel)
{
    bench_dense(kernel, COLS / 256 * 36 * 64, false, 32);
}

void bench_matmul_q5k(sterna_matmul_int_fn *kernel)
{
    bench_dense(kernel, COLS / 256 * 44 * 64, false, 32);
}

void bench_matmul_q6k(sterna_matmul_int_fn *kernel)
{
    bench_dense(kernel, COLS / 256 * 53 * 64, false, 16);
}

static void bench_float(sterna_matmul_float_fn *kernel, size_t element, size_t n)
{
    enum { REPEATS = 5, TOKENS = 32 };
    size_t panel_bytes = COLS * 16 * element, panels = n > 8 ? 16 : (64 << 20) / panel_bytes;
    float *factors = calloc(panels * 16, 4), *y = calloc(panels * 16 * TOKENS, 4);
    float *x = calloc(COLS * TOKENS, 4);
    if (!factors || !y || !x) exit(1);
    double seconds[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        sterna_float_tile tile = {.panels = panels,
                                  .weights =
                                      bench_memory + (n > 8 ? 0 : (size_t)(r % 4) * (64 << 20)),
                                  .factors = factors,
                                  .weights_step = panel_bytes,
                                  .row_step = 16,
                                  .cols = COLS,
                                  .n = n,
                                  .x = x,
                                  .x_stride = COLS,
                                  .y = y,
                                  .y_stride = panels * 16};
        double start = cpu_now();
        kernel(&tile);
        seconds[r] = cpu_now() - start;
    }
    double time = median_of(seconds, REPEATS);
    printf("  %-28s            n %-4zu %7.1f GB/s %8.1f GFLOP/s\n", current, n,
           (double)(panels * panel_bytes) / time / 1e9,
           2.0 * (double)(panels * 16 * COLS * n) / time / 1e9);
    free(factors);
    free(y);
    free(x);
}

void bench_matmul_f32(sterna_matmul_float_fn *kernel)
{
    bench_float(kernel, 4, 1);
    bench_float(kernel, 4, 32);
}

void bench_matmul_f16(sterna_matmul_float_fn *kernel)
{
    bench_float(kernel, 2, 1);
    bench_float(kernel, 2, 32);
}

void bench_matmul_bf16(sterna_matmul_float_fn *kernel)
{
    bench_float(kernel, 2, 1);
}

/* Nanoseconds a call of a vector kernel over 2560 floats. */
#define BENCH_VECTOR(call)                                                                         \
    enum { N = 2560 };                                                                             \
    static float x[N], y[N], out[N];                                                               \
    fill_floats(x, N, 0);                                                                          \
    fill_floats(y, N, 0);                                                                          \
    double seconds[5];                                                                             \
    for (int r = 0; r < 5; r++) {                                                                  \
        double start = cpu_now();                                                                  \
        for (int i = 0; i < 200; i++) call;                                                        \
        seconds[r] = (cpu_now() - start) / 200;                                                    \
    }                                                                                              \
    printf("  %-28s %d floats %8.0f ns %7.2f floats/ns\n", current, N,                             \
           median_of(seconds, 5) * 1e9, N / (median_of(seconds, 5) * 1e9));

void bench_quantize(sterna_quantize_fn *kernel)
{
    static int8_t q[2560];
    static int32_t sums[160];
    BENCH_VECTOR((void)kernel(x, N, 0, q, sums))
    (void)out;
}

void bench_hadamard(sterna_hadamard_fn *kernel)
{
    BENCH_VECTOR((kernel(x, y, out, 1024), kernel(x + 1024, y, out + 1024, 1024),
                  kernel(x + 2048, y, out + 2048, 512)))
}

void bench_rmsnorm(sterna_rmsnorm_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N, y, 1e-5f, out))
}

void bench_gate_silu(sterna_gate_fn *kernel)
{
    BENCH_VECTOR(kernel(x, y, out, N))
}

void bench_gate_gelu_tanh(sterna_gate_fn *kernel)
{
    BENCH_VECTOR(kernel(x, y, out, N))
}

void bench_gate_relu2(sterna_gate_fn *kernel)
{
    BENCH_VECTOR(kernel(x, y, out, N))
}

void bench_soft_cap(sterna_soft_cap_fn *kernel)
{
    BENCH_VECTOR(kernel(out, N, 30))
}

void bench_exp_sum(sterna_exp_sum_fn *kernel)
{
    BENCH_VECTOR((void)kernel(out, N, 3))
    (void)y;
}

void bench_pack_bf16_rows(sterna_pack_bf16_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N / 32, 32, N / 32, 32, (uint16_t *)out))
    (void)y;
}

void bench_pack_bf16_columns(sterna_pack_bf16_fn *kernel)
{
    BENCH_VECTOR(kernel(x, 32, 32, N / 32, 32, (uint16_t *)out))
    (void)y;
}

void bench_gemm_bf16(sterna_gemm_bf16_fn *kernel)
{
    enum { PAIRS = 256 };
    static uint16_t a[PAIRS * 2 * STERNA_GEMM_ROWS], b[PAIRS * 2 * STERNA_GEMM_COLUMNS];
    static float c[STERNA_GEMM_ROWS * STERNA_GEMM_COLUMNS];
    double seconds[5];
    for (int r = 0; r < 5; r++) {
        double start = cpu_now();
        for (int i = 0; i < 100; i++) kernel(a, b, PAIRS, c, STERNA_GEMM_COLUMNS);
        seconds[r] = (cpu_now() - start) / 100;
    }
    printf("  %-28s %8.1f GFLOP/s\n", current,
           2.0 * 2 * PAIRS * STERNA_GEMM_ROWS * STERNA_GEMM_COLUMNS / median_of(seconds, 5) / 1e9);
}

void bench_kv_encode_f16(sterna_kv_encode_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N, (uint8_t *)out))
}

void bench_kv_encode_q8(sterna_kv_encode_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N, (uint8_t *)out))
}

/* `keys` keys of 128 values for so many rows of queries, in blocks of 512 as the device gives them;
 * those that fit no cache are read from other memory each time. */
static void bench_attention(sterna_attention_fn *kernel, size_t value_bytes, size_t rows,
                            size_t keys)
{
    enum { DIM = 128, CHUNK = 512, ROWS = 64 };
    static float q[ROWS * DIM], state[ROWS * (DIM + 2)];
    static uint32_t first[ROWS], last[ROWS];
    size_t stride = value_bytes == 1 ? DIM + 8 : DIM * value_bytes, bytes = 2 * keys * stride;
    size_t copies = keys > CHUNK ? BENCH_BYTES / bytes : 1;
    memset(bench_memory, 0, copies * bytes);
    for (size_t r = 0; r < rows; r++) last[r] = (uint32_t)keys;
    double seconds[5];
    for (size_t r = 0; r < 5; r++) {
        const uint8_t *at = bench_memory + r % copies * bytes;
        double start = cpu_now();
        for (size_t key = 0; key < keys; key += CHUNK) {
            sterna_attention_tile tile = {.q = q,
                                          .first = first,
                                          .last = last,
                                          .rows = rows,
                                          .k = at + 2 * key * stride,
                                          .v = at + (2 * key + STERNA_ATTENTION_BLOCK) * stride,
                                          .kv_stride = stride,
                                          .block_stride = 2 * STERNA_ATTENTION_BLOCK * stride,
                                          .head_dim = DIM,
                                          .begin = key,
                                          .end = key + CHUNK,
                                          .scale = 0.1f,
                                          .max = state,
                                          .sum = state + rows,
                                          .acc = state + 2 * rows};
            memset(state, 0, sizeof state);
            for (size_t i = 0; i < rows; i++) state[i] = -INFINITY;
            kernel(&tile);
        }
        seconds[r] = cpu_now() - start;
    }
    double time = median_of(seconds, 5);
    printf("  %-28s rows %-4zu keys %-6zu %7.1f GB/s %8.1f GFLOP/s\n", current, rows, keys,
           (double)bytes / time / 1e9, 4.0 * (double)(rows * keys * DIM) / time / 1e9);
}

void bench_attention_f32(sterna_attention_fn *kernel)
{
    bench_attention(kernel, 4, 4, 512);
}

void bench_attention_f16(sterna_attention_fn *kernel)
{
    bench_attention(kernel, 2, 1, 512);
    bench_attention(kernel, 2, 4, 512);
    bench_attention(kernel, 2, 64, 512);
    bench_attention(kernel, 2, 1, 65536);
    bench_attention(kernel, 2, 4, 65536);
}

void bench_attention_q8(sterna_attention_fn *kernel)
{
    bench_attention(kernel, 1, 1, 512);
    bench_attention(kernel, 1, 4, 512);
    bench_attention(kernel, 1, 64, 512);
    bench_attention(kernel, 1, 4, 65536);
}

void bench_read(sterna_read_fn *kernel)
{
    double seconds[5];
    uint64_t hash = 0;
    for (int r = 0; r < 5; r++) {
        double start = cpu_now();
        hash ^= kernel(bench_memory, BENCH_BYTES);
        seconds[r] = cpu_now() - start;
    }
    printf("  %-28s %7.1f GB/s (%016llx)\n", current, BENCH_BYTES / median_of(seconds, 5) / 1e9,
           (unsigned long long)hash);
}

void bench_peak(sterna_peak_fn *kernel)
{
    double rates[5];
    for (int r = 0; r < 5; r++) {
        double start = cpu_now();
        uint64_t operations = kernel(1000000);
        rates[r] = (double)operations / (cpu_now() - start);
    }
    printf("  %-28s %8.1f GOP/s\n", current, median_of(rates, 5) / 1e9);
}
