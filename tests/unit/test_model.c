/* model/ and run/session: every golden model (tests/data/models, see its README) against the logits
 * and the greedy continuation of the reference implementation, in each of its containers; sessions
 * in one forward pass against sessions alone; hostile configurations. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "run/session.h"

typedef struct golden {
    char name[64], path[512];
    size_t vocabulary, n_prompt, n_rows, n_greedy;
    int32_t prompt[512], greedy[128];
    size_t rows[16];
    double range, tolerance;
    bool int8;     /* the reference itself rounds activations: one ulp can move a code */
    float *logits; /* [n_rows + 1][vocabulary] */
    char models[4][64];
    size_t n_models;
} golden;

static size_t read_ints(const json_t *list, int32_t *out, size_t room)
{
    size_t n = json_array_size(list);
    assert_true(n > 0 && n <= room);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void read_golden(const char *name, golden *g)
{
    char path[700];
    memset(g, 0, sizeof *g);
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->path, sizeof g->path, "%s/models/%s", TEST_DATA, name);
    snprintf(path, sizeof path, "%s/golden.json", g->path);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    g->vocabulary = (size_t)json_integer_value(json_object_get(json, "vocab"));
    g->n_prompt = read_ints(json_object_get(json, "prompt"), g->prompt, 512);
    g->n_greedy = read_ints(json_object_get(json, "greedy"), g->greedy, 128);
    int32_t rows[16];
    g->n_rows = read_ints(json_object_get(json, "rows"), rows, 16);
    for (size_t i = 0; i < g->n_rows; i++) g->rows[i] = (size_t)rows[i];
    g->range = json_number_value(json_object_get(json, "range"));
    g->tolerance = json_number_value(json_object_get(json, "tolerance"));
    g->int8 = strcmp(json_string_value(json_object_get(json, "activations")), "int8") == 0;
    json_t *models = json_object_get(json, "models");
    for (; g->n_models < json_array_size(models); g->n_models++)
        snprintf(g->models[g->n_models], sizeof *g->models, "%s",
                 json_string_value(json_array_get(models, g->n_models)));
    assert_true(g->n_models > 0 && g->n_models <= 4);
    json_decref(json);
    size_t count = (g->n_rows + 1) * g->vocabulary;
    g->logits = malloc(count * sizeof *g->logits);
    snprintf(path, sizeof path, "%s/golden.bin", g->path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(g->logits, sizeof *g->logits, count, file), count);
    fclose(file);
}

/* A model without its text side. */
static sterna_status load_model(const char *path, const char *cpu, sterna_arithmetic arithmetic,
                                sterna_model *model, sterna_error *err)
{
    sterna_model_file *file = NULL;
    memset(model, 0, sizeof *model);
    sterna_status status = sterna_model_file_open(path, NULL, &file, err);
    if (status) return status;
    sterna_cpu_options cpu_options = {.threads = 1}; /* the models are tiny */
    assert_int_equal(sterna_cpu_level(cpu, &cpu_options.features, err), STERNA_OK);
    status = sterna_device_cpu_open(&cpu_options, &model->device, err);
    const sterna_decoder_options options = {.arithmetic = arithmetic};
    if (!status) status = sterna_decoder_load(file, model->device, &options, &model->decoder, err);
    sterna_model_file_close(file);
    if (status && model->device) model->device->close(model->device);
    return status;
}

static void free_model(sterna_model *model)
{
    sterna_decoder_free(model->decoder);
    model->device->close(model->device);
}

static sterna_session *new_session(sterna_model *model, uint32_t context, sterna_cache_type cache)
{
    sterna_session *session = NULL;
    sterna_error err = {0};
    const sterna_session_options options = {.context = context, .cache = cache};
    if (sterna_run_session_new(model, &options, &session, &err)) fail_msg("%s", err.message);
    return session;
}

static int32_t best(const float *logits, size_t n)
{
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[at]) at = i;
    return (int32_t)at;
}

static double distance(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most)) most = d;
    }
    return most;
}

static double check_golden(const golden *g, const char *model_name, const char *cpu)
{
    char path[700];
    sterna_model model;
    sterna_error err = {0};
    snprintf(path, sizeof path, "%s/%s", g->path, model_name);
    if (load_model(path, cpu, STERNA_ARITHMETIC_FLOAT, &model, &err)) fail_msg("%s", err.message);
    assert_int_equal(sterna_decoder_config(model.decoder)->vocabulary, g->vocabulary);
    sterna_session *session = new_session(&model, 256, STERNA_CACHE_F32);
    float *logits = malloc(g->n_prompt * g->vocabulary * sizeof *logits);
    assert_int_equal(sterna_run_append(session, g->prompt, g->n_prompt, logits, &err), STERNA_OK);
    double worst = 0;
    for (size_t i = 0; i < g->n_rows; i++) {
        double d = distance(logits + g->rows[i] * g->vocabulary, g->logits + i * g->vocabulary,
                            g->vocabulary);
        if (!(d <= worst)) worst = d;
    }
    free(logits);
    for (size_t i = 0; i < g->n_greedy; i++) {
        int32_t id = best(session->logits, g->vocabulary);
        if (id != g->greedy[i])
            fail_msg("%s/%s: token %zu of the continuation is %d, not %d (logits off by %g)",
                     g->name, model_name, i, id, g->greedy[i], worst);
        if (i + 1 < g->n_greedy)
            assert_int_equal(sterna_run_append(session, &id, 1, NULL, &err), STERNA_OK);
    }
    double d = distance(session->logits, g->logits + g->n_rows * g->vocabulary, g->vocabulary);
    if (!(d <= worst)) worst = d;
    if (!(worst <= g->tolerance * g->range))
        fail_msg("%s/%s: logits are off by %g, more than %g of their range %g", g->name, model_name,
                 worst, g->tolerance, g->range);
    sterna_run_session_free(session);
    free_model(&model);
    return worst / g->range;
}

static void goldens_hold(void **state)
{
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s/models", TEST_DATA);
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort), seen = 0;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[900];
        snprintf(path, sizeof path, "%s/%s/golden.json", folder, entries[i]->d_name);
        FILE *file = fopen(path, "rb");
        if (file) {
            fclose(file);
            golden g;
            read_golden(entries[i]->d_name, &g);
            for (size_t k = 0; k < g.n_models; k++) {
                double off = check_golden(&g, g.models[k], "auto");
                print_message("    %-24s %-28s off by %.1e of the range\n", g.name, g.models[k],
                              off);
            }
            free(g.logits);
            seen++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(seen >= 16);
}

/* Four sequences of different lengths in one pass, against each alone. */
static void batches_equal_single_runs(void **state)
{
    (void)state;
    enum { SESSIONS = 4, STEPS = 6 };
    golden g;
    read_golden("qwen3", &g);
    char path[700];
    snprintf(path, sizeof path, "%s/hf", g.path);
    sterna_model model;
    sterna_error err = {0};
    if (load_model(path, "auto", STERNA_ARITHMETIC_FLOAT, &model, &err))
        fail_msg("%s", err.message);
    sterna_session *together[SESSIONS], *alone[SESSIONS];
    int32_t ids[SESSIONS];
    for (size_t i = 0; i < SESSIONS; i++) {
        together[i] = new_session(&model, 64, STERNA_CACHE_F32);
        alone[i] = new_session(&model, 64, STERNA_CACHE_F32);
        for (int k = 0; k < 2; k++)
            assert_int_equal(
                sterna_run_append(k ? together[i] : alone[i], g.prompt + i, 3 + 7 * i, NULL, &err),
                STERNA_OK);
    }
    for (int step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < SESSIONS; i++)
            ids[i] = (int32_t)((size_t)(step * 31 + 7) * (i + 3) % g.vocabulary);
        assert_int_equal(sterna_run_step(together, ids, SESSIONS, &err), STERNA_OK);
        for (size_t i = 0; i < SESSIONS; i++) {
            assert_int_equal(sterna_run_append(alone[i], &ids[i], 1, NULL, &err), STERNA_OK);
            double d = distance(together[i]->logits, alone[i]->logits, g.vocabulary);
            assert_true(d <= 1e-5 * g.range);
        }
    }
    /* a session twice, or a foreign one, is refused and changes nothing */
    sterna_session *twice[2] = {together[0], together[0]};
    uint32_t length = together[0]->length;
    assert_int_equal(sterna_run_step(twice, ids, 2, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(together[0]->length, length);
    for (size_t i = 0; i < SESSIONS; i++) {
        sterna_run_session_free(together[i]);
        sterna_run_session_free(alone[i]);
    }
    free_model(&model);
    free(g.logits);
}

/* However a prompt is cut, and whatever stood there before a rewind, the logits are the same. */
static void cuts_and_rewinds_change_nothing(void **state)
{
    (void)state;
    golden g;
    read_golden("gemma3", &g);
    char path[700];
    snprintf(path, sizeof path, "%s/hf", g.path);
    sterna_model model;
    sterna_error err = {0};
    if (load_model(path, "auto", STERNA_ARITHMETIC_FLOAT, &model, &err))
        fail_msg("%s", err.message);
    sterna_session *whole = new_session(&model, 64, STERNA_CACHE_F32),
                   *parts = new_session(&model, 64, STERNA_CACHE_F32);
    assert_int_equal(sterna_run_append(whole, g.prompt, g.n_prompt, NULL, &err), STERNA_OK);
    assert_int_equal(sterna_run_append(parts, g.prompt + 5, 20, NULL, &err), STERNA_OK);
    sterna_run_rewind(parts, 0);
    assert_false(parts->has_logits);
    for (size_t at = 0, n = 1; at < g.n_prompt; at += n, n++) {
        if (n > g.n_prompt - at) n = g.n_prompt - at;
        assert_int_equal(sterna_run_append(parts, g.prompt + at, n, NULL, &err), STERNA_OK);
    }
    assert_true(distance(whole->logits, parts->logits, g.vocabulary) <= 1e-5 * g.range);

    /* what does not fit or is no token is refused whole */
    int32_t wrong[] = {1, (int32_t)g.vocabulary};
    assert_int_equal(sterna_run_append(parts, wrong, 2, NULL, &err), STERNA_ERROR_ARGUMENT);
    wrong[1] = -1;
    assert_int_equal(sterna_run_append(parts, wrong, 2, NULL, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_run_append(parts, g.prompt, g.n_prompt, NULL, &err),
                     STERNA_ERROR_LIMIT);
    assert_int_equal(parts->length, g.n_prompt);
    assert_true(parts->has_logits);
    sterna_run_session_free(whole);
    sterna_run_session_free(parts);
    free_model(&model);
    free(g.logits);
}

/* The 8-bit and 16-bit caches stay close to the 32-bit one. */
static void smaller_caches_stay_close(void **state)
{
    (void)state;
    golden g;
    read_golden("llama", &g);
    char path[700];
    snprintf(path, sizeof path, "%s/model.gguf", g.path);
    sterna_model model;
    sterna_error err = {0};
    if (load_model(path, "auto", STERNA_ARITHMETIC_FLOAT, &model, &err))
        fail_msg("%s", err.message);
    const struct {
        sterna_cache_type type;
        double share; /* of the range: halves round to 2^-11, eight bits to 1/254 of a group */
    } caches[] = {{STERNA_CACHE_F16, 2e-3}, {STERNA_CACHE_Q8, 3e-2}};
    for (size_t i = 0; i < 2; i++) {
        sterna_session *session = new_session(&model, 64, caches[i].type);
        assert_int_equal(sterna_run_append(session, g.prompt, g.n_prompt, NULL, &err), STERNA_OK);
        double d =
            distance(session->logits, g.logits + (g.n_rows - 1) * g.vocabulary, g.vocabulary);
        assert_true(d <= caches[i].share * g.range);
        sterna_run_session_free(session);
    }
    free_model(&model);
    free(g.logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(batches_equal_single_runs),
        cmocka_unit_test(cuts_and_rewinds_change_nothing),
        cmocka_unit_test(smaller_caches_stay_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
