/* Integer matmuls of AVX2. */
#define STERNA_MATMUL(name) sterna_##name##_avx2
#define VNNI                0
#include "kernels/x86/matmul_int_256.h"

uint64_t sterna_peak_avx2(size_t rounds)
{
    __m256i acc[8], x = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 8; i++) acc[i] = _mm256_setzero_si256();
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < 8; i++) {
            __asm__ volatile("" : "+x"(x)); /* keeps the products in the loop */
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones));
        }
    for (int i = 0; i < 8; i++) __asm__ volatile("" : : "x"(acc[i]));
    return rounds * 8 * 64;
}
