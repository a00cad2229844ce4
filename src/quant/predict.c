#include "quant/predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"
#include "quant/product.h"

/* The process itself, the libraries and their buffers. */
static const double PROCESS_BYTES = 60e6;
/* What the parts take beside their products at the measured rate (a fit: 8 r c^2 + c^3), from runs
 * of SmolLM2-135M (docs/QUANTIZATION.md). */
static const double FIT_WORK = 4.0, FULL_WORK = 1.0, MADE_WORK = 0.5, WRITE_WORK = 0.75;

enum { SIDE = 768, MAX_SESSIONS = 16 };

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

/* Multiplications and additions a second of a product as the moments take it. */
static double measure_rate(int threads, sterna_error *err)
{
    float *a = sterna_calloc((size_t)SIDE * SIDE, 3 * sizeof *a);
    if (!a) {
        sterna_fail_memory(err, "a measurement");
        return 0;
    }
    const sterna_product_shape product = {
        .rows = SIDE, .cols = SIDE, .depth = SIDE, .transposed_a = true, .alpha = 1};
    double best = INFINITY;
    for (size_t i = 0; i < 2 * SIDE * SIDE; i++) a[i] = 1.0f / (float)(i % 7 + 1);
    for (int i = 0; i < 4; i++) { /* the first wakes the threads */
        double start = sterna_now();
        sterna_product_of(&product, a, a + SIDE * SIDE, a + 2 * SIDE * SIDE, threads);
        best = fmin(best, sterna_now() - start);
    }
    sterna_free(a);
    return 2.0 * SIDE * SIDE * SIDE / best;
}

/* ---- memory ---- */

static double workspace_bytes(const sterna_config *c, double ffn, double tokens)
{
    double heads = (double)c->heads * c->head_dim, kv = (double)c->kv_heads * c->head_dim;
    return 4 * tokens * (3.0 * c->width + 2 * heads + 2 * kv + 2 * ffn);
}

/* The model as it will be run, by a load that reads nothing. */
static double loaded_bytes(const sterna_model_file *file)
{
    sterna_cpu_options cpu = {.plan = true};
    const sterna_decoder_options options = {.arithmetic = STERNA_ARITHMETIC_AUTO};
    sterna_device *device = NULL;
    sterna_decoder *decoder = NULL;
    double bytes = (double)file->bytes;
    if (!sterna_cpu_level("auto", &cpu.features, NULL) &&
        !sterna_device_cpu_open(&cpu, &device, NULL) &&
        !sterna_decoder_load(file, device, &options, &decoder, NULL))
        bytes = (double)sterna_decoder_bytes(decoder);
    sterna_decoder_free(decoder);
    if (device) device->close(device);
    return bytes;
}

static double ternary_bytes(const sterna_item *items, size_t n_items)
{
    double bytes = 0;
    for (size_t i = 0; i < n_items; i++)
        if (items[i].verb == STERNA_VERB_FIT) bytes += (double)sterna_item_bytes(&items[i]);
    return bytes;
}

static void predict_memory(const sterna_model_file *file, const sterna_config *c, double tokens,
                           double length, const sterna_item *items, size_t n_items,
                           sterna_prediction *out)
{
    double heads = (double)c->heads * c->head_dim, ffn = 0, fit = 0, weights = 0, width = c->width;
    for (uint32_t l = 0; l < c->n_layers; l++) {
        shape shapes[4];
        double sum = 0;
        for (size_t i = 0, n = layer_shapes(c, l, shapes); i < n; i++) {
            double r = shapes[i].rows, cols = shapes[i].cols;
            fit = fmax(fit, 9 * r * cols + 8 * cols * cols);
            sum += r * cols;
        }
        weights = fmax(weights, sum);
        ffn = fmax(ffn, c->layers[l].ffn_width);
    }
    double held = fmax(heads, ffn), widest = fmax(held, width);
    double cache = 4.0 * c->kv_heads * c->head_dim * length * c->n_layers;
    out->per_token = 8 * width + 4 * held;
    out->layers_bytes = PROCESS_BYTES + out->per_token * tokens + 4 * widest * widest +
                        4 * width * width + fit + 4.5 * weights + 4.5 * c->vocabulary * width +
                        2 * workspace_bytes(c, ffn, length) + 2 * cache + 8 * length * widest +
                        4 * length * width + ternary_bytes(items, n_items);
    double sessions = fmin(MAX_SESSIONS, ceil(tokens / length * 3 / 8));
    out->text_bytes = PROCESS_BYTES + loaded_bytes(file) +
                      sessions * (cache + workspace_bytes(c, ffn, length) + 4.0 * c->vocabulary);
}

/* ---- time ---- */

static void predict_time(const sterna_config *c, double tokens, uint32_t finished, double rate,
                         sterna_prediction *out)
{
    double weights = 0, work = 0;
    for (uint32_t l = 0; l < c->n_layers; l++) {
        shape shapes[4];
        for (size_t i = 0, n = layer_shapes(c, l, shapes); i < n; i++) {
            double r = shapes[i].rows, cols = shapes[i].cols;
            double moments = cols * cols + (shapes[i].to_residual ? 4 * r * cols : 2 * cols * cols);
            double streams = 2 * r * cols * (FULL_WORK + MADE_WORK);
            weights += r * cols;
            if (l < finished) continue;
            work += tokens * (moments + streams) +
                    FIT_WORK * (8 * r * cols * cols + cols * cols * cols);
        }
    }
    weights += (double)c->vocabulary * c->width;
    out->fit_s = work / rate;
    out->text_s = finished ? 0 : tokens * 3 / 8 * 2 * weights * WRITE_WORK / rate;
}

sterna_status sterna_predict(const sterna_model_file *file, const sterna_settings *settings,
                             const sterna_item *items, size_t n_items, sterna_prediction *out,
                             sterna_error *err)
{
    sterna_config config = {0};
    sterna_status status = sterna_config_read(file, &config, err);
    if (status) return status;
    double rate = measure_rate(settings->threads, err);
    double length = fmin(STERNA_CALIBRATION_WINDOW, config.context);
    double wanted =
        (double)(settings->calibration.tokens ? settings->calibration.tokens
                                              : sterna_calibration_usual_tokens(&config));
    double tokens = ceil(wanted / length) * length;
    *out = (sterna_prediction){.tokens = tokens};
    if (rate > 0) {
        predict_memory(file, &config, tokens, length, items, n_items, out);
        predict_time(&config, tokens,
                     settings->propagation.journal
                         ? sterna_journal_layers(settings->propagation.journal)
                         : 0,
                     rate, out);
    }
    sterna_config_free(&config);
    return rate > 0 ? STERNA_OK : STERNA_ERROR_MEMORY;
}

double sterna_prediction_bytes(const sterna_prediction *prediction)
{
    return fmax(prediction->text_bytes, prediction->layers_bytes);
}

/* ---- what there is ---- */

/* The number behind `key` in a file of the system; `key` "" = the first one. -1: there is none. */
static double system_number(const char *path, const char *key)
{
    char line[256];
    double number = -1;
    FILE *file = fopen(path, "re");
    while (file && number < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        char *end;
        number = strtod(line + strlen(key), &end);
        if (end == line + strlen(key)) number = -1;
    }
    if (file) fclose(file);
    return number;
}

double sterna_available_memory(void)
{
    double free_kib = system_number("/proc/meminfo", "MemAvailable:");
    double available = free_kib < 0 ? INFINITY : 1024 * free_kib;
    double most = system_number("/sys/fs/cgroup/memory.max", "");
    double used = system_number("/sys/fs/cgroup/memory.current", "");
    double cached = system_number("/sys/fs/cgroup/memory.stat", "file ");
    if (most > 0 && used >= 0) available = fmin(available, most - used + fmax(0, cached));
    struct rlimit limit;
    double pages = system_number("/proc/self/statm", ""); /* of the address space */
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        available = fmin(available, (double)limit.rlim_cur - 4096 * fmax(0, pages));
    return fmax(0, available);
}

sterna_status sterna_prediction_check(const sterna_prediction *prediction, double available,
                                      sterna_error *err)
{
    double needed = sterna_prediction_bytes(prediction), gb = 1e-9;
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

void sterna_prediction_text(const sterna_prediction *prediction, char *text, size_t size)
{
    double seconds = prediction->text_s + prediction->fit_s;
    double gb = 1e-9 * sterna_prediction_bytes(prediction);
    if (seconds < 90)
        snprintf(text, size, "about %.2f GB of memory and %.0f s", gb, seconds);
    else if (seconds < 5400)
        snprintf(text, size, "about %.2f GB of memory and %.0f min", gb, seconds / 60);
    else
        snprintf(text, size, "about %.2f GB of memory and %.1f h", gb, seconds / 3600);
}
