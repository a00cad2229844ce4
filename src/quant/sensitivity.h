/* How much each matrix matters: what happens to the model's predictions when only that one becomes
 * ternary, and which precision each gets when bits are limited.
 *
 * Every matrix is fitted quickly (columns and refit, on some calibration windows) and put into the
 * full model; the divergence of the predictions from the full model's, on windows that the fit has
 * not seen, is its sensitivity. They run from its layer on: half a forward pass of them a matrix.
 * This comes before the model is fitted, because each fit makes up for the errors before it: taking
 * precision back afterwards leaves what was made up for.
 *
 * Memory: the model as it runs, the residual stream of the windows before one layer, the second
 * moments of its inputs, and the logits of some hundred tokens.
 */
#ifndef STERNA_QUANT_SENSITIVITY_H
#define STERNA_QUANT_SENSITIVITY_H

#include "quant/propagate.h"

/* Windows of the calibration, at most: those that the quick fits look at, and those, others, whose
 * first half is run and the second half of that compared. */
enum { STERNA_SENSITIVITY_GATHERED = 16, STERNA_SENSITIVITY_PREDICTED = 2 };

/* Sets `sensitivity` (nats a token) of every item of verb FIT that is a matrix of a layer. */
sterna_status sterna_sensitivity(const sterna_model_file *file,
                                 const sterna_calibration *calibration,
                                 const sterna_propagation *settings, sterna_item *items,
                                 size_t n_items, sterna_error *err);

/* Bits a weight of the items that are to be fitted, as they are planned. */
double sterna_trit_bits(const sterna_item *items, size_t n_items);

/* Chooses for every item with a sensitivity: trits as planned, with a second plane, Q4_0 or Q8_0,
 * so that the least divergence is left and their bytes come to at most `bits` a weight. The
 * divergence of an option is taken to be proportional to its distortion. `planes_only` leaves out
 * Q4_0 and Q8_0. *reached: what it came to. Fails when the trits alone take more. */
sterna_status sterna_allocate(sterna_item *items, size_t n_items, double bits, bool planes_only,
                              double *reached, sterna_error *err);

#endif
