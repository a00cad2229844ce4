#include "quant/sensitivity.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "model/model.h"
#include "quant/balance.h"
#include "quant/moments.h"
#include "quant/ranks.h"
#include "quant/rotate.h"
#include "run/likelihood.h"

enum { INPUTS = 4 }; /* matmul inputs of a layer */

/* The stages that leave an input, and the matrices that take it. */
static const struct {
    sterna_stage stage;
    sterna_matrix first, last;
    bool to_residual; /* the product is added to the residual stream by the next stage */
} inputs[INPUTS] = {
    {STERNA_STAGE_ATTENTION_IN, STERNA_MATRIX_Q, STERNA_MATRIX_V, false},
    {STERNA_STAGE_ATTENTION_MIX, STERNA_MATRIX_OUT, STERNA_MATRIX_OUT, true},
    {STERNA_STAGE_FFN_IN, STERNA_MATRIX_GATE, STERNA_MATRIX_UP, false},
    {STERNA_STAGE_FFN_MIX, STERNA_MATRIX_DOWN, STERNA_MATRIX_DOWN, true},
};

typedef struct probe {
    const sterna_model_file *file;
    const sterna_calibration *calibration;
    const sterna_propagation *settings;
    sterna_item *items;
    size_t n_items;
    sterna_error *err;
    sterna_device *device;
    sterna_decoder *decoder;
    sterna_workspace *workspace;
    sterna_kv *kv;
    sterna_batch_place *places; /* [length] */
    uint32_t *lengths;          /* [length] */
    size_t gathered;            /* windows that give the moments, unless there are none */
    size_t predicted;           /* windows behind them, whose predictions are compared */
    size_t span;                /* tokens of each of those that are run, */
    size_t scored;              /* and compared: the last ones */
    uint32_t known;             /* layers that an interrupted run has measured */
    float *x;           /* [gathered + predicted][length][width]: the full stream before a layer */
    float *next;        /* [predicted][length][width]: behind that layer */
    float *base;        /* [predicted][scored][vocabulary]: the full model's logits */
    float *logits;      /* [scored][vocabulary] */
    double *divergence; /* [scored] */
    sterna_moment_adder *adder;
    float *h[INPUTS]; /* [cols][cols]: second moments of a layer's inputs */
    size_t cols[INPUTS];
    float *input;   /* [length][widest] */
    float *stream;  /* [length][width]: the residual stream behind a product */
    float *factors; /* [length] */
    sterna_hadamard_rules rules;
} probe;

static const sterna_config *config_of(const probe *p)
{
    return sterna_decoder_config(p->decoder);
}

/* Which window of the calibration: those that are predicted lie evenly spread, the others evenly
 * among the rest. */
static size_t window_of(const probe *p, size_t window)
{
    size_t all = p->calibration->windows, which;
    if (window >= p->gathered) return (2 * (window - p->gathered) + 1) * all / (2 * p->predicted);
    which = window * (all - p->predicted) / p->gathered;
    for (size_t w = p->gathered; w < p->gathered + p->predicted; w++)
        which += which >= window_of(p, w);
    return which;
}

static sterna_forward call_of(const probe *p, size_t window)
{
    return (sterna_forward){.ids =
                                p->calibration->ids + window_of(p, window) * p->calibration->length,
                            .places = p->places,
                            .lengths = p->lengths,
                            .n = window < p->gathered ? p->calibration->length : p->span};
}

static size_t state_bytes(const probe *p)
{
    return p->calibration->length * config_of(p)->width * sizeof(float);
}

static float *state(const probe *p, size_t window)
{
    return p->x + window * p->calibration->length * config_of(p)->width;
}

static void load_state(const probe *p, size_t window)
{
    p->device->upload(p->device, sterna_workspace_stream(p->workspace), state(p, window),
                      state_bytes(p));
}

static void save_state(const probe *p, float *to)
{
    p->device->download(p->device, to, sterna_workspace_stream(p->workspace), state_bytes(p));
}

static void run_layers(const probe *p, const sterna_forward *call, uint32_t from)
{
    for (uint32_t layer = from; layer < config_of(p)->n_layers; layer++)
        for (int stage = 0; stage < STERNA_STAGES; stage++)
            sterna_decoder_stage(p->workspace, call, layer, (sterna_stage)stage);
}

/* Logits of the last tokens of the window that has just run. */
static void get_logits(const probe *p, float *out)
{
    sterna_decoder_logits(p->workspace, p->span - p->scored, p->scored, out, NULL);
}

/* ---- the full model ---- */

static void run_full(const probe *p)
{
    size_t vocabulary = config_of(p)->vocabulary;
    for (size_t w = 0; w < p->gathered + p->predicted; w++) {
        const sterna_forward call = call_of(p, w);
        sterna_decoder_begin(p->workspace, &call);
        save_state(p, state(p, w));
        if (w < p->gathered) continue;
        run_layers(p, &call, 0);
        get_logits(p, p->base + (w - p->gathered) * p->scored * vocabulary);
    }
}

static size_t moment_windows(const probe *p)
{
    return p->gathered ? p->gathered : p->predicted;
}

static sterna_moments moments_of(const probe *p, int k)
{
    return (sterna_moments){.cols = p->cols[k], .h = p->h[k]};
}

/* A window's share of the second moments of input k; where the product goes to the residual stream,
 * that has moved on behind it. */
static sterna_status add_moment(const probe *p, int k, size_t tokens)
{
    if (inputs[k].to_residual && p->settings->balance) {
        save_state(p, p->stream);
        sterna_balance_factors(p->stream, tokens, config_of(p)->width, p->factors);
        sterna_balance(p->input, tokens, p->cols[k], p->factors);
    }
    const sterna_moments m = moments_of(p, k);
    return sterna_moments_add(p->adder, &m, p->input, NULL, NULL, tokens, p->err);
}

/* Runs a layer of the full model for a window: its share of the second moments of all inputs,
 * where it has one, and the stream behind the layer. */
static sterna_status gather_window(probe *p, uint32_t layer, size_t w)
{
    const sterna_forward call = call_of(p, w);
    size_t stream = p->calibration->length * config_of(p)->width;
    sterna_status status = STERNA_OK;
    int stage = 0;
    load_state(p, w);
    for (int k = 0; k < INPUTS && w < moment_windows(p) && !status; k++) {
        for (; stage <= (int)inputs[k].stage; stage++)
            sterna_decoder_stage(p->workspace, &call, layer, (sterna_stage)stage);
        p->device->download(p->device, p->input,
                            sterna_workspace_input(p->workspace, inputs[k].stage),
                            call.n * p->cols[k] * sizeof(float));
        if (inputs[k].to_residual)
            sterna_decoder_stage(p->workspace, &call, layer, (sterna_stage)stage++);
        status = add_moment(p, k, call.n);
    }
    for (; stage < STERNA_STAGES; stage++)
        sterna_decoder_stage(p->workspace, &call, layer, (sterna_stage)stage);
    save_state(p, w < p->gathered ? state(p, w) : p->next + (w - p->gathered) * stream);
    return status;
}

/* Second moments of all inputs of a layer, and the streams behind it. */
static sterna_status gather(probe *p, uint32_t layer)
{
    sterna_status status = STERNA_OK;
    size_t tokens = call_of(p, 0).n * moment_windows(p);
    p->cols[INPUTS - 1] = config_of(p)->layers[layer].ffn_width;
    for (int k = 0; k < INPUTS; k++) {
        const sterna_moments m = moments_of(p, k);
        sterna_moments_clear(&m);
    }
    for (size_t w = 0; w < p->gathered + p->predicted && !status; w++)
        status = gather_window(p, layer, w);
    for (int k = 0; k < INPUTS && !status; k++) {
        const sterna_moments m = moments_of(p, k);
        sterna_moments_mirror(&m, 1 / (float)tokens);
    }
    return status;
}

/* ---- one matrix ---- */

/* KL(full || with what has been put into the layer), nats a token. */
static double divergence(const probe *p, uint32_t from)
{
    size_t vocabulary = config_of(p)->vocabulary;
    double sum = 0;
    for (size_t w = 0; w < p->predicted; w++) {
        const sterna_forward call = call_of(p, p->gathered + w);
        load_state(p, p->gathered + w);
        run_layers(p, &call, from);
        get_logits(p, p->logits);
#pragma omp parallel for schedule(static) num_threads(p->settings->compensation.threads)
        for (size_t i = 0; i < p->scored; i++)
            p->divergence[i] =
                sterna_divergence(p->base + (w * p->scored + i) * vocabulary,
                                  p->logits + i * vocabulary, vocabulary, NULL, NULL);
        for (size_t i = 0; i < p->scored; i++) sum += p->divergence[i];
    }
    return sum / (double)(p->predicted * p->scored);
}

/* The matrix as trits, in an item of its own. */
static sterna_status fit_quickly(probe *p, const sterna_matrix_place *place, int input,
                                 sterna_fit_rows *part, sterna_hadamard *rotation)
{
    size_t cols = p->cols[input], weights, squares;
    sterna_compensation settings = p->settings->compensation;
    settings.rounds = 0;
    float *w = sterna_mul_size((size_t)place->rows, cols, &weights)
                   ? sterna_alloc(weights, sizeof *w)
                   : NULL;
    float *h = sterna_mul_size(cols, cols, &squares) ? sterna_alloc(squares, sizeof *h) : NULL;
    sterna_status status = STERNA_OK;
    if (!w || !h) status = sterna_fail_memory(p->err, "the weights of a layer");
    if (!status && p->settings->rotate)
        status = sterna_rotation_of(&p->rules, cols, rotation, p->err);
    if (!status) {
        for (uint64_t r = 0; r < place->rows; r++)
            sterna_tensor_row(place->tensor, place->first_row + r, w + r * cols);
        memcpy(h, p->h[input], squares * sizeof *h);
        sterna_rotate_rows(w, (size_t)place->rows, cols, rotation, settings.threads);
        sterna_rotate_square(h, cols, rotation, settings.threads);
        status = sterna_fit_items(p->settings->fitter, part, 1, w, cols, h, &settings, p->err);
    }
    sterna_free(w);
    sterna_free(h);
    return status;
}

static sterna_status set_matrix(const probe *p, uint32_t layer, sterna_matrix matrix,
                                const sterna_tensor *tensor, sterna_weight_options options)
{
    return sterna_decoder_set_matrix(p->decoder, layer, matrix, tensor, &options, p->err);
}

/* Puts the matrix in as trits, measures, and puts it back. */
static sterna_status probe_matrix(probe *p, uint32_t layer, sterna_matrix matrix, int input)
{
    sterna_matrix_place place;
    sterna_fit_rows part;
    sterna_hadamard rotation = {0};
    sterna_status status =
        sterna_decoder_find_matrix(p->decoder, p->file, layer, matrix, &place, p->err);
    if (status || !sterna_fit_find(p->items, p->n_items, &place, &part)) return status;
    sterna_item *item = part.item, trial = *part.item;
    trial.packed = NULL;
    part.item = &trial;
    status = fit_quickly(p, &place, input, &part, &rotation);
    if (!status) {
        sterna_tensor made = sterna_item_output(&trial);
        status = set_matrix(p, layer, matrix, &made,
                            (sterna_weight_options){.activation = config_of(p)->activation,
                                                    .first_row = part.item_row,
                                                    .rows = part.rows,
                                                    .hadamard = rotation});
    }
    if (!status) {
        item->sensitivity += fmax(divergence(p, layer), 1e-12); /* measured, if only just */
        status = set_matrix(p, layer, matrix, place.tensor,
                            (sterna_weight_options){.activation = STERNA_ACT_AUTO,
                                                    .first_row = place.first_row,
                                                    .rows = place.rows});
    }
    sterna_free(trial.packed);
    sterna_model_file_release(p->file, place.tensor);
    if (status) sterna_fail_prefix(p->err, "%s: tensor '%s'", p->file->path, item->name);
    return status;
}

static sterna_status report(const probe *p, double layers)
{
    const sterna_propagation *s = p->settings;
    if (!s->progress ||
        s->progress(s->progress_context, "measuring sensitivities", layers, config_of(p)->n_layers))
        return STERNA_OK;
    return sterna_fail(p->err, STERNA_ERROR_CANCELLED,
                       "quantizing was cancelled; nothing was written");
}

static sterna_status probe_layer(probe *p, uint32_t layer)
{
    sterna_journal *journal = p->settings->journal;
    bool known = layer < p->known;
    sterna_status status = gather(p, layer);
    for (int k = 0; k < INPUTS && !known && !status; k++) {
        if ((layer + (size_t)k) % sterna_ranks() != sterna_rank()) continue;
        for (int m = (int)inputs[k].first; m <= (int)inputs[k].last && !status; m++)
            status = probe_matrix(p, layer, (sterna_matrix)m, k);
    }
    memcpy(state(p, p->gathered), p->next, p->predicted * state_bytes(p));
    if (!status && !known && journal)
        status = sterna_journal_put_sensitivities(journal, p->items, p->n_items, layer + 1, p->err);
    return status ? status : report(p, layer + 1);
}

/* ---- the whole ---- */

/* Every process gets what the others have measured. */
static sterna_status merge(const probe *p)
{
    if (sterna_ranks() == 1) return STERNA_OK;
    double *all = sterna_alloc(p->n_items, sizeof *all);
    if (!all) return sterna_fail_memory(p->err, "the sensitivities of a model");
    for (size_t i = 0; i < p->n_items; i++) all[i] = p->items[i].sensitivity;
    sterna_ranks_sum(all, p->n_items);
    for (size_t i = 0; i < p->n_items; i++) p->items[i].sensitivity = all[i];
    sterna_free(all);
    return STERNA_OK;
}

static sterna_status allocate(probe *p)
{
    const sterna_config *config = config_of(p);
    size_t length = p->calibration->length, widest = config->width, ffn = 0;
    size_t heads = (size_t)config->heads * config->head_dim;
    for (uint32_t i = 0; i < config->n_layers; i++)
        if (config->layers[i].ffn_width > ffn) ffn = config->layers[i].ffn_width;
    if (heads > widest) widest = heads;
    if (ffn > widest) widest = ffn;
    const size_t cols[INPUTS] = {config->width, heads, config->width, ffn};
    bool complete = true;
    for (int k = 0; k < INPUTS; k++) {
        p->h[k] = sterna_alloc_floats(cols[k], cols[k]);
        p->cols[k] = cols[k];
        complete &= p->h[k] != NULL;
    }
    size_t all = p->calibration->windows, half = all / 2 ? all / 2 : 1;
    p->predicted = half < STERNA_SENSITIVITY_PREDICTED ? half : STERNA_SENSITIVITY_PREDICTED;
    p->gathered = all - p->predicted < STERNA_SENSITIVITY_GATHERED ? all - p->predicted
                                                                   : STERNA_SENSITIVITY_GATHERED;
    p->span = length - length / 2;
    p->scored = p->span - p->span / 2;
    p->places = sterna_alloc(length, sizeof *p->places);
    p->lengths = sterna_alloc(length, sizeof *p->lengths);
    p->x = sterna_alloc_floats((p->gathered + p->predicted) * length, config->width);
    p->next = sterna_alloc_floats(p->predicted * length, config->width);
    p->base = sterna_alloc_floats(p->predicted * p->scored, config->vocabulary);
    p->logits = sterna_alloc_floats(p->scored, config->vocabulary);
    p->divergence = sterna_alloc(p->scored, sizeof *p->divergence);
    p->input = sterna_alloc_floats(length, widest);
    p->stream = sterna_alloc_floats(length, config->width);
    p->factors = sterna_alloc_floats(length, 1);
    if (!complete || !p->places || !p->lengths || !p->x || !p->next || !p->base || !p->logits ||
        !p->divergence || !p->input || !p->stream || !p->factors)
        return sterna_fail_memory(p->err, "the sensitivities of a model");
    for (size_t i = 0; i < length; i++) {
        p->places[i] = (sterna_batch_place){p->kv, (uint32_t)i};
        p->lengths[i] = (uint32_t)length;
    }
    return STERNA_OK;
}

static sterna_status open_model(probe *p)
{
    const sterna_decoder_options options = {0};
    uint32_t length = (uint32_t)p->calibration->length;
    sterna_status status = sterna_decoder_load(p->file, p->device, &options, &p->decoder, p->err);
    if (status) return status;
    const sterna_config *config = config_of(p);
    status = sterna_workspace_new(p->decoder, length, length, &p->workspace, p->err);
    if (!status)
        status = p->device->kv_new(p->device, STERNA_KV_F16, config->n_layers, config->kv_heads,
                                   config->head_dim, length, &p->kv, p->err);
    return status ? status : allocate(p);
}

static void close_model(probe *p)
{
    if (p->kv) p->device->kv_free(p->device, p->kv);
    sterna_workspace_free(p->workspace);
    sterna_decoder_free(p->decoder);
    for (int k = 0; k < INPUTS; k++) sterna_free(p->h[k]);
    sterna_free(p->places);
    sterna_free(p->lengths);
    sterna_free(p->x);
    sterna_free(p->next);
    sterna_free(p->base);
    sterna_free(p->logits);
    sterna_free(p->divergence);
    sterna_free(p->input);
    sterna_free(p->stream);
    sterna_free(p->factors);
    sterna_hadamard_free(&p->rules);
}

sterna_status sterna_sensitivity(const sterna_model_file *file,
                                 const sterna_calibration *calibration,
                                 const sterna_propagation *settings, sterna_item *items,
                                 size_t n_items, sterna_error *err)
{
    probe p = {.file = file,
               .calibration = calibration,
               .settings = settings,
               .items = items,
               .n_items = n_items,
               .err = err};
    sterna_moment_adder adder;
    sterna_cpu_options cpu = {.threads = settings->compensation.threads};
    int blas = openblas_get_num_threads();
    sterna_status status = sterna_cpu_level("auto", &cpu.features, err);
    if (!status) status = sterna_device_cpu_open(&cpu, &p.device, err);
    if (status) return status;
    sterna_moment_adder_init(&adder, cpu.features, cpu.threads);
    p.adder = &adder;
    openblas_set_num_threads(settings->compensation.threads);
    if (settings->journal)
        p.known = sterna_journal_get_sensitivities(settings->journal, items, n_items);
    status = open_model(&p);
    bool finished = !status && p.known == config_of(&p)->n_layers;
    if (!status && !finished) run_full(&p);
    for (uint32_t layer = 0; !status && !finished && layer < config_of(&p)->n_layers; layer++)
        status = probe_layer(&p, layer);
    if (!status) status = merge(&p);
    close_model(&p);
    sterna_moment_adder_free(&adder);
    p.device->close(p.device);
    openblas_set_num_threads(blas);
    return status;
}
