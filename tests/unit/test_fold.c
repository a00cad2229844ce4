/* quant/fold: tiny models of every family, folded in every way that theirs allows, give the logits
 * that they gave before; and the transform that folds away is orthogonal. */
#include <dirent.h>
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

#include "base/cpu.h"
#include "base/memory.h"
#include "model/family.h"
#include "quant/convert.h"
#include "quant/fold.h"
#include "quant/rotate.h"
#include "run/session.h"

enum { TOKENS = 40, ALL = STERNA_FOLD_GAINS | STERNA_FOLD_RESIDUAL | STERNA_FOLD_HEADS };

/* ---- the transform ---- */

static void turns_are_orthogonal(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, 72, 9, 48};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k];
        sterna_turn turn;
        static float r[72 * 72], columns[72 * 72];
        assert_true(sterna_turn_exists(n));
        assert_int_equal(sterna_turn_new(n, &turn, NULL), STERNA_OK);
        for (size_t i = 0; i < n * n; i++) r[i] = columns[i] = i % (n + 1) == 0;
        assert_int_equal(sterna_turn_apply(&turn, r, n, 1, 2, NULL), STERNA_OK);
        assert_int_equal(sterna_turn_apply(&turn, columns, 1, n, 2, NULL), STERNA_OK);
        for (size_t a = 0; a < n; a++)
            for (size_t b = 0; b < n; b++) {
                double sum = 0;
                for (size_t i = 0; i < n; i++) sum += (double)(r[a * n + i] * r[b * n + i]);
                assert_true(fabs(sum - (a == b)) < 1e-5);
                assert_true(fabsf(r[a * n + b]) < 1.5f / sqrtf((float)n));     /* all are mixed */
                assert_true(fabsf(columns[b * n + a] - r[a * n + b]) < 1e-6f); /* R^T I */
            }
        sterna_turn_free(&turn);
    }
    assert_false(sterna_turn_exists(0));
    assert_false(sterna_turn_exists(1));
    assert_false(sterna_turn_exists(8192 * 67));
}

/* ---- models ---- */

typedef struct loaded {
    sterna_model model;
    sterna_session *session;
    float *logits; /* [TOKENS][vocabulary] */
    size_t vocabulary;
} loaded;

static sterna_model_file *open_file(const char *path)
{
    sterna_model_file *file = NULL;
    sterna_error err = {0};
    if (sterna_model_file_open(path, NULL, &file, &err)) fail_msg("%s", err.message);
    return file;
}

/* The logits of some tokens, in float arithmetic. */
static void run_model(const char *path, loaded *l)
{
    *l = (loaded){0}; /* the session points into it */
    sterna_error err = {0};
    sterna_model_file *file = open_file(path);
    sterna_cpu_options cpu = {.threads = 1};
    const sterna_decoder_options options = {.arithmetic = STERNA_ARITHMETIC_FLOAT};
    const sterna_session_options context = {.context = TOKENS, .cache = STERNA_CACHE_F32};
    assert_int_equal(sterna_cpu_level("auto", &cpu.features, &err), STERNA_OK);
    assert_int_equal(sterna_device_cpu_open(&cpu, &l->model.device, &err), STERNA_OK);
    if (sterna_decoder_load(file, l->model.device, &options, &l->model.decoder, &err) ||
        sterna_run_session_new(&l->model, &context, &l->session, &err))
        fail_msg("%s", err.message);
    int32_t ids[TOKENS];
    l->vocabulary = sterna_decoder_config(l->model.decoder)->vocabulary;
    for (size_t i = 0; i < TOKENS; i++) ids[i] = (int32_t)((i * i * 37 + 11) % l->vocabulary);
    l->logits = malloc(TOKENS * l->vocabulary * sizeof *l->logits);
    if (sterna_run_append(l->session, ids, TOKENS, l->logits, &err)) fail_msg("%s", err.message);
    sterna_model_file_close(file);
}

static void free_loaded(loaded *l)
{
    sterna_run_session_free(l->session);
    sterna_decoder_free(l->model.decoder);
    l->model.device->close(l->model.device);
    free(l->logits);
}

/* Largest difference, as a share of the range. */
static double difference(const loaded *a, const loaded *b)
{
    double most = 0, low = INFINITY, high = -INFINITY;
    assert_int_equal(a->vocabulary, b->vocabulary);
    for (size_t i = 0; i < TOKENS * a->vocabulary; i++) {
        double x = (double)a->logits[i], d = fabs(x - (double)b->logits[i]);
        if (!(d <= most)) most = d;
        low = fmin(low, x);
        high = fmax(high, x);
    }
    return most / (high - low);
}

static bool is_one(const sterna_tensor *tensor)
{
    float row[1024];
    assert_true(tensor->dims[0] <= 1024);
    sterna_tensor_row(tensor, 0, row);
    for (uint64_t i = 0; i < tensor->dims[0]; i++)
        if (row[i] != 1) return false;
    return true;
}

/* The directory of a folded file: gains that are gone, a head where one is needed. */
static void check_folded(const char *path, unsigned folds, const sterna_type *from)
{
    sterna_model_file *file = open_file(path);
    const sterna_tensor *norm = sterna_model_file_find(file, "blk.0.attn_norm.weight"),
                        *next = sterna_model_file_find(file, "blk.1.ffn_norm.weight"),
                        *last = sterna_model_file_find(file, "output_norm.weight");
    assert_true(norm && next && last);
    assert_int_equal(is_one(norm), (folds & STERNA_FOLD_GAINS) != 0);
    assert_int_equal(is_one(next), (folds & STERNA_FOLD_GAINS) != 0);
    assert_int_equal(is_one(last), (folds & STERNA_FOLD_RESIDUAL) != 0);
    if (folds & STERNA_FOLD_RESIDUAL)
        assert_non_null(sterna_model_file_find(file, "output.weight"));
    for (size_t i = 0; i < file->n_tensors; i++) {
        assert_true(from[i] < STERNA_TYPES);
        if (file->tensors[i].n_dims == 1) assert_int_equal(file->tensors[i].type, STERNA_TYPE_F32);
    }
    sterna_model_file_close(file);
}

/* What each family allows. */
static const struct {
    const char *family;
    unsigned folds;
} allowed[] = {{"llama", ALL},
               {"mistral", ALL},
               {"smollm3", ALL},
               {"qwen2", ALL},
               {"qwen3", ALL},
               {"phi3", ALL},
               {"gemma2", STERNA_FOLD_GAINS | STERNA_FOLD_HEADS},
               {"gemma3", STERNA_FOLD_GAINS | STERNA_FOLD_HEADS},
               {"bitnet", 0},
               {"bitnet-b1.58", 0}};

static unsigned folds_of(const char *path)
{
    sterna_model_file *file = open_file(path);
    sterna_config config;
    sterna_hadamard_rules rules;
    unsigned folds = ~0u, wanted = ~0u;
    assert_int_equal(sterna_fold_possible(file, &folds, NULL), STERNA_OK);
    assert_int_equal(sterna_config_read(file, &config, NULL), STERNA_OK);
    assert_int_equal(sterna_hadamard_read(file, &rules, NULL), STERNA_OK);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(sterna_family_name(config.family), allowed[i].family) == 0)
            wanted = allowed[i].folds;
    if (rules.names) wanted = 0;
    assert_int_equal(folds, wanted);
    sterna_hadamard_free(&rules);
    sterna_config_free(&config);
    sterna_model_file_close(file);
    return folds;
}

/* False where GGUF cannot hold the model. */
static bool fold_to(const char *path, const char *made, unsigned folds)
{
    static const sterna_folding folding = {.threads = 1}; /* the models are tiny */
    sterna_model_file *file = open_file(path);
    sterna_type *from = NULL;
    sterna_error err = {0};
    sterna_status status = sterna_fold_model(file, made, folds, &folding, &from, &err);
    if (status && status != STERNA_ERROR_UNSUPPORTED) fail_msg("%s", err.message);
    if (!status) check_folded(made, folds, from);
    sterna_free(from);
    sterna_model_file_close(file);
    return !status;
}

/* Folded with `folds`; difference at `most`, as a share of the logits' range. */
static bool check_folds(const char *path, const char *made, unsigned folds, double most)
{
    loaded before, after;
    if (!fold_to(path, made, folds)) return false;
    run_model(path, &before);
    run_model(made, &after);
    double off = difference(&before, &after);
    print_message("    %-60s off by %.1e of the range\n", path, off);
    assert_true(off < most);
    free_loaded(&before);
    free_loaded(&after);
    return true;
}

/* As the file is, where F16 rounds the folded matrices; and for GGUF files each fold by itself with
 * F32 on both sides. */
static size_t check_model(const char *path)
{
    static const unsigned sets[] = {STERNA_FOLD_GAINS, STERNA_FOLD_HEADS,
                                    STERNA_FOLD_GAINS | STERNA_FOLD_RESIDUAL};
    static const sterna_convert_options whole = {.float_type = "F32"};
    char made[64], plain[64];
    sterna_error err = {0};
    unsigned folds = folds_of(path);
    snprintf(made, sizeof made, "/tmp/sterna-fold-%d.gguf", (int)getpid());
    snprintf(plain, sizeof plain, "/tmp/sterna-fold-plain-%d.gguf", (int)getpid());
    size_t folded = folds && check_folds(path, made, folds, 5e-3);
    if (folded && strcmp(path + strlen(path) - 3, "/hf") != 0) {
        if (sterna_convert_model(path, plain, &whole, NULL, &err)) fail_msg("%s", err.message);
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
            if (!(sets[i] & ~folds)) folded += check_folds(plain, made, sets[i], 1e-5);
    }
    unlink(plain);
    unlink(made);
    return folded;
}

static void folded_models_compute_the_same(void **state)
{
    (void)state;
    static const char *const inside[] = {"hf", "model.gguf", "model.bin",
                                         "model-00001-of-00003.gguf"};
    char folder[600];
    snprintf(folder, sizeof folder, "%s/models", TEST_DATA);
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort);
    size_t folded = 0;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof inside / sizeof *inside && entries[i]->d_name[0] != '.';
             k++) {
            char path[900];
            snprintf(path, sizeof path, "%s/%s/%s", folder, entries[i]->d_name, inside[k]);
            if (access(path, R_OK) == 0) folded += check_model(path);
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(folded >= 70);
}

/* Wherever memory runs out, there is a sentence, no file and no leak. */
static void failures_leave_nothing(void **state)
{
    (void)state;
    static const sterna_folding folding = {.threads = 1};
    char path[600], made[64];
    snprintf(path, sizeof path, "%s/models/llama-tied-bias/model.gguf", TEST_DATA);
    snprintf(made, sizeof made, "/tmp/sterna-fold-%d.gguf", (int)getpid());
    sterna_model_file *file = open_file(path);
    sterna_type *from = NULL;
    for (long n = 0; !from; n++) {
        sterna_error err = {0};
        sterna_alloc_fail_after(n);
        sterna_status status = sterna_fold_model(file, made, ALL, &folding, &from, &err);
        sterna_alloc_fail_after(-1);
        assert_true(n < 10000);
        assert_int_equal(status, from ? STERNA_OK : STERNA_ERROR_MEMORY);
        if (from) continue;
        assert_true(err.message[0]);
        assert_int_not_equal(access(made, F_OK), 0);
    }
    sterna_free(from);
    sterna_model_file_close(file);
    unlink(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_orthogonal),
        cmocka_unit_test(folded_models_compute_the_same),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
