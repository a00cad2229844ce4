/* checkkernels: every row of kernels.list against the reference, bit for bit; and its speed.
 *
 *   checkkernels [--cpu LEVEL] [--bench] [SLOT...]
 *
 * Random and adversarial fills, all tails, guard pages before or behind every buffer, canaries in
 * the gaps of outputs. STERNA_SEED (printed) repeats a run. --bench times matmuls and the read and
 * peak kernels in one thread. A slot without a check_<slot> here does not compile.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/cpu.h"
#include "base/half.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "kernels/ref/math_ref.h"

static sterna_rng rng;
static int failures;

static uint64_t below(uint64_t n)
{
    return sterna_rng_u64(&rng) % n;
}

static float uniform(void)
{
    return (float)(2 * sterna_rng_double(&rng) - 1);
}

#ifdef STERNA_TEST_AMX_MODEL /* tests/amx_model.c */
sterna_slot_matmul_tern2 sterna_matmul_tern2_amxmodel;
sterna_slot_matmul_int4 sterna_matmul_int4_amxmodel;
sterna_slot_matmul_int8 sterna_matmul_int8_amxmodel;
sterna_slot_peak sterna_peak_amxmodel;
#endif

/* ---- guarded memory: pages around it fault ---- */

enum { PAGE = 4096, GUARDED = 32 };
static struct {
    void *map;
    size_t bytes;
} guarded_maps[GUARDED];
static int guarded_count;

/* Bytes that end (or, now and then, begin) at a page that may not be touched. `align` divides the
 * address; bytes are rounded up to it. */
static void *guarded(size_t bytes, size_t align)
{
    size_t rounded = (bytes + align - 1) / align * align;
    size_t room = (rounded + PAGE - 1) / PAGE * PAGE;
    room = room ? room : PAGE;
    uint8_t *map = mmap(NULL, room + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || guarded_count == GUARDED ||
        mprotect(map + PAGE, room, PROT_READ | PROT_WRITE) != 0) {
        perror("checkkernels: mmap");
        exit(1);
    }
    guarded_maps[guarded_count].map = map;
    guarded_maps[guarded_count++].bytes = room + 2 * PAGE;
    return below(4) ? map + PAGE + room - rounded : map + PAGE;
}

static void release_guarded(void)
{
    while (guarded_count) {
        guarded_count--;
        munmap(guarded_maps[guarded_count].map, guarded_maps[guarded_count].bytes);
    }
}

/* ---- fills ---- */

/* Floats as models have them, or at the edges. */
static void fill_floats(float *x, size_t n, unsigned style)
{
    static const float edges[] = {0,      -0.0f,  1,   -1,    0.5f, 1e-30f,
                                  -1e30f, 1e-42f, 127, 63.5f, 300,  -90};
    for (size_t i = 0; i < n; i++) {
        x[i] = uniform();
        if (style == 1) x[i] = 0;
        if (style == 2) x[i] = edges[below(12)];
        if (style == 3) x[i] = i % 2 ? 1.0f : -1.0f;
        if (style == 4) x[i] = ldexpf(x[i], (int)below(30) - 15);
    }
}

static void fill_bytes(uint8_t *x, size_t n, unsigned style)
{
    static const uint8_t constant[] = {0, 0x00, 0xff, 0xaa, 0x80};
    for (size_t i = 0; i < n; i++)
        x[i] = style && style < 5 ? constant[style] : (uint8_t)sterna_rng_u64(&rng);
}

/* Float16 scales: finite, both signs, all sizes. */
static void fill_halves(uint16_t *x, size_t n, unsigned style)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = sterna_f32_to_f16(uniform());
        if (style == 2) x[i] = (uint16_t)(sterna_rng_u64(&rng) & 0xbfff); /* below 2, subnormals */
        if (style == 3) x[i] = 0x7bff;
    }
}

static void fill_activations(int8_t *x, size_t n, unsigned style)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (int8_t)((int)below(255) - 127);
        if (style == 1) x[i] = 127;
        if (style == 2) x[i] = -127;
        if (style == 3) x[i] = i % 2 ? 127 : -127;
    }
}

/* ---- comparing ---- */

static const char *current;

static bool same_floats(const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], 4) == 0 || (isnan(got[i]) && isnan(want[i]))) continue;
        printf("%s: %s: value %zu of %zu is %.9g, want %.9g\n", current, what, i, n, (double)got[i],
               (double)want[i]);
        failures++;
        return false;
    }
    return true;
}

static bool same_bytes(const void *got, const void *want, size_t n, const char *what)
{
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i]) continue;
        printf("%s: %s: byte %zu of %zu is %d, want %d\n", current, what, i, n, a[i], b[i]);
        failures++;
        return false;
    }
    return true;
}

/* ---- integer matmuls ---- */

static bool int_case(sterna_matmul_int_fn *kernel, sterna_matmul_int_fn *law, size_t line_cols,
                     bool allow_mins)
{
    static const size_t groups[] = {16, 32, 48, 64, 128, 256};
    size_t cols = 16 * (1 + below(below(4) ? 20 : 80));
    size_t segment = below(3) ? groups[below(6)] : cols;
    if (segment > cols) segment = cols;
    unsigned style = (unsigned)below(6), x_style = (unsigned)below(5);
    size_t n = below(2) ? 1 + below(9) : 1 + below(40), panels = 1 + below(5), gap = below(3);
    sterna_int_tile tile = {.panels = panels, .cols = cols, .segment = segment, .n = n};
    tile.segments = (cols + segment - 1) / segment;
    tile.segments_per_scale = 1 + below(3);
    tile.zero = (int32_t)below(2) * 8 + (int32_t)below(2) * 8;
    size_t groups_count = (tile.segments + tile.segments_per_scale - 1) / tile.segments_per_scale;
    size_t panel_bytes = cols / line_cols * 64, panel_scales = groups_count * 16;
    tile.codes_step = panel_bytes * (1 + gap);
    tile.scales_step = panel_scales * (1 + gap);
    tile.row_step = 16 * (1 + gap);
    size_t panels_held = (panels - 1) * (1 + gap) + 1, rows = panels_held * 16;

    uint8_t *codes = guarded(panels_held * panel_bytes, 64);
    fill_bytes(codes, panels_held * panel_bytes, style);
    tile.codes = codes;
    if (below(3)) {
        uint16_t *scales = guarded(panels_held * panel_scales * 2, 32);
        fill_halves(scales, panels_held * panel_scales, (unsigned)below(4));
        tile.scales = scales;
        if (allow_mins && below(2)) {
            uint16_t *mins = guarded(panels_held * panel_scales * 2, 32);
            fill_halves(mins, panels_held * panel_scales, (unsigned)below(4));
            tile.mins = mins;
        }
    }
    float *factors = guarded(rows * 4, 64);
    fill_floats(factors, rows, 0);
    tile.factors = factors;
    tile.x_stride = cols + 16 * below(3);
    size_t x_bytes = (n - 1) * tile.x_stride + cols;
    int8_t *x = guarded(x_bytes, 16);
    fill_activations(x, x_bytes, x_style);
    tile.x = x;
    float *x_scales = guarded(n * tile.segments * 4, 4);
    int32_t *x_sums = guarded(n * tile.segments * 4, 4);
    fill_floats(x_scales, n * tile.segments, below(5) ? 0 : 4);
    for (size_t t = 0; t < n; t++)
        for (size_t s = 0; s < tile.segments; s++) {
            int32_t sum = 0;
            for (size_t k = s * segment; k < (s + 1) * segment && k < cols; k++)
                sum += x[t * tile.x_stride + k];
            x_sums[t * tile.segments + s] = sum;
        }
    tile.x_scales = x_scales;
    tile.x_sums = x_sums;
    if (tile.mins) {
        float *offsets = guarded(n * tile.segments * 4, 4);
        for (size_t i = 0; i < n * tile.segments; i++) offsets[i] = (float)x_sums[i] * x_scales[i];
        tile.x_offsets = offsets;
    }
    tile.y_stride = rows + 16 * below(2) + below(5);
    size_t y_count = (n - 1) * tile.y_stride + rows;
    float *y = guarded(y_count * 4, 4), *want = guarded(y_count * 4, 4);
    fill_floats(y, y_count, 0);
    memcpy(want, y, y_count * 4);
    tile.y = want;
    law(&tile);
    tile.y = y;
    kernel(&tile);
    char what[128];
    snprintf(what, sizeof what, "cols %zu segment %zu n %zu panels %zu style %u/%u%s%s", cols,
             segment, n, panels, style, x_style, tile.scales ? " scales" : "",
             tile.mins ? " mins" : "");
    return same_floats(y, want, y_count, what);
}

static void int_cases(sterna_matmul_int_fn *kernel, sterna_matmul_int_fn *law, size_t line_cols,
                      bool allow_mins)
{
    for (int i = 0; i < 400; i++) {
        bool good = int_case(kernel, law, line_cols, allow_mins);
        release_guarded();
        if (!good) return;
    }
}

static void check_matmul_tern2(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_tern2_ref, 16, true);
}

static void check_matmul_int4(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_int4_ref, 8, true);
}

static void check_matmul_int8(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_int8_ref, 4, true);
}

/* ---- float matmuls ---- */

static void float_cases(sterna_matmul_float_fn *kernel, sterna_matmul_float_fn *law, size_t element)
{
    for (int i = 0; i < 300; i++) {
        size_t cols = 1 + below(70), n = 1 + below(12), panels = 1 + below(4);
        size_t panel_bytes = cols * 16 * element, rows = panels * 16;
        sterna_float_tile tile = {.panels = panels,
                                  .weights_step = panel_bytes,
                                  .row_step = 16,
                                  .cols = cols,
                                  .n = n,
                                  .x_stride = cols + below(4),
                                  .y_stride = rows + below(4)};
        uint8_t *weights = guarded(panels * panel_bytes, 32);
        for (size_t k = 0; k < rows * cols; k++) {
            float value = uniform();
            uint16_t half = element == 2 ? sterna_f32_to_f16(value) : 0;
            if (law == sterna_matmul_bf16_ref) half = sterna_f32_to_bf16(value);
            memcpy(weights + k * element, element == 2 ? (void *)&half : (void *)&value, element);
        }
        size_t x_count = (n - 1) * tile.x_stride + cols, y_count = (n - 1) * tile.y_stride + rows;
        float *x = guarded(x_count * 4, 4), *factors = guarded(rows * 4, 64);
        fill_floats(x, x_count, (unsigned)below(5));
        fill_floats(factors, rows, 0);
        float *y = guarded(y_count * 4, 4), *want = guarded(y_count * 4, 4);
        fill_floats(y, y_count, 0);
        memcpy(want, y, y_count * 4);
        tile.weights = weights;
        tile.factors = factors;
        tile.x = x;
        tile.y = want;
        law(&tile);
        tile.y = y;
        kernel(&tile);
        bool good = same_floats(y, want, y_count, "y");
        release_guarded();
        if (!good) return;
    }
}

static void check_matmul_f32(sterna_matmul_float_fn *kernel)
{
    float_cases(kernel, sterna_matmul_f32_ref, 4);
}

static void check_matmul_f16(sterna_matmul_float_fn *kernel)
{
    float_cases(kernel, sterna_matmul_f16_ref, 2);
}

static void check_matmul_bf16(sterna_matmul_float_fn *kernel)
{
    float_cases(kernel, sterna_matmul_bf16_ref, 2);
}

/* ---- vectors ---- */

/* n floats on the heap's guard: filled, sometimes with NaN and infinity. */
static float *vector(size_t n, bool special)
{
    float *x = guarded(n * 4, 4);
    fill_floats(x, n, (unsigned)below(5));
    if (special && n && below(3) == 0) x[below(n)] = below(2) ? NAN : -INFINITY;
    return x;
}

static void check_quantize(sterna_quantize_fn *kernel)
{
    for (int i = 0; i < 600; i++) {
        size_t n = 1 + below(i < 300 ? 40 : 600), padded = (n + 15) & ~(size_t)15;
        const float *x = vector(n, true);
        float floor = below(2) ? 0 : 1e-5f;
        int8_t *q = guarded(padded, 16), *want = guarded(padded, 16);
        int32_t *sums = guarded(padded / 4, 4), *want_sums = guarded(padded / 4, 4);
        float scale = kernel(x, n, floor, q, sums);
        float want_scale = sterna_quantize_ref(x, n, floor, want, want_sums);
        bool good = same_floats(&scale, &want_scale, 1, "scale") &&
                    same_bytes(q, want, padded, "codes") &&
                    same_bytes(sums, want_sums, padded / 4, "sums");
        release_guarded();
        if (!good) return;
    }
}

static void check_hadamard(sterna_hadamard_fn *kernel)
{
    for (size_t n = 2; n <= 4096; n *= 2)
        for (int i = 0; i < 8; i++) {
            const float *x = vector(n, false);
            float *signs = guarded(n * 4, 4), *out = guarded(n * 4, 4), *want = guarded(n * 4, 4);
            for (size_t j = 0; j < n; j++) signs[j] = below(2) ? 1.0f : -1.0f;
            if (i & 1) { /* in place */
                memcpy(out, x, n * 4);
                kernel(out, i & 2 ? signs : NULL, out, n);
            } else {
                kernel(x, i & 2 ? signs : NULL, out, n);
            }
            sterna_hadamard_ref(x, i & 2 ? signs : NULL, want, n);
            same_floats(out, want, n, "out");
            release_guarded();
        }
}

static void check_rmsnorm(sterna_rmsnorm_fn *kernel)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(i < 100 ? 40 : 3000);
        const float *x = vector(n, i % 3 == 0), *gain = below(2) ? vector(n, false) : NULL;
        float *out = guarded(n * 4, 4), *want = guarded(n * 4, 4);
        kernel(x, n, gain, 1e-6f, out);
        sterna_rmsnorm_ref(x, n, gain, 1e-6f, want);
        same_floats(out, want, n, "out");
        release_guarded();
    }
}

static void gate_cases(sterna_gate_fn *kernel, sterna_gate_fn *law)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(100);
        float *gate = vector(n, true);
        const float *up = vector(n, true);
        for (size_t j = 0; j < n; j++)
            if (i % 2) gate[j] *= 50;
        float *out = guarded(n * 4, 4), *want = guarded(n * 4, 4);
        kernel(gate, up, out, n);
        law(gate, up, want, n);
        same_floats(out, want, n, "out");
        kernel(gate, up, gate, n);
        same_floats(gate, want, n, "in place");
        release_guarded();
    }
}

static void check_gate_silu(sterna_gate_fn *kernel)
{
    gate_cases(kernel, sterna_gate_silu_ref);
}

static void check_gate_gelu_tanh(sterna_gate_fn *kernel)
{
    gate_cases(kernel, sterna_gate_gelu_tanh_ref);
}

static void check_soft_cap(sterna_soft_cap_fn *kernel)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(70);
        float *x = vector(n, true), *want = guarded(n * 4, 4);
        memcpy(want, x, n * 4);
        kernel(x, n, 30.0f);
        sterna_soft_cap_ref(want, n, 30.0f);
        same_floats(x, want, n, "x");
        release_guarded();
    }
}

/* ---- attention ---- */

static void kv_encode_cases(sterna_kv_encode_fn *kernel, sterna_kv_encode_fn *law, bool q8)
{
    for (int i = 0; i < 400; i++) {
        size_t n = 1 + below(150);
        size_t bytes = q8 ? ((n + 1) & ~(size_t)1) + (n + 31) / 32 * 2 : 2 * n;
        const float *x = vector(n, !q8);
        uint8_t *out = guarded(bytes, 2), *want = guarded(bytes, 2);
        memset(out, 0x5a, bytes);
        memset(want, 0x5a, bytes);
        kernel(x, n, out);
        law(x, n, want);
        for (size_t j = 0; !q8 && j < n; j++) { /* one NaN is as good as another */
            uint16_t half;
            memcpy(&half, want + 2 * j, 2);
            if (isnan(sterna_f16_to_f32(half))) memcpy(out + 2 * j, want + 2 * j, 2);
        }
        same_bytes(out, want, bytes, "stored");
        release_guarded();
    }
}

static void check_kv_encode_f16(sterna_kv_encode_fn *kernel)
{
    kv_encode_cases(kernel, sterna_kv_encode_f16_ref, false);
}

static void check_kv_encode_q8(sterna_kv_encode_fn *kernel)
{
    kv_encode_cases(kernel, sterna_kv_encode_q8_ref, true);
}

static void attention_cases(sterna_attention_fn *kernel, sterna_attention_fn *law, int kind)
{
    static const size_t dims[] = {1, 8, 16, 20, 32, 48, 64, 80, 96, 100, 128, 256};
    for (int i = 0; i < 120; i++) {
        size_t dim = dims[below(12)], rows = 1 + below(9), keys = 1 + below(below(3) ? 90 : 200);
        size_t stride = kind == 0   ? 4 * dim
                        : kind == 1 ? 2 * dim
                                    : ((dim + 1) & ~(size_t)1) + (dim + 31) / 32 * 2;
        float *q = guarded(rows * dim * 4, 4), *row = guarded(dim * 4, 4);
        uint8_t *k = guarded(keys * stride, 4), *v = guarded(keys * stride, 4);
        fill_floats(q, rows * dim, 0);
        for (size_t key = 0; key < 2 * keys; key++) {
            uint8_t *to = (key < keys ? k : v) + key % keys * stride;
            fill_floats(row, dim, below(3) ? 0 : 3);
            if (kind == 0) memcpy(to, row, stride);
            if (kind == 1) sterna_kv_encode_f16_ref(row, dim, to);
            if (kind == 2) sterna_kv_encode_q8_ref(row, dim, to);
        }
        uint32_t *first = guarded(rows * 4, 4), *last = guarded(rows * 4, 4);
        bool ragged = below(2);
        for (size_t r = 0; r < rows; r++) {
            last[r] = (uint32_t)(ragged ? 1 + below(keys) : keys);
            first[r] = (uint32_t)(ragged && below(2) ? below(last[r] + 1) : 0);
        }
        size_t state = rows * (dim + 2);
        float *got = guarded(state * 4, 4), *want = guarded(state * 4, 4);
        sterna_attention_tile tile = {.q = q,
                                      .first = first,
                                      .last = last,
                                      .rows = rows,
                                      .k = k,
                                      .v = v,
                                      .kv_stride = stride,
                                      .head_dim = dim,
                                      .begin = below(2) ? 0 : below(keys),
                                      .end = keys,
                                      .scale = 0.3f,
                                      .soft_cap = below(3) ? 0 : 20.0f};
        for (int pass = 0; pass < 2; pass++) {
            float *at = pass ? got : want;
            memset(at, 0, state * 4);
            for (size_t r = 0; r < rows; r++) at[r] = -INFINITY;
            tile.max = at;
            tile.sum = at + rows;
            tile.acc = at + 2 * rows;
            (pass ? kernel : law)(&tile);
        }
        char what[80];
        snprintf(what, sizeof what, "dim %zu rows %zu keys %zu%s", dim, rows, keys,
                 ragged ? " ragged" : "");
        bool good = same_floats(got, want, state, what);
        release_guarded();
        if (!good) return;
    }
}

static void check_attention_f32(sterna_attention_fn *kernel)
{
    attention_cases(kernel, sterna_attention_f32_ref, 0);
}

static void check_attention_f16(sterna_attention_fn *kernel)
{
    attention_cases(kernel, sterna_attention_f16_ref, 1);
}

static void check_attention_q8(sterna_attention_fn *kernel)
{
    attention_cases(kernel, sterna_attention_q8_ref, 2);
}

/* ---- measuring kernels ---- */

static void check_read(sterna_read_fn *kernel)
{
    for (size_t bytes = 1024; bytes <= 64 * 1024; bytes *= 4) {
        uint8_t *data = guarded(bytes, 64);
        fill_bytes(data, bytes, 0);
        uint64_t hash = kernel(data, bytes), want = sterna_read_ref(data, bytes);
        same_bytes(&hash, &want, sizeof hash, "hash");
        release_guarded();
    }
}

static void check_peak(sterna_peak_fn *kernel)
{
    if (kernel(10) == 0 || kernel(20) != 2 * kernel(10)) {
        printf("%s: does not count its operations\n", current);
        failures++;
    }
}

/* ---- the law itself: exp and tanh against libm ---- */

static void check_math(void)
{
    double worst_exp = 0, worst_tanh = 0;
    for (float x = -86.9f; x < 87.9f; x += 0.00137f) {
        double want = exp((double)x);
        worst_exp = fmax(worst_exp, fabs((double)sterna_exp(x) - want) / want);
        worst_tanh = fmax(worst_tanh, fabs((double)sterna_tanh(x / 10) - tanh((double)x / 10)));
    }
    if (worst_exp > 0x1p-22 || worst_tanh > 0x1p-22) {
        printf("math_ref: exp is off by %.3g, tanh by %.3g\n", worst_exp, worst_tanh);
        failures++;
    }
}

/* ---- speed ---- */

/* Seconds of this thread's own work: other processes on the machine do not count. */
static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint8_t *bench_memory; /* far beyond the last-level cache */
enum { BENCH_BYTES = 256 << 20 };

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

/* Decode: a pass over 64 MB of codes, other memory each time; prefill: 64 rows for 128 tokens. */
static void bench_int(sterna_matmul_int_fn *kernel, size_t line_cols, size_t group, size_t n)
{
    enum { COLS = 2560, REPEATS = 5, TOKENS = 128 };
    size_t panel_bytes = COLS / line_cols * 64;
    size_t panels = n > 8 ? 64 : (size_t)(64 << 20) / panel_bytes / 4 * 4;
    size_t groups = group ? COLS / group : 1, segment = group ? group : COLS;
    if (segment > 128 && group) segment = 128;
    size_t segments = COLS / segment;
    uint16_t *scales = calloc(panels * groups * 16, 2);
    bool mins = line_cols == 8; /* as Q4_K has them */
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

static void bench_ints(sterna_matmul_int_fn *kernel, size_t line_cols)
{
    if (line_cols == 16) bench_int(kernel, line_cols, 0, 1);
    bench_int(kernel, line_cols, line_cols == 16 ? 128 : 32, 1);
    bench_int(kernel, line_cols, line_cols == 16 ? 128 : 32, 8);
    if (line_cols == 16) bench_int(kernel, line_cols, 0, 128);
    bench_int(kernel, line_cols, line_cols == 16 ? 128 : 32, 128);
}

static void bench_matmul_tern2(sterna_matmul_int_fn *kernel)
{
    bench_ints(kernel, 16);
}

static void bench_matmul_int4(sterna_matmul_int_fn *kernel)
{
    bench_ints(kernel, 8);
}

static void bench_matmul_int8(sterna_matmul_int_fn *kernel)
{
    bench_ints(kernel, 4);
}

static void bench_float(sterna_matmul_float_fn *kernel, size_t element, size_t n)
{
    enum { COLS = 2048, REPEATS = 5, TOKENS = 32 };
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

static void bench_matmul_f32(sterna_matmul_float_fn *kernel)
{
    bench_float(kernel, 4, 1);
    bench_float(kernel, 4, 32);
}

static void bench_matmul_f16(sterna_matmul_float_fn *kernel)
{
    bench_float(kernel, 2, 1);
    bench_float(kernel, 2, 32);
}

static void bench_matmul_bf16(sterna_matmul_float_fn *kernel)
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

static void bench_quantize(sterna_quantize_fn *kernel)
{
    static int8_t q[2560];
    static int32_t sums[160];
    BENCH_VECTOR((void)kernel(x, N, 0, q, sums))
    (void)out;
}

static void bench_hadamard(sterna_hadamard_fn *kernel)
{
    BENCH_VECTOR((kernel(x, y, out, 1024), kernel(x + 1024, y, out + 1024, 1024),
                  kernel(x + 2048, y, out + 2048, 512)))
}

static void bench_rmsnorm(sterna_rmsnorm_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N, y, 1e-5f, out))
}

static void bench_gate_silu(sterna_gate_fn *kernel)
{
    BENCH_VECTOR(kernel(x, y, out, N))
}

static void bench_gate_gelu_tanh(sterna_gate_fn *kernel)
{
    BENCH_VECTOR(kernel(x, y, out, N))
}

static void bench_soft_cap(sterna_soft_cap_fn *kernel)
{
    BENCH_VECTOR(kernel(out, N, 30))
}

static void bench_kv_encode_f16(sterna_kv_encode_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N, (uint8_t *)out))
}

static void bench_kv_encode_q8(sterna_kv_encode_fn *kernel)
{
    BENCH_VECTOR(kernel(x, N, (uint8_t *)out))
}

/* 512 keys of 128 values for so many rows of queries. */
static void bench_attention(sterna_attention_fn *kernel, size_t value_bytes, size_t rows)
{
    enum { DIM = 128, KEYS = 512, ROWS = 64 };
    static float q[ROWS * DIM], state[ROWS * (DIM + 2)];
    static uint32_t first[ROWS], last[ROWS];
    size_t stride = value_bytes == 1 ? DIM + 8 : DIM * value_bytes;
    memset(bench_memory, 0, 2 * KEYS * stride);
    for (size_t r = 0; r < rows; r++) last[r] = KEYS;
    sterna_attention_tile tile = {.q = q,
                                  .first = first,
                                  .last = last,
                                  .rows = rows,
                                  .k = bench_memory,
                                  .v = bench_memory + KEYS * stride,
                                  .kv_stride = stride,
                                  .head_dim = DIM,
                                  .end = KEYS,
                                  .scale = 0.1f,
                                  .max = state,
                                  .sum = state + rows,
                                  .acc = state + 2 * rows};
    double seconds[5];
    for (int r = 0; r < 5; r++) {
        memset(state, 0, sizeof state);
        for (size_t i = 0; i < rows; i++) state[i] = -INFINITY;
        double start = cpu_now();
        kernel(&tile);
        seconds[r] = cpu_now() - start;
    }
    double time = median_of(seconds, 5);
    printf("  %-28s rows %-4zu         %7.1f GB/s %8.1f GFLOP/s\n", current, rows,
           (double)(2 * KEYS * stride) / time / 1e9,
           4.0 * (double)(rows * KEYS * DIM) / time / 1e9);
}

static void bench_attention_f32(sterna_attention_fn *kernel)
{
    bench_attention(kernel, 4, 4);
}

static void bench_attention_f16(sterna_attention_fn *kernel)
{
    bench_attention(kernel, 2, 1);
    bench_attention(kernel, 2, 4);
    bench_attention(kernel, 2, 64);
}

static void bench_attention_q8(sterna_attention_fn *kernel)
{
    bench_attention(kernel, 1, 4);
}

static void bench_read(sterna_read_fn *kernel)
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

static void bench_peak(sterna_peak_fn *kernel)
{
    double rates[5];
    for (int r = 0; r < 5; r++) {
        double start = cpu_now();
        uint64_t operations = kernel(1000000);
        rates[r] = (double)operations / (cpu_now() - start);
    }
    printf("  %-28s %8.1f GOP/s\n", current, median_of(rates, 5) / 1e9);
}

int main(int argc, char **argv)
{
    const char *seed = getenv("STERNA_SEED"), *level = "auto", *only[64] = {0};
    bool bench = false;
    int only_count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc)
            level = argv[++i];
        else if (only_count < 64)
            only[only_count++] = argv[i];
    }
    uint32_t features;
    sterna_error err;
    if (sterna_cpu_level(level, &features, &err)) {
        fprintf(stderr, "checkkernels: %s\n", err.message);
        return 1;
    }
    uint64_t value = seed ? strtoull(seed, NULL, 0) : 1;
    sterna_rng_seed(&rng, value);
    printf("checkkernels: STERNA_SEED=%llu, level %s\n", (unsigned long long)value,
           sterna_cpu_level_name(features));
    bench_memory =
        mmap(NULL, BENCH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bench_memory == MAP_FAILED) return 1;
    if (bench) memset(bench_memory, 0x15, BENCH_BYTES);
    if (!bench) check_math();
    int checked = 0, skipped = 0;
#define STERNA_KERNEL(slot, suffix, needs)                                                         \
    {                                                                                              \
        bool wanted = only_count == 0;                                                             \
        for (int i = 0; i < only_count; i++)                                                       \
            if (strstr(#slot "_" #suffix, only[i])) wanted = true;                                 \
        current = #slot "_" #suffix;                                                               \
        if (!wanted || (features & (uint32_t)(needs)) != (uint32_t)(needs)) {                      \
            skipped++;                                                                             \
        } else {                                                                                   \
            checked++;                                                                             \
            if (bench)                                                                             \
                bench_##slot(sterna_##slot##_##suffix);                                            \
            else                                                                                   \
                check_##slot(sterna_##slot##_##suffix);                                            \
        }                                                                                          \
    }
#include "kernels/kernels.list"
#ifdef STERNA_TEST_AMX_MODEL
    if (!bench) {
        STERNA_KERNEL(matmul_tern2, amxmodel, STERNA_CPU_AVX512VNNI)
        STERNA_KERNEL(matmul_int4, amxmodel, STERNA_CPU_AVX512VNNI)
        STERNA_KERNEL(matmul_int8, amxmodel, STERNA_CPU_AVX512VNNI)
        STERNA_KERNEL(peak, amxmodel, STERNA_CPU_AVX512VNNI)
    }
#endif
#undef STERNA_KERNEL
    printf("checkkernels: %d kernels %s, %d skipped, %d failed\n", checked,
           bench ? "measured" : "equal the reference", skipped, failures);
    return failures != 0;
}
