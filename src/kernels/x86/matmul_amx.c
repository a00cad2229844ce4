/* Integer matmuls of AMX: 16 tokens x 16 rows x 64 columns an instruction.
 *
 * Four lines of tern2 (16 rows x 64 columns), once unpacked to a byte a code, are a B tile as it
 * stands; 64 columns of 16 tokens are an A tile read in place. Two panels x two token tiles go at a
 * time: 4 sums, 2 A and 2 B tiles. The codes of the next 64 columns are unpacked (vector units)
 * while the tiles of this one multiply.
 *
 * Sums are stored and scaled at the end of every segment, which is only worth it for long ones:
 * segments under 128 columns, and what is left of the tokens after tiles of 16, go to AVX-512 VNNI.
 *
 * tests/kernels/amx_model.c compiles this file over a model of the tile instructions in C
 * (STERNA_AMX_MODEL), so that it is tested where there is no AMX.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/x86/tern5_avx512vbmi.h"

#ifndef STERNA_AMX_MODEL
#define STERNA_AMX(name)           sterna_##name##_amx
#define TILE_ZERO(t)               _tile_zero(t)
#define TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define TILE_STORE(t, to, stride)  _tile_stored(t, to, stride)
#define TILE_PRODUCT(c, a, b)      _tile_dpbssd(c, a, b)
#define TILE_CONFIGURE(config)     _tile_loadconfig(config)
#define TILE_RELEASE()             _tile_release()
#endif

#define INLINE static inline __attribute__((always_inline))

typedef enum layout { TERN2, TERN5, INT4, INT8 } layout;

enum {
    STEP = 64, /* columns of a tile product */
    TILE = 16, /* tokens of a tile */
    LEAST_SEGMENT = 128,
};

/* One step's codes as B tiles, and its activations where they cannot be read in place. */
typedef struct workspace {
    _Alignas(64) int8_t b[2][2][TILE * 64]; /* [step parity][panel] */
    _Alignas(64) int8_t a[2][TILE * 64];    /* the last columns, padded with zeros */
    _Alignas(64) int32_t c[2][2][TILE][16]; /* [token tile][panel] */
    _Alignas(64) float acc[2][2][TILE][16];
} workspace;

INLINE size_t fields_of(layout L)
{
    return L == TERN2 ? 4 : L == INT4 ? 2 : 1;
}

/* `width` columns from k on (zeros beyond `cols`) of a panel of lines as rows of 4 columns x 16
 * rows. */
INLINE void unpack_lines(const uint8_t *panel, size_t k, size_t cols, size_t width, layout L,
                         int8_t *out)
{
    const size_t F = fields_of(L);
    const uint8_t *line = panel + k / (4 * F) * 64;
    size_t count = cols - k < width ? cols - k : width;
    for (size_t c = 0; c < width; c += 4 * F, line += 64, out += 64 * F) {
        __m512i v = _mm512_setzero_si512();
        if (c < count) v = _mm512_load_si512((const void *)line);
        if (L == TERN2) {
            __m512i mask = _mm512_set1_epi8(3);
            _mm512_store_si512((void *)out, _mm512_and_si512(v, mask));
            _mm512_store_si512((void *)(out + 64), _mm512_and_si512(_mm512_srli_epi16(v, 2), mask));
            _mm512_store_si512((void *)(out + 128),
                               _mm512_and_si512(_mm512_srli_epi16(v, 4), mask));
            _mm512_store_si512((void *)(out + 192),
                               _mm512_and_si512(_mm512_srli_epi16(v, 6), mask));
        } else if (L == INT4) {
            __m512i mask = _mm512_set1_epi8(15);
            _mm512_store_si512((void *)out, _mm512_and_si512(v, mask));
            _mm512_store_si512((void *)(out + 64), _mm512_and_si512(_mm512_srli_epi16(v, 4), mask));
        } else {
            _mm512_store_si512((void *)out, v);
        }
    }
}

/* Columns k .. k+31 of a trio (tern5.h) as 8 rows of 4 columns x 16 rows. */
INLINE void unpack_block(const uint8_t *panel, tern5_map map, size_t k, int8_t *out)
{
    size_t trio = k / (3 * map.run), c = k % map.run;
    const uint8_t *block = panel + trio * tern5_trio_bytes(map) + c / TERN5_COLS * TERN5_BYTES;
    size_t run = k / map.run % 3;
#pragma GCC unroll 8
    for (size_t j = 0; j < TERN5_FIELDS; j++)
        _mm512_store_si512((void *)(out + 64 * j),
                           _mm512_permutexvar_epi8(tern5_field(block, j), tern5_table(run, j)));
}

/* Columns k .. k+63 (or to `cols`, then zeros) of a panel as 16 rows of 4 columns x 16 rows. */
INLINE void unpack(const sterna_int_tile *tile, const uint8_t *panel, size_t k, size_t cols,
                   layout L, int8_t *out)
{
    if (L == TERN5) {
        tern5_map map = tern5_map_of(tile->cols, tile->segment, tile->segments);
        size_t trios = tern5_trio_cols(map);
        if (k < trios) unpack_block(panel, map, k, out);
        if (k + TERN5_COLS < trios) unpack_block(panel, map, k + TERN5_COLS, out + STEP * 8);
        if (k + STEP <= trios) return;
        size_t done = k < trios ? TERN5_COLS : 0;
        unpack_lines(panel + map.trios * tern5_trio_bytes(map), k + done - trios, cols - trios,
                     STEP - done, TERN2, out + 16 * done);
        return;
    }
    unpack_lines(panel, k, cols, STEP, L, out);
}

/* Where the A tile of token tile i at column k is, and its stride. */
INLINE const int8_t *activations(const sterna_int_tile *tile, size_t t, size_t k, workspace *work,
                                 size_t i, size_t *stride)
{
    const int8_t *x = tile->x + (t + i * TILE) * tile->x_stride + k;
    *stride = tile->x_stride;
    if (k + STEP <= tile->cols) return x;
    memset(work->a[i], 0, sizeof work->a[i]);
    for (size_t row = 0; row < TILE; row++)
        memcpy(work->a[i] + row * STEP, x + row * tile->x_stride, tile->cols - k);
    *stride = STEP;
    return work->a[i];
}

/* Integer sums of T token tiles x P panels over columns begin .. end-1 into work->c. Tiles 0..3 are
 * the sums (2 * token tile + panel), 4 and 5 A, 6 and 7 B. */
INLINE void products(const sterna_int_tile *tile, const uint8_t *const panels[2], size_t t,
                     size_t begin, size_t end, layout L, size_t T, size_t P, workspace *work)
{
    TILE_ZERO(0);
    if (P == 2) TILE_ZERO(1);
    if (T == 2) TILE_ZERO(2);
    if (T == 2 && P == 2) TILE_ZERO(3);
    for (size_t p = 0; p < P; p++) unpack(tile, panels[p], begin, end, L, work->b[0][p]);
    for (size_t k = begin, parity = 0; k < end; k += STEP, parity ^= 1) {
        for (size_t p = 0; p < P && k + STEP < end; p++)
            unpack(tile, panels[p], k + STEP, end, L, work->b[parity ^ 1][p]);
        size_t stride;
        const int8_t *a = activations(tile, t, k, work, 0, &stride);
        TILE_LOAD(4, a, stride);
        TILE_LOAD(6, work->b[parity][0], 64);
        TILE_PRODUCT(0, 4, 6);
        if (P == 2) {
            TILE_LOAD(7, work->b[parity][1], 64);
            TILE_PRODUCT(1, 4, 7);
        }
        if (T == 2) {
            a = activations(tile, t, k, work, 1, &stride);
            TILE_LOAD(5, a, stride);
            TILE_PRODUCT(2, 5, 6);
            if (P == 2) TILE_PRODUCT(3, 5, 7);
        }
    }
    TILE_STORE(0, work->c[0][0], 64);
    if (P == 2) TILE_STORE(1, work->c[0][1], 64);
    if (T == 2) TILE_STORE(2, work->c[1][0], 64);
    if (T == 2 && P == 2) TILE_STORE(3, work->c[1][1], 64);
}

/* acc += sums of segment s, scaled: one token tile, one panel. */
INLINE void flush(const sterna_int_tile *tile, size_t p, size_t t, size_t s, int32_t zero,
                  const int32_t c[TILE][16], float acc[TILE][16])
{
    const size_t x_at = s * tile->x_step + t;
    size_t at = p * tile->scales_step + s / tile->segments_per_scale * STERNA_PANEL;
    __m512 scale = _mm512_set1_ps(1), min = scale;
    if (tile->scales)
        scale = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(tile->scales + at)));
    if (tile->mins) min = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(tile->mins + at)));
    for (size_t i = 0; i < TILE; i++) {
        __m512 x_scale = _mm512_set1_ps(tile->x_scales[x_at + i]);
        int32_t x_sum = tile->x_sums[x_at + i];
        __m512i sum = _mm512_sub_epi32(_mm512_load_si512((const void *)c[i]),
                                       _mm512_set1_epi32(zero * x_sum));
        __m512 result = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(x_scale, scale),
                                        _mm512_load_ps(acc[i]));
        if (tile->mins)
            result = _mm512_fmadd_ps(_mm512_set1_ps(tile->x_offsets[x_at + i]), min, result);
        _mm512_store_ps(acc[i], result);
    }
}

/* T token tiles from token t on, P panels from p on. */
INLINE void block(const sterna_int_tile *tile, size_t p, size_t t, layout L, size_t T, size_t P,
                  workspace *work)
{
    const int32_t zero = L == TERN2 || L == TERN5 ? 1 : tile->zero;
    const uint8_t *panels[2] = {tile->codes + p * tile->codes_step,
                                tile->codes + (p + P - 1) * tile->codes_step};
    memset(work->acc, 0, sizeof work->acc);
    for (size_t s = 0, begin = 0; s < tile->segments; s++, begin += tile->segment) {
        size_t end = begin + tile->segment < tile->cols ? begin + tile->segment : tile->cols;
        products(tile, panels, t, begin, end, L, T, P, work);
        for (size_t i = 0; i < T; i++)
            for (size_t j = 0; j < P; j++)
                flush(tile, p + j, t + i * TILE, s, zero, work->c[i][j], work->acc[i][j]);
    }
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < P; j++) {
            size_t row = (p + j) * tile->row_step;
            __m512 factors = _mm512_loadu_ps(tile->factors + row);
            float *y = tile->y + (t + i * TILE) * tile->y_stride + row;
            for (size_t k = 0; k < TILE; k++, y += tile->y_stride)
                _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_load_ps(work->acc[i][j][k]), factors));
        }
}

/* All eight tiles are 16 rows of 64 bytes. */
INLINE void configure(void)
{
    _Alignas(64) uint8_t config[64] = {1}; /* palette 1 */
    for (size_t i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64; /* bytes of a row */
        config[48 + i] = TILE;   /* rows */
    }
    /* gcc 12 declares a smaller input than the instruction reads */
    __asm__ volatile("" : : "m"(config) : "memory");
    TILE_CONFIGURE(config);
}

INLINE void matmul_int(const sterna_int_tile *tile, layout L, sterna_matmul_int_fn *rest)
{
    bool long_segments = tile->segment % STEP == 0 || tile->segments == 1;
    if (tile->n < TILE || tile->segment < LEAST_SEGMENT || !long_segments) {
        rest(tile);
        return;
    }
    workspace work;
    configure();
    size_t t = 0;
    for (size_t T; t + TILE <= tile->n; t += T * TILE) {
        T = t + 2 * TILE <= tile->n ? 2 : 1;
        size_t p = 0;
        for (; p + 2 <= tile->panels; p += 2) {
            if (T == 2)
                block(tile, p, t, L, 2, 2, &work);
            else
                block(tile, p, t, L, 1, 2, &work);
        }
        if (p == tile->panels) continue;
        if (T == 2)
            block(tile, p, t, L, 2, 1, &work);
        else
            block(tile, p, t, L, 1, 1, &work);
    }
    TILE_RELEASE();
    if (t == tile->n) return;
    sterna_int_tile last = *tile;
    last.n -= t;
    last.x += t * tile->x_stride;
    last.x_scales += t;
    last.x_sums += t;
    if (last.x_offsets) last.x_offsets += t;
    last.y += t * tile->y_stride;
    rest(&last);
}

void STERNA_AMX(matmul_tern2)(const sterna_int_tile *tile)
{
    matmul_int(tile, TERN2, sterna_matmul_tern2_avx512vnni);
}

void STERNA_AMX(matmul_tern5)(const sterna_int_tile *tile)
{
    matmul_int(tile, TERN5, sterna_matmul_tern5_avx512vbmi);
}

void STERNA_AMX(matmul_int4)(const sterna_int_tile *tile)
{
    matmul_int(tile, INT4, sterna_matmul_int4_avx512vnni);
}

void STERNA_AMX(matmul_int8)(const sterna_int_tile *tile)
{
    matmul_int(tile, INT8, sterna_matmul_int8_avx512vnni);
}

uint64_t STERNA_AMX(peak)(size_t rounds)
{
    configure();
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    TILE_ZERO(4);
    TILE_ZERO(5);
    for (size_t r = 0; r < rounds; r++) { /* four sums hide the latency of a product */
        TILE_PRODUCT(0, 4, 5);
        TILE_PRODUCT(1, 4, 5);
        TILE_PRODUCT(2, 4, 5);
        TILE_PRODUCT(3, 4, 5);
    }
    TILE_RELEASE();
    return rounds * 4 * 16 * 16 * 64 * 2;
}
