/* Matmuls of the CPU device: activations are quantised once per distinct input kind, then panels of
 * all products that share it are dealt to the threads.
 *
 * Every output is computed by one thread from one panel, so results depend neither on the number of
 * threads nor on how many tokens or products are in a call.
 */
#include <string.h>

#include "device/device_cpu.h"

enum {
    STREAMS = 4,            /* far-apart panels that several tokens walk at once */
    DECODE = 8,             /* up to this many tokens a call is bound by memory */
    PIECE_BYTES = 96 << 10, /* of weights that one token's product takes at a time */
    TOKEN_BLOCK = 132,      /* tokens whose activations stay in the second-level cache */
    TAIL_TOKENS = 16,
    BUFFERED = 16, /* panels that go through a buffer at a time */
};

/* Products that read the same prepared activations. */
typedef struct run {
    sterna_cpu *cpu;
    sterna_cpu_scratch *scratch;
    const sterna_product *products;
    size_t count, panels; /* panels of all products together */
    const sterna_weight *kind;
    size_t n, cols;
    const float *x; /* the input, transformed where the weights say so */
    size_t x_stride;
    const float *input; /* as the caller gave it, [n][cols] */
    bool prepare;       /* its activations are not yet in scratch */
    /* outlier columns: the weights are those of the products, the input is taken from these columns
     * of x, which has them `source_stride` apart, and the result is added */
    const uint32_t *columns;
    const float *source;
    size_t source_stride;
} run;

/* The matrix of a product that a run multiplies. */
static const sterna_weight *weight_of(const run *r, const sterna_product *product)
{
    return r->columns ? product->weight->outliers : product->weight;
}

static bool same_input(const sterna_weight *a, const sterna_weight *b)
{
    if (a->hadamard.block != b->hadamard.block || a->activation != b->activation) return false;
    if (a->activation != STERNA_ACT_FLOAT && !sterna_cpu_same_places(a, b)) return false;
    if (!a->hadamard.block || a->hadamard.signs == b->hadamard.signs) return true;
    return a->hadamard.signs && b->hadamard.signs &&
           memcmp(a->hadamard.signs, b->hadamard.signs, a->cols * sizeof(float)) == 0;
}

/* Bytes between the quantised tokens of `padded` columns: an odd number of cache lines, so that the
 * same columns of many tokens do not fall into one set of the cache. */
static size_t quantised_stride(size_t padded)
{
    return ((padded + 63) / 64 | 1) * 64;
}

/* Token t: transform (or take the outlier columns), quantise. */
static void prepare_token(const run *r, size_t t)
{
    const sterna_kernels *kernels = &r->cpu->kernels;
    const sterna_weight *kind = r->kind;
    sterna_cpu_scratch *scratch = r->scratch;
    const float *x = r->columns ? NULL : r->input + t * r->cols;
    float *out = scratch->transformed + t * r->cols;
    if (r->columns) {
        const float *source = r->source + t * r->source_stride;
        for (size_t i = 0; i < r->cols; i++) out[i] = source[r->columns[i]];
        x = out;
    } else if (kind->hadamard.block) {
        const sterna_hadamard *hadamard = &kind->hadamard;
        for (size_t i = 0; i < r->cols; i += hadamard->block)
            kernels->hadamard(x + i, hadamard->signs ? hadamard->signs + i : NULL, out + i,
                              hadamard->block);
        x = out;
    }
    if (kind->activation == STERNA_ACT_FLOAT) return;
    size_t units = kind->padded / STERNA_COLUMN_UNIT;
    sterna_cpu_quantise(kernels->quantize, kind, x, scratch->x + t * quantised_stride(kind->padded),
                        scratch->unit_sums + t * units, scratch->group_scales + t * units);
}

/* Token t: scales and sums per segment of this run's weights. */
static void expand_token(const run *r, size_t t)
{
    sterna_cpu_scratch *scratch = r->scratch;
    const sterna_weight *kind = r->kind;
    size_t units = kind->padded / 16, units_per = kind->segment / 16;
    const int32_t *sums = scratch->unit_sums + t * units;
    const float *scales = scratch->group_scales + t * units;
    bool token = kind->activation == STERNA_ACT_INT8_TOKEN;
    for (size_t s = 0; s < kind->segments; s++) {
        size_t end = (s + 1) * units_per < units ? (s + 1) * units_per : units;
        int32_t sum = 0;
        for (size_t u = s * units_per; u < end; u++) sum += sums[u];
        size_t at = s * r->n + t;
        scratch->x_sums[at] = sum;
        scratch->x_scales[at] = scales[token ? 0 : s];
        scratch->x_offsets[at] = (float)sum * scratch->x_scales[at];
    }
}

static sterna_matmul_int_fn *int_kernel(const sterna_kernels *kernels, sterna_cpu_layout layout)
{
    switch (layout) {
    case STERNA_LAYOUT_TERN2: return kernels->matmul_tern2;
    case STERNA_LAYOUT_TERN5: return kernels->matmul_tern5;
    case STERNA_LAYOUT_INT4: return kernels->matmul_int4;
    case STERNA_LAYOUT_Q4K: return kernels->matmul_q4k;
    case STERNA_LAYOUT_Q5K: return kernels->matmul_q5k;
    case STERNA_LAYOUT_Q6K: return kernels->matmul_q6k;
    default: return kernels->matmul_int8;
    }
}

/* `panels` panels of one product, `step` panels apart from the first one, for tokens t..t+n-1; rows
 * of 16 floats at y. */
static void call_kernel(const run *r, const sterna_weight *w, size_t first, size_t panels,
                        size_t step, size_t t, size_t n, float *y, size_t y_stride)
{
    const sterna_kernels *kernels = &r->cpu->kernels;
    const sterna_cpu_scratch *scratch = r->scratch;
    if (w->activation == STERNA_ACT_FLOAT) {
        sterna_float_tile tile = {.panels = panels,
                                  .weights = w->codes + first * w->panel_bytes,
                                  .factors = w->factors + first * STERNA_PANEL,
                                  .weights_step = step * w->panel_bytes,
                                  .row_step = step * STERNA_PANEL,
                                  .cols = w->cols,
                                  .n = n,
                                  .x = r->x + t * r->x_stride,
                                  .x_stride = r->x_stride,
                                  .y = y,
                                  .y_stride = y_stride};
        sterna_matmul_float_fn *kernel = w->layout == STERNA_LAYOUT_F32   ? kernels->matmul_f32
                                         : w->layout == STERNA_LAYOUT_F16 ? kernels->matmul_f16
                                                                          : kernels->matmul_bf16;
        kernel(&tile);
        return;
    }
    size_t scales = w->groups * STERNA_PANEL;
    sterna_int_tile tile = {.panels = panels,
                            .codes = w->codes + first * w->panel_bytes,
                            .scales = w->scales ? w->scales + first * scales : NULL,
                            .mins = w->mins ? w->mins + first * scales : NULL,
                            .factors = w->factors + first * STERNA_PANEL,
                            .codes_step = step * w->panel_bytes,
                            .scales_step = step * scales,
                            .row_step = step * STERNA_PANEL,
                            .cols = w->padded,
                            .segment = w->segment,
                            .segments = w->segments,
                            .segments_per_scale = w->segments_per_scale,
                            .zero = w->zero,
                            .n = n,
                            .x = scratch->x + t * quantised_stride(w->padded),
                            .x_stride = quantised_stride(w->padded),
                            .x_step = r->n,
                            .x_scales = scratch->x_scales + t,
                            .x_sums = scratch->x_sums + t,
                            .x_offsets = scratch->x_offsets + t,
                            .y = y,
                            .y_stride = y_stride};
    int_kernel(kernels, w->layout)(&tile);
}

/* Up to BUFFERED panels through a buffer: the last one of a matrix whose rows are no multiple of
 * 16, or those whose results are added. */
static void buffered_panels(const run *r, const sterna_product *product, size_t panel,
                            size_t panels)
{
    const sterna_weight *w = weight_of(r, product);
    size_t first = panel * STERNA_PANEL, width = panels * STERNA_PANEL;
    size_t rows = w->rows - first < width ? w->rows - first : width;
    size_t y_stride = product->y_stride ? product->y_stride : w->rows;
    float buffer[TAIL_TOKENS * BUFFERED * STERNA_PANEL];
    for (size_t t = 0; t < r->n; t += TAIL_TOKENS) {
        size_t n = r->n - t < TAIL_TOKENS ? r->n - t : TAIL_TOKENS;
        call_kernel(r, w, panel, panels, 1, t, n, buffer, width);
        for (size_t i = 0; i < n; i++) {
            float *y = product->y + (t + i) * y_stride + first;
            const float *made = buffer + i * width;
            for (size_t row = 0; row < rows; row++)
                y[row] = r->columns ? y[row] + made[row] : made[row];
        }
    }
}

/* Whether the kernel reads panel after panel, or pair after pair: one token, up to eight of Q4_K
 * and Q5_K, eight of Q6_K and tern5. Others take two or four panels at once, from far apart. */
static bool reads_one_stream(const sterna_weight *w, size_t n)
{
    switch (w->layout) {
    case STERNA_LAYOUT_Q4K:
    case STERNA_LAYOUT_Q5K: return n <= DECODE;
    case STERNA_LAYOUT_Q6K:
    case STERNA_LAYOUT_TERN5: return n == 1 || n == DECODE;
    default: return n == 1;
    }
}

/* `count` panels of one product from `begin` on, none of them cut off. */
static void run_whole_panels(const run *r, const sterna_product *product, size_t begin,
                             size_t count)
{
    const sterna_weight *w = product->weight;
    size_t y_stride = product->y_stride ? product->y_stride : w->rows;
    size_t block = r->n > DECODE ? TOKEN_BLOCK : DECODE;
    size_t streams = reads_one_stream(w, r->n) ? count : count < STREAMS ? 1 : STREAMS;
    size_t step = count / streams;
    for (size_t t = 0; t < r->n; t += block) {
        size_t n = r->n - t < block ? r->n - t : block;
        for (size_t i = 0; i < step; i++)
            call_kernel(r, w, begin + i, streams, step, t, n,
                        product->y + t * y_stride + (begin + i) * STERNA_PANEL, y_stride);
        for (size_t i = begin + streams * step; i < begin + count; i++)
            call_kernel(r, w, i, 1, 1, t, n, product->y + t * y_stride + i * STERNA_PANEL,
                        y_stride);
    }
}

/* Panels begin..end-1 of one product. */
static void run_panels(const run *r, const sterna_product *product, size_t begin, size_t end)
{
    const sterna_weight *w = product->weight;
    size_t y_stride = product->y_stride ? product->y_stride : w->rows;
    size_t whole = w->rows / STERNA_PANEL, full = end < whole ? end : whole;
    if (r->columns) {
        for (size_t i = begin; i < end; i += BUFFERED)
            buffered_panels(r, product, i, end - i < BUFFERED ? end - i : BUFFERED);
        return;
    }
    /* many tokens take neighbouring panels, whose next ones kernels ask for */
    size_t share = r->n > DECODE ? STREAMS : full - begin;
    for (size_t i = begin; i < full; i += share)
        run_whole_panels(r, product, i, full - i < share ? full - i : share);
    if (end > whole) buffered_panels(r, product, whole, 1);
    if (!product->bias) return;
    size_t first = begin * STERNA_PANEL, last = end * STERNA_PANEL;
    if (last > w->rows) last = w->rows;
    for (size_t t = 0; t < r->n; t++)
        for (size_t i = first; i < last; i++) product->y[t * y_stride + i] += product->bias[i];
}

/* Global panels begin..end-1, counted through all products. */
static void run_range(const run *r, size_t begin, size_t end)
{
    size_t start = 0;
    for (size_t i = 0; i < r->count && start < end; i++) {
        size_t panels = r->products[i].weight->panels, stop = start + panels;
        size_t from = begin > start ? begin : start, to = end < stop ? end : stop;
        if (from < to) run_panels(r, &r->products[i], from - start, to - start);
        start = stop;
    }
}

static void prepare_tokens(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const run *r = context;
    for (size_t t = begin; t < end; t++) {
        if (r->prepare) prepare_token(r, t);
        if (r->kind->activation != STERNA_ACT_FLOAT) expand_token(r, t);
    }
}

static void run_pieces(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    run_range(context, begin, end);
}

static void run_products(run *r)
{
    sterna_pool *pool = r->cpu->pool;
    size_t pieces = (size_t)r->cpu->threads * 8;
    sterna_pool_run(pool, r->n, r->n / pieces + 1, prepare_tokens, r);
    /* Many pieces a thread even out cores of different speed. Where they are one stream of memory
     * small ones cost nothing; others are multiples of the streams. */
    size_t grain = r->n > DECODE ? STREAMS : r->panels / pieces / STREAMS * STREAMS;
    if (reads_one_stream(r->kind, r->n))
        grain = (PIECE_BYTES / r->kind->panel_bytes / 2 + 1) * 2;
    else if (grain < STREAMS)
        grain = STREAMS;
    sterna_pool_run(pool, r->panels, grain, run_pieces, r);
}

/* Adds the outlier columns of a product, whose input is `source`. */
static void add_outliers(const run *of, const sterna_product *product)
{
    const sterna_weight *thin = product->weight->outliers;
    run r = {.cpu = of->cpu,
             .scratch = &of->cpu->outlier_scratch,
             .products = product,
             .count = 1,
             .panels = thin->panels,
             .kind = thin,
             .n = of->n,
             .cols = thin->cols,
             .prepare = true,
             .columns = product->weight->outlier_columns,
             .source = of->x,
             .source_stride = of->x_stride};
    run_products(&r);
}

/* All products for one block of tokens. */
static void matmul_block(sterna_cpu *cpu, const float *x, size_t n, const sterna_product *products,
                         size_t count)
{
    const sterna_weight *prepared = NULL;
    for (size_t i = 0, j; i < count; i = j) {
        const sterna_weight *kind = products[i].weight;
        run r = {.cpu = cpu,
                 .scratch = &cpu->scratch,
                 .products = products + i,
                 .kind = kind,
                 .n = n,
                 .cols = kind->cols};
        for (j = i; j < count && same_input(kind, products[j].weight); j++)
            r.panels += products[j].weight->panels;
        r.count = j - i;
        r.x = kind->hadamard.block ? cpu->scratch.transformed : x;
        r.x_stride = kind->cols;
        r.input = x;
        r.prepare = !prepared || !same_input(prepared, kind);
        run_products(&r);
        for (size_t k = i; k < j; k++)
            if (products[k].weight->outliers) add_outliers(&r, &products[k]);
        prepared = kind;
    }
}

void sterna_cpu_matmul(sterna_device *device, const float *x, size_t n,
                       const sterna_product *products, size_t count)
{
    enum { MAX_PRODUCTS = 8 };
    sterna_cpu *cpu = sterna_cpu_of(device);
    size_t block = cpu->scratch.tokens;
    if (count == 0 || block == 0) return;
    for (size_t first = 0; first < count; first += MAX_PRODUCTS) {
        size_t some = count - first < MAX_PRODUCTS ? count - first : MAX_PRODUCTS;
        for (size_t t = 0; t < n; t += block) {
            sterna_product part[MAX_PRODUCTS];
            memcpy(part, products + first, some * sizeof *part);
            for (size_t i = 0; i < some; i++)
                part[i].y += t * (part[i].y_stride ? part[i].y_stride : part[i].weight->rows);
            matmul_block(cpu, x + t * part[0].weight->cols, n - t < block ? n - t : block, part,
                         some);
        }
    }
}
