/* exp and tanh as every kernel computes them: the same operations in the same order, so that vector
 * code returns the same bits. */
#ifndef STERNA_KERNELS_REF_MATH_REF_H
#define STERNA_KERNELS_REF_MATH_REF_H

#include <math.h>

#include "base/half.h"

#define STERNA_LOG2E      1.44269504f
#define STERNA_LN2_HIGH   0.693359375f /* 9 bits: n * LN2_HIGH is exact */
#define STERNA_LN2_LOW    -2.12194440e-4f
#define STERNA_EXP_MIN    -87.0f /* below: the smallest normal numbers, above: no infinity */
#define STERNA_EXP_MAX    88.0f
#define STERNA_ROUND_BITS 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */

/* e^x for x cut to -87..88; a NaN gives e^-87. Relative error below 2^-22. x = n ln 2 + r, |r| <=
 * 0.35; e^r by a polynomial of degree 6 (Cephes' expf), then the exponent is raised by n. */
static inline float sterna_exp(float x)
{
    x = x > STERNA_EXP_MIN ? x : STERNA_EXP_MIN;
    x = x < STERNA_EXP_MAX ? x : STERNA_EXP_MAX;
    float shifted = fmaf(x, STERNA_LOG2E, STERNA_ROUND_BITS), n = shifted - STERNA_ROUND_BITS;
    float r = fmaf(n, -STERNA_LN2_HIGH, x);
    r = fmaf(n, -STERNA_LN2_LOW, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    return sterna_bits_float(sterna_float_bits(p) + (sterna_float_bits(shifted) << 23));
}

/* tanh x = 1 - 2 / (e^2x + 1): absolute error below 2^-22. */
static inline float sterna_tanh(float x)
{
    return 1.0f - 2.0f / (sterna_exp(2.0f * x) + 1.0f);
}

#endif
