#include "quant/moments.h"

#include <string.h>

#include "base/memory.h"
#include "quant/ranks.h"

sterna_status sterna_moments_new(const sterna_moments *like, sterna_moments *out, sterna_error *err)
{
    *out = (sterna_moments){.rows = like->rows, .cols = like->cols};
    out->h = sterna_alloc_floats(out->cols, out->cols);
    out->d = like->d ? sterna_alloc_floats(out->cols, out->cols) : NULL;
    out->pull = like->pull ? sterna_alloc_floats(out->rows, out->cols) : NULL;
    if (out->h && (out->d || !like->d) && (out->pull || !like->pull)) return STERNA_OK;
    sterna_moments_free(out);
    return sterna_fail_memory(err, "the moments of a layer");
}

void sterna_moments_free(sterna_moments *m)
{
    sterna_free(m->h);
    sterna_free(m->d);
    sterna_free(m->pull);
    *m = (sterna_moments){0};
}

void sterna_moments_clear(const sterna_moments *m)
{
    memset(m->h, 0, m->cols * m->cols * sizeof(float));
    if (m->d) memset(m->d, 0, m->cols * m->cols * sizeof(float));
    if (m->pull) memset(m->pull, 0, m->rows * m->cols * sizeof(float));
}

void sterna_moments_join(const sterna_moments *sum, const sterna_moments *part, size_t active)
{
    sterna_ranks_add(sum->h, part->h, sum->cols * sum->cols, active);
    if (sum->d) sterna_ranks_add(sum->d, part->d, sum->cols * sum->cols, active);
    if (sum->pull) sterna_ranks_add(sum->pull, part->pull, sum->rows * sum->cols, active);
}

void sterna_moments_mirror(const sterna_moments *m, float scale)
{
    size_t cols = m->cols;
    for (size_t i = 0; i < cols; i++)
        for (size_t k = i; k < cols; k++) m->h[i * cols + k] *= scale;
    for (size_t i = 0; i < cols; i++)
        for (size_t k = 0; k < i; k++) m->h[i * cols + k] = m->h[k * cols + i];
}

void sterna_moment_adder_init(sterna_moment_adder *adder, uint32_t features, int threads)
{
    *adder = (sterna_moment_adder){0};
    sterna_multiplier_init(&adder->multiplier, features, threads, false);
}

void sterna_moment_adder_free(sterna_moment_adder *adder)
{
    sterna_packed_free(&adder->inputs);
    sterna_packed_free(&adder->left);
}

/* moment[rows][cols] += the sum of y x^T, y[tokens][rows]. */
static sterna_status add_product(sterna_moment_adder *a, const float *y, size_t rows, bool upper,
                                 float *moment, sterna_error *err)
{
    size_t tokens = a->inputs.operand.depth, cols = a->inputs.operand.count;
    const sterna_operand left = {y, rows, tokens, rows, true};
    sterna_status status = sterna_pack(&a->multiplier, &a->left, STERNA_LEFT, &left, err);
    if (status) return status;
    if (upper)
        sterna_multiply_upper(&a->multiplier, &a->left, &a->inputs, moment, cols);
    else
        sterna_multiply(&a->multiplier, &a->left, &a->inputs, true, moment, cols);
    return STERNA_OK;
}

sterna_status sterna_moments_add(sterna_moment_adder *adder, const sterna_moments *m,
                                 const float *x, const float *drift, const float *error,
                                 size_t tokens, sterna_error *err)
{
    const sterna_operand inputs = {x, m->cols, tokens, m->cols, true};
    sterna_status status =
        sterna_pack(&adder->multiplier, &adder->inputs, STERNA_RIGHT, &inputs, err);
    if (!status) status = add_product(adder, x, m->cols, true, m->h, err);
    if (!status && m->d) status = add_product(adder, drift, m->cols, false, m->d, err);
    if (!status && m->pull) status = add_product(adder, error, m->rows, false, m->pull, err);
    return status;
}
