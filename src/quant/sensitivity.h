/* How much each matrix matters: what happens to the model's predictions when only that one becomes
 * ternary, and which precision each gets when bits are limited.
 *
 * Every matrix is fitted quickly (columns and refit, on a few calibration windows) and put into the
 * full model; the divergence of the predictions from the full model's is its sensitivity. The
 * windows run from its layer on: about half a forward pass a matrix. This comes before the model is
 * fitted, because each fit makes up for the errors before it: taking precision back afterwards
 * leaves what was made up for.
 *
 * Memory: the model as it runs, the residual stream of the windows before every layer, the second
 * moments of one layer's inputs, and the logits of some hundred tokens.
 */
#ifndef STERNA_QUANT_SENSITIVITY_H
#define STERNA_QUANT_SENSITIVITY_H

#include "quant/propagate.h"

enum { STERNA_SENSITIVITY_WINDOWS = 4 }; /* of calibration, at most */

/* Sets `sensitivity` (nats a token) of every item of verb FIT that is a matrix of a layer. */
sterna_status sterna_sensitivity(const sterna_model_file *file,
                                 const sterna_calibration *calibration,
                                 const sterna_propagation *settings, sterna_item *items,
                                 size_t n_items, sterna_error *err);

/* Chooses for every item with a sensitivity: trits as planned, with a second plane, Q4_0 or Q8_0,
 * so that the least divergence is left and their bytes come to at most `bits` a weight. The
 * divergence of an option is taken to be proportional to its distortion. *reached: what it came
 * to. Fails when the trits alone take more. */
sterna_status sterna_allocate(sterna_item *items, size_t n_items, double bits, double *reached,
                              sterna_error *err);

#endif
