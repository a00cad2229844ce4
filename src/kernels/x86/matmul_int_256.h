/* Integer matmuls in 256-bit registers: the body of matmul_avx2.c and matmul_avxvnni.c, which
 * define STERNA_MATMUL(name) and VNNI (0: vpmaddubsw into 16-bit sums; 1: vpdpbusd).
 *
 * A line of 64 bytes is two halves of 8 rows x 4 columns x FIELDS. H halves and T tokens go at a
 * time: one token walks both halves (they share its broadcasts), four tokens walk one (its codes
 * are unpacked once). Instructions per 64 bytes of tern2 and token, one token / four tokens:
 *   VNNI: 2 loads, 8 and, 6 shift, 8 dot = 24 / 12      (of 256 weights)
 *   AVX2: 2 loads, 8 and, 6 shift, 8 madd, 8 add = 32 / 20, and 4 each 8 lines
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

typedef enum layout { TERN2, INT4, INT8 } layout;

/* Columns of a line / 4, and lines whose 16-bit products cannot overflow: 4 * 2 * 3 * 127 * 8 =
 * 24384, 2 * 2 * 15 * 127 * 4 = 30480, 2 * 128 * 127 = 32512 (all below 32768). */
INLINE size_t fields_of(layout L)
{
    return L == TERN2 ? 4 : L == INT4 ? 2 : 1;
}

INLINE size_t lines_of(layout L)
{
    return L == TERN2 ? 8 : L == INT4 ? 4 : 1;
}

INLINE void unpack(__m256i v, layout L, __m256i out[4])
{
    if (L == TERN2) {
        __m256i mask = _mm256_set1_epi8(3);
        out[0] = _mm256_and_si256(v, mask);
        out[1] = _mm256_and_si256(_mm256_srli_epi16(v, 2), mask);
        out[2] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        out[3] = _mm256_and_si256(_mm256_srli_epi16(v, 6), mask);
    } else if (L == INT4) {
        __m256i mask = _mm256_set1_epi8(15);
        out[0] = _mm256_and_si256(v, mask);
        out[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    } else {
#if VNNI
        out[0] = _mm256_xor_si256(v, _mm256_set1_epi8(-128)); /* + 128, undone by the zero */
#else
        out[0] = v;
#endif
    }
}

INLINE __m256i broadcast(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* sums[H][T] of 8 rows each over `lines` lines from `codes` (already at the first of the H halves).
 */
INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride, layout L,
                 size_t H, size_t T, __m256i sums[2][4])
{
    const size_t F = fields_of(L);
    __m256i acc[2][4];
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++) acc[h][t] = _mm256_setzero_si256();
#if VNNI
    for (size_t line = 0; line < lines; line++, codes += 64, x += 4 * F)
        for (size_t h = 0; h < H; h++) {
            __m256i w[4];
            unpack(_mm256_load_si256((const void *)(codes + 32 * h)), L, w);
            for (size_t f = 0; f < F; f++)
                for (size_t t = 0; t < T; t++)
                    acc[h][t] =
                        _mm256_dpbusd_avx_epi32(acc[h][t], w[f], broadcast(x + t * stride + 4 * f));
        }
#else
    const __m256i ones = _mm256_set1_epi16(1);
    while (lines) {
        size_t some = lines < lines_of(L) ? lines : lines_of(L);
        __m256i part[2][4];
        for (size_t h = 0; h < H; h++)
            for (size_t t = 0; t < T; t++) part[h][t] = _mm256_setzero_si256();
        for (size_t line = 0; line < some; line++, codes += 64, x += 4 * F)
            for (size_t h = 0; h < H; h++) {
                __m256i w[4];
                unpack(_mm256_load_si256((const void *)(codes + 32 * h)), L, w);
                if (L == INT8) {
                    __m256i size = _mm256_abs_epi8(w[0]);
                    for (size_t t = 0; t < T; t++)
                        part[h][t] = _mm256_maddubs_epi16(
                            size, _mm256_sign_epi8(broadcast(x + t * stride), w[0]));
                    continue;
                }
                for (size_t f = 0; f < F; f++)
                    for (size_t t = 0; t < T; t++)
                        part[h][t] = _mm256_add_epi16(
                            part[h][t],
                            _mm256_maddubs_epi16(w[f], broadcast(x + t * stride + 4 * f)));
            }
        for (size_t h = 0; h < H; h++)
            for (size_t t = 0; t < T; t++)
                acc[h][t] = _mm256_add_epi32(acc[h][t], _mm256_madd_epi16(part[h][t], ones));
        lines -= some;
    }
#endif
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++) sums[h][t] = acc[h][t];
}

INLINE __m256 halves(const uint16_t *at)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)at));
}

/* Panel p, rows 8 * half .. of it, tokens t .. t+T-1. */
INLINE void tokens(const sterna_int_tile *tile, size_t p, size_t half, size_t t, layout L, size_t H,
                   size_t T)
{
    const size_t line_cols = 4 * fields_of(L), S = tile->segments, x_step = tile->x_step;
    const uint8_t *codes = tile->codes + p * tile->codes_step + 32 * half;
    const uint16_t *scales = tile->scales ? tile->scales + p * tile->scales_step + 8 * half : NULL;
    const uint16_t *mins = tile->mins ? tile->mins + p * tile->scales_step + 8 * half : NULL;
    const int8_t *x = tile->x + t * tile->x_stride;
    const float *x_scales = tile->x_scales + t;
    const int32_t *x_sums = tile->x_sums + t;
    const float *x_offsets = tile->mins ? tile->x_offsets + t : NULL;
    const int32_t zero = L == TERN2 ? 1 : L == INT8 && VNNI ? tile->zero + 128 : tile->zero;
    __m256 acc[2][4];
    for (size_t h = 0; h < H; h++)
        for (size_t i = 0; i < T; i++) acc[h][i] = _mm256_setzero_ps();

    size_t left = tile->segments_per_scale;
    for (size_t s = 0, begin = 0; s < S; s++, begin += tile->segment) {
        size_t end = begin + tile->segment < tile->cols ? begin + tile->segment : tile->cols;
        __m256i sums[2][4];
        walk(codes + begin / line_cols * 64, (end - begin) / line_cols, x + begin, tile->x_stride,
             L, H, T, sums);
        for (size_t h = 0; h < H; h++) {
            __m256 scale = scales ? halves(scales + 8 * h) : _mm256_set1_ps(1);
            for (size_t i = 0; i < T; i++) {
                __m256 x_scale = _mm256_set1_ps(x_scales[s * x_step + i]);
                int32_t x_sum = x_sums[s * x_step + i];
                __m256i sum = _mm256_sub_epi32(sums[h][i], _mm256_set1_epi32(zero * x_sum));
                acc[h][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(x_scale, scale),
                                            acc[h][i]);
                if (mins)
                    acc[h][i] = _mm256_fmadd_ps(_mm256_set1_ps(x_offsets[s * x_step + i]),
                                                halves(mins + 8 * h), acc[h][i]);
            }
        }
        if (--left) continue;
        left = tile->segments_per_scale;
        if (scales) scales += STERNA_PANEL;
        if (mins) mins += STERNA_PANEL;
    }
    for (size_t h = 0; h < H; h++) {
        size_t row = p * tile->row_step + 8 * (half + h);
        __m256 factors = _mm256_loadu_ps(tile->factors + row);
        for (size_t i = 0; i < T; i++)
            _mm256_storeu_ps(tile->y + (t + i) * tile->y_stride + row,
                             _mm256_mul_ps(acc[h][i], factors));
    }
}

INLINE void matmul_int(const sterna_int_tile *tile, layout L)
{
    for (size_t p = 0; p < tile->panels; p++) {
        size_t t = 0;
        for (; t + 4 <= tile->n; t += 4)
            for (size_t half = 0; half < 2; half++) tokens(tile, p, half, t, L, 1, 4);
        for (; t + 2 <= tile->n; t += 2) tokens(tile, p, 0, t, L, 2, 2);
        if (t < tile->n) tokens(tile, p, 0, t, L, 2, 1);
    }
}

void STERNA_MATMUL(matmul_tern2)(const sterna_int_tile *tile)
{
    matmul_int(tile, TERN2);
}

void STERNA_MATMUL(matmul_int4)(const sterna_int_tile *tile)
{
    matmul_int(tile, INT4);
}

void STERNA_MATMUL(matmul_int8)(const sterna_int_tile *tile)
{
    matmul_int(tile, INT8);
}
