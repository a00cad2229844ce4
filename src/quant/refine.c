/* The steps of error compensation on a tile of rows. */
#include <cblas.h>
#include <math.h>
#include <string.h>

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
    size_t end = (group + 1) * tile->to.group;
    return end < tile->to.cols ? end : tile->to.cols;
}

bool sterna_tile_new(sterna_tile *tile, size_t rows, const sterna_fitted *whole)
{
    size_t bases = 1u + whole->levels.second + whole->levels.shift, square = 0;
    size_t unknowns = whole->groups * bases;
    *tile = (sterna_tile){.bases = bases};
    if (!sterna_mul_size(unknowns, unknowns, &square)) return false;
    tile->rest = sterna_alloc_floats(rows, whole->cols);
    tile->wh = sterna_alloc_floats(rows, whole->cols);
    tile->work = sterna_alloc_floats(rows, whole->cols);
    tile->other = sterna_alloc_floats(rows, whole->cols);
    tile->factors = sterna_alloc_floats(rows * bases, whole->cols);
    tile->normals = sterna_alloc_floats(rows, square);
    tile->normal = sterna_alloc(unknowns + 3, unknowns * sizeof(double));
    tile->energy = sterna_alloc(rows, sizeof *tile->energy);
    return tile->rest && tile->wh && tile->work && tile->other && tile->factors && tile->normals &&
           tile->normal && tile->energy;
}

void sterna_tile_free(sterna_tile *tile)
{
    sterna_free(tile->rest);
    sterna_free(tile->wh);
    sterna_free(tile->work);
    sterna_free(tile->other);
    sterna_free(tile->factors);
    sterna_free(tile->normals);
    sterna_free(tile->normal);
    sterna_free(tile->energy);
}

/* wh = rest H */
static void multiply_rest(sterna_tile *tile)
{
    size_t cols = tile->to.cols;
    multiply(tile->to.rows, cols, cols, 1, tile->rest, cols, tile->h, cols, 0, tile->wh, cols);
}

void sterna_tile_begin(sterna_tile *tile, const sterna_fitted *whole, const float *w, size_t first,
                       size_t rows)
{
    size_t cols = whole->cols, numbers = first * whole->groups;
    tile->to = *whole;
    tile->to.rows = rows;
    tile->to.codes += first * cols;
    tile->to.scales += numbers;
    tile->to.results += first;
    if (whole->second) {
        tile->to.second += first * cols;
        tile->to.second_scales += numbers;
    }
    if (whole->shifts) tile->to.shifts += numbers;
    if (whole->outliers) {
        tile->to.outlier_codes += first * whole->outliers;
        tile->to.outlier_scales += first * sterna_fitted_outlier_groups(whole);
    }
    tile->w = w + first * cols;
    memcpy(tile->rest, tile->w, rows * cols * sizeof *tile->rest);
    multiply_rest(tile);
    for (size_t r = 0; r < rows; r++) {
        tile->energy[r] = 0;
        for (size_t i = r * cols; i < (r + 1) * cols; i++)
            tile->energy[r] += (double)tile->wh[i] * (double)tile->w[i];
    }
}

static sterna_grid get_grid(const sterna_tile *tile, size_t row, size_t group)
{
    size_t at = row * tile->to.groups + group;
    sterna_grid grid = {tile->to.scales[at], 0, 0};
    if (tile->to.second) grid.second = tile->to.second_scales[at];
    if (tile->to.shifts) grid.shift = tile->to.shifts[at];
    return grid;
}

static void set_level(sterna_tile *tile, size_t at, sterna_level level)
{
    tile->to.codes[at] = level.code;
    if (tile->to.second) tile->to.second[at] = level.second;
}

static float *outlier_scale(const sterna_tile *tile, size_t row, size_t place)
{
    return tile->to.outlier_scales + row * sterna_fitted_outlier_groups(&tile->to) +
           place / STERNA_OUTLIER_GROUP;
}

/* int8 steps for the row's outliers. */
static void fit_outliers(sterna_tile *tile, size_t row)
{
    for (size_t k = 0; k < tile->to.outliers; k += STERNA_OUTLIER_GROUP) {
        float largest = 0;
        for (size_t i = k; i < tile->to.outliers && i < k + STERNA_OUTLIER_GROUP; i++)
            largest =
                fmaxf(largest, fabsf(tile->w[row * tile->to.cols + tile->to.outlier_cols[i]]));
        *outlier_scale(tile, row, k) = sterna_fit_round((double)largest / 127);
    }
}

void sterna_tile_grid(sterna_tile *tile)
{
    size_t cols = tile->to.cols;
    for (size_t r = 0; r < tile->to.rows; r++) {
        const float *w = tile->w + r * cols;
        float *run = tile->work, *magnitudes = tile->other;
        if (tile->outliers) fit_outliers(tile, r);
        for (size_t g = 0; g < tile->to.groups; g++) {
            size_t count = 0, at = r * tile->to.groups + g;
            for (size_t i = g * tile->to.group; i < group_end(tile, g); i++)
                if (!tile->outliers || tile->outliers[i] < 0) run[count++] = w[i];
            sterna_grid grid = sterna_grid_fit(&tile->to.levels, run, count, magnitudes);
            tile->to.scales[at] = grid.scale;
            if (tile->to.second) tile->to.second_scales[at] = grid.second;
            if (tile->to.shifts) tile->to.shifts[at] = grid.shift;
        }
    }
}

/* ---- columns ---- */

/* The outlier's int8 value beside a shift that its group has anyway. */
static float round_outlier(sterna_tile *tile, size_t row, size_t place, float value, float shift)
{
    float scale = *outlier_scale(tile, row, place);
    float code = scale > 0 ? rintf(fminf(fmaxf((value - shift) / scale, -127), 127)) : 0;
    tile->to.outlier_codes[row * tile->to.outliers + place] = (int8_t)code;
    return shift + scale * code;
}

/* Rounds column i of a row; returns what it became. */
static float round_column(sterna_tile *tile, size_t row, size_t i, float value)
{
    sterna_grid grid = get_grid(tile, row, i / tile->to.group);
    if (tile->outliers && tile->outliers[i] >= 0) {
        set_level(tile, row * tile->to.cols + i, (sterna_level){0, 0, 0});
        return round_outlier(tile, row, (size_t)tile->outliers[i], value, grid.shift);
    }
    sterna_level level = sterna_level_nearest(&tile->to.levels, &grid, value);
    set_level(tile, row * tile->to.cols + i, level);
    return level.value;
}

/* Columns [begin, end) of one row in processing order. */
static void row_columns(sterna_tile *tile, size_t r, const uint32_t *order, const float *upper,
                        size_t begin, size_t end, float *errors)
{
    float *w = tile->work + r * tile->to.cols;
    for (size_t i = begin; i < end; i++) {
        const float *factor = upper + i * tile->to.cols;
        float error = (w[i] - round_column(tile, r, order[i], w[i])) / factor[i];
        errors[i - begin] = error;
        for (size_t k = i + 1; k < end; k++) w[k] -= error * factor[k];
    }
}

/* Takes the outliers out of what the levels stand for. */
static void subtract_outliers(sterna_tile *tile)
{
    if (!tile->outliers) return;
    size_t count = tile->to.outliers;
    for (size_t r = 0; r < tile->to.rows; r++)
        for (size_t k = 0; k < count; k++)
            tile->rest[r * tile->to.cols + tile->to.outlier_cols[k]] -=
                *outlier_scale(tile, r, k) * (float)tile->to.outlier_codes[r * count + k];
    multiply_rest(tile);
}

void sterna_tile_round(sterna_tile *tile)
{
    size_t cols = tile->to.cols;
    for (size_t r = 0; r < tile->to.rows; r++)
        for (size_t i = 0; i < cols; i++) round_column(tile, r, i, tile->w[r * cols + i]);
    subtract_outliers(tile);
}

void sterna_tile_columns(sterna_tile *tile, const uint32_t *order, const float *upper)
{
    size_t cols = tile->to.cols, rows = tile->to.rows;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i++) tile->work[r * cols + i] = tile->w[r * cols + order[i]];
    for (size_t begin = 0; begin < cols; begin += BLOCK) {
        size_t end = begin + BLOCK < cols ? begin + BLOCK : cols, width = end - begin;
        for (size_t r = 0; r < rows; r++)
            row_columns(tile, r, order, upper, begin, end, tile->other + r * width);
        multiply(rows, cols - end, width, -1, tile->other, width, upper + begin * cols + end, cols,
                 1, tile->work + end, cols);
    }
    subtract_outliers(tile);
}

/* ---- the numbers of the groups ---- */

static float dot(const float *a, const float *b, size_t count)
{
    return cblas_sdot((blasint)count, a, 1, b, 1);
}

/* factors[b]: what the b-th number of a group is multiplied by in each column. */
static void make_factors(sterna_tile *tile)
{
    size_t count = tile->to.rows * tile->to.cols, at = 0;
    const int8_t *const planes[] = {tile->to.codes, tile->to.second};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; planes[k] && i < count; i++) tile->factors[at++] = (float)planes[k][i];
    for (size_t i = 0; tile->to.shifts && i < count; i++) tile->factors[at++] = 1;
}

/* normals[r][u][v >= u] = f_u H f_v with f_u the factors of unknown u = group * bases + basis. */
static void make_normals(sterna_tile *tile)
{
    size_t cols = tile->to.cols, rows = tile->to.rows, bases = tile->bases;
    size_t groups = tile->to.groups, unknowns = groups * bases;
    float *products = tile->other;
    for (size_t u = 0; u < unknowns; u++) {
        size_t g = u / bases, begin = g * tile->to.group, width = group_end(tile, g) - begin;
        const float *factor = tile->factors + u % bases * rows * cols;
        multiply(rows, cols - begin, width, 1, factor + begin, cols, tile->h + begin * cols + begin,
                 cols, 0, products + begin, cols);
        for (size_t r = 0; r < rows; r++)
            for (size_t v = u; v < unknowns; v++) {
                size_t k = v / bases, at = r * cols + k * tile->to.group;
                tile->normals[(r * unknowns + u) * unknowns + v] =
                    dot(products + at, tile->factors + v % bases * rows * cols + at,
                        group_end(tile, k) - k * tile->to.group);
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
 * code where they are. A number is rounded as soon as it is known, so that those found after it
 * make up for its rounding. */
static void solve_row(sterna_tile *tile, size_t row, const double *b, const double *old, double *c)
{
    size_t n = tile->to.groups * tile->bases;
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

/* Where number u of a row is kept. */
static float *number_at(const sterna_tile *tile, size_t row, size_t u)
{
    size_t at = row * tile->to.groups + u / tile->bases, basis = u % tile->bases;
    if (basis == 0) return tile->to.scales + at;
    return (basis == 1 && tile->to.second ? tile->to.second_scales : tile->to.shifts) + at;
}

/* Stores a number; a negative scale of symmetric codes turns their signs. */
static void set_number(sterna_tile *tile, size_t row, size_t u, float value)
{
    size_t g = u / tile->bases, basis = u % tile->bases;
    int8_t *codes = basis == 0 ? tile->to.codes : basis == 1 ? tile->to.second : NULL;
    if (basis == 0 && tile->to.levels.low != -tile->to.levels.high) codes = NULL;
    *number_at(tile, row, u) = codes ? fabsf(value) : value;
    if (!codes || value >= 0) return;
    codes += row * tile->to.cols;
    for (size_t i = g * tile->to.group; i < group_end(tile, g); i++) codes[i] = (int8_t)-codes[i];
}

static void refit_row(sterna_tile *tile, size_t row)
{
    size_t n = tile->to.groups * tile->bases, cols = tile->to.cols, rows = tile->to.rows;
    double *b = tile->normal + n * n, *c = b + n, *old = c + n;
    for (size_t u = 0; u < n; u++) {
        const float *factor = tile->factors + (u % tile->bases * rows + row) * cols;
        double sum = 0;
        for (size_t i = u / tile->bases * tile->to.group; i < group_end(tile, u / tile->bases); i++)
            sum += (double)tile->wh[row * cols + i] * (double)factor[i];
        b[u] = sum;
        old[u] = (double)*number_at(tile, row, u);
    }
    solve_row(tile, row, b, old, c);
    const float *a = tile->normals + row * n * n;
    double lower = objective(a, b, c, n);
    if (!(lower <= objective(a, b, old, n))) return; /* rounding took more than there was to gain */
    for (size_t u = 0; u < n; u++) set_number(tile, row, u, (float)c[u]);
}

void sterna_tile_refit(sterna_tile *tile)
{
    make_factors(tile);
    make_normals(tile);
    for (size_t r = 0; r < tile->to.rows; r++) refit_row(tile, r);
}

/* ---- codes ---- */

/* other = q without the outliers, work = (rest - q) H: half the negative gradient. */
static void make_gradient(sterna_tile *tile)
{
    size_t cols = tile->to.cols, rows = tile->to.rows;
    sterna_fitted plain = tile->to;
    plain.outliers = 0;
    for (size_t r = 0; r < rows; r++) sterna_fitted_row(&plain, r, tile->other + r * cols);
    memcpy(tile->work, tile->wh, rows * cols * sizeof(float));
    multiply(rows, cols, cols, -1, tile->other, cols, tile->h, cols, 1, tile->work, cols);
}

static uint64_t sweep_row(sterna_tile *tile, size_t row)
{
    size_t cols = tile->to.cols;
    float *gradient = tile->work + row * cols, *values = tile->other + row * cols;
    uint64_t changed = 0;
    for (size_t i = 0; i < cols; i++) {
        if (tile->outliers && tile->outliers[i] >= 0) continue;
        sterna_grid grid = get_grid(tile, row, i / tile->to.group);
        /* the error is a parabola in the value: the level nearest to its lowest point is the best
         */
        float lowest = values[i] + gradient[i] / tile->h[i * cols + i];
        sterna_level best = sterna_level_nearest(&tile->to.levels, &grid, lowest);
        float step = best.value - values[i];
        if (step == 0) continue;
        set_level(tile, row * cols + i, best);
        values[i] = best.value;
        cblas_saxpy((blasint)cols, -step, tile->h + i * cols, 1, gradient, 1);
        changed++;
    }
    return changed;
}

uint64_t sterna_tile_descend(sterna_tile *tile, int sweeps)
{
    make_gradient(tile);
    uint64_t last = 0;
    for (size_t r = 0; r < tile->to.rows; r++) {
        uint64_t changed = 1;
        for (int sweep = 0; sweep < sweeps && changed; sweep++) changed = sweep_row(tile, r);
        last += sweeps > 0 ? changed : 0;
    }
    return last;
}

void sterna_tile_measure(sterna_tile *tile)
{
    size_t cols = tile->to.cols;
    make_gradient(tile);
    for (size_t r = 0; r < tile->to.rows; r++) {
        sterna_compensated *result = &tile->to.results[r];
        *result = (sterna_compensated){0, tile->energy[r], 0};
        for (size_t i = r * cols; i < (r + 1) * cols; i++) {
            result->error += (double)tile->work[i] * (double)(tile->rest[i] - tile->other[i]);
            result->zeros += tile->to.codes[i] == 0;
        }
    }
}
