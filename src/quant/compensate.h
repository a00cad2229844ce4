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

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { STERNA_TILE_ROWS = 64 };

typedef struct sterna_compensation {
    size_t group;  /* columns that share a scale; the last group of a row may be shorter */
    float damping; /* added to H's diagonal, as a share of its mean */
    int rounds;    /* of descent and refit after the columns and the first refit */
    int sweeps;    /* of descent in a round, at most */
    int threads;   /* >= 1 */
} sterna_compensation;

/* Damping 0.01, 3 rounds of 3 sweeps. */
sterna_compensation sterna_compensation_usual(size_t group, int threads);

/* What became of a row, in the norm of the damped H. */
typedef struct sterna_compensated {
    double error;   /* (w - q) H (w - q)^T */
    double energy;  /* w H w^T */
    uint64_t zeros; /* trits that are 0 */
} sterna_compensated;

/* The weights to aim for where the quantised model's inputs x have drifted away from the full
 * one's: W + (a W D + b C) (H + damping)^-1 into w[rows][cols], with D = mean of (x_full - x) x^T
 * [cols][cols] and C = mean of (r_full - r) x^T [rows][cols], r the residual stream that the
 * product is added to. c may be NULL. Zero D and C leave every bit of w. Needs memory for one more
 * H. */
sterna_status sterna_compensate_target(float *w, size_t rows, size_t cols, const float *h,
                                       const float *d, float a, const float *c, float b,
                                       const sterna_compensation *settings, sterna_error *err);

/* trits[rows][cols] and scales[rows][groups] for w; scales are float16 values >= 0. `h` comes back
 * damped. Fails when w or h holds NaN or infinity, when H is not positive definite even with more
 * damping, or when a scale exceeds float16. Needs memory for two more H. `results` [rows] may be
 * NULL. */
sterna_status sterna_compensate(const float *w, size_t rows, size_t cols, float *h,
                                const sterna_compensation *settings, int8_t *trits, float *scales,
                                sterna_compensated *results, sterna_error *err);

/* ---- the steps, for one tile of rows ---- */

typedef struct sterna_tile {
    size_t rows, cols, group, groups;
    const float *w;      /* [rows][cols] */
    const float *h;      /* [cols][cols], damped */
    int8_t *trits;       /* [rows][cols] */
    float *scales;       /* [rows][groups] */
    float *wh;           /* [rows][cols]: w H, by sterna_tile_begin */
    float *work, *other; /* [rows][cols] */
    double *normal;      /* [groups][groups + 3] */
    float *normals;      /* [rows][groups][groups] */
} sterna_tile;

/* Memory for a tile of up to `rows` rows; false when there is none. End accepts a zeroed tile. */
bool sterna_tile_new(sterna_tile *tile, size_t rows, size_t cols, size_t group);
void sterna_tile_free(sterna_tile *tile);
void sterna_tile_begin(sterna_tile *tile);
/* The best scale of every group for itself. */
void sterna_tile_grid(sterna_tile *tile);
/* Trits of the columns in `order` [cols], with the upper Cholesky factor [cols][cols] of H^-1 in
 * that order. */
void sterna_tile_columns(sterna_tile *tile, const uint32_t *order, const float *upper);
/* The scales of each row together; never raises the error. */
void sterna_tile_refit(sterna_tile *tile);
/* Up to `sweeps` passes over the trits, each changing those whose change lowers the error. Returns
 * how many changed in the last pass. */
uint64_t sterna_tile_descend(sterna_tile *tile, int sweeps);
void sterna_tile_measure(sterna_tile *tile, sterna_compensated *results); /* [rows] */

/* The order of falling diagonal, and the factor for it. */
sterna_status sterna_column_order(const float *h, size_t cols, uint32_t *order, sterna_error *err);
sterna_status sterna_inverse_factor(const float *h, size_t cols, const uint32_t *order,
                                    float *upper, sterna_error *err);

#endif
