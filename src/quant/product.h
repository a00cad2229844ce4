/* Products of large float matrices by several threads. OpenBLAS could do that itself, but its
 * threads spin while they wait for each other, which on a busy machine costs more than they gain,
 * and how it cuts the work depends on their number. */
#ifndef STERNA_QUANT_PRODUCT_H
#define STERNA_QUANT_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sterna_product_shape {
    size_t rows, cols, depth; /* of c[rows][cols] = beta c + alpha a b */
    bool transposed_a;        /* a[depth][rows], else a[rows][depth] */
    bool transposed_b;        /* b[cols][depth], else b[depth][cols] */
    bool upper;               /* nothing is needed below c's diagonal */
    float alpha, beta;
} sterna_product_shape;

/* Blocks of rows of a fixed size, each of which one thread calculates: the result does not depend
 * on their number. Matrices are row-major and do not overlap. */
void sterna_product_of(const sterna_product_shape *shape, const float *a, const float *b, float *c,
                       int threads);

#endif
