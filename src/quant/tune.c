#include "quant/tune.h"

#include <cblas.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "quant/fitter.h"
#include "train/tuning.h"

sterna_tune_settings sterna_tune_usual(void)
{
    return (sterna_tune_settings){.tokens = 131072, .rate = 3e-3f, .threads = 1};
}

size_t sterna_tune_within(size_t tokens, double seconds)
{
    size_t fewest = tokens < STERNA_TUNE_FEWEST_TOKENS ? tokens : STERNA_TUNE_FEWEST_TOKENS;
    for (; tokens > 0 && seconds > STERNA_TUNE_MOST_SECONDS; seconds /= 2) tokens /= 2;
    return tokens < fewest ? 0 : tokens;
}

/* A matrix of the network that is made of an item's rows. */
typedef struct tuned_matrix {
    sterna_linear *linear;
    sterna_item *item;
} tuned_matrix;

typedef struct tuner {
    const sterna_tune_settings *settings;
    sterna_item *items;
    size_t n_items;
    const sterna_hadamard_rules *rules;
    sterna_tuned *facts;
    sterna_error *err;
    sterna_network *teacher, *student;
    sterna_pupil pupil;
    tuned_matrix *matrices; /* [n_matrices] */
    size_t n_matrices;
    uint8_t **before; /* [n_items]: what `packed` was at the start; NULL: not tuned */
    int32_t *ids;     /* [windows][length]: to learn from, then those held out */
    size_t windows, held, length;
    char stage[64];
} tuner;

/* ---- windows ---- */

/* Every so many-th window is held out, of text and of what the model wrote alike. */
static sterna_status split_windows(tuner *t, const sterna_calibration *text,
                                   const sterna_calibration *written)
{
    size_t all = text->windows + written->generated, ids, learn = 0, held = 0;
    t->length = text->length;
    t->held = all / 8 < STERNA_TUNE_HELD_WINDOWS ? all / 8 : STERNA_TUNE_HELD_WINDOWS;
    t->windows = all - t->held;
    if (!sterna_mul_size(all, t->length, &ids) || !(t->ids = sterna_alloc(ids, sizeof *t->ids)))
        return sterna_fail_memory(t->err, "the windows to tune with");
    const int32_t *wrote = written->ids + (written->windows - written->generated) * written->length;
    for (size_t i = 0; i < all; i++) {
        const int32_t *from =
            i < text->windows ? text->ids + i * t->length : wrote + (i - text->windows) * t->length;
        bool out = held < t->held && i == (2 * held + 1) * all / (2 * t->held);
        size_t to = out ? t->windows + held++ : learn++;
        memcpy(t->ids + to * t->length, from, t->length * sizeof *t->ids);
    }
    return STERNA_OK;
}

/* ---- the student ---- */

static sterna_hadamard transform_of(const tuner *t, uint64_t width)
{
    for (size_t i = 0; i < t->rules->n_widths; i++)
        if (t->rules->widths[i].width == width)
            return (sterna_hadamard){t->rules->widths[i].block, t->rules->widths[i].signs};
    return (sterna_hadamard){0};
}

static bool is_ternary(const sterna_item *item)
{
    return sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
}

/* One matrix as it was made; factors on its groups where it has groups of its own. */
static sterna_status place_matrix(tuner *t, sterna_linear *l)
{
    sterna_matrix_place place = {&l->tensor, l->first_row, l->rows};
    sterna_fit_rows found = {0};
    sterna_fit_find(t->items, t->n_items, &place, &found);
    sterna_item *item = found.item;
    if (!item || item->verb != STERNA_VERB_READY) return STERNA_OK;
    l->tensor = sterna_item_output(item);
    if (item->type != STERNA_TYPE_NATIVE) l->tensor.data = item->packed;
    l->first_row = found.item_row;
    l->factor = 1;
    l->hadamard = transform_of(t, l->cols);
    if (!is_ternary(item) || item->form.group == 0) return STERNA_OK;
    uint32_t outliers = sterna_tensor_outliers(&l->tensor);
    if (outliers) {
        l->fixed = sterna_alloc(outliers, sizeof *l->fixed);
        if (!l->fixed) return sterna_fail_memory(t->err, item->name);
        l->n_fixed = outliers;
        sterna_tensor_outlier_columns(&l->tensor, l->fixed);
    }
    t->matrices[t->n_matrices++] = (tuned_matrix){l, item};
    return sterna_linear_train(l, item->form.group, t->err);
}

/* The item of a norm, where the output holds its gains as they are. */
static sterna_item *norm_item(const tuner *t, const sterna_gain *gain)
{
    for (size_t i = 0; i < t->n_items; i++) {
        sterna_item *item = &t->items[i];
        if (item->tensor == gain->tensor)
            return item->type == STERNA_TYPE_F32 && !item->pair_heads ? item : NULL;
    }
    return NULL;
}

static sterna_status train_norm(tuner *t, sterna_gain *gain)
{
    return gain->tensor && norm_item(t, gain) ? sterna_gain_train(gain, t->err) : STERNA_OK;
}

static sterna_status make_student(tuner *t)
{
    sterna_network *net = t->student;
    sterna_status status = STERNA_OK;
    t->matrices =
        sterna_calloc((size_t)net->config->n_layers * STERNA_MATRICES, sizeof *t->matrices);
    t->before = sterna_calloc(t->n_items, sizeof *t->before);
    if (!t->matrices || !t->before) return sterna_fail_memory(t->err, "the matrices to tune");
    for (uint32_t i = 0; i < net->config->n_layers && !status; i++) {
        for (int k = 0; k < STERNA_MATRICES && !status; k++)
            status = place_matrix(t, &net->layers[i].matrices[k]);
        for (int k = 0; k < STERNA_NORMS && !status; k++)
            status = train_norm(t, &net->layers[i].norms[k]);
    }
    return status ? status : train_norm(t, &net->final_norm);
}

static sterna_status open_networks(tuner *t, const sterna_model_file *file)
{
    sterna_network_options options = {.windows =
                                          (STERNA_TUNE_STEP_TOKENS + t->length - 1) / t->length,
                                      .length = t->length,
                                      .keep_bytes = STERNA_TUNE_KEEP_BYTES,
                                      .threads = t->settings->threads};
    sterna_status status = sterna_cpu_level("auto", &options.features, t->err);
    if (!status) status = sterna_network_open(file, &options, &t->teacher, t->err);
    options.backward = true;
    if (!status) status = sterna_network_open(file, &options, &t->student, t->err);
    if (!status) status = make_student(t);
    if (!status) status = sterna_pupil_new(&t->pupil, t->teacher, t->student, t->err);
    return status;
}

/* ---- storing ---- */

/* A row of an item; scales, shifts and second scales stand at their first column's group. */
typedef struct row_parts {
    int8_t *trits, *trits2, *codes;
    float *scales, *shifts, *scales2, *outlier_scales;
} row_parts;

static bool new_row(row_parts *r, size_t cols)
{
    *r = (row_parts){sterna_alloc(cols, 1),
                     sterna_alloc(cols, 1),
                     sterna_alloc(cols, 1),
                     sterna_alloc(cols, sizeof(float)),
                     sterna_alloc(cols, sizeof(float)),
                     sterna_alloc(cols, sizeof(float)),
                     sterna_alloc(cols, sizeof(float))};
    return r->trits && r->trits2 && r->codes && r->scales && r->shifts && r->scales2 &&
           r->outlier_scales;
}

static void free_row(row_parts *r)
{
    sterna_free(r->trits);
    sterna_free(r->trits2);
    sterna_free(r->codes);
    sterna_free(r->scales);
    sterna_free(r->shifts);
    sterna_free(r->scales2);
    sterna_free(r->outlier_scales);
}

/* Scales times their factors. The layout may repeat a scale of the form in several blocks of its
 * own: they are read from the first and stay equal. */
static void store_row(const tuned_matrix *m, size_t row, row_parts *r)
{
    const sterna_linear *l = m->linear;
    const sterna_tensor *tensor = &l->tensor;
    uint64_t at = l->first_row + row, own = sterna_tensor_group(tensor);
    size_t groups = (l->cols + l->group - 1) / l->group;
    const float *factor = l->factors.factor + row * groups;
    sterna_tensor_row_trits(tensor, at, r->trits, r->scales);
    sterna_tensor_row_shifts(tensor, at, r->shifts);
    sterna_tensor_row_plane2(tensor, at, r->trits2, r->scales2);
    sterna_tensor_row_outliers(tensor, at, r->codes, r->outlier_scales);
    for (size_t g = 0; g < groups; g++) {
        size_t first = (size_t)(g * l->group / own);
        r->scales[g] = sterna_fit_round((double)(r->scales[first] * factor[g]));
        r->shifts[g] = sterna_fit_round((double)(r->shifts[first] * factor[g]));
        r->scales2[g] = sterna_fit_round((double)(r->scales2[first] * factor[g]));
    }
    const sterna_ternary_row values = {.trits = r->trits,
                                       .scales = r->scales,
                                       .shifts = r->shifts,
                                       .trits2 = r->trits2,
                                       .scales2 = r->scales2,
                                       .outlier_codes = r->codes,
                                       .outlier_scales = r->outlier_scales};
    sterna_item_store(m->item, at, &values);
}

static sterna_status keep_before(tuner *t, const sterna_item *item)
{
    size_t i = (size_t)(item - t->items), bytes = (size_t)sterna_item_bytes(item);
    if (t->before[i]) return STERNA_OK; /* another part of it came first */
    t->before[i] = sterna_alloc(bytes, 1);
    if (!t->before[i]) return sterna_fail_memory(t->err, item->name);
    memcpy(t->before[i], item->packed, bytes);
    return STERNA_OK;
}

/* The matrices with their factors in the stored scales, which become 1. */
static sterna_status store_matrices(tuner *t)
{
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < t->n_matrices && !status; i++) {
        const tuned_matrix *m = &t->matrices[i];
        row_parts row = {0};
        status = keep_before(t, m->item);
        if (!status && !new_row(&row, m->linear->cols))
            status = sterna_fail_memory(t->err, "a tensor's row");
        for (size_t r = 0; r < m->linear->rows && !status; r++) store_row(m, r, &row);
        free_row(&row);
        memset(m->linear->factors.log, 0, m->linear->factors.count * sizeof(float));
    }
    sterna_network_refresh(t->student);
    return status;
}

static void restore_matrices(tuner *t)
{
    for (size_t i = 0; i < t->n_items; i++)
        if (t->before[i])
            memcpy(t->items[i].packed, t->before[i], (size_t)sterna_item_bytes(&t->items[i]));
}

static sterna_status store_norm(tuner *t, const sterna_gain *gain)
{
    if (gain->factors.count == 0) return STERNA_OK;
    sterna_item *item = norm_item(t, gain);
    float *values = sterna_alloc(gain->count, sizeof *values);
    if (!values) return sterna_fail_memory(t->err, item->name);
    for (size_t i = 0; i < gain->count; i++)
        values[i] = gain->value[i] - t->student->config->norm_shift + item->shift;
    item->packed = (uint8_t *)values;
    item->verb = STERNA_VERB_READY;
    return STERNA_OK;
}

static sterna_status store_norms(tuner *t)
{
    sterna_network *net = t->student;
    sterna_status status = store_norm(t, &net->final_norm);
    for (uint32_t i = 0; i < net->config->n_layers && !status; i++)
        for (int k = 0; k < STERNA_NORMS && !status; k++)
            status = store_norm(t, &net->layers[i].norms[k]);
    return status;
}

/* ---- the whole ---- */

static sterna_status run(tuner *t, const sterna_tuning *tuning)
{
    sterna_tuned *f = t->facts;
    double start = sterna_now();
    sterna_status status = sterna_tuning_run(&t->pupil, tuning, t->err);
    if (!status) status = store_matrices(t);
    if (!status)
        status =
            sterna_tuning_measure(&t->pupil, tuning->held, tuning->held_windows, &f->after, t->err);
    f->seconds = sterna_now() - start;
    f->kept = !status && f->after < f->before;
    if (!status && f->kept) status = store_norms(t);
    if (!status && !f->kept) restore_matrices(t);
    return status;
}

static size_t step_tokens(const tuner *t)
{
    return t->student->options.windows * t->length;
}

static sterna_status measure_and_run(tuner *t)
{
    const sterna_tune_settings *s = t->settings;
    sterna_tuned *f = t->facts;
    size_t step = step_tokens(t);
    const sterna_tuning tuning = {.ids = t->ids,
                                  .windows = t->windows,
                                  .held = t->ids + t->windows * t->length,
                                  .held_windows = t->held,
                                  .steps = (s->tokens + step - 1) / step,
                                  .rate = s->rate,
                                  .stage = t->stage,
                                  .progress = s->progress,
                                  .progress_context = s->progress_context};
    double step_s = s->step_s;
    sterna_status status = STERNA_OK;
    if (step_s == 0) status = sterna_tuning_time(&t->pupil, &tuning, &step_s, t->err);
    f->predicted = step_s * (double)tuning.steps;
    f->chosen = s->tokens;
    f->tokens = (size_t)tuning.steps * step;
    f->rate = s->rate;
    f->learnt_windows = t->windows;
    f->held_windows = t->held;
    if (status) return status;
    snprintf(t->stage, sizeof t->stage, "tuning scales (about %.0f min)",
             fmax(f->predicted / 60, 1));
    status = sterna_tuning_measure(&t->pupil, tuning.held, tuning.held_windows, &f->before, t->err);
    return status ? status : run(t, &tuning);
}

static void close_tuner(tuner *t)
{
    sterna_pupil_free(&t->pupil);
    sterna_network_close(t->student);
    sterna_network_close(t->teacher);
    for (size_t i = 0; t->before && i < t->n_items; i++) sterna_free(t->before[i]);
    sterna_free(t->before);
    sterna_free(t->matrices);
    sterna_free(t->ids);
}

/* What the measured time of a step allows. */
static void shorten(tuner *t, sterna_tune_settings *settings)
{
    sterna_tuned *f = t->facts;
    size_t step = step_tokens(t), usual = settings->tokens;
    double predicted = settings->step_s * (double)((usual + step - 1) / step);
    settings->tokens = sterna_tune_within(usual, predicted);
    if (settings->tokens < usual) f->shorter = usual;
    if (settings->tokens > 0) return;
    f->tokens = usual;
    f->predicted = predicted;
    f->skipped = "even 16k tokens would have taken more than ten minutes";
}

sterna_status sterna_tune_shorten(const sterna_model_file *file, const sterna_calibration *written,
                                  sterna_tune_settings *settings, sterna_item *items,
                                  size_t n_items, const sterna_hadamard_rules *rules,
                                  sterna_facts *facts, sterna_error *err)
{
    tuner t = {.settings = settings,
               .items = items,
               .n_items = n_items,
               .rules = rules,
               .facts = &facts->tuning,
               .length = written->length,
               .err = err};
    const sterna_tuning tuning = {.ids = written->ids, .windows = written->windows};
    int blas = openblas_get_num_threads();
    openblas_set_num_threads(1); /* as sterna_tune */
    sterna_status status = open_networks(&t, file);
    if (!status) status = sterna_tuning_time(&t.pupil, &tuning, &settings->step_s, err);
    if (!status) shorten(&t, settings);
    close_tuner(&t);
    openblas_set_num_threads(blas);
    return status;
}

sterna_status sterna_tune(const sterna_model_file *file, const sterna_calibration *text,
                          const sterna_calibration *written, const sterna_tune_settings *settings,
                          sterna_item *items, size_t n_items, const sterna_hadamard_rules *rules,
                          sterna_facts *facts, sterna_error *err)
{
    tuner t = {.settings = settings,
               .items = items,
               .n_items = n_items,
               .rules = rules,
               .facts = &facts->tuning,
               .err = err};
    int blas = openblas_get_num_threads();
    openblas_set_num_threads(1); /* products of attention are one thread's each */
    sterna_status status = split_windows(&t, text, written);
    if (!status && t.held) status = open_networks(&t, file);
    if (!status && t.held) status = measure_and_run(&t);
    close_tuner(&t);
    openblas_set_num_threads(blas);
    sterna_facts_stage(facts, "tuning");
    return status;
}
