/* Products of bfloat16 panels: 24 sums of 16 lanes in registers, 64 operations an instruction. */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

enum { ROWS = STERNA_GEMM_ROWS, COLUMNS = STERNA_GEMM_COLUMNS };

static inline __m512bh load_pairs(const uint16_t *at)
{
    return (__m512bh)_mm512_loadu_si512((const void *)at);
}

static inline __m512bh repeat_pair(const uint16_t *at)
{
    int32_t pair;
    memcpy(&pair, at, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

void sterna_gemm_bf16_avx512bf16(const uint16_t *a, const uint16_t *b, size_t pairs, float *c,
                                 size_t c_stride)
{
    __m512 sum[ROWS][2];
    for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (size_t p = 0; p < pairs; p++, a += 2 * ROWS, b += 2 * COLUMNS) {
        __m512bh b0 = load_pairs(b), b1 = load_pairs(b + 32);
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
            __m512bh x = repeat_pair(a + 2 * i);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++) {
        float *row = c + (size_t)i * c_stride;
        _mm512_storeu_ps(row, _mm512_add_ps(_mm512_loadu_ps(row), sum[i][0]));
        _mm512_storeu_ps(row + 16, _mm512_add_ps(_mm512_loadu_ps(row + 16), sum[i][1]));
    }
}

static inline __mmask16 first(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}

void sterna_pack_bf16_rows_avx512bf16(const float *x, size_t stride, size_t lanes, size_t depth,
                                      size_t panel, uint16_t *out)
{
    size_t pairs = (depth + 1) / 2;
    __m512i steps =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                           _mm512_set1_epi32((int)panel));
    for (size_t i = 0; i < panel; i++) {
        const float *row = x + i * stride;
        for (size_t p = 0; p < pairs; p += 16) {
            size_t left = i < lanes ? depth - 2 * p : 0, high = left > 16 ? left - 16 : 0;
            __m512 low =
                left ? _mm512_maskz_loadu_ps(first(left), row + 2 * p) : _mm512_setzero_ps();
            __m512 rest =
                high ? _mm512_maskz_loadu_ps(first(high), row + 2 * p + 16) : _mm512_setzero_ps();
            _mm512_mask_i32scatter_epi32(out + 2 * (p * panel + i), first(pairs - p), steps,
                                         (__m512i)_mm512_cvtne2ps_pbh(rest, low), 4);
        }
    }
}

void sterna_pack_bf16_columns_avx512bf16(const float *x, size_t stride, size_t lanes, size_t depth,
                                         size_t panel, uint16_t *out)
{
    for (size_t k = 0; k < depth; k += 2)
        for (size_t i = 0; i < panel; i += 16) {
            const float *at = x + k * stride + i;
            __mmask16 there = i < lanes ? first(lanes - i) : 0;
            __m512 even = there ? _mm512_maskz_loadu_ps(there, at) : _mm512_setzero_ps();
            __m512 odd = there && k + 1 < depth ? _mm512_maskz_loadu_ps(there, at + stride)
                                                : _mm512_setzero_ps();
            __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
            __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
            __m512i both = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
            _mm512_mask_storeu_epi32(out + k * panel + 2 * i, first(panel - i), both);
        }
}
