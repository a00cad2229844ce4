#include "quant/predict.h"

#include <math.h>
#include <stdio.h>

#include "quant/sensitivity.h"
#include "quant/tune.h"
#include "train/distil.h"

/* The process itself, the libraries and their buffers. */
static const double PROCESS_BYTES = 60e6;
/* What the parts take beside their products at the measured rates (a fit: 8 r c^2 + c^3), from runs
 * of SmolLM2-135M (docs/QUANTIZATION.md); but for tuning, narrow() times as much. */
static const double FIT_WORK = 3.2, QUICK_FIT_WORK = 1.1, MOMENT_WORK = 0.7, STREAM_WORK = 0.43,
                    WRITE_WORK = 0.54, READ_WORK = 0.6, TUNE_WORK = 2.0;

/* Products with few columns are slower: 2.5 times as slow with 576, 1.1 times with 8,960. */
static double narrow(double cols)
{
    return 1 + 840 / cols;
}

/* The matrices that share an input, of one layer. */
typedef struct shape {
    double rows, cols;
    bool to_residual;
} shape;

static size_t layer_shapes(const sterna_config *c, uint32_t layer, shape out[4])
{
    double q = (double)c->heads * c->head_dim, kv = (double)c->kv_heads * c->head_dim,
           ffn = c->layers[layer].ffn_width;
    out[0] = (shape){q + 2 * kv, c->width, false};
    out[1] = (shape){c->width, q, true};
    out[2] = (shape){2 * ffn, c->width, false};
    out[3] = (shape){c->width, ffn, true};
    return 4;
}

/* The sizes that the sums below are made of. */
typedef struct sizes {
    double width, q, kv, ffn, widest, layers; /* ffn: the largest; widest: of any input */
    double table;                             /* weights of the embedding, or of the head */
    double weights, most;                     /* of all layers, of the largest one */
    double matrix;                            /* weights of the largest matrix */
    double fit;                               /* bytes of the largest fit */
} sizes;

static sizes sizes_of(const sterna_config *c)
{
    sizes s = {.width = c->width,
               .q = (double)c->heads * c->head_dim,
               .kv = (double)c->kv_heads * c->head_dim,
               .layers = c->n_layers,
               .table = (double)c->vocabulary * c->width};
    for (uint32_t l = 0; l < c->n_layers; l++) {
        shape shapes[4];
        double sum = 0;
        for (size_t i = 0, n = layer_shapes(c, l, shapes); i < n; i++) {
            double r = shapes[i].rows, cols = shapes[i].cols;
            s.fit = fmax(s.fit, 9 * r * cols + 8 * cols * cols);
            sum += r * cols;
        }
        s.weights += sum;
        s.most = fmax(s.most, sum);
        s.ffn = fmax(s.ffn, c->layers[l].ffn_width);
    }
    s.widest = fmax(s.width, fmax(s.q, s.ffn));
    s.matrix = s.width * fmax(s.q, s.ffn);
    return s;
}

/* ---- memory ---- */

static double workspace_bytes(const sizes *s, double tokens)
{
    return 4 * tokens * (3 * s->width + 2 * s->q + 2 * s->kv + 2 * s->ffn);
}

static double cache_bytes(const sizes *s, double tokens)
{
    return 4 * s->kv * tokens * s->layers;
}

static void predict_fit(const sterna_workload *w, const sizes *s, sterna_prediction *out)
{
    double held = fmax(s->q, s->ffn), cache = cache_bytes(s, w->length);
    out->per_token = 8 * s->width + 4 * held;
    out->layers_bytes = PROCESS_BYTES + out->per_token * w->tokens + 4 * s->widest * s->widest +
                        4 * s->width * s->width + s->fit + 2.5 * s->most + 4.5 * s->table +
                        2 * workspace_bytes(s, w->length) + 2 * cache + 8 * w->length * s->widest +
                        4 * w->length * s->width + w->ternary_bytes;
    if (w->text_only || w->finished) return;
    double sessions = fmin(STERNA_CALIBRATION_SESSIONS, ceil(w->own_tokens / w->length));
    out->text_bytes = PROCESS_BYTES + w->loaded_bytes + workspace_bytes(s, w->length) +
                      sessions * (cache + 4.0 * w->config.vocabulary);
}

/* Tokens of a step of tuning: whole windows. */
static double step_tokens(const sterna_workload *w)
{
    return ceil(STERNA_TUNE_STEP_TOKENS / w->length) * w->length;
}

/* Bytes of what the way back needs of a layer's activations. */
static double activation_bytes(const sterna_workload *w, const sizes *s)
{
    return 4 * step_tokens(w) *
           (2 * s->q + 2 * s->kv + w->config.heads + 3 * s->width + 2 * s->ffn);
}

/* Layers whose activations are kept; the others go forward twice. */
static double kept_layers(const sterna_workload *w, const sizes *s)
{
    return fmin(s->layers, floor(STERNA_TUNE_KEEP_BYTES / activation_bytes(w, s)));
}

/* train/network.h has the parts of a network, train/distil.h those of the head. The file is read
 * over and over, so that its pages count. */
static double tuning_bytes(const sterna_workload *w, const sizes *s)
{
    double n = step_tokens(w), kept = kept_layers(w, s);
    double streams = 4 * n * s->width * (s->layers + 1 + 2 + 3);
    double activations = activation_bytes(w, s) * (kept + (kept < s->layers) + 1);
    double forward = 4 * n * (2 * s->widest + s->q + s->kv + s->ffn) + 6 * s->matrix;
    double back = 4 * n * (s->q + 2 * s->kv + 2 * s->ffn + 2 * s->widest + s->width) +
                  4 * STERNA_GRADIENT_ROWS * s->widest + 6 * s->matrix;
    double logits = STERNA_LOGIT_BYTES + 8.0 * w->threads * w->config.vocabulary;
    double head = 4 * s->table;
    return PROCESS_BYTES + w->source_bytes + 2 * w->ternary_bytes + 20 * w->scales +
           fmax(2 * head, head + streams + activations + 2 * forward + back + logits);
}

/* ---- time ---- */

static double fit_seconds(const sterna_workload *w)
{
    double seconds = 0;
    for (uint32_t l = w->finished; l < w->config.n_layers; l++) {
        shape shapes[4];
        for (size_t i = 0, n = layer_shapes(&w->config, l, shapes); i < n; i++) {
            double r = shapes[i].rows, cols = shapes[i].cols;
            double moments = cols * cols + (shapes[i].to_residual ? 4 * r * cols : 2 * cols * cols);
            double streams = w->tokens * 4 * r * cols * STREAM_WORK;
            double fits = FIT_WORK * (8 * r * cols * cols + cols * cols * cols);
            seconds += narrow(cols) * ((streams + fits) / w->rates.exact +
                                       w->tokens * MOMENT_WORK * moments / w->rates.fast);
        }
    }
    return seconds;
}

static double gathered_tokens(const sterna_workload *w)
{
    return fmin(w->tokens, STERNA_SENSITIVITY_GATHERED * w->length);
}

static double predicted_tokens(const sterna_workload *w)
{
    return STERNA_SENSITIVITY_PREDICTED * w->length / 2;
}

static double sensitivity_bytes(const sterna_workload *w, const sizes *s)
{
    return PROCESS_BYTES + w->loaded_bytes + s->fit + workspace_bytes(s, w->length) +
           cache_bytes(s, w->length) + 4 * (3 * s->width * s->width + s->widest * s->widest) +
           4 * s->width * (gathered_tokens(w) + 4 * predicted_tokens(w)) +
           4 * w->config.vocabulary * predicted_tokens(w);
}

/* Every matrix is fitted once in a simple way, and the model runs from its layer on. */
static double sensitivity_seconds(const sterna_workload *w, const sizes *s)
{
    const double slow = narrow(s->width);
    double work = slow * gathered_tokens(w) * STREAM_WORK * 2 * s->weights;
    double moments = 0, behind = s->weights;
    for (uint32_t l = 0; l < w->config.n_layers; l++) {
        static const int matrices[4] = {3, 1, 2, 1}; /* that share the input */
        shape shapes[4];
        double own = 0;
        for (size_t i = 0, n = layer_shapes(&w->config, l, shapes); i < n; i++) {
            double r = shapes[i].rows, cols = shapes[i].cols;
            double fits = QUICK_FIT_WORK * cols * cols * (2 * r + matrices[i] * cols);
            double reads = matrices[i] * predicted_tokens(w) * (2 * behind + s->table) * READ_WORK;
            work += narrow(cols) * fits + slow * reads;
            moments += narrow(cols) * gathered_tokens(w) * MOMENT_WORK * cols * cols;
            own += r * cols;
        }
        behind -= own;
    }
    return work / w->rates.exact + moments / w->rates.fast;
}

/* Tokens that tuning is measured with; without any there is none. */
static double held_tokens(const sterna_workload *w)
{
    double windows = (w->tune_tokens + w->own_tokens) / w->length;
    return fmin(STERNA_TUNE_HELD_WINDOWS, floor(windows / 8)) * w->length;
}

/* Of a token: two forward passes with the logits of both. */
static double pass_work(const sizes *s)
{
    return 4 * s->weights + 4 * s->table;
}

/* The same and a way back, which costs two more passes, and a third where activations are computed
 * again; the gradient of the logits. */
static double learn_work(const sterna_workload *w, const sizes *s)
{
    double again = 1 - kept_layers(w, s) / s->layers;
    return pass_work(s) + (4 + 2 * again) * s->weights + 2 * s->table;
}

/* One more step is for its time. */
static double tuning_seconds(const sterna_workload *w, const sizes *s)
{
    double n = step_tokens(w), tokens = (ceil(w->tune_tokens / n) + 1) * n;
    double work = tokens * learn_work(w, s) + 2 * held_tokens(w) * pass_work(s);
    return TUNE_WORK * work / w->rates.fast;
}

static void predict_tuning(const sterna_workload *w, const sizes *s, sterna_prediction *out)
{
    sterna_workload shortened = *w;
    double learning = TUNE_WORK * w->tune_tokens * learn_work(w, s) / w->rates.fast;
    if (w->tune_tokens == 0 || held_tokens(w) == 0) return;
    if (!w->tune_wanted)
        shortened.tune_tokens = (double)sterna_tune_within((size_t)w->tune_tokens, learning);
    if (shortened.tune_tokens < w->tune_tokens) out->all_tuning_s = tuning_seconds(w, s);
    if (shortened.tune_tokens == 0) return;
    out->tuning_tokens = shortened.tune_tokens;
    out->tuning_s = tuning_seconds(&shortened, s);
    out->tuning_bytes = tuning_bytes(w, s);
}

/* ---- the whole ---- */

sterna_prediction sterna_predict(const sterna_workload *w)
{
    sizes s = sizes_of(&w->config);
    double run = 2 * narrow(s.width) * (s.weights + s.table) / w->rates.exact;
    sterna_prediction out = {.tokens = w->tokens, .fit_s = fit_seconds(w)};
    predict_fit(w, &s, &out);
    if (!w->finished && !w->text_only) out.text_s = w->own_tokens * run * WRITE_WORK;
    if (w->sensitivities) {
        out.sensitivity_s = sensitivity_seconds(w, &s);
        out.sensitivity_bytes = sensitivity_bytes(w, &s);
    }
    predict_tuning(w, &s, &out);
    out.evaluation_s = 2 * w->evaluation_tokens * run * READ_WORK;
    if (w->evaluation_tokens > 0)
        out.evaluation_bytes = PROCESS_BYTES + w->loaded_bytes + w->written_bytes +
                               2 * (cache_bytes(&s, w->length) + workspace_bytes(&s, w->length));
    return out;
}

double sterna_prediction_bytes(const sterna_prediction *p)
{
    return fmax(fmax(fmax(p->text_bytes, p->layers_bytes), p->sensitivity_bytes),
                fmax(p->tuning_bytes, p->evaluation_bytes));
}

double sterna_prediction_seconds(const sterna_prediction *p)
{
    return p->text_s + p->sensitivity_s + p->fit_s + p->tuning_s + p->evaluation_s;
}

sterna_status sterna_prediction_check(const sterna_prediction *prediction, double available,
                                      sterna_error *err)
{
    double needed = fmax(prediction->text_bytes, prediction->layers_bytes), gb = 1e-9;
    if (needed <= available) return STERNA_OK;
    double fixed = prediction->layers_bytes - prediction->per_token * prediction->tokens;
    double fitting = floor((available - fixed) / prediction->per_token / STERNA_CALIBRATION_WINDOW);
    if (prediction->text_bytes <= available && fitting >= 1)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "quantize: calibrating with %.0f tokens needs about %.2f GB of memory, "
                           "and %.2f GB are free; fewer tokens need less: at most --tokens %.0f "
                           "fit",
                           prediction->tokens, needed * gb, available * gb,
                           fitting * STERNA_CALIBRATION_WINDOW);
    return sterna_fail(err, STERNA_ERROR_LIMIT,
                       "quantize: calibrating this model needs about %.2f GB of memory with any "
                       "number of tokens, and %.2f GB are free; the methods itf and absmean need "
                       "next to nothing",
                       fmax(prediction->text_bytes, fixed) * gb, available * gb);
}

/* "40 s", "12 min", "3.5 h". */
static void time_text(double seconds, char *text, size_t size)
{
    if (seconds < 90)
        snprintf(text, size, "%.0f s", seconds);
    else if (seconds < 5400)
        snprintf(text, size, "%.0f min", seconds / 60);
    else
        snprintf(text, size, "%.1f h", seconds / 3600);
}

void sterna_prediction_text(const sterna_prediction *prediction, char *text, size_t size)
{
    char whole[24], tuning[24], all[24], more[96] = "";
    time_text(sterna_prediction_seconds(prediction), whole, sizeof whole);
    time_text(prediction->tuning_s, tuning, sizeof tuning);
    time_text(prediction->all_tuning_s, all, sizeof all);
    if (prediction->tuning_s > 0 && prediction->all_tuning_s > 0)
        snprintf(more, sizeof more, ", %s of them tuning with %.0f tokens (all would take %s)",
                 tuning, prediction->tuning_tokens, all);
    else if (prediction->tuning_s > 0)
        snprintf(more, sizeof more, ", %s of them tuning", tuning);
    else if (prediction->all_tuning_s > 0)
        snprintf(more, sizeof more, ", without tuning, which would take %s", all);
    snprintf(text, size, "about %.2f GB of memory and %s%s",
             1e-9 * sterna_prediction_bytes(prediction), whole, more);
}
