/* Matmuls over K blocks of AVX-512 VNNI: a line is one register of a panel's 16 rows. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/k_blocks.h"

#define STERNA_MATMUL(name) sterna_##name##_avx512vnni
#define INLINE              static inline __attribute__((always_inline))
#define PREFETCH(at)        _mm_prefetch((const char *)(at), _MM_HINT_T0)

enum { ROWS = 16, ONE = 1, FEW = 8, MANY = 2, TOKENS = 12, WIDE = 1 };

typedef __m512i ints;
typedef __m512 floats;
/* shifts by these know constants from variables */
typedef uint16_t shorts __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef int32_t signed_words __attribute__((vector_size(64)));

INLINE ints zero_ints(void)
{
    return _mm512_setzero_si512();
}

INLINE ints load_ints(const uint8_t *at)
{
    return _mm512_load_si512((const void *)at);
}

INLINE ints broadcast(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
}

INLINE ints set_words(int32_t x)
{
    return _mm512_set1_epi32(x);
}

INLINE ints mask_bytes(ints v, int mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

INLINE ints mask_words(ints v, int mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi32(mask));
}

INLINE ints or_bits(ints a, ints b)
{
    return _mm512_or_si512(a, b);
}

/* a where a byte's bit of the mask is set, b elsewhere */
INLINE ints choose_bits(int mask, ints a, ints b)
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8((char)mask), a, b, 0xca);
}

/* Bits that come from the neighbouring byte are the caller's to mask. */
INLINE ints shift_left(ints v, size_t n)
{
    return (ints)((shorts)v << (uint16_t)n);
}

INLINE ints shift_right(ints v, size_t n)
{
    return (ints)((shorts)v >> (uint16_t)n);
}

INLINE ints shift_words_left(ints v, size_t n)
{
    return (ints)((words)v << (uint32_t)n);
}

INLINE ints shift_words_right(ints v, size_t n)
{
    return (ints)((words)v >> (uint32_t)n);
}

INLINE ints shift_signed_words_right(ints v, size_t n)
{
    return (ints)((signed_words)v >> (int32_t)n);
}

INLINE ints sub_words(ints a, ints b)
{
    return _mm512_sub_epi32(a, b);
}

INLINE size_t part_of(k_layout L)
{
    return k_segment_cols(L) / 4;
}

INLINE ints products(ints sum, ints codes, ints x)
{
    return _mm512_dpbusd_epi32(sum, codes, x);
}

INLINE ints widened(ints sum, ints part)
{
    return _mm512_add_epi32(sum, part);
}

INLINE floats zero_floats(void)
{
    return _mm512_setzero_ps();
}

INLINE floats set_floats(float x)
{
    return _mm512_set1_ps(x);
}

INLINE floats load_floats(const float *at)
{
    return _mm512_loadu_ps(at);
}

INLINE void store_floats(float *at, floats v)
{
    _mm512_storeu_ps(at, v);
}

INLINE floats to_floats(ints v)
{
    return _mm512_cvtepi32_ps(v);
}

/* float16s in the low half of each word */
INLINE floats low_halves(ints v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

INLINE floats mul(floats a, floats b)
{
    return _mm512_mul_ps(a, b);
}

INLINE floats multiply_add(floats a, floats b, floats c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
INLINE floats multiply_subtract(floats a, floats b, floats c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

#include "kernels/matmul_k_body.h"
