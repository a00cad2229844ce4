/* Integer matmuls in 256-bit registers: the body of matmul_avx2.c and matmul_avxvnni.c, which
 * define STERNA_MATMUL(name) and VNNI (0: vpmaddubsw into 16-bit sums; 1: vpdpbusd).
 *
 * A line of 64 bytes is two halves of 8 rows x 4 columns x FIELDS. H halves and T tokens go at a
 * time: a field is unpacked once for the tokens, a broadcast serves the halves. Four tokens take
 * both halves with VNNI and, short of registers for the 16-bit sums, one half with AVX2.
 * Instructions per 64 bytes of tern2 and token, one token / four tokens:
 *   VNNI: 2 loads, 8 and, 6 shift, 8 dot, 4 broadcasts = 28 / 16      (of 256 weights)
 *   AVX2: the same with 8 madd and 8 add = 36 / 28, and 4 each 8 lines
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

/* Bytes that codes are prefetched ahead of their use: one token's panels are one stream. */
INLINE size_t ahead_of(size_t tokens)
{
    return tokens == 1 ? 8192 : 2048;
}

/* Field f of half a line. */
INLINE __m256i field(__m256i v, layout L, size_t f)
{
    if (L == INT8) return VNNI ? _mm256_xor_si256(v, _mm256_set1_epi8(-128)) : v; /* + 128 */
    if (L == TERN2 && f == 1) v = _mm256_srli_epi16(v, 2);
    if ((L == TERN2 && f == 2) || (L == INT4 && f == 1)) v = _mm256_srli_epi16(v, 4);
    if (L == TERN2 && f == 3) v = _mm256_srli_epi16(v, 6);
    return _mm256_and_si256(v, _mm256_set1_epi8(L == TERN2 ? 3 : 15));
}

INLINE __m256i broadcast(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* Where a sum starts: the zero's part taken off beforehand. */
INLINE __m256i start(int32_t x_sum, int32_t zero)
{
    return _mm256_set1_epi32(-zero * x_sum);
}

#if VNNI
/* isum[half][token] of H halves, 8 rows each, over `lines` lines. Few tokens take turns with
 * several sums, to hide the latency of a product. */
INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride,
                 const int32_t *x_sums, int32_t zero, layout L, size_t H, size_t T,
                 __m256i isum[2][4])
{
    const size_t F = fields_of(L), turns = T < 4 ? 4 / T : 1;
    __m256i acc[2][4];
    for (size_t h = 0; h < H; h++)
        for (size_t a = 0; a < T * turns; a++)
            acc[h][a] = a < T ? start(x_sums[a], zero) : _mm256_setzero_si256();
    for (size_t line = 0; line < lines; line++, codes += 64, x += 4 * F) {
        __m256i v[2];
        for (size_t h = 0; h < H; h++) v[h] = _mm256_load_si256((const void *)(codes + 32 * h));
        _mm_prefetch((const char *)codes + ahead_of(T), _MM_HINT_T0);
        for (size_t f = 0; f < F; f++) {
            __m256i w[2];
            for (size_t h = 0; h < H; h++) w[h] = field(v[h], L, f);
            for (size_t t = 0; t < T; t++) {
                __m256i four = broadcast(x + t * stride + 4 * f);
                size_t a = t + T * (f % turns);
                for (size_t h = 0; h < H; h++)
                    acc[h][a] = _mm256_dpbusd_avx_epi32(acc[h][a], w[h], four);
            }
        }
    }
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++) {
            isum[h][t] = acc[h][t];
            for (size_t a = t + T; a < T * turns; a += T)
                isum[h][t] = _mm256_add_epi32(isum[h][t], acc[h][a]);
        }
}
#else
/* Pairs of products as 16 bits. */
INLINE __m256i products(__m256i w, __m256i x, layout L)
{
    if (L != INT8) return _mm256_maddubs_epi16(w, x);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* isum[half][token] of H halves, 8 rows each, over `lines` lines. */
INLINE void walk(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride,
                 const int32_t *x_sums, int32_t zero, layout L, size_t H, size_t T,
                 __m256i isum[2][4])
{
    const size_t F = fields_of(L);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i acc[2][4];
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++) acc[h][t] = start(x_sums[t], zero);
    while (lines) {
        size_t some = lines < lines_of(L) ? lines : lines_of(L);
        __m256i part[2][4];
        for (size_t h = 0; h < H; h++)
            for (size_t t = 0; t < T; t++) part[h][t] = _mm256_setzero_si256();
        for (size_t line = 0; line < some; line++, codes += 64, x += 4 * F) {
            _mm_prefetch((const char *)codes + ahead_of(T), _MM_HINT_T0);
            for (size_t h = 0; h < H; h++) {
                __m256i v = _mm256_load_si256((const void *)(codes + 32 * h)), w[4];
                for (size_t f = 0; f < F; f++) w[f] = field(v, L, f);
                for (size_t f = 0; f < F; f++)
                    for (size_t t = 0; t < T; t++) {
                        __m256i pairs = products(w[f], broadcast(x + t * stride + 4 * f), L);
                        part[h][t] = _mm256_add_epi16(part[h][t], pairs);
                    }
            }
        }
        for (size_t h = 0; h < H; h++)
            for (size_t t = 0; t < T; t++)
                acc[h][t] = _mm256_add_epi32(acc[h][t], _mm256_madd_epi16(part[h][t], ones));
        lines -= some;
    }
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++) isum[h][t] = acc[h][t];
}
#endif

INLINE __m256 halves(const uint16_t *at)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)at));
}

/* Panel p, H halves from `half` on, tokens t .. t+T-1. */
INLINE void tokens(const sterna_int_tile *tile, size_t p, size_t half, size_t t, layout L, size_t H,
                   size_t T)
{
    const size_t line_cols = 4 * fields_of(L);
    const uint8_t *codes = tile->codes + p * tile->codes_step + 32 * half;
    const uint16_t *scales = tile->scales ? tile->scales + p * tile->scales_step + 8 * half : NULL;
    const uint16_t *mins = tile->mins ? tile->mins + p * tile->scales_step + 8 * half : NULL;
    const int8_t *x = tile->x + t * tile->x_stride;
    const int32_t zero = L == TERN2 ? 1 : L == INT8 && VNNI ? tile->zero + 128 : tile->zero;
    __m256 sums[2][4];
    for (size_t h = 0; h < H; h++)
        for (size_t i = 0; i < T; i++) sums[h][i] = _mm256_setzero_ps();

    size_t left = tile->segments_per_scale;
    for (size_t s = 0, begin = 0; s < tile->segments; s++, begin += tile->segment) {
        size_t end = begin + tile->segment < tile->cols ? begin + tile->segment : tile->cols;
        size_t x_at = s * tile->x_step + t;
        const float *x_scales = tile->x_scales + x_at;
        __m256i isum[2][4];
        walk(codes + begin / line_cols * 64, (end - begin) / line_cols, x + begin, tile->x_stride,
             tile->x_sums + x_at, zero, L, H, T, isum);
        for (size_t h = 0; h < H; h++) {
            __m256 scale = scales ? halves(scales + 8 * h) : _mm256_set1_ps(1);
            for (size_t i = 0; i < T; i++) {
                __m256 product = _mm256_mul_ps(_mm256_set1_ps(x_scales[i]), scale);
                sums[h][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[h][i]), product, sums[h][i]);
                if (mins)
                    sums[h][i] = _mm256_fmadd_ps(_mm256_set1_ps(tile->x_offsets[x_at + i]),
                                                 halves(mins + 8 * h), sums[h][i]);
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
                             _mm256_mul_ps(sums[h][i], factors));
    }
}

INLINE void matmul_int(const sterna_int_tile *tile, layout L)
{
    for (size_t p = 0; p < tile->panels; p++) {
        size_t t = 0;
        for (; t + 4 <= tile->n; t += 4) {
            if (VNNI) {
                tokens(tile, p, 0, t, L, 2, 4);
            } else {
                tokens(tile, p, 0, t, L, 1, 4);
                tokens(tile, p, 1, t, L, 1, 4);
            }
        }
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
