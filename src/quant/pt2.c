#include "quant/pt2.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "quant/fit.h"

/* Columns [at, cols) of work, inverse and order are those not yet quantised. */
typedef struct pt2 {
    const float *w, *h;
    const sterna_compensation *settings;
    sterna_fitted *out;
    size_t rows, cols;
    float *work;           /* [rows][cols]: weights with the errors that they have taken over */
    float *inverse;        /* [cols][cols]: of the damped second moments of what remains */
    uint32_t *order;       /* [cols] */
    float *norms, *scores; /* [cols] */
    size_t *chosen;        /* [group], rising */
    float *taken;          /* [group][cols] */
    float *square;         /* [group][group]: S of a block; factor of the inverse's block */
    float *error, *t, *ts, *ws; /* [rows][group] */
} pt2;

static bool allocate(pt2 *p, size_t group)
{
    p->work = sterna_alloc_floats(p->rows, p->cols);
    p->inverse = sterna_alloc_floats(p->cols, p->cols);
    p->order = sterna_alloc(p->cols, sizeof *p->order);
    p->norms = sterna_alloc_floats(p->cols, 1);
    p->scores = sterna_alloc_floats(p->cols, 1);
    p->chosen = sterna_alloc(group, sizeof *p->chosen);
    p->taken = sterna_alloc_floats(group, p->cols);
    p->square = sterna_alloc_floats(group, group);
    p->error = sterna_alloc_floats(p->rows, group);
    p->t = sterna_alloc_floats(p->rows, group);
    p->ts = sterna_alloc_floats(p->rows, group);
    p->ws = sterna_alloc_floats(p->rows, group);
    return p->work && p->inverse && p->order && p->norms && p->scores && p->chosen && p->taken &&
           p->square && p->error && p->t && p->ts && p->ws;
}

static void release(pt2 *p)
{
    sterna_free(p->work);
    sterna_free(p->inverse);
    sterna_free(p->order);
    sterna_free(p->norms);
    sterna_free(p->scores);
    sterna_free(p->chosen);
    sterna_free(p->taken);
    sterna_free(p->square);
    sterna_free(p->error);
    sterna_free(p->t);
    sterna_free(p->ts);
    sterna_free(p->ws);
}

/* inverse = (H + damping)^-1 */
static sterna_status invert(pt2 *p, sterna_error *err)
{
    size_t cols = p->cols;
    double trace = 0;
    memcpy(p->inverse, p->h, cols * cols * sizeof *p->inverse);
    for (size_t i = 0; i < cols; i++) trace += (double)p->h[i * (cols + 1)];
    double damping = trace > 0 ? (double)p->settings->damping * trace / (double)cols : 1;
    for (size_t i = 0; i < cols; i++) p->inverse[i * (cols + 1)] += (float)damping;
    lapack_int n = (lapack_int)cols;
    lapack_int failed = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'L', n, p->inverse, n);
    if (!failed) failed = LAPACKE_spotri_work(LAPACK_COL_MAJOR, 'L', n, p->inverse, n);
    if (failed) return sterna_compensate_fail_definite(err);
    for (size_t i = 0; i < cols; i++) /* column-major lower is row-major upper */
        for (size_t k = 0; k < i; k++) p->inverse[i * cols + k] = p->inverse[k * cols + i];
    return STERNA_OK;
}

/* ---- SSR ---- */

typedef struct ranked {
    float score;
    uint32_t index;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static int by_index(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* scores[j] = u_j . mean of u, u_j the direction of column j. */
static void score_columns(pt2 *p, size_t at)
{
    size_t cols = p->cols;
    memset(p->norms, 0, cols * sizeof *p->norms);
    memset(p->scores, 0, cols * sizeof *p->scores);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t j = at; j < cols; j++)
            p->norms[j] += p->work[r * cols + j] * p->work[r * cols + j];
    for (size_t j = at; j < cols; j++) p->norms[j] = p->norms[j] > 0 ? 1 / sqrtf(p->norms[j]) : 0;
    for (size_t r = 0; r < p->rows; r++) {
        const float *row = p->work + r * cols;
        float mean = 0;
        for (size_t j = at; j < cols; j++) mean += row[j] * p->norms[j];
        mean /= (float)(cols - at);
        for (size_t j = at; j < cols; j++) p->scores[j] += mean * row[j] * p->norms[j];
    }
}

/* The `count` best of the columns from `at` on, into chosen. */
static sterna_status choose_block(pt2 *p, size_t at, size_t count, sterna_error *err)
{
    ranked *ranks = sterna_alloc(p->cols - at, sizeof *ranks);
    if (!ranks) return sterna_fail_memory(err, "the order of a matrix's columns");
    score_columns(p, at);
    for (size_t j = at; j < p->cols; j++) ranks[j - at] = (ranked){p->scores[j], (uint32_t)j};
    qsort(ranks, p->cols - at, sizeof *ranks, by_score);
    for (size_t k = 0; k < count; k++) p->chosen[k] = ranks[k].index;
    qsort(p->chosen, count, sizeof *p->chosen, by_index);
    sterna_free(ranks);
    return STERNA_OK;
}

/* Brings the chosen entries of line[at .. cols) to its front; the others keep their order. An entry
 * is `size` bytes; `room` has place for `count` of them. */
static void bring_forward(const pt2 *p, void *line, size_t size, size_t at, size_t count,
                          void *room)
{
    char *entries = line, *taken = room;
    size_t to = p->cols, next = count;
    for (size_t k = 0; k < count; k++)
        memcpy(taken + k * size, entries + p->chosen[k] * size, size);
    for (size_t j = p->cols; j-- > at;) {
        if (next > 0 && p->chosen[next - 1] == j)
            next--;
        else if (--to != j)
            memcpy(entries + to * size, entries + j * size, size);
    }
    memcpy(entries + at * size, taken, count * size);
}

static sterna_status reorder(pt2 *p, size_t at, size_t count, sterna_error *err)
{
    sterna_status status = choose_block(p, at, count, err);
    if (status) return status;
    for (size_t r = 0; r < p->rows; r++)
        bring_forward(p, p->work + r * p->cols, sizeof(float), at, count, p->taken);
    for (size_t i = at; i < p->cols; i++)
        bring_forward(p, p->inverse + i * p->cols, sizeof(float), at, count, p->taken);
    bring_forward(p, p->inverse, p->cols * sizeof(float), at, count, p->taken);
    bring_forward(p, p->order, sizeof *p->order, at, count, p->taken);
    return STERNA_OK;
}

/* ---- one block ---- */

/* square = S, the block's second moments, a little damped. */
static void make_moments(pt2 *p, size_t at, size_t width)
{
    double trace = 0;
    for (size_t i = 0; i < width; i++) {
        const float *from = p->h + (size_t)p->order[at + i] * p->cols;
        for (size_t k = 0; k < width; k++) p->square[i * width + k] = from[p->order[at + k]];
        trace += (double)p->square[i * width + i];
    }
    for (size_t i = 0; i < width; i++)
        p->square[i * width + i] += (float)(1e-4 * trace / (double)width);
}

static double dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static double total(const float *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i];
    return sum;
}

/* Eq. 12 for one row: min over scale and shift of (w - scale t - shift) S (..)^T. Where the two
 * cannot be told apart the fit stays. */
static sterna_grid align(const pt2 *p, size_t row, size_t width, double ones, sterna_grid grid)
{
    const float *t = p->t + row * width, *ts = p->ts + row * width, *ws = p->ws + row * width;
    double a = dot(ts, t, width), b = total(ts, width), c = ones;
    double x = dot(ws, t, width), y = total(ws, width), det = a * c - b * b;
    if (!(det > 1e-8 * a * c)) return grid;
    grid.scale = sterna_fit_round((c * x - b * y) / det);
    grid.shift = sterna_fit_round((a * y - b * x) / det);
    return grid;
}

static void multiply(const pt2 *p, size_t width, const float *a, size_t lda, float *out)
{
    blasint n = (blasint)p->rows, m = (blasint)width;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, m, m, 1, a, (blasint)lda, p->square,
                m, 0, out, m);
}

static void fit_levels(pt2 *p, size_t at, size_t width)
{
    sterna_fitted *out = p->out;
    size_t group = at / out->group;
#pragma omp parallel for num_threads(p->settings->threads)
    for (size_t r = 0; r < p->rows; r++) {
        const float *w = p->work + r * p->cols + at;
        sterna_grid grid = sterna_grid_fit(&out->levels, w, width, p->ts + r * width);
        for (size_t i = 0; i < width; i++)
            p->t[r * width + i] = (float)sterna_level_nearest(&out->levels, &grid, w[i]).code;
        out->scales[r * out->groups + group] = grid.scale;
        out->shifts[r * out->groups + group] = grid.shift;
    }
}

static void align_levels(pt2 *p, size_t at, size_t width)
{
    sterna_fitted *out = p->out;
    size_t group = at / out->group;
    make_moments(p, at, width);
    multiply(p, width, p->t, width, p->ts);
    multiply(p, width, p->work + at, p->cols, p->ws);
    double ones = total(p->square, width * width);
    for (size_t r = 0; r < p->rows; r++) {
        size_t number = r * out->groups + group;
        sterna_grid grid = {out->scales[number], 0, out->shifts[number]};
        grid = align(p, r, width, ones, grid);
        if (grid.scale < 0)
            for (size_t i = 0; i < width; i++) p->t[r * width + i] *= -1;
        out->scales[number] = fabsf(grid.scale);
        out->shifts[number] = grid.shift;
    }
}

/* Stores the block; error = the weights less what they became. */
static void store_block(pt2 *p, size_t at, size_t width)
{
    sterna_fitted *out = p->out;
    for (size_t r = 0; r < p->rows; r++)
        for (size_t i = 0; i < width; i++) {
            size_t number = r * out->groups + at / out->group;
            float code = p->t[r * width + i];
            out->codes[r * p->cols + at + i] = (int8_t)code;
            p->error[r * width + i] =
                p->work[r * p->cols + at + i] - (out->scales[number] * code + out->shifts[number]);
        }
}

/* Moves the block's error, divided by the diagonal of the factor U of P_BB = U^T U, to the columns
 * behind it, and takes the block out of the inverse. */
static sterna_status move_error(pt2 *p, size_t at, size_t width, sterna_error *err)
{
    size_t cols = p->cols, rest = cols - at - width;
    if (rest == 0) return STERNA_OK;
    for (size_t i = 0; i < width; i++)
        memcpy(p->square + i * width, p->inverse + (at + i) * cols + at, width * sizeof(float));
    blasint n = (blasint)p->rows, m = (blasint)width, k = (blasint)rest, lda = (blasint)cols;
    /* column-major 'L' is row-major 'U' */
    if (LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'L', m, p->square, m))
        return sterna_compensate_fail_definite(err);
    float *behind = p->inverse + at * cols + at + width; /* P_BR becomes U_BR = U^-T P_BR */
    cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, m, k, 1, p->square,
                m, behind, lda);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t i = 0; i < width; i++) p->error[r * width + i] /= p->square[i * (width + 1)];
    if (p->settings->columns)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, k, m, -1, p->error, m, behind,
                    lda, 1, p->work + at + width, lda);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, k, m, -1, behind, lda, behind, lda, 1,
                p->inverse + (at + width) * (cols + 1), lda);
    return STERNA_OK;
}

/* ---- the matrix ---- */

/* Errors of all rows; work is free now. */
static void measure(pt2 *p)
{
    size_t cols = p->cols;
    float *products = p->inverse; /* [cols] is enough */
    for (size_t r = 0; r < p->rows; r++) {
        sterna_compensated *result = &p->out->results[r];
        const float *w = p->w + r * cols;
        float *rest = p->work;
        *result = (sterna_compensated){0, 0, 0};
        sterna_fitted_row(p->out, r, rest);
        for (size_t i = 0; i < cols; i++) rest[i] = w[i] - rest[i];
        cblas_ssymv(CblasRowMajor, CblasUpper, (blasint)cols, 1, p->h, (blasint)cols, rest, 1, 0,
                    products, 1);
        result->error = dot(products, rest, cols);
        cblas_ssymv(CblasRowMajor, CblasUpper, (blasint)cols, 1, p->h, (blasint)cols, w, 1, 0,
                    products, 1);
        result->energy = dot(products, w, cols);
        for (size_t i = 0; i < cols; i++) result->zeros += p->out->codes[r * cols + i] == 0;
    }
}

static sterna_status run(pt2 *p, sterna_error *err)
{
    sterna_status status = invert(p, err);
    memcpy(p->work, p->w, p->rows * p->cols * sizeof *p->work);
    for (size_t i = 0; i < p->cols; i++) p->order[i] = (uint32_t)i;
    for (size_t at = 0; at < p->cols && !status; at += p->out->group) {
        size_t left = p->cols - at, width = left < p->out->group ? left : p->out->group;
        if (p->settings->order && left > width) status = reorder(p, at, width, err);
        if (status) return status;
        fit_levels(p, at, width);
        if (p->settings->refit) align_levels(p, at, width);
        store_block(p, at, width);
        status = move_error(p, at, width, err);
    }
    if (status) return status;
    if (p->settings->order) {
        p->out->order = p->order;
        p->order = NULL;
    }
    measure(p);
    return sterna_compensate_check_numbers(p->out, err);
}

sterna_status sterna_pt2(const float *w, float *h, const sterna_compensation *settings,
                         sterna_fitted *out, sterna_error *err)
{
    pt2 p = {
        .w = w, .h = h, .settings = settings, .out = out, .rows = out->rows, .cols = out->cols};
    sterna_status status = sterna_compensate_check(w, h, p.rows, p.cols, err);
    if (status) return status;
    size_t group = out->group < p.cols ? out->group : p.cols;
    if (!allocate(&p, group)) status = sterna_fail_memory(err, "a matrix");
    if (!status) status = run(&p, err);
    release(&p);
    return status;
}
