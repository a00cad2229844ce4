/* Integer matmuls of AVX-512 VNNI: the layouts that are lines and nothing else. */
#include "kernels/x86/matmul_int_avx512.h"

/* The kernel of a layout. */
#define KERNEL(name, L)                                                                            \
    INLINE void one_##name(const sterna_int_tile *tile, size_t p, size_t t)                        \
    {                                                                                              \
        one_token(tile, p, t, L);                                                                  \
    }                                                                                              \
    INLINE void walk_##name(const sterna_int_tile *tile, tern5_map map, const place *at, size_t s, \
                            const int8_t *x, size_t P, size_t T, __m512i acc[2][MOST])             \
    {                                                                                              \
        (void)map;                                                                                 \
        walk_segment(tile, at, s, x, L, P, T, acc);                                                \
    }                                                                                              \
    void sterna_matmul_##name##_avx512vnni(const sterna_int_tile *tile)                            \
    {                                                                                              \
        matmul_int(tile, L, one_##name, walk_##name);                                              \
    }
KERNEL(tern2, TERN2)
KERNEL(int4, INT4)
KERNEL(int8, INT8)

uint64_t sterna_peak_avx512vnni(size_t rounds)
{
    __m512i acc[16], x = _mm512_set1_epi8(1);
    for (int i = 0; i < 16; i++) acc[i] = _mm512_setzero_si512();
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < 16; i++) {
            __asm__ volatile("" : "+v"(x)); /* keeps the products in the loop */
            acc[i] = _mm512_dpbusd_epi32(acc[i], x, x);
        }
    for (int i = 0; i < 16; i++) __asm__ volatile("" : : "v"(acc[i]));
    return rounds * 16 * 128;
}
