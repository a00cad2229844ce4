/* quant/compensate and quant/refine: objectives that never rise, the column loop against plain
 * optimal brain surgery, and inputs at the edge. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "quant/compensate.h"
#include "quant/fit.h"

static double uniform(sterna_rng *rng)
{
    return sterna_rng_double(rng);
}

static float gauss(sterna_rng *rng)
{
    double u = 1 - uniform(rng), v = uniform(rng);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

typedef struct problem {
    size_t rows, cols, group, groups;
    float *w, *h; /* h: second moments of correlated inputs, a few of them massive */
    sterna_fitted fitted;
    int8_t *trits; /* fitted's */
    float *scales;
} problem;

static const sterna_levels trits_alone = {-1, 1, false, false};

static problem problem_of(size_t rows, size_t cols, size_t group, const sterna_levels *levels,
                          size_t outliers, uint64_t seed)
{
    problem p = {rows, cols, group, (cols + group - 1) / group, 0, 0, {0}, 0, 0};
    sterna_rng rng;
    sterna_rng_seed(&rng, seed);
    p.w = sterna_alloc(rows * cols, sizeof *p.w);
    p.h = sterna_calloc(cols * cols, sizeof *p.h);
    assert_true(sterna_fitted_new(&p.fitted, rows, cols, group, levels, outliers));
    p.trits = p.fitted.codes;
    p.scales = p.fitted.scales;
    for (size_t i = 0; i < rows * cols; i++) p.w[i] = 0.05f * gauss(&rng);
    float *x = sterna_alloc(cols, sizeof *x);
    for (size_t sample = 0; sample < 3 * cols; sample++) {
        float common = gauss(&rng);
        for (size_t i = 0; i < cols; i++)
            x[i] = (gauss(&rng) + common + (i ? 0.7f * x[i - 1] : 0)) * (i % 37 ? 1 : 8);
        for (size_t i = 0; i < cols; i++)
            for (size_t k = 0; k < cols; k++) p.h[i * cols + k] += x[i] * x[k];
    }
    for (size_t i = 0; i < cols * cols; i++) p.h[i] /= (float)(3 * cols);
    sterna_free(x);
    return p;
}

static problem problem_new(size_t rows, size_t cols, size_t group, uint64_t seed)
{
    return problem_of(rows, cols, group, &trits_alone, 0, seed);
}

static void problem_free(problem *p)
{
    sterna_free(p->w);
    sterna_free(p->h);
    sterna_fitted_free(&p->fitted);
}

static float quantised(const problem *p, size_t r, size_t i)
{
    const sterna_fitted *f = &p->fitted;
    size_t at = r * p->cols + i, number = r * p->groups + i / p->group;
    float value = f->scales[number] * (float)f->codes[at];
    if (f->second) value += f->second_scales[number] * (float)f->second[at];
    if (f->shifts) value += f->shifts[number];
    for (size_t k = 0; k < f->outliers; k++)
        if (f->outlier_cols[k] == i)
            value += f->outlier_scales[r] * (float)f->outlier_codes[r * f->outliers + k];
    return value;
}

/* sum of (w - q) H (w - q)^T by its definition. */
static double error_of(const problem *p)
{
    double sum = 0;
    double *rest = sterna_alloc(p->cols, sizeof *rest);
    for (size_t r = 0; r < p->rows; r++) {
        for (size_t i = 0; i < p->cols; i++)
            rest[i] = (double)p->w[r * p->cols + i] - (double)quantised(p, r, i);
        for (size_t i = 0; i < p->cols; i++)
            for (size_t k = 0; k < p->cols; k++)
                sum += rest[i] * rest[k] * (double)p->h[i * p->cols + k];
    }
    sterna_free(rest);
    return sum;
}

static void damp(problem *p, double share)
{
    double mean = 0;
    for (size_t i = 0; i < p->cols; i++) mean += (double)p->h[i * p->cols + i];
    for (size_t i = 0; i < p->cols; i++)
        p->h[i * p->cols + i] += (float)(share * mean / (double)p->cols);
}

static sterna_compensated total(const sterna_compensated *results, size_t rows)
{
    sterna_compensated sum = {0, 0, 0};
    for (size_t r = 0; r < rows; r++) {
        sum.error += results[r].error;
        sum.energy += results[r].energy;
        sum.zeros += results[r].zeros;
    }
    return sum;
}

static sterna_tile tile_of(problem *p)
{
    sterna_tile tile;
    assert_true(sterna_tile_new(&tile, p->rows, &p->fitted));
    tile.h = p->h;
    sterna_tile_begin(&tile, &p->fitted, p->w, 0, p->rows);
    return tile;
}

/* Each step against the error by its definition; widths with a shorter last group too. */
static void no_step_raises_the_error(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{9, 192, 64}, {5, 144, 128}, {3, 100, 32}, {2, 40, 40}};
    for (size_t s = 0; s < 4; s++) {
        problem p = problem_new(shapes[s][0], shapes[s][1], shapes[s][2], 11 + s);
        damp(&p, 0.01);
        uint32_t *order = sterna_alloc(p.cols, sizeof *order);
        float *upper = sterna_alloc(p.cols * p.cols, sizeof *upper);
        assert_int_equal(sterna_column_order(p.h, p.cols, order, NULL), STERNA_OK);
        for (size_t i = 1; i < p.cols; i++)
            assert_true(p.h[order[i - 1] * (p.cols + 1)] >= p.h[order[i] * (p.cols + 1)]);
        assert_int_equal(sterna_inverse_factor(p.h, p.cols, order, upper, NULL), STERNA_OK);
        sterna_tile tile = tile_of(&p);
        sterna_tile_grid(&tile);
        for (size_t i = 0; i < p.rows * p.cols; i++) { /* rounding to nearest, to compare with */
            float scale = p.scales[i / p.cols * p.groups + i % p.cols / p.group];
            p.trits[i] = (int8_t)((p.w[i] > scale / 2) - (p.w[i] < -scale / 2));
        }
        double nearest = error_of(&p);
        sterna_tile_columns(&tile, order, upper);
        double error = error_of(&p), before;
        assert_true(error < 0.7 * nearest);
        for (int round = 0; round < 4; round++) {
            before = error;
            sterna_tile_refit(&tile);
            error = error_of(&p);
            assert_true(error <= before * (1 + 1e-5));
            before = error;
            uint64_t changed = sterna_tile_descend(&tile, 2);
            error = error_of(&p);
            assert_true(error <= before * (1 + 1e-5));
            if (round == 3) assert_true(changed < p.rows * p.cols / 10);
        }
        sterna_tile_measure(&tile);
        sterna_compensated sum = total(p.fitted.results, p.rows);
        assert_true(fabs(sum.error - error) < 1e-3 * error);
        assert_true(sum.energy > sum.error);
        sterna_tile_free(&tile);
        sterna_free(order);
        sterna_free(upper);
        problem_free(&p);
    }
}

/* Optimal brain surgery as its formulas have it, one column at a time with an explicit inverse. */
static void surgery(problem *p, const uint32_t *order, const double *inverse)
{
    size_t n = p->cols;
    double *w = sterna_alloc(n, sizeof *w), *inv = sterna_alloc(n * n, sizeof *inv);
    for (size_t r = 0; r < p->rows; r++) {
        memcpy(inv, inverse, n * n * sizeof *inv);
        for (size_t i = 0; i < n; i++) w[i] = (double)p->w[r * n + i];
        for (size_t step = 0; step < n; step++) {
            size_t j = order[step];
            double scale = (double)p->scales[r * p->groups + j / p->group];
            double trit = scale > 0 ? fmin(fmax(rint(w[j] / scale), -1), 1) : 0;
            double error = (w[j] - scale * trit) / inv[j * n + j];
            p->trits[r * n + j] = (int8_t)trit;
            for (size_t k = 0; k < n; k++) w[k] -= error * inv[j * n + k];
            double pivot = inv[j * n + j];
            for (size_t a = 0; a < n; a++) { /* the inverse of H without row and column j */
                double share = inv[a * n + j] / pivot;
                if (a != j)
                    for (size_t b = 0; b < n; b++) inv[a * n + b] -= share * inv[j * n + b];
            }
            for (size_t k = 0; k < n; k++) inv[j * n + k] = 0;
        }
    }
    sterna_free(w);
    sterna_free(inv);
}

static void invert(const float *h, size_t n, double *inverse)
{
    double *a = sterna_alloc(n * n, sizeof *a);
    for (size_t i = 0; i < n * n; i++) {
        a[i] = (double)h[i];
        inverse[i] = i / n == i % n;
    }
    for (size_t j = 0; j < n; j++) { /* Gauss and Jordan; H is positive definite: no pivoting */
        double pivot = a[j * n + j];
        for (size_t k = 0; k < n; k++) {
            a[j * n + k] /= pivot;
            inverse[j * n + k] /= pivot;
        }
        for (size_t i = 0; i < n; i++) {
            double share = a[i * n + j];
            for (size_t k = 0; i != j && k < n; k++) {
                a[i * n + k] -= share * a[j * n + k];
                inverse[i * n + k] -= share * inverse[j * n + k];
            }
        }
    }
    sterna_free(a);
}

static void columns_are_brain_surgery(void **state)
{
    (void)state;
    problem p = problem_new(6, 150, 64, 21); /* three blocks, the last one short */
    damp(&p, 0.01);
    size_t count = p.rows * p.cols;
    uint32_t *order = sterna_alloc(p.cols, sizeof *order);
    float *upper = sterna_alloc(p.cols * p.cols, sizeof *upper);
    double *inverse = sterna_alloc(p.cols * p.cols, sizeof *inverse);
    int8_t *trits = sterna_alloc(count, 1);
    sterna_column_order(p.h, p.cols, order, NULL);
    assert_int_equal(sterna_inverse_factor(p.h, p.cols, order, upper, NULL), STERNA_OK);
    invert(p.h, p.cols, inverse);
    for (size_t i = 0; i < p.cols; i++) /* U^T U = H^-1 */
        for (size_t k = 0; k < p.cols; k++) {
            double sum = 0;
            for (size_t j = 0; j <= (i < k ? i : k); j++)
                sum += (double)upper[j * p.cols + i] * (double)upper[j * p.cols + k];
            double wanted = inverse[order[i] * p.cols + order[k]];
            assert_true(fabs(sum - wanted) < 1e-3 * inverse[order[i] * (p.cols + 1)] + 1e-6);
        }
    sterna_tile tile = tile_of(&p);
    sterna_tile_grid(&tile);
    sterna_tile_columns(&tile, order, upper);
    memcpy(trits, p.trits, count);
    double error = error_of(&p);
    surgery(&p, order, inverse);
    size_t different = 0; /* a weight half-way between two trits may fall either way */
    for (size_t i = 0; i < count; i++) different += trits[i] != p.trits[i];
    assert_true(different * 50 <= count);
    assert_true(fabs(error_of(&p) - error) <= 0.02 * error);
    sterna_tile_free(&tile);
    sterna_free(order);
    sterna_free(upper);
    sterna_free(inverse);
    sterna_free(trits);
    problem_free(&p);
}

/* ---- other levels ---- */

static const sterna_levels kinds[] = {{-1, 1, false, false}, {-1, 1, false, true},
                                      {-1, 1, true, false},  {-1, 1, true, true},
                                      {-8, 7, false, false}, {-127, 127, false, false}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Every step gains with levels of every kind, with and without outliers, and what a row is said to
 * hold is what the error is of. */
static void other_levels_only_gain(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2 * KINDS; k++) {
        size_t outliers = k % 2 ? 3 : 0;
        problem p = problem_of(9, 144, 64, &kinds[k / 2], outliers, 15);
        damp(&p, 0.01);
        uint32_t *order = sterna_alloc(p.cols, sizeof *order);
        float *upper = sterna_alloc(p.cols * p.cols, sizeof *upper);
        int32_t *places = sterna_alloc(p.cols, sizeof *places);
        sterna_column_order(p.h, p.cols, order, NULL);
        assert_int_equal(sterna_inverse_factor(p.h, p.cols, order, upper, NULL), STERNA_OK);
        for (size_t i = 0; i < p.cols; i++) places[i] = -1;
        for (size_t i = 0; i < outliers; i++)
            places[p.fitted.outlier_cols[i] = (uint32_t)(i * 37)] = (int32_t)i;
        sterna_tile tile = tile_of(&p);
        if (outliers) tile.outliers = places;
        sterna_tile_grid(&tile);
        sterna_tile_columns(&tile, order, upper);
        double error = error_of(&p), before = error;
        for (int round = 0; round < 3; round++, before = error) {
            sterna_tile_refit(&tile);
            error = error_of(&p);
            assert_true(error <= before * (1 + 1e-4));
            before = error;
            sterna_tile_descend(&tile, 2);
            error = error_of(&p);
            assert_true(error <= before * (1 + 1e-4));
        }
        sterna_tile_measure(&tile);
        assert_true(fabs(total(p.fitted.results, p.rows).error - error) < 2e-3 * error + 1e-9);
        float *row = sterna_alloc(p.cols, sizeof *row);
        sterna_fitted_row(&p.fitted, 4, row);
        for (size_t i = 0; i < p.cols; i++)
            assert_true(fabsf(row[i] - quantised(&p, 4, i)) <= 1e-6f * fabsf(row[i]));
        sterna_free(row);
        sterna_tile_free(&tile);
        sterna_free(places);
        sterna_free(order);
        sterna_free(upper);
        problem_free(&p);
    }
}

static double relative_error(const sterna_levels *levels, double outliers,
                             const sterna_compensation *like)
{
    sterna_compensation settings = *like;
    settings.levels = *levels;
    settings.outliers = outliers;
    problem p = problem_of(24, 160, settings.group, levels,
                           sterna_compensation_outliers(&settings, 160), 17);
    assert_int_equal(sterna_compensate(p.w, p.h, &settings, &p.fitted, NULL), STERNA_OK);
    sterna_compensated sum = total(p.fitted.results, p.rows);
    problem_free(&p);
    return sum.error / sum.energy;
}

static void more_levels_cost_less(void **state)
{
    (void)state;
    sterna_compensation usual = sterna_compensation_usual(64, 2);
    double error[KINDS];
    for (size_t k = 0; k < KINDS; k++) error[k] = relative_error(&kinds[k], 0, &usual);
    assert_true(error[1] < error[0]);       /* a shift is worth a little */
    assert_true(error[2] < 0.3 * error[0]); /* a second plane much */
    assert_true(error[3] < error[2]);
    assert_true(error[4] < 0.2 * error[0]); /* 16 levels, and 255 */
    assert_true(error[5] < 0.01 * error[0]);
    double outliers = relative_error(&kinds[0], 0.03, &usual); /* 5 of 160 columns are massive */
    assert_true(outliers < error[0]);
    usual.outliers = 0.001;
    assert_int_equal(sterna_compensation_outliers(&usual, 100), 1);
    usual.outliers = 0;
    assert_int_equal(sterna_compensation_outliers(&usual, 100), 0);
}

/* Each stage can be left out, and each is worth something. */
static void every_stage_is_worth_something(void **state)
{
    (void)state;
    sterna_compensation s = sterna_compensation_usual(64, 1);
    double all = relative_error(&kinds[0], 0, &s);
    s.rounds = 0;
    double without_descent = relative_error(&kinds[0], 0, &s);
    s.refit = false;
    double without_refit = relative_error(&kinds[0], 0, &s);
    s.order = false;
    double without_order = relative_error(&kinds[0], 0, &s);
    s.columns = false;
    double nearest = relative_error(&kinds[0], 0, &s);
    s.rounds = 1;
    double descended = relative_error(&kinds[0], 0, &s);
    assert_true(all <= without_descent && without_descent < without_refit);
    assert_true(without_refit < without_order && without_order < descended);
    assert_true(descended < 0.5 * nearest);
}

/* Groups by themselves: the distortion that theory has for a Gaussian, and runs at the edge. */
static void grids_reach_theory(void **state)
{
    (void)state;
    static const double most[KINDS] = {0.192, 0.192, 0.036, 0.036, 0.013, 1e-4};
    enum { RUN = 128, RUNS = 200 };
    float w[RUN], work[RUN];
    sterna_rng rng;
    for (size_t k = 0; k < KINDS; k++) {
        double error = 0, energy = 0;
        sterna_rng_seed(&rng, 19);
        for (int run = 0; run < RUNS; run++) {
            for (int i = 0; i < RUN; i++) w[i] = gauss(&rng);
            sterna_grid grid = sterna_grid_fit(&kinds[k], w, RUN, work);
            for (int i = 0; i < RUN; i++) {
                double rest =
                    (double)w[i] - (double)sterna_level_nearest(&kinds[k], &grid, w[i]).value;
                error += rest * rest;
                energy += (double)w[i] * (double)w[i];
            }
        }
        assert_true(error / energy < most[k]);
        for (int kind = 0; kind < 3; kind++) { /* zeros, a constant, one weight */
            for (int i = 0; i < RUN; i++) w[i] = kind == 1 ? 0.25f : kind == 2 && i == 5 ? -3 : 0;
            sterna_grid grid = sterna_grid_fit(&kinds[k], w, RUN, work);
            for (int i = 0; i < RUN; i++) {
                float value = sterna_level_nearest(&kinds[k], &grid, w[i]).value;
                assert_true(fabsf(value - w[i]) <= 2e-3f * fabsf(w[i]) + 1e-6f);
            }
        }
        assert_true(sterna_grid_fit(&kinds[k], w, 0, work).scale == 0);
    }
}

/* What is ternary already comes back bit by bit. */
static void keeps_what_is_ternary(void **state)
{
    (void)state;
    problem p = problem_new(70, 160, 64, 31); /* more than one tile */
    sterna_rng rng;
    sterna_rng_seed(&rng, 32);
    int8_t *trits = sterna_alloc(p.rows * p.cols, 1);
    float *scales = sterna_alloc(p.rows * p.groups, sizeof *scales);
    for (size_t i = 0; i < p.rows * p.groups; i++)
        scales[i] = sterna_fit_round(0.01 + uniform(&rng));
    for (size_t i = 0; i < p.rows * p.cols; i++) {
        trits[i] = (int8_t)((int)(sterna_rng_u64(&rng) % 3) - 1);
        p.w[i] = scales[i / p.cols * p.groups + i % p.cols / p.group] * (float)trits[i];
    }
    sterna_compensation settings = sterna_compensation_usual(p.group, 2);
    assert_int_equal(sterna_compensate(p.w, p.h, &settings, &p.fitted, NULL), STERNA_OK);
    sterna_compensated sum = total(p.fitted.results, p.rows);
    assert_memory_equal(p.trits, trits, p.rows * p.cols);
    assert_memory_equal(p.scales, scales, p.rows * p.groups * sizeof *scales);
    assert_true(fabs(sum.error) <= 1e-6 * sum.energy);
    sterna_free(trits);
    sterna_free(scales);
    problem_free(&p);
}

static void target_without_drift_is_the_weights(void **state)
{
    (void)state;
    problem p = problem_new(7, 96, 32, 41);
    size_t count = p.rows * p.cols;
    float *w = sterna_alloc(count, sizeof *w), *pull = sterna_calloc(count, sizeof *pull);
    float *error = sterna_alloc(count, sizeof *error);
    sterna_compensation settings = sterna_compensation_usual(p.group, 1);
    memcpy(w, p.w, count * sizeof *w);
    assert_int_equal(sterna_compensate_target(w, p.rows, p.cols, p.h, pull, &settings, NULL),
                     STERNA_OK);
    assert_memory_equal(w, p.w, count * sizeof *w);
    /* and with drift it solves (W* - W)(H + damping) = pull */
    sterna_rng rng;
    sterna_rng_seed(&rng, 42);
    for (size_t i = 0; i < count; i++) pull[i] = error[i] = gauss(&rng);
    assert_int_equal(sterna_compensate_target(w, p.rows, p.cols, p.h, pull, &settings, NULL),
                     STERNA_OK);
    damp(&p, (double)settings.damping);
    for (size_t r = 0; r < p.rows; r++)
        for (size_t i = 0; i < p.cols; i++) {
            double left = 0;
            for (size_t k = 0; k < p.cols; k++) {
                size_t at = r * p.cols + k;
                left += ((double)w[at] - (double)p.w[at]) * (double)p.h[k * p.cols + i];
            }
            assert_true(fabs(left - (double)error[r * p.cols + i]) < 2e-3);
        }
    sterna_free(w);
    sterna_free(pull);
    sterna_free(error);
    problem_free(&p);
}

/* Without correlation nothing can be compensated: the error is that of the best scales. */
static void reaches_theory_without_correlation(void **state)
{
    (void)state;
    problem p = problem_new(64, 256, 128, 51);
    for (size_t i = 0; i < p.cols * p.cols; i++) p.h[i] = i / p.cols == i % p.cols;
    sterna_compensation settings = sterna_compensation_usual(p.group, 2);
    assert_int_equal(sterna_compensate(p.w, p.h, &settings, &p.fitted, NULL), STERNA_OK);
    sterna_compensated sum = total(p.fitted.results, p.rows);
    double share = sum.error / sum.energy; /* 0.1902 for a Gaussian; 128 weights fit some noise */
    assert_true(share > 0.180 && share < 0.192);
    assert_true(fabs((double)sum.zeros / (double)(p.rows * p.cols) - 0.46) < 0.03);
    problem_free(&p);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    problem a = problem_new(150, 144, 64, 61), b = problem_new(150, 144, 64, 61);
    sterna_compensation one = sterna_compensation_usual(64, 1), many = one;
    many.threads = 3;
    assert_int_equal(sterna_compensate(a.w, a.h, &one, &a.fitted, NULL), STERNA_OK);
    assert_int_equal(sterna_compensate(b.w, b.h, &many, &b.fitted, NULL), STERNA_OK);
    assert_memory_equal(a.trits, b.trits, a.rows * a.cols);
    assert_memory_equal(a.scales, b.scales, a.rows * a.groups * sizeof *a.scales);
    assert_memory_equal(a.fitted.results, b.fitted.results, a.rows * sizeof *a.fitted.results);
    problem_free(&a);
    problem_free(&b);
}

static void survives_the_edge(void **state)
{
    (void)state;
    problem p = problem_new(5, 100, 64, 71);
    for (size_t i = 0; i < p.cols; i++) {
        p.w[i] = 0;                                      /* a zero row */
        p.w[p.cols + i] = 0.25f;                         /* a constant one */
        p.w[2 * p.cols + i] = i == 7 ? 1000.0f : 1e-20f; /* one weight */
        p.h[3 * p.cols + i] = p.h[i * p.cols + 3] = 0;   /* a dead column */
    }
    for (int all_dead = 0; all_dead < 2; all_dead++) {
        if (all_dead) memset(p.h, 0, p.cols * p.cols * sizeof *p.h);
        sterna_compensation settings = sterna_compensation_usual(p.group, 2);
        assert_int_equal(sterna_compensate(p.w, p.h, &settings, &p.fitted, NULL), STERNA_OK);
        for (size_t i = 0; i < p.cols; i++) {
            assert_true(quantised(&p, 0, i) == 0);
            assert_true(quantised(&p, 1, i) == 0.25f);
            if (i != 7) assert_true(fabsf(quantised(&p, 2, i)) < 1);
        }
        assert_true(fabsf(quantised(&p, 2, 7) - 1000) < 2);
        for (size_t i = 0; i < p.rows * p.groups; i++)
            assert_true(isfinite(p.scales[i]) && p.scales[i] >= 0);
    }
    problem_free(&p);
}

static void refuses_what_is_not_finite(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    sterna_error err;
    for (int i = 0; i < 6; i++) {
        problem p = problem_new(2, 40, 40, 81);
        float *where = i < 3 ? &p.w[55] : &p.h[3 * p.cols + 17];
        *where = bad[i % 3];
        sterna_compensation settings = sterna_compensation_usual(p.group, 1);
        assert_int_equal(sterna_compensate(p.w, p.h, &settings, &p.fitted, &err),
                         STERNA_ERROR_FORMAT);
        assert_non_null(strstr(err.message, "not a finite number"));
        problem_free(&p);
    }
    problem p = problem_new(1, 40, 40, 82); /* beyond float16 */
    for (size_t i = 0; i < p.cols; i++) p.w[i] = 1e6f;
    sterna_compensation settings = sterna_compensation_usual(p.group, 1);
    assert_int_equal(sterna_compensate(p.w, p.h, &settings, &p.fitted, &err),
                     STERNA_ERROR_UNSUPPORTED);
    problem_free(&p);
}

static void survives_failing_memory(void **state)
{
    (void)state;
    problem p = problem_new(70, 48, 32, 91);
    float *pull = sterna_calloc(p.rows * p.cols, sizeof *pull);
    float *h = sterna_alloc(p.cols * p.cols, sizeof *h);
    sterna_compensation settings = sterna_compensation_usual(p.group, 1);
    sterna_status status = STERNA_ERROR_MEMORY;
    for (long n = 0; status; n++) {
        memcpy(h, p.h, p.cols * p.cols * sizeof *h);
        sterna_alloc_fail_after(n);
        status = sterna_compensate_target(p.w, p.rows, p.cols, h, pull, &settings, NULL);
        if (!status) status = sterna_compensate(p.w, h, &settings, &p.fitted, NULL);
        sterna_alloc_fail_after(-1);
        assert_true(status == STERNA_OK || status == STERNA_ERROR_MEMORY);
        assert_true(n < 40);
    }
    sterna_free(pull);
    sterna_free(h);
    problem_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_step_raises_the_error),
        cmocka_unit_test(columns_are_brain_surgery),
        cmocka_unit_test(other_levels_only_gain),
        cmocka_unit_test(more_levels_cost_less),
        cmocka_unit_test(every_stage_is_worth_something),
        cmocka_unit_test(grids_reach_theory),
        cmocka_unit_test(keeps_what_is_ternary),
        cmocka_unit_test(target_without_drift_is_the_weights),
        cmocka_unit_test(reaches_theory_without_correlation),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(survives_the_edge),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(survives_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
