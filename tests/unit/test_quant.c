/* quant/: the fit against theory and brute force; whole files quantized and converted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/half.h"
#include "base/memory.h"
#include "base/rng.h"
#include "formats/writer.h"
#include "quant/convert.h"
#include "quant/fit.h"
#include "quant/quantize.h"
#include "quant/roles.h"

/* ---- fitting ---- */

static float gauss(sterna_rng *rng)
{
    double u = 1 - sterna_rng_double(rng), v = sterna_rng_double(rng);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static float laplace(sterna_rng *rng)
{
    double u = 1 - sterna_rng_double(rng);
    return (float)(sterna_rng_u64(rng) & 1 ? log(u) : -log(u));
}

/* Fits w in place of a file: rounded scale, threshold of half the scale. */
static double fit(sterna_fit_method method, const float *w, size_t count, int8_t *trits,
                  sterna_fit_result *result)
{
    float *magnitudes = test_malloc(count * sizeof(float));
    sterna_fit_magnitudes(w, count, magnitudes);
    double scale = sterna_fit_scale(method, magnitudes, count);
    test_free(magnitudes);
    float rounded = sterna_fit_round(scale);
    *result = (sterna_fit_result){0, 0, 0};
    sterna_fit_assign(w, count, rounded, (float)scale * 0.5f, trits, result);
    return scale;
}

static void reaches_theory(void **state)
{
    (void)state;
    enum { N = 1 << 17 };
    static float w[N];
    static int8_t trits[N];
    sterna_rng rng;
    sterna_rng_seed(&rng, 3);
    const struct {
        float (*draw)(sterna_rng *);
        double error, zeros, level;
    } laws[] = {{gauss, 0.1902, 0.460, 1.224}, {laplace, 1 - 2 / 2.718281828, 0.632, 2.0}};
    for (int law = 0; law < 2; law++) {
        sterna_fit_result result;
        for (int i = 0; i < N; i++) w[i] = laws[law].draw(&rng);
        double scale = fit(STERNA_FIT_ITF, w, N, trits, &result);
        assert_true(fabs(result.error / result.energy - laws[law].error) < 0.003);
        assert_true(fabs((double)result.zeros / N - laws[law].zeros) < 0.01);
        assert_true(fabs(scale - laws[law].level) < 0.02);
        double grouped = 0, energy = 0; /* groups of 128 fit a little of the noise */
        for (int i = 0; i < N; i += 128) {
            fit(STERNA_FIT_ITF, w + i, 128, trits, &result);
            grouped += result.error;
            energy += result.energy;
        }
        assert_true(grouped / energy < laws[law].error + 0.01);
        assert_true(grouped / energy > laws[law].error - 0.01);
    }
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* max_k S_k^2 / k over all k, the definition. */
static double best_gain(const float *w, size_t count)
{
    float *sorted = test_malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++) sorted[i] = fabsf(w[i]);
    qsort(sorted, count, sizeof *sorted, descending);
    double sum = 0, best = 0;
    for (size_t k = 1; k <= count; k++) {
        sum += (double)sorted[k - 1];
        best = fmax(best, sum * sum / (double)k);
    }
    test_free(sorted);
    return best;
}

static double gain_at(const float *w, size_t count, double scale)
{
    double gain = 0; /* ||w||^2 - ||w - a t||^2 at the best t */
    for (size_t i = 0; i < count; i++) {
        double m = fabs((double)w[i]);
        if (m > scale / 2) gain += 2 * m * scale - scale * scale;
    }
    return gain;
}

/* The fit is the optimum, whatever the distribution and the length. */
static void finds_the_optimum(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 5, 16, 31, 64, 100, 128, 256, 999, 1024, 1500};
    sterna_rng rng;
    sterna_rng_seed(&rng, 4);
    float w[1500], magnitudes[1500];
    for (int round = 0; round < 3000; round++) {
        size_t count = counts[round % 12];
        double power = 0.2 + 5 * sterna_rng_double(&rng); /* light to very heavy tails */
        for (size_t i = 0; i < count; i++) {
            double m = pow(1 - sterna_rng_double(&rng), power) * exp2((double)(round % 40) - 20);
            if (round % 7 == 0) m = floor(m * 4) / 4; /* many ties */
            w[i] = (float)(sterna_rng_u64(&rng) & 1 ? m : -m);
        }
        sterna_fit_magnitudes(w, count, magnitudes);
        double scale = sterna_fit_scale(STERNA_FIT_ITF, magnitudes, count);
        double wanted = best_gain(w, count);
        if (wanted == 0) {
            assert_true(scale == 0);
            continue;
        }
        assert_true(gain_at(w, count, scale) >= wanted * (1 - 1e-5));
    }
}

/* Iterative ternary fitting from 0.75 mean|w| never raises the error, and ends no lower than the
 * exact fit. */
static void itf_never_rises(void **state)
{
    (void)state;
    sterna_rng rng;
    sterna_rng_seed(&rng, 5);
    float w[128], magnitudes[128];
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 128; i++) w[i] = round % 2 ? gauss(&rng) : laplace(&rng);
        sterna_fit_magnitudes(w, 128, magnitudes);
        sterna_fit_part part = sterna_fit_above(magnitudes, 128, 0);
        double threshold = 0.75 * part.sum / 128, before = 0;
        for (int step = 0; step < 12; step++) {
            part = sterna_fit_above(magnitudes, 128, (float)threshold);
            double gain = part.sum * part.sum / (double)part.count;
            assert_true(gain >= before * (1 - 1e-9));
            before = gain;
            threshold = 0.5 * part.sum / (double)part.count;
        }
        double exact = sterna_fit_scale(STERNA_FIT_ITF, magnitudes, 128);
        assert_true(gain_at(w, 128, exact) >= before * (1 - 1e-6));
    }
}

static void absmean_is_bitnets(void **state)
{
    (void)state;
    const float w[8] = {1, -1, 0.4f, -0.4f, 0.5f, 0.1f, -2, 0};
    int8_t trits[8];
    sterna_fit_result result;
    double scale = fit(STERNA_FIT_ABSMEAN, w, 8, trits, &result);
    assert_true(fabs(scale - 5.4 / 8) < 1e-6);
    const int8_t wanted[8] = {1, -1, 1, -1, 1, 0, -1, 0}; /* beyond 0.3375 */
    assert_memory_equal(trits, wanted, 8);
    assert_int_equal(result.zeros, 2);
}

static void odd_rows(void **state)
{
    (void)state;
    float w[130];
    int8_t trits[130];
    sterna_fit_result result;
    memset(w, 0, sizeof w);
    assert_true(fit(STERNA_FIT_ITF, w, 130, trits, &result) == 0);
    assert_int_equal(result.zeros, 130);
    for (int i = 0; i < 130; i++) w[i] = i % 3 ? 0.25f : -0.25f;
    assert_true(fit(STERNA_FIT_ITF, w, 130, trits, &result) == 0.25);
    assert_true(result.error == 0);
    for (int i = 0; i < 130; i++) assert_int_equal(trits[i], i % 3 ? 1 : -1);
    w[7] = NAN;
    assert_true(isnan(sterna_fit_magnitudes(w, 130, w)));
    w[7] = -INFINITY;
    assert_true(isinf(sterna_fit_magnitudes(w, 130, w)));
    assert_true(isinf(sterna_fit_round(1e9)));
    assert_true(sterna_fit_round(1e-9) == 0);
}

static void names_tell_roles(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int n_dims;
        uint64_t rows;
        sterna_role role;
    } cases[] = {{"blk.0.ffn_up.weight", 2, 64, STERNA_ROLE_LINEAR},
                 {"model.layers.31.self_attn.q_proj.weight", 2, 64, STERNA_ROLE_LINEAR},
                 {"blk.3.ffn_gate_exps.weight", 3, 64, STERNA_ROLE_LINEAR},
                 {"blk.0.attn_norm.weight", 1, 1, STERNA_ROLE_VECTOR},
                 {"blk.0.attn_q.bias", 1, 1, STERNA_ROLE_VECTOR},
                 {"blk.0.ffn_gate_inp.weight", 2, 8, STERNA_ROLE_TABLE},
                 {"token_embd.weight", 2, 99, STERNA_ROLE_TABLE},
                 {"output.weight", 2, 99, STERNA_ROLE_TABLE},
                 {"lm_head.weight", 2, 99, STERNA_ROLE_TABLE},
                 {"v2.weight", 2, 99, STERNA_ROLE_TABLE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sterna_tensor tensor = {.name = cases[i].name,
                                .type = STERNA_TYPE_F16,
                                .n_dims = cases[i].n_dims,
                                .dims = {64, cases[i].rows, 1, 1}};
        assert_int_equal(sterna_role_of(&tensor), cases[i].role);
    }
    assert_int_equal(sterna_fitting_type(STERNA_TYPE_TQ2_0, 512), STERNA_TYPE_TQ2_0);
    assert_int_equal(sterna_fitting_type(STERNA_TYPE_TQ2_0, 576), STERNA_TYPE_Q2_0);
    assert_int_equal(sterna_fitting_type(STERNA_TYPE_PTQ1_0, 96), STERNA_TYPE_Q8_0);
    assert_int_equal(sterna_fitting_type(STERNA_TYPE_PTQ1_0, 50), STERNA_TYPE_F16);
    assert_int_equal(sterna_fitting_type(STERNA_TYPE_F16, 64), STERNA_TYPE_F16);
}
