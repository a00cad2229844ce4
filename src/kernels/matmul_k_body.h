/* Matmuls over K blocks for all vector instruction sets. The including file defines
 * STERNA_MATMUL(name), INLINE, PREFETCH(address), the types `ints` and `floats` (registers of ROWS
 * rows: four bytes or a float each), the operations on them, and how much goes at a time:
 *
 *   ROWS     rows of a register: 16, 8 or 4
 *   ONE      strips (registers' worth of rows) that one token takes at a time
 *   FEW      tokens at most that are multiplied without unpacking first (Q4_K and Q5_K; 0: none)
 *   MANY     strips, and TOKENS tokens of a tile of many
 *   part_of  products() that can be summed before widened() must add them to 32-bit sums
 *   WIDE     whether they are 32-bit sums themselves
 *   OWN_Q6K  defined: the file has matmul_q6k itself
 *
 * k_blocks.h says where things are.
 *
 * One token: a line is loaded once and all its fields are multiplied; lines some KB
 * further on are prefetched, so that panels in order are one stream. Many tokens: a record is
 * unpacked once for all of them.
 */
#include <string.h>

#include "kernels/k_blocks.h"
#include "kernels/kernels.h"

/* Sums stay in registers only where the steps are laid out one by one. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum {
    STRIPS = STERNA_PANEL / ROWS, /* of a panel */
    AHEAD_ONE = 8192,             /* bytes that one token's kernel asks for ahead of their use */
    MOST_FEW = 8,       /* tokens multiplied without unpacking: at most FEW, this or none */
    CHUNK = 8 * TOKENS, /* tokens whose sums stay in the first-level cache */
};

/* Strip u of a tile: its records and where its rows are in factors and y. */
typedef struct strip {
    const uint8_t *codes;
    size_t row;
} strip;

INLINE strip strip_of(const sterna_int_tile *tile, size_t u)
{
    return (strip){tile->codes + u / STRIPS * tile->codes_step + u % STRIPS * ROWS * 4,
                   u / STRIPS * tile->row_step + u % STRIPS * ROWS};
}

INLINE ints word(const uint8_t *record, size_t i)
{
    return load_ints(record + 64 * i);
}

/* The codes of step q of a group, as bytes, for each field. */
INLINE void codes_of(const uint8_t *record, k_layout L, size_t group, size_t q, ints out[4])
{
    if (L == Q6K) {
        size_t low = group / 2 * 16 + group % 2 * 4 + q, high = 32 + group / 2 * 8 + group % 2 * 4;
        ints a = word(record, low), b = word(record, low + 8), c = word(record, high + q);
        out[0] = mask_bytes(choose_bits(15, a, shift_left(c, 4)), 63);
        out[1] = mask_bytes(choose_bits(15, b, shift_left(c, 2)), 63);
        out[2] = mask_bytes(choose_bits(15, shift_right(a, 4), c), 63);
        out[3] = mask_bytes(choose_bits(15, shift_right(b, 4), shift_right(c, 2)), 63);
        return;
    }
    ints v = word(record, (L == Q4K ? 4 : 12) + 8 * group + q);
    out[0] = mask_bytes(v, 15);
    out[1] = mask_bytes(shift_right(v, 4), 15);
    if (L == Q4K) return;
    ints fifth = shift_right(word(record, 4 + q), 2 * group); /* of both fields: bits 0 and 1 */
    out[0] = or_bits(out[0], mask_bytes(shift_left(fifth, 4), 16));
    out[1] = or_bits(out[1], mask_bytes(shift_left(fifth, 3), 16));
}

/* A step's share of the lines of a record, `ahead` bytes further on, in the order of addresses and
 * not of use: 0.97 of the memory's speed against 0.82 (Q6_K). */
INLINE void prefetch_step(const uint8_t *record, k_layout L, size_t group, size_t q, size_t ahead)
{
    const size_t each = k_segment_cols(L) / 4, steps = K_GROUPS * each;
    const size_t lines = k_record_bytes(L) / 64, k = group * each + q;
    for (size_t i = k * lines / steps; i < (k + 1) * lines / steps; i++)
        PREFETCH(record + ahead + 64 * i);
}

/* The next record, line after line. */
INLINE void prefetch_record(const uint8_t *record, k_layout L)
{
    const uint8_t *next = record + k_record_bytes(L);
    for (size_t i = 0; i < k_record_bytes(L); i += 64) PREFETCH(next + i);
}

/* A group's share of them at once. */
INLINE void prefetch_group(const uint8_t *record, k_layout L, size_t group, size_t ahead)
{
    const size_t share = (k_record_bytes(L) / 64 + K_GROUPS - 1) / K_GROUPS;
    const uint8_t *at = record + ahead + group * share * 64;
    for (size_t i = 0; i < share; i++) PREFETCH(at + 64 * i);
}

/* The float16 factors of a record. */
typedef struct factors_k {
    floats d, dmin;
} factors_k;

INLINE factors_k factors_of(const uint8_t *record, k_layout L)
{
    if (L == Q6K) return (factors_k){low_halves(word(record, 52)), zero_floats()};
    ints both = word(record, 0);
    return (factors_k){low_halves(both), low_halves(shift_words_right(both, 16))};
}

/* Scale (and minimum) of segment j. */
INLINE void scale_of(const uint8_t *record, const factors_k *factors, k_layout L, size_t j,
                     floats *scale, floats *min)
{
    if (L == Q6K) {
        ints up = shift_words_left(word(record, 48 + j / 4), 24 - 8 * (j % 4));
        *scale = mul(factors->d, to_floats(shift_signed_words_right(up, 24)));
        return;
    }
    size_t at = 8 * (j % 4);
    ints scales = shift_words_right(word(record, 1), at),
         mins = shift_words_right(word(record, 2), at);
    if (j < 4) {
        scales = mask_words(scales, 63);
        mins = mask_words(mins, 63);
    } else {
        ints low = shift_words_right(word(record, 3), at);
        scales = or_bits(mask_words(low, 15), mask_words(shift_words_right(scales, 2), 0x30));
        mins = or_bits(mask_words(shift_words_right(low, 4), 15),
                       mask_words(shift_words_right(mins, 2), 0x30));
    }
    *scale = mul(factors->d, to_floats(scales));
    *min = mul(factors->dmin, to_floats(mins));
}

/* Where the integer sum of token t's segment s starts: the zeros' part taken off beforehand. */
INLINE ints start(const sterna_int_tile *tile, k_layout L, size_t t, size_t s)
{
    if (L != Q6K) return zero_ints();
    ints sum = set_words(tile->x_sums[s * tile->x_step + t]); /* k_zero is 2^5 */
    return sub_words(zero_ints(), shift_words_left(sum, 5));
}

/* acc + isum * x_scale * scale - x_offset * min for token t's segment s. */
INLINE floats flush(const sterna_int_tile *tile, floats acc, ints sum, k_layout L, size_t t,
                    size_t s, floats scale, floats min)
{
    size_t i = s * tile->x_step + t;
    acc = multiply_add(to_floats(sum), mul(set_floats(tile->x_scales[i]), scale), acc);
    if (L != Q6K) acc = multiply_subtract(set_floats(tile->x_offsets[i]), min, acc);
    return acc;
}

INLINE void store(const sterna_int_tile *tile, const strip *at, size_t t, floats acc)
{
    store_floats(tile->y + t * tile->y_stride + at->row,
                 mul(acc, load_floats(tile->factors + at->row)));
}

/* Integer sums of all fields of a group for one token. */
INLINE void walk_one(const sterna_int_tile *tile, const strip *at, size_t offset, size_t s,
                     k_layout L, size_t group, size_t S, ints sums[ONE][4])
{
    const size_t F = k_fields(L), cols = k_segment_cols(L);
    const int8_t *x = tile->x + s * cols;
    for (size_t i = 0; i < S; i++)
        for (size_t f = 0; f < F; f++) sums[i][f] = start(tile, L, 0, s + k_segment(L, group, f));
    for (size_t begin = 0; begin < cols / 4; begin += part_of(L)) {
        ints part[ONE][4];
        for (size_t i = 0; i < S; i++)
            for (size_t f = 0; f < F; f++) part[i][f] = zero_ints();
        for (size_t q = begin; q < begin + part_of(L); q++)
            for (size_t i = 0; i < S; i++) {
                ints w[4];
                codes_of(at[i].codes + offset, L, group, q, w);
                prefetch_step(at[i].codes + offset, L, group, q, AHEAD_ONE);
                for (size_t f = 0; f < F; f++) {
                    const int8_t *four = x + cols * k_segment(L, group, f) + 4 * q;
                    part[i][f] = products(part[i][f], w[f], broadcast(four));
                }
            }
        for (size_t i = 0; i < S; i++)
            for (size_t f = 0; f < F; f++) sums[i][f] = widened(sums[i][f], part[i][f]);
    }
}

/* S strips from u on for one token. */
INLINE void one_token(const sterna_int_tile *tile, size_t u, k_layout L, size_t S)
{
    const size_t F = k_fields(L), per = K_COLS / k_segment_cols(L);
    strip at[ONE];
    floats acc[ONE];
    for (size_t i = 0; i < S; i++) {
        at[i] = strip_of(tile, u + i);
        acc[i] = zero_floats();
    }
    for (size_t s = 0, offset = 0; s < tile->segments; s += per, offset += k_record_bytes(L)) {
        factors_k factors[ONE];
        for (size_t i = 0; i < S; i++) factors[i] = factors_of(at[i].codes + offset, L);
        for (size_t group = 0; group < K_GROUPS; group++) {
            ints sums[ONE][4];
            walk_one(tile, at, offset, s, L, group, S, sums);
            for (size_t f = 0; f < F; f++)
                for (size_t i = 0; i < S; i++) {
                    size_t j = k_segment(L, group, f);
                    floats scale, min = zero_floats();
                    scale_of(at[i].codes + offset, &factors[i], L, j, &scale, &min);
                    acc[i] = flush(tile, acc[i], sums[i][f], L, 0, s + j, scale, min);
                }
        }
    }
    for (size_t i = 0; i < S; i++) store(tile, &at[i], 0, acc[i]);
}

/* acc += a group of a record of Q4_K or Q5_K for T tokens; s is the record's first segment. Steps
 * unpack what they need; floats and the integer sums of both fields stay in registers. */
INLINE void few_of_group(const sterna_int_tile *tile, const uint8_t *record,
                         const factors_k *factors, size_t s, size_t t, k_layout L, size_t group,
                         size_t T, floats acc[MOST_FEW])
{
    const size_t cols = k_segment_cols(L);
    const int8_t *x = tile->x + t * tile->x_stride + (s + 2 * group) * cols;
    ints sums[2][MOST_FEW];
    prefetch_group(record, L, group, AHEAD_ONE);
    for (size_t f = 0; f < 2; f++)
        for (size_t k = 0; k < T; k++) sums[f][k] = zero_ints();
    UNROLL
    for (size_t q = 0; q < cols / 4; q++) {
        ints w[4];
        codes_of(record, L, group, q, w);
        for (size_t f = 0; f < 2; f++)
            for (size_t k = 0; k < T; k++)
                sums[f][k] = products(sums[f][k], w[f],
                                      broadcast(x + k * tile->x_stride + cols * f + 4 * q));
    }
    for (size_t f = 0; f < 2; f++) {
        const size_t j = k_segment(L, group, f);
        floats scale, min;
        scale_of(record, factors, L, j, &scale, &min);
        for (size_t k = 0; k < T; k++)
            acc[k] = flush(tile, acc[k], sums[f][k], L, t + k, s + j, scale, min);
    }
}

/* Strip u for tokens t .. t+T-1. */
INLINE void few_tokens(const sterna_int_tile *tile, size_t u, size_t t, k_layout L, size_t T)
{
    const size_t per = K_COLS / k_segment_cols(L);
    const strip at = strip_of(tile, u);
    floats acc[MOST_FEW];
    for (size_t k = 0; k < T; k++) acc[k] = zero_floats();
    for (size_t s = 0, offset = 0; s < tile->segments; s += per, offset += k_record_bytes(L)) {
        const uint8_t *record = at.codes + offset;
        const factors_k factors = factors_of(record, L);
        for (size_t group = 0; group < K_GROUPS; group++)
            few_of_group(tile, record, &factors, s, t, L, group, T, acc);
    }
    for (size_t k = 0; k < T; k++) store(tile, &at, t + k, acc[k]);
}

/* A record of MANY strips, taken apart once for all tokens. */
typedef struct unpacked {
    ints codes[K_COLS / 4][MANY];            /* four columns each, in the order of columns */
    floats scales[16][MANY], mins[16][MANY]; /* of the segments */
} unpacked;

INLINE void unpack(const strip *at, size_t offset, k_layout L, size_t S, unpacked *out)
{
    const size_t F = k_fields(L), steps = k_segment_cols(L) / 4;
    for (size_t i = 0; i < S; i++) {
        const uint8_t *record = at[i].codes + offset;
        factors_k factors = factors_of(record, L);
        prefetch_record(record, L);
        for (size_t group = 0; group < K_GROUPS; group++)
            for (size_t q = 0; q < steps; q++) {
                ints w[4];
                codes_of(record, L, group, q, w);
                for (size_t f = 0; f < F; f++)
                    out->codes[k_segment(L, group, f) * steps + q][i] = w[f];
            }
        for (size_t j = 0; j < F * K_GROUPS; j++)
            scale_of(record, &factors, L, j, &out->scales[j][i], &out->mins[j][i]);
    }
}

/* acc += segment j of an unpacked record for T tokens; s is the segment's number in the row. */
INLINE void many_of_segment(const sterna_int_tile *tile, const unpacked *block, size_t j, size_t s,
                            size_t t, k_layout L, size_t S, size_t T, floats acc[][MANY])
{
    const size_t cols = k_segment_cols(L), steps = cols / 4;
    const int8_t *x = tile->x + t * tile->x_stride + s * cols;
    ints sums[MANY][TOKENS];
    for (size_t k = 0; k < T; k++)
        for (size_t i = 0; i < S; i++) sums[i][k] = start(tile, L, t + k, s);
    for (size_t begin = 0; begin < steps; begin += part_of(L)) {
        ints part[MANY][TOKENS];
        for (size_t i = 0; i < S; i++)
            for (size_t k = 0; k < T; k++) part[i][k] = WIDE ? sums[i][k] : zero_ints();
        UNROLL
        for (size_t q = begin; q < begin + part_of(L); q++)
            for (size_t k = 0; k < T; k++) {
                ints four = broadcast(x + k * tile->x_stride + 4 * q);
                for (size_t i = 0; i < S; i++)
                    part[i][k] = products(part[i][k], block->codes[j * steps + q][i], four);
            }
        for (size_t i = 0; i < S; i++)
            for (size_t k = 0; k < T; k++)
                sums[i][k] = WIDE ? part[i][k] : widened(sums[i][k], part[i][k]);
    }
    for (size_t k = 0; k < T; k++)
        for (size_t i = 0; i < S; i++)
            acc[k][i] = flush(tile, acc[k][i], sums[i][k], L, t + k, s, block->scales[j][i],
                              block->mins[j][i]);
}

/* acc += a whole unpacked record for T tokens. */
INLINE void many_of_record(const sterna_int_tile *tile, const unpacked *block, size_t s, size_t t,
                           k_layout L, size_t S, size_t T, floats acc[][MANY])
{
    for (size_t group = 0; group < K_GROUPS; group++)
        for (size_t f = 0; f < k_fields(L); f++) {
            size_t j = k_segment(L, group, f);
            many_of_segment(tile, block, j, s + j, t, L, S, T, acc);
        }
}

/* Asks for the results' lines of TOKENS tokens, for which stores would wait. */
INLINE void ask_results(const sterna_int_tile *tile, const strip *at, size_t t, size_t S)
{
    for (size_t k = t; k < t + TOKENS; k++)
        for (size_t i = 0; i < S; i++) PREFETCH(tile->y + k * tile->y_stride + at[i].row);
}

/* S strips from u on for n tokens from `first` on, at most CHUNK. */
INLINE void many_tokens(const sterna_int_tile *tile, size_t u, size_t first, size_t n, k_layout L,
                        size_t S)
{
    const size_t per = K_COLS / k_segment_cols(L), end = first + n;
    strip at[MANY];
    unpacked block;
    floats sums[CHUNK][MANY];
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < S; i++) sums[t][i] = zero_floats();
    for (size_t i = 0; i < S; i++) at[i] = strip_of(tile, u + i);
    for (size_t s = 0, offset = 0; s < tile->segments; s += per, offset += k_record_bytes(L)) {
        unpack(at, offset, L, S, &block);
        size_t t = first;
        floats(*acc)[MANY] = sums;
        for (; t + TOKENS <= end; t += TOKENS, acc += TOKENS) {
            if (s + per >= tile->segments) ask_results(tile, at, t, S);
            many_of_record(tile, &block, s, t, L, S, TOKENS, acc);
        }
        for (; TOKENS > 8 && t + 8 <= end; t += 8, acc += 8)
            many_of_record(tile, &block, s, t, L, S, 8, acc);
        for (; TOKENS > 4 && t + 4 <= end; t += 4, acc += 4)
            many_of_record(tile, &block, s, t, L, S, 4, acc);
        for (; t < end; t++, acc++) many_of_record(tile, &block, s, t, L, S, 1, acc);
    }
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < S; i++) store(tile, &at[i], first + t, sums[t][i]);
}

INLINE void matmul_k(const sterna_int_tile *tile, k_layout L)
{
    size_t u = 0, strips = tile->panels * STRIPS;
    if (tile->n == 1) {
        for (; u + ONE <= strips; u += ONE) one_token(tile, u, L, ONE);
        for (; u < strips; u++) one_token(tile, u, L, 1);
        return;
    }
    if (tile->n <= FEW && L != Q6K) {
        for (; u < strips; u++) {
            size_t t = 0;
            for (; t + 8 <= tile->n; t += 8) few_tokens(tile, u, t, L, 8);
            for (; t + 4 <= tile->n; t += 4) few_tokens(tile, u, t, L, 4);
            for (; t < tile->n; t++) few_tokens(tile, u, t, L, 1);
        }
        return;
    }
    for (size_t t = 0, n; t < tile->n; t += n) {
        n = tile->n - t < CHUNK ? tile->n - t : CHUNK;
        for (u = 0; u + MANY <= strips; u += MANY) many_tokens(tile, u, t, n, L, MANY);
        for (; u < strips; u++) many_tokens(tile, u, t, n, L, 1);
    }
}

void STERNA_MATMUL(matmul_q4k)(const sterna_int_tile *tile)
{
    matmul_k(tile, Q4K);
}

void STERNA_MATMUL(matmul_q5k)(const sterna_int_tile *tile)
{
    matmul_k(tile, Q5K);
}

#ifndef OWN_Q6K
void STERNA_MATMUL(matmul_q6k)(const sterna_int_tile *tile)
{
    matmul_k(tile, Q6K);
}
#endif
