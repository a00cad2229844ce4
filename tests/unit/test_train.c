/* train/: gradients of every golden model against PyTorch's (gradients.bin, written by
 * tools/reference/gradient_goldens.py) and against finite differences; products, the loss, the
 * optimizer; kept and recomputed activations; memory that runs out. */
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
#include <jansson.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "train/adam.h"
#include "train/distil.h"

enum { LENGTH = 20, WINDOWS = 2, TOKENS = LENGTH * WINDOWS };

/* A network whose teacher finds all tokens equally likely. */
typedef struct trained {
    sterna_model_file *file;
    sterna_network *net;
    sterna_head *head;
    int32_t ids[TOKENS];
    float *hidden, *teacher, *gradient; /* [TOKENS][width] */
} trained;

static void read_ids(const char *folder, int32_t *ids)
{
    char path[512];
    snprintf(path, sizeof path, "%s/models/%s/golden.json", TEST_DATA, folder);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    const json_t *prompt = json_object_get(json, "prompt");
    size_t n = json_array_size(prompt);
    for (size_t i = 0; i < LENGTH; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(prompt, i));
        ids[LENGTH + i] = (int32_t)json_integer_value(json_array_get(prompt, n - LENGTH + i));
    }
    json_decref(json);
}

static sterna_status train_all(sterna_network *net, bool rows, sterna_error *err)
{
    sterna_status status = sterna_gain_train(&net->final_norm, err);
    for (uint32_t i = 0; i < net->config->n_layers && !status; i++) {
        sterna_network_layer *layer = &net->layers[i];
        for (int k = 0; k < STERNA_MATRICES && !status; k++)
            status =
                sterna_linear_train(&layer->matrices[k], rows ? layer->matrices[k].cols : 7, err);
        for (int k = 0; k < STERNA_NORMS && !status; k++)
            if (layer->norms[k].tensor) status = sterna_gain_train(&layer->norms[k], err);
    }
    return status;
}

static sterna_status try_open(trained *t, const char *folder, const char *model,
                              const sterna_network_options *options, bool rows, sterna_error *err)
{
    char path[512];
    memset(t, 0, sizeof *t);
    snprintf(path, sizeof path, "%s/models/%s/%s", TEST_DATA, folder, model);
    read_ids(folder, t->ids);
    sterna_status status = sterna_model_file_open(path, NULL, &t->file, err);
    if (!status) status = sterna_network_open(t->file, options, &t->net, err);
    if (!status) status = train_all(t->net, rows, err);
    if (!status) status = sterna_head_open(t->net, &t->head, err);
    if (status) return status;
    size_t floats = (size_t)TOKENS * t->net->config->width;
    t->hidden = malloc(floats * sizeof(float));
    t->teacher = calloc(floats, sizeof(float));
    t->gradient = malloc(floats * sizeof(float));
    return STERNA_OK;
}

static void close_trained(trained *t)
{
    sterna_head_close(t->head);
    sterna_network_close(t->net);
    sterna_model_file_close(t->file);
    free(t->hidden);
    free(t->teacher);
    free(t->gradient);
}

static const sterna_network_options exact = {.windows = WINDOWS,
                                             .length = LENGTH,
                                             .keep_bytes = 1 << 20,
                                             .backward = true,
                                             .threads = 2,
                                             .exact = true};

static trained open_trained(const char *folder, const char *model,
                            const sterna_network_options *options, bool rows)
{
    sterna_error err = {0};
    trained t;
    sterna_network_options all = *options;
    all.features = sterna_cpu_features();
    if (try_open(&t, folder, model, &all, rows, &err)) fail_msg("%s", err.message);
    return t;
}

/* The loss, and gradients too where asked for. */
static double run(trained *t, bool backward)
{
    sterna_error err = {0};
    double loss = 0;
    sterna_status status = sterna_network_forward(t->net, t->ids, t->hidden, &err);
    if (!status)
        status = sterna_distil(t->head, t->teacher, t->hidden, TOKENS, &loss,
                               backward ? t->gradient : NULL, &err);
    if (!status && backward) status = sterna_network_backward(t->net, t->gradient, &err);
    if (status) fail_msg("%s", err.message);
    return loss;
}

/* ---- PyTorch ---- */

typedef struct comparison {
    const float *want;
    size_t at;
    double error, energy, worst; /* worst difference as a share of the largest of its part */
} comparison;

static void compare(comparison *c, const sterna_factors *factors)
{
    double most = 0, error = 0;
    for (size_t i = 0; i < factors->count; i++) {
        double want = (double)c->want[c->at + i], d = fabs((double)factors->gradient[i] - want);
        most = fmax(most, fabs(want));
        error = fmax(error, d);
        c->error += d * d;
        c->energy += want * want;
    }
    c->at += factors->count;
    if (most > 1e-4) c->worst = fmax(c->worst, error / most);
}

static void check_golden(const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/models/%s/gradients.bin", TEST_DATA, folder);
    FILE *golden = fopen(path, "rb");
    assert_non_null(golden);
    static float want[1 << 16];
    size_t count = fread(want, sizeof *want, sizeof want / sizeof *want, golden);
    fclose(golden);
    trained t = open_trained(folder, "hf", &exact, true);
    double loss = run(&t, true);
    if (!(fabs(loss - (double)want[0]) < 2e-5 * (double)want[0]))
        fail_msg("%s: loss %f, PyTorch has %f", folder, loss, (double)want[0]);
    comparison c = {.want = want, .at = 1};
    for (uint32_t i = 0; i < t.net->config->n_layers; i++) {
        for (int k = 0; k < STERNA_MATRICES; k++)
            compare(&c, &t.net->layers[i].matrices[k].factors);
        for (int k = 0; k < STERNA_NORMS; k++) compare(&c, &t.net->layers[i].norms[k].factors);
    }
    compare(&c, &t.net->final_norm.factors);
    if (c.at != count || !(c.error < 1e-8 * c.energy) || !(c.worst < 1e-3))
        fail_msg("%s: %zu gradients of %zu, relative error %g, worst %g", folder, c.at, count,
                 sqrt(c.error / c.energy), c.worst);
    close_trained(&t);
}

static void goldens(void **state)
{
    (void)state;
    char path[512], file[900];
    snprintf(path, sizeof path, "%s/models", TEST_DATA);
    DIR *models = opendir(path);
    assert_non_null(models);
    int checked = 0;
    for (const struct dirent *entry; (entry = readdir(models));) {
        snprintf(file, sizeof file, "%s/%s/gradients.bin", path, entry->d_name);
        if (access(file, R_OK) != 0) continue;
        check_golden(entry->d_name);
        checked++;
    }
    closedir(models);
    assert_true(checked >= 16);
}

/* ---- finite differences ---- */

/* Moves the factors of one kind along a random direction. */
typedef struct wander {
    sterna_rng rng;
    float step;
    double slope; /* the gradient along the direction */
} wander;

static void walk(wander *w, const sterna_factors *factors)
{
    for (size_t i = 0; i < factors->count; i++) {
        float d = (float)(2 * sterna_rng_double(&w->rng) - 1);
        w->slope += (double)d * (double)factors->gradient[i];
        factors->log[i] += w->step * d;
    }
}

static double walk_kind(trained *t, int kind, float step)
{
    wander w = {.step = step};
    sterna_rng_seed(&w.rng, 5);
    for (uint32_t i = 0; i < t->net->config->n_layers; i++)
        walk(&w, kind < STERNA_MATRICES ? &t->net->layers[i].matrices[kind].factors
                                        : &t->net->layers[i].norms[kind - STERNA_MATRICES].factors);
    sterna_network_refresh(t->net);
    return w.slope;
}

static void check_differences(const char *folder, const char *model)
{
    const float step = 4e-3f;
    trained t = open_trained(folder, model, &exact, false);
    run(&t, true);
    for (int kind = 0; kind < STERNA_MATRICES + STERNA_NORMS; kind++) {
        if (kind >= STERNA_MATRICES && !t.net->layers[0].norms[kind - STERNA_MATRICES].tensor)
            continue;
        double slope = walk_kind(&t, kind, step), after = run(&t, false);
        walk_kind(&t, kind, -2 * step);
        double before = run(&t, false), found = (after - before) / (2 * (double)step);
        walk_kind(&t, kind, step);
        if (!(fabs(found - slope) < 2e-3 + 0.02 * fabs(slope)))
            fail_msg("%s/%s, part %d: slope %f, the gradient says %f", folder, model, kind, found,
                     slope);
    }
    close_trained(&t);
}

static void differences(void **state)
{
    (void)state;
    check_differences("llama", "model.gguf"); /* adjacent pairs */
    check_differences("llama-hadamard", "model.gguf");
    check_differences("gemma2", "model.gguf"); /* soft caps, windows, norms behind, shift */
    check_differences("gemma3", "hf");
    check_differences("qwen3", "model.gguf");         /* norms of heads */
    check_differences("bitnet-silu", "model.gguf");   /* norms before the output projections */
    check_differences("bitnet-packed", "model.gguf"); /* relu^2 */
    check_differences("phi3", "model.gguf");          /* fused matrices */
}

/* ---- the same by other ways ---- */

static double distance(const trained *a, const trained *b)
{
    double error = 0, energy = 0;
    for (uint32_t i = 0; i < a->net->config->n_layers; i++)
        for (int k = 0; k < STERNA_MATRICES; k++) {
            const sterna_factors *x = &a->net->layers[i].matrices[k].factors,
                                 *y = &b->net->layers[i].matrices[k].factors;
            for (size_t g = 0; g < x->count; g++) {
                double d = (double)x->gradient[g] - (double)y->gradient[g];
                error += d * d;
                energy += (double)x->gradient[g] * (double)x->gradient[g];
            }
        }
    return sqrt(error / energy);
}

static void other_ways(void **state)
{
    (void)state;
    sterna_network_options again = exact, single = exact, rounded = exact;
    again.keep_bytes = 0;
    single.threads = 1;
    rounded.exact = false;
    trained t = open_trained("gemma2", "model.gguf", &exact, false);
    double loss = run(&t, true);
    const sterna_network_options *const ways[] = {&again, &single, &rounded};
    for (int i = 0; i < 3; i++) {
        trained other = open_trained("gemma2", "model.gguf", ways[i], false);
        double found = run(&other, true), apart = distance(&t, &other);
        bool same = i < 2 || !other.net->m.bf16;
        if (!(fabs(found - loss) <= (same ? 0 : 0.01 * loss)) || !(apart <= (same ? 0 : 0.03)))
            fail_msg("way %d: loss %f instead of %f, gradients apart by %g", i, found, loss, apart);
        close_trained(&other);
    }
    close_trained(&t);
}

/* A model of the wrong kind, windows that are too long. */
static void refusals(void **state)
{
    (void)state;
    sterna_error err = {0};
    trained t;
    assert_int_equal(try_open(&t, "bitnet-online", "hf", &exact, true, &err),
                     STERNA_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "BitNet"));
    close_trained(&t);
    sterna_network_options wide = exact;
    wide.length = 1 << 20;
    assert_int_equal(try_open(&t, "llama", "hf", &wide, true, &err), STERNA_ERROR_ARGUMENT);
    close_trained(&t);
}

/* Every allocation fails once. */
static void memory(void **state)
{
    (void)state;
    sterna_network_options small = exact;
    small.threads = 1;
    small.features = sterna_cpu_features();
    for (long n = 0;; n++) {
        sterna_error err = {0};
        trained t;
        sterna_alloc_fail_after(-1);
        sterna_alloc_fail_after(n);
        sterna_status status = try_open(&t, "gemma3", "model.gguf", &small, false, &err);
        sterna_alloc_fail_after(-1);
        close_trained(&t);
        if (!status) break;
        assert_int_equal(status, STERNA_ERROR_MEMORY);
        assert_true(n < 2000);
    }
}

/* ---- products ---- */

static float value_of(const sterna_operand *o, size_t i, size_t k)
{
    return o->transposed ? o->x[k * o->stride + i] : o->x[i * o->stride + k];
}

static void products(void **state)
{
    (void)state;
    static float x[300 * 700], y[200 * 700], c[300 * 210];
    sterna_rng rng;
    sterna_rng_seed(&rng, 3);
    for (size_t i = 0; i < sizeof x / 4; i++) x[i] = (float)(sterna_rng_double(&rng) - 0.5);
    for (size_t i = 0; i < sizeof y / 4; i++) y[i] = (float)(sterna_rng_double(&rng) - 0.5);
    for (int way = 0; way < 20; way++) {
        size_t rows = 1 + sterna_rng_u64(&rng) % 300, cols = 1 + sterna_rng_u64(&rng) % 200,
               depth = 1 + sterna_rng_u64(&rng) % 700;
        bool left = way & 1, right = way & 2, upper = way >= 16, add = way & 4 || upper;
        const sterna_operand a = {x, rows, depth, left ? rows : depth, left};
        const sterna_operand b = {y, cols, depth, right ? cols : depth, right};
        sterna_multiplier m;
        sterna_packed pa = {0}, pb = {0};
        sterna_multiplier_init(&m, sterna_cpu_features(), 2, (way & 8) || way >= 18);
        assert_int_equal(sterna_pack(&m, &pa, STERNA_LEFT, &a, NULL), STERNA_OK);
        assert_int_equal(sterna_pack(&m, &pb, STERNA_RIGHT, &b, NULL), STERNA_OK);
        for (size_t i = 0; i < sizeof c / 4; i++) c[i] = 0.5f;
        if (upper)
            sterna_multiply_upper(&m, &pa, &pb, c, 210);
        else
            sterna_multiply(&m, &pa, &pb, add, c, 210);
        for (size_t i = 0; i < rows; i += 7)
            for (size_t j = upper ? i : 0; j < 210; j++) {
                double want = add || j >= cols ? 0.5 : 0;
                for (size_t k = 0; j < cols && k < depth; k++)
                    want += (double)value_of(&a, i, k) * (double)value_of(&b, j, k);
                if (!(fabs((double)c[i * 210 + j] - want) <= (m.bf16 ? 0.05 : 1e-4)))
                    fail_msg("way %d: c[%zu][%zu] = %f, not %f", way, i, j, (double)c[i * 210 + j],
                             want);
            }
        sterna_packed_free(&pa);
        sterna_packed_free(&pb);
    }
}

/* ---- the optimizer ---- */

/* Towards another network: a copy whose scales were changed finds the way back. */
static void optimizer(void **state)
{
    (void)state;
    trained t = open_trained("llama", "model.gguf", &exact, false);
    run(&t, false);
    memcpy(t.teacher, t.hidden, (size_t)TOKENS * t.net->config->width * sizeof(float));
    assert_true(fabs(run(&t, true)) < 1e-6);
    for (int kind = 0; kind < STERNA_MATRICES; kind++) walk_kind(&t, kind, 0.3f);
    double start = run(&t, true), end = start;
    sterna_adam adam;
    assert_int_equal(sterna_adam_new(&adam, t.net, NULL), STERNA_OK);
    enum { STEPS = 60 };
    for (uint64_t i = 0; i < STEPS; i++) {
        sterna_adam_step(&adam, t.net, 0.02f * sterna_schedule(i, STEPS));
        end = run(&t, true);
    }
    if (!(start > 0.05) || !(end < 0.1 * start)) fail_msg("KL %f at first, %f at last", start, end);
    sterna_adam_free(&adam);
    close_trained(&t);
    assert_true(sterna_schedule(0, 100) == 0.1f && sterna_schedule(30, 100) == 1);
    assert_true(fabsf(sterna_schedule(80, 100) - 0.5f) < 1e-6f);
    assert_true(sterna_schedule(99, 100) == 0.03f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),   cmocka_unit_test(goldens),  cmocka_unit_test(differences),
        cmocka_unit_test(other_ways), cmocka_unit_test(refusals), cmocka_unit_test(memory),
        cmocka_unit_test(optimizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
