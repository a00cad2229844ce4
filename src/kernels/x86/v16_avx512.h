/* 16 float lanes as one AVX-512 register: see v16_avx2.h. */
#ifndef STERNA_KERNELS_V16
#define STERNA_KERNELS_V16

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m512 v16;

#define V16_INLINE static inline __attribute__((always_inline, unused))
#define V16_KEYS   4 /* keys that attention takes at a time: 16 sums fit the registers */

V16_INLINE v16 v16_set1(float x)
{
    return _mm512_set1_ps(x);
}

V16_INLINE v16 v16_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

V16_INLINE void v16_store(float *x, v16 a)
{
    _mm512_storeu_ps(x, a);
}

V16_INLINE __mmask16 v16_mask(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

V16_INLINE v16 v16_load_n(const float *x, size_t n)
{
    return _mm512_maskz_loadu_ps(v16_mask(n), x);
}

V16_INLINE void v16_store_n(float *x, v16 a, size_t n)
{
    _mm512_mask_storeu_ps(x, v16_mask(n), a);
}

V16_INLINE v16 v16_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}

V16_INLINE v16 v16_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}

V16_INLINE v16 v16_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}

V16_INLINE v16 v16_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}

V16_INLINE v16 v16_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}

V16_INLINE v16 v16_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}

V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

V16_INLINE v16 v16_abs(v16 a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}

V16_INLINE v16 v16_raise(v16 a, v16 shifted)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), n));
}

V16_INLINE __m128 v16_fold4(v16 a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

V16_INLINE float v16_sum(v16 a)
{
    __m128 four = v16_fold4(a);
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

V16_INLINE void v16_sum4(const v16 a[4], float out[4])
{
    __m128 r0 = v16_fold4(a[0]), r1 = v16_fold4(a[1]), r2 = v16_fold4(a[2]), r3 = v16_fold4(a[3]);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(r0, r2), _mm_add_ps(r1, r3)));
}

/* out[4 * r + k] = sum of a[k][r]: 45 operations for 16 sums, in the order of v16_sum. */
V16_INLINE void v16_sum4x4(v16 a[4][4], float out[16])
{
    __m512 keys[4];
    for (int k = 0; k < 4; k++) {
        __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(a[k][0], a[k][1], 0x44),
                                   _mm512_shuffle_f32x4(a[k][0], a[k][1], 0xee));
        __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(a[k][2], a[k][3], 0x44),
                                    _mm512_shuffle_f32x4(a[k][2], a[k][3], 0xee));
        keys[k] = _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88),
                                _mm512_shuffle_f32x4(low, high, 0xdd));
    }
    __m512 first = _mm512_add_ps(_mm512_shuffle_ps(keys[0], keys[1], 0x44),
                                 _mm512_shuffle_ps(keys[0], keys[1], 0xee));
    __m512 second = _mm512_add_ps(_mm512_shuffle_ps(keys[2], keys[3], 0x44),
                                  _mm512_shuffle_ps(keys[2], keys[3], 0xee));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_ps(first, second, 0x88),
                                        _mm512_shuffle_ps(first, second, 0xdd)));
}

V16_INLINE float v16_largest(v16 a)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

V16_INLINE v16 v16_swap(v16 a, int distance)
{
    if (distance == 1) return _mm512_permute_ps(a, 0xb1);
    if (distance == 2) return _mm512_permute_ps(a, 0x4e);
    if (distance == 4) return _mm512_shuffle_f32x4(a, a, 0xb1);
    return _mm512_shuffle_f32x4(a, a, 0x4e);
}

V16_INLINE v16 v16_from_f16(const uint8_t *at)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
}

V16_INLINE v16 v16_set1_f16(const uint8_t *at)
{
    int16_t half;
    memcpy(&half, at, 2);
    return _mm512_cvtph_ps(_mm256_set1_epi16(half));
}

V16_INLINE v16 v16_from_bf16(const uint8_t *at)
{
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

V16_INLINE v16 v16_from_i8(const uint8_t *at)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}

V16_INLINE void v16_to_f16(v16 a, uint8_t *at)
{
    _mm256_storeu_si256((__m256i *)(void *)at, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

V16_INLINE int32_t v16_to_i8(v16 a, int8_t *at)
{
    __m512i words = _mm512_cvtps_epi32(a);
    _mm_storeu_si128((__m128i *)(void *)at, _mm512_cvtepi32_epi8(words));
    return _mm512_reduce_add_epi32(words);
}

#endif
