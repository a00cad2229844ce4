/* Integer matmuls of AVX-VNNI (VEX-coded vpdpbusd). */
#define STERNA_MATMUL(name) sterna_##name##_avxvnni
#define VNNI                1
#include "kernels/x86/matmul_int_256.h"

uint64_t sterna_peak_avxvnni(size_t rounds)
{
    __m256i acc[12], x = _mm256_set1_epi8(1);
    for (int i = 0; i < 12; i++) acc[i] = _mm256_setzero_si256();
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < 12; i++) {
            __asm__ volatile("" : "+x"(x));
            acc[i] = _mm256_dpbusd_avx_epi32(acc[i], x, x);
        }
    for (int i = 0; i < 12; i++) __asm__ volatile("" : : "x"(acc[i]));
    return rounds * 12 * 64;
}
