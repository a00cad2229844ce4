#include "quant/plan.h"

#include <fnmatch.h>
#include <string.h>

#include "base/memory.h"
#include "quant/recipe.h"
#include "quant/roles.h"

/* Columns that share a scale; about so many where bits are saved for what needs them more. */
enum { NATIVE_GROUP = 128, LONG_GROUP = 512 };

/* Keeps what is ternary already, exactly, if the groups allow. */
static bool convert_exactly(sterna_item *item)
{
    const sterna_tensor *tensor = item->tensor;
    uint64_t bytes;
    if (sterna_type_describe(tensor->type)->kind != STERNA_KIND_TERNARY) return false;
    if (item->type == STERNA_TYPE_NATIVE) {
        sterna_native planned = item->form;
        bool exact = sterna_item_to_native(item, NULL) == STERNA_OK; /* made again when written */
        sterna_free(item->packed);
        item->packed = NULL;
        item->verb = exact ? STERNA_VERB_CONVERT : STERNA_VERB_FIT;
        if (!exact) item->form = planned;
        return exact;
    }
    if (!sterna_type_bytes(item->type, tensor->dims[0], sterna_tensor_rows(tensor), &bytes))
        return false;
    if (!sterna_tensor_is_plain(tensor)) return false;
    uint8_t *out = sterna_alloc((size_t)bytes, 1);
    bool exact = out && sterna_tensor_convert(tensor, item->type, true, out, NULL) == STERNA_OK;
    sterna_free(out);
    if (exact) item->verb = STERNA_VERB_CONVERT;
    return exact;
}

/* Is the item in the list of what is kept? "embed", "head" and "vision" are parts of a model, all
 * else names of tensors. */
static sterna_status find_kept(const sterna_item *item, const char *list, bool *kept,
                               sterna_error *err)
{
    char word[STERNA_EXPORT_NAME_BYTES];
    const char *part = sterna_component_name(sterna_component_of(item->name));
    *kept = false;
    for (const char *at = list; *at; at += *at == ',') {
        size_t length = strcspn(at, ",");
        if (length >= sizeof word)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "quantize: a name in the list of what is kept is longer than %zu "
                               "bytes",
                               sizeof word - 1);
        memcpy(word, at, length);
        word[length] = '\0';
        *kept |= strcmp(word, part) == 0 || fnmatch(word, item->name, 0) == 0;
        at += length;
    }
    return STERNA_OK;
}

/* About LONG_GROUP columns, between half and twice that: equal groups of whole segments of
 * activations (128), or all of a short row. */
static uint64_t long_group(uint64_t cols)
{
    uint64_t best = 0;
    if (cols <= 2 * LONG_GROUP && cols % NATIVE_GROUP != 0) return cols;
    for (uint64_t group = LONG_GROUP / 2; group <= 2 * LONG_GROUP; group += NATIVE_GROUP) {
        bool nearer = group <= LONG_GROUP || group * best < (uint64_t)LONG_GROUP * LONG_GROUP;
        if (cols % group == 0 && (!best || nearer)) best = group;
    }
    return best ? best : LONG_GROUP;
}

/* Columns that share a scale; 0: all of the tensor. */
static uint64_t group_of(const sterna_item *item, const sterna_settings *s)
{
    if (s->scales == STERNA_SCALES_TENSOR) return 0;
    if (s->scales == STERNA_SCALES_ROW) return item->tensor->dims[0];
    if (s->group) return s->group;
    uint32_t group = sterna_type_describe(item->type)->group;
    if (group) return group;
    return s->bits > 0 ? long_group(item->tensor->dims[0]) : NATIVE_GROUP;
}

static sterna_status check_group(const sterna_item *item, const sterna_settings *s,
                                 sterna_error *err)
{
    const sterna_type_info *type = sterna_type_describe(item->type);
    if (item->verb != STERNA_VERB_FIT || s->scales != STERNA_SCALES_GROUP || !s->group ||
        !type->group || s->group % type->group == 0)
        return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                       "quantize: groups of %u columns do not consist of the groups of %u that %s "
                       "has (tensor '%s'); choose a multiple of %u, or the type native, which "
                       "holds groups of any size",
                       s->group, type->group, type->name, item->name, type->group);
}

/* What stands beside the trits and scales of a matrix. */
static void plan_form(sterna_item *item, const sterna_settings *s)
{
    const sterna_propagation *p = &s->propagation;
    sterna_compensation outliers = {.outliers = s->outliers};
    sterna_item_group(item, group_of(item, s));
    item->form.shifted = s->asymmetric;
    item->form.outliers =
        (uint32_t)sterna_compensation_outliers(&outliers, (size_t)item->tensor->dims[0]);
    if (!s->calibrated || !p->fitter->shifted) return;
    item->form.shifted = true;
    if (!p->compensation.order) return;
    item->form.shifted = false;
    item->type = STERNA_TYPE_F16;
    item->note = "no layout holds the order of its columns: the fitted values as floats";
}

/* Can the output hold the very bytes? */
static bool can_copy(const sterna_item *item, bool folder)
{
    sterna_type type = item->tensor->type;
    const sterna_type_info *info = sterna_type_describe(type);
    if (item->shift != 0) return false;
    if (type == STERNA_TYPE_NATIVE) return true;
    if (folder) return info->kind == STERNA_KIND_FLOAT;
    return info->gguf_id >= 0 && type != STERNA_TYPE_Q2_0_G128; /* which shares its number */
}

/* A matrix that does not become ternary. */
static void keep_matrix(sterna_item *item, const sterna_settings *s)
{
    const sterna_tensor *tensor = item->tensor;
    sterna_type_kind kind = sterna_type_describe(tensor->type)->kind;
    bool as_it_is = s->keep_type == STERNA_KEEP_SOURCE ||
                    (s->keep_type == STERNA_KEEP_AUTO && kind != STERNA_KIND_FLOAT);
    item->type = tensor->type;
    item->verb = STERNA_VERB_COPY;
    if (as_it_is && can_copy(item, s->folder)) return;
    bool renamed = tensor->type == STERNA_TYPE_Q2_0_G128 && !s->folder;
    item->type = renamed ? STERNA_TYPE_PQ2_0 : STERNA_TYPE_NATIVE;
    if (as_it_is && convert_exactly(item)) return;
    bool halves = s->keep_type == STERNA_KEEP_F16 || s->folder;
    item->type = sterna_fitting_type(halves ? STERNA_TYPE_F16 : STERNA_TYPE_Q8_0, tensor->dims[0]);
    if (s->folder && tensor->type == STERNA_TYPE_BF16 &&
        sterna_role_of(tensor) == STERNA_ROLE_TABLE)
        item->type = STERNA_TYPE_BF16;
    bool same = item->type == STERNA_TYPE_Q8_0 && tensor->type == STERNA_TYPE_Q8_0;
    item->verb = same ? STERNA_VERB_COPY : STERNA_VERB_ENCODE;
}

static void plan_matrix(sterna_item *item, const sterna_settings *s)
{
    item->type = sterna_fitting_type(s->type, item->tensor->dims[0]);
    item->verb = STERNA_VERB_FIT;
    if (sterna_type_describe(item->type)->kind != STERNA_KIND_TERNARY) {
        keep_matrix(item, s);
        item->note = "no ternary block divides its width";
        return;
    }
    if (item->type != s->type) item->note = "the chosen block does not divide its width";
    sterna_item_group(item, group_of(item, s));
    if (convert_exactly(item))
        item->note = "was ternary: kept exactly";
    else
        plan_form(item, s);
}

static sterna_status plan_item(sterna_item *item, const sterna_settings *s, sterna_error *err)
{
    const sterna_tensor *tensor = item->tensor;
    sterna_role role = sterna_role_of(tensor);
    bool kept = false;
    if (role == STERNA_ROLE_INTEGER) return STERNA_OK; /* copied */
    if (role == STERNA_ROLE_VECTOR) {
        item->type = STERNA_TYPE_F32;
        item->verb = STERNA_VERB_ENCODE;
        return STERNA_OK;
    }
    sterna_status status = find_kept(item, s->keep, &kept, err);
    if (role == STERNA_ROLE_TABLE) kept |= sterna_component_of(item->name) == STERNA_COMPONENT_BODY;
    if (!kept) {
        plan_matrix(item, s);
    } else {
        keep_matrix(item, s);
        if (role == STERNA_ROLE_LINEAR) item->note = "kept";
    }
    return status;
}

void sterna_plan_plain(sterna_export *plan, sterna_settings *s)
{
    s->bits = 0;
    for (size_t i = 0; i < plan->count; i++)
        if (plan->items[i].verb == STERNA_VERB_FIT) plan_form(&plan->items[i], s);
}

static sterna_status count_linear(const char *in, const sterna_export *plan, sterna_error *err)
{
    for (size_t i = 0; i < plan->count; i++)
        if (sterna_type_describe(plan->items[i].type)->kind == STERNA_KIND_TERNARY ||
            plan->items[i].verb == STERNA_VERB_FIT)
            return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: no weight matrix inside a numbered layer (such as blk.0.ffn_up.weight) "
                       "was found, so there is nothing to make ternary",
                       in);
}

sterna_status sterna_plan(const char *in, sterna_export *plan, sterna_settings *s,
                          sterna_error *err)
{
    if (plan->ternarize && !s->named) { /* BitNet master weights: trained for exactly this */
        s->calibrated = false;
        s->method = STERNA_FIT_ABSMEAN;
        s->scales = STERNA_SCALES_TENSOR;
    }
    if (plan->ternarize && s->calibrated)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the weights were trained for one scale per tensor (BitNet): choose "
                           "--method absmean --group tensor",
                           in);
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < plan->count && !status; i++) {
        status = plan_item(&plan->items[i], s, err);
        if (!status) status = check_group(&plan->items[i], s, err);
    }
    if (!status && s->recipe)
        status = sterna_recipe_apply(s->recipe, s->recipe_path, plan->items, plan->count, err);
    return status ? status : count_linear(in, plan, err);
}
