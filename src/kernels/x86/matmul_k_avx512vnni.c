/* Matmuls over K blocks of AVX-512 VNNI: a line is one register of a panel's 16 rows. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/k_blocks.h"
#include "kernels/x86/tile_q6k_avx512.h"

#define OWN_Q6K
#define STERNA_MATMUL(name) sterna_##name##_avx512vnni
#define INLINE              static inline __attribute__((always_inline))
#define PREFETCH(at)        _mm_prefetch((const char *)(at), _MM_HINT_T0)

enum { ROWS = 16, ONE = 1, FEW = 8, MANY = 2, TOKENS = 12, WIDE = 1 };

typedef __m512i ints;
typedef __m512 floats;
/* shifts by these know constants from variables */
typedef uint16_t shorts __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef int32_t signed_words __attribute__((vector_size(64)));

INLINE ints zero_ints(void)
{
    return _mm512_setzero_si512();
}

INLINE ints load_ints(const uint8_t *at)
{
    return _mm512_load_si512((const void *)at);
}

INLINE ints broadcast(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
}

INLINE ints set_words(int32_t x)
{
    return _mm512_set1_epi32(x);
}

INLINE ints mask_bytes(ints v, int mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

INLINE ints mask_words(ints v, int mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi32(mask));
}

INLINE ints or_bits(ints a, ints b)
{
    return _mm512_or_si512(a, b);
}

/* a where a byte's bit of the mask is set, b elsewhere */
INLINE ints choose_bits(int mask, ints a, ints b)
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8((char)mask), a, b, 0xca);
}

/* Bits that come from the neighbouring byte are the caller's to mask. */
INLINE ints shift_left(ints v, size_t n)
{
    return (ints)((shorts)v << (uint16_t)n);
}

INLINE ints shift_right(ints v, size_t n)
{
    return (ints)((shorts)v >> (uint16_t)n);
}

INLINE ints shift_words_left(ints v, size_t n)
{
    return (ints)((words)v << (uint32_t)n);
}

INLINE ints shift_words_right(ints v, size_t n)
{
    return (ints)((words)v >> (uint32_t)n);
}

INLINE ints shift_signed_words_right(ints v, size_t n)
{
    return (ints)((signed_words)v >> (int32_t)n);
}

INLINE ints sub_words(ints a, ints b)
{
    return _mm512_sub_epi32(a, b);
}

INLINE size_t part_of(k_layout L)
{
    return k_segment_cols(L) / 4;
}

INLINE ints products(ints sum, ints codes, ints x)
{
    return _mm512_dpbusd_epi32(sum, codes, x);
}

INLINE ints widened(ints sum, ints part)
{
    return _mm512_add_epi32(sum, part);
}

INLINE floats zero_floats(void)
{
    return _mm512_setzero_ps();
}

INLINE floats set_floats(float x)
{
    return _mm512_set1_ps(x);
}

INLINE floats load_floats(const float *at)
{
    return _mm512_loadu_ps(at);
}

INLINE void store_floats(float *at, floats v)
{
    _mm512_storeu_ps(at, v);
}

INLINE floats to_floats(ints v)
{
    return _mm512_cvtepi32_ps(v);
}

/* float16s in the low half of each word */
INLINE floats low_halves(ints v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

INLINE floats mul(floats a, floats b)
{
    return _mm512_mul_ps(a, b);
}

INLINE floats multiply_add(floats a, floats b, floats c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
INLINE floats multiply_subtract(floats a, floats b, floats c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

#include "kernels/matmul_k_body.h"

/* Q6_K for 8 and more tokens: a record goes through all tiles before the next one, as many as have
 * their float sums in the first-level cache. */
enum { MOST_TILES = 20 };

/* A tile of 8 tokens from t on. */
typedef struct q6k_tile {
    _Alignas(64) float sums[Q6K_TOKENS][16];
    size_t t;
} q6k_tile;

static void record_of_tile(const sterna_int_tile *tile, const uint8_t *record,
                           const float (*scales)[16], size_t s, const uint8_t *ask, q6k_tile *part)
{
    _Alignas(64) q6k_inputs inputs[Q6K_SEGMENTS];
    size_t at = s * tile->x_step + part->t;
    for (size_t j = 0; j < Q6K_SEGMENTS; j++, at += tile->x_step) {
        __m256i sums = _mm256_loadu_si256((const void *)(tile->x_sums + at)); /* zero is 2^5 */
        sums = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sums, 5));
        _mm256_store_si256((void *)inputs[j].starts, sums);
        _mm256_store_ps(inputs[j].scales, _mm256_loadu_ps(tile->x_scales + at));
    }
    tile_q6k(record, tile->x + part->t * tile->x_stride + s * 16, tile->x_stride, inputs, scales,
             ask, part->sums);
}

static void panel_of_tiles(const sterna_int_tile *tile, size_t p, q6k_tile *parts, size_t count)
{
    const strip at = strip_of(tile, p);
    const uint8_t *record = at.codes;
    for (size_t i = 0; i < count; i++) memset(parts[i].sums, 0, sizeof parts[i].sums);
    for (size_t s = 0; s < tile->segments; s += Q6K_SEGMENTS, record += k_record_bytes(Q6K)) {
        _Alignas(64) float scales[Q6K_SEGMENTS][16];
        const factors_k factors = factors_of(record, Q6K);
        for (size_t j = 0; j < Q6K_SEGMENTS; j++) {
            floats scale, min;
            scale_of(record, &factors, Q6K, j, &scale, &min);
            store_floats(scales[j], scale);
        }
        for (size_t i = 0; i < count; i++)
            record_of_tile(tile, record, (const float(*)[16])scales, s,
                           i ? NULL : record + AHEAD_ONE, &parts[i]);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < Q6K_TOKENS; k++)
            store(tile, &at, parts[i].t + k, load_floats(parts[i].sums[k]));
}

void sterna_matmul_q6k_avx512vnni(const sterna_int_tile *tile)
{
    if (tile->n < Q6K_TOKENS) {
        matmul_k(tile, Q6K);
        return;
    }
    for (size_t t = 0; t < tile->n;) {
        q6k_tile parts[MOST_TILES];
        size_t count = 0;
        for (; count < MOST_TILES && t < tile->n; count++, t += Q6K_TOKENS) {
            if (tile->n - t < Q6K_TOKENS) t = tile->n - Q6K_TOKENS; /* some tokens once more */
            parts[count].t = t;
        }
        for (size_t p = 0; p < tile->panels; p++) panel_of_tiles(tile, p, parts, count);
    }
}
