/* What a tensor is for, told by its name and shape: enough to quantize models of any family, also
 * of those that this build cannot run.
 */
#ifndef STERNA_QUANT_ROLES_H
#define STERNA_QUANT_ROLES_H

#include "ternary/tensor.h"

typedef enum sterna_role {
    STERNA_ROLE_VECTOR, /* norms, biases, anything of one row */
    STERNA_ROLE_LINEAR, /* a weight matrix inside a numbered layer (or a stack of experts) */
    STERNA_ROLE_TABLE,  /* embeddings, head, and every other matrix */
    STERNA_ROLE_INTEGER
} sterna_role;

sterna_role sterna_role_of(const sterna_tensor *tensor);

/* Parts of a model that can be left out of quantization by name. */
typedef enum sterna_component {
    STERNA_COMPONENT_BODY,   /* all else */
    STERNA_COMPONENT_EMBED,  /* tables of tokens and positions */
    STERNA_COMPONENT_HEAD,   /* the matrix to the vocabulary, where it is not the embedding */
    STERNA_COMPONENT_VISION, /* an image tower and what joins it to the text model */
} sterna_component;

sterna_component sterna_component_of(const char *name);
const char *sterna_component_name(sterna_component component);

/* The layout for rows of `cols` weights: `wanted`, or where its block does not divide cols, Q2_0
 * (64), or Q8_0 (32), or F16. */
sterna_type sterna_fitting_type(sterna_type wanted, uint64_t cols);

#endif
