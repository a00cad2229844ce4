/* tern5 with byte permutes: three trits from five bits by three look-ups in registers.
 *
 * One token: the three runs of a trio side by side, one stream. Per field of 192 weights: 1/2 load
 * of low bits, 7/8 shift, 1 ternary logic, 3 vpermb, 3 vpdpbusd that broadcast by themselves, and
 * per block of eight fields 1 load of high bits and 5 prefetches.
 *
 * Many tokens: a run at a time, so that one accumulator per token and panel is enough; a trio's
 * lines are read three times, twice of them from the first-level cache. Two panels x 12 or 8 tokens
 * are in assembler (tile_avx512vbmi.h).
 */
#include "kernels/x86/matmul_int_avx512.h"
#include "kernels/x86/tern5_avx512vbmi.h"
#include "kernels/x86/tile_avx512vbmi.h"

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

/* A tile of panels p, p + 1 and tokens from t on, and what it asks for beside its work: its
 * results' lines, a few at a time (all at once would keep the activations waiting), and a share of
 * the next two panels. */
typedef struct pair_tile {
    const sterna_int_tile *tile;
    size_t p, t;
    place at[TILE_PANELS];
    tile_walk walk;
    size_t asked;           /* lines of results */
    const uint8_t *asks[3]; /* where the runs of the first trio begin to ask; */
    size_t ask_step;        /* those of the next one this much further on */
} pair_tile;

INLINE void ask_results(pair_tile *now, size_t lines)
{
    const sterna_int_tile *tile = now->tile;
    const size_t all = now->walk.tokens * TILE_PANELS;
    for (; lines && now->asked < all; lines--, now->asked++) {
        const float *y = tile->y + (now->t + now->asked / TILE_PANELS) * tile->y_stride;
        _mm_prefetch((const char *)(y + (now->p + now->asked % TILE_PANELS) * tile->row_step),
                     _MM_HINT_T0);
    }
}

/* What the blocks of a trio's runs ask for. Of 8 tokens there is one tile: its three runs read the
 * next panels' bytes through, as fast as they use these. Of more, the first four tiles take ten
 * runs for the ten lines of two panels' blocks, the others ask for what is there. */
INLINE void set_asks(pair_tile *now, tern5_map map)
{
    enum { LINES = TERN5_BYTES / 64 };
    const size_t step = now->tile->codes_step, bytes = tern5_trio_bytes(map);
    const bool few = now->walk.tokens == TILE_FEW;
    for (size_t run = 0; run < 3; run++) {
        size_t line = 3 * (now->t / TILE_TOKENS) + run, ahead = 0;
        if (few)
            ahead = TILE_PANELS * step + run * TILE_PANELS * bytes / 3;
        else if (line < TILE_PANELS * LINES)
            ahead = (TILE_PANELS + line / LINES) * step + line % LINES * 64;
        now->asks[run] = now->at[0].codes + ahead;
    }
    now->ask_step = few ? TILE_PANELS * bytes : bytes;
}

INLINE void set_codes(pair_tile *now, size_t offset, size_t count)
{
    for (size_t i = 0; i < TILE_PANELS; i++) now->walk.codes[i] = now->at[i].codes + offset;
    now->walk.count = count;
}

/* Rows that are one segment. */
INLINE void pair_row(pair_tile *now, tern5_map map, tile_sums *sums)
{
    const sterna_int_tile *tile = now->tile;
    const size_t t = now->t, T = now->walk.tokens, lines = (tile->cols - tern5_trio_cols(map)) / 16;
    tile_isums isums;
    for (size_t j = 0; j < T; j++)
        for (size_t i = 0; i < TILE_PANELS; i++)
            _mm512_store_si512(isums.of[j][i], start(tile->x_sums[t + j], 1, TERN5));
    for (size_t run = 0; run < 3 * map.trios; run++, now->walk.x += map.run) {
        set_codes(now, 0, map.run / TERN5_COLS);
        now->walk.run = run;
        now->walk.ask = now->asks[run];
        ask_results(now, T * TILE_PANELS / 3 + 1);
        tile_tern5(&now->walk, &isums);
    }
    if (lines) {
        set_codes(now, map.trios * tern5_trio_bytes(map), lines);
        now->walk.run = 0;
        tile_tern2(&now->walk, &isums);
    }
    for (size_t j = 0; j < T; j++)
        for (size_t i = 0; i < TILE_PANELS; i++) {
            __m512i isum = _mm512_load_si512(isums.of[j][i]);
            _mm512_store_ps(sums->of[j][i], scaled(isum, tile->x_scales[t + j],
                                                   halves(now->at[i].scales), _mm512_setzero_ps()));
        }
}

/* What a segment and the next one read beside codes and activations. */
INLINE void set_scales(const pair_tile *now, size_t scale_at, size_t next, tile_sums *sums)
{
    const sterna_int_tile *tile = now->tile;
    const size_t k = now->t / TILE_TOKENS, T = now->walk.tokens;
    for (size_t i = 0; i < TILE_PANELS; i++) {
        const uint16_t *scales = now->at[i].scales + scale_at;
        _mm512_store_ps(sums->scales[i], halves(scales));
        if (tile->scales && (k == i || T == TILE_FEW))
            _mm_prefetch((const char *)(scales + TILE_PANELS * tile->scales_step), _MM_HINT_T1);
    }
    for (size_t i = 0; i < T; i += T - 1) {
        _mm_prefetch((const char *)(tile->x_sums + next + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(tile->x_scales + next + i), _MM_HINT_T0);
    }
}

/* Rows of several segments. */
INLINE void pair_segments(pair_tile *now, tern5_map map, tile_sums *sums)
{
    const sterna_int_tile *tile = now->tile;
    const size_t lines_each = now->walk.tokens * TILE_PANELS / tile->segments + 1;
    const size_t scale_step = tile->scales ? STERNA_PANEL : 0;
    size_t scale_at = 0, left = tile->segments_per_scale, offset = 0, begin = 0, x_at = now->t,
           ahead = 0;
    for (size_t s = 0; s < tile->segments; s++, x_at += tile->x_step) {
        const size_t end = segment_end(tile, begin);
        const int32_t *x_sums = tile->x_sums + x_at;
        const float *x_scales = tile->x_scales + x_at;
        set_scales(now, scale_at, x_at + tile->x_step, sums);
        ask_results(now, lines_each);
        if (s < 3 * map.trios) {
            set_codes(now, offset, map.run / TERN5_COLS);
            now->walk.ask = now->asks[now->walk.run] + ahead;
            tile_segment_tern5(&now->walk, x_sums, x_scales, sums);
            if (++now->walk.run == 3) {
                now->walk.run = 0;
                offset += tern5_trio_bytes(map);
                ahead += now->ask_step;
            }
        } else {
            set_codes(now, offset, (end - begin) / 16);
            tile_segment_tern2(&now->walk, x_sums, x_scales, sums);
            offset += (end - begin) / 16 * 64;
        }
        now->walk.x += end - begin;
        begin = end;
        if (--left) continue;
        left = tile->segments_per_scale;
        scale_at += scale_step;
    }
}

static void pair_of_panels(const sterna_int_tile *tile, tern5_map map, size_t p, size_t t, size_t T)
{
    tile_sums sums = {0};
    pair_tile now = {
        .tile = tile,
        .p = p,
        .t = t,
        .at = {place_of(tile, p), place_of(tile, p + 1)},
        .walk = {.x = tile->x + t * tile->x_stride, .stride = tile->x_stride, .tokens = T}};
    set_asks(&now, map);
    if (tile->segments == 1)
        pair_row(&now, map, &sums);
    else
        pair_segments(&now, map, &sums);
    for (size_t i = 0; i < TILE_PANELS; i++) {
        size_t row = (p + i) * tile->row_step;
        __m512 factors = _mm512_loadu_ps(tile->factors + row);
        for (size_t j = 0; j < T; j++)
            _mm512_storeu_ps(tile->y + (t + j) * tile->y_stride + row,
                             _mm512_mul_ps(_mm512_load_ps(sums.of[j][i]), factors));
    }
}

/* `panels` panels from p on, tokens from t on. */
static void remaining(const sterna_int_tile *tile, size_t p, size_t panels, size_t t)
{
    sterna_int_tile rest = *tile;
    rest.panels = panels;
    rest.n -= t;
    rest.codes += p * tile->codes_step;
    if (tile->scales) rest.scales += p * tile->scales_step;
    rest.factors += p * tile->row_step;
    rest.x += t * tile->x_stride;
    rest.x_scales += t;
    rest.x_sums += t;
    rest.y += t * tile->y_stride + p * tile->row_step;
    matmul_int(&rest, TERN5, one_tern5, walk_tern5);
}

void sterna_matmul_tern5_avx512vbmi(const sterna_int_tile *tile)
{
    if (tile->mins || tile->n < TILE_FEW) {
        matmul_int(tile, TERN5, one_tern5, walk_tern5);
        return;
    }
    const tern5_map map = map_of(tile);
    size_t p = 0;
    for (; p + TILE_PANELS <= tile->panels; p += TILE_PANELS) {
        size_t t = 0;
        for (size_t T; (T = tile_tokens(tile->n - t)); t += T) pair_of_panels(tile, map, p, t, T);
        if (tile->n - t >= TILE_FEW / 2) { /* some tokens once more */
            pair_of_panels(tile, map, p, tile->n - TILE_FEW, TILE_FEW);
            t = tile->n;
        }
        if (t < tile->n) remaining(tile, p, TILE_PANELS, t);
    }
    if (p < tile->panels) remaining(tile, p, tile->panels - p, 0);
}
