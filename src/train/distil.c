#include "train/distil.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/memory.h"
#include "train/network_state.h"
#include "train/vector.h"

enum { SUM_BLOCK = 1024 };

struct sterna_head {
    const sterna_network *net;
    size_t vocabulary, width, slice; /* tokens whose logits exist at a time */
    float *weights;                  /* [vocabulary][width]; NULL once packed */
    float *bias;                     /* [vocabulary] or NULL */
    sterna_hadamard hadamard;
    sterna_packed rows, columns; /* the weights for logits, and for the way back */
    sterna_packed left;
    float *turned;            /* [slice][width] */
    float *teacher, *student; /* logits [slice][vocabulary] */
    float *work;              /* [threads][2][vocabulary] */
    double *divergence;       /* [slice] */
};

static sterna_status read_weights(sterna_head *h, sterna_error *err)
{
    const sterna_end_places *ends = &h->net->ends;
    const sterna_tensor *tensor = ends->head ? ends->head : ends->embedding;
    sterna_weight_options options = {0};
    sterna_status status =
        sterna_hadamard_apply(&h->net->state->rules, h->net->file->path, tensor, &options, err);
    if (status) return status;
    h->hadamard = options.hadamard;
    size_t count;
    if (!sterna_mul_size(h->vocabulary, h->width, &count) ||
        !(h->weights = sterna_alloc(count, sizeof *h->weights)))
        return sterna_fail_memory(err, "the head");
#pragma omp parallel for schedule(static) num_threads(h->net->m.threads)
    for (size_t r = 0; r < h->vocabulary; r++)
        sterna_tensor_row(tensor, r, h->weights + r * h->width);
    if (ends->head_bias) {
        h->bias = sterna_alloc(h->vocabulary, sizeof *h->bias);
        if (!h->bias) return sterna_fail_memory(err, "the head");
        sterna_tensor_row(ends->head_bias, 0, h->bias);
    }
    return STERNA_OK;
}

static sterna_status prepare(sterna_head *h, sterna_error *err)
{
    const sterna_multiplier *m = &h->net->m;
    sterna_status status = read_weights(h, err);
    if (status) return status;
    const sterna_operand rows = {h->weights, h->vocabulary, h->width, h->width, false};
    const sterna_operand columns = {h->weights, h->width, h->vocabulary, h->width, true};
    status = sterna_pack(m, &h->rows, STERNA_RIGHT, &rows, err);
    if (!status) status = sterna_pack(m, &h->columns, STERNA_RIGHT, &columns, err);
    if (m->bf16) {
        sterna_free(h->weights);
        h->weights = NULL;
    }
    h->slice = STERNA_LOGIT_BYTES / 2 / sizeof(float) / h->vocabulary / STERNA_GEMM_ROWS *
               STERNA_GEMM_ROWS;
    if (h->slice == 0) h->slice = STERNA_GEMM_ROWS;
    h->turned = sterna_alloc(h->slice, h->width * sizeof(float));
    h->teacher = sterna_alloc(h->slice, h->vocabulary * sizeof(float));
    h->student = sterna_alloc(h->slice, h->vocabulary * sizeof(float));
    h->work = sterna_alloc((size_t)m->threads * 2, h->vocabulary * sizeof(float));
    h->divergence = sterna_alloc(h->slice, sizeof *h->divergence);
    if (!status && (!h->turned || !h->teacher || !h->student || !h->work || !h->divergence))
        status = sterna_fail_memory(err, "the logits of a training step");
    return status;
}

sterna_status sterna_head_open(const sterna_network *net, sterna_head **out, sterna_error *err)
{
    sterna_head *h = sterna_calloc(1, sizeof *h);
    if (!h) return sterna_fail_memory(err, "the head");
    h->net = net;
    h->vocabulary = net->config->vocabulary;
    h->width = net->config->width;
    sterna_status status = prepare(h, err);
    if (status)
        sterna_head_close(h);
    else
        *out = h;
    return status;
}

void sterna_head_close(sterna_head *h)
{
    if (!h) return;
    float *const buffers[] = {h->weights, h->bias, h->turned, h->teacher, h->student, h->work};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) sterna_free(buffers[i]);
    sterna_free(h->divergence);
    sterna_packed_free(&h->rows);
    sterna_packed_free(&h->columns);
    sterna_packed_free(&h->left);
    sterna_free(h);
}

static sterna_status make_logits(sterna_head *h, const float *hidden, size_t tokens, float *logits,
                                 sterna_error *err)
{
    const sterna_multiplier *m = &h->net->m;
    if (h->hadamard.block) {
        sterna_transform_forward(m, &h->hadamard, hidden, tokens, h->width, h->turned);
        hidden = h->turned;
    }
    const sterna_operand input = {hidden, tokens, h->width, h->width, false};
    sterna_status status = sterna_pack(m, &h->left, STERNA_LEFT, &input, err);
    if (status) return status;
    sterna_multiply(m, &h->left, &h->rows, false, logits, h->vocabulary);
    sterna_add_bias(m, logits, tokens, h->vocabulary, h->bias);
    return STERNA_OK;
}

/* In lanes, so that the compiler makes it wide. */
static float largest(const float *x, size_t n)
{
    enum { LANES = 16 };
    float lanes[LANES], most = x[0];
    size_t whole = n / LANES * LANES;
    for (size_t j = 0; j < LANES; j++) lanes[j] = most;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t j = 0; j < LANES; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (size_t j = 0; j < LANES; j++) most = lanes[j] > most ? lanes[j] : most;
    for (size_t i = whole; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static double dot(const float *a, const float *b, size_t n)
{
    double all = 0;
    for (size_t from = 0; from < n; from += SUM_BLOCK) {
        size_t end = n - from < SUM_BLOCK ? n : from + SUM_BLOCK;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = from; i < end; i++) sum += a[i] * b[i];
        all += (double)sum;
    }
    return all;
}

/* Exponentials of x less its largest, in place; the logarithm of the sum of the exponentials of x.
 */
static double exponentials(const sterna_head *h, float *x, float *sum)
{
    double all = 0;
    float most = largest(x, h->vocabulary);
    for (size_t from = 0; from < h->vocabulary; from += SUM_BLOCK) {
        size_t left = h->vocabulary - from;
        all +=
            (double)h->net->m.kernels.exp_sum(x + from, left < SUM_BLOCK ? left : SUM_BLOCK, most);
    }
    *sum = (float)all;
    return (double)most + log(all);
}

/* One token: KL, and the gradient at the student's logits into `s`, times `share`. */
static double compare(const sterna_head *h, float *t, float *s, float *work, float share)
{
    size_t n = h->vocabulary;
    float cap = h->net->config->logit_soft_cap, *rest = work, *bend = work + n;
    if (cap > 0) {
        h->net->m.kernels.soft_cap(t, n, cap);
        h->net->m.kernels.soft_cap(s, n, cap);
        for (size_t i = 0; i < n; i++) bend[i] = 1 - s[i] / cap * (s[i] / cap);
    }
    for (size_t i = 0; i < n; i++) rest[i] = t[i] - s[i];
    float t_sum, s_sum;
    double t_log = exponentials(h, t, &t_sum), s_log = exponentials(h, s, &s_sum);
    double divergence = dot(t, rest, n) / (double)t_sum - t_log + s_log;
    float t_scale = share / t_sum, s_scale = share / s_sum;
    for (size_t i = 0; i < n; i++) s[i] = s[i] * s_scale - t[i] * t_scale;
    for (size_t i = 0; cap > 0 && i < n; i++) s[i] *= bend[i];
    return divergence;
}

static sterna_status slice_gradient(sterna_head *h, size_t tokens, float *gradient,
                                    sterna_error *err)
{
    const sterna_multiplier *m = &h->net->m;
    const sterna_operand logits = {h->student, tokens, h->vocabulary, h->vocabulary, false};
    sterna_status status = sterna_pack(m, &h->left, STERNA_LEFT, &logits, err);
    if (status) return status;
    sterna_multiply(m, &h->left, &h->columns, false, gradient, h->width);
    if (h->hadamard.block)
        sterna_transform_backward(m, &h->hadamard, gradient, tokens, h->width, gradient);
    return STERNA_OK;
}

sterna_status sterna_distil(sterna_head *h, const float *teacher, const float *student,
                            size_t tokens, double *divergence, float *gradient, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    double sum = 0;
    for (size_t at = 0; at < tokens && !status; at += h->slice) {
        size_t n = tokens - at < h->slice ? tokens - at : h->slice;
        status = make_logits(h, teacher + at * h->width, n, h->teacher, err);
        if (!status) status = make_logits(h, student + at * h->width, n, h->student, err);
        if (status) break;
#pragma omp parallel for schedule(static) num_threads(h->net->m.threads)
        for (size_t i = 0; i < n; i++)
            h->divergence[i] = compare(
                h, h->teacher + i * h->vocabulary, h->student + i * h->vocabulary,
                h->work + (size_t)omp_get_thread_num() * 2 * h->vocabulary, 1 / (float)tokens);
        for (size_t i = 0; i < n; i++) sum += h->divergence[i];
        if (gradient) status = slice_gradient(h, n, gradient + at * h->width, err);
    }
    *divergence = sum / (double)tokens;
    return status;
}
