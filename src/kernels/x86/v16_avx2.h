/* 16 float lanes as two AVX2 registers; the vocabulary of kernels/vector_body.h and
 * attention_body.h. Loads and stores of n < 16 lanes touch no byte beyond them; lanes left out are
 * zero. */
#ifndef STERNA_KERNELS_V16
#define STERNA_KERNELS_V16

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    __m256 lo, hi;
} v16;

#define V16_INLINE         static inline __attribute__((always_inline, unused))
#define V16_KEYS           1 /* keys that attention takes at a time */
#define V16_EACH(op, a, b) ((v16){op((a).lo, (b).lo), op((a).hi, (b).hi)})

V16_INLINE v16 v16_set1(float x)
{
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

V16_INLINE v16 v16_load(const float *x)
{
    return (v16){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}

V16_INLINE void v16_store(float *x, v16 a)
{
    _mm256_storeu_ps(x, a.lo);
    _mm256_storeu_ps(x + 8, a.hi);
}

/* All ones in lanes below n - from. */
V16_INLINE __m256i v16_mask_half(size_t n, int from)
{
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - from), lanes);
}

V16_INLINE v16 v16_load_n(const float *x, size_t n)
{
    return (v16){_mm256_maskload_ps(x, v16_mask_half(n, 0)),
                 _mm256_maskload_ps(x + 8, v16_mask_half(n, 8))};
}

V16_INLINE void v16_store_n(float *x, v16 a, size_t n)
{
    _mm256_maskstore_ps(x, v16_mask_half(n, 0), a.lo);
    _mm256_maskstore_ps(x + 8, v16_mask_half(n, 8), a.hi);
}

V16_INLINE v16 v16_add(v16 a, v16 b)
{
    return V16_EACH(_mm256_add_ps, a, b);
}

V16_INLINE v16 v16_sub(v16 a, v16 b)
{
    return V16_EACH(_mm256_sub_ps, a, b);
}

V16_INLINE v16 v16_mul(v16 a, v16 b)
{
    return V16_EACH(_mm256_mul_ps, a, b);
}

V16_INLINE v16 v16_div(v16 a, v16 b)
{
    return V16_EACH(_mm256_div_ps, a, b);
}

/* b where a is NaN, in both. */
V16_INLINE v16 v16_max(v16 a, v16 b)
{
    return V16_EACH(_mm256_max_ps, a, b);
}

V16_INLINE v16 v16_min(v16 a, v16 b)
{
    return V16_EACH(_mm256_min_ps, a, b);
}

V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

V16_INLINE v16 v16_abs(v16 a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

/* a * 2^n where the low bits of `shifted` hold n. */
V16_INLINE v16 v16_raise(v16 a, v16 shifted)
{
    __m256i lo = _mm256_slli_epi32(_mm256_castps_si256(shifted.lo), 23);
    __m256i hi = _mm256_slli_epi32(_mm256_castps_si256(shifted.hi), 23);
    return (v16){_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.lo), lo)),
                 _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.hi), hi))};
}

/* Folds of 16 lanes to 4: l + 8, then l + 4. */
V16_INLINE __m128 v16_fold4(v16 a)
{
    __m256 eight = _mm256_add_ps(a.lo, a.hi);
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

V16_INLINE float v16_sum(v16 a)
{
    __m128 four = v16_fold4(a);
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* The sums of four vectors. */
V16_INLINE void v16_sum4(const v16 a[4], float out[4])
{
    __m128 r0 = v16_fold4(a[0]), r1 = v16_fold4(a[1]), r2 = v16_fold4(a[2]), r3 = v16_fold4(a[3]);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(r0, r2), _mm_add_ps(r1, r3)));
}

V16_INLINE float v16_largest(v16 a)
{
    __m256 eight = _mm256_max_ps(a.lo, a.hi);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* Lane l becomes lane l ^ distance, for 1, 2, 4 and 8. */
V16_INLINE v16 v16_swap(v16 a, int distance)
{
    if (distance == 1) return (v16){_mm256_permute_ps(a.lo, 0xb1), _mm256_permute_ps(a.hi, 0xb1)};
    if (distance == 2) return (v16){_mm256_permute_ps(a.lo, 0x4e), _mm256_permute_ps(a.hi, 0x4e)};
    if (distance == 4)
        return (v16){_mm256_permute2f128_ps(a.lo, a.lo, 1), _mm256_permute2f128_ps(a.hi, a.hi, 1)};
    return (v16){a.hi, a.lo};
}

V16_INLINE v16 v16_from_f16(const uint8_t *at)
{
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(at + 16)))};
}

V16_INLINE v16 v16_set1_f16(const uint8_t *at)
{
    int16_t half;
    memcpy(&half, at, 2);
    __m256 eight = _mm256_cvtph_ps(_mm_set1_epi16(half));
    return (v16){eight, eight};
}

V16_INLINE v16 v16_from_bf16(const uint8_t *at)
{
    __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)at));
    __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(at + 16)));
    return (v16){_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}

V16_INLINE v16 v16_from_i8(const uint8_t *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}

V16_INLINE void v16_to_f16(v16 a, uint8_t *at)
{
    __m128i lo = _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT);
    __m128i hi = _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128((__m128i *)(void *)at, lo);
    _mm_storeu_si128((__m128i *)(void *)(at + 16), hi);
}

/* Rounds lanes of -127..127 to nearest even and stores 16 int8; returns their sum. */
V16_INLINE int32_t v16_to_i8(v16 a, int8_t *at)
{
    __m256i lo = _mm256_cvtps_epi32(a.lo), hi = _mm256_cvtps_epi32(a.hi);
    __m128i words_lo = _mm_packs_epi32(_mm256_castsi256_si128(lo), _mm256_extracti128_si256(lo, 1));
    __m128i words_hi = _mm_packs_epi32(_mm256_castsi256_si128(hi), _mm256_extracti128_si256(hi, 1));
    _mm_storeu_si128((__m128i *)(void *)at, _mm_packs_epi16(words_lo, words_hi));
    __m256i eight = _mm256_add_epi32(lo, hi);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

#endif
