#include "run/verify.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"

enum { PROMPT = 9, STEPS = 3 };

/* Integer sums are equal at every level; float sums differ in their order only, and what that makes
 * of the logits of a deep model stays far below a thousandth of their range. */
static const double tolerance = 1e-3;

typedef struct trace {
    size_t vocabulary;
    float *logits; /* [STEPS + 1][vocabulary]: after the prompt and after each further token */
} trace;

static void note(json_t *checks, bool *all, const char *name, bool ok, const char *detail)
{
    json_array_append_new(
        checks, json_pack("{s:s, s:b, s:s}", "name", name, "ok", (int)ok, "detail", detail));
    *all = *all && ok;
}

static sterna_status run_level(const char *path, const sterna_model_options *options,
                               const char *level, trace *out, sterna_error *err)
{
    sterna_model_options own = *options;
    own.cpu = level;
    sterna_model *model = NULL;
    sterna_session *session = NULL;
    sterna_status status = sterna_run_open(path, &own, &model, err);
    if (status) return status;
    const sterna_session_options small = {.context = PROMPT + STEPS};
    size_t vocabulary = sterna_decoder_config(model->decoder)->vocabulary;
    status = sterna_run_session_new(model, &small, &session, err);
    if (status) goto done;
    out->vocabulary = vocabulary;
    out->logits = sterna_alloc((STEPS + 1) * vocabulary, sizeof *out->logits);
    if (!out->logits) {
        status = sterna_fail_memory(err, "logits");
        goto done;
    }
    /* Ids spread over the vocabulary; the same for every level. */
    int32_t ids[PROMPT + STEPS];
    for (size_t i = 0; i < PROMPT + STEPS; i++) ids[i] = (int32_t)((i * 7919 + 13) % vocabulary);
    for (size_t step = 0; step <= STEPS && !status; step++) {
        status = step ? sterna_run_append(session, &ids[PROMPT + step - 1], 1, NULL, err)
                      : sterna_run_append(session, ids, PROMPT, NULL, err);
        if (!status)
            memcpy(out->logits + step * vocabulary, session->logits, vocabulary * sizeof(float));
    }
done:
    sterna_run_session_free(session);
    sterna_run_close(model);
    return status;
}

/* The largest difference as a share of the reference's range; infinite when a value is not finite.
 */
static double worst_difference(const trace *reference, const trace *other)
{
    double worst = 0;
    size_t n = reference->vocabulary;
    for (size_t step = 0; step <= STEPS; step++) {
        const float *a = reference->logits + step * n, *b = other->logits + step * n;
        double low = INFINITY, high = -INFINITY, difference = 0;
        for (size_t i = 0; i < n; i++) {
            if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
            low = fmin(low, a[i]);
            high = fmax(high, a[i]);
            difference = fmax(difference, fabs((double)a[i] - b[i]));
        }
        worst = fmax(worst, high > low ? difference / (high - low) : difference);
    }
    return worst;
}

static sterna_status compare_levels(const char *path, const sterna_model_options *options,
                                    json_t *checks, bool *all, sterna_error *err)
{
    static const char *const levels[] = {"avx2", "avxvnni", "avx512",  "avx512vnni",
                                         "amx",  "neon",    "dotprod", "i8mm"};
    trace reference = {0}, other = {0};
    uint32_t allowed = 0;
    sterna_status status = sterna_cpu_level(options->cpu, &allowed, err);
    if (!status) status = run_level(path, options, "ref", &reference, err);
    if (!status) {
        bool finite = isfinite(worst_difference(&reference, &reference));
        note(checks, all, "ref", finite,
             finite ? "all logits are finite" : "a logit is NaN or infinite");
    }
    for (size_t i = 0; i < sizeof levels / sizeof *levels && !status; i++) {
        uint32_t mask;
        if (sterna_cpu_level(levels[i], &mask, NULL) || (mask & ~allowed)) continue;
        status = run_level(path, options, levels[i], &other, err);
        if (status) break;
        double worst = worst_difference(&reference, &other);
        char detail[96];
        snprintf(detail, sizeof detail, "largest logit difference from ref %.2e of the range",
                 worst);
        note(checks, all, levels[i], worst <= tolerance, detail);
        sterna_free(other.logits);
        other.logits = NULL;
    }
    sterna_free(reference.logits);
    sterna_free(other.logits);
    return status;
}

sterna_status sterna_run_verify(const char *path, const sterna_model_options *options,
                                char **report, sterna_error *err)
{
    json_t *checks = json_array();
    if (!checks) return sterna_fail_memory(err, "a report");
    bool all = true;
    sterna_status status = compare_levels(path, options, checks, &all, err);
    json_t *object = status
                         ? NULL
                         : json_pack("{s:s, s:s, s:b, s:f, s:O}", "model", path, "reference", "ref",
                                     "ok", (int)all, "tolerance", tolerance, "checks", checks);
    json_decref(checks);
    if (status) return status;
    char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
    json_decref(object);
    if (!text) return sterna_fail_memory(err, "a report");
    if (report)
        *report = text;
    else
        sterna_free(text);
    if (!all)
        return sterna_fail(err, STERNA_ERROR_INTERNAL,
                           "%s: a level of this processor disagrees with the reference; run with "
                           "--cpu ref and report this",
                           path);
    return STERNA_OK;
}
