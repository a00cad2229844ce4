#include "quant/roles.h"

#include <ctype.h>
#include <string.h>

/* Matrices inside layers that must stay precise or are no matmul weights. */
static const char *const precise[] = {"norm", "embed", "embd",   "router", "gate_inp",
                                      "conv", "rope",  "bias",   "ssm_a",  "ssm_dt",
                                      "lora", "rel_b", "scales", "cls",    "shared_expert_gate"};

/* "blk.7.", "model.layers.12.", "h.3.": a part of the name that is a number. */
static bool in_layer(const char *name)
{
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        const char *end = dot + 1;
        while (isdigit((unsigned char)*end)) end++;
        if (end > dot + 1 && *end == '.') return true;
    }
    return false;
}

static bool ends_in_weight(const char *name)
{
    size_t size = strlen(name);
    return size > 7 && strcmp(name + size - 7, ".weight") == 0;
}

sterna_role sterna_role_of(const sterna_tensor *tensor)
{
    if (sterna_type_describe(tensor->type)->kind == STERNA_KIND_INTEGER) return STERNA_ROLE_INTEGER;
    if (tensor->n_dims < 2 || sterna_tensor_rows(tensor) < 2) return STERNA_ROLE_VECTOR;
    if (!in_layer(tensor->name) || !ends_in_weight(tensor->name)) return STERNA_ROLE_TABLE;
    for (size_t i = 0; i < sizeof precise / sizeof *precise; i++)
        if (strstr(tensor->name, precise[i])) return STERNA_ROLE_TABLE;
    return STERNA_ROLE_LINEAR;
}

sterna_component sterna_component_of(const char *name)
{
    static const char *const visual[] = {"vision", "visual", "multi_modal", "mm_projector"};
    if (strncmp(name, "v.", 2) == 0 || strncmp(name, "mm.", 3) == 0) return STERNA_COMPONENT_VISION;
    for (size_t i = 0; i < sizeof visual / sizeof *visual; i++)
        if (strstr(name, visual[i])) return STERNA_COMPONENT_VISION;
    if (strcmp(name, "output.weight") == 0 || strstr(name, "lm_head")) return STERNA_COMPONENT_HEAD;
    if (in_layer(name)) return STERNA_COMPONENT_BODY;
    if (strstr(name, "embd") || strstr(name, "embed") || strstr(name, "wte") || strstr(name, "wpe"))
        return STERNA_COMPONENT_EMBED;
    return STERNA_COMPONENT_BODY;
}

const char *sterna_component_name(sterna_component component)
{
    static const char *const names[] = {"body", "embed", "head", "vision"};
    return names[component];
}

sterna_type sterna_fitting_type(sterna_type wanted, uint64_t cols)
{
    const sterna_type chain[] = {wanted, STERNA_TYPE_Q2_0, STERNA_TYPE_Q8_0};
    bool ternary = sterna_type_describe(wanted)->kind == STERNA_KIND_TERNARY;
    if (wanted == STERNA_TYPE_NATIVE) return wanted; /* holds any width */
    for (int i = 0; i < 3; i++) {
        if (i == 1 && !ternary) continue;
        if (cols % sterna_type_describe(chain[i])->block == 0) return chain[i];
    }
    return STERNA_TYPE_F16;
}
