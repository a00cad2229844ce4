/* The sampler: from logits to one token. Nothing is allocated while it picks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "run/generate.h"

sterna_sampling sterna_sampling_usual(void)
{
    return (sterna_sampling){.temperature = 0.8f,
                             .top_k = 40,
                             .top_p = 0.95f,
                             .min_p = 0.05f,
                             .repeat_penalty = 1,
                             .repeat_window = 64};
}

/* What would make no sense is not taken over. */
static void take(float *out, double value, double min, double max)
{
    if (value >= min && value <= max) *out = (float)value;
}

static void recommended_json(const json_t *json, sterna_sampling *settings)
{
    const json_t *value;
    if (json_is_false(json_object_get(json, "do_sample"))) settings->temperature = 0;
    bool sampled = !json_is_false(json_object_get(json, "do_sample"));
    if (sampled && json_is_number(value = json_object_get(json, "temperature")))
        take(&settings->temperature, json_number_value(value), 0, 100);
    if (json_is_integer(value = json_object_get(json, "top_k")) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= INT32_MAX)
        settings->top_k = (int32_t)json_integer_value(value);
    if (json_is_number(value = json_object_get(json, "top_p")))
        take(&settings->top_p, json_number_value(value), 1e-6, 1);
    if (json_is_number(value = json_object_get(json, "min_p")))
        take(&settings->min_p, json_number_value(value), 0, 1);
    if (json_is_number(value = json_object_get(json, "repetition_penalty")))
        take(&settings->repeat_penalty, json_number_value(value), 1e-3, 1e3);
}

static void recommended_gguf(const sterna_model_file *file, sterna_sampling *settings)
{
    uint32_t top_k = (uint32_t)settings->top_k, window = settings->repeat_window;
    const struct {
        const char *key;
        float *out;
        double min, max;
    } floats[] = {{"general.sampling.temp", &settings->temperature, 0, 100},
                  {"general.sampling.top_p", &settings->top_p, 1e-6, 1},
                  {"general.sampling.min_p", &settings->min_p, 0, 1},
                  {"general.sampling.penalty_repeat", &settings->repeat_penalty, 1e-3, 1e3}};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        float value = NAN;
        if (!sterna_meta_float(file, floats[i].key, false, &value, NULL))
            take(floats[i].out, (double)value, floats[i].min, floats[i].max);
    }
    if (!sterna_meta_u32(file, "general.sampling.top_k", false, 0, INT32_MAX, &top_k, NULL))
        settings->top_k = (int32_t)top_k;
    if (!sterna_meta_u32(file, "general.sampling.penalty_last_n", false, 0, INT32_MAX, &window,
                         NULL))
        settings->repeat_window = window;
}

void sterna_sampling_recommended(const sterna_model_file *file, sterna_sampling *settings)
{
    if (file->container == STERNA_GGUF)
        recommended_gguf(file, settings);
    else if (json_is_object(file->generation_config))
        recommended_json(file->generation_config, settings);
}

sterna_status sterna_sampler_init(sterna_sampler *sampler, const sterna_sampling *settings,
                                  size_t vocabulary, sterna_error *err)
{
    const struct {
        const char *name;
        float value, min, max;
    } ranges[] = {{"temperature", settings->temperature, 0, 100},
                  {"top_p", settings->top_p, 0, 1},
                  {"min_p", settings->min_p, 0, 1},
                  {"repeat_penalty", settings->repeat_penalty, 1e-3f, 1e3f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max))
            return sterna_fail(err, STERNA_ERROR_ARGUMENT, "%s is %g; expected %g to %g",
                               ranges[i].name, (double)ranges[i].value, (double)ranges[i].min,
                               (double)ranges[i].max);
    if (settings->top_p == 0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "top_p is 0, which leaves no token; 1 turns it off");
    if (settings->top_k < 0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT, "top_k is %d; expected 0 (off) or more",
                           settings->top_k);
    *sampler = (sterna_sampler){.settings = *settings, .vocabulary = vocabulary};
    sampler->candidates = sterna_alloc(vocabulary, sizeof *sampler->candidates);
    if (!sampler->candidates) return sterna_fail_memory(err, "the sampler");
    sterna_rng_seed(&sampler->rng, settings->seed);
    return STERNA_OK;
}

void sterna_sampler_free(sterna_sampler *sampler)
{
    sterna_free(sampler->candidates);
    *sampler = (sterna_sampler){0};
}

/* Higher logits first; of equal ones the lower id, so that results do not depend on the sort. */
static bool before(const sterna_candidate *a, const sterna_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
    return before(a, b) ? -1 : before(b, a) ? 1 : 0;
}

/* Restores the heap whose root is the last in order, after the root has changed. */
static void sift_down(sterna_candidate *heap, size_t n, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(&heap[child], &heap[child + 1])) child++;
        if (!before(&heap[at], &heap[child])) return;
        sterna_candidate swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

/* The k first in order, sorted, to the front. */
static void select_first(sterna_candidate *candidates, size_t n, size_t k)
{
    if (k < n) {
        for (size_t i = k / 2; i-- > 0;) sift_down(candidates, k, i);
        for (size_t i = k; i < n; i++)
            if (before(&candidates[i], &candidates[0])) {
                candidates[0] = candidates[i];
                sift_down(candidates, k, 0);
            }
    }
    qsort(candidates, k, sizeof *candidates, compare);
}

/* Each token of the window once: positive logits shrink, negative ones grow. */
static void penalise(sterna_sampler *sampler, const float *logits, const int32_t *recent,
                     size_t n_recent)
{
    float penalty = sampler->settings.repeat_penalty;
    size_t window = sampler->settings.repeat_window;
    if (penalty == 1) return;
    for (size_t i = n_recent > window ? n_recent - window : 0; i < n_recent; i++) {
        if (recent[i] < 0 || (size_t)recent[i] >= sampler->vocabulary) continue;
        sterna_candidate *c = &sampler->candidates[recent[i]];
        if (c->logit != logits[c->id]) continue; /* done already */
        c->logit = c->logit > 0 ? c->logit / penalty : c->logit * penalty;
    }
}

/* Softmax over the first n at a temperature; the first has the highest logit. */
static void normalise(sterna_candidate *candidates, size_t n, float temperature)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        candidates[i].probability = expf((candidates[i].logit - candidates[0].logit) / temperature);
        sum += (double)candidates[i].probability;
    }
    for (size_t i = 0; i < n; i++)
        candidates[i].probability = (float)((double)candidates[i].probability / sum);
}

/* How many of the n sorted candidates top-p and min-p leave: at least one. */
static size_t cut(const sterna_sampling *settings, sterna_candidate *candidates, size_t n)
{
    normalise(candidates, n, 1);
    if (settings->top_p < 1) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += (double)candidates[i].probability;
            if (sum >= (double)settings->top_p) n = i + 1;
        }
    }
    if (settings->min_p > 0) {
        float least = settings->min_p * candidates[0].probability;
        while (n > 1 && candidates[n - 1].probability < least) n--;
    }
    return n;
}

int32_t sterna_sampler_pick(sterna_sampler *sampler, const float *logits, const int32_t *recent,
                            size_t n_recent)
{
    const sterna_sampling *settings = &sampler->settings;
    sterna_candidate *candidates = sampler->candidates;
    size_t n = sampler->vocabulary;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(logits[i])) return -1;
        candidates[i] = (sterna_candidate){.id = (int32_t)i, .logit = logits[i]};
    }
    penalise(sampler, logits, recent, n_recent);
    if (settings->temperature == 0) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (candidates[i].logit > candidates[best].logit) best = i;
        return candidates[best].id;
    }
    size_t k = settings->top_k > 0 && (size_t)settings->top_k < n ? (size_t)settings->top_k : n;
    select_first(candidates, n, k);
    n = cut(settings, candidates, k);
    normalise(candidates, n, settings->temperature);
    double at = sterna_rng_double(&sampler->rng), sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        sum += (double)candidates[i].probability;
        if (at < sum) return candidates[i].id;
    }
    return candidates[n - 1].id;
}
