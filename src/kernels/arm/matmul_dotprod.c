/* Integer matmuls of the ARM dot product (sdot). */
#define STERNA_MATMUL(name) sterna_##name##_dotprod
enum { TOKENS = 4 };
#include "kernels/arm/matmul_int_arm.h"
#include "kernels/arm/dot_arm.h"

INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride, layout L,
                 size_t T, int32x4_t sums[TOKENS][4])
{
    walk_dot(codes, lines, x, stride, L, T, sums);
}

uint64_t sterna_peak_dotprod(size_t rounds)
{
    int32x4_t acc[16];
    int8x16_t x = vdupq_n_s8(1);
    for (int i = 0; i < 16; i++) acc[i] = vdupq_n_s32(0);
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < 16; i++) {
            __asm__ volatile("" : "+w"(x)); /* keeps the products in the loop */
            acc[i] = vdotq_s32(acc[i], x, x);
        }
    for (int i = 0; i < 16; i++) __asm__ volatile("" : : "w"(acc[i]));
    return rounds * 16 * 32;
}
