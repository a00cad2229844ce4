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

/* Rows of 16 pairs become columns: out[i] lane j = in[j] lane i. */
static inline void transpose(const __m512i in[16], __m512i out[16])
{
    __m512i a[16], b[16];
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; k++) { /* four lanes of a column in every quarter */
            b[i + 2 * k] = _mm512_unpacklo_epi64(a[i + k], a[i + 2 + k]);
            b[i + 2 * k + 1] = _mm512_unpackhi_epi64(a[i + k], a[i + 2 + k]);
        }
    for (int i = 0; i < 4; i++) {
        __m512i low = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        __m512i high = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        __m512i low_odd = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        __m512i high_odd = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
        out[i] = _mm512_shuffle_i32x4(low, high, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(low, high, 0xdd);
        out[4 + i] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
        out[12 + i] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
    }
}

/* Up to 32 floats of a row as 16 pairs, zeros behind them. */
static inline __m512i load_row(const float *row, size_t left)
{
    __m512 low = _mm512_maskz_loadu_ps(first(left), row), high = _mm512_setzero_ps();
    if (left > 16) high = _mm512_maskz_loadu_ps(first(left - 16), row + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

void sterna_pack_bf16_rows_avx512bf16(const float *x, size_t stride, size_t lanes, size_t depth,
                                      size_t panel, uint16_t *out)
{
    for (size_t from = 0; from < panel; from += 16)
        for (size_t k = 0; k < depth; k += 32) {
            __m512i rows[16], columns[16];
            for (size_t i = 0; i < 16; i++)
                rows[i] = from + i < lanes ? load_row(x + (from + i) * stride + k, depth - k)
                                           : _mm512_setzero_si512();
            transpose(rows, columns);
            for (size_t p = 0; p < 16 && k + 2 * p < depth; p++)
                _mm512_mask_storeu_epi32(out + (k / 2 + p) * panel * 2 + 2 * from,
                                         first(panel - from), columns[p]);
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
