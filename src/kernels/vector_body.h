/* The vector kernels over v16: included by vector_<isa>.c after a v16 header. The arithmetic and
 * its order are those of ref/vector_ref.c. STERNA_VECTOR(name) gives a function its full name. */
#include "kernels/kernels.h"
#include "kernels/ref/math_ref.h"

V16_INLINE v16 v16_exp(v16 x)
{
    x = v16_min(v16_max(x, v16_set1(STERNA_EXP_MIN)), v16_set1(STERNA_EXP_MAX));
    v16 shifted = v16_fma(x, v16_set1(STERNA_LOG2E), v16_set1(STERNA_ROUND_BITS));
    v16 n = v16_sub(shifted, v16_set1(STERNA_ROUND_BITS));
    v16 r = v16_fma(n, v16_set1(-STERNA_LN2_HIGH), x);
    r = v16_fma(n, v16_set1(-STERNA_LN2_LOW), r);
    v16 p = v16_set1(1.9875691500e-4f);
    p = v16_fma(p, r, v16_set1(1.3981999507e-3f));
    p = v16_fma(p, r, v16_set1(8.3334519073e-3f));
    p = v16_fma(p, r, v16_set1(4.1665795894e-2f));
    p = v16_fma(p, r, v16_set1(1.6666665459e-1f));
    p = v16_fma(p, r, v16_set1(5.0000001201e-1f));
    p = v16_add(v16_fma(p, v16_mul(r, r), r), v16_set1(1.0f));
    return v16_raise(p, shifted);
}

V16_INLINE v16 v16_tanh(v16 x)
{
    v16 one = v16_set1(1.0f), two = v16_set1(2.0f);
    return v16_sub(one, v16_div(two, v16_add(v16_exp(v16_mul(two, x)), one)));
}

#ifdef STERNA_VECTOR

float STERNA_VECTOR(quantize)(const float *x, size_t n, float floor, int8_t *q, int32_t *sums)
{
    v16 most = v16_set1(floor), zero = v16_set1(0), poison = zero;
    for (size_t i = 0; i < n; i += 16) {
        v16 value = i + 16 <= n ? v16_load(x + i) : v16_load_n(x + i, n - i);
        most = v16_max(v16_abs(value), most);
        poison = v16_fma(value, zero, poison);
    }
    float max = v16_largest(most), result = v16_sum(poison);
    if (!(max >= STERNA_QUANTIZE_LEAST)) {
        memset(q, 0, (n + 15) & ~(size_t)15);
        memset(sums, 0, (n + 15) / 16 * sizeof *sums);
        return result;
    }
    result = max / 127.0f + result;
    v16 scale = v16_set1(127.0f / max), least = v16_set1(-127.0f), top = v16_set1(127.0f);
    for (size_t i = 0; i < n; i += 16) {
        v16 value = i + 16 <= n ? v16_load(x + i) : v16_load_n(x + i, n - i);
        value = v16_min(v16_max(v16_mul(value, scale), least), top);
        sums[i / 16] = v16_to_i8(value, q + i);
    }
    return result;
}

/* Butterflies over distances 1, 2, 4, 8 (below n) inside 16 lanes. */
V16_INLINE v16 hadamard16(v16 a, size_t n)
{
    static const float signs[4][16] = {
        {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
        {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
        {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
        {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1},
    };
    a = v16_fma(a, v16_load(signs[0]), v16_swap(a, 1));
    if (n > 2) a = v16_fma(a, v16_load(signs[1]), v16_swap(a, 2));
    if (n > 4) a = v16_fma(a, v16_load(signs[2]), v16_swap(a, 4));
    if (n > 8) a = v16_fma(a, v16_load(signs[3]), v16_swap(a, 8));
    return a;
}

void STERNA_VECTOR(hadamard)(const float *x, const float *signs, float *out, size_t n)
{
    v16 scale = v16_set1((float)(1.0 / sqrt((double)n)));
    if (n < 16) {
        v16 a = v16_load_n(x, n);
        if (signs) a = v16_mul(a, v16_load_n(signs, n));
        v16_store_n(out, v16_mul(hadamard16(a, n), scale), n);
        return;
    }
    for (size_t i = 0; i < n; i += 16) {
        v16 a = v16_load(x + i);
        if (signs) a = v16_mul(a, v16_load(signs + i));
        v16_store(out + i, hadamard16(a, 16));
    }
    size_t h = 16;
    for (; 4 * h <= n; h *= 4) /* two distances a pass: half the loads and stores */
        for (size_t i = 0; i < n; i += 4 * h)
            for (size_t j = i; j < i + h; j += 16) {
                v16 a = v16_load(out + j), b = v16_load(out + j + h);
                v16 c = v16_load(out + j + 2 * h), d = v16_load(out + j + 3 * h);
                v16 ab = v16_add(a, b), a_b = v16_sub(a, b);
                v16 cd = v16_add(c, d), c_d = v16_sub(c, d);
                v16_store(out + j, v16_add(ab, cd));
                v16_store(out + j + h, v16_add(a_b, c_d));
                v16_store(out + j + 2 * h, v16_sub(ab, cd));
                v16_store(out + j + 3 * h, v16_sub(a_b, c_d));
            }
    for (; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j += 16) {
                v16 a = v16_load(out + j), b = v16_load(out + j + h);
                v16_store(out + j, v16_add(a, b));
                v16_store(out + j + h, v16_sub(a, b));
            }
    for (size_t i = 0; i < n; i += 16) v16_store(out + i, v16_mul(v16_load(out + i), scale));
}

void STERNA_VECTOR(rmsnorm)(const float *x, size_t n, const float *gain, float eps, float *out)
{
    v16 lanes = v16_set1(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) lanes = v16_fma(v16_load(x + i), v16_load(x + i), lanes);
    if (i < n) lanes = v16_fma(v16_load_n(x + i, n - i), v16_load_n(x + i, n - i), lanes);
    v16 scale = v16_set1(1.0f / sqrtf(v16_sum(lanes) / (float)n + eps));
    for (i = 0; i + 16 <= n; i += 16) {
        v16 a = v16_mul(v16_load(x + i), scale);
        v16_store(out + i, gain ? v16_mul(a, v16_load(gain + i)) : a);
    }
    if (i == n) return;
    v16 a = v16_mul(v16_load_n(x + i, n - i), scale);
    v16_store_n(out + i, gain ? v16_mul(a, v16_load_n(gain + i, n - i)) : a, n - i);
}

V16_INLINE v16 silu(v16 g)
{
    v16 one = v16_set1(1.0f);
    return v16_div(g, v16_add(one, v16_exp(v16_sub(v16_set1(0), g))));
}

V16_INLINE v16 gelu_tanh(v16 g)
{
    v16 cube = v16_mul(v16_mul(g, g), g), one = v16_set1(1.0f);
    v16 u = v16_mul(v16_set1(0.797884561f), v16_fma(v16_set1(0.044715f), cube, g));
    return v16_div(g, v16_add(one, v16_exp(v16_mul(v16_set1(-2.0f), u))));
}

V16_INLINE v16 relu2(v16 g)
{
    v16 positive = v16_max(v16_set1(0), g);
    return v16_mul(positive, positive);
}

V16_INLINE void gate_all(const float *gate, const float *up, float *out, size_t n, v16 act(v16 g))
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(out + i, v16_mul(act(v16_load(gate + i)), v16_load(up + i)));
    if (i == n) return;
    v16 value = act(v16_load_n(gate + i, n - i));
    v16_store_n(out + i, v16_mul(value, v16_load_n(up + i, n - i)), n - i);
}

void STERNA_VECTOR(gate_silu)(const float *gate, const float *up, float *out, size_t n)
{
    gate_all(gate, up, out, n, silu);
}

void STERNA_VECTOR(gate_gelu_tanh)(const float *gate, const float *up, float *out, size_t n)
{
    gate_all(gate, up, out, n, gelu_tanh);
}

void STERNA_VECTOR(gate_relu2)(const float *gate, const float *up, float *out, size_t n)
{
    gate_all(gate, up, out, n, relu2);
}

void STERNA_VECTOR(soft_cap)(float *x, size_t n, float cap)
{
    v16 c = v16_set1(cap);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(x + i, v16_mul(c, v16_tanh(v16_div(v16_load(x + i), c))));
    if (i < n)
        v16_store_n(x + i, v16_mul(c, v16_tanh(v16_div(v16_load_n(x + i, n - i), c))), n - i);
}

float STERNA_VECTOR(exp_sum)(float *x, size_t n, float shift)
{
    v16 from = v16_set1(shift), lanes = v16_set1(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 e = v16_exp(v16_sub(v16_load(x + i), from));
        v16_store(x + i, e);
        lanes = v16_add(lanes, e);
    }
    if (i == n) return v16_sum(lanes);
    v16_store_n(x + i, v16_exp(v16_sub(v16_load_n(x + i, n - i), from)), n - i);
    return v16_sum(v16_add(lanes, v16_load_n(x + i, n - i)));
}

void STERNA_VECTOR(kv_encode_f16)(const float *x, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v16_to_f16(v16_load(x + i), out + 2 * i);
    if (i == n) return;
    uint8_t last[32];
    v16_to_f16(v16_load_n(x + i, n - i), last);
    memcpy(out + 2 * i, last, 2 * (n - i));
}

void STERNA_VECTOR(kv_encode_q8)(const float *x, size_t n, uint8_t *out)
{
    uint8_t *scales = out + ((n + 1) & ~(size_t)1);
    for (size_t begin = 0; begin < n; begin += STERNA_Q8_GROUP) {
        size_t count = n - begin < STERNA_Q8_GROUP ? n - begin : STERNA_Q8_GROUP;
        size_t first = count < 16 ? count : 16, second = count - first;
        v16 a = v16_load_n(x + begin, first);
        v16 b = second ? v16_load_n(x + begin + first, second) : v16_set1(0);
        v16 zero = v16_set1(0);
        float max = v16_largest(v16_max(v16_abs(b), v16_max(v16_abs(a), zero)));
        uint16_t half = sterna_f32_to_f16(max / 127.0f);
        memcpy(scales + 2 * (begin / STERNA_Q8_GROUP), &half, 2);
        float scale = sterna_f16_to_f32(half);
        v16 inverse = v16_set1(scale > 0 ? 1.0f / scale : 0);
        v16 least = v16_set1(-127.0f), top = v16_set1(127.0f);
        int8_t codes[32];
        v16_to_i8(v16_min(v16_max(v16_mul(a, inverse), least), top), codes);
        v16_to_i8(v16_min(v16_max(v16_mul(b, inverse), least), top), codes + 16);
        memcpy(out + begin, codes, count);
    }
}

#endif
