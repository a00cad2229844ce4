/* Second moments over calibration tokens, summed window by window: what a fit knows of its inputs.
 *
 * Products run as those of training (train/product.h): in bfloat16 where the processor has it. The
 * rounding of inputs, 2^-9 of each, averages out over the tokens as the inputs do, and h stays the
 * moments of inputs that might have been: it is negative in no direction.
 */
#ifndef STERNA_QUANT_MOMENTS_H
#define STERNA_QUANT_MOMENTS_H

#include "train/product.h"

/* Sums over tokens; d and pull are NULL where nothing needs them. */
typedef struct sterna_moments {
    size_t rows, cols;
    float *h;    /* [cols][cols]: of x x^T; its upper half, until sterna_moments_mirror */
    float *d;    /* [cols][cols]: of drift x^T */
    float *pull; /* [rows][cols]: of error x^T */
} sterna_moments;

/* Room for the same moments. */
sterna_status sterna_moments_new(const sterna_moments *like, sterna_moments *out,
                                 sterna_error *err);
void sterna_moments_free(sterna_moments *m); /* accepts zeroed ones */
void sterna_moments_clear(const sterna_moments *m);
/* sum += the parts of the first `active` processes, in their order. */
void sterna_moments_join(const sterna_moments *sum, const sterna_moments *part, size_t active);
/* h *= scale, with its lower half made from the upper one. */
void sterna_moments_mirror(const sterna_moments *m, float scale);

/* What takes the products, and a window's packed operands. */
typedef struct sterna_moment_adder {
    sterna_multiplier multiplier;
    sterna_packed inputs, left;
} sterna_moment_adder;

/* `features` as base/cpu.h. */
void sterna_moment_adder_init(sterna_moment_adder *adder, uint32_t features, int threads);
void sterna_moment_adder_free(sterna_moment_adder *adder);
/* A window's x[tokens][cols], drift[tokens][cols] and error[tokens][rows], the latter where they
 * are needed. */
sterna_status sterna_moments_add(sterna_moment_adder *adder, const sterna_moments *m,
                                 const float *x, const float *drift, const float *error,
                                 size_t tokens, sterna_error *err);

#endif
