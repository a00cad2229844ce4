/* quant/predict: the arithmetic of what a run will take, by hand and against itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quant/predict.h"

static sterna_layer_config layers[80];

/* A llama of these sizes, 16k tokens, on a machine of 1e11 multiplications and additions a second.
 */
static sterna_workload work_of(uint32_t n_layers, uint32_t width, uint32_t ffn, uint32_t heads,
                               uint32_t kv_heads, uint32_t vocabulary)
{
    double w = width, kv = w / heads * kv_heads;
    double weights = n_layers * (2 * w * w + 2 * w * kv + 3 * w * ffn);
    for (uint32_t i = 0; i < n_layers; i++) layers[i] = (sterna_layer_config){.ffn_width = ffn};
    return (sterna_workload){.config = {.n_layers = n_layers,
                                        .width = width,
                                        .heads = heads,
                                        .kv_heads = kv_heads,
                                        .head_dim = width / heads,
                                        .vocabulary = vocabulary,
                                        .context = 2048,
                                        .layers = layers},
                             .tokens = 16384,
                             .own_tokens = 6144,
                             .length = 512,
                             .loaded_bytes = 2 * weights,
                             .ternary_bytes = 1.75 / 8 * weights,
                             .threads = 2,
                             .rates = {1e11, 2e11}};
}

static sterna_workload small(void)
{
    return work_of(30, 576, 1536, 9, 3, 49152);
}

static bool near(double a, double b, double share)
{
    return fabs(a - b) <= share * fabs(b);
}

/* The table of docs/QUANTIZATION.md. */
static void memory_of_known_models(void **state)
{
    (void)state;
    static const double gigabytes[3] = {0.49, 6.1, 34.1};
    for (int i = 0; i < 3; i++) {
        sterna_workload work = i == 0   ? small()
                               : i == 1 ? work_of(32, 4096, 11008, 32, 32, 32000)
                                        : work_of(80, 8192, 28672, 64, 8, 32000);
        sterna_prediction p = sterna_predict(&work);
        assert_true(near(p.layers_bytes, gigabytes[i] * 1e9, 0.08));
        assert_true(p.tuning_bytes == 0 && p.tuning_s == 0 && p.evaluation_bytes == 0);
    }
}

/* One layer of one head: every sum by hand. */
static void a_layer_by_hand(void **state)
{
    (void)state;
    sterna_workload work = work_of(1, 64, 128, 1, 1, 100);
    work.rates = (sterna_rates){1, 2};
    work.tokens = 512;
    work.own_tokens = 192;
    /* the matrices that share an input: 192 x 64, 64 x 64, 256 x 64, 64 x 128 */
    const double narrow[2] = {1 + 840 / 64.0, 1 + 840 / 128.0};
    const double products[2] = {4.0 * (192 * 64 + 64 * 64 + 256 * 64), 4.0 * 64 * 128};
    const double moments[2] = {3 * 64 * 64 + (64 * 64 + 4 * 64 * 64) + 3 * 64 * 64,
                               128 * 128 + 4 * 64 * 128};
    const double fits[2] = {8.0 * (192 + 64 + 256) * 64 * 64 + 3 * 64.0 * 64 * 64,
                            8.0 * 64 * 128 * 128 + 128.0 * 128 * 128};
    double seconds = 0;
    for (int i = 0; i < 2; i++)
        seconds += narrow[i] * (512 * (0.43 * products[i] + 0.7 * moments[i] / 2) + 3.2 * fits[i]);
    sterna_prediction p = sterna_predict(&work);
    assert_true(near(p.fit_s, seconds, 1e-9));
    double weights = 192 * 64 + 64 * 64 + 256 * 64 + 64 * 128 + 100 * 64;
    assert_true(near(p.text_s, 512 * 0.375 * 2 * 0.54 * narrow[0] * weights, 1e-9));
    assert_true(p.per_token == 8 * 64 + 4 * 128);
    assert_true(p.sensitivity_s == 0 && p.evaluation_s == 0 && p.all_tuning_s == 0);
}

static void time_follows_the_work(void **state)
{
    (void)state;
    sterna_workload work = small(), twice = work;
    twice.tokens *= 2;
    twice.own_tokens *= 2;
    sterna_prediction a = sterna_predict(&work), b = sterna_predict(&twice);
    assert_true(near(b.text_s, 2 * a.text_s, 1e-9));
    assert_true(b.fit_s > 1.2 * a.fit_s && b.fit_s < 2 * a.fit_s);
    assert_true(near(b.layers_bytes - a.layers_bytes, 16384 * a.per_token, 1e-9));
    sterna_workload resumed = work;
    resumed.finished = 15; /* the text is there too */
    b = sterna_predict(&resumed);
    assert_true(near(b.fit_s, a.fit_s / 2, 1e-9) && b.text_s == 0);
    sterna_workload faster = work;
    faster.rates.exact *= 4;
    faster.rates.fast *= 4;
    b = sterna_predict(&faster);
    assert_true(near(sterna_prediction_seconds(&b), sterna_prediction_seconds(&a) / 4, 1e-9));
    work.sensitivities = true;
    work.evaluation_tokens = 6144;
    b = sterna_predict(&work);
    assert_true(b.sensitivity_s > 0 && b.evaluation_s > 0 &&
                b.evaluation_bytes > work.loaded_bytes);
    assert_true(near(sterna_prediction_seconds(&b),
                     sterna_prediction_seconds(&a) + b.sensitivity_s + b.evaluation_s, 1e-9));
}

static void tuning_counts_too(void **state)
{
    (void)state;
    sterna_workload work = small();
    work.tune_tokens = 98304;
    work.source_bytes = 270e6;
    work.scales = 106e6 / 128;
    work.rates.fast = 1e12;
    sterna_workload plain = small();
    plain.rates = work.rates;
    sterna_prediction none = sterna_predict(&plain), a = sterna_predict(&work);
    assert_true(a.tuning_s > 0 && a.all_tuning_s == 0 && a.tuning_bytes > 1.4e9);
    assert_true(a.tuning_tokens == work.tune_tokens);
    assert_true(sterna_prediction_bytes(&a) == a.tuning_bytes);
    assert_true(
        near(sterna_prediction_seconds(&a), sterna_prediction_seconds(&none) + a.tuning_s, 1e-9));
    work.tune_tokens *= 2;
    sterna_prediction b = sterna_predict(&work);
    assert_true(b.tuning_s > 1.8 * a.tuning_s && b.tuning_s < 2 * a.tuning_s);
    assert_true(b.tuning_bytes == a.tuning_bytes); /* a step is a step */
    sterna_workload little = work;                 /* too few windows to hold one out */
    little.tokens = 512;
    little.own_tokens = 192;
    little.tune_tokens = 1024;
    b = sterna_predict(&little);
    assert_true(b.tuning_s == 0 && b.tuning_bytes == 0 && b.all_tuning_s == 0);
}

/* Nobody waits longer unasked. */
static void tuning_has_ten_minutes(void **state)
{
    (void)state;
    sterna_workload work = small();
    work.tune_tokens = 131072;
    work.source_bytes = 270e6;
    work.rates.fast = 1e12;
    sterna_prediction all = sterna_predict(&work), part, none;
    work.rates.fast *= all.tuning_s / 2000; /* all: somewhat less than 2,000 s */
    part = sterna_predict(&work);
    assert_true(part.tuning_tokens == 32768 && near(part.all_tuning_s, 2000, 1e-9));
    assert_true(part.tuning_s > 400 && part.tuning_s < 600 && part.tuning_bytes > 1e9);
    work.rates.fast /= 10; /* 16k tokens: about 2,500 s */
    none = sterna_predict(&work);
    assert_true(none.tuning_s == 0 && none.tuning_bytes == 0 && none.tuning_tokens == 0);
    assert_true(near(none.all_tuning_s, 20000, 1e-9));
    work.tune_wanted = true;
    part = sterna_predict(&work);
    assert_true(part.tuning_s == none.all_tuning_s && part.all_tuning_s == 0);
    assert_true(part.tuning_tokens == 131072 && part.tuning_bytes > 1e9);
    assert_true(near(sterna_prediction_seconds(&part),
                     sterna_prediction_seconds(&none) + part.tuning_s, 1e-9));
}

static void says_what_would_fit(void **state)
{
    (void)state;
    sterna_workload work = small();
    sterna_error err = {0};
    work.loaded_bytes = 1e8;
    sterna_prediction p = sterna_predict(&work);
    double needed = fmax(p.layers_bytes, p.text_bytes);
    assert_int_equal(sterna_prediction_check(&p, needed, &err), STERNA_OK);
    double available = p.layers_bytes - 3000 * p.per_token;
    assert_true(p.text_bytes < available);
    assert_int_equal(sterna_prediction_check(&p, available, &err), STERNA_ERROR_LIMIT);
    assert_non_null(strstr(err.message, "at most --tokens 13312 fit"));
    work.tokens = 13312; /* and they do */
    p = sterna_predict(&work);
    assert_int_equal(sterna_prediction_check(&p, available, &err), STERNA_OK);
    assert_int_equal(sterna_prediction_check(&p, 1e7, &err), STERNA_ERROR_LIMIT);
    assert_non_null(strstr(err.message, "with any number of tokens"));
}

/* A model that is too large to be run whole is calibrated with text alone; what goes on with a run
 * that has its text needs no more of it. */
static void text_alone_needs_no_model(void **state)
{
    (void)state;
    sterna_workload work = work_of(80, 8192, 28672, 64, 8, 32000), other = work;
    sterna_error err;
    double available = 64e9;
    sterna_prediction p = sterna_predict(&work);
    assert_true(p.text_bytes > available && p.text_s > 0);
    assert_int_equal(sterna_prediction_check(&p, available, &err), STERNA_ERROR_LIMIT);
    work.text_only = true;
    sterna_prediction alone = sterna_predict(&work);
    assert_true(alone.text_bytes == 0 && alone.text_s == 0 && alone.fit_s == p.fit_s);
    assert_int_equal(sterna_prediction_check(&alone, available, &err), STERNA_OK);
    other.finished = 79;
    p = sterna_predict(&other);
    assert_true(p.text_bytes == 0 && p.layers_bytes == alone.layers_bytes);
}

static void in_words(void **state)
{
    (void)state;
    static const struct {
        sterna_prediction p;
        const char *text;
    } cases[] = {{{.layers_bytes = 5e8, .fit_s = 40}, "about 0.50 GB of memory and 40 s"},
                 {{.layers_bytes = 5e8, .tuning_bytes = 1.25e9, .fit_s = 300, .tuning_s = 240},
                  "about 1.25 GB of memory and 9 min, 4 min of them tuning"},
                 {{.text_bytes = 7e9, .fit_s = 7200, .all_tuning_s = 14400},
                  "about 7.00 GB of memory and 2.0 h, without tuning, which would take 4.0 h"},
                 {{.layers_bytes = 5e9,
                   .fit_s = 3000,
                   .tuning_s = 540,
                   .tuning_tokens = 16384,
                   .all_tuning_s = 3900},
                  "about 5.00 GB of memory and 59 min, 9 min of them tuning with 16384 tokens "
                  "(all would take 65 min)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        sterna_prediction_text(&cases[i].p, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_known_models),    cmocka_unit_test(a_layer_by_hand),
        cmocka_unit_test(time_follows_the_work),     cmocka_unit_test(tuning_counts_too),
        cmocka_unit_test(tuning_has_ten_minutes),    cmocka_unit_test(says_what_would_fit),
        cmocka_unit_test(text_alone_needs_no_model), cmocka_unit_test(in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
