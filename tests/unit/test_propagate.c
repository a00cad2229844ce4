/* quant/propagate and quant/rotate: whole layers of tiny models of every family, and transforms
 * that leave products as they are. */
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
#include "base/rng.h"
#include "model/config.h"
#include "quant/propagate.h"
#include "quant/roles.h"
#include "quant/rotate.h"
#include "quant/sensitivity.h"

/* ---- transforms ---- */

static void rotation_keeps_products(void **state)
{
    (void)state;
    assert_int_equal(sterna_rotation_block(576), 64);
    assert_int_equal(sterna_rotation_block(1536), 512);
    assert_int_equal(sterna_rotation_block(8192), 1024);
    assert_int_equal(sterna_rotation_block(24), 0);
    enum { N = 96, ROWS = 5 };
    static float w[ROWS * N], rotated[ROWS * N], h[N * N], turned[N * N];
    sterna_hadamard_rules rules = {0};
    sterna_hadamard rotation, again, none;
    sterna_rng rng;
    sterna_rng_seed(&rng, 1);
    assert_int_equal(sterna_rotation_of(&rules, N, &rotation, NULL), STERNA_OK);
    assert_int_equal(sterna_rotation_of(&rules, N, &again, NULL), STERNA_OK);
    assert_int_equal(sterna_rotation_of(&rules, 25, &none, NULL), STERNA_OK);
    assert_true(rotation.block == 32 && rotation.signs == again.signs && none.block == 0);
    for (int i = 0; i < ROWS * N; i++) rotated[i] = w[i] = (float)sterna_rng_double(&rng) - 0.5f;
    for (int i = 0; i < N; i++)
        for (int k = 0; k <= i; k++) h[i * N + k] = h[k * N + i] = (float)sterna_rng_double(&rng);
    memcpy(turned, h, sizeof h);
    sterna_rotate_rows(rotated, ROWS, N, &rotation, 2);
    sterna_rotate_square(turned, N, &rotation, 2);
    for (int a = 0; a < ROWS; a++) /* w H w' is the same in both bases */
        for (int b = 0; b < ROWS; b++) {
            double before = 0, after = 0;
            for (int i = 0; i < N; i++)
                for (int k = 0; k < N; k++) {
                    before += (double)(w[a * N + i] * h[i * N + k]) * (double)w[b * N + k];
                    after += (double)(rotated[a * N + i] * turned[i * N + k]) *
                             (double)rotated[b * N + k];
                }
            assert_true(fabs(before - after) < 1e-4);
        }
    sterna_hadamard_free(&rules);
}

/* ---- models ----
 * Two layers of random matrices whose widths blocks of 64 divide. */

enum { WIDTH = 128, FFN = 192, HEAD = 32, HEADS = 4, KV_HEADS = 2, WORDS = 96, LAYERS = 2 };

typedef struct family_case {
    const char *architecture;
    bool bias, qk_norm, post_norms, sub_norms, fused;
} family_case;

static const family_case families[] = {
    {"llama", false, false, false, false, false},   {"qwen2", true, false, false, false, false},
    {"qwen3", false, true, false, false, false},    {"gemma2", false, false, true, false, false},
    {"gemma3", false, true, true, false, false},    {"phi3", false, false, false, false, true},
    {"bitnet-25", false, false, false, true, false}};

typedef struct maker {
    sterna_model_writer *writer;
    bool declare; /* first pass; then the data */
    sterna_rng rng;
} maker;

/* Rows of random weights, or for one row norm gains and small biases. */
static void make_tensor(maker *m, const char *name, uint64_t cols, uint64_t rows)
{
    sterna_tensor tensor = {.name = name,
                            .type = STERNA_TYPE_F32,
                            .n_dims = rows > 1 ? 2 : 1,
                            .dims = {cols, rows, 1, 1}};
    if (m->declare) {
        assert_int_equal(sterna_model_writer_declare(m->writer, &tensor, NULL), STERNA_OK);
        return;
    }
    bool gains = strstr(name, "norm") != NULL;
    for (uint64_t i = 0; i < cols * rows; i++) {
        double v = sterna_rng_double(&m->rng) + sterna_rng_double(&m->rng) - 1;
        float value = (float)(gains ? 1 + 0.5 * v : v / sqrt((double)cols / 4));
        assert_int_equal(sterna_model_writer_data(m->writer, &value, sizeof value, NULL), 0);
    }
}

static void make_layer(maker *m, const family_case *c, int layer)
{
    const uint64_t q = HEADS * HEAD, kv = KV_HEADS * HEAD;
    const struct {
        const char *name;
        uint64_t cols, rows;
        bool there;
    } tensors[] = {{"attn_norm.weight", WIDTH, 1, true},
                   {"attn_q.weight", WIDTH, q, !c->fused},
                   {"attn_k.weight", WIDTH, kv, !c->fused},
                   {"attn_v.weight", WIDTH, kv, !c->fused},
                   {"attn_qkv.weight", WIDTH, q + 2 * kv, c->fused},
                   {"attn_q.bias", q, 1, c->bias},
                   {"attn_k.bias", kv, 1, c->bias},
                   {"attn_v.bias", kv, 1, c->bias},
                   {"attn_q_norm.weight", HEAD, 1, c->qk_norm},
                   {"attn_k_norm.weight", HEAD, 1, c->qk_norm},
                   {"attn_sub_norm.weight", q, 1, c->sub_norms},
                   {"attn_output.weight", q, WIDTH, true},
                   {"post_attention_norm.weight", WIDTH, 1, c->post_norms},
                   {"ffn_norm.weight", WIDTH, 1, true},
                   {"ffn_gate.weight", WIDTH, FFN, !c->fused},
                   {"ffn_up.weight", WIDTH, c->fused ? 2 * FFN : FFN, true},
                   {"ffn_sub_norm.weight", FFN, 1, c->sub_norms},
                   {"ffn_down.weight", FFN, WIDTH, true},
                   {"post_ffw_norm.weight", WIDTH, 1, c->post_norms}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s", layer, tensors[i].name);
        if (tensors[i].there) make_tensor(m, name, tensors[i].cols, tensors[i].rows);
    }
}

static char made_path[64];

static const char *make_model(const family_case *c)
{
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"block_count", LAYERS},
                   {"context_length", 256},
                   {"embedding_length", WIDTH},
                   {"feed_forward_length", FFN},
                   {"attention.head_count", HEADS},
                   {"attention.head_count_kv", KV_HEADS},
                   {"attention.key_length", HEAD},
                   {"attention.value_length", HEAD},
                   {"vocab_size", WORDS}};
    char key[96];
    maker m = {.declare = true};
    assert_int_equal(sterna_model_writer_open(made_path, &m.writer, NULL), STERNA_OK);
    sterna_model_writer_meta_string(m.writer, "general.architecture", c->architecture,
                                    strlen(c->architecture), NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "%s.%s", c->architecture, numbers[i].name);
        sterna_model_writer_meta_u32(m.writer, key, numbers[i].value, NULL);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", c->architecture);
    sterna_model_writer_meta_float(m.writer, key, 1e-5f, NULL);
    for (int pass = 0; pass < 2; pass++, m.declare = false) {
        sterna_rng_seed(&m.rng, 17);
        make_tensor(&m, "token_embd.weight", WIDTH, WORDS);
        for (int layer = 0; layer < LAYERS; layer++) make_layer(&m, c, layer);
        make_tensor(&m, "output_norm.weight", WIDTH, 1);
    }
    assert_int_equal(sterna_model_writer_commit(m.writer, NULL), STERNA_OK);
    return made_path;
}

/* What rotate.c writes is what model/hadamard.c reads; 128 and 384 share a block, 128 and 192 do
 * not. A block that is no power of two is refused. */
static void metadata_say_the_transform(void **state)
{
    (void)state;
    static const uint64_t second[] = {384, 192, 192};
    for (int k = 0; k < 3; k++) {
        sterna_hadamard_rules rules = {0}, again = {0};
        sterna_hadamard first, other;
        assert_int_equal(sterna_rotation_of(&rules, 128, &first, NULL), STERNA_OK);
        assert_int_equal(sterna_rotation_of(&rules, second[k], &other, NULL), STERNA_OK);
        if (k == 2) rules.widths[1].block = 48;
        const sterna_text names[] = {{"a.weight", 8}, {"b.weight", 8}};
        maker m = {.declare = true};
        assert_int_equal(sterna_model_writer_open(made_path, &m.writer, NULL), STERNA_OK);
        assert_int_equal(sterna_rotation_write(&rules, names, 2, m.writer, NULL), STERNA_OK);
        for (int pass = 0; pass < 2; pass++, m.declare = false) {
            make_tensor(&m, "a.weight", 128, 2);
            make_tensor(&m, "b.weight", second[k], 2);
        }
        assert_int_equal(sterna_model_writer_commit(m.writer, NULL), STERNA_OK);
        sterna_model_file *file;
        sterna_error err = {0};
        assert_int_equal(sterna_model_file_open(made_path, NULL, &file, NULL), STERNA_OK);
        assert_int_equal(sterna_model_file_meta(file, "prism.hadamard.version") != NULL, k == 0);
        assert_int_equal(sterna_model_file_meta(file, "sterna.hadamard.version") != NULL, k > 0);
        sterna_status status = sterna_hadamard_read(file, &again, &err);
        if (k == 2) {
            assert_int_equal(status, STERNA_ERROR_FORMAT);
            assert_non_null(strstr(err.message, "power of two"));
        }
        for (size_t i = 0; i < 2 && k < 2; i++) {
            sterna_weight_options options = {0};
            const sterna_tensor *tensor = sterna_model_file_find(file, names[i].data);
            assert_int_equal(sterna_hadamard_apply(&again, "x", tensor, &options, NULL), 0);
            const sterna_hadamard *wanted = i ? &other : &first;
            assert_int_equal(options.hadamard.block, wanted->block);
            assert_memory_equal(options.hadamard.signs, wanted->signs,
                                tensor->dims[0] * sizeof(float));
        }
        sterna_model_file_close(file);
        sterna_hadamard_free(&rules);
        sterna_hadamard_free(&again);
    }
}

typedef struct plan {
    sterna_model_file *file;
    sterna_item *items;
    size_t count, fitted;
    sterna_calibration calibration;
    sterna_hadamard_rules rules;
} plan;

static plan plan_open(const char *path)
{
    plan p = {0};
    sterna_error err = {0};
    sterna_config config;
    if (sterna_model_file_open(path, NULL, &p.file, &err)) fail_msg("%s", err.message);
    if (sterna_config_read(p.file, &config, &err)) fail_msg("%s", err.message);
    p.count = p.file->n_tensors;
    p.items = sterna_calloc(p.count, sizeof *p.items);
    for (size_t i = 0; i < p.count; i++) {
        sterna_item *item = &p.items[i];
        item->tensor = &p.file->tensors[i];
        item->name = item->tensor->name;
        item->type = sterna_fitting_type(STERNA_TYPE_Q2_0, item->tensor->dims[0]);
        bool ternary = sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
        bool was = sterna_type_describe(item->tensor->type)->kind == STERNA_KIND_TERNARY;
        bool linear = sterna_role_of(item->tensor) == STERNA_ROLE_LINEAR;
        item->verb = linear && ternary && !was ? STERNA_VERB_FIT : STERNA_VERB_COPY;
        if (item->verb == STERNA_VERB_FIT) sterna_item_group(item, 64);
        p.fitted += item->verb == STERNA_VERB_FIT;
    }
    p.calibration = (sterna_calibration){.windows = 12, .length = 48};
    p.calibration.ids = sterna_alloc(p.calibration.windows * p.calibration.length, sizeof(int32_t));
    sterna_rng rng;
    sterna_rng_seed(&rng, 7);
    for (size_t i = 0; i < p.calibration.windows * p.calibration.length; i++)
        p.calibration.ids[i] = (int32_t)(sterna_rng_u64(&rng) % config.vocabulary);
    sterna_config_free(&config);
    return p;
}

static void plan_close(plan *p)
{
    for (size_t i = 0; i < p->count; i++) sterna_free(p->items[i].packed);
    sterna_free(p->items);
    sterna_free(p->calibration.ids);
    sterna_hadamard_free(&p->rules);
    sterna_model_file_close(p->file);
}

static sterna_propagation usual(void)
{
    return (sterna_propagation){.fitter = sterna_fitter_of("sterna"),
                                .compensation = sterna_compensation_usual(0, 2),
                                .drift = 0.5f,
                                .residual = 0.5f,
                                .balance = true,
                                .rotate = true};
}

/* Biases, tied heads, grouped queries, norms at every place, fused and split matrices. */
static void every_family_goes_through(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof families / sizeof *families; k++)
        for (int variant = 0; variant < 4; variant++) {
            plan p = plan_open(make_model(&families[k]));
            sterna_propagation settings = usual();
            settings.rotate = settings.balance = variant != 1;
            for (size_t i = 0; i < p.count && variant == 3; i++)
                if (p.items[i].verb == STERNA_VERB_FIT) /* of 192 the last group is shorter */
                    sterna_item_group(&p.items[i], 128);
            if (variant == 2) settings.drift = settings.residual = 0;
            sterna_error err = {0};
            if (sterna_propagate(p.file, &p.calibration, &settings, p.items, p.count, &p.rules,
                                 &err))
                fail_msg("%s: %s", families[k].architecture, err.message);
            size_t ready = 0;
            for (size_t i = 0; i < p.count; i++) {
                if (p.items[i].verb != STERNA_VERB_READY) continue;
                sterna_tensor tensor = sterna_item_output(&p.items[i]);
                for (uint64_t r = 0; r < sterna_tensor_rows(&tensor); r++) {
                    int8_t trits[FFN];
                    float scales[FFN / 64];
                    assert_true(sterna_tensor_row_trits(&tensor, r, trits, scales));
                    assert_true(scales[0] > 0);
                    if (variant == 3) assert_true(scales[0] == scales[1]);
                }
                assert_true(p.items[i].result.error > 0);
                assert_true(p.items[i].result.error < 0.25 * p.items[i].result.energy);
                ready++;
            }
            assert_int_equal(ready, p.fitted);
            assert_int_equal(ready, LAYERS * (families[k].fused ? 4 : 7));
            assert_int_equal(p.rules.n_widths, settings.rotate ? 2 : 0);
            plan_close(&p);
        }
}

/* A model whose matrices are on the grid already comes out as it went in, bit by bit. */
static void ternary_weights_stay(void **state)
{
    (void)state;
    plan p = plan_open(make_model(&families[0]));
    sterna_propagation settings = usual();
    settings.rotate = false;
    settings.drift = settings.residual = 0; /* int8 activations alone make the streams drift */
    sterna_tensor *tensors = (sterna_tensor *)(uintptr_t)p.file->tensors;
    sterna_tensor *saved = sterna_alloc(p.count, sizeof *saved);
    uint8_t **packed = sterna_calloc(p.count, sizeof *packed);
    memcpy(saved, tensors, p.count * sizeof *saved);
    for (size_t i = 0; i < p.count; i++) { /* random trits and scales in place of the floats */
        if (p.items[i].verb != STERNA_VERB_FIT) continue;
        tensors[i] = sterna_item_output(&p.items[i]);
        uint64_t rows = sterna_tensor_rows(&tensors[i]), cols = tensors[i].dims[0];
        packed[i] = sterna_alloc((size_t)tensors[i].bytes, 1);
        tensors[i].data = packed[i];
        sterna_rng rng;
        sterna_rng_seed(&rng, i);
        for (uint64_t r = 0; r < rows; r++) {
            int8_t trits[FFN];
            float scales[FFN / 64];
            for (uint64_t c = 0; c < cols; c++)
                trits[c] = (int8_t)((int)(sterna_rng_u64(&rng) % 3) - 1);
            for (uint64_t g = 0; g < cols / 64; g++)
                scales[g] = (float)(0.05 + 0.1 * sterna_rng_double(&rng));
            sterna_type_pack(tensors[i].type, trits, scales, (size_t)cols,
                             packed[i] + r * (tensors[i].bytes / rows));
        }
    }
    assert_int_equal(
        sterna_propagate(p.file, &p.calibration, &settings, p.items, p.count, &p.rules, NULL), 0);
    for (size_t i = 0; i < p.count; i++)
        if (packed[i]) assert_memory_equal(p.items[i].packed, packed[i], tensors[i].bytes);
    memcpy(tensors, saved, p.count * sizeof *saved);
    for (size_t i = 0; i < p.count; i++) sterna_free(packed[i]);
    sterna_free(packed);
    sterna_free(saved);
    plan_close(&p);
}

/* 135M, 1.5B, 4B, 7B and 70B: fewer tokens for more weights, between the two limits. */
static void larger_models_get_fewer_tokens(void **state)
{
    (void)state;
    static const struct {
        uint32_t layers, width, heads, kv_heads, head_dim, ffn;
        size_t least, most;
    } models[] = {{30, 576, 9, 3, 64, 1536, 131072, 131072},
                  {28, 1536, 12, 2, 128, 8960, 131072, 131072},
                  {36, 2560, 32, 8, 128, 9728, 45000, 50000},
                  {32, 4096, 32, 32, 128, 11008, 25000, 29000},
                  {80, 8192, 64, 8, 128, 28672, 16384, 16384}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        sterna_layer_config layers[80];
        const sterna_config config = {.n_layers = models[m].layers,
                                      .width = models[m].width,
                                      .heads = models[m].heads,
                                      .kv_heads = models[m].kv_heads,
                                      .head_dim = models[m].head_dim,
                                      .layers = layers};
        for (size_t i = 0; i < 80; i++)
            layers[i] = (sterna_layer_config){.ffn_width = models[m].ffn};
        size_t tokens = sterna_calibration_usual_tokens(&config);
        assert_in_range(tokens, models[m].least, models[m].most);
    }
    /* a long text is five eighths; of the built-in set there are 47 KB */
    assert_true(sterna_calibration_own_tokens("/dev/null", 8192) == 8192);
    assert_true(sterna_calibration_own_tokens(TEST_DATA "/../unit/test_propagate.c", 512) == 192);
    assert_in_range(sterna_calibration_own_tokens(NULL, 131072), 100000, 125000);
}

static bool stop(void *context, const char *stage, double done, double total)
{
    (void)stage;
    assert_true(done > 0 && done <= total);
    return --*(int *)context > 0;
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    sterna_error err = {0};
    plan p = plan_open(make_model(&families[0]));
    sterna_propagation settings = usual();
    int calls = 3;
    settings.progress = stop;
    settings.progress_context = &calls;
    assert_int_equal(
        sterna_propagate(p.file, &p.calibration, &settings, p.items, p.count, &p.rules, &err),
        STERNA_ERROR_CANCELLED);
    plan_close(&p);
    p = plan_open(make_model(&families[0]));
    settings = usual();
    for (size_t i = 0; i < p.count; i++)
        if (p.items[i].verb == STERNA_VERB_FIT) sterna_item_group(&p.items[i], 96);
    assert_int_equal(
        sterna_propagate(p.file, &p.calibration, &settings, p.items, p.count, &p.rules, &err),
        STERNA_ERROR_ARGUMENT);
    assert_non_null(strstr(err.message, "groups of 96 columns"));
    plan_close(&p);
}

static void survives_failing_memory(void **state)
{
    (void)state;
    sterna_status status = STERNA_ERROR_MEMORY;
    for (long n = 0; status; n += 1 + n / 12) {
        plan p = plan_open(make_model(&families[0]));
        sterna_propagation settings = usual();
        sterna_error err = {0};
        settings.compensation.threads = 1;
        sterna_alloc_fail_after(n);
        status = sterna_propagate(p.file, &p.calibration, &settings, p.items, p.count, &p.rules,
                                  n % 2 ? &err : NULL);
        sterna_alloc_fail_after(-1);
        if (status && status != STERNA_ERROR_MEMORY) fail_msg("%ld: %s", n, err.message);
        plan_close(&p);
    }
}

/* ---- precision ---- */

static double matrix_bits(const plan *p)
{
    double bytes = 0, weights = 0;
    for (size_t i = 0; i < p->count; i++) {
        const sterna_item *item = &p->items[i];
        if (!(item->sensitivity > 0)) continue;
        bytes += (double)sterna_item_bytes(item);
        weights += (double)(item->tensor->dims[0] * sterna_tensor_rows(item->tensor));
    }
    return 8 * bytes / weights;
}

/* More bits leave less error; what the budget says is kept; the least sensitive stay trits. */
static void bits_go_where_they_matter(void **state)
{
    (void)state;
    static const double budgets[] = {2.6, 3.5, 6};
    double last = INFINITY;
    for (int k = 0; k < 3; k++) {
        plan p = plan_open(make_model(&families[k == 1 ? 5 : 0])); /* phi3: fused matrices */
        sterna_propagation settings = usual();
        double reached = 0, error = 0, energy = 0, least = INFINITY;
        for (size_t i = 0; i < p.count; i++)
            if (p.items[i].verb == STERNA_VERB_FIT) {
                p.items[i].type = STERNA_TYPE_NATIVE;
                sterna_item_group(&p.items[i], 64);
            }
        assert_int_equal(
            sterna_sensitivity(p.file, &p.calibration, &settings, p.items, p.count, NULL),
            STERNA_OK);
        for (size_t i = 0; i < p.count; i++) {
            const sterna_item *item = &p.items[i];
            assert_true((item->sensitivity > 0) == (item->verb == STERNA_VERB_FIT));
            assert_null(item->packed);
            if (item->sensitivity > 0) least = fmin(least, item->sensitivity);
        }
        assert_int_equal(sterna_allocate(p.items, p.count, 1.2, false, &reached, NULL),
                         STERNA_ERROR_ARGUMENT);
        assert_int_equal(sterna_allocate(p.items, p.count, budgets[k], false, &reached, NULL),
                         STERNA_OK);
        assert_true(fabs(reached - matrix_bits(&p)) < 1e-9);
        assert_true(reached <= budgets[k] && reached > 0.9 * budgets[k]);
        assert_int_equal(
            sterna_propagate(p.file, &p.calibration, &settings, p.items, p.count, &p.rules, NULL),
            STERNA_OK);
        for (size_t i = 0; i < p.count; i++) {
            const sterna_item *item = &p.items[i];
            if (!(item->sensitivity > 0)) continue;
            error += item->result.error;
            energy += item->result.energy;
            if (k == 0 && item->sensitivity <= least) assert_int_equal(item->form.code2, 0);
        }
        assert_true(error / energy < 0.8 * last);
        last = error / energy;
        plan_close(&p);
    }
}

/* The usual budget is spent on trits alone. */
static void planes_go_where_they_matter(void **state)
{
    (void)state;
    plan p = plan_open(make_model(&families[0]));
    sterna_propagation settings = usual();
    double reached, most = 0, least = INFINITY, plain = 0;
    size_t planes = 0, trits = 0;
    for (size_t i = 0; i < p.count; i++)
        if (p.items[i].verb == STERNA_VERB_FIT) {
            p.items[i].type = STERNA_TYPE_NATIVE;
            sterna_item_group(&p.items[i], 64);
        }
    plain = sterna_trit_bits(p.items, p.count);
    assert_int_equal(sterna_sensitivity(p.file, &p.calibration, &settings, p.items, p.count, NULL),
                     STERNA_OK);
    assert_int_equal(sterna_allocate(p.items, p.count, 1.5 * plain, true, &reached, NULL),
                     STERNA_OK);
    assert_true(reached > plain && reached <= 1.5 * plain);
    for (size_t i = 0; i < p.count; i++) {
        const sterna_item *item = &p.items[i];
        if (!(item->sensitivity > 0)) continue;
        assert_int_equal(item->type, STERNA_TYPE_NATIVE);
        double gain = item->sensitivity / (double)sterna_item_bytes(item);
        if (item->form.code2) most = fmax(most, 2 * gain);
        if (!item->form.code2) least = fmin(least, gain);
        planes += item->form.code2 != STERNA_CODE_NONE;
        trits += item->form.code2 == STERNA_CODE_NONE;
    }
    assert_true(planes > 0 && trits > 0 && most > least);
    plan_close(&p);
}

static void sensitivities_survive_failing_memory(void **state)
{
    (void)state;
    sterna_status status = STERNA_ERROR_MEMORY;
    for (long n = 0; status; n += 1 + n / 12) {
        plan p = plan_open(make_model(&families[0]));
        sterna_propagation settings = usual();
        double reached;
        settings.compensation.threads = 1;
        sterna_alloc_fail_after(n);
        status = sterna_sensitivity(p.file, &p.calibration, &settings, p.items, p.count, NULL);
        if (!status) status = sterna_allocate(p.items, p.count, 3, false, &reached, NULL);
        sterna_alloc_fail_after(-1);
        assert_true(status == STERNA_OK || status == STERNA_ERROR_MEMORY);
        plan_close(&p);
    }
}

static int make_path(void **state)
{
    (void)state;
    int file = -1;
    strcpy(made_path, "/tmp/sterna-propagate-XXXXXX.gguf");
    file = mkstemps(made_path, 5);
    return file < 0 ? -1 : close(file);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(made_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation_keeps_products),
        cmocka_unit_test(metadata_say_the_transform),
        cmocka_unit_test(every_family_goes_through),
        cmocka_unit_test(ternary_weights_stay),
        cmocka_unit_test(larger_models_get_fewer_tokens),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(survives_failing_memory),
        cmocka_unit_test(bits_go_where_they_matter),
        cmocka_unit_test(planes_go_where_they_matter),
        cmocka_unit_test(sensitivities_survive_failing_memory),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
