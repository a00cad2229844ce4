/* Block types that are small integers with a scale and a minimum per group of 32 columns:
 *   weight = code * scale + min.
 * What the device needs to run them as they are, instead of through floats. */
#ifndef STERNA_TERNARY_AFFINE_H
#define STERNA_TERNARY_AFFINE_H

#include "ternary/tensor.h"

typedef struct sterna_affine {
    uint32_t group; /* columns per scale: 32 */
    uint32_t bits;  /* codes are 0 .. 2^bits - 1 (4, 5), or signed (8) */
    int32_t zero;   /* the code of zero where there are no minimums: Q4_0 8, Q5_0 16, Q8_0 0 */
    bool has_min;   /* Q4_1, Q5_1; otherwise weight = (code - zero) * scale */
} sterna_affine;

/* What a type is in these terms; false for all but Q8_0, Q4_0, Q4_1, Q5_0, Q5_1. */
bool sterna_affine_describe(sterna_type type, sterna_affine *out);

/* One row: codes[cols], scales[cols / 32], mins[cols / 32] (untouched unless has_min). Scales may
 * be NaN or infinite: the caller checks. */
void sterna_affine_row(const sterna_tensor *tensor, uint64_t row, int8_t *codes, float *scales,
                       float *mins);

#endif
