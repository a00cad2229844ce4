#include "quant/settings.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"

static const char *const scale_names[] = {"group", "row", "tensor"};

const char *sterna_settings_method(const sterna_settings *s)
{
    return s->calibrated ? "sterna" : s->method == STERNA_FIT_ABSMEAN ? "absmean" : "itf";
}

const char *sterna_settings_scales(const sterna_settings *s)
{
    return scale_names[s->scales];
}

/* The index of `name` in `choices`; `standard` when it is NULL. */
static sterna_status choose(const char *option, const char *name, const char *const *choices,
                            int count, int standard, int *index, sterna_error *err)
{
    *index = standard;
    if (!name) return STERNA_OK;
    for (int i = 0; i < count; i++)
        if (strcmp(choices[i], name) == 0) {
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

static sterna_status read_calibration(const sterna_quantize_options *options, sterna_settings *s,
                                      sterna_error *err)
{
    if (!s->calibrated && (options->calibration || options->tokens || options->drift != 0 ||
                           options->residual != 0 || options->damping != 0))
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
    s->propagation = (sterna_propagation){.fitter = sterna_fitter_of("sterna"),
                                          .compensation = sterna_compensation_usual(0, s->threads),
                                          .drift = strength(options->drift, 0.5f),
                                          .residual = strength(options->residual, 0.5f),
                                          .rotate = !options->portable,
                                          .progress = options->progress,
                                          .progress_context = options->progress_context};
    if (options->damping > 0) s->propagation.compensation.damping = options->damping;
    return STERNA_OK;
}

sterna_status sterna_settings_read(const sterna_quantize_options *options, sterna_settings *out,
                                   sterna_error *err)
{
    static const char *const methods[] = {"sterna", "itf", "absmean"};
    static const char *const keeps[] = {"Q8_0", "F16"};
    static const char *const layouts[] = {"native", "TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "PTQ1_0"};
    int method, scale, keep, layout;
    sterna_status status = choose("method", options->method, methods, 3, 0, &method, err);
    if (!status) status = choose("scales", options->scales, scale_names, 3, 0, &scale, err);
    if (!status) status = choose("keep", options->keep, keeps, 2, 0, &keep, err);
    if (!status) status = choose("type", options->type, layouts, 6, 0, &layout, err);
    if (status) return status;
    *out = (sterna_settings){0};
    out->calibrated = method == 0;
    out->method = method == 2 ? STERNA_FIT_ABSMEAN : STERNA_FIT_ITF;
    out->scales = (sterna_scales)scale;
    out->group = options->group;
    out->keep = keep ? STERNA_TYPE_F16 : STERNA_TYPE_Q8_0;
    sterna_type_from_name(layouts[layout], &out->type);
    out->named = options->method || options->scales;
    out->threads = options->threads > 0 ? options->threads : sterna_cpu_count();
    return read_calibration(options, out, err);
}

json_t *sterna_settings_describe(const sterna_settings *s)
{
    const sterna_propagation *p = &s->propagation;
    json_t *all = json_pack("{s:s, s:s, s:s, s:I, s:s, s:i}", "method", sterna_settings_method(s),
                            "type", sterna_type_describe(s->type)->name, "scales",
                            sterna_settings_scales(s), "group", (json_int_t)s->group, "keep",
                            sterna_type_describe(s->keep)->name, "threads", s->threads);
    if (!all || !s->calibrated) return all;
    json_t *calibrated =
        json_pack("{s:b, s:f, s:f, s:f}", "transform", p->rotate, "drift", (double)p->drift,
                  "residual", (double)p->residual, "damping", (double)p->compensation.damping);
    if (!calibrated || json_object_update(all, calibrated)) {
        json_decref(all);
        all = NULL;
    }
    json_decref(calibrated);
    return all;
}
