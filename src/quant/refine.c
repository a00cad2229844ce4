/* The steps of error compensation on a tile of rows. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"
#include "quant/compensate.h"
#include "quant/fit.h"

enum { BLOCK = 64 }; /* columns whose errors reach the columns behind them in one product */

/* c[m][n] = beta c + alpha a[m][k] b[k][n] */
static void multiply(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
                     const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (m && n && k)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m, (blasint)n, (blasint)k,
                    alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

static size_t group_end(const sterna_tile *tile, size_t group)
{
    size_t end = (group + 1) * tile->group;
    return end < tile->cols ? end : tile->cols;
}

static float *new_floats(size_t a, size_t b)
{
    size_t count;
    return sterna_mul_size(a, b, &count) ? sterna_alloc(count, sizeof(float)) : NULL;
}

bool sterna_tile_new(sterna_tile *tile, size_t rows, size_t cols, size_t group)
{
    size_t groups = (cols + group - 1) / group, square = 0;
    *tile = (sterna_tile){.rows = rows, .cols = cols, .group = group, .groups = groups};
    if (!sterna_mul_size(groups, groups, &square)) return false;
    tile->wh = new_floats(rows, cols);
    tile->work = new_floats(rows, cols);
    tile->other = new_floats(rows, cols);
    tile->normals = new_floats(rows, square);
    tile->normal = sterna_alloc(groups + 3, groups * sizeof(double));
    return tile->wh && tile->work && tile->other && tile->normals && tile->normal;
}

void sterna_tile_free(sterna_tile *tile)
{
    sterna_free(tile->wh);
    sterna_free(tile->work);
    sterna_free(tile->other);
    sterna_free(tile->normals);
    sterna_free(tile->normal);
}

void sterna_tile_begin(sterna_tile *tile)
{
    multiply(tile->rows, tile->cols, tile->cols, 1, tile->w, tile->cols, tile->h, tile->cols, 0,
             tile->wh, tile->cols);
}

void sterna_tile_grid(sterna_tile *tile)
{
    for (size_t r = 0; r < tile->rows; r++) {
        float *magnitudes = tile->work + r * tile->cols;
        sterna_fit_magnitudes(tile->w + r * tile->cols, tile->cols, magnitudes);
        for (size_t g = 0; g < tile->groups; g++) {
            size_t begin = g * tile->group, count = group_end(tile, g) - begin;
            tile->scales[r * tile->groups + g] =
                sterna_fit_round(sterna_fit_scale(STERNA_FIT_ITF, magnitudes + begin, count));
        }
    }
}

static float nearest_trit(float value)
{
    return rintf(fminf(fmaxf(value, -1), 1));
}

/* Columns [begin, end) of one row in processing order. */
static void row_columns(const sterna_tile *tile, size_t r, const uint32_t *order,
                        const float *upper, size_t begin, size_t end, float *errors)
{
    float *w = tile->work + r * tile->cols;
    const float *scales = tile->scales + r * tile->groups;
    int8_t *trits = tile->trits + r * tile->cols;
    for (size_t i = begin; i < end; i++) {
        const float *factor = upper + i * tile->cols;
        float scale = scales[order[i] / tile->group];
        float trit = scale > 0 ? nearest_trit(w[i] / scale) : 0;
        float error = (w[i] - scale * trit) / factor[i];
        trits[order[i]] = (int8_t)trit;
        errors[i - begin] = error;
        for (size_t k = i + 1; k < end; k++) w[k] -= error * factor[k];
    }
}

void sterna_tile_columns(sterna_tile *tile, const uint32_t *order, const float *upper)
{
    size_t cols = tile->cols;
    for (size_t r = 0; r < tile->rows; r++)
        for (size_t i = 0; i < cols; i++) tile->work[r * cols + i] = tile->w[r * cols + order[i]];
    for (size_t begin = 0; begin < cols; begin += BLOCK) {
        size_t end = begin + BLOCK < cols ? begin + BLOCK : cols, width = end - begin;
        for (size_t r = 0; r < tile->rows; r++)
            row_columns(tile, r, order, upper, begin, end, tile->other + r * width);
        multiply(tile->rows, cols - end, width, -1, tile->other, width, upper + begin * cols + end,
                 cols, 1, tile->work + end, cols);
    }
}

static void trits_to_floats(const sterna_tile *tile, bool scaled, float *out)
{
    for (size_t r = 0; r < tile->rows; r++)
        for (size_t g = 0; g < tile->groups; g++) {
            float scale = scaled ? tile->scales[r * tile->groups + g] : 1;
            for (size_t i = g * tile->group; i < group_end(tile, g); i++)
                out[r * tile->cols + i] = scale * (float)tile->trits[r * tile->cols + i];
        }
}

/* ---- scales ---- */

static float dot(const float *a, const float *b, size_t count)
{
    return cblas_sdot((blasint)count, a, 1, b, 1);
}

/* normals[r][g][h >= g] = t_g H t_h, t_g the trits of group g. */
static void make_normals(sterna_tile *tile, const float *trits, float *products)
{
    size_t cols = tile->cols, groups = tile->groups;
    for (size_t g = 0; g < groups; g++) {
        size_t begin = g * tile->group, width = group_end(tile, g) - begin;
        multiply(tile->rows, cols - begin, width, 1, trits + begin, cols,
                 tile->h + begin * cols + begin, cols, 0, products + begin, cols);
        for (size_t r = 0; r < tile->rows; r++)
            for (size_t k = g; k < groups; k++) {
                size_t at = r * cols + k * tile->group;
                tile->normals[(r * groups + g) * groups + k] =
                    dot(products + at, trits + at, group_end(tile, k) - k * tile->group);
            }
    }
}

/* c A c - 2 b c: the error but for a constant. */
static double objective(const float *upper, const double *b, const double *c, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double row = 0.5 * (double)upper[i * n + i] * c[i] - b[i];
        for (size_t k = i + 1; k < n; k++) row += (double)upper[i * n + k] * c[k];
        sum += 2 * c[i] * row;
    }
    return sum;
}

/* Least squares for one row: (A + r) c = b + r c_old; the small r keeps groups without a nonzero
 * trit where they are. A scale is rounded as soon as it is known, so that those found after it make
 * up for its rounding. */
static void solve_row(sterna_tile *tile, size_t row, const double *b, const double *old, double *c)
{
    size_t n = tile->groups;
    const float *a = tile->normals + row * n * n;
    double *l = tile->normal; /* A + r = L^T L', by rows of the upper factor */
    double trace = 0;
    for (size_t i = 0; i < n; i++) trace += (double)a[i * n + i];
    double ridge = 1e-5 * trace / (double)n + 1e-30;
    for (size_t i = 0; i < n; i++) c[i] = b[i] + ridge * old[i];
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i; k < n; k++) {
            double sum = (double)a[i * n + k] + (k == i ? ridge : 0);
            for (size_t j = 0; j < i; j++) sum -= l[j * n + i] * l[j * n + k];
            if (k == i)
                l[i * n + i] = sqrt(fmax(sum, ridge * 0.5));
            else
                l[i * n + k] = sum / l[i * n + i];
        }
        for (size_t j = 0; j < i; j++) c[i] -= l[j * n + i] * c[j];
        c[i] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++) c[i] -= l[i * n + k] * c[k];
        c[i] = (double)sterna_fit_round(c[i] / l[i * n + i]);
    }
}

static void refit_row(sterna_tile *tile, size_t row)
{
    size_t n = tile->groups, cols = tile->cols;
    double *b = tile->normal + n * n, *c = b + n, *old = c + n;
    float *scales = tile->scales + row * n;
    int8_t *trits = tile->trits + row * cols;
    for (size_t g = 0; g < n; g++) {
        double sum = 0;
        for (size_t i = g * tile->group; i < group_end(tile, g); i++)
            sum += (double)tile->wh[row * cols + i] * trits[i];
        b[g] = sum;
        old[g] = (double)scales[g];
    }
    solve_row(tile, row, b, old, c);
    const float *a = tile->normals + row * n * n;
    double lower = objective(a, b, c, n);
    if (!(lower <= objective(a, b, old, n))) return; /* rounding took more than there was to gain */
    for (size_t g = 0; g < n; g++) {
        scales[g] = (float)fabs(c[g]);
        if (c[g] < 0)
            for (size_t i = g * tile->group; i < group_end(tile, g); i++)
                trits[i] = (int8_t)-trits[i];
    }
}

void sterna_tile_refit(sterna_tile *tile)
{
    trits_to_floats(tile, false, tile->work);
    make_normals(tile, tile->work, tile->other);
    for (size_t r = 0; r < tile->rows; r++) refit_row(tile, r);
}

/* ---- trits ---- */

/* work = (w - q) H: half the negative gradient. */
static void make_gradient(sterna_tile *tile)
{
    trits_to_floats(tile, true, tile->other);
    memcpy(tile->work, tile->wh, tile->rows * tile->cols * sizeof(float));
    multiply(tile->rows, tile->cols, tile->cols, -1, tile->other, tile->cols, tile->h, tile->cols,
             1, tile->work, tile->cols);
}

static uint64_t sweep_row(const sterna_tile *tile, size_t row)
{
    size_t cols = tile->cols;
    float *gradient = tile->work + row * cols;
    int8_t *trits = tile->trits + row * cols;
    uint64_t changed = 0;
    for (size_t g = 0; g < tile->groups; g++) {
        float scale = tile->scales[row * tile->groups + g];
        if (scale == 0) continue;
        for (size_t i = g * tile->group; i < group_end(tile, g); i++) {
            float curvature = tile->h[i * cols + i], trit = (float)trits[i];
            /* the error is a parabola in the trit: the nearest to its lowest point is the best */
            float best = nearest_trit(trit + gradient[i] / (scale * curvature));
            if (best == trit) continue;
            trits[i] = (int8_t)best;
            cblas_saxpy((blasint)cols, -scale * (best - trit), tile->h + i * cols, 1, gradient, 1);
            changed++;
        }
    }
    return changed;
}

uint64_t sterna_tile_descend(sterna_tile *tile, int sweeps)
{
    make_gradient(tile);
    uint64_t last = 0;
    for (size_t r = 0; r < tile->rows; r++) {
        uint64_t changed = 1;
        for (int sweep = 0; sweep < sweeps && changed; sweep++) changed = sweep_row(tile, r);
        last += sweeps > 0 ? changed : 0;
    }
    return last;
}

void sterna_tile_measure(sterna_tile *tile, sterna_compensated *results)
{
    make_gradient(tile); /* and other = q */
    for (size_t r = 0; r < tile->rows; r++) {
        results[r] = (sterna_compensated){0, 0, 0};
        for (size_t i = r * tile->cols; i < (r + 1) * tile->cols; i++) {
            results[r].error += (double)tile->work[i] * (double)(tile->w[i] - tile->other[i]);
            results[r].energy += (double)tile->wh[i] * (double)tile->w[i];
            results[r].zeros += tile->trits[i] == 0;
        }
    }
}
