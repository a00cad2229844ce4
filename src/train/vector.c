#include "train/vector.h"

#include <math.h>
#include <string.h>

#define ROWS_IN_PARALLEL _Pragma("omp parallel for schedule(static) num_threads(m->threads)")

/* ---- norms ---- */

void sterna_norm_forward(const sterna_multiplier *m, const float *x, size_t rows, size_t n,
                         const float *gain, float eps, float *out)
{
    if (!gain) {
        if (out != x) memcpy(out, x, rows * n * sizeof *x);
        return;
    }
    ROWS_IN_PARALLEL
    for (size_t r = 0; r < rows; r++) m->kernels.rmsnorm(x + r * n, n, gain, eps, out + r * n);
}

/* One row: with y = x * r * gain, r = 1 / sqrt(mean(x^2) + eps). */
static void norm_row_backward(const float *x, const float *dy, size_t n, const float *gain,
                              float eps, bool add, float *dx, float *log_gradient)
{
    float square = 0, along = 0;
#pragma omp simd reduction(+ : square, along)
    for (size_t i = 0; i < n; i++) {
        square += x[i] * x[i];
        along += dy[i] * gain[i] * x[i];
    }
    float scale = 1.0f / sqrtf(square / (float)n + eps);
    float back = scale * scale * scale / (float)n * along;
    for (size_t i = 0; i < n; i++) {
        float through = dy[i] * gain[i];
        if (log_gradient) log_gradient[i] += through * x[i] * scale;
        float d = through * scale - x[i] * back;
        dx[i] = add ? dx[i] + d : d;
    }
}

void sterna_norm_backward(const sterna_multiplier *m, const float *x, const float *dy, size_t rows,
                          size_t n, const float *gain, float eps, bool add, float *dx,
                          float *log_gradient, float *parts)
{
    if (!gain) {
        if (add)
            sterna_add_rows(m, dx, dy, rows * n);
        else if (dx != dy)
            memcpy(dx, dy, rows * n * sizeof *dx);
        return;
    }
    memset(parts, 0, STERNA_SUM_PARTS * n * sizeof *parts);
    size_t share = (rows + STERNA_SUM_PARTS - 1) / STERNA_SUM_PARTS;
    ROWS_IN_PARALLEL
    for (size_t p = 0; p < STERNA_SUM_PARTS; p++)
        for (size_t r = p * share; r < (p + 1) * share && r < rows; r++)
            norm_row_backward(x + r * n, dy + r * n, n, gain, eps, add, dx + r * n,
                              log_gradient ? parts + p * n : NULL);
    for (size_t p = 0; log_gradient && p < STERNA_SUM_PARTS; p++)
        for (size_t i = 0; i < n; i++) log_gradient[i] += parts[p * n + i];
}

/* ---- gates ---- */

/* The logistic function of `factor` times each of up to GATE_CHUNK values. */
enum { GATE_CHUNK = 256 };

static float gelu_slope(float g)
{
    return 2 * 0.797884561f * (1 + 3 * 0.044715f * g * g);
}

static void logistic(const sterna_multiplier *m, sterna_gate kind, const float *g, size_t n,
                     float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = kind == STERNA_GATE_SILU
                     ? -g[i]
                     : -2 * 0.797884561f * (g[i] + 0.044715f * g[i] * g[i] * g[i]);
    m->kernels.exp_sum(out, n, 0);
    for (size_t i = 0; i < n; i++) out[i] = 1 / (1 + out[i]);
}

static void gate_chunk_backward(const sterna_multiplier *m, sterna_gate kind, const float *gate,
                                const float *up, const float *dout, size_t n, float *dgate,
                                float *dup)
{
    float s[GATE_CHUNK];
    bool smooth = kind == STERNA_GATE_SILU || kind == STERNA_GATE_GELU_TANH;
    if (smooth) logistic(m, kind, gate, n, s);
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], d = dout[i], value, slope;
        if (smooth) {
            value = g * s[i];
            slope = s[i] + value * (1 - s[i]) * (kind == STERNA_GATE_SILU ? 1 : gelu_slope(g));
        } else if (kind == STERNA_GATE_GELU) {
            float below = 0.5f * (1 + erff(g * 0.707106781f));
            value = g * below;
            slope = below + g * 0.398942280f * expf(-0.5f * g * g);
        } else {
            float positive = g > 0 ? g : 0;
            value = positive * positive;
            slope = 2 * positive;
        }
        dgate[i] = d * up[i] * slope;
        dup[i] = d * value;
    }
}

static void gate_row_forward(const sterna_multiplier *m, sterna_gate kind, const float *gate,
                             const float *up, size_t n, float *out)
{
    switch (kind) {
    case STERNA_GATE_SILU: m->kernels.gate_silu(gate, up, out, n); break;
    case STERNA_GATE_GELU_TANH: m->kernels.gate_gelu_tanh(gate, up, out, n); break;
    case STERNA_GATE_GELU:
        for (size_t i = 0; i < n; i++)
            out[i] = 0.5f * gate[i] * (1 + erff(gate[i] * 0.707106781f)) * up[i];
        break;
    case STERNA_GATE_RELU2: m->kernels.gate_relu2(gate, up, out, n); break;
    }
}

void sterna_gate_forward(const sterna_multiplier *m, sterna_gate kind, const float *gate,
                         const float *up, size_t rows, size_t n, float *out)
{
    ROWS_IN_PARALLEL
    for (size_t r = 0; r < rows; r++)
        gate_row_forward(m, kind, gate + r * n, up + r * n, n, out + r * n);
}

void sterna_gate_backward(const sterna_multiplier *m, sterna_gate kind, const float *gate,
                          const float *up, const float *dout, size_t rows, size_t n, float *dgate,
                          float *dup)
{
    size_t count = rows * n;
    ROWS_IN_PARALLEL
    for (size_t i = 0; i < count; i += GATE_CHUNK)
        gate_chunk_backward(m, kind, gate + i, up + i, dout + i,
                            count - i < GATE_CHUNK ? count - i : GATE_CHUNK, dgate + i, dup + i);
}

/* ---- rotations and transforms ---- */

static void rotate_head(float *x, const float *turns, size_t pairs, sterna_rope_style style,
                        float direction)
{
    for (size_t i = 0; i < pairs; i++) {
        size_t a = style == STERNA_ROPE_HALVES ? i : 2 * i,
               b = style == STERNA_ROPE_HALVES ? i + pairs : 2 * i + 1;
        float cosine = turns[2 * i], sine = direction * turns[2 * i + 1], low = x[a], high = x[b];
        x[a] = low * cosine - high * sine;
        x[b] = low * sine + high * cosine;
    }
}

void sterna_rope_rotate(const sterna_multiplier *m, float *x, size_t rows, size_t heads, size_t dim,
                        const float *turns, size_t pairs, size_t length, sterna_rope_style style,
                        bool back)
{
    ROWS_IN_PARALLEL
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < heads; h++)
            rotate_head(x + (r * heads + h) * dim, turns + r % length * 2 * pairs, pairs, style,
                        back ? -1 : 1);
}

void sterna_transform_forward(const sterna_multiplier *m, const sterna_hadamard *t, const float *x,
                              size_t rows, size_t n, float *out)
{
    ROWS_IN_PARALLEL
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i += t->block)
            m->kernels.hadamard(x + r * n + i, t->signs ? t->signs + i : NULL, out + r * n + i,
                                t->block);
}

void sterna_transform_backward(const sterna_multiplier *m, const sterna_hadamard *t, const float *x,
                               size_t rows, size_t n, float *out)
{
    ROWS_IN_PARALLEL
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i += t->block)
            m->kernels.hadamard(x + r * n + i, NULL, out + r * n + i, t->block);
        for (size_t i = 0; t->signs && i < n; i++) out[r * n + i] *= t->signs[i];
    }
}

void sterna_add_rows(const sterna_multiplier *m, float *y, const float *x, size_t count)
{
    ROWS_IN_PARALLEL
    for (size_t i = 0; i < count; i++) y[i] += x[i];
}

void sterna_add_bias(const sterna_multiplier *m, float *y, size_t rows, size_t n, const float *bias)
{
    if (!bias) return;
    ROWS_IN_PARALLEL
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) y[r * n + i] += bias[i];
}
