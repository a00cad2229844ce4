/* The law of the kernels on activations and vectors. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/ref/lanes_ref.h"
#include "kernels/ref/math_ref.h"

float sterna_quantize_ref(const float *x, size_t n, float floor, int8_t *q, int32_t *sums)
{
    float max = floor, poison = 0; /* NaN once there is a NaN or infinity */
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);
        max = size > max ? size : max;
        poison = fmaf(x[i], 0, poison);
    }
    bool zeros = !(max >= STERNA_QUANTIZE_LEAST);
    float scale = zeros ? 0 : 127.0f / max;
    size_t padded = (n + 15) & ~(size_t)15;
    memset(sums, 0, padded / 16 * sizeof *sums);
    for (size_t i = 0; i < padded; i++) {
        float value = i < n ? x[i] * scale : 0;
        value = value > -127.0f ? value : -127.0f;
        value = value < 127.0f ? value : 127.0f;
        q[i] = zeros ? 0 : (int8_t)rintf(value);
        sums[i / 16] += q[i];
    }
    return zeros ? poison : max / 127.0f + poison;
}

void sterna_hadamard_ref(const float *x, const float *signs, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = signs ? x[i] * signs[i] : x[i];
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                float a = out[j], b = out[j + h];
                out[j] = a + b;
                out[j + h] = a - b;
            }
    float scale = (float)(1.0 / sqrt((double)n));
    for (size_t i = 0; i < n; i++) out[i] *= scale;
}

void sterna_rmsnorm_ref(const float *x, size_t n, const float *gain, float eps, float *out)
{
    float lanes[16] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % 16] = fmaf(x[i], x[i], lanes[i % 16]);
    float scale = 1.0f / sqrtf(sterna_lane_sum(lanes) / (float)n + eps);
    for (size_t i = 0; i < n; i++) out[i] = gain ? x[i] * scale * gain[i] : x[i] * scale;
}

void sterna_gate_silu_ref(const float *gate, const float *up, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + sterna_exp(-gate[i])) * up[i];
}

void sterna_gate_gelu_tanh_ref(const float *gate, const float *up, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], cube = g * g * g;
        float u = 0.797884561f * fmaf(0.044715f, cube, g);
        out[i] = g / (1.0f + sterna_exp(-2.0f * u)) * up[i];
    }
}

void sterna_gate_relu2_ref(const float *gate, const float *up, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float positive = gate[i] < 0 ? 0 : gate[i];
        out[i] = positive * positive * up[i];
    }
}

void sterna_soft_cap_ref(float *x, size_t n, float cap)
{
    for (size_t i = 0; i < n; i++) x[i] = cap * sterna_tanh(x[i] / cap);
}

float sterna_exp_sum_ref(float *x, size_t n, float shift)
{
    float lanes[16] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = sterna_exp(x[i] - shift);
        lanes[i % 16] += x[i];
    }
    return sterna_lane_sum(lanes);
}

void sterna_kv_encode_f16_ref(const float *x, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half = sterna_f32_to_f16(x[i]);
        memcpy(out + 2 * i, &half, 2);
    }
}

void sterna_kv_encode_q8_ref(const float *x, size_t n, uint8_t *out)
{
    uint8_t *scales = out + ((n + 1) & ~(size_t)1);
    for (size_t begin = 0; begin < n; begin += STERNA_Q8_GROUP) {
        size_t end = begin + STERNA_Q8_GROUP < n ? begin + STERNA_Q8_GROUP : n;
        float max = 0;
        for (size_t i = begin; i < end; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
        uint16_t half = sterna_f32_to_f16(max / 127.0f);
        memcpy(scales + 2 * (begin / STERNA_Q8_GROUP), &half, 2);
        float scale = sterna_f16_to_f32(half), inverse = scale > 0 ? 1.0f / scale : 0;
        for (size_t i = begin; i < end; i++) {
            float value = x[i] * inverse;
            value = value > -127.0f ? value : -127.0f;
            value = value < 127.0f ? value : 127.0f;
            out[i] = (uint8_t)(int8_t)rintf(value);
        }
    }
}

uint64_t sterna_read_ref(const void *data, size_t bytes)
{
    const uint64_t *words = data;
    size_t quarter = bytes / 32;
    uint64_t hash = 0;
    for (size_t i = 0; i < quarter; i++)
        hash ^= words[i] ^ words[i + quarter] ^ words[i + 2 * quarter] ^ words[i + 3 * quarter];
    return hash;
}

uint64_t sterna_peak_ref(size_t rounds)
{
    volatile int8_t factor = 3;
    int32_t sum[16] = {0};
    for (size_t i = 0; i < rounds; i++) {
        int8_t x = factor;
        for (int j = 0; j < 16; j++) sum[j] += x * x;
    }
    volatile int32_t sink = 0;
    for (int j = 0; j < 16; j++) sink = sink ^ sum[j];
    return rounds * 32;
}
