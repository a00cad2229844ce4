#include "quant/product.h"

#include <cblas.h>

enum { BLOCK_ROWS = 128 };

static void multiply_block(const sterna_product_shape *s, size_t first, const float *a,
                           const float *b, float *c)
{
    size_t rows = s->rows - first < BLOCK_ROWS ? s->rows - first : BLOCK_ROWS;
    size_t left = s->upper ? first : 0; /* columns that are not needed */
    if (left >= s->cols) return;
    cblas_sgemm(CblasRowMajor, s->transposed_a ? CblasTrans : CblasNoTrans,
                s->transposed_b ? CblasTrans : CblasNoTrans, (blasint)rows,
                (blasint)(s->cols - left), (blasint)s->depth, s->alpha,
                a + first * (s->transposed_a ? 1 : s->depth),
                (blasint)(s->transposed_a ? s->rows : s->depth),
                b + left * (s->transposed_b ? s->depth : 1),
                (blasint)(s->transposed_b ? s->depth : s->cols), s->beta,
                c + first * s->cols + left, (blasint)s->cols);
}

void sterna_product_of(const sterna_product_shape *shape, const float *a, const float *b, float *c,
                       int threads)
{
    int blas = openblas_get_num_threads();
    if (!shape->rows || !shape->cols) return;
    openblas_set_num_threads(1);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (size_t first = 0; first < shape->rows; first += BLOCK_ROWS)
        multiply_block(shape, first, a, b, c);
    openblas_set_num_threads(blas);
}
