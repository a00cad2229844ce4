/* ggml's "K" blocks of 256 weights: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K. Each block has small integer
 * scales of its sub-blocks (16 of 16 weights, or 8 of 32) under one or two float16 factors. Read
 * only. The order of float operations is ggml's, so results are equal to the last bit.
 */
#include "ternary/blocks.h"

#include "base/half.h"

static inline float load_half(const uint8_t *at)
{
    return sterna_f16_to_f32(sterna_load_u16(at));
}

/* scales[16] (low half: scale, high half: minimum), codes[64], f16 d, f16 dmin. Codes: byte
 * 32*h + m holds elements 128*h + 32*s + m in bits 2s..2s+1. */
void sterna_decode_q2_k(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 256; cols -= 256, row += 84) {
        const uint8_t *codes = row + 16;
        float d = load_half(row + 80), dmin = load_half(row + 82);
        for (int sub = 0; sub < 16; sub++, out += 16) {
            const uint8_t *at = codes + sub / 8 * 32 + sub % 2 * 16;
            int shift = sub % 8 / 2 * 2;
            float scale = d * (float)(row[sub] & 15), minimum = dmin * (float)(row[sub] >> 4);
            for (int i = 0; i < 16; i++) out[i] = scale * (float)(at[i] >> shift & 3) - minimum;
        }
    }
}

/* third bits[32], codes[64] as Q2_K, scales[12], f16 d. Bit s of byte m belongs to element 32*s + m
 * (s = 0..7) and *clears* the -4. Scale j: 4 low bits in half j/8 of byte j%8, 2 high bits in bits
 * 2(j/4).. of byte 8 + j%4, minus 32. */
void sterna_decode_q3_k(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 256; cols -= 256, row += 110) {
        const uint8_t *codes = row + 32, *scales = row + 96;
        float d = load_half(row + 108);
        for (int sub = 0; sub < 16; sub++, out += 16) {
            const uint8_t *at = codes + sub / 8 * 32 + sub % 2 * 16, *high = row + sub % 2 * 16;
            int shift = sub % 8 / 2 * 2, bit = sub / 2;
            int low4 = scales[sub % 8] >> sub / 8 * 4 & 15;
            int high2 = scales[8 + sub % 4] >> sub / 4 * 2 & 3;
            float scale = d * (float)((low4 | high2 << 4) - 32);
            for (int i = 0; i < 16; i++) {
                int code = (at[i] >> shift & 3) | (high[i] >> bit & 1) << 2;
                out[i] = scale * (float)(code - 4);
            }
        }
    }
}

/* The eight 6-bit scales and minimums in 12 bytes of Q4_K and Q5_K: the first four whole in the low
 * bits of bytes 0..3 and 4..7, of the others 4 bits in bytes 8..11 and the top 2 bits above the
 * first four. */
static inline void scale_and_minimum(const uint8_t *packed, int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = packed[j] & 63;
        *minimum = packed[4 + j] & 63;
    } else {
        *scale = (packed[4 + j] & 15) | packed[j - 4] >> 6 << 4;
        *minimum = packed[4 + j] >> 4 | packed[j] >> 6 << 4;
    }
}

/* f16 d, f16 dmin, scales[12], codes[128]: byte 32*h + m holds elements 64*h + m and 64*h + 32 + m
 */
void sterna_decode_q4_k(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 256; cols -= 256, row += 144) {
        float d = load_half(row), dmin = load_half(row + 2);
        for (int sub = 0; sub < 8; sub++, out += 32) {
            const uint8_t *at = row + 16 + sub / 2 * 32;
            int shift = sub % 2 * 4, scale, minimum;
            scale_and_minimum(row + 4, sub, &scale, &minimum);
            float factor = d * (float)scale, below = dmin * (float)minimum;
            for (int i = 0; i < 32; i++) out[i] = factor * (float)(at[i] >> shift & 15) - below;
        }
    }
}

/* f16 d, f16 dmin, scales[12], fifth bits[32], codes[128] as Q4_K; bit s of byte m of the fifth
 * bits belongs to element 32*s + m */
void sterna_decode_q5_k(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 256; cols -= 256, row += 176) {
        const uint8_t *high = row + 16;
        float d = load_half(row), dmin = load_half(row + 2);
        for (int sub = 0; sub < 8; sub++, out += 32) {
            const uint8_t *at = row + 48 + sub / 2 * 32;
            int shift = sub % 2 * 4, scale, minimum;
            scale_and_minimum(row + 4, sub, &scale, &minimum);
            float factor = d * (float)scale, below = dmin * (float)minimum;
            for (int i = 0; i < 32; i++) {
                int code = (at[i] >> shift & 15) | (high[i] >> sub & 1) << 4;
                out[i] = factor * (float)code - below;
            }
        }
    }
}

/* low bits[128], high bits[64], signed scales[16], f16 d. Sub-block of 32 number s (0..7) of half
 * h = s/4: low 4 bits in half (s%4)/2 of bytes 64*h + 32*(s%2).., 2 high bits in bits 2(s%4).. of
 * bytes 32*h.. */
void sterna_decode_q6_k(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 256; cols -= 256, row += 210) {
        const uint8_t *scales = row + 192;
        float d = load_half(row + 208);
        for (int sub = 0; sub < 16; sub++, out += 16) {
            int wide = sub / 2, half = wide / 4, side = sub % 2 * 16;
            const uint8_t *low = row + half * 64 + wide % 2 * 32 + side;
            const uint8_t *high = row + 128 + half * 32 + side;
            int low_shift = wide % 4 / 2 * 4, high_shift = wide % 4 * 2;
            float scale = d * (float)(int8_t)scales[sub];
            for (int i = 0; i < 16; i++) {
                int code = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                out[i] = scale * (float)(code - 32);
            }
        }
    }
}
