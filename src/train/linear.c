/* Products with the layers' matrices, forward and back. */
#include <string.h>

#include "train/network_state.h"
#include "train/vector.h"

/* The matrix as floats, its factors included. */
static void read_weights(const sterna_network *net, const sterna_linear *l)
{
    const sterna_factors *f = &l->factors;
    size_t groups = f->count ? (l->cols + l->group - 1) / l->group : 0;
#pragma omp parallel for schedule(static) num_threads(net->m.threads)
    for (size_t r = 0; r < l->rows; r++) {
        float *row = net->state->weights + r * l->cols;
        sterna_tensor_row(&l->tensor, l->first_row + r, row);
        if (l->factor != 1)
            for (size_t i = 0; i < l->cols; i++) row[i] *= l->factor;
        for (size_t g = 0; g < groups; g++) {
            float factor = f->factor[r * groups + g];
            size_t end = (g + 1) * l->group < l->cols ? (g + 1) * l->group : l->cols;
            for (size_t i = g * l->group; i < end; i++) row[i] *= factor;
        }
        for (size_t i = 0; i < l->n_fixed; i++)
            row[l->fixed[i]] /= f->factor[r * groups + l->fixed[i] / l->group];
    }
}

/* How many of the first matrices see the same transform of the input. */
static size_t count_alike(const sterna_linear *const *linears, size_t count)
{
    const sterna_hadamard *first = &linears[0]->hadamard;
    size_t n = 1;
    while (n < count && linears[n]->hadamard.block == first->block &&
           linears[n]->hadamard.signs == first->signs)
        n++;
    return n;
}

/* The input as a matrix sees it. */
static const float *see_input(const sterna_network *net, const sterna_linear *l, const float *x)
{
    sterna_network_state *s = net->state;
    if (!l->hadamard.block) return x;
    sterna_transform_forward(&net->m, &l->hadamard, x, s->tokens, l->cols, s->turned);
    return s->turned;
}

sterna_status sterna_linears_forward(sterna_network *net, const sterna_linear *const *linears,
                                     size_t count, const float *x, float *const *y,
                                     sterna_error *err)
{
    sterna_network_state *s = net->state;
    sterna_status status = STERNA_OK;
    for (size_t i = 0, alike = 0; i < count && !status; i++) {
        const sterna_linear *l = linears[i];
        if (i == alike) {
            const sterna_operand input = {see_input(net, l, x), s->tokens, l->cols, l->cols, false};
            status = sterna_pack(&net->m, &s->shared, STERNA_LEFT, &input, err);
            alike += count_alike(linears + i, count - i);
        }
        read_weights(net, l);
        const sterna_operand rows = {s->weights, l->rows, l->cols, l->cols, false};
        if (!status) status = sterna_pack(&net->m, &s->right, STERNA_RIGHT, &rows, err);
        if (status) return status;
        sterna_multiply(&net->m, &s->shared, &s->right, false, y[i], l->rows);
        sterna_add_bias(&net->m, y[i], s->tokens, l->rows, l->bias);
    }
    return status;
}

/* Rows [first, first + rows) of the gradient at the weights, in s->products, to those at the
 * factors: a weight is its start times e^s. */
static void sum_groups(const sterna_network *net, sterna_linear *l, size_t first, size_t rows)
{
    const sterna_network_state *s = net->state;
    size_t groups = (l->cols + l->group - 1) / l->group;
#pragma omp parallel for schedule(static) num_threads(net->m.threads)
    for (size_t r = 0; r < rows; r++) {
        const float *weights = s->weights + (first + r) * l->cols, *d = s->products + r * l->cols;
        float *gradient = l->factors.gradient + (first + r) * groups;
        for (size_t g = 0; g < groups; g++) {
            size_t end = (g + 1) * l->group < l->cols ? (g + 1) * l->group : l->cols;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (size_t i = g * l->group; i < end; i++) sum += d[i] * weights[i];
            gradient[g] += sum;
        }
        for (size_t i = 0; i < l->n_fixed; i++)
            gradient[l->fixed[i] / l->group] -= d[l->fixed[i]] * weights[l->fixed[i]];
    }
}

static sterna_status factor_gradients(const sterna_network *net, sterna_linear *l, const float *dy,
                                      sterna_error *err)
{
    sterna_network_state *s = net->state;
    sterna_status status = STERNA_OK;
    for (size_t first = 0; first < l->rows && !status; first += STERNA_GRADIENT_ROWS) {
        size_t rows =
            l->rows - first < STERNA_GRADIENT_ROWS ? l->rows - first : STERNA_GRADIENT_ROWS;
        const sterna_operand outputs = {dy + first, rows, s->tokens, l->rows, true};
        status = sterna_pack(&net->m, &s->left, STERNA_LEFT, &outputs, err);
        if (status) return status;
        sterna_multiply(&net->m, &s->left, &s->shared, false, s->products, l->cols);
        sum_groups(net, l, first, rows);
    }
    return status;
}

/* dinput (+)= dy W, in the input as the matrix sees it. */
static sterna_status input_gradient(const sterna_network *net, const sterna_linear *l,
                                    const float *dy, bool add, sterna_error *err)
{
    sterna_network_state *s = net->state;
    const sterna_operand outputs = {dy, s->tokens, l->rows, l->rows, false};
    const sterna_operand columns = {s->weights, l->cols, l->rows, l->cols, true};
    sterna_status status = sterna_pack(&net->m, &s->left, STERNA_LEFT, &outputs, err);
    if (!status) status = sterna_pack(&net->m, &s->right, STERNA_RIGHT, &columns, err);
    if (!status) sterna_multiply(&net->m, &s->left, &s->right, add, s->dinput, l->cols);
    return status;
}

/* Matrices that see the same input: s->dinput, and the gradients of their factors. */
static sterna_status alike_backward(sterna_network *net, sterna_linear *const *linears,
                                    size_t count, const float *x, const float *const *dy,
                                    sterna_error *err)
{
    sterna_network_state *s = net->state;
    const sterna_linear *first = linears[0];
    const sterna_operand input = {see_input(net, first, x), first->cols, s->tokens, first->cols,
                                  true};
    sterna_status status = sterna_pack(&net->m, &s->shared, STERNA_RIGHT, &input, err);
    for (size_t i = 0; i < count && !status; i++) {
        read_weights(net, linears[i]);
        if (linears[i]->factors.count) status = factor_gradients(net, linears[i], dy[i], err);
        if (!status) status = input_gradient(net, linears[i], dy[i], i > 0, err);
    }
    if (!status && first->hadamard.block)
        sterna_transform_backward(&net->m, &first->hadamard, s->dinput, s->tokens, first->cols,
                                  s->dinput);
    return status;
}

sterna_status sterna_linears_backward(sterna_network *net, sterna_linear *const *linears,
                                      size_t count, const float *x, const float *const *dy,
                                      float *dx, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    size_t floats = s->tokens * linears[0]->cols;
    sterna_status status = STERNA_OK;
    for (size_t i = 0, alike; i < count && !status; i += alike) {
        alike = count_alike((const sterna_linear *const *)linears + i, count - i);
        status = alike_backward(net, linears + i, alike, x, dy + i, err);
        if (status) return status;
        if (i)
            sterna_add_rows(&net->m, dx, s->dinput, floats);
        else
            memcpy(dx, s->dinput, floats * sizeof *dx);
    }
    return status;
}
