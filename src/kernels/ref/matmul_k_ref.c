/* The law of the matmuls over K blocks (kernels.h): codes and scales as ggml's blocks have them,
 * read byte by byte. */
#include <math.h>

#include "base/half.h"
#include "kernels/kernels.h"
#include "kernels/k_blocks.h"

/* Byte j of row r's block. */
static uint32_t byte_of(const uint8_t *record, size_t r, size_t j)
{
    return record[j / 4 * 64 + 4 * r + j % 4];
}

static float half_of(const uint8_t *record, size_t r, size_t j)
{
    return sterna_f16_to_f32((uint16_t)(byte_of(record, r, j) | byte_of(record, r, j + 1) << 8));
}

/* Column k's code. */
static int32_t code_of(const uint8_t *record, size_t r, size_t k, k_layout L)
{
    uint32_t nibble, high;
    if (L == Q6K) {
        size_t half = k / 128, wide = k % 128 / 32, m = k % 32;
        nibble = byte_of(record, r, 64 * half + 32 * (wide % 2) + m) >> 4 * (wide / 2) & 15;
        high = byte_of(record, r, 128 + 32 * half + m) >> 2 * wide & 3;
    } else {
        size_t codes = L == Q5K ? 48 : 16;
        nibble = byte_of(record, r, codes + k / 64 * 32 + k % 32) >> 4 * (k / 32 % 2) & 15;
        high = L == Q5K ? byte_of(record, r, 16 + k % 32) >> k / 32 & 1 : 0;
    }
    return (int32_t)(nibble | high << 4);
}

/* The integer scale and minimum of segment j. */
static void scale_of(const uint8_t *record, size_t r, size_t j, k_layout L, int32_t *scale,
                     int32_t *min)
{
    if (L == Q6K) {
        *scale = (int8_t)byte_of(record, r, 192 + j);
        *min = 0;
    } else if (j < 4) {
        *scale = (int32_t)(byte_of(record, r, 4 + j) & 63);
        *min = (int32_t)(byte_of(record, r, 8 + j) & 63);
    } else {
        uint32_t low = byte_of(record, r, 8 + j);
        *scale = (int32_t)((low & 15) | byte_of(record, r, j) >> 6 << 4);
        *min = (int32_t)(low >> 4 | byte_of(record, r, 4 + j) >> 6 << 4);
    }
}

/* One row, one token: the sum over all blocks. */
static inline __attribute__((always_inline)) float row_sum(const sterna_int_tile *tile, size_t p,
                                                           size_t r, size_t t, k_layout L)
{
    const size_t cols = k_segment_cols(L), per = K_COLS / cols;
    const uint8_t *record = tile->codes + p * tile->codes_step;
    const int8_t *x = tile->x + t * tile->x_stride;
    float acc = 0;
    for (size_t s = 0; s < tile->segments; s += per, record += k_record_bytes(L), x += K_COLS) {
        float d = half_of(record, r, L == Q6K ? 208 : 0), dmin = half_of(record, r, 2);
        for (size_t i = 0; i < per; i++) {
            size_t j = k_segment(L, i / k_fields(L), i % k_fields(L));
            size_t at = (s + j) * tile->x_step + t;
            int32_t isum = 0, scale, min;
            for (size_t k = j * cols; k < (j + 1) * cols; k++)
                isum += code_of(record, r, k, L) * x[k];
            scale_of(record, r, j, L, &scale, &min);
            isum -= k_zero(L) * tile->x_sums[at];
            acc = fmaf((float)isum, tile->x_scales[at] * (d * (float)scale), acc);
            if (L != Q6K) acc = fmaf(-tile->x_offsets[at], dmin * (float)min, acc);
        }
    }
    return acc;
}

static inline __attribute__((always_inline)) void matmul_k(const sterna_int_tile *tile, k_layout L)
{
    for (size_t p = 0; p < tile->panels; p++)
        for (size_t t = 0; t < tile->n; t++) {
            const float *factors = tile->factors + p * tile->row_step;
            float *y = tile->y + t * tile->y_stride + p * tile->row_step;
            for (size_t r = 0; r < STERNA_PANEL; r++) y[r] = row_sum(tile, p, r, t, L) * factors[r];
        }
}

void sterna_matmul_q4k_ref(const sterna_int_tile *tile)
{
    matmul_k(tile, Q4K);
}

void sterna_matmul_q5k_ref(const sterna_int_tile *tile)
{
    matmul_k(tile, Q5K);
}

void sterna_matmul_q6k_ref(const sterna_int_tile *tile)
{
    matmul_k(tile, Q6K);
}
