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

/* The layout for rows of `cols` weights: `wanted`, or where its block does not divide cols, Q2_0
 * (64), or Q8_0 (32), or F16. */
sterna_type sterna_fitting_type(sterna_type wanted, uint64_t cols);

#endif
