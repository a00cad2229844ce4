/* What the calibrated fitters have in common: the values that a weight may take, and a matrix in
 * them. compensate.c (method sterna) and pt2.c (method pt2) fill it, propagate.c packs it.
 *
 * Weight [r][i] of group g is code * scale, plus second * second_scale with a second plane, plus a
 * shift; an outlier column adds its int8 value instead of a code. Numbers of a group are stored
 * [rows][groups] and are float16 values.
 */
#ifndef STERNA_QUANT_FITTED_H
#define STERNA_QUANT_FITTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ternary/native.h"

/* The values that the weights of a group can take. */
typedef struct sterna_levels {
    int low, high; /* codes: -1 and 1 are trits; where low is not -high a scale may be negative */
    bool second;   /* a second plane of trits with a scale of its own */
    bool shift;    /* a number added to every weight of the group */
} sterna_levels;

/* What a group's levels are made of. */
typedef struct sterna_grid {
    float scale, second, shift;
} sterna_grid;

typedef struct sterna_level {
    float value;
    int8_t code, second;
} sterna_level;

/* The level nearest to a value. */
sterna_level sterna_level_nearest(const sterna_levels *levels, const sterna_grid *grid,
                                  float value);
/* The grid of least squared error for a run of weights: exact for trits alone, else by alternating
 * levels and least squares (iterative ternary fitting with a shift, arXiv 2510.03267, eq. 8-10; two
 * planes, arXiv 2509.16989; uniform codes from a search over the largest weight's place). Numbers
 * are float16 values, infinite where float16 ends. `magnitudes` is work space for `count` floats.
 */
sterna_grid sterna_grid_fit(const sterna_levels *levels, const float *w, size_t count,
                            float *magnitudes);

/* What became of a row, in the norm of the damped H. */
typedef struct sterna_compensated {
    double error;   /* (w - q) H (w - q)^T */
    double energy;  /* w H w^T */
    uint64_t zeros; /* codes of the first plane that are 0 */
} sterna_compensated;

typedef struct sterna_fitted {
    size_t rows, cols, group, groups;
    sterna_levels levels;
    int8_t *codes, *second;                 /* [rows][cols]; second NULL without one */
    float *scales, *second_scales, *shifts; /* [rows][groups]; NULL where the levels have none */
    size_t outliers;
    uint32_t *outlier_cols; /* [outliers], rising */
    int8_t *outlier_codes;  /* [rows][outliers] */
    float *outlier_scales;  /* [rows][sterna_fitted_outlier_groups] */
    uint32_t *order; /* [cols]: stored column i is column order[i] of the matrix; NULL = as it is */
    sterna_compensated *results; /* [rows] */
} sterna_fitted;

/* Memory for all but the order; `outliers` columns are not chosen yet. False when there is none;
 * free accepts a zeroed one and what was made in part. */
bool sterna_fitted_new(sterna_fitted *out, size_t rows, size_t cols, size_t group,
                       const sterna_levels *levels, size_t outliers);
void sterna_fitted_free(sterna_fitted *fitted);
/* Every STERNA_OUTLIER_GROUP outliers of a row share a scale. */
size_t sterna_fitted_outlier_groups(const sterna_fitted *fitted);
/* A row's weights as floats [cols], in the order of the matrix. */
void sterna_fitted_row(const sterna_fitted *fitted, size_t row, float *out);

#endif
