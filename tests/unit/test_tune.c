/* quant/tune: the trits stay, scales and norms change, the divergence on held-out text falls; the
 * receipt tells it; what is not asked for does not happen. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/memory.h"
#include "formats/model_file.h"
#include "quant/tune.h"
#include "sterna.h"

static char folder[] = "/tmp/sterna-tune-XXXXXX";

/* A tiny model quantized; its receipt. */
static json_t *quantize(const char *model, const char *name, int64_t tune, char *path, size_t size)
{
    char in[512], *text = NULL;
    sterna_error err = {0};
    snprintf(in, sizeof in, "%s/models/%s", TEST_DATA, model);
    snprintf(path, size, "%s/%s.gguf", folder, name);
    const sterna_quantize_options options = {.type = "Q2_0",
                                             .tokens = 4096,
                                             .threads = 2,
                                             .tune = tune,
                                             .no_evaluation = true,
                                             .no_receipt_files = true};
    if (sterna_quantize(in, path, &options, &text, &err)) fail_msg("%s", err.message);
    json_t *receipt = json_loads(text, 0, NULL);
    assert_non_null(receipt);
    sterna_free(text);
    return receipt;
}

static sterna_model_file *open_file(const char *path)
{
    sterna_model_file *file = NULL;
    sterna_error err = {0};
    if (sterna_model_file_open(path, NULL, &file, &err)) fail_msg("%s", err.message);
    return file;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* How many scales or gains differ; trits must not. */
static size_t compare_tensor(const sterna_tensor *a, const sterna_tensor *b)
{
    float x[1024], y[1024];
    int8_t trits[1024], others[1024];
    size_t changed = 0, cols = (size_t)a->dims[0];
    bool ternary = a->type == STERNA_TYPE_Q2_0;
    assert_true(a->type == b->type && cols == b->dims[0] && cols <= 1024);
    for (uint64_t r = 0; r < sterna_tensor_rows(a); r++) {
        size_t count = cols;
        if (ternary) {
            assert_true(sterna_tensor_row_trits(a, r, trits, x));
            assert_true(sterna_tensor_row_trits(b, r, others, y));
            assert_memory_equal(trits, others, cols);
            count = cols / 64;
        } else {
            sterna_tensor_row(a, r, x);
            sterna_tensor_row(b, r, y);
        }
        for (size_t i = 0; i < count; i++) {
            assert_true(isfinite(y[i]) && fabsf(y[i] - x[i]) <= 0.5f * fabsf(x[i]));
            changed += x[i] != y[i];
        }
    }
    return changed;
}

static void tunes(void **state)
{
    (void)state;
    char plain[600], tuned[600];
    json_t *before = quantize("gemma2/hf", "plain", -1, plain, sizeof plain);
    json_t *after = quantize("gemma2/hf", "tuned", 20000, tuned, sizeof tuned);
    assert_null(json_object_get(before, "tuning"));
    const json_t *told = json_object_get(after, "tuning");
    assert_true(json_is_true(json_object_get(told, "kept")));
    assert_true(number(told, "kl_after") < 0.97 * number(told, "kl_before"));
    assert_true(number(told, "tokens") == 20480); /* whole steps */
    assert_true(number(told, "held_out_windows") >= 4);
    sterna_model_file *a = open_file(plain), *b = open_file(tuned);
    assert_int_equal(a->n_tensors, b->n_tensors);
    size_t scales = 0, gains = 0;
    for (size_t i = 0; i < a->n_tensors; i++) {
        const sterna_tensor *x = &a->tensors[i], *y = sterna_model_file_find(b, x->name);
        assert_non_null(y);
        size_t changed = compare_tensor(x, y);
        if (x->type == STERNA_TYPE_Q2_0)
            scales += changed;
        else if (strstr(x->name, "norm"))
            gains += changed;
        else
            assert_int_equal(changed, 0);
    }
    assert_true(scales > 20 && gains > 100);
    sterna_model_file_close(a);
    sterna_model_file_close(b);
    json_decref(before);
    json_decref(after);
    unlink(plain);
    unlink(tuned);
}

/* The same bytes every time. */
static void repeats(void **state)
{
    (void)state;
    char first[600], second[600];
    json_decref(quantize("gemma2/hf", "first", 4096, first, sizeof first));
    json_decref(quantize("gemma2/hf", "second", 4096, second, sizeof second));
    sterna_model_file *a = open_file(first), *b = open_file(second);
    for (size_t i = 0; i < a->n_tensors; i++) {
        assert_int_equal(a->tensors[i].bytes, b->tensors[i].bytes);
        assert_memory_equal(a->tensors[i].data, b->tensors[i].data, a->tensors[i].bytes);
    }
    sterna_model_file_close(a);
    sterna_model_file_close(b);
    unlink(first);
    unlink(second);
}

static bool cancel(void *context, const char *stage, double done, double total)
{
    (void)context;
    (void)total;
    return strncmp(stage, "tuning", 6) != 0 || done < 3;
}

static void cancelled(void **state)
{
    (void)state;
    char in[512], out[600];
    sterna_error err = {0};
    snprintf(in, sizeof in, "%s/models/gemma2/hf", TEST_DATA);
    snprintf(out, sizeof out, "%s/cancelled.gguf", folder);
    const sterna_quantize_options options = {
        .type = "Q2_0", .tokens = 1024, .tune = 8192, .progress = cancel};
    assert_int_equal(sterna_quantize(in, out, &options, NULL, &err), STERNA_ERROR_CANCELLED);
    assert_int_equal(access(out, F_OK), -1);
    static const char *const left[] = {"calibration", "layers", "states.0", "states.1", ""};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) { /* the journal, for --resume */
        char path[700];
        snprintf(path, sizeof path, "%s.resume/%s", out, left[i]);
        remove(path);
    }
    const sterna_quantize_options other = {.method = "itf", .type = "Q2_0", .tune = 8192};
    assert_int_equal(sterna_quantize(in, out, &other, NULL, &err), STERNA_ERROR_ARGUMENT);
}

/* With so many bytes of address space beyond what is taken. */
static void limit_memory(double more)
{
    struct rlimit limit;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld", &pages), 1);
    fclose(file);
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = more > 0 ? (rlim_t)(4096.0 * (double)pages + more) : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
}

/* Where calibration has room and tuning has not. */
static void leaves_out_what_has_no_room(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* more is reserved than any limit */
#endif
    char in[512], out[600], *text = NULL;
    sterna_error err = {0};
    snprintf(in, sizeof in, "%s/models/gemma2/hf", TEST_DATA);
    snprintf(out, sizeof out, "%s/small.gguf", folder);
    sterna_quantize_options options = {
        .tokens = 512, .threads = 1, .no_evaluation = true, .no_receipt_files = true};
    limit_memory(150e6);
    sterna_status unasked = sterna_quantize(in, out, &options, &text, &err);
    options.tune = 4096;
    sterna_status asked = sterna_quantize(in, out, &options, NULL, &err);
    limit_memory(0);
    assert_int_equal(unasked, STERNA_OK);
    assert_int_equal(asked, STERNA_ERROR_LIMIT);
    assert_non_null(strstr(err.message, "--tune 0 leaves it out"));
    json_t *receipt = json_loads(text, 0, NULL);
    const json_t *told = json_object_get(receipt, "tuning");
    const char *why = json_string_value(json_object_get(told, "skipped"));
    assert_true(why && strstr(why, "memory") && number(told, "tokens") > 0);
    const json_t *recipe = json_object_get(json_object_get(receipt, "recipe"), "options");
    assert_true(number(recipe, "tune") == -1);
    json_decref(receipt);
    sterna_free(text);
    unlink(out);
}

static void halves_what_takes_too_long(void **state)
{
    (void)state;
    assert_int_equal(sterna_tune_within(131072, 600), 131072);
    assert_int_equal(sterna_tune_within(131072, 601), 65536);
    assert_int_equal(sterna_tune_within(131072, 4800), 16384);
    assert_int_equal(sterna_tune_within(131072, 4801), 0);
    assert_int_equal(sterna_tune_within(131072, INFINITY), 0);
    assert_int_equal(sterna_tune_within(1000, 10), 1000);
}

/* A step is measured, and what ten minutes have no room for is left out. */
static void shortens(void **state)
{
    (void)state;
    char in[512];
    int32_t ids[256];
    sterna_error err = {0};
    const sterna_calibration written = {.ids = ids, .windows = 2, .length = 128};
    const sterna_hadamard_rules rules = {0};
    sterna_tune_settings settings = {.tokens = 4096, .threads = 1};
    sterna_facts facts = {0};
    for (int i = 0; i < 256; i++) ids[i] = i * 7 % 60;
    snprintf(in, sizeof in, "%s/models/gemma2/hf", TEST_DATA);
    sterna_model_file *file = open_file(in);
    assert_int_equal(sterna_tune_shorten(file, &written, &settings, NULL, 0, &rules, &facts, &err),
                     STERNA_OK);
    assert_true(settings.tokens == 4096 && settings.step_s > 0 && facts.tuning.shorter == 0);
    const size_t many = (size_t)1 << 40;
    settings.tokens = many;
    assert_int_equal(sterna_tune_shorten(file, &written, &settings, NULL, 0, &rules, &facts, &err),
                     STERNA_OK);
    double seconds = settings.step_s * (double)settings.tokens / STERNA_TUNE_STEP_TOKENS;
    assert_true(seconds > 299 && seconds < 601);
    assert_true((settings.tokens & (settings.tokens - 1)) == 0 && facts.tuning.shorter == many);
    assert_null(facts.tuning.skipped);
    sterna_model_file_close(file);
}

/* The receipt's recipe takes the number of tokens that this machine had time for. */
static void recipe_tells_tokens(void **state)
{
    (void)state;
    char path[600];
    json_t *receipt = quantize("gemma2/hf", "usual", 0, path, sizeof path);
    const json_t *options = json_object_get(json_object_get(receipt, "recipe"), "options");
    assert_true(number(json_object_get(receipt, "tuning"), "tokens") == 131072);
    assert_true(number(options, "tune") == 131072);
    json_decref(receipt);
    unlink(path);
}

int main(void)
{
    if (!mkdtemp(folder)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tunes),
        cmocka_unit_test(repeats),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(leaves_out_what_has_no_room),
        cmocka_unit_test(halves_what_takes_too_long),
        cmocka_unit_test(shortens),
        cmocka_unit_test(recipe_tells_tokens),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed || rmdir(folder); /* which fails where something was left behind */
}
