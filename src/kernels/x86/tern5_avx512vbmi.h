/* The fields of tern5 (kernels/tern5.h) as registers: what AVX-512 VBMI and AMX share. vpermb looks
 * 64 codes up at once and reads six bits of each: four low bits, and at bits 4 and 5 the high bits
 * of two neighbouring fields, so that they are shifted once for both and never masked. The tables
 * of even fields do not mind bit 5, those of odd ones bit 4. */
#ifndef STERNA_KERNELS_X86_TERN5_AVX512VBMI_H
#define STERNA_KERNELS_X86_TERN5_AVX512VBMI_H

#include <immintrin.h>

#include "kernels/tern5.h"

#define TERN5_4(f, n)  f(n), f(n + 1), f(n + 2), f(n + 3)
#define TERN5_16(f, n) TERN5_4(f, n), TERN5_4(f, n + 4), TERN5_4(f, n + 8), TERN5_4(f, n + 12)
#define TERN5_EVEN(f)                                                                              \
    {                                                                                              \
        TERN5_16(f, 0), TERN5_16(f, 16), TERN5_16(f, 0), TERN5_16(f, 16)                           \
    }
#define TERN5_ODD(f)                                                                               \
    {                                                                                              \
        TERN5_16(f, 0), TERN5_16(f, 0), TERN5_16(f, 16), TERN5_16(f, 16)                           \
    }
#define TERN5_FIRST(v)  (v) % 3
#define TERN5_SECOND(v) (v) / 3 % 3
#define TERN5_THIRD(v)  (v) / 9
/* The trit + 1 of each run in a code, of even and odd fields. */
static const _Alignas(64) uint8_t tern5_tables[2][3][64] = {
    {TERN5_EVEN(TERN5_FIRST), TERN5_EVEN(TERN5_SECOND), TERN5_EVEN(TERN5_THIRD)},
    {TERN5_ODD(TERN5_FIRST), TERN5_ODD(TERN5_SECOND), TERN5_ODD(TERN5_THIRD)},
};

/* The high bits of fields j and j + 1 (j even) at bits 4 and 5. */
static inline __attribute__((always_inline)) __m512i tern5_high(const uint8_t *block, size_t j)
{
    __m512i bits = _mm512_load_si512((const void *)(block + TERN5_HIGH));
    switch (j / 2) {
    case 0: return bits;
    case 1: return _mm512_srli_epi16(bits, 2);
    case 2: return _mm512_slli_epi16(bits, 4);
    default: return _mm512_slli_epi16(bits, 2);
    }
}

/* What the table of field j and a run is looked up with. */
static inline __attribute__((always_inline)) __m512i tern5_field(const uint8_t *block, size_t j)
{
    enum { CHOOSE = 0xca }; /* vpternlog: bits of the second where the first is 1, else the third */
    __m512i low = _mm512_load_si512((const void *)(block + j / 2 * 64));
    if (j % 2) low = _mm512_srli_epi16(low, 4);
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), low, tern5_high(block, j), CHOOSE);
}

static inline __attribute__((always_inline)) __m512i tern5_table(size_t run, size_t j)
{
    return _mm512_load_si512((const void *)tern5_tables[j % 2][run]);
}

#endif
