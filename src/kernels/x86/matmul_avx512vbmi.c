/* tern5 with byte permutes: three trits from five bits by three look-ups in registers.
 *
 * One token: the three runs of a trio side by side, one stream. Per field of 192 weights: 1/2 load
 * of low bits, 7/8 shift, 1 ternary logic, 3 vpermb, 3 vpdpbusd that broadcast by themselves, and
 * per block of eight fields 1 load of high bits and 5 prefetches.
 *
 * Many tokens: a run at a time, so that one accumulator per token and panel is enough; a trio's
 * lines are read three times, twice of them from the first-level cache.
 */
#include "kernels/x86/matmul_int_avx512.h"
#include "kernels/x86/tern5_avx512vbmi.h"

enum { AHEAD_RUN = 4096 }; /* bytes that few tokens ask for ahead of a run's codes */

/* One token: sums += a trio's codes * x, one sum a run. */
INLINE void walk_trio(const uint8_t *codes, size_t run, const int8_t *x, __m512i sums[3])
{
    __m512i acc[2][3]; /* by turns: a product has to wait for the last one of its sum */
    for (size_t i = 0; i < 3; i++) {
        acc[0][i] = sums[i];
        acc[1][i] = _mm512_setzero_si512();
    }
    const int8_t *at[3] = {x, x + run, x + 2 * run}, *end = at[1];
    while (at[0] < end) {
#pragma GCC unroll 5
        for (size_t line = 0; line < TERN5_BYTES; line += 64)
            _mm_prefetch((const char *)codes + AHEAD_ONE + line, _MM_HINT_T0);
#pragma GCC unroll 8
        for (size_t j = 0; j < TERN5_FIELDS; j++) {
            __m512i field = tern5_field(codes, j);
#pragma GCC unroll 3
            for (size_t i = 0; i < 3; i++)
                acc[j % 2][i] = _mm512_dpbusd_epi32(
                    acc[j % 2][i], _mm512_permutexvar_epi8(field, tern5_table(i, j)),
                    broadcast(at[i] + 4 * j));
        }
        for (size_t i = 0; i < 3; i++) at[i] += TERN5_COLS;
        codes += TERN5_BYTES;
    }
    for (size_t i = 0; i < 3; i++) sums[i] = _mm512_add_epi32(acc[0][i], acc[1][i]);
}

/* A row that is one segment: its trio, and what is left of its columns. */
INLINE __m512i walk_row(const sterna_int_tile *tile, tern5_map map, const uint8_t *codes,
                        const int8_t *x, __m512i start_sum)
{
    __m512i sums[3] = {start_sum, _mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t cols = tern5_trio_cols(map);
    if (map.trios) walk_trio(codes, map.run, x, sums);
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), sums[2]);
    return walk_one(codes + map.trios * tern5_trio_bytes(map), (tile->cols - cols) / 16, x + cols,
                    sum, TERN2);
}

INLINE void one_tern5(const sterna_int_tile *tile, size_t p, size_t t)
{
    const tern5_map map = map_of(tile);
    const int8_t *x = tile->x + t * tile->x_stride;
    row_sum row = row_sum_of(tile, p, t);
    const uint8_t *codes = row.at.codes;
    if (tile->segments == 1) {
        add_segment(&row, 0, walk_row(tile, map, codes, x, start_of(&row, 0, TERN5)));
        store_row_sum(&row);
        return;
    }
    size_t s = 0, begin = 0;
    for (; s < 3 * map.trios; s += 3, begin += 3 * map.run, codes += tern5_trio_bytes(map)) {
        __m512i sums[3];
        for (size_t i = 0; i < 3; i++) sums[i] = start_of(&row, s + i, TERN5);
        walk_trio(codes, map.run, x + begin, sums);
        for (size_t i = 0; i < 3; i++) add_segment(&row, s + i, sums[i]);
    }
    for (; s < tile->segments; s++, begin += tile->segment) {
        size_t lines = (segment_end(tile, begin) - begin) / 16;
        add_segment(&row, s, walk_one(codes, lines, x + begin, start_of(&row, s, TERN2), TERN2));
        codes += lines * 64;
    }
    store_row_sum(&row);
}

/* acc += codes * x of run i of a trio: T tokens, P panels, `offset` bytes into the panels. */
INLINE void walk_run(const place *at, size_t offset, size_t run, size_t i, const int8_t *x,
                     size_t stride, size_t P, size_t T, __m512i acc[2][MOST])
{
    const __m512i tables[2] = {tern5_table(i, 0), tern5_table(i, 1)};
    for (size_t c = 0; c < run; c += TERN5_COLS, offset += TERN5_BYTES, x += TERN5_COLS) {
        for (size_t p = 0; T < MOST && i == 0 && p < P; p++) /* few tokens wait for memory */
            for (size_t line = 0; line < TERN5_BYTES; line += 64)
                _mm_prefetch((const char *)at[p].codes + offset + AHEAD_RUN + line, _MM_HINT_T0);
#pragma GCC unroll 8
        for (size_t j = 0; j < TERN5_FIELDS; j++) {
            __m512i w[2];
            for (size_t p = 0; p < P; p++)
                w[p] = _mm512_permutexvar_epi8(tern5_field(at[p].codes + offset, j), tables[j % 2]);
            for (size_t t = 0; t < T; t++) {
                __m512i four = broadcast(x + t * stride + 4 * j);
                for (size_t p = 0; p < P; p++)
                    acc[p][t] = _mm512_dpbusd_epi32(acc[p][t], w[p], four);
            }
            __asm__ volatile("" : : : "memory"); /* else gcc loads ahead and spills the sums */
        }
    }
}

INLINE void walk_tern5(const sterna_int_tile *tile, tern5_map map, const place *at, size_t s,
                       const int8_t *x, size_t P, size_t T, __m512i acc[2][MOST])
{
    const size_t stride = tile->x_stride, trio_bytes = tern5_trio_bytes(map);
    size_t begin = s * tile->segment, end = segment_end(tile, begin), runs = map.trios;
    if (tile->segments > 1)
        runs = s < 3 * map.trios;
    else
        runs *= 3;
    for (size_t i = 0; i < runs; i++, begin += map.run)
        walk_run(at, s / 3 * trio_bytes, map.run, (s + i) % 3, x + begin, stride, P, T, acc);
    if (begin >= end) return;
    size_t offset = map.trios * trio_bytes + (begin - tern5_trio_cols(map)) / 16 * 64;
    walk_lines(at, offset, (end - begin) / 16, x + begin, stride, TERN2, P, T, acc);
}

void sterna_matmul_tern5_avx512vbmi(const sterna_int_tile *tile)
{
    matmul_int(tile, TERN5, one_tern5, walk_tern5);
}
