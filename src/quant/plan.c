#include "quant/plan.h"

#include "base/memory.h"
#include "quant/roles.h"

/* Exact conversion keeps what is ternary already, if the groups allow. */
static bool converts_exactly(const sterna_tensor *tensor, sterna_type type)
{
    uint64_t bytes;
    if (sterna_type_describe(tensor->type)->kind != STERNA_KIND_TERNARY ||
        !sterna_type_bytes(type, tensor->dims[0], sterna_tensor_rows(tensor), &bytes))
        return false;
    uint8_t *out = sterna_alloc((size_t)bytes, 1);
    bool exact = out && sterna_tensor_convert(tensor, type, true, out, NULL) == STERNA_OK;
    sterna_free(out);
    return exact;
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
        if (item->verb == STERNA_VERB_FIT && converts_exactly(tensor, item->type)) {
            item->verb = STERNA_VERB_CONVERT;
            item->note = "was ternary: kept exactly";
        }
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
                           "--method absmean --scales tensor",
                           in);
    for (size_t i = 0; i < plan->count; i++) plan_item(&plan->items[i], s);
    return count_linear(in, plan, err);
}
