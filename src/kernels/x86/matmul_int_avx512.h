/* Integer matmuls with 512-bit registers: what the layouts share. A line of 64 bytes is one
 * register of 16 rows x 4 columns for every field.
 *
 * One token: fields are masked, not shifted. Field f then counts 4^f (tern2) or 16^f (int4) times
 * too much and has an accumulator of its own, shifted once per segment. Panels are one stream,
 * prefetched far ahead. tern2, per line of 256 weights: 1 load, 4 and, 4 vpdpbusd that broadcast
 * by themselves, 1 prefetch.
 *
 * Many tokens: fields are shifted down, so that one accumulator per token and panel is enough; two
 * panels x 12 tokens use 24 of the 32 registers. tern2, per line: 1 load, 4 and, 3 shift for 4 x 12
 * vpdpbusd, and 6 broadcasts per 12.
 */
#ifndef STERNA_KERNELS_X86_MATMUL_INT_AVX512_H
#define STERNA_KERNELS_X86_MATMUL_INT_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/tern5.h"

#define INLINE static inline __attribute__((always_inline))

typedef enum layout { TERN2, TERN5, INT4, INT8 } layout;

enum {
    AHEAD_ONE = 8192, /* bytes that codes are prefetched ahead of their use: one token, */
    AHEAD = 6144,     /* and many, of two panels */
    MOST = 12,        /* tokens of a tile */
};

INLINE tern5_map map_of(const sterna_int_tile *tile)
{
    return tern5_map_of(tile->cols, tile->segment, tile->segments);
}

INLINE size_t fields_of(layout L)
{
    return L == TERN2 ? 4 : L == INT4 ? 2 : 1;
}

/* Field f of a line, times 4^f or 16^f. */
INLINE __m512i masked(__m512i v, layout L, size_t f)
{
    if (L == TERN2) return _mm512_and_si512(v, _mm512_set1_epi8((char)(3 << 2 * f)));
    if (L == INT4) return _mm512_and_si512(v, _mm512_set1_epi8((char)(15 << 4 * f)));
    return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); /* + 128, undone by the zero */
}

/* Field f of a line. */
INLINE __m512i shifted(__m512i v, layout L, size_t f)
{
    if (L == INT8) return masked(v, L, 0);
    if (L == TERN2 && f == 1) v = _mm512_srli_epi16(v, 2);
    if ((L == TERN2 && f == 2) || (L == INT4 && f == 1)) v = _mm512_srli_epi16(v, 4);
    if (L == TERN2 && f == 3) v = _mm512_srli_epi16(v, 6);
    return masked(v, L, 0);
}

INLINE __m512i broadcast(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
}

INLINE __m512i line_at(const uint8_t *codes)
{
    return _mm512_load_si512((const void *)codes);
}

/* A panel. */
typedef struct place {
    const uint8_t *codes;
    const uint16_t *scales, *mins;
} place;

#define ONE 0x3c00 /* as float16 */
static const uint16_t ones[STERNA_PANEL] = {ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE,
                                            ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE};

INLINE place place_of(const sterna_int_tile *tile, size_t p)
{
    return (place){tile->codes + p * tile->codes_step,
                   tile->scales ? tile->scales + p * tile->scales_step : ones,
                   tile->mins ? tile->mins + p * tile->scales_step : NULL};
}

INLINE __m512 halves(const uint16_t *at)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)at));
}

/* sum + isum * x_scale * scale */
INLINE __m512 scaled(__m512i isum, float x_scale, __m512 scale, __m512 sum)
{
    __m512 product = _mm512_mul_ps(scale, _mm512_set1_ps(x_scale));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), product, sum);
}

/* Where a sum starts: the zero's part taken off beforehand. */
INLINE __m512i start(int32_t x_sum, int32_t zero, layout L)
{
    __m512i sum = _mm512_set1_epi32(x_sum);
    if (L == TERN2 || L == TERN5) return _mm512_sub_epi32(_mm512_setzero_si512(), sum);
    return _mm512_mullo_epi32(sum, _mm512_set1_epi32(-zero));
}

/* One token: acc += a panel's codes * x over `lines` lines. */
INLINE __m512i walk_one(const uint8_t *codes, size_t lines, const int8_t *x, __m512i sum, layout L)
{
    const size_t F = fields_of(L);
    __m512i acc[4];
    for (size_t f = 0; f < F; f++) acc[f] = f ? _mm512_setzero_si512() : sum;
    for (size_t line = 0; line < lines; line++, codes += 64, x += 4 * F) {
        __m512i v = line_at(codes);
        _mm_prefetch((const char *)codes + AHEAD_ONE, _MM_HINT_T0);
        for (size_t f = 0; f < F; f++)
            acc[f] = _mm512_dpbusd_epi32(acc[f], masked(v, L, f), broadcast(x + 4 * f));
    }
    if (L == INT4) return _mm512_add_epi32(acc[0], _mm512_srai_epi32(acc[1], 4));
    if (L != TERN2) return acc[0];
    __m512i high = _mm512_add_epi32(_mm512_srai_epi32(acc[2], 4), _mm512_srai_epi32(acc[3], 6));
    return _mm512_add_epi32(_mm512_add_epi32(acc[0], _mm512_srai_epi32(acc[1], 2)), high);
}

INLINE int32_t zero_of(const sterna_int_tile *tile, layout L)
{
    return L == INT4 ? tile->zero : L == INT8 ? tile->zero + 128 : 1;
}

/* One token's float sum of a panel, segment by segment. */
typedef struct row_sum {
    const sterna_int_tile *tile;
    place at;
    size_t p, t;
    size_t scale_at, left; /* of the next segment: its scales, and segments that share them */
    __m512 sum;
} row_sum;

INLINE row_sum row_sum_of(const sterna_int_tile *tile, size_t p, size_t t)
{
    return (row_sum){
        tile, place_of(tile, p), p, t, 0, tile->segments_per_scale, _mm512_setzero_ps()};
}

INLINE __m512i start_of(const row_sum *row, size_t s, layout L)
{
    const sterna_int_tile *tile = row->tile;
    return start(tile->x_sums[s * tile->x_step + row->t], zero_of(tile, L), L);
}

INLINE void add_segment(row_sum *row, size_t s, __m512i isum)
{
    const sterna_int_tile *tile = row->tile;
    size_t x_at = s * tile->x_step + row->t;
    row->sum = scaled(isum, tile->x_scales[x_at], halves(row->at.scales + row->scale_at), row->sum);
    if (tile->mins)
        row->sum = _mm512_fmadd_ps(_mm512_set1_ps(tile->x_offsets[x_at]),
                                   halves(row->at.mins + row->scale_at), row->sum);
    if (--row->left) return;
    row->left = tile->segments_per_scale;
    row->scale_at += tile->scales ? STERNA_PANEL : 0;
}

INLINE void store_row_sum(const row_sum *row)
{
    const sterna_int_tile *tile = row->tile;
    size_t at = row->p * tile->row_step;
    _mm512_storeu_ps(tile->y + row->t * tile->y_stride + at,
                     _mm512_mul_ps(row->sum, _mm512_loadu_ps(tile->factors + at)));
}

INLINE size_t segment_end(const sterna_int_tile *tile, size_t begin)
{
    return begin + tile->segment < tile->cols ? begin + tile->segment : tile->cols;
}

/* Panel p for token t. */
INLINE void one_token(const sterna_int_tile *tile, size_t p, size_t t, layout L)
{
    const size_t line_cols = 4 * fields_of(L);
    const int8_t *x = tile->x + t * tile->x_stride;
    row_sum row = row_sum_of(tile, p, t);
    for (size_t s = 0, begin = 0; s < tile->segments; s++, begin += tile->segment) {
        size_t lines = (segment_end(tile, begin) - begin) / line_cols;
        add_segment(&row, s,
                    walk_one(row.at.codes + begin / line_cols * 64, lines, x + begin,
                             start_of(&row, s, L), L));
    }
    store_row_sum(&row);
}

/* acc += codes * x of T tokens, P panels over `lines` lines, `offset` bytes into the panels. */
INLINE void walk_lines(const place *at, size_t offset, size_t lines, const int8_t *x, size_t stride,
                       layout L, size_t P, size_t T, __m512i acc[2][MOST])
{
    const size_t F = fields_of(L);
    for (size_t line = 0; line < lines; line++, offset += 64, x += 4 * F) {
        __m512i v[2];
        __asm__ volatile("" : "+r"(x)); /* no loads of the next line's activations in advance */
        for (size_t p = 0; p < P; p++) {
            v[p] = line_at(at[p].codes + offset);
            _mm_prefetch((const char *)at[p].codes + offset + AHEAD, _MM_HINT_T0);
        }
        for (size_t f = 0; f < F; f++) {
            __m512i w[2];
            for (size_t p = 0; p < P; p++) w[p] = shifted(v[p], L, f);
            for (size_t t = 0; t < T; t++) {
                __m512i four = broadcast(x + t * stride + 4 * f);
                for (size_t p = 0; p < P; p++)
                    acc[p][t] = _mm512_dpbusd_epi32(acc[p][t], w[p], four);
            }
        }
    }
}

/* acc += codes * x of segment s; x is the first of T tokens; map is tern5's. */
typedef void walk_fn(const sterna_int_tile *tile, tern5_map map, const place *at, size_t s,
                     const int8_t *x, size_t P, size_t T, __m512i acc[2][MOST]);
/* Panel p for token t. */
typedef void one_fn(const sterna_int_tile *tile, size_t p, size_t t);

/* A segment of a layout that is lines and nothing else. */
INLINE void walk_segment(const sterna_int_tile *tile, const place *at, size_t s, const int8_t *x,
                         layout L, size_t P, size_t T, __m512i acc[2][MOST])
{
    const size_t line_cols = 4 * fields_of(L), begin = s * tile->segment;
    walk_lines(at, begin / line_cols * 64, (segment_end(tile, begin) - begin) / line_cols,
               x + begin, tile->x_stride, L, P, T, acc);
}

/* Keeps the integer sums in registers where it stands: gcc 12 spills them inside of the loop over
 * lines otherwise. */
INLINE void hold(__m512i acc[2][MOST], size_t P, size_t T)
{
    for (size_t p = 0; p < P; p++)
        for (size_t t = 0; t < T; t++) __asm__ volatile("" : "+v"(acc[p][t]));
}

/* What a matrix has beside its codes: known at compile time. */
typedef enum extras { NO_SCALES, SCALES, SCALES_AND_MINS } extras;

/* sums += a segment's products, whose integer sums start anew for the next segment. `at` stands at
 * the segment's scales, `x_at` at the activations' scales of the segment and `next` at the sums of
 * the next one. */
INLINE void flush_many(const sterna_int_tile *tile, const place *at, size_t scale_at, size_t x_at,
                       const int32_t *next, int32_t zero, layout L, size_t P, size_t T, extras E,
                       __m512i acc[2][MOST], __m512 sums[2][MOST])
{
    __m512 scale[2], min[2];
    for (size_t p = 0; p < P; p++) {
        if (E >= SCALES) scale[p] = halves(at[p].scales + scale_at);
        if (E == SCALES_AND_MINS) min[p] = halves(at[p].mins + scale_at);
    }
#pragma GCC unroll 12
    for (size_t t = 0; t < T; t++) {
        const __m512 x_scale = _mm512_set1_ps(tile->x_scales[x_at + t]);
#pragma GCC unroll 2
        for (size_t p = 0; p < P; p++) {
            __m512 product = E == NO_SCALES ? x_scale : _mm512_mul_ps(scale[p], x_scale);
            __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[p][t]), product, sums[p][t]);
            if (E == SCALES_AND_MINS)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(tile->x_offsets[x_at + t]), min[p], sum);
            sums[p][t] = sum;
            acc[p][t] = start(next[t], zero, L);
        }
    }
}

/* Panels p .. p+P-1 for tokens t .. t+T-1. */
INLINE void many_tokens(const sterna_int_tile *tile, size_t p, size_t t, layout L, walk_fn *walk,
                        size_t P, size_t T, extras E)
{
    const size_t S = tile->segments;
    const int32_t zero = zero_of(tile, L);
    const int8_t *x = tile->x + t * tile->x_stride;
    const size_t scale_step = tile->scales ? STERNA_PANEL : 0;
    const tern5_map map = L == TERN5 ? map_of(tile) : (tern5_map){0};
    place at[2];
    __m512i acc[2][MOST];
    __m512 sums[2][MOST];
    for (size_t i = 0; i < P; i++) {
        at[i] = place_of(tile, p + i);
        for (size_t j = 0; j < T; j++) {
            acc[i][j] = start(tile->x_sums[t + j], zero, L);
            sums[i][j] = _mm512_setzero_ps();
        }
    }
    for (size_t j = 0; T == MOST && j < T; j++) /* stores would wait for their lines */
        for (size_t i = 0; i < P; i++)
            _mm_prefetch(
                (const char *)(tile->y + (t + j) * tile->y_stride + (p + i) * tile->row_step),
                _MM_HINT_T0);
    size_t scale_at = 0, left = tile->segments_per_scale;
    for (size_t s = 0; s < S; s++) {
        size_t x_at = s * tile->x_step + t, next = s + 1 < S ? x_at + tile->x_step : x_at;
        walk(tile, map, at, s, x, P, T, acc);
        hold(acc, P, T);
        __asm__ volatile("" : "+m"(sums)); /* in memory: the registers are the integers' */
        flush_many(tile, at, scale_at, x_at, tile->x_sums + next, zero, L, P, T, E, acc, sums);
        __asm__ volatile("" : "+m"(sums));
        if (--left == 0) {
            left = tile->segments_per_scale;
            scale_at += scale_step;
        }
    }
    for (size_t i = 0; i < P; i++) {
        size_t row = (p + i) * tile->row_step;
        __m512 factors = _mm512_loadu_ps(tile->factors + row);
        for (size_t j = 0; j < T; j++)
            _mm512_storeu_ps(tile->y + (t + j) * tile->y_stride + row,
                             _mm512_mul_ps(sums[i][j], factors));
    }
}

/* Token tiles over P panels. */
INLINE void all_tokens(const sterna_int_tile *tile, size_t p, layout L, one_fn *one, walk_fn *walk,
                       size_t P, extras E)
{
    size_t t = 0, n = tile->n;
    for (; t + 12 <= n; t += 12) many_tokens(tile, p, t, L, walk, P, 12, E);
    for (; t + 8 <= n; t += 8) many_tokens(tile, p, t, L, walk, P, 8, E);
    for (; t + 4 <= n; t += 4) many_tokens(tile, p, t, L, walk, P, 4, E);
    for (; t + 2 <= n; t += 2) many_tokens(tile, p, t, L, walk, P, 2, E);
    for (size_t i = 0; t < n && i < P; i++) one(tile, p + i, t);
}

INLINE void all_panels(const sterna_int_tile *tile, layout L, one_fn *one, walk_fn *walk, extras E)
{
    size_t p = 0;
    for (; p + 2 <= tile->panels; p += 2) all_tokens(tile, p, L, one, walk, 2, E);
    if (p < tile->panels) all_tokens(tile, p, L, one, walk, 1, E);
}

INLINE void matmul_int(const sterna_int_tile *tile, layout L, one_fn *one, walk_fn *walk)
{
    if (tile->n == 1)
        for (size_t p = 0; p < tile->panels; p++) one(tile, p, 0);
    else if (tile->mins)
        all_panels(tile, L, one, walk, SCALES_AND_MINS);
    else if (tile->scales)
        all_panels(tile, L, one, walk, SCALES);
    else
        all_panels(tile, L, one, walk, NO_SCALES);
}

#endif
