/* Kernels on activations and vectors, and those that measure, against the reference; exp and tanh
 * of the reference against libm. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checks.h"
#include "kernels/ref/math_ref.h"

void check_quantize(sterna_quantize_fn *kernel)
{
    for (int i = 0; i < 600; i++) {
        size_t n = 1 + below(i < 300 ? 40 : 600), padded = (n + 15) & ~(size_t)15;
        const float *x = vector(n, true);
        float floor = below(2) ? 0 : 1e-5f;
        int8_t *q = guarded(padded, 16), *want = guarded(padded, 16);
        int32_t *sums = guarded(padded / 4, 4), *want_sums = guarded(padded / 4, 4);
        float scale = kernel(x, n, floor, q, sums);
        float want_scale = sterna_quantize_ref(x, n, floor, want, want_sums);
        bool good = same_floats(&scale, &want_scale, 1, "scale") &&
                    same_bytes(q, want, padded, "codes") &&
                    same_bytes(sums, want_sums, padded / 4, "sums");
        release_guarded();
        if (!good) return;
    }
}

void check_hadamard(sterna_hadamard_fn *kernel)
{
    for (size_t n = 2; n <= 4096; n *= 2)
        for (int i = 0; i < 8; i++) {
            const float *x = vector(n, false);
            float *signs = guarded(n * 4, 4), *out = guarded(n * 4, 4), *want = guarded(n * 4, 4);
            for (size_t j = 0; j < n; j++) signs[j] = below(2) ? 1.0f : -1.0f;
            if (i & 1) { /* in place */
                memcpy(out, x, n * 4);
                kernel(out, i & 2 ? signs : NULL, out, n);
            } else {
                kernel(x, i & 2 ? signs : NULL, out, n);
            }
            sterna_hadamard_ref(x, i & 2 ? signs : NULL, want, n);
            same_floats(out, want, n, "out");
            release_guarded();
        }
}

void check_rmsnorm(sterna_rmsnorm_fn *kernel)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(i < 100 ? 40 : 3000);
        const float *x = vector(n, i % 3 == 0), *gain = below(2) ? vector(n, false) : NULL;
        float *out = guarded(n * 4, 4), *want = guarded(n * 4, 4);
        kernel(x, n, gain, 1e-6f, out);
        sterna_rmsnorm_ref(x, n, gain, 1e-6f, want);
        same_floats(out, want, n, "out");
        release_guarded();
    }
}

static void gate_cases(sterna_gate_fn *kernel, sterna_gate_fn *law)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(100);
        float *gate = vector(n, true);
        const float *up = vector(n, true);
        for (size_t j = 0; j < n; j++)
            if (i % 2) gate[j] *= 50;
        float *out = guarded(n * 4, 4), *want = guarded(n * 4, 4);
        kernel(gate, up, out, n);
        law(gate, up, want, n);
        same_floats(out, want, n, "out");
        kernel(gate, up, gate, n);
        same_floats(gate, want, n, "in place");
        release_guarded();
    }
}

void check_gate_silu(sterna_gate_fn *kernel)
{
    gate_cases(kernel, sterna_gate_silu_ref);
}

void check_gate_gelu_tanh(sterna_gate_fn *kernel)
{
    gate_cases(kernel, sterna_gate_gelu_tanh_ref);
}

void check_gate_relu2(sterna_gate_fn *kernel)
{
    gate_cases(kernel, sterna_gate_relu2_ref);
}

void check_soft_cap(sterna_soft_cap_fn *kernel)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(70);
        float *x = vector(n, true), *want = guarded(n * 4, 4);
        memcpy(want, x, n * 4);
        kernel(x, n, 30.0f);
        sterna_soft_cap_ref(want, n, 30.0f);
        same_floats(x, want, n, "x");
        release_guarded();
    }
}

void check_exp_sum(sterna_exp_sum_fn *kernel)
{
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + below(100);
        float *x = vector(n, true), *want = guarded(n * 4, 4);
        for (size_t j = 0; j < n; j++)
            if (i % 2) x[j] *= 50;
        memcpy(want, x, n * 4);
        float shift = 10 * uniform(), sum[2];
        sum[0] = kernel(x, n, shift);
        sum[1] = sterna_exp_sum_ref(want, n, shift);
        same_floats(x, want, n, "x");
        same_floats(&sum[0], &sum[1], 1, "sum");
        release_guarded();
    }
}

/* ---- measuring kernels ---- */

void check_read(sterna_read_fn *kernel)
{
    for (size_t bytes = 1024; bytes <= 64 * 1024; bytes *= 4) {
        uint8_t *data = guarded(bytes, 64);
        fill_bytes(data, bytes, 0);
        uint64_t hash = kernel(data, bytes), want = sterna_read_ref(data, bytes);
        same_bytes(&hash, &want, sizeof hash, "hash");
        release_guarded();
    }
}

void check_peak(sterna_peak_fn *kernel)
{
    if (kernel(10) == 0 || kernel(20) != 2 * kernel(10)) {
        printf("%s: does not count its operations\n", current);
        failures++;
    }
}

/* ---- the law itself: exp and tanh against libm ---- */

void check_math(void)
{
    double worst_exp = 0, worst_tanh = 0;
    for (float x = -86.9f; x < 87.9f; x += 0.00137f) {
        double want = exp((double)x);
        worst_exp = fmax(worst_exp, fabs((double)sterna_exp(x) - want) / want);
        worst_tanh = fmax(worst_tanh, fabs((double)sterna_tanh(x / 10) - tanh((double)x / 10)));
    }
    if (worst_exp > 0x1p-22 || worst_tanh > 0x1p-22) {
        printf("math_ref: exp is off by %.3g, tanh by %.3g\n", worst_exp, worst_tanh);
        failures++;
    }
}
