/* Integer matmuls of the ARM matrix extension: smmla takes 2 rows x 8 columns times 8 columns x 2
 * tokens, twice the work of sdot. Two fields (or lines of int8) zip into the 8 columns. */
#define STERNA_MATMUL(name) sterna_##name##_i8mm
enum { TOKENS = 4 };
#include "kernels/arm/matmul_int_arm.h"
#include "kernels/arm/dot_arm.h"

/* acc[8 pairs of rows][2 pairs of tokens] += rows 4j..4j+3 (low: 4 columns, high: the next 4) . x
 */
INLINE void pairs(int8x16_t low, int8x16_t high, size_t j, const int8_t *x, size_t stride,
                  int32x4_t acc[8][2])
{
    int32x4_t a = vreinterpretq_s32_s8(low), b = vreinterpretq_s32_s8(high);
    int8x16_t first = vreinterpretq_s8_s32(vzip1q_s32(a, b));
    int8x16_t second = vreinterpretq_s8_s32(vzip2q_s32(a, b));
    for (size_t t = 0; t < 2; t++) {
        const int8_t *at = x + 2 * t * stride;
        int8x16_t tokens_x = vcombine_s8(vld1_s8(at), vld1_s8(at + stride));
        acc[2 * j][t] = vmmlaq_s32(acc[2 * j][t], first, tokens_x);
        acc[2 * j + 1][t] = vmmlaq_s32(acc[2 * j + 1][t], second, tokens_x);
    }
}

INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride, layout L,
                 size_t T, int32x4_t sums[TOKENS][4])
{
    if (T != 4) {
        walk_dot(codes, lines, x, stride, L, T, sums);
        return;
    }
    int32x4_t acc[8][2];
    for (size_t i = 0; i < 8; i++) acc[i][0] = acc[i][1] = vdupq_n_s32(0);
    size_t step = L == INT8 ? 2 : 1; /* lines are 16 columns in all: an even number of int8 ones */
    for (size_t line = 0; line < lines; line += step, codes += 64 * step)
        for (size_t j = 0; j < 4; j++) {
            int8x16_t w[5];
            unpack(vld1q_u8(codes + 16 * j), L, w);
            const int8_t *at = x + line * 4 * fields_of(L);
            if (L == INT8) unpack(vld1q_u8(codes + 64 + 16 * j), L, w + 1);
            pairs(w[0], w[1], j, at, stride, acc);
            if (L == TERN2) pairs(w[2], w[3], j, at + 8, stride, acc);
        }
    for (size_t j = 0; j < 4; j++)
        for (size_t t = 0; t < 2; t++) {
            sums[2 * t][j] = vuzp1q_s32(acc[2 * j][t], acc[2 * j + 1][t]);
            sums[2 * t + 1][j] = vuzp2q_s32(acc[2 * j][t], acc[2 * j + 1][t]);
        }
}

uint64_t sterna_peak_i8mm(size_t rounds)
{
    int32x4_t acc[16];
    int8x16_t x = vdupq_n_s8(1);
    for (int i = 0; i < 16; i++) acc[i] = vdupq_n_s32(0);
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < 16; i++) {
            __asm__ volatile("" : "+w"(x)); /* keeps the products in the loop */
            acc[i] = vmmlaq_s32(acc[i], x, x);
        }
    for (int i = 0; i < 16; i++) __asm__ volatile("" : : "w"(acc[i]));
    return rounds * 16 * 64;
}
