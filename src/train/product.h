/* Products of float matrices over all threads: what training and calibration spend their time on.
 *
 * c[i][j] (+)= sum over k of a(i, k) * b(j, k). On processors with bfloat16 products both operands
 * are rounded to bfloat16 and summed in float32, four times as fast; elsewhere OpenBLAS multiplies
 * float32. An operand is packed once and used in several products. Every sum is one thread's, so
 * that results do not depend on the number of threads.
 */
#ifndef STERNA_TRAIN_PRODUCT_H
#define STERNA_TRAIN_PRODUCT_H

#include <stddef.h>

#include "base/error.h"
#include "kernels/kernels.h"

typedef struct sterna_multiplier {
    sterna_kernels kernels;
    bool bf16;   /* operands are packed */
    int threads; /* >= 1 */
} sterna_multiplier;

/* `features` as base/cpu.h; `exact` keeps float32 whatever the processor offers. */
void sterna_multiplier_init(sterna_multiplier *m, uint32_t features, int threads, bool exact);

/* x(i, k), i < count, k < depth: x[i * stride + k], or x[k * stride + i] when transposed. */
typedef struct sterna_operand {
    const float *x;
    size_t count, depth, stride;
    bool transposed;
} sterna_operand;

typedef enum sterna_side { STERNA_LEFT, STERNA_RIGHT } sterna_side; /* a and b of a product */

/* An operand as products read it; grows as needed. Without bfloat16 it only remembers the floats,
 * which must stay. */
typedef struct sterna_packed {
    sterna_operand operand;
    sterna_side side;
    uint16_t *data; /* [panels][pairs][lanes][2] */
    size_t room;    /* values of data */
} sterna_packed;

sterna_status sterna_pack(const sterna_multiplier *m, sterna_packed *packed, sterna_side side,
                          const sterna_operand *operand, sterna_error *err);
void sterna_packed_free(sterna_packed *packed); /* accepts a zeroed one */

/* c[a.count][c_stride] from operands of equal depth; `add` keeps what is in c. */
void sterna_multiply(const sterna_multiplier *m, const sterna_packed *a, const sterna_packed *b,
                     bool add, float *c, size_t c_stride);
/* Adds to c's diagonal and what is above it; below it some is added to and some is not. */
void sterna_multiply_upper(const sterna_multiplier *m, const sterna_packed *a,
                           const sterna_packed *b, float *c, size_t c_stride);

#endif
