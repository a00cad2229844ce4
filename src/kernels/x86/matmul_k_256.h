/* Matmuls over K blocks in 256-bit registers: the body of matmul_k_avx2.c and matmul_k_avxvnni.c,
 * which define STERNA_MATMUL(name) and VNNI (0: vpmaddubsw into 16-bit sums; 1: vpdpbusd). A line
 * is two halves of 8 rows.
 */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/k_blocks.h"

#define INLINE       static inline __attribute__((always_inline))
#define PREFETCH(at) _mm_prefetch((const char *)(at), _MM_HINT_T0)

enum { ROWS = 8, ONE = 2, FEW = 0, MANY = 2, TOKENS = 4 };

typedef __m256i ints;
typedef __m256 floats;
/* shifts by these know constants from variables */
typedef uint16_t shorts __attribute__((vector_size(32)));
typedef uint32_t words __attribute__((vector_size(32)));
typedef int32_t signed_words __attribute__((vector_size(32)));

INLINE ints zero_ints(void)
{
    return _mm256_setzero_si256();
}

INLINE ints load_ints(const uint8_t *at)
{
    return _mm256_load_si256((const void *)at);
}

INLINE ints broadcast(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

INLINE ints set_words(int32_t x)
{
    return _mm256_set1_epi32(x);
}

INLINE ints mask_bytes(ints v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

INLINE ints mask_words(ints v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi32(mask));
}

INLINE ints or_bits(ints a, ints b)
{
    return _mm256_or_si256(a, b);
}

/* a where a byte's bit of the mask is set, b elsewhere */
INLINE ints choose_bits(int mask, ints a, ints b)
{
    ints bits = _mm256_set1_epi8((char)mask);
    return _mm256_or_si256(_mm256_and_si256(a, bits), _mm256_andnot_si256(bits, b));
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
    return _mm256_sub_epi32(a, b);
}

#if VNNI
enum { WIDE = 1 };

INLINE size_t part_of(k_layout L)
{
    return k_segment_cols(L) / 4;
}

INLINE ints products(ints sum, ints codes, ints x)
{
    return _mm256_dpbusd_avx_epi32(sum, codes, x);
}

INLINE ints widened(ints sum, ints part)
{
    return _mm256_add_epi32(sum, part);
}
#else
/* 8 * 2 * 15 * 127 = 30480, 4 * 2 * 31 * 127 = 31496, 2 * 2 * 63 * 127 = 32004: all below 32768 */
enum { WIDE = 0 };

INLINE size_t part_of(k_layout L)
{
    return L == Q4K ? 8 : L == Q5K ? 4 : 2;
}

INLINE ints products(ints sum, ints codes, ints x)
{
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x));
}

INLINE ints widened(ints sum, ints part)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
}
#endif

INLINE floats zero_floats(void)
{
    return _mm256_setzero_ps();
}

INLINE floats set_floats(float x)
{
    return _mm256_set1_ps(x);
}

INLINE floats load_floats(const float *at)
{
    return _mm256_loadu_ps(at);
}

INLINE void store_floats(float *at, floats v)
{
    _mm256_storeu_ps(at, v);
}

INLINE floats to_floats(ints v)
{
    return _mm256_cvtepi32_ps(v);
}

/* float16s in the low half of each word */
INLINE floats low_halves(ints v)
{
    v = mask_words(v, 0xffff);
    return _mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

INLINE floats mul(floats a, floats b)
{
    return _mm256_mul_ps(a, b);
}

INLINE floats multiply_add(floats a, floats b, floats c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
INLINE floats multiply_subtract(floats a, floats b, floats c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

#include "kernels/matmul_k_body.h"
