/* Integer matmuls of plain NEON: widening multiply-adds into 16-bit sums, which are folded into
 * 32 bits before they can overflow: a sum takes at most 64 * 3 * 127 (tern2, 16 lines), 8 * 2 * 15
 * * 127 (int4, 8 lines) or 2 * 128 * 127 (int8, 2 lines: 32512).
 *
 * Eight 16-bit sums stay in registers: all 16 rows of one token, or 4 rows of four tokens, which
 * share the unpacking. tern2, instructions per line and token: 4 loads, 28 to unpack, 4 broadcasts,
 * 32 smlal = 68; with four tokens 1 + 7 + 16 + 32 = 56. */
#define STERNA_MATMUL(name) sterna_##name##_neon
enum { TOKENS = 4 };
#include "kernels/arm/matmul_int_arm.h"

INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride, layout L,
                 size_t T, int32x4_t sums[TOKENS][4])
{
    const size_t F = fields_of(L), most = L == TERN2 ? 16 : L == INT4 ? 8 : 2;
    const size_t J = T == 1 ? 4 : 1; /* quarters of a line, 4 rows each, that go together */
    for (size_t first = 0; first < 4; first += J) {
        const uint8_t *at = codes + 16 * first;
        const int8_t *columns = x;
        int32x4_t acc[8]; /* two rows each, as two halves of 2 columns */
        for (size_t i = 0; i < 2 * J * T; i++) acc[i] = vdupq_n_s32(0);
        for (size_t left = lines, some; left; left -= some) {
            some = left < most ? left : most;
            int16x8_t part[8];
            for (size_t i = 0; i < 2 * J * T; i++) part[i] = vdupq_n_s16(0);
            for (size_t line = 0; line < some; line++, at += 64, columns += 4 * F)
                for (size_t j = 0; j < J; j++) {
                    int8x16_t w[4];
                    unpack(vld1q_u8(at + 16 * j), L, w);
                    for (size_t f = 0; f < F; f++)
                        for (size_t t = 0; t < T; t++) {
                            int32_t four;
                            memcpy(&four, columns + t * stride + 4 * f, 4);
                            int8x8_t twice = vreinterpret_s8_s32(vdup_n_s32(four));
                            int16x8_t *pair = part + 2 * (t * J + j);
                            pair[0] = vmlal_s8(pair[0], vget_low_s8(w[f]), twice);
                            pair[1] = vmlal_s8(pair[1], vget_high_s8(w[f]), twice);
                        }
                }
            for (size_t i = 0; i < 2 * J * T; i++) acc[i] = vpadalq_s16(acc[i], part[i]);
        }
        for (size_t t = 0; t < T; t++)
            for (size_t j = 0; j < J; j++)
                sums[t][first + j] = vpaddq_s32(acc[2 * (t * J + j)], acc[2 * (t * J + j) + 1]);
    }
}

uint64_t sterna_peak_neon(size_t rounds)
{
    int16x8_t acc[16];
    int8x8_t x = vdup_n_s8(1);
    for (int i = 0; i < 16; i++) acc[i] = vdupq_n_s16(0);
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < 16; i++) {
            __asm__ volatile("" : "+w"(x)); /* keeps the products in the loop */
            acc[i] = vmlal_s8(acc[i], x, x);
        }
    for (int i = 0; i < 16; i++) __asm__ volatile("" : : "w"(acc[i]));
    return rounds * 16 * 16;
}
