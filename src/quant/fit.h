/* Fitting trits and one scale to a run of weights: the smallest step of every quantizer.
 *
 * Data-free: each run is fitted for itself, min ||w - a t||^2 over t in {-1, 0, +1}^n and a >= 0.
 * Calibrated methods use the same fits as their start.
 */
#ifndef STERNA_QUANT_FIT_H
#define STERNA_QUANT_FIT_H

#include <stddef.h>
#include <stdint.h>

typedef enum sterna_fit_method {
    STERNA_FIT_ITF,     /* least squares, exactly: the best of all fixed points of iterative ternary
                           fitting (arXiv 2510.03267, eq. 8-10, without the shift) */
    STERNA_FIT_ABSMEAN, /* a = mean|w|, t = RoundClip(w / a): BitNet b1.58, arXiv 2402.17764 */
    STERNA_FIT_TWN      /* nonzero above 0.7 mean|w|, a = the mean of those: arXiv 1605.04711 */
} sterna_fit_method;

/* The weights whose magnitude is at least a threshold. */
typedef struct sterna_fit_part {
    double sum; /* of their magnitudes */
    uint64_t count;
} sterna_fit_part;

/* What became of a run. */
typedef struct sterna_fit_result {
    double error, energy; /* ||w - a t||^2 and ||w||^2 */
    uint64_t zeros;       /* trits that are 0 */
} sterna_fit_result;

/* Writes |w| to `magnitudes` (which may be w). Returns the largest; NaN or infinity when any weight
 * is. */
float sterna_fit_magnitudes(const float *w, size_t count, float *magnitudes);

sterna_fit_part sterna_fit_above(const float *magnitudes, size_t count, float threshold);

/* The scale of a run of finite weights from its magnitudes, not yet rounded. Magnitudes may be
 * reordered. */
double sterna_fit_scale(sterna_fit_method method, float *magnitudes, size_t count);

/* The magnitude above which a weight becomes nonzero, for a run whose mean magnitude and scale are
 * known; `stored` is what the scale becomes in the file. */
float sterna_fit_threshold(sterna_fit_method method, double mean, double scale, float stored);

/* What a scale becomes in the file: float16. 0 where it underflows, infinity where it overflows. */
float sterna_fit_round(double scale);

/* Trits of a run whose scale is known: |w| > threshold gives a nonzero. For least squares the
 * threshold is half the scale. Adds to *result. */
void sterna_fit_assign(const float *w, size_t count, float scale, float threshold, int8_t *trits,
                       sterna_fit_result *result);

#endif
