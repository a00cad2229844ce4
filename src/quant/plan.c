#include "quant/plan.h"

#include "base/memory.h"
#include "quant/roles.h"

enum { NATIVE_GROUP = 128 };

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

/* Columns that share a scale; 0: all of the tensor. */
static uint64_t group_of(const sterna_item *item, const sterna_settings *s)
{
    if (s->scales == STERNA_SCALES_TENSOR) return 0;
    if (s->scales == STERNA_SCALES_ROW) return item->tensor->dims[0];
    if (s->group) return s->group;
    uint32_t group = sterna_type_describe(item->type)->group;
    return group ? group : NATIVE_GROUP;
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

static void plan_item(sterna_item *item, const sterna_settings *s)
{
    const sterna_tensor *tensor = item->tensor;
    switch (sterna_role_of(tensor)) {
    case STERNA_ROLE_INTEGER: return; /* copied */
    case STERNA_ROLE_VECTOR:
        item->type = STERNA_TYPE_F32;
        item->verb = STERNA_VERB_ENCODE;
        return;
    case STERNA_ROLE_TABLE:
        item->type = sterna_fitting_type(s->keep, tensor->dims[0]);
        if (s->folder && tensor->type == STERNA_TYPE_BF16) item->type = STERNA_TYPE_BF16;
        item->verb = STERNA_VERB_ENCODE;
        break;
    case STERNA_ROLE_LINEAR:
        item->type = sterna_fitting_type(s->type, tensor->dims[0]);
        item->verb = STERNA_VERB_FIT;
        if (sterna_type_describe(item->type)->kind != STERNA_KIND_TERNARY) {
            item->verb = STERNA_VERB_ENCODE;
            item->note = "no ternary block divides its width";
        } else if (item->type != s->type) {
            item->note = "the chosen block does not divide its width";
        }
        sterna_item_group(item, group_of(item, s));
        if (item->verb == STERNA_VERB_FIT && convert_exactly(item))
            item->note = "was ternary: kept exactly";
        break;
    }
    if (item->type == tensor->type && item->verb == STERNA_VERB_ENCODE &&
        item->type == STERNA_TYPE_Q8_0)
        item->verb = STERNA_VERB_COPY;
}

static sterna_status count_linear(const char *in, const sterna_export *plan, sterna_error *err)
{
    for (size_t i = 0; i < plan->count; i++)
        if (sterna_type_describe(plan->items[i].type)->kind == STERNA_KIND_TERNARY)
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
        plan_item(&plan->items[i], s);
        status = check_group(&plan->items[i], s, err);
    }
    return status ? status : count_linear(in, plan, err);
}
