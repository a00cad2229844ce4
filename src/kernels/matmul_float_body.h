/* Float matmuls over v16: included by matmul_float_<isa>.c after a v16 header. A lane is an output
 * row; the order of sums is that of ref/matmul_ref.c. STERNA_MATMUL(name) gives a function its full
 * name, TOKENS says how many tokens' accumulators (4 vectors each) fit the registers. */
#include "kernels/kernels.h"

typedef enum float_kind { KIND_F32, KIND_F16, KIND_BF16 } float_kind;

V16_INLINE v16 weight_load(const uint8_t *weights, size_t k, float_kind kind)
{
    if (kind == KIND_F32) return v16_load((const float *)(const void *)weights + 16 * k);
    return kind == KIND_F16 ? v16_from_f16(weights + 32 * k) : v16_from_bf16(weights + 32 * k);
}

V16_INLINE void float_tokens(const sterna_float_tile *tile, size_t p, size_t t, float_kind kind,
                             size_t T)
{
    const uint8_t *weights = (const uint8_t *)tile->weights + p * tile->weights_step;
    const float *x = tile->x + t * tile->x_stride;
    v16 acc[TOKENS][4];
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < 4; j++) acc[i][j] = v16_set1(0);
    size_t k = 0;
    for (; k + 4 <= tile->cols; k += 4)
        for (size_t j = 0; j < 4; j++) {
            v16 w = weight_load(weights, k + j, kind);
            for (size_t i = 0; i < T; i++)
                acc[i][j] = v16_fma(w, v16_set1(x[i * tile->x_stride + k + j]), acc[i][j]);
        }
    for (size_t j = 0; k + j < tile->cols; j++) {
        v16 w = weight_load(weights, k + j, kind);
        for (size_t i = 0; i < T; i++)
            acc[i][j] = v16_fma(w, v16_set1(x[i * tile->x_stride + k + j]), acc[i][j]);
    }
    v16 factors = v16_load(tile->factors + p * tile->row_step);
    for (size_t i = 0; i < T; i++) {
        v16 sum = v16_add(v16_add(acc[i][0], acc[i][1]), v16_add(acc[i][2], acc[i][3]));
        v16_store(tile->y + (t + i) * tile->y_stride + p * tile->row_step, v16_mul(sum, factors));
    }
}

V16_INLINE void matmul_float(const sterna_float_tile *tile, float_kind kind)
{
    for (size_t p = 0; p < tile->panels; p++) {
        size_t t = 0;
        for (; t + TOKENS <= tile->n; t += TOKENS) float_tokens(tile, p, t, kind, TOKENS);
        for (; t < tile->n; t++) float_tokens(tile, p, t, kind, 1);
    }
}

void STERNA_MATMUL(matmul_f32)(const sterna_float_tile *tile)
{
    matmul_float(tile, KIND_F32);
}

void STERNA_MATMUL(matmul_f16)(const sterna_float_tile *tile)
{
    matmul_float(tile, KIND_F16);
}

void STERNA_MATMUL(matmul_bf16)(const sterna_float_tile *tile)
{
    matmul_float(tile, KIND_BF16);
}
