/* Trits and scales for one matrix whose inputs are known: each column's rounding error is moved to
 * the columns that can still make up for it.
 *
 * With H = mean of x x^T over calibration tokens, the error that a quantised row q of w causes in
 * the output is (w - q) H (w - q)^T. It is made small by: the best scale of every group on its own;
 * the columns one after another in order of falling H_jj, each error spread over the columns behind
 * it (optimal brain surgeon by Cholesky factor, as GPTQ does it: arXiv 2210.17323), with the groups
 * staying those of the stored order; all scales of a row refitted together; coordinate descent on
 * the trits. docs/QUANTIZATION.md has the formulas.
 *
 * Rows are independent. They are worked on in tiles of a fixed size, so that results do not depend
 * on the number of threads. Matrices are row-major; H is symmetric with both halves filled.
 */
#ifndef STERNA_QUANT_COMPENSATE_H
#define STERNA_QUANT_COMPENSATE_H

#include "quant/fitted.h"

enum { STERNA_TILE_ROWS = 64 };

typedef struct sterna_compensation {
    size_t group;         /* columns that share a scale; the last group of a row may be shorter */
    sterna_levels levels; /* what a weight can become */
    double outliers;      /* share of the columns that stay int8, those of largest H_jj |w_j|^2 */
    float damping;        /* added to H's diagonal, as a share of its mean */
    bool order;           /* columns in order of falling H_jj; else as they are stored */
    bool columns;         /* errors move on to other columns; else every weight is rounded */
    bool refit;           /* all scales of a row together */
    int rounds;           /* of descent and refit after the columns and the first refit */
    int sweeps;           /* of descent in a round, at most */
    int threads;          /* >= 1 */
} sterna_compensation;

/* Trits, damping 0.01, all steps, 3 rounds of 3 sweeps. */
sterna_compensation sterna_compensation_usual(size_t group, int threads);

/* The weights to aim for where the quantised model's inputs x have drifted away from the full
 * one's: w[rows][cols] += pull (H + damping)^-1, with pull [rows][cols] the mean of e x^T, e the
 * part of the error at the output that the matrix shall take back. What pull held is lost; a zero
 * one leaves every bit of w. Needs memory for one more H. */
sterna_status sterna_compensate_target(float *w, size_t rows, size_t cols, const float *h,
                                       float *pull, const sterna_compensation *settings,
                                       sterna_error *err);

/* Makes `out` for w[rows][cols], both known from `out`, which sterna_fitted_new has made for the
 * settings' group and levels and for sterna_compensation_outliers of its columns. Scales are
 * float16 values, those of symmetric codes >= 0. `h` comes back as it was. Fails when w or h holds
 * NaN or infinity, when H is not positive definite even with more damping, or when a scale exceeds
 * float16. Needs memory for two more H. */
sterna_status sterna_compensate(const float *w, float *h, const sterna_compensation *settings,
                                sterna_fitted *out, sterna_error *err);

/* How many of `cols` columns the settings keep as outliers: at least one where any is wanted. */
size_t sterna_compensation_outliers(const sterna_compensation *settings, size_t cols);

/* NaN or infinity in the weights or the second moments, as an error. */
sterna_status sterna_compensate_check(const float *w, const float *h, size_t rows, size_t cols,
                                      sterna_error *err);
sterna_status sterna_compensate_fail_definite(sterna_error *err);
/* A number of a group that float16 cannot hold, as an error. */
sterna_status sterna_compensate_check_numbers(const sterna_fitted *fitted, sterna_error *err);

/* ---- the steps, for one tile of rows ---- */

typedef struct sterna_tile {
    sterna_fitted to;        /* the tile's rows of what is made; it owns none of its arrays */
    const float *w;          /* [rows][cols] */
    const float *h;          /* [cols][cols], damped */
    const int32_t *outliers; /* [cols]: a column's place among the outliers, or -1; NULL = none */
    size_t bases;            /* numbers of a group: 1 to 3 */
    float *rest;             /* [rows][cols]: what the levels stand for: w less the outliers */
    float *wh;               /* [rows][cols]: rest H */
    float *work, *other;     /* [rows][cols] */
    float *factors;          /* [bases][rows][cols]: what the numbers are multiplied by */
    double *normal;          /* [unknowns][unknowns + 3], unknowns = groups * bases */
    float *normals;          /* [rows][unknowns][unknowns] */
    double *energy;          /* [rows]: w H w^T */
} sterna_tile;

/* Memory for tiles of up to `rows` rows of `whole`; false when there is none. Free accepts a zeroed
 * tile. */
bool sterna_tile_new(sterna_tile *tile, size_t rows, const sterna_fitted *whole);
void sterna_tile_free(sterna_tile *tile);
/* Turns to rows [first, first + rows) of `whole`; w is that of the whole matrix. h and outliers are
 * set. */
void sterna_tile_begin(sterna_tile *tile, const sterna_fitted *whole, const float *w, size_t first,
                       size_t rows);
/* The best levels of every group for itself, outliers left out. */
void sterna_tile_grid(sterna_tile *tile);
/* Every weight to the nearest of its levels. */
void sterna_tile_round(sterna_tile *tile);
/* Codes of the columns in `order` [cols], with the upper Cholesky factor [cols][cols] of H^-1 in
 * that order. */
void sterna_tile_columns(sterna_tile *tile, const uint32_t *order, const float *upper);
/* The numbers of each row together; never raises the error. */
void sterna_tile_refit(sterna_tile *tile);
/* Up to `sweeps` passes over the codes, each changing those whose change lowers the error. Returns
 * how many changed in the last pass. */
uint64_t sterna_tile_descend(sterna_tile *tile, int sweeps);
void sterna_tile_measure(sterna_tile *tile);

/* The order of falling diagonal, and the factor for it. */
sterna_status sterna_column_order(const float *h, size_t cols, uint32_t *order, sterna_error *err);
sterna_status sterna_inverse_factor(const float *h, size_t cols, const uint32_t *order,
                                    float *upper, sterna_error *err);

#endif
