/* quant/export: Hugging Face folders and llama2.c checkpoints as GGUF, against the files that an
 * independent exporter wrote (tools/reference/gguf_export.py). */
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

#include "base/memory.h"
#include "model/config.h"
#include "quant/convert.h"
#include "quant/quantize.h"
#include "run/text.h"

static char path[64];

static sterna_model_file *open_model(const char *name)
{
    sterna_model_file *file;
    sterna_error err = {0};
    if (sterna_model_file_open(name, NULL, &file, &err)) fail_msg("%s", err.message);
    return file;
}

/* The factor beside a matrix, 1 where there is none. */
static float factor_of(const sterna_model_file *file, const char *name)
{
    char scale[200];
    float factor = 1;
    snprintf(scale, sizeof scale, "%.*s.scale", (int)(strlen(name) - strlen(".weight")), name);
    const sterna_tensor *tensor = sterna_model_file_find(file, scale);
    if (tensor) sterna_tensor_row(tensor, 0, &factor);
    return factor;
}

/* Every tensor of `wanted` is in `made` with the same values; the rest of `made` are factors. */
static void compare_tensors(const sterna_model_file *wanted, const sterna_model_file *made)
{
    size_t factors = 0;
    for (size_t i = 0; i < made->n_tensors; i++)
        factors += strstr(made->tensors[i].name, ".scale") != NULL;
    assert_int_equal(made->n_tensors, wanted->n_tensors + factors);
    for (size_t i = 0; i < wanted->n_tensors; i++) {
        const sterna_tensor *a = &wanted->tensors[i], *b = sterna_model_file_find(made, a->name);
        if (!b) fail_msg("no tensor %s", a->name);
        assert_int_equal(a->dims[0], b->dims[0]);
        assert_int_equal(sterna_tensor_rows(a), sterna_tensor_rows(b));
        float x[1024], y[1024], factor = factor_of(made, a->name);
        assert_true(a->dims[0] <= 1024);
        for (uint64_t r = 0; r < sterna_tensor_rows(a); r++) {
            sterna_tensor_row(a, r, x);
            sterna_tensor_row(b, r, y);
            for (uint64_t c = 0; c < a->dims[0]; c++)
                if (fabsf(x[c] - y[c] * factor) > 1e-6f * fabsf(x[c]))
                    fail_msg("%s row %d column %d: %g, not %g", a->name, (int)r, (int)c,
                             (double)(y[c] * factor), (double)x[c]);
        }
    }
}

static void compare_configs(const sterna_model_file *wanted, const sterna_model_file *made)
{
    sterna_config a, b;
    sterna_error err = {0};
    assert_int_equal(sterna_config_read(wanted, &a, NULL), STERNA_OK);
    if (sterna_config_read(made, &b, &err)) fail_msg("%s", err.message);
    assert_ptr_equal(a.family, b.family);
    const uint32_t sizes[][2] = {{a.n_layers, b.n_layers}, {a.width, b.width},
                                 {a.heads, b.heads},       {a.kv_heads, b.kv_heads},
                                 {a.head_dim, b.head_dim}, {a.vocabulary, b.vocabulary},
                                 {a.context, b.context}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(sizes[i][0], sizes[i][1]);
    const float numbers[][2] = {{a.norm_eps, b.norm_eps},
                                {a.attention_scale, b.attention_scale},
                                {a.attention_soft_cap, b.attention_soft_cap},
                                {a.logit_soft_cap, b.logit_soft_cap}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_true(fabsf(numbers[i][0] - numbers[i][1]) <= 1e-6f * fabsf(numbers[i][0]));
    assert_memory_equal(a.layers, b.layers, a.n_layers * sizeof *a.layers);
    for (int kind = 0; kind < STERNA_ROPE_KINDS; kind++) {
        float x[256], y[256], p, q;
        assert_int_equal(a.rope[kind].dims, b.rope[kind].dims);
        sterna_rope_frequencies(&a.rope[kind], a.context, x, &p);
        sterna_rope_frequencies(&b.rope[kind], b.context, y, &q);
        assert_true(fabsf(p - q) < 1e-6f);
        for (uint32_t i = 0; i < a.rope[kind].dims / 2; i++)
            assert_true(fabsf(x[i] - y[i]) <= 2e-6f * x[i]);
    }
    sterna_config_free(&a);
    sterna_config_free(&b);
}

static void compare_tokenizers(const char *source, const char *made)
{
    static const char text[] = "The birds' summer home: 1,234 miles  away\n\n  (they said).";
    sterna_tokenizer *a = NULL, *b = NULL;
    int32_t *x, *y;
    size_t n, m;
    assert_int_equal(sterna_load_tokenizer_path(source, &a, NULL), STERNA_OK);
    assert_int_equal(sterna_load_tokenizer_path(made, &b, NULL), STERNA_OK);
    assert_int_equal(sterna_encode(a, text, sizeof text - 1, STERNA_ADD_SPECIAL, &x, &n, NULL), 0);
    assert_int_equal(sterna_encode(b, text, sizeof text - 1, STERNA_ADD_SPECIAL, &y, &m, NULL), 0);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_int_equal(sterna_token_id(a, STERNA_TOKEN_EOS), sterna_token_id(b, STERNA_TOKEN_EOS));
    sterna_free(x);
    sterna_free(y);
    sterna_tokenizer_free(a);
    sterna_tokenizer_free(b);
}

static void folders_become_gguf(void **state)
{
    (void)state;
    static const char *const names[] = {"bitnet-packed",
                                        "gemma2",
                                        "gemma3",
                                        "llama",
                                        "llama-head-size",
                                        "llama-rope-linear",
                                        "llama-rope-llama3",
                                        "llama-rope-yarn",
                                        "llama-tied-bias",
                                        "mistral",
                                        "phi3",
                                        "phi3-longrope",
                                        "smollm3",
                                        "qwen2",
                                        "qwen3"};
    const char *out = path;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char source[256], reference[256];
        sterna_error err = {0};
        const sterna_convert_options options = {0};
        snprintf(source, sizeof source, TEST_DATA "/models/%s/hf", names[i]);
        snprintf(reference, sizeof reference, TEST_DATA "/models/%s/model.gguf", names[i]);
        if (sterna_convert_model(source, out, &options, NULL, &err)) fail_msg("%s", err.message);
        sterna_model_file *wanted = open_model(reference), *made = open_model(out);
        compare_tensors(wanted, made);
        compare_configs(wanted, made);
        compare_tokenizers(source, out);
        sterna_model_file_close(wanted);
        sterna_model_file_close(made);
    }
}

static void llama2c_becomes_gguf(void **state)
{
    (void)state;
    const char *in = TEST_DATA "/models/llama2c/model.bin", *out = path;
    sterna_error err = {0};
    const sterna_convert_options options = {0};
    if (sterna_convert_model(in, out, &options, NULL, &err)) fail_msg("%s", err.message);
    sterna_model_file *wanted = open_model(in), *made = open_model(out);
    compare_tensors(wanted, made);
    compare_configs(wanted, made);
    compare_tokenizers(TEST_DATA "/models/llama2c/tokenizer.bin", out);
    sterna_model_file_close(wanted);
    sterna_model_file_close(made);
}

/* Master weights of a BitNet become the trits they stand for; what GGUF cannot say is refused. */
static void folders_keep_their_meaning(void **state)
{
    (void)state;
    const char *out = path;
    sterna_error err = {0};
    const sterna_convert_options options = {0};
    const char *in = TEST_DATA "/models/bitnet-online/hf";
    if (sterna_convert_model(in, out, &options, NULL, &err)) fail_msg("%s", err.message);
    sterna_model_file *file = open_model(out);
    const sterna_tensor *tensor = sterna_model_file_find(file, "blk.0.ffn_up.weight");
    float row[1024], level = 0;
    for (uint64_t r = 0; r < tensor->dims[1]; r++) {
        sterna_tensor_row(tensor, r, row);
        for (uint64_t c = 0; c < tensor->dims[0]; c++) {
            if (row[c] != 0 && level == 0) level = fabsf(row[c]);
            assert_true(row[c] == 0 || fabsf(row[c]) == level);
        }
    }
    assert_true(level > 0);
    sterna_model_file_close(file);
    in = TEST_DATA "/models/llama-rope-dynamic/hf";
    unlink(out);
    assert_int_equal(sterna_convert_model(in, out, &options, NULL, &err), STERNA_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "dynamic rotary scaling"));
    assert_false(sterna_path_exists(out));
}

/* A folder is quantized straight into GGUF. */
static void folders_are_quantized(void **state)
{
    (void)state;
    const char *in = TEST_DATA "/models/bitnet-packed/hf", *out = path;
    sterna_error err = {0};
    const sterna_quantize_options options = {
        .no_receipt_files = true, .no_evaluation = true, .keep = "F16"};
    if (sterna_quantize_model(in, out, &options, NULL, &err)) fail_msg("%s", err.message);
    sterna_model_file *file = open_model(out);
    sterna_config config;
    assert_int_equal(sterna_config_read(file, &config, NULL), STERNA_OK);
    assert_string_equal(sterna_family_name(config.family), "bitnet-b1.58");
    sterna_config_free(&config);
    sterna_model_file_close(file);
}

static void export_survives_no_memory(void **state)
{
    (void)state;
    const char *out = path;
    const sterna_convert_options options = {0};
    for (long n = 0;; n += 1 + n / 40) {
        unlink(out);
        sterna_alloc_fail_after(n);
        sterna_status status = sterna_convert_model(TEST_DATA "/models/llama-rope-llama3/hf", out,
                                                    &options, NULL, NULL);
        sterna_alloc_fail_after(-1);
        if (status == STERNA_OK) break;
        assert_int_equal(status, STERNA_ERROR_MEMORY);
        assert_false(sterna_path_exists(out));
    }
}

static int choose_path(void **state)
{
    (void)state;
    int number = (int)getpid();
    snprintf(path, sizeof path, "/tmp/sterna-export-%d.gguf", number);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_become_gguf),        cmocka_unit_test(llama2c_becomes_gguf),
        cmocka_unit_test(folders_keep_their_meaning), cmocka_unit_test(folders_are_quantized),
        cmocka_unit_test(export_survives_no_memory),
    };
    return cmocka_run_group_tests(tests, choose_path, remove_path);
}
