#include "quant/compensate.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MORE_DAMPING = 3 }; /* times ten, so often, before a matrix is given up */

sterna_compensation sterna_compensation_usual(size_t group, int threads)
{
    return (sterna_compensation){.group = group,
                                 .levels = {-1, 1, false, false},
                                 .damping = 0.01f,
                                 .order = true,
                                 .columns = true,
                                 .refit = true,
                                 .rounds = 3,
                                 .sweeps = 3,
                                 .threads = threads};
}

size_t sterna_compensation_outliers(const sterna_compensation *settings, size_t cols)
{
    size_t count = (size_t)(settings->outliers * (double)cols + 0.5);
    if (settings->outliers > 0 && count == 0) count = 1;
    return count < cols ? count : cols;
}

static bool all_finite(const float *values, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++) {
        float sum = 0; /* NaN and infinity times zero are NaN, and stay */
        for (size_t i = 0; i < cols; i++) sum += values[r * cols + i] * 0.0f;
        if (sum != 0) return false;
    }
    return true;
}

/* The mean of H's diagonal; 1 where no input was ever different from zero. */
static double mean_diagonal(const float *h, size_t cols)
{
    double sum = 0;
    for (size_t i = 0; i < cols; i++) sum += (double)h[i * cols + i];
    return sum > 0 ? sum / (double)cols : 1;
}

static void add_diagonal(float *h, size_t cols, double value)
{
    for (size_t i = 0; i < cols; i++) h[i * cols + i] = (float)((double)h[i * cols + i] + value);
}

sterna_status sterna_compensate_fail_definite(sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "the inputs of a matrix leave no positive definite second moments; choose "
                       "more damping or other calibration text");
}

static float *copy_square(const float *h, size_t cols)
{
    size_t count;
    float *copy = sterna_mul_size(cols, cols, &count) ? sterna_alloc(count, sizeof *copy) : NULL;
    if (copy) memcpy(copy, h, count * sizeof *copy);
    return copy;
}

sterna_status sterna_compensate_target(float *w, size_t rows, size_t cols, const float *h,
                                       float *pull, const sterna_compensation *settings,
                                       sterna_error *err)
{
    float *factor = NULL;
    double damping = (double)settings->damping * mean_diagonal(h, cols);
    lapack_int n = (lapack_int)cols, failed = 1;
    for (int again = 0; failed && again <= MORE_DAMPING; again++, damping *= 10) {
        sterna_free(factor);
        factor = copy_square(h, cols);
        if (!factor) return sterna_fail_memory(err, "a matrix's target");
        add_diagonal(factor, cols, damping);
        failed = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'L', n, factor, n);
    }
    int blas = openblas_get_num_threads();
    openblas_set_num_threads(1); /* rows in fixed blocks: what becomes of one depends on no other */
#pragma omp parallel for schedule(dynamic, 1) num_threads(settings->threads)
    for (size_t first = 0; first < (failed ? 0 : rows); first += STERNA_TILE_ROWS) {
        size_t block = rows - first < STERNA_TILE_ROWS ? rows - first : STERNA_TILE_ROWS;
        LAPACKE_spotrs_work(LAPACK_COL_MAJOR, 'L', n, (lapack_int)block, factor, n,
                            pull + first * cols, n);
    }
    openblas_set_num_threads(blas);
    for (size_t i = 0; !failed && i < rows * cols; i++) w[i] += pull[i];
    sterna_free(factor);
    return failed ? sterna_compensate_fail_definite(err) : STERNA_OK;
}

typedef struct ranked {
    float value;
    uint32_t index;
} ranked;

static int by_value(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

sterna_status sterna_column_order(const float *h, size_t cols, uint32_t *order, sterna_error *err)
{
    ranked *ranks = sterna_alloc(cols, sizeof *ranks);
    if (!ranks) return sterna_fail_memory(err, "the order of a matrix's columns");
    for (size_t i = 0; i < cols; i++) ranks[i] = (ranked){h[i * cols + i], (uint32_t)i};
    qsort(ranks, cols, sizeof *ranks, by_value);
    for (size_t i = 0; i < cols; i++) order[i] = ranks[i].index;
    sterna_free(ranks);
    return STERNA_OK;
}

/* H^-1 = U^T U with U upper triangular. With the columns in reverse order H = L L^T, and L^-1 read
 * backwards is U: one factorisation and one triangular inverse, no inverse of H. */
sterna_status sterna_inverse_factor(const float *h, size_t cols, const uint32_t *order,
                                    float *upper, sterna_error *err)
{
    size_t count;
    float *lower = sterna_mul_size(cols, cols, &count) ? sterna_alloc(count, sizeof *lower) : NULL;
    if (!lower) return sterna_fail_memory(err, "the factor of a matrix's second moments");
    for (size_t i = 0; i < cols; i++)
        for (size_t k = 0; k < cols; k++)
            lower[i * cols + k] = h[(size_t)order[cols - 1 - i] * cols + order[cols - 1 - k]];
    /* column-major 'U' is row-major 'L': no copy is made */
    lapack_int n = (lapack_int)cols;
    lapack_int failed = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', n, lower, n);
    if (!failed) failed = LAPACKE_strtri_work(LAPACK_COL_MAJOR, 'U', 'N', n, lower, n);
    for (size_t i = 0; !failed && i < cols; i++)
        for (size_t k = 0; k < cols; k++)
            upper[i * cols + k] = k < i ? 0 : lower[(cols - 1 - i) * cols + cols - 1 - k];
    sterna_free(lower);
    return failed ? sterna_compensate_fail_definite(err) : STERNA_OK;
}

/* ---- outliers ---- */

/* The columns whose rounding would cost most become out->outlier_cols; places[cols] says which they
 * are. */
static sterna_status choose_outliers(const float *w, const float *h, sterna_fitted *out,
                                     int32_t *places, sterna_error *err)
{
    size_t cols = out->cols;
    ranked *ranks = sterna_alloc(cols, sizeof *ranks);
    if (!ranks) return sterna_fail_memory(err, "the outliers of a matrix");
    for (size_t i = 0; i < cols; i++) {
        double sum = 0;
        for (size_t r = 0; r < out->rows; r++)
            sum += (double)w[r * cols + i] * (double)w[r * cols + i];
        ranks[i] = (ranked){(float)(sum * (double)h[i * cols + i]), (uint32_t)i};
        places[i] = -1;
    }
    qsort(ranks, cols, sizeof *ranks, by_value);
    for (size_t k = 0; k < out->outliers; k++) places[ranks[k].index] = 0;
    int32_t place = 0;
    for (size_t i = 0; i < cols; i++) {
        if (places[i] < 0) continue;
        out->outlier_cols[place] = (uint32_t)i;
        places[i] = place++;
    }
    sterna_free(ranks);
    return STERNA_OK;
}

/* Moves the outliers to the front: the others make up for the little that rounding them costs. */
static void order_outliers(uint32_t *order, size_t cols, const int32_t *places)
{
    size_t last = cols;
    for (size_t i = cols; i-- > 0;) /* the others move back, in their order */
        if (places[order[i]] < 0) order[--last] = order[i];
    for (size_t i = 0; i < cols; i++)
        if (places[i] >= 0) order[places[i]] = (uint32_t)i;
}

/* ---- the whole matrix ---- */

/* What all tiles share. */
typedef struct job {
    const float *w, *h, *upper;
    const uint32_t *order;
    const int32_t *places; /* of the outliers; NULL = none */
    const sterna_compensation *settings;
    sterna_fitted *out;
} job;

static void run_tile(const job *j, sterna_tile *tile, size_t index)
{
    const sterna_compensation *s = j->settings;
    size_t first = index * STERNA_TILE_ROWS, left = j->out->rows - first;
    tile->h = j->h;
    tile->outliers = j->places;
    sterna_tile_begin(tile, j->out, j->w, first, left < STERNA_TILE_ROWS ? left : STERNA_TILE_ROWS);
    sterna_tile_grid(tile);
    if (s->columns)
        sterna_tile_columns(tile, j->order, j->upper);
    else
        sterna_tile_round(tile);
    if (s->refit) sterna_tile_refit(tile);
    for (int round = 0; round < s->rounds; round++) {
        sterna_tile_descend(tile, s->sweeps);
        if (s->refit) sterna_tile_refit(tile);
    }
    sterna_tile_measure(tile);
}

static sterna_status run_tiles(const job *j, sterna_error *err)
{
    size_t tiles = (j->out->rows + STERNA_TILE_ROWS - 1) / STERNA_TILE_ROWS;
    int threads = j->settings->threads, blas = openblas_get_num_threads();
    if ((size_t)threads > tiles) threads = (int)tiles;
    sterna_tile *memory = sterna_calloc((size_t)threads, sizeof *memory);
    bool complete = memory != NULL;
    for (int t = 0; complete && t < threads; t++)
        complete = sterna_tile_new(&memory[t], STERNA_TILE_ROWS, j->out);
    if (complete) {
        openblas_set_num_threads(1); /* each tile is one thread's */
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (size_t i = 0; i < tiles; i++) run_tile(j, &memory[omp_get_thread_num()], i);
        openblas_set_num_threads(blas);
    }
    for (int t = 0; memory && t < threads; t++) sterna_tile_free(&memory[t]);
    sterna_free(memory);
    return complete ? STERNA_OK : sterna_fail_memory(err, "the rows of a matrix");
}

/* Damps H, more if it must, and factors it in the order of the columns. */
static sterna_status factor_damped(float *h, size_t cols, const sterna_compensation *settings,
                                   const int32_t *places, uint32_t *order, float *upper,
                                   sterna_error *err)
{
    double step = (double)settings->damping * mean_diagonal(h, cols);
    sterna_status status = STERNA_OK;
    for (int again = 0; again <= MORE_DAMPING; again++, step *= 10) {
        add_diagonal(h, cols, step);
        if (settings->order)
            status = sterna_column_order(h, cols, order, err);
        else
            for (size_t i = 0; i < cols; i++) order[i] = (uint32_t)i;
        if (!status && places) order_outliers(order, cols, places);
        if (!status) status = sterna_inverse_factor(h, cols, order, upper, err);
        if (status != STERNA_ERROR_UNSUPPORTED) return status;
    }
    return status;
}

sterna_status sterna_compensate_check(const float *w, const float *h, size_t rows, size_t cols,
                                      sterna_error *err)
{
    if (!all_finite(w, rows, cols))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "a weight is not a finite number (NaN or infinity)");
    if (!all_finite(h, cols, cols))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "an input is not a finite number: the model overflows on the "
                           "calibration text");
    return STERNA_OK;
}

sterna_status sterna_compensate_check_numbers(const sterna_fitted *fitted, sterna_error *err)
{
    const float *const numbers[] = {fitted->scales, fitted->second_scales, fitted->shifts};
    bool finite = true;
    for (int k = 0; k < 3; k++)
        if (numbers[k]) finite &= all_finite(numbers[k], fitted->rows, fitted->groups);
    if (fitted->outlier_scales)
        finite &=
            all_finite(fitted->outlier_scales, fitted->rows, sterna_fitted_outlier_groups(fitted));
    if (finite) return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "a group of weights needs a scale that float16 cannot hold");
}

static void copy_diagonal(float *h, size_t cols, float *diagonal, bool back)
{
    for (size_t i = 0; i < cols; i++)
        if (back)
            h[i * cols + i] = diagonal[i];
        else
            diagonal[i] = h[i * cols + i];
}

sterna_status sterna_compensate(const float *w, float *h, const sterna_compensation *settings,
                                sterna_fitted *out, sterna_error *err)
{
    size_t cols = out->cols, square = 0;
    sterna_status status = sterna_compensate_check(w, h, out->rows, cols, err);
    if (status) return status;
    float *upper =
        sterna_mul_size(cols, cols, &square) ? sterna_alloc(square, sizeof *upper) : NULL;
    uint32_t *order = sterna_alloc(cols, sizeof *order);
    float *diagonal = sterna_alloc(cols, sizeof *diagonal);
    int32_t *places = sterna_alloc(cols, sizeof *places);
    if (!upper || !order || !diagonal || !places) {
        status = sterna_fail_memory(err, "a matrix");
        goto end;
    }
    copy_diagonal(h, cols, diagonal, false);
    if (out->outliers) status = choose_outliers(w, h, out, places, err);
    job j = {.w = w,
             .h = h,
             .upper = upper,
             .order = order,
             .places = out->outliers ? places : NULL,
             .settings = settings,
             .out = out};
    if (!status) status = factor_damped(h, cols, settings, j.places, order, upper, err);
    if (!status) status = run_tiles(&j, err);
    if (!status) status = sterna_compensate_check_numbers(out, err);
    copy_diagonal(h, cols, diagonal, true);
end:
    sterna_free(upper);
    sterna_free(order);
    sterna_free(diagonal);
    sterna_free(places);
    return status;
}
