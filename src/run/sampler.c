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
    if (settings->repeat_penalty != 1)
        sampler->changed = sterna_alloc(vocabulary, sizeof *sampler->changed);
    if (!sampler->candidates || (settings->repeat_penalty != 1 && !sampler->changed)) {
        sterna_sampler_free(sampler);
        return sterna_fail_memory(err, "the sampler");
    }
    sterna_rng_seed(&sampler->rng, settings->seed);
    return STERNA_OK;
}

void sterna_sampler_free(sterna_sampler *sampler)
{
    sterna_free(sampler->candidates);
    sterna_free(sampler->changed);
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

/* The largest logit; NaN where one is not finite. In lanes, so that the compiler makes it wide. */
static float largest(const float *logits, size_t n)
{
    enum { LANES = 16 };
    float most[LANES], max = -INFINITY;
    uint32_t bits[LANES], bad[LANES] = {0};
    bool finite = true;
    size_t whole = n / LANES * LANES;
    for (size_t j = 0; j < LANES; j++) most[j] = -INFINITY;
    for (size_t i = 0; i < whole; i += LANES) {
        memcpy(bits, logits + i, sizeof bits);
        for (size_t j = 0; j < LANES; j++) {
            bad[j] |= (bits[j] & 0x7f800000u) == 0x7f800000u;
            most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
        }
    }
    for (size_t i = whole; i < n; i++) {
        finite = finite && isfinite(logits[i]);
        max = logits[i] > max ? logits[i] : max;
    }
    for (size_t j = 0; j < LANES; j++) {
        finite = finite && !bad[j];
        max = most[j] > max ? most[j] : max;
    }
    return finite ? max : NAN;
}

/* The k first in order, sorted, as candidates. Most logits lose against the least of those kept so
 * far: they are looked at only. */
static void select_first(const float *logits, size_t n, size_t k, sterna_candidate *candidates)
{
    for (size_t i = 0; i < k; i++)
        candidates[i] = (sterna_candidate){.id = (int32_t)i, .logit = logits[i]};
    for (size_t i = k / 2; i-- > 0;) sift_down(candidates, k, i);
    for (size_t i = k; i < n; i++)
        if (logits[i] > candidates[0].logit) {
            candidates[0] = (sterna_candidate){.id = (int32_t)i, .logit = logits[i]};
            sift_down(candidates, k, 0);
        }
    qsort(candidates, k, sizeof *candidates, compare);
}

/* All with at least this logit, sorted, as candidates; how many. */
static size_t select_above(const float *logits, size_t n, float least, sterna_candidate *candidates)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (logits[i] >= least)
            candidates[count++] = (sterna_candidate){.id = (int32_t)i, .logit = logits[i]};
    qsort(candidates, count, sizeof *candidates, compare);
    return count;
}

/* Sum of exp((logit - max) / temperature). Terms below e^-40 are lost in the rounding of the rest.
 */
static double mass(const float *logits, size_t n, float max, float temperature)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        float power = (logits[i] - max) / temperature;
        if (power > -40) sum += (double)expf(power);
    }
    return sum;
}

/* Probabilities of n candidates at a temperature, the first being the likeliest, where exponentials
 * sum to `sum`. */
static void set_probabilities(sterna_candidate *candidates, size_t n, float temperature, double sum)
{
    for (size_t i = 0; i < n; i++) {
        float power = (candidates[i].logit - candidates[0].logit) / temperature;
        candidates[i].probability = (float)((double)expf(power) / sum);
    }
}

static double mass_of(const sterna_candidate *candidates, size_t n, float temperature)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)expf((candidates[i].logit - candidates[0].logit) / temperature);
    return sum;
}

/* How many of the sorted candidates make up the share; 0 when all of them do not. */
static size_t share(const sterna_candidate *candidates, size_t n, double wanted)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)candidates[i].probability;
        if (sum >= wanted) return i + 1;
    }
    return 0;
}

/* How many of n sorted candidates with probabilities top-p and min-p leave: at least one. */
static size_t cut(const sterna_sampling *settings, const sterna_candidate *candidates, size_t n)
{
    if (settings->top_p < 1) {
        size_t made = share(candidates, n, (double)settings->top_p);
        n = made ? made : n;
    }
    float least = settings->min_p * candidates[0].probability;
    while (n > 1 && candidates[n - 1].probability < least) n--;
    return n;
}

/* Without top-k: candidates down to ever lower logits, until top-p or min-p cuts among them or,
 * where nothing is cut, the share `at` that is drawn falls there. Returns how many are left. */
static size_t select_needed(const sterna_sampling *settings, const float *logits, size_t vocabulary,
                            double at, sterna_candidate *candidates)
{
    bool top_p = settings->top_p<1, min_p = settings->min_p> 0;
    float temperature = top_p || min_p ? 1 : settings->temperature;
    float max = largest(logits, vocabulary);
    double sum = mass(logits, vocabulary, max, temperature);
    for (float depth = 8 * temperature;; depth *= 2) {
        size_t n = select_above(logits, vocabulary, max - depth, candidates);
        set_probabilities(candidates, n, temperature, sum);
        const sterna_candidate *last = &candidates[n - 1];
        bool enough = n == vocabulary ||
                      (min_p && last->probability < settings->min_p * candidates[0].probability);
        if (!enough && top_p) enough = share(candidates, n, (double)settings->top_p) != 0;
        if (!enough && !top_p && !min_p) enough = share(candidates, n, at) != 0;
        if (!enough) continue;
        if (!top_p && !min_p) return n;
        n = cut(settings, candidates, n);
        set_probabilities(candidates, n, settings->temperature,
                          mass_of(candidates, n, settings->temperature));
        return n;
    }
}

/* With top-k: the same of the first k. */
static size_t select_top(const sterna_sampling *settings, const float *logits, size_t vocabulary,
                         sterna_candidate *candidates)
{
    size_t n = (size_t)settings->top_k;
    select_first(logits, vocabulary, n, candidates);
    set_probabilities(candidates, n, 1, mass_of(candidates, n, 1));
    n = cut(settings, candidates, n);
    set_probabilities(candidates, n, settings->temperature,
                      mass_of(candidates, n, settings->temperature));
    return n;
}

/* Logits with each token of the window changed once: positive ones shrink, negative ones grow. */
static const float *penalised(sterna_sampler *sampler, const float *logits, const int32_t *recent,
                              size_t n_recent)
{
    float penalty = sampler->settings.repeat_penalty;
    size_t window = sampler->settings.repeat_window;
    if (penalty == 1) return logits;
    float *changed = sampler->changed;
    memcpy(changed, logits, sampler->vocabulary * sizeof *changed);
    for (size_t i = n_recent > window ? n_recent - window : 0; i < n_recent; i++) {
        if (recent[i] < 0 || (size_t)recent[i] >= sampler->vocabulary) continue;
        float logit = logits[recent[i]];
        changed[recent[i]] = logit > 0 ? logit / penalty : logit * penalty;
    }
    return changed;
}

int32_t sterna_sampler_pick(sterna_sampler *sampler, const float *logits, const int32_t *recent,
                            size_t n_recent)
{
    const sterna_sampling *settings = &sampler->settings;
    sterna_candidate *candidates = sampler->candidates;
    size_t n = sampler->vocabulary;
    float max = largest(logits, n);
    if (isnan(max)) return -1;
    const float *changed = penalised(sampler, logits, recent, n_recent);
    if (settings->temperature == 0) {
        if (changed != logits) max = largest(changed, n);
        size_t best = 0;
        while (changed[best] != max) best++;
        return (int32_t)best;
    }
    double at = sterna_rng_double(&sampler->rng), sum = 0;
    if (settings->top_k > 0 && (size_t)settings->top_k < n)
        n = select_top(settings, changed, n, candidates);
    else
        n = select_needed(settings, changed, n, at, candidates);
    for (size_t i = 0; i + 1 < n; i++) {
        sum += (double)candidates[i].probability;
        if (at < sum) return candidates[i].id;
    }
    return candidates[n - 1].id;
}
