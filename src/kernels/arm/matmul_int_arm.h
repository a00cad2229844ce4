/* Integer matmuls of the ARM kernels: what matmul_neon.c, matmul_dotprod.c and matmul_i8mm.c share.
 * The including file defines STERNA_MATMUL(name), TOKENS (tokens of a tile) and walk(), which gives
 * isum of T tokens as sums[T][4] registers of 4 rows.
 *
 * A line of 64 bytes is four registers of 4 rows x 4 columns per field.
 */
#include <arm_neon.h>
#include <string.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

typedef enum layout { TERN2, INT4, INT8 } layout;

INLINE size_t fields_of(layout L)
{
    return L == TERN2 ? 4 : L == INT4 ? 2 : 1;
}

/* The fields of 16 bytes of a line as signed bytes. */
INLINE void unpack(uint8x16_t v, layout L, int8x16_t out[4])
{
    if (L == TERN2) {
        uint8x16_t mask = vdupq_n_u8(3);
        out[0] = vreinterpretq_s8_u8(vandq_u8(v, mask));
        out[1] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(v, 2), mask));
        out[2] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(v, 4), mask));
        out[3] = vreinterpretq_s8_u8(vshrq_n_u8(v, 6));
    } else if (L == INT4) {
        out[0] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
        out[1] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
    } else {
        out[0] = vreinterpretq_s8_u8(v);
    }
}

INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride, layout L,
                 size_t T, int32x4_t sums[TOKENS][4]);

INLINE float32x4_t halves(const uint16_t *at)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at)));
}

/* Panel p, tokens t .. t+T-1. */
INLINE void tokens(const sterna_int_tile *tile, size_t p, size_t t, layout L, size_t T)
{
    const size_t line_cols = 4 * fields_of(L), S = tile->segments, x_step = tile->x_step;
    const uint8_t *codes = tile->codes + p * tile->codes_step;
    const uint16_t *scales = tile->scales ? tile->scales + p * tile->scales_step : NULL;
    const uint16_t *mins = tile->mins ? tile->mins + p * tile->scales_step : NULL;
    const int8_t *x = tile->x + t * tile->x_stride;
    const float *x_scales = tile->x_scales + t;
    const float *x_offsets = tile->mins ? tile->x_offsets + t : NULL;
    const int32_t *x_sums = tile->x_sums + t, zero = L == TERN2 ? 1 : tile->zero;
    float32x4_t acc[TOKENS][4];
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < 4; j++) acc[i][j] = vdupq_n_f32(0);

    size_t left = tile->segments_per_scale;
    for (size_t s = 0, begin = 0; s < S; s++, begin += tile->segment) {
        size_t end = begin + tile->segment < tile->cols ? begin + tile->segment : tile->cols;
        int32x4_t sums[TOKENS][4];
        walk(codes + begin / line_cols * 64, (end - begin) / line_cols, x + begin, tile->x_stride,
             L, T, sums);
        for (size_t j = 0; j < 4; j++) {
            float32x4_t scale = scales ? halves(scales + 4 * j) : vdupq_n_f32(1);
            for (size_t i = 0; i < T; i++) {
                float32x4_t x_scale = vdupq_n_f32(x_scales[s * x_step + i]);
                int32_t x_sum = x_sums[s * x_step + i];
                int32x4_t sum = vsubq_s32(sums[i][j], vdupq_n_s32(zero * x_sum));
                acc[i][j] = vfmaq_f32(acc[i][j], vcvtq_f32_s32(sum), vmulq_f32(x_scale, scale));
                if (mins)
                    acc[i][j] = vfmaq_f32(acc[i][j], vdupq_n_f32(x_offsets[s * x_step + i]),
                                          halves(mins + 4 * j));
            }
        }
        if (--left) continue;
        left = tile->segments_per_scale;
        if (scales) scales += STERNA_PANEL;
        if (mins) mins += STERNA_PANEL;
    }
    const float *factors = tile->factors + p * tile->row_step;
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < 4; j++)
            vst1q_f32(tile->y + (t + i) * tile->y_stride + p * tile->row_step + 4 * j,
                      vmulq_f32(acc[i][j], vld1q_f32(factors + 4 * j)));
}

INLINE void matmul_int(const sterna_int_tile *tile, layout L)
{
    for (size_t p = 0; p < tile->panels; p++) {
        size_t t = 0;
        for (; t + TOKENS <= tile->n; t += TOKENS) tokens(tile, p, t, L, TOKENS);
        for (; t < tile->n; t++) tokens(tile, p, t, L, 1);
    }
}

void STERNA_MATMUL(matmul_tern2)(const sterna_int_tile *tile)
{
    matmul_int(tile, TERN2);
}

void STERNA_MATMUL(matmul_int4)(const sterna_int_tile *tile)
{
    matmul_int(tile, INT4);
}

void STERNA_MATMUL(matmul_int8)(const sterna_int_tile *tile)
{
    matmul_int(tile, INT8);
}
