/* quant/pt2 against the paper's formulas in doubles, with a new inverse for every block. */
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
#include "quant/pt2.h"

enum { ROWS = 12, COLS = 150, GROUP = 48 };

static const sterna_levels shifted = {-1, 1, false, true};

typedef struct problem {
    float w[ROWS * COLS], h[COLS * COLS];
    sterna_fitted fitted;
} problem;

static float noise(sterna_rng *rng)
{
    float sum = 0;
    for (int i = 0; i < 6; i++) sum += (float)sterna_rng_double(rng) - 0.5f;
    return sum;
}

static void problem_make(problem *p, size_t group, uint64_t seed)
{
    sterna_rng rng;
    sterna_rng_seed(&rng, seed);
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < ROWS * COLS; i++) p->w[i] = 0.1f * noise(&rng) + 0.02f;
    float x[COLS];
    for (int sample = 0; sample < 3 * COLS; sample++) {
        float common = noise(&rng);
        for (size_t i = 0; i < COLS; i++) x[i] = noise(&rng) + common + (i ? 0.6f * x[i - 1] : 0);
        for (size_t i = 0; i < COLS; i++)
            for (size_t k = 0; k < COLS; k++) p->h[i * COLS + k] += x[i] * x[k] / (3 * COLS);
    }
    assert_true(sterna_fitted_new(&p->fitted, ROWS, COLS, group, &shifted, 0));
}

static double error_of(const problem *p, const float *q)
{
    double sum = 0;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < COLS; i++)
            for (size_t k = 0; k < COLS; k++)
                sum += (double)(p->w[r * COLS + i] - q[r * COLS + i]) * (double)p->h[i * COLS + k] *
                       (double)(p->w[r * COLS + k] - q[r * COLS + k]);
    return sum;
}

static double error_of_fitted(const problem *p)
{
    float *q = sterna_alloc(ROWS * COLS, sizeof *q);
    for (size_t r = 0; r < ROWS; r++) sterna_fitted_row(&p->fitted, r, q + r * COLS);
    double error = error_of(p, q);
    sterna_free(q);
    return error;
}

static sterna_status run(problem *p, bool order, bool columns, bool refit)
{
    sterna_compensation settings = sterna_compensation_usual(p->fitted.group, 2);
    settings.order = order;
    settings.columns = columns;
    settings.refit = refit;
    return sterna_pt2(p->w, p->h, &settings, &p->fitted, NULL);
}

/* ---- the formulas, one row and one block at a time ---- */

/* Upper Cholesky factor of the inverse of m[n][n]; both in doubles. */
static void inverse_factor(const double *m, size_t n, double *u)
{
    double *a = sterna_alloc(n * n, sizeof *a), *inverse = sterna_calloc(n * n, sizeof *inverse);
    memcpy(a, m, n * n * sizeof *a);
    for (size_t i = 0; i < n; i++) inverse[i * (n + 1)] = 1;
    for (size_t j = 0; j < n; j++) {
        double pivot = a[j * (n + 1)];
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
    memset(u, 0, n * n * sizeof *u);
    for (size_t i = 0; i < n; i++)
        for (size_t k = i; k < n; k++) {
            double sum = inverse[i * n + k];
            for (size_t j = 0; j < i; j++) sum -= u[j * n + i] * u[j * n + k];
            u[i * n + k] = k == i ? sqrt(sum) : sum / u[i * (n + 1)];
        }
    sterna_free(a);
    sterna_free(inverse);
}

/* Cosines of the remaining columns to their mean direction. */
static size_t best_column(const double *w, const bool *used, const size_t *left, size_t n)
{
    double best = -2, mean[ROWS] = {0}, norms[COLS];
    size_t found = 0;
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (size_t r = 0; r < ROWS; r++) sum += w[r * COLS + left[k]] * w[r * COLS + left[k]];
        norms[k] = sqrt(sum);
        for (size_t r = 0; r < ROWS; r++) mean[r] += w[r * COLS + left[k]] / norms[k];
    }
    for (size_t k = 0; k < n; k++) {
        double score = 0;
        for (size_t r = 0; r < ROWS; r++) score += mean[r] * w[r * COLS + left[k]] / norms[k];
        if (used[k] || score <= best) continue;
        best = score;
        found = k;
    }
    return found;
}

/* ITF, then eq. 12, of one row's block; q[width] becomes its levels. */
static void fit_block(const double *w, const double *s, size_t n, double *q)
{
    float run[COLS], work[COLS], t[COLS];
    for (size_t i = 0; i < n; i++) run[i] = (float)w[i];
    sterna_grid grid = sterna_grid_fit(&shifted, run, n, work);
    double a = 0, b = 0, c = 0, x = 0, y = 0, scale, shift;
    for (size_t i = 0; i < n; i++) t[i] = sterna_level_nearest(&shifted, &grid, run[i]).code;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            a += (double)t[i] * s[i * n + k] * (double)t[k];
            b += (double)t[i] * s[i * n + k];
            c += s[i * n + k];
            x += w[i] * s[i * n + k] * (double)t[k];
            y += w[i] * s[i * n + k];
        }
    double det = a * c - b * b;
    scale = (c * x - b * y) / det;
    shift = (a * y - b * x) / det;
    for (size_t i = 0; i < n; i++) q[i] = scale * (double)t[i] + shift;
}

static void reference(const problem *p, float *out)
{
    static double w[ROWS * COLS];
    size_t left[COLS], n = COLS;
    double damping = 0;
    for (size_t i = 0; i < ROWS * COLS; i++) w[i] = (double)p->w[i];
    for (size_t i = 0; i < COLS; i++) {
        left[i] = i;
        damping += 0.01 * (double)p->h[i * (COLS + 1)] / COLS;
    }
    while (n > 0) {
        size_t width = n < GROUP ? n : GROUP, line[COLS], at = 0;
        bool used[COLS] = {false};
        for (size_t k = 0; k < width && width < n; k++) used[best_column(w, used, left, n)] = true;
        for (size_t k = 0; k < n; k++)
            if (used[k] || width == n) line[at++] = left[k];
        for (size_t k = 0; k < n && width < n; k++)
            if (!used[k]) line[at++] = left[k];
        double *m = sterna_alloc(n * n, sizeof *m), *u = sterna_alloc(n * n, sizeof *u);
        double *s = sterna_alloc(width * width, sizeof *s), trace = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                m[i * n + k] = (double)p->h[line[i] * COLS + line[k]] + (i == k ? damping : 0);
        inverse_factor(m, n, u);
        for (size_t i = 0; i < width; i++) trace += (double)p->h[line[i] * (COLS + 1)];
        for (size_t i = 0; i < width; i++)
            for (size_t k = 0; k < width; k++)
                s[i * width + k] = (double)p->h[line[i] * COLS + line[k]] +
                                   (i == k ? 1e-4 * trace / (double)width : 0);
        for (size_t r = 0; r < ROWS; r++) {
            double run[COLS], q[COLS];
            for (size_t i = 0; i < width; i++) run[i] = w[r * COLS + line[i]];
            fit_block(run, s, width, q);
            for (size_t i = 0; i < width; i++) {
                out[r * COLS + line[i]] = (float)q[i];
                for (size_t k = width; k < n; k++)
                    w[r * COLS + line[k]] -= (run[i] - q[i]) / u[i * (n + 1)] * u[i * n + k];
            }
        }
        n -= width;
        for (size_t k = 0; k < n; k++) left[k] = line[width + k];
        sterna_free(m);
        sterna_free(u);
        sterna_free(s);
    }
}

static void is_what_the_paper_says(void **state)
{
    (void)state;
    static problem p;
    static float q[ROWS * COLS], row[COLS];
    problem_make(&p, GROUP, 3);
    assert_int_equal(run(&p, true, true, true), STERNA_OK);
    bool seen[COLS] = {false};
    for (size_t i = 0; i < COLS; i++) { /* a permutation */
        assert_true(p.fitted.order[i] < COLS && !seen[p.fitted.order[i]]);
        seen[p.fitted.order[i]] = true;
    }
    reference(&p, q);
    size_t different = 0;
    for (size_t r = 0; r < ROWS; r++) {
        sterna_fitted_row(&p.fitted, r, row);
        for (size_t i = 0; i < COLS; i++) different += fabsf(row[i] - q[r * COLS + i]) > 1e-3f;
    }
    assert_true(different * 50 < ROWS * COLS); /* a weight may lie half-way between two levels */
    double error = error_of_fitted(&p), other = error_of(&p, q), sum = 0;
    assert_true(fabs(error - other) < 0.02 * other);
    for (size_t r = 0; r < ROWS; r++) sum += p.fitted.results[r].error;
    assert_true(fabs(sum - error) < 1e-3 * error);
    sterna_fitted_free(&p.fitted);
}

/* In one block of all columns AGA is the best that a scale and a shift can do. */
static void alignment_and_compensation_gain(void **state)
{
    (void)state;
    static problem p, q;
    problem_make(&p, COLS, 5);
    problem_make(&q, COLS, 5);
    assert_int_equal(run(&p, false, false, false), STERNA_OK);
    assert_int_equal(run(&q, false, false, true), STERNA_OK);
    assert_null(q.fitted.order);
    assert_memory_equal(p.fitted.codes, q.fitted.codes, ROWS * COLS);
    for (size_t r = 0; r < ROWS; r++)
        assert_true(q.fitted.results[r].error <= p.fitted.results[r].error * 1.0001);
    sterna_fitted_free(&p.fitted);
    sterna_fitted_free(&q.fitted);
    problem_make(&p, GROUP, 5);
    problem_make(&q, GROUP, 5);
    assert_int_equal(run(&p, true, false, true), STERNA_OK);
    assert_int_equal(run(&q, true, true, true), STERNA_OK);
    assert_true(error_of_fitted(&q) < 0.95 * error_of_fitted(&p));
    sterna_fitted_free(&p.fitted);
    sterna_fitted_free(&q.fitted);
}

static void survives_the_edge(void **state)
{
    (void)state;
    static problem p;
    problem_make(&p, GROUP, 7);
    for (size_t i = 0; i < COLS; i++) {
        p.w[i] = 0;                                /* a zero row */
        p.w[COLS + i] = 0.25f;                     /* a constant one */
        p.h[9 * COLS + i] = p.h[i * COLS + 9] = 0; /* a dead column */
    }
    for (int dead = 0; dead < 2; dead++) {
        if (dead) memset(p.h, 0, sizeof p.h);
        assert_int_equal(run(&p, true, true, true), STERNA_OK);
        for (size_t r = 0; r < ROWS; r++) {
            float row[COLS];
            sterna_fitted_row(&p.fitted, r, row);
            for (size_t i = 0; i < COLS; i++) {
                assert_true(isfinite(row[i]));
                if (r < 2) assert_true(fabsf(row[i] - p.w[r * COLS + i]) < 1e-3f);
            }
        }
        sterna_free(p.fitted.order);
        p.fitted.order = NULL;
    }
    p.w[70] = NAN;
    assert_int_equal(run(&p, true, true, true), STERNA_ERROR_FORMAT);
    p.w[70] = 0;
    for (long n = 0;; n++) {
        sterna_alloc_fail_after(n);
        sterna_status status = run(&p, true, true, true);
        sterna_alloc_fail_after(-1);
        assert_true(n < 40);
        if (status == STERNA_OK) break;
        assert_int_equal(status, STERNA_ERROR_MEMORY);
    }
    sterna_fitted_free(&p.fitted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_what_the_paper_says),
        cmocka_unit_test(alignment_and_compensation_gain),
        cmocka_unit_test(survives_the_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
