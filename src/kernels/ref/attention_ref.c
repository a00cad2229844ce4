/* The law of attention: an online softmax over blocks of keys, as kernels.h says. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/ref/lanes_ref.h"
#include "kernels/ref/math_ref.h"

/* Value i of a stored row of n. */
typedef float value_fn(const uint8_t *row, size_t i, size_t n);

static float f32_value(const uint8_t *row, size_t i, size_t n)
{
    (void)n;
    return ((const float *)(const void *)row)[i];
}

static float f16_value(const uint8_t *row, size_t i, size_t n)
{
    (void)n;
    return sterna_f16_to_f32(((const uint16_t *)(const void *)row)[i]);
}

static float q8_value(const uint8_t *row, size_t i, size_t n)
{
    uint16_t half;
    memcpy(&half, row + ((n + 1) & ~(size_t)1) + 2 * (i / STERNA_Q8_GROUP), 2);
    return (float)(int8_t)row[i] * sterna_f16_to_f32(half);
}

static inline __attribute__((always_inline)) float dot(const float *q, const uint8_t *row, size_t n,
                                                       value_fn *value)
{
    float lanes[16] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % 16] = fmaf(q[i], value(row, i, n), lanes[i % 16]);
    return sterna_lane_sum(lanes);
}

/* Keys begin..end-1 (at most 64) of one row; lane = key % 64 relative to the block's start. */
static inline __attribute__((always_inline)) void block(const sterna_attention_tile *tile, size_t r,
                                                        size_t start, size_t begin, size_t end,
                                                        value_fn *value)
{
    const size_t dim = tile->head_dim, stride = tile->kv_stride;
    const size_t at = (start - tile->begin) / STERNA_ATTENTION_BLOCK * tile->block_stride;
    float scores[STERNA_ATTENTION_BLOCK], max = tile->max[r], lanes[16] = {0};
    for (size_t key = begin; key < end; key++) {
        const uint8_t *row = tile->k + at + (key - start) * stride;
        float s = dot(tile->q + r * dim, row, dim, value) * tile->scale;
        if (tile->soft_cap > 0) s = tile->soft_cap * sterna_tanh(s / tile->soft_cap);
        scores[key - start] = s;
        max = s > max ? s : max;
    }
    float correction = sterna_exp(tile->max[r] - max), *acc = tile->acc + r * dim;
    for (size_t key = begin; key < end; key++) {
        scores[key - start] = sterna_exp(scores[key - start] - max);
        lanes[(key - start) % 16] += scores[key - start];
    }
    tile->max[r] = max;
    tile->sum[r] = tile->sum[r] * correction + sterna_lane_sum(lanes);
    for (size_t i = 0; i < dim; i++) {
        float sum = acc[i] * correction;
        for (size_t key = begin; key < end; key++)
            sum = fmaf(scores[key - start], value(tile->v + at + (key - start) * stride, i, dim),
                       sum);
        acc[i] = sum;
    }
}

static inline __attribute__((always_inline)) void attention(const sterna_attention_tile *tile,
                                                            value_fn *value)
{
    for (size_t start = tile->begin; start < tile->end; start += STERNA_ATTENTION_BLOCK) {
        size_t stop =
            start + STERNA_ATTENTION_BLOCK < tile->end ? start + STERNA_ATTENTION_BLOCK : tile->end;
        for (size_t r = 0; r < tile->rows; r++) {
            size_t begin = tile->first[r] > start ? tile->first[r] : start;
            size_t end = tile->last[r] < stop ? tile->last[r] : stop;
            if (begin < end) block(tile, r, start, begin, end, value);
        }
    }
}

void sterna_attention_f32_ref(const sterna_attention_tile *tile)
{
    attention(tile, f32_value);
}

void sterna_attention_f16_ref(const sterna_attention_tile *tile)
{
    attention(tile, f16_value);
}

void sterna_attention_q8_ref(const sterna_attention_tile *tile)
{
    attention(tile, q8_value);
}
