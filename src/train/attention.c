#include "train/attention.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum { BLOCK = 64 }; /* queries at a time */

/* One head of one window. */
typedef struct head {
    const sterna_multiplier *m;
    const sterna_attention_shape *shape;
    const float *q, *k, *v; /* of the window's first row; rows stand q_stride, kv_stride apart */
    size_t q_stride, kv_stride;
    float *scores, *slopes; /* [BLOCK][length] */
} head;

size_t sterna_attention_scratch(const sterna_attention_shape *shape, int threads)
{
    return (size_t)threads * 2 * BLOCK * shape->length;
}

static head find_head(const sterna_multiplier *m, const sterna_attention_shape *shape,
                      const float *q, const float *k, const float *v, size_t window, size_t index,
                      float *scratch)
{
    head h = {.m = m,
              .shape = shape,
              .q_stride = shape->heads * shape->dim,
              .kv_stride = shape->kv_heads * shape->dim};
    size_t kv = index / (shape->heads / shape->kv_heads), row = window * shape->length;
    h.q = q + row * h.q_stride + index * shape->dim;
    h.k = k + row * h.kv_stride + kv * shape->dim;
    h.v = v + row * h.kv_stride + kv * shape->dim;
    h.scores = scratch + (size_t)omp_get_thread_num() * 2 * BLOCK * shape->length;
    h.slopes = h.scores + BLOCK * shape->length;
    return h;
}

/* The first key that a query sees. */
static size_t first_key(const sterna_attention_shape *shape, size_t query)
{
    return shape->sliding && query + 1 > shape->sliding ? query + 1 - shape->sliding : 0;
}

/* c[rows][keys] = alpha a b^T. */
static void product(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t rows,
                    size_t keys, size_t dim, float alpha, float *c)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)keys, (blasint)dim,
                alpha, a, (blasint)a_stride, b, (blasint)b_stride, 0, c, (blasint)keys);
}

/* Scores of queries [from, from + rows) and keys [low, low + keys). */
static void score(const head *h, size_t from, size_t rows, size_t low, size_t keys)
{
    product(h->q + from * h->q_stride, h->q_stride, h->k + low * h->kv_stride, h->kv_stride, rows,
            keys, h->shape->dim, h->shape->scale, h->scores);
    if (h->shape->soft_cap > 0) h->m->kernels.soft_cap(h->scores, rows * keys, h->shape->soft_cap);
}

/* A row of scores to weights: keys [begin, end) by exp(s - shift), the others 0. Their sum. */
static float weigh(const head *h, float *row, size_t begin, size_t end, size_t keys, float shift)
{
    memset(row, 0, begin * sizeof *row);
    memset(row + end, 0, (keys - end) * sizeof *row);
    return h->m->kernels.exp_sum(row + begin, end - begin, shift);
}

static void attend_block(const head *h, size_t from, size_t rows, float *out, float *log_sums)
{
    const sterna_attention_shape *s = h->shape;
    size_t low = first_key(s, from), keys = from + rows - low;
    float inverse[BLOCK];
    score(h, from, rows, low, keys);
    for (size_t r = 0; r < rows; r++) {
        float *row = h->scores + r * keys, most;
        size_t begin = first_key(s, from + r) - low, end = from + r + 1 - low;
        most = row[begin];
        for (size_t i = begin + 1; i < end; i++) most = row[i] > most ? row[i] : most;
        float sum = weigh(h, row, begin, end, keys, most);
        log_sums[(from + r) * s->heads] = most + logf(sum);
        inverse[r] = 1 / sum;
    }
    float *to = out + from * h->q_stride;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows, (blasint)s->dim,
                (blasint)keys, 1, h->scores, (blasint)keys, h->v + low * h->kv_stride,
                (blasint)h->kv_stride, 0, to, (blasint)h->q_stride);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < s->dim; i++) to[r * h->q_stride + i] *= inverse[r];
}

void sterna_attention_forward(const sterna_multiplier *m, const sterna_attention_shape *s,
                              const float *q, const float *k, const float *v, float *out,
                              float *log_sums, float *scratch)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(m->threads)
    for (size_t t = 0; t < s->windows * s->heads; t++) {
        size_t window = t / s->heads, index = t % s->heads, row = window * s->length;
        head h = find_head(m, s, q, k, v, window, index, scratch);
        for (size_t from = 0; from < s->length; from += BLOCK)
            attend_block(&h, from, s->length - from < BLOCK ? s->length - from : BLOCK,
                         out + row * h.q_stride + index * s->dim,
                         log_sums + row * s->heads + index);
    }
}

/* ---- the way back ---- */

typedef struct back {
    const float *out, *dout, *log_sums; /* of the head in its window */
    float *dq, *dk, *dv;
} back;

/* Weights in h->scores, gradients at the scaled scores in h->slopes (holding those at the
 * weights). */
static void slope_row(const head *h, const back *b, size_t query, size_t begin, size_t end,
                      size_t keys, float *weights, float *slopes)
{
    const sterna_attention_shape *s = h->shape;
    float cap = s->soft_cap, along = 0;
    const float *out = b->out + query * h->q_stride, *dout = b->dout + query * h->q_stride;
    for (size_t i = 0; i < s->dim; i++) along += out[i] * dout[i];
    for (size_t i = begin; i < end; i++) {
        float t = cap > 0 ? weights[i] / cap : 0; /* tanh' = 1 - tanh^2 */
        slopes[i] = (slopes[i] - along) * (1 - t * t);
    }
    weigh(h, weights, begin, end, keys, b->log_sums[query * s->heads]);
    memset(slopes, 0, begin * sizeof *slopes);
    memset(slopes + end, 0, (keys - end) * sizeof *slopes);
    for (size_t i = begin; i < end; i++) slopes[i] *= weights[i] * s->scale;
}

/* c[rows][dim] += a^T b for a [inner][rows], or a b for a [rows][inner]. */
static void gather(CBLAS_TRANSPOSE turn, const float *a, size_t a_stride, const float *b,
                   size_t b_stride, size_t rows, size_t dim, size_t inner, float *c,
                   size_t c_stride)
{
    cblas_sgemm(CblasRowMajor, turn, CblasNoTrans, (blasint)rows, (blasint)dim, (blasint)inner, 1,
                a, (blasint)a_stride, b, (blasint)b_stride, 1, c, (blasint)c_stride);
}

static void block_backward(const head *h, const back *b, size_t from, size_t rows)
{
    const sterna_attention_shape *s = h->shape;
    size_t low = first_key(s, from), keys = from + rows - low, kv = h->kv_stride, q = h->q_stride;
    const float *dout = b->dout + from * q;
    score(h, from, rows, low, keys);
    product(dout, q, h->v + low * kv, kv, rows, keys, s->dim, 1, h->slopes);
    for (size_t r = 0; r < rows; r++)
        slope_row(h, b, from + r, first_key(s, from + r) - low, from + r + 1 - low, keys,
                  h->scores + r * keys, h->slopes + r * keys);
    gather(CblasNoTrans, h->slopes, keys, h->k + low * kv, kv, rows, s->dim, keys, b->dq + from * q,
           q);
    gather(CblasTrans, h->slopes, keys, h->q + from * q, q, keys, s->dim, rows, b->dk + low * kv,
           kv);
    gather(CblasTrans, h->scores, keys, dout, q, keys, s->dim, rows, b->dv + low * kv, kv);
}

void sterna_attention_backward(const sterna_multiplier *m, const sterna_attention_shape *s,
                               const float *q, const float *k, const float *v, const float *out,
                               const float *log_sums, const float *dout, float *dq, float *dk,
                               float *dv, float *scratch)
{
    size_t rows = s->windows * s->length, q_size = s->heads * s->dim,
           kv_size = s->kv_heads * s->dim, share = s->heads / s->kv_heads;
    memset(dq, 0, rows * q_size * sizeof *dq);
    memset(dk, 0, rows * kv_size * sizeof *dk);
    memset(dv, 0, rows * kv_size * sizeof *dv);
#pragma omp parallel for schedule(dynamic, 1) num_threads(m->threads)
    for (size_t t = 0; t < s->windows * s->kv_heads; t++) {
        size_t window = t / s->kv_heads, kv = t % s->kv_heads, row = window * s->length;
        for (size_t index = kv * share; index < (kv + 1) * share; index++) {
            head h = find_head(m, s, q, k, v, window, index, scratch);
            size_t at = row * q_size + index * s->dim, kv_at = row * kv_size + kv * s->dim;
            back b = {out + at, dout + at,  log_sums + row * s->heads + index,
                      dq + at,  dk + kv_at, dv + kv_at};
            for (size_t from = 0; from < s->length; from += BLOCK)
                block_backward(&h, &b, from, s->length - from < BLOCK ? s->length - from : BLOCK);
        }
    }
}
