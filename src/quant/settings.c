#include "quant/settings.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cpu.h"
#include "quant/recipe.h"

/* What groups of 128 take, up to padding. */
static const double USUAL_BITS = 1.75;

static const char *const scale_names[] = {"group", "row", "tensor"};
static const char *const keep_names[] = {"auto", "source", "Q8_0", "F16"};

const char *sterna_settings_method(const sterna_settings *s)
{
    static const char *const names[] = {"itf", "absmean", "twn"};
    return s->calibrated ? s->propagation.fitter->name : names[s->method];
}

const char *sterna_settings_scales(const sterna_settings *s)
{
    return scale_names[s->scales];
}

const char *sterna_settings_keep_type(const sterna_settings *s)
{
    return keep_names[s->keep_type];
}

/* The index of `name` in `choices`; `standard` when it is NULL. */
static sterna_status choose(const char *option, const char *name, const char *const *choices,
                            int count, int standard, int *index, sterna_error *err)
{
    *index = standard;
    if (!name) return STERNA_OK;
    for (int i = 0; i < count; i++)
        if (strcasecmp(choices[i], name) == 0) {
            *index = i;
            return STERNA_OK;
        }
    char list[128] = "";
    for (int i = 0; i < count; i++) {
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, choices[i], sizeof list - strlen(list) - 1);
    }
    return sterna_fail(err, STERNA_ERROR_ARGUMENT, "quantize: %s '%s' is unknown; there are: %s",
                       option, name, list);
}

static float strength(float value, float usual)
{
    return value == 0 ? usual : value < 0 ? 0 : value;
}

/* Which steps of the fit are taken; NULL = all. */
static sterna_status read_stages(const char *list, sterna_propagation *propagation,
                                 sterna_error *err)
{
    sterna_compensation *out = &propagation->compensation;
    bool descent = false;
    const struct {
        const char *name;
        bool *flag;
    } stages[] = {{"balance", &propagation->balance},
                  {"order", &out->order},
                  {"columns", &out->columns},
                  {"refit", &out->refit},
                  {"descent", &descent}};
    enum { STAGES = sizeof stages / sizeof *stages };
    if (!list) return STERNA_OK;
    for (int i = 0; i < STAGES; i++) *stages[i].flag = false;
    for (const char *word = list; *word; word += *word == ',') {
        size_t length = strcspn(word, ","), i = 0;
        while (i < STAGES &&
               (strlen(stages[i].name) != length || strncmp(stages[i].name, word, length) != 0))
            i++;
        if (i == STAGES && length > 0 && strcmp(list, "none") != 0)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "quantize: the stage '%.*s' is unknown; there are: balance, order, "
                               "columns, refit, descent (or none)",
                               (int)length, word);
        if (i < STAGES) *stages[i].flag = true;
        word += length;
    }
    if (!descent) out->rounds = 0;
    return STERNA_OK;
}

/* Are the bits of short groups better spent on second planes? Only where nobody has said how. */
static bool spends_bits(const sterna_quantize_options *options, const sterna_settings *s)
{
    return s->calibrated && s->propagation.fitter->chases && s->type == STERNA_TYPE_NATIVE &&
           s->scales == STERNA_SCALES_GROUP && !s->group && !s->recipe && !options->asymmetric &&
           options->outliers == 0;
}

/* Numbers beside trits and scales. */
static sterna_status read_form(const sterna_quantize_options *options, sterna_settings *s,
                               sterna_error *err)
{
    s->asymmetric = options->asymmetric;
    s->outliers = (double)options->outliers;
    s->bits = (double)options->bits;
    if (!(s->outliers >= 0) || !(s->outliers <= 0.5))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: outliers are a share of the columns from 0 to 0.5");
    if (s->bits == 0 && spends_bits(options, s)) {
        s->bits = USUAL_BITS;
        s->bits_usual = true;
    }
    if (s->bits != 0 && (!(s->bits >= 1) || !(s->bits <= 8.5)))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: the bits of a weight are a number from 1 to 8.5");
    if (s->asymmetric && (s->method != STERNA_FIT_ITF || s->scales == STERNA_SCALES_TENSOR))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: only the methods sterna, pt2 and itf have a shift for every "
                           "group or row; leave out --asymmetric");
    if (s->calibrated && s->propagation.fitter->shifted && (s->outliers > 0 || s->bits > 0))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: the method %s has neither outliers nor a choice of bits; "
                           "they need the method sterna",
                           s->propagation.fitter->name);
    return STERNA_OK;
}

static sterna_status read_calibration(const sterna_quantize_options *options, sterna_settings *s,
                                      sterna_error *err)
{
    if (!s->calibrated && (options->calibration || options->tokens || options->drift != 0 ||
                           options->residual != 0 || options->damping != 0 || options->stages ||
                           options->outliers != 0 || options->bits != 0 || options->tune > 0))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: the method %s looks at no calibration text; its options need "
                           "the method sterna",
                           sterna_settings_method(s));
    if (s->calibrated && s->scales == STERNA_SCALES_TENSOR)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: the method sterna has a scale for each group or row, not one "
                           "for a tensor; choose the method itf or absmean");
    if (!isfinite(options->drift) || !isfinite(options->residual) || !(options->damping >= 0) ||
        !(options->damping <= 100))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: strengths must be finite numbers and the damping one from 0 "
                           "to 100");
    s->calibration = (sterna_calibration_options){.path = options->calibration,
                                                  .tokens = options->tokens,
                                                  .threads = s->threads,
                                                  .progress = options->progress,
                                                  .progress_context = options->progress_context};
    const sterna_fitter *fitter = s->propagation.fitter;
    bool chases = fitter && fitter->chases;
    s->propagation =
        (sterna_propagation){.fitter = fitter,
                             .compensation = sterna_compensation_usual(0, s->threads),
                             .drift = strength(options->drift, chases ? 0.5f : 0),
                             .residual = strength(options->residual, chases ? 0.5f : 0),
                             .balance = chases,
                             .rotate = chases && !options->portable,
                             .progress = options->progress,
                             .progress_context = options->progress_context};
    s->tuning = sterna_tune_usual();
    s->tuning.wanted = options->tune > 0;
    if (options->tune || !chases) s->tuning.tokens = options->tune > 0 ? (size_t)options->tune : 0;
    s->tuning.threads = s->threads;
    s->tuning.progress = options->progress;
    s->tuning.progress_context = options->progress_context;
    if (fitter) s->propagation.compensation.damping = fitter->damping;
    if (options->damping > 0) s->propagation.compensation.damping = options->damping;
    s->propagation.damping_by_tokens = chases && !(options->damping > 0);
    return read_stages(options->stages, &s->propagation, err);
}

static sterna_status read_options(const sterna_quantize_options *options, sterna_settings *out,
                                  sterna_error *err)
{
    static const char *const methods[] = {"sterna", "pt2", "itf", "absmean", "twn"};
    static const char *const layouts[] = {"native", "TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "PTQ1_0"};
    int method, scale, keep, layout;
    sterna_status status = choose("method", options->method, methods, 5, 0, &method, err);
    if (!status) status = choose("scales", options->scales, scale_names, 3, 0, &scale, err);
    if (!status) status = choose("keep-type", options->keep_type, keep_names, 4, 0, &keep, err);
    if (!status) status = choose("type", options->type, layouts, 6, 0, &layout, err);
    if (status) return status;
    out->propagation.fitter = sterna_fitter_of(methods[method]);
    out->calibrated = out->propagation.fitter != NULL;
    out->method = method == 3 ? STERNA_FIT_ABSMEAN : method == 4 ? STERNA_FIT_TWN : STERNA_FIT_ITF;
    out->scales = (sterna_scales)scale;
    out->group = options->group;
    out->keep = options->keep ? options->keep : "embed,head,vision";
    out->keep_type = (sterna_keep_type)keep;
    sterna_type_from_name(layouts[layout], &out->type);
    out->named = options->method || options->scales;
    out->portable = options->portable;
    out->threads = options->threads > 0 ? options->threads : sterna_cpu_count();
    status = read_form(options, out, err);
    return status ? status : read_calibration(options, out, err);
}

sterna_status sterna_settings_read(const sterna_quantize_options *options, sterna_settings *out,
                                   sterna_error *err)
{
    sterna_quantize_options filled = *options;
    *out = (sterna_settings){.recipe_path = options->recipe};
    if (!options->recipe) return read_options(options, out, err);
    sterna_status status = sterna_recipe_read(options->recipe, &out->recipe, err);
    if (!status) status = sterna_recipe_options(out->recipe, options->recipe, &filled, err);
    if (!status) status = read_options(&filled, out, err);
    return status;
}

void sterna_settings_free(sterna_settings *settings)
{
    json_decref(settings->recipe);
    settings->recipe = NULL;
}

void sterna_settings_stages(const sterna_settings *s, char text[STERNA_STAGES_BYTES])
{
    const sterna_propagation *p = &s->propagation;
    const sterna_compensation *c = &p->compensation;
    int length = snprintf(text, STERNA_STAGES_BYTES, "%s%s%s%s%s", p->balance ? "balance," : "",
                          c->order ? "order," : "", c->columns ? "columns," : "",
                          c->refit ? "refit," : "", c->rounds ? "descent," : "");
    if (length > 0)
        text[length - 1] = '\0';
    else
        memcpy(text, "none", sizeof "none");
}

static json_t *describe_folds(unsigned folds)
{
    static const char *const names[] = {"gains", "residual", "heads"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (folds >> i & 1 && json_array_append_new(list, json_string(names[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

json_t *sterna_settings_describe(const sterna_settings *s)
{
    const sterna_propagation *p = &s->propagation;
    char stages[STERNA_STAGES_BYTES];
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:b, s:i}", "method", sterna_settings_method(s),
                  "type", sterna_type_describe(s->type)->name, "scales", sterna_settings_scales(s),
                  "group", (json_int_t)s->group, "keep", s->keep, "keep_type",
                  sterna_settings_keep_type(s), "asymmetric", s->asymmetric, "threads", s->threads);
    if (!all || !s->calibrated) return all;
    sterna_settings_stages(s, stages);
    json_t *calibrated = json_pack(
        "{s:s, s:b, s:o, s:f, s:f, s:f, s:b, s:f, s:f}", "stages", stages, "transform", p->rotate,
        "folded", describe_folds(s->folds), "drift", (double)p->drift, "residual",
        (double)p->residual, "damping", (double)p->compensation.damping, "damping_by_tokens",
        p->damping_by_tokens, "outliers", s->outliers, "bits", s->bits);
    if (!calibrated || json_object_update(all, calibrated)) {
        json_decref(all);
        all = NULL;
    }
    json_decref(calibrated);
    return all;
}
