/* The law of the matmul kernels: the formulas of kernels.h, word for word. */
#include <math.h>

#include "base/half.h"
#include "kernels/kernels.h"
#include "kernels/tern5.h"

/* The code of row r, column k of a panel. */
typedef int32_t code_fn(const sterna_int_tile *tile, const uint8_t *panel, size_t r, size_t k);

static int32_t tern2_code(const sterna_int_tile *tile, const uint8_t *panel, size_t r, size_t k)
{
    (void)tile;
    return panel[k / 16 * 64 + 4 * r + k % 4] >> 2 * (k % 16 / 4) & 3;
}

static int32_t tern5_code_of(const sterna_int_tile *tile, const uint8_t *panel, size_t r, size_t k)
{
    return tern5_code(panel, tern5_map_of(tile->cols, tile->segment, tile->segments), r, k);
}

static int32_t int4_code(const sterna_int_tile *tile, const uint8_t *panel, size_t r, size_t k)
{
    (void)tile;
    return panel[k / 8 * 64 + 4 * r + k % 4] >> 4 * (k % 8 / 4) & 15;
}

static int32_t int8_code(const sterna_int_tile *tile, const uint8_t *panel, size_t r, size_t k)
{
    (void)tile;
    return (int8_t)panel[k / 4 * 64 + 4 * r + k % 4];
}

/* Inlined into each kernel, so that `code` is a constant. */
static inline __attribute__((always_inline)) void matmul_int(const sterna_int_tile *tile,
                                                             code_fn *code, int32_t zero)
{
    for (size_t p = 0; p < tile->panels; p++) {
        const uint8_t *codes = tile->codes + p * tile->codes_step;
        for (size_t t = 0; t < tile->n; t++) {
            const int8_t *x = tile->x + t * tile->x_stride;
            float acc[STERNA_PANEL] = {0};
            for (size_t s = 0; s < tile->segments; s++) {
                size_t begin = s * tile->segment, end = begin + tile->segment;
                if (end > tile->cols) end = tile->cols;
                int32_t isum[STERNA_PANEL] = {0};
                for (size_t k = begin; k < end; k++)
                    for (size_t r = 0; r < STERNA_PANEL; r++)
                        isum[r] += code(tile, codes, r, k) * x[k];

                size_t at = p * tile->scales_step + s / tile->segments_per_scale * STERNA_PANEL;
                float x_scale = tile->x_scales[s * tile->x_step + t];
                int32_t x_sum = tile->x_sums[s * tile->x_step + t];
                for (size_t r = 0; r < STERNA_PANEL; r++) {
                    float scale = tile->scales ? sterna_f16_to_f32(tile->scales[at + r]) : 1.0f;
                    acc[r] = fmaf((float)(isum[r] - zero * x_sum), x_scale * scale, acc[r]);
                    if (!tile->mins) continue;
                    float min = sterna_f16_to_f32(tile->mins[at + r]);
                    acc[r] = fmaf(tile->x_offsets[s * tile->x_step + t], min, acc[r]);
                }
            }
            const float *factors = tile->factors + p * tile->row_step;
            float *y = tile->y + t * tile->y_stride + p * tile->row_step;
            for (size_t r = 0; r < STERNA_PANEL; r++) y[r] = acc[r] * factors[r];
        }
    }
}

void sterna_matmul_tern2_ref(const sterna_int_tile *tile)
{
    matmul_int(tile, tern2_code, 1);
}

void sterna_matmul_tern5_ref(const sterna_int_tile *tile)
{
    matmul_int(tile, tern5_code_of, 1);
}

void sterna_matmul_int4_ref(const sterna_int_tile *tile)
{
    matmul_int(tile, int4_code, tile->zero);
}

void sterna_matmul_int8_ref(const sterna_int_tile *tile)
{
    matmul_int(tile, int8_code, tile->zero);
}

typedef float weight_fn(const void *weights, size_t i);

static float f32_weight(const void *weights, size_t i)
{
    return ((const float *)weights)[i];
}

static float f16_weight(const void *weights, size_t i)
{
    return sterna_f16_to_f32(((const uint16_t *)weights)[i]);
}

static float bf16_weight(const void *weights, size_t i)
{
    return sterna_bf16_to_f32(((const uint16_t *)weights)[i]);
}

static inline __attribute__((always_inline)) void matmul_float(const sterna_float_tile *tile,
                                                               weight_fn *weight)
{
    for (size_t p = 0; p < tile->panels; p++) {
        const void *weights = (const uint8_t *)tile->weights + p * tile->weights_step;
        for (size_t t = 0; t < tile->n; t++) {
            const float *x = tile->x + t * tile->x_stride;
            float acc[4][STERNA_PANEL] = {{0}};
            for (size_t k = 0; k < tile->cols; k++)
                for (size_t r = 0; r < STERNA_PANEL; r++) {
                    float w = weight(weights, k * STERNA_PANEL + r);
                    acc[k % 4][r] = fmaf(w, x[k], acc[k % 4][r]);
                }
            const float *factors = tile->factors + p * tile->row_step;
            float *y = tile->y + t * tile->y_stride + p * tile->row_step;
            for (size_t r = 0; r < STERNA_PANEL; r++)
                y[r] = ((acc[0][r] + acc[1][r]) + (acc[2][r] + acc[3][r])) * factors[r];
        }
    }
}

void sterna_matmul_f32_ref(const sterna_float_tile *tile)
{
    matmul_float(tile, f32_weight);
}

void sterna_matmul_f16_ref(const sterna_float_tile *tile)
{
    matmul_float(tile, f16_weight);
}

void sterna_matmul_bf16_ref(const sterna_float_tile *tile)
{
    matmul_float(tile, bf16_weight);
}
