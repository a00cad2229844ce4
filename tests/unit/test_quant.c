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
    double mean = sterna_fit_above(magnitudes, count, 0).sum / (double)count;
    double scale = sterna_fit_scale(method, magnitudes, count);
    test_free(magnitudes);
    float rounded = sterna_fit_round(scale);
    *result = (sterna_fit_result){0, 0, 0};
    sterna_fit_assign(w, count, rounded, sterna_fit_threshold(method, mean, scale, (float)scale),
                      trits, result);
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

static void twn_is_as_published(void **state)
{
    (void)state;
    const float w[8] = {1, -1, 0.4f, -0.5f, 0.3f, 0.1f, -2, 0};
    int8_t trits[8];
    sterna_fit_result result;
    double scale = fit(STERNA_FIT_TWN, w, 8, trits, &result);
    const int8_t wanted[8] = {1, -1, 0, -1, 0, 0, -1, 0}; /* beyond 0.7 * 5.3 / 8 = 0.46375 */
    assert_memory_equal(trits, wanted, 8);
    assert_true(fabs(scale - 4.5 / 4) < 1e-6);
    enum { N = 1 << 16 };
    static float many[N];
    static int8_t codes[N];
    sterna_rng rng;
    sterna_rng_seed(&rng, 5);
    for (int i = 0; i < N; i++) many[i] = gauss(&rng);
    fit(STERNA_FIT_TWN, many, N, codes, &result); /* threshold 0.5585, level 1.184 */
    assert_true(fabs(result.error / result.energy - 0.1917) < 0.004);
    assert_true(fabs((double)result.zeros / N - 0.4235) < 0.01);
    memset(many, 0, sizeof many);
    assert_true(fit(STERNA_FIT_TWN, many, 128, codes, &result) == 0);
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

/* ---- files ---- */

static char folder[64];

static const char *path_of(const char *name)
{
    static char paths[4][160];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

typedef struct shape {
    const char *name;
    sterna_type type;
    uint64_t cols, rows;
} shape;

static const shape model[] = {{"token_embd.weight", STERNA_TYPE_F16, 64, 10},
                              {"output_norm.weight", STERNA_TYPE_F32, 64, 1},
                              {"blk.0.attn_q.weight", STERNA_TYPE_F32, 512, 40},
                              {"blk.0.ffn_up.weight", STERNA_TYPE_BF16, 192, 30},
                              {"blk.0.ffn_down.weight", STERNA_TYPE_Q8_0, 256, 7},
                              {"blk.0.attn_k.weight", STERNA_TYPE_F16, 96, 4},
                              {"blk.0.attn_v.weight", STERNA_TYPE_TQ1_0, 256, 4}};
enum { MODEL = sizeof model / sizeof *model };

/* A model of random weights; `bad` is put into row 3 of blk.0.attn_q.weight if not zero. */
static void write_model(const char *path, const shape *tensors, int count, float bad)
{
    static float row[512];
    static uint8_t bytes[4096];
    sterna_rng rng;
    sterna_rng_seed(&rng, 6);
    sterna_model_writer *writer;
    assert_int_equal(sterna_model_writer_open(path, &writer, NULL), STERNA_OK);
    const sterna_text tokens[] = {{"a", 1}, {"b\0c", 3}};
    if (strstr(path, ".gguf")) {
        assert_int_equal(
            sterna_model_writer_meta_string(writer, "general.architecture", "x", 1, NULL), 0);
        assert_int_equal(sterna_model_writer_meta_u32(writer, "general.alignment", 64, NULL), 0);
        assert_int_equal(sterna_model_writer_meta_u32(writer, "general.file_type", 1, NULL), 0);
        assert_int_equal(
            sterna_model_writer_meta_strings(writer, "tokenizer.ggml.tokens", tokens, 2, NULL), 0);
    }
    for (int i = 0; i < count; i++) {
        sterna_tensor tensor = {.name = tensors[i].name,
                                .type = tensors[i].type,
                                .n_dims = tensors[i].rows > 1 ? 2 : 1,
                                .dims = {tensors[i].cols, tensors[i].rows, 1, 1}};
        assert_int_equal(sterna_model_writer_declare(writer, &tensor, NULL), STERNA_OK);
    }
    for (int i = 0; i < count; i++)
        for (uint64_t r = 0; r < tensors[i].rows; r++) {
            size_t cols = (size_t)tensors[i].cols;
            uint64_t size;
            assert_true(sterna_type_bytes(tensors[i].type, cols, 1, &size));
            for (size_t c = 0; c < cols; c++) row[c] = 0.05f * gauss(&rng);
            if (bad != 0 && r == 3 && strstr(tensors[i].name, "attn_q")) row[100] = bad;
            if (sterna_type_describe(tensors[i].type)->kind == STERNA_KIND_TERNARY) {
                int8_t trits[512];
                const float scales[8] = {0.5f, 0.25f, 0.125f, 1, 0.5f, 2, 1, 1};
                for (size_t c = 0; c < cols; c++) trits[c] = (int8_t)((int)(c * 7 + r) % 3 - 1);
                sterna_type_pack(tensors[i].type, trits, scales, cols, bytes);
            } else if (!sterna_type_describe(tensors[i].type)->writable) {
                for (uint64_t b = 0; b < size; b++) /* no half of such bytes is infinite */
                    bytes[b] = (uint8_t)(sterna_rng_u64(&rng) & 0x3b);
                if (isnan(bad) && r == 3) bytes[1] = 0x7e;
            } else {
                sterna_type_encode(tensors[i].type, row, cols, bytes);
            }
            assert_int_equal(sterna_model_writer_data(writer, bytes, (size_t)size, NULL), 0);
        }
    assert_int_equal(sterna_model_writer_commit(writer, NULL), STERNA_OK);
}

static sterna_model_file *open_model(const char *path)
{
    sterna_model_file *file;
    sterna_error err = {0};
    if (sterna_model_file_open(path, NULL, &file, &err)) fail_msg("%s", err.message);
    return file;
}

static json_t *find_tensor(json_t *receipt, const char *name)
{
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(receipt, "tensors"), i,
                       tensor) if (strcmp(json_string_value(json_object_get(tensor, "name")),
                                          name) == 0) return tensor;
    fail_msg("no %s in the receipt", name);
    return NULL;
}

static const char *text_at(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static double number_at(json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void read_bytes(const char *path, char **bytes, size_t *size)
{
    assert_int_equal(sterna_file_read(path, 1 << 20, bytes, size, NULL), STERNA_OK);
}

static void quantizes_a_file(void **state)
{
    (void)state;
    const char *in = path_of("in.gguf"), *out = path_of("out.gguf");
    write_model(in, model, MODEL, 0);
    sterna_error err = {0};
    char *text = NULL;
    const sterna_quantize_options options = {.method = "itf", .type = "TQ2_0", .threads = 3};
    if (sterna_quantize_model(in, out, &options, &text, &err)) fail_msg("%s", err.message);
    json_t *receipt = json_loads(text, 0, NULL);
    free(text);
    assert_string_equal(text_at(find_tensor(receipt, "token_embd.weight"), "to"), "Q8_0");
    assert_string_equal(text_at(find_tensor(receipt, "output_norm.weight"), "to"), "F32");
    json_t *q = find_tensor(receipt, "blk.0.attn_q.weight");
    assert_string_equal(text_at(q, "to"), "TQ2_0");
    assert_true(fabs(number_at(q, "relative_error") - 0.19) < 0.01);
    assert_true(fabs(number_at(q, "zeros") - 0.46) < 0.03);
    assert_true(number_at(q, "bits") == 2.0625);
    assert_string_equal(text_at(find_tensor(receipt, "blk.0.ffn_up.weight"), "to"), "Q2_0");
    assert_non_null(text_at(find_tensor(receipt, "blk.0.ffn_up.weight"), "note"));
    assert_string_equal(text_at(find_tensor(receipt, "blk.0.attn_k.weight"), "to"), "Q8_0");
    json_t *v = find_tensor(receipt, "blk.0.attn_v.weight");
    assert_string_equal(text_at(v, "note"), "was ternary: kept exactly");
    assert_null(json_object_get(v, "error_share"));
    assert_null(json_object_get(find_tensor(receipt, "token_embd.weight"), "error_share"));
    double shares = number_at(q, "error_share") +
                    number_at(find_tensor(receipt, "blk.0.ffn_up.weight"), "error_share") +
                    number_at(find_tensor(receipt, "blk.0.ffn_down.weight"), "error_share");
    assert_true(fabs(shares - 1) < 1e-4 && number_at(q, "error_share") > 0.6);
    double weights = 512 * 40 + 192 * 30 + 256 * 7 + 256 * 4;
    double bytes = 2.0 * 66 * 40 + 3.0 * 18 * 30 + 66.0 * 7 + 66.0 * 4;
    assert_true(number_at(receipt, "ternary_parameters") == weights);
    assert_true(fabs(number_at(receipt, "ternary_bits_per_weight") - 8 * bytes / weights) < 1e-4);
    json_decref(receipt);

    sterna_model_file *file = open_model(out), *source = open_model(in);
    assert_int_equal(file->n_tensors, MODEL);
    uint32_t type = 0;
    assert_int_equal(sterna_meta_u32(file, "general.file_type", true, 0, 99, &type, NULL), 0);
    assert_int_equal(type, 37);
    const sterna_meta *tokens = sterna_model_file_meta(file, "tokenizer.ggml.tokens");
    assert_int_equal(tokens->count, 2);
    assert_memory_equal(tokens->strings[1].data, "b\0c", 3);
    float a[256], b[256]; /* the exact tensor */
    for (uint64_t r = 0; r < 4; r++) {
        sterna_tensor_row(sterna_model_file_find(source, "blk.0.attn_v.weight"), r, a);
        sterna_tensor_row(sterna_model_file_find(file, "blk.0.attn_v.weight"), r, b);
        assert_memory_equal(a, b, sizeof a);
    }
    sterna_model_file_close(file);
    sterna_model_file_close(source);
}

/* What is kept: quantised tensors byte for byte, unless told otherwise. */
static void keeps_what_is_quantised(void **state)
{
    (void)state;
    static const shape kept[] = {{"token_embd.weight", STERNA_TYPE_Q4_K, 256, 10},
                                 {"output.weight", STERNA_TYPE_Q6_K, 256, 10},
                                 {"blk.0.attn_output.weight", STERNA_TYPE_F32, 256, 8},
                                 {"blk.0.ffn_down.weight", STERNA_TYPE_Q4_1, 256, 7},
                                 {"blk.0.attn_k.weight", STERNA_TYPE_TQ2_0, 256, 4},
                                 {"blk.0.attn_v.weight", STERNA_TYPE_BF16, 256, 4},
                                 {"blk.0.ffn_up.weight", STERNA_TYPE_Q5_0, 96, 4}};
    enum { KEPT = sizeof kept / sizeof *kept };
    static const struct {
        const char *keep_type;
        sterna_type types[KEPT]; /* attn_output becomes ternary, ffn_up has no block */
        double parts;            /* bytes of all */
    } cases[] = {{NULL,
                  {STERNA_TYPE_Q4_K, STERNA_TYPE_Q6_K, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q4_1,
                   STERNA_TYPE_TQ2_0, STERNA_TYPE_Q8_0, STERNA_TYPE_Q5_0},
                  1440 + 2100 + 528 + 1120 + 264 + 1088 + 264},
                 {"source",
                  {STERNA_TYPE_Q4_K, STERNA_TYPE_Q6_K, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q4_1,
                   STERNA_TYPE_TQ2_0, STERNA_TYPE_BF16, STERNA_TYPE_Q5_0},
                  1440 + 2100 + 528 + 1120 + 264 + 2048 + 264},
                 {"Q8_0",
                  {STERNA_TYPE_Q8_0, STERNA_TYPE_Q8_0, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q8_0,
                   STERNA_TYPE_Q8_0, STERNA_TYPE_Q8_0, STERNA_TYPE_Q8_0},
                  2720 + 2720 + 528 + 1904 + 1088 + 1088 + 408},
                 {"F16",
                  {STERNA_TYPE_F16, STERNA_TYPE_F16, STERNA_TYPE_TQ2_0, STERNA_TYPE_F16,
                   STERNA_TYPE_F16, STERNA_TYPE_F16, STERNA_TYPE_F16},
                  5120 + 5120 + 528 + 3584 + 2048 + 2048 + 768}};
    const char *in = path_of("in.gguf"), *out = path_of("out.gguf"), *again = path_of("again.gguf");
    const char *made = path_of("out.gguf.receipt.json");
    write_model(in, kept, KEPT, 0);
    sterna_model_file *source = open_model(in);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sterna_quantize_options options = {.method = "itf",
                                           .type = "TQ2_0",
                                           .keep = "embed,head,*ffn_down*,*attn_k*,*attn_v*",
                                           .keep_type = cases[k].keep_type};
        sterna_error err = {0};
        char *text = NULL, *a, *b;
        size_t na, nb;
        if (sterna_quantize_model(in, out, &options, &text, &err)) fail_msg("%s", err.message);
        json_t *receipt = json_loads(text, 0, NULL);
        free(text);
        json_t *settings = json_object_get(receipt, "settings");
        assert_string_equal(text_at(settings, "keep_type"),
                            cases[k].keep_type ? cases[k].keep_type : "auto");
        sterna_model_file *file = open_model(out);
        for (size_t i = 0; i < KEPT; i++) {
            const sterna_tensor *was = sterna_model_file_find(source, kept[i].name);
            const sterna_tensor *is = sterna_model_file_find(file, kept[i].name);
            assert_int_equal(is->type, cases[k].types[i]);
            if (is->type == was->type) assert_memory_equal(is->data, was->data, (size_t)was->bytes);
        }
        sterna_model_file_close(file);
        json_t *bytes = json_object_get(receipt, "bytes");
        assert_true(number_at(bytes, "kept_bytes") + number_at(bytes, "code_bytes") +
                        number_at(bytes, "scale_bytes") ==
                    cases[k].parts);
        read_bytes(out, &a, &na);
        assert_true(number_at(receipt, "output_bytes") == (double)na);
        const sterna_quantize_options replay = {.recipe = made};
        if (sterna_quantize_model(in, again, &replay, NULL, &err)) fail_msg("%s", err.message);
        read_bytes(again, &b, &nb);
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na);
        sterna_free(a);
        sterna_free(b);
        json_decref(receipt);
    }
    sterna_model_file_close(source);
    write_model(in, kept, KEPT, NAN);
    sterna_error err = {0};
    const sterna_quantize_options usual = {.method = "itf", .keep = "embed,head,*ffn*,*attn_v*"};
    assert_int_equal(sterna_quantize_model(in, again, &usual, NULL, &err), STERNA_ERROR_FORMAT);
    assert_non_null(strstr(err.message, "'token_embd.weight', row 3 holds a weight that is not"));
}

/* Every method, scale and layout; one thread and three give the same bytes. */
static void threads_change_nothing(void **state)
{
    (void)state;
    static const char *const methods[] = {"itf", "absmean"};
    static const char *const scales[] = {"group", "row", "tensor"};
    static const char *const types[] = {"TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "PTQ1_0", "native"};
    const char *in = path_of("in.gguf");
    const char *one = path_of("one.gguf"), *three = path_of("three.gguf");
    write_model(in, model, MODEL, 0);
    for (int i = 0; i < 36; i++) {
        sterna_quantize_options options = {.method = methods[i % 2],
                                           .scales = scales[i % 3],
                                           .type = types[i / 6],
                                           .keep_type = i % 4 ? "F16" : "Q8_0",
                                           .threads = 1};
        assert_int_equal(sterna_quantize_model(in, one, &options, NULL, NULL), STERNA_OK);
        options.threads = 3;
        assert_int_equal(sterna_quantize_model(in, three, &options, NULL, NULL), STERNA_OK);
        char *a, *b;
        size_t na, nb;
        read_bytes(one, &a, &na);
        read_bytes(three, &b, &nb);
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na);
        sterna_free(a);
        sterna_free(b);
        sterna_model_file *file = open_model(one);
        const sterna_tensor *q = sterna_model_file_find(file, "blk.0.attn_q.weight");
        int8_t trits[512];
        float s[8], all[8];
        size_t groups = 512 / (size_t)sterna_tensor_group(q);
        assert_true(sterna_tensor_row_trits(q, 0, trits, s));
        assert_true(sterna_tensor_row_trits(q, 1, trits, all));
        if (i % 3 > 0)
            for (size_t g = 1; g < groups; g++) assert_true(s[g] == s[0]);
        assert_int_equal(s[0] == all[0], i % 3 == 2);
        sterna_model_file_close(file);
    }
}

static bool cancel(void *context, const char *stage, double done, double total)
{
    (void)context;
    (void)stage;
    assert_true(done <= total);
    return false;
}

static void refuses(float bad, const sterna_quantize_options *options, const char *part)
{
    const char *in = path_of("bad.gguf"), *out = path_of("never.gguf");
    sterna_error err = {0};
    write_model(in, model, MODEL, bad);
    assert_int_not_equal(sterna_quantize_model(in, out, options, NULL, &err), STERNA_OK);
    if (!strstr(err.message, part)) fail_msg("'%s' does not say '%s'", err.message, part);
    assert_false(sterna_path_exists(out));
}

static void bad_weights_are_refused(void **state)
{
    (void)state;
    const sterna_quantize_options options = {.method = "itf"},
                                  tensor = {.method = "itf", .scales = "tensor"};
    refuses(NAN, &options, "'blk.0.attn_q.weight', row 3 holds a weight that is not a finite");
    refuses(INFINITY, &tensor, "'blk.0.attn_q.weight', row 3 holds a weight that is not a finite");
    refuses(1e7f, &options, "'blk.0.attn_q.weight', row 3 holds weights too large for NATIVE");
    const sterna_quantize_options unknown = {.method = "magic"}, type = {.type = "Q4_0"};
    refuses(0, &unknown, "method 'magic' is unknown; there are: sterna, pt2, itf, absmean, twn");
    refuses(0, &type, "type 'Q4_0' is unknown");
    const sterna_quantize_options cancelled = {.method = "itf", .progress = cancel};
    refuses(0, &cancelled, "cancelled");
    sterna_error err = {0};
    const sterna_quantize_options usual = {0}, text = {.method = "itf", .tokens = 512},
                                  whole = {.scales = "tensor"};
    refuses(NAN, &usual, "'blk.0.attn_q.weight', row 3 holds a weight that is not a finite");
    refuses(0, &usual, "calibration runs the model (--method itf does not): ");
    refuses(0, &text, "looks at no calibration text");
    refuses(0, &whole, "not one for a tensor");
    assert_int_equal(
        sterna_quantize_model(path_of("bad.gguf"), path_of("x.bin"), &options, NULL, &err),
        STERNA_ERROR_ARGUMENT);
    assert_non_null(strstr(err.message, "must end in .gguf"));
}

/* Any allocation may fail; nothing is left behind. */
static void survives_no_memory(void **state)
{
    (void)state;
    const char *in = path_of("in.gguf"), *out = path_of("memory.gguf");
    write_model(in, model, MODEL, 0);
    const sterna_quantize_options options = {.method = "itf", .threads = 1};
    for (long n = 0;; n++) {
        char *receipt = NULL;
        unlink(out);
        sterna_alloc_fail_after(n);
        sterna_status status = sterna_quantize_model(in, out, &options, &receipt, NULL);
        sterna_alloc_fail_after(-1);
        free(receipt);
        if (status == STERNA_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, STERNA_ERROR_MEMORY);
        if (sterna_path_exists(out)) sterna_model_file_close(open_model(out)); /* all of it */
    }
}

static void same_weights(const char *a, const char *b)
{
    sterna_model_file *x = open_model(a), *y = open_model(b);
    assert_int_equal(x->n_tensors, y->n_tensors);
    for (size_t i = 0; i < x->n_tensors; i++) {
        const sterna_tensor *s = &x->tensors[i], *t = sterna_model_file_find(y, s->name);
        assert_non_null(t);
        float p[512], q[512];
        for (uint64_t r = 0; r < sterna_tensor_rows(s); r++) {
            sterna_tensor_row(s, r, p);
            sterna_tensor_row(t, r, q);
            for (uint64_t c = 0; c < s->dims[0]; c++) assert_true(p[c] == q[c]);
        }
    }
    sterna_model_file_close(x);
    sterna_model_file_close(y);
}

static void converts_exactly(void **state)
{
    (void)state;
    const char *in = path_of("in.gguf"), *out = path_of("out.gguf");
    const char *again = path_of("again.gguf");
    write_model(in, model, MODEL, 0);
    sterna_error err = {0};
    const sterna_convert_options as_is = {0}, other = {.type = "Q2_0"}, back = {.type = "TQ1_0"};
    char *a, *b;
    size_t na, nb;
    assert_int_equal(sterna_convert_model(in, out, &as_is, NULL, &err), STERNA_OK);
    assert_int_equal(sterna_convert_model(out, again, &as_is, NULL, &err), STERNA_OK);
    read_bytes(out, &a, &na);
    read_bytes(again, &b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    sterna_free(a);
    sterna_free(b);
    same_weights(in, out);
    char *report;
    if (sterna_convert_model(in, out, &other, &report, &err)) fail_msg("%s", err.message);
    free(report);
    same_weights(in, out);
    sterna_model_file *file = open_model(out);
    assert_int_equal(sterna_model_file_find(file, "blk.0.attn_v.weight")->type, STERNA_TYPE_Q2_0);
    sterna_model_file_close(file);
    assert_int_equal(sterna_convert_model(out, again, &back, NULL, &err), STERNA_OK);
    same_weights(in, again);

    const sterna_convert_options small = {.float_type = "F16"};
    assert_int_equal(sterna_convert_model(in, out, &small, NULL, &err), STERNA_OK);
    file = open_model(out);
    assert_int_equal(sterna_model_file_find(file, "blk.0.attn_q.weight")->type, STERNA_TYPE_F16);
    assert_int_equal(sterna_model_file_find(file, "output_norm.weight")->type, STERNA_TYPE_F32);
    assert_int_equal(sterna_model_file_find(file, "blk.0.attn_v.weight")->type, STERNA_TYPE_TQ1_0);
    sterna_model_file_close(file);
}

static void conversion_names_what_is_wrong(void **state)
{
    (void)state;
    static const shape mixed[] = {{"blk.0.ffn_up.weight", STERNA_TYPE_Q2_0, 256, 2}};
    const char *in = path_of("mixed.gguf"), *out = path_of("never.gguf");
    sterna_error err = {0};
    write_model(in, mixed, 1, 0);
    const sterna_convert_options wide = {.type = "PQ2_0"}, no = {.type = "Q4_K"};
    assert_int_equal(sterna_convert_model(in, out, &wide, NULL, &err), STERNA_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'blk.0.ffn_up.weight', row 0"));
    assert_false(sterna_path_exists(out));
    assert_int_equal(sterna_convert_model(in, out, &no, NULL, &err), STERNA_ERROR_ARGUMENT);
    const sterna_convert_options huge = {.float_type = "F16"};
    write_model(in, model, MODEL, 1e6f);
    assert_int_equal(sterna_convert_model(in, out, &huge, NULL, &err), STERNA_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "too large for F16"));
}

/* GGUF to safetensors and on to safetensors: the values stay. */
static void safetensors_hold_the_same(void **state)
{
    (void)state;
    const char *in = path_of("in.gguf"), *out = path_of("model.safetensors");
    const char *again = path_of("again.safetensors");
    write_model(in, model, MODEL, 0);
    sterna_error err = {0};
    const sterna_convert_options options = {0};
    if (sterna_convert_model(in, out, &options, NULL, &err)) fail_msg("%s", err.message);
    same_weights(in, out);
    if (sterna_convert_model(out, again, &options, NULL, &err)) fail_msg("%s", err.message);
    same_weights(in, again);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sterna-quant-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"in.gguf",     "out.gguf",          "one.gguf",
                                        "three.gguf",  "bad.gguf",          "again.gguf",
                                        "memory.gguf", "mixed.gguf",        "never.gguf",
                                        "x.bin",       "model.safetensors", "again.safetensors"};
    static const char *const ends[] = {"", ".receipt.json", ".receipt.html"};
    char path[512];
    for (size_t i = 0; i < 3 * sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s%s", path_of(names[i / 3]), ends[i % 3]);
        unlink(path);
    }
    return rmdir(folder); /* fails when a temporary file was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reaches_theory),
        cmocka_unit_test(finds_the_optimum),
        cmocka_unit_test(itf_never_rises),
        cmocka_unit_test(absmean_is_bitnets),
        cmocka_unit_test(twn_is_as_published),
        cmocka_unit_test(odd_rows),
        cmocka_unit_test(names_tell_roles),
        cmocka_unit_test(quantizes_a_file),
        cmocka_unit_test(keeps_what_is_quantised),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(bad_weights_are_refused),
        cmocka_unit_test(survives_no_memory),
        cmocka_unit_test(converts_exactly),
        cmocka_unit_test(conversion_names_what_is_wrong),
        cmocka_unit_test(safetensors_hold_the_same),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
