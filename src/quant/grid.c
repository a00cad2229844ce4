/* The levels of one group of weights, looked at by itself. */
#include <math.h>

#include "quant/fit.h"
#include "quant/fitted.h"

enum { ROUNDS = 30, PLACES = 17 };

static float clamp_round(float value, int low, int high)
{
    return rintf(fminf(fmaxf(value, (float)low), (float)high));
}

sterna_level sterna_level_nearest(const sterna_levels *levels, const sterna_grid *grid, float value)
{
    float wanted = value - grid->shift;
    if (!levels->second) {
        float code =
            grid->scale != 0 ? clamp_round(wanted / grid->scale, levels->low, levels->high) : 0;
        return (sterna_level){grid->scale * code + grid->shift, (int8_t)code, 0};
    }
    sterna_level best = {0, 0, 0};
    float least = INFINITY;
    for (int code = -1; code <= 1; code++) {
        float rest = wanted - grid->scale * (float)code;
        float second = grid->second != 0 ? clamp_round(rest / grid->second, -1, 1) : 0;
        float distance = fabsf(rest - grid->second * second);
        if (distance >= least) continue;
        least = distance;
        best = (sterna_level){grid->scale * (float)code + grid->second * second + grid->shift,
                              (int8_t)code, (int8_t)second};
    }
    return best;
}

/* The normal equations of scale, second and shift over a run whose levels are chosen. */
typedef struct equations {
    double a[3][3], b[3], error; /* error: of the grid that the levels were chosen by */
} equations;

static equations sum_levels(const sterna_levels *levels, const sterna_grid *grid, const float *w,
                            size_t count)
{
    equations e = {0};
    for (size_t i = 0; i < count; i++) {
        sterna_level level = sterna_level_nearest(levels, grid, w[i]);
        const double basis[3] = {level.code, level.second, levels->shift ? 1 : 0};
        double rest = (double)w[i] - (double)level.value;
        e.error += rest * rest;
        for (int k = 0; k < 3; k++) {
            e.b[k] += basis[k] * (double)w[i];
            for (int j = 0; j < 3; j++) e.a[k][j] += basis[k] * basis[j];
        }
    }
    return e;
}

/* Gauss. An unknown that no level depends on, or that says what those before it say, keeps its old
 * value in out. */
static void solve(equations *e, double out[3])
{
    for (int k = 0; k < 3; k++) {
        if (e->a[k][k] < 1e-6) { /* the rest of its row is 0 too: sums of small integers */
            e->a[k][k] = 0;
            continue;
        }
        for (int i = k + 1; i < 3; i++) {
            double share = e->a[i][k] / e->a[k][k];
            for (int j = k; j < 3; j++) e->a[i][j] -= share * e->a[k][j];
            e->b[i] -= share * e->b[k];
        }
    }
    for (int k = 3; k-- > 0;) {
        double sum = e->b[k];
        for (int j = k + 1; j < 3; j++) sum -= e->a[k][j] * out[j];
        if (e->a[k][k] > 0) out[k] = sum / e->a[k][k];
    }
}

/* Levels and least squares in turn until nothing is gained. */
static sterna_grid alternate(const sterna_levels *levels, sterna_grid grid, const float *w,
                             size_t count, double *error)
{
    equations e = sum_levels(levels, &grid, w, count);
    for (int round = 0; round < ROUNDS; round++) {
        double now[3] = {(double)grid.scale, (double)grid.second, (double)grid.shift};
        equations previous = e;
        solve(&e, now);
        sterna_grid next = {(float)now[0], (float)now[1], (float)now[2]};
        e = sum_levels(levels, &next, w, count);
        if (!(e.error < previous.error)) {
            e = previous;
            break;
        }
        grid = next;
    }
    *error = e.error;
    return grid;
}

static sterna_grid fit_uniform(const sterna_levels *levels, const float *w, size_t count)
{
    float extreme = 0;
    for (size_t i = 0; i < count; i++)
        if (fabsf(w[i]) > fabsf(extreme)) extreme = w[i];
    sterna_grid best = {0, 0, 0};
    double least = INFINITY;
    for (int place = 0; place < PLACES; place++) { /* the largest from 0.7 to 1.2 of the end */
        float end = (float)levels->low * (0.7f + 0.5f * (float)place / (PLACES - 1));
        double error;
        sterna_grid start = {extreme / end, 0, 0};
        sterna_grid grid = alternate(levels, start, w, count, &error);
        if (error >= least) continue;
        least = error;
        best = grid;
    }
    return best;
}

static float least_squares_scale(const float *w, size_t count, float *magnitudes)
{
    sterna_fit_magnitudes(w, count, magnitudes);
    return (float)sterna_fit_scale(STERNA_FIT_ITF, magnitudes, count);
}

/* Where iterative ternary fitting starts from: the mean, and the mean of what lies more than 0.75
 * of the mean distance beside it. */
static sterna_grid start_shifted(const float *w, size_t count, float *magnitudes)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)w[i];
    float mean = (float)(sum / (double)count);
    for (size_t i = 0; i < count; i++) magnitudes[i] = fabsf(w[i] - mean);
    sterna_fit_part all = sterna_fit_above(magnitudes, count, 0);
    float threshold = (float)(0.75 * all.sum / (double)count);
    sterna_fit_part part = sterna_fit_above(magnitudes, count, threshold);
    return (sterna_grid){part.count ? (float)(part.sum / (double)part.count) : 0, 0, mean};
}

/* The second plane starts as the best for what the first leaves. */
static float start_second(sterna_grid grid, const float *w, size_t count, float *rest)
{
    const sterna_levels one = {-1, 1, false, false};
    for (size_t i = 0; i < count; i++)
        rest[i] = w[i] - sterna_level_nearest(&one, &grid, w[i]).value;
    return least_squares_scale(rest, count, rest);
}

sterna_grid sterna_grid_fit(const sterna_levels *levels, const float *w, size_t count,
                            float *magnitudes)
{
    sterna_grid grid = {0, 0, 0};
    double error;
    if (count == 0) return grid;
    if (levels->low != -1 || levels->high != 1) {
        grid = fit_uniform(levels, w, count);
    } else {
        if (levels->shift)
            grid = start_shifted(w, count, magnitudes);
        else
            grid.scale = least_squares_scale(w, count, magnitudes);
        if (levels->second) grid.second = start_second(grid, w, count, magnitudes);
        if (levels->second || levels->shift) grid = alternate(levels, grid, w, count, &error);
    }
    if (levels->low == -levels->high) grid.scale = fabsf(grid.scale); /* the codes say the same */
    grid.second = fabsf(grid.second);
    return (sterna_grid){sterna_fit_round((double)grid.scale),
                         sterna_fit_round((double)grid.second),
                         sterna_fit_round((double)grid.shift)};
}
