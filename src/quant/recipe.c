#include "quant/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

enum { VERSION = 1, MAX_BYTES = 64 << 20 };

static sterna_status fail_recipe(const char *path, const char *what, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: this is no recipe: %s", path, what);
}

sterna_status sterna_recipe_read(const char *path, json_t **out, sterna_error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    json_error_t fault;
    *out = NULL;
    sterna_status status = sterna_file_read(path, MAX_BYTES, &bytes, &size, err);
    if (status) return status;
    json_t *whole = json_loadb(bytes, size, 0, &fault);
    sterna_free(bytes);
    if (!whole) return fail_recipe(path, fault.text, err);
    json_t *recipe = json_object_get(whole, "recipe");
    if (json_is_object(recipe)) { /* a receipt */
        json_incref(recipe);
        json_decref(whole);
        whole = recipe;
    }
    if (json_integer_value(json_object_get(whole, "recipe")) == VERSION) {
        *out = whole;
        return STERNA_OK;
    }
    json_decref(whole);
    return fail_recipe(path, "it has no \"recipe\" of version 1", err);
}

/* ---- options ---- */

/* Real options are kept as text, in which a float32 comes back bit by bit. */
static float real_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text ? strtof(text, NULL) : 0;
}

static json_t *real_text(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", value);
    return json_string(text);
}

sterna_status sterna_recipe_options(const json_t *recipe, const char *path,
                                    sterna_quantize_options *options, sterna_error *err)
{
    const json_t *from = json_object_get(recipe, "options");
    if (!json_is_object(from)) return fail_recipe(path, "it has no \"options\"", err);
    const struct {
        const char *name;
        const char **field;
    } texts[] = {{"method", &options->method},          {"type", &options->type},
                 {"scales", &options->scales},          {"keep", &options->keep},
                 {"keep_type", &options->keep_type},    {"stages", &options->stages},
                 {"calibration", &options->calibration}};
    const struct {
        const char *name;
        float *field;
    } reals[] = {{"drift", &options->drift},
                 {"residual", &options->residual},
                 {"damping", &options->damping},
                 {"outliers", &options->outliers}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!*texts[i].field)
            *texts[i].field = json_string_value(json_object_get(from, texts[i].name));
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (*reals[i].field == 0) *reals[i].field = real_of(json_object_get(from, reals[i].name));
    json_int_t group = json_integer_value(json_object_get(from, "group"));
    json_int_t tokens = json_integer_value(json_object_get(from, "tokens"));
    json_int_t tune = json_integer_value(json_object_get(from, "tune"));
    json_int_t threads = json_integer_value(json_object_get(from, "threads"));
    if (group < 0 || group > UINT32_MAX || tokens < 0 || tokens > UINT32_MAX || threads < 0 ||
        threads > 4096)
        return fail_recipe(path, "its group, tokens or threads are out of range", err);
    if (!options->group) options->group = (uint32_t)group;
    if (!options->tokens) options->tokens = (uint32_t)tokens;
    if (!options->tune && tune >= -1) options->tune = (int64_t)tune;
    if (!options->threads) options->threads = (int)threads;
    options->asymmetric |= json_is_true(json_object_get(from, "asymmetric"));
    options->portable |= json_is_true(json_object_get(from, "portable"));
    options->bits = 0; /* the tensors say what it led to */
    return STERNA_OK;
}

/* 0 means the usual in sterna_quantize_options, and a negative strength nothing. */
static json_t *strength_text(float value)
{
    return real_text(value == 0 ? -1 : (double)value);
}

static json_t *describe_options(const sterna_settings *s)
{
    const sterna_propagation *p = &s->propagation;
    char stages[STERNA_STAGES_BYTES];
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:i}", "method", sterna_settings_method(s),
                  "type", sterna_type_describe(s->type)->name, "scales", sterna_settings_scales(s),
                  "keep", s->keep, "keep_type", sterna_settings_keep_type(s), "group",
                  (json_int_t)s->group, "asymmetric", s->asymmetric, "threads", s->threads);
    if (!all || !s->calibrated) return all;
    sterna_settings_stages(s, stages);
    json_t *more = json_pack("{s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:o}", "stages", stages, "tokens",
                             (json_int_t)s->calibration.tokens, "tune",
                             (json_int_t)(s->tuning.wanted   ? (json_int_t)s->tuning.tokens
                                          : s->tuning.tokens ? 0
                                                             : -1),
                             "portable", !p->rotate, "drift", strength_text(p->drift), "residual",
                             strength_text(p->residual), "damping",
                             real_text(p->damping_by_tokens ? 0 : (double)p->compensation.damping),
                             "outliers", real_text(s->outliers));
    int failed = !more || json_object_update(all, more);
    if (s->calibration.path)
        failed |= json_object_set_new(all, "calibration", json_string(s->calibration.path));
    json_decref(more);
    if (!failed) return all;
    json_decref(all);
    return NULL;
}

/* ---- tensors ---- */

static sterna_status apply(const json_t *entry, const char *path, sterna_item *item,
                           sterna_error *err)
{
    const char *name = json_string_value(json_object_get(entry, "type"));
    json_int_t group = json_integer_value(json_object_get(entry, "group"));
    json_int_t outliers = json_integer_value(json_object_get(entry, "outliers"));
    sterna_type type;
    uint64_t bytes, cols = item->tensor->dims[0];
    if (!name || !sterna_type_from_name(name, &type) || group < 0 || outliers < 0 ||
        (uint64_t)outliers > cols || (uint64_t)group > cols)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the recipe's entry for '%s' has no type that is known, or a group "
                           "or outliers beyond its %llu columns",
                           path, item->name, (unsigned long long)cols);
    const sterna_type_info *info = sterna_type_describe(type);
    bool ternary = info->kind == STERNA_KIND_TERNARY;
    bool fits = type == STERNA_TYPE_NATIVE || (sterna_type_bytes(type, cols, 1, &bytes) &&
                                               (info->writable || type == STERNA_TYPE_Q4_0));
    if (!fits || (ternary && group == 0))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: the recipe makes '%s' %s, which does not hold %llu columns", path,
                           item->name, name, (unsigned long long)cols);
    item->type = type;
    item->form = (sterna_native){0};
    if (ternary || type == STERNA_TYPE_F16) sterna_item_group(item, (uint64_t)group);
    if (!ternary) return STERNA_OK;
    item->form.shifted = json_is_true(json_object_get(entry, "shift"));
    if (json_is_true(json_object_get(entry, "second"))) item->form.code2 = STERNA_CODE_BASE3;
    item->form.outliers = (uint32_t)outliers;
    return STERNA_OK;
}

sterna_status sterna_recipe_apply(const json_t *recipe, const char *path, sterna_item *items,
                                  size_t n_items, sterna_error *err)
{
    const json_t *tensors = json_object_get(recipe, "tensors");
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < n_items && !status; i++) {
        if (items[i].verb != STERNA_VERB_FIT) continue;
        const json_t *entry = json_object_get(tensors, items[i].name);
        if (!entry)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "%s: the recipe says nothing about the matrix '%s': it is for "
                               "another model",
                               path, items[i].name);
        status = apply(entry, path, &items[i], err);
    }
    return status;
}

static json_t *describe_item(const sterna_item *item)
{
    json_t *entry = json_pack("{s:s}", "type", sterna_type_describe(item->type)->name);
    int failed = !entry;
    if (item->form.group)
        failed |= json_object_set_new(entry, "group", json_integer(item->form.group));
    if (item->form.shifted) failed |= json_object_set_new(entry, "shift", json_true());
    if (item->form.code2) failed |= json_object_set_new(entry, "second", json_true());
    if (item->form.outliers)
        failed |= json_object_set_new(entry, "outliers", json_integer(item->form.outliers));
    if (!failed) return entry;
    json_decref(entry);
    return NULL;
}

json_t *sterna_recipe_make(const sterna_settings *settings, const sterna_item *items,
                           size_t n_items)
{
    json_t *tensors = json_object();
    int failed = 0;
    for (size_t i = 0; i < n_items; i++)
        if (items[i].verb == STERNA_VERB_FIT || items[i].verb == STERNA_VERB_READY)
            failed |= json_object_set_new(tensors, items[i].name, describe_item(&items[i]));
    json_t *recipe = json_pack("{s:i, s:o, s:o}", "recipe", VERSION, "options",
                               describe_options(settings), "tensors", tensors);
    if (!failed) return recipe;
    json_decref(recipe);
    return NULL;
}
