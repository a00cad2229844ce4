/* The calibrated quantizer: a model's layers fitted in order, each to the inputs that it will
 * really get.
 *
 * Two streams of hidden states go through the layers together: the full model's, and that of the
 * model as it has become so far, run by the same code and the same kernels that will run it later.
 * In every layer q, k and v are fitted first, then the output projection, gate and up, down; before
 * each, second moments of its inputs are gathered over all calibration tokens. Layers come from the
 * mapped file one at a time. Memory: 8 bytes a token and residual width, 4 a token and widest
 * matmul input, one layer in float, three squares of the widest input, and the ternary model.
 */
#ifndef STERNA_QUANT_PROPAGATE_H
#define STERNA_QUANT_PROPAGATE_H

#include "model/hadamard.h"
#include "quant/calibrate.h"
#include "quant/journal.h"
#include "quant/fitter.h"

typedef struct sterna_propagation {
    const sterna_fitter *fitter;
    sterna_compensation compensation; /* group, levels and outliers come from each item */
    float drift;    /* how much of W (x_full - x) a matrix takes back: its input's error so far */
    float residual; /* and of the error of the residual stream that its product is added to */
    bool balance;   /* products to the residual stream: a token's error counts as a share of it */
    bool rotate;    /* transform the inputs of the ternary matrices */
    bool damping_by_tokens;   /* the damping is for 16 tokens a column, and falls with their root */
    sterna_journal *journal;  /* keeps every finished layer, and has those of an earlier run; NULL =
                                 none */
    sterna_progress progress; /* counts layers */
    void *progress_context;
} sterna_propagation;

/* Fits every item of verb FIT that is a matrix of a layer and makes it READY: trits and scales in
 * `packed`, errors in `result`. `rules` (zeroed) receives the transforms. */
sterna_status sterna_propagate(const sterna_model_file *file, const sterna_calibration *calibration,
                               const sterna_propagation *settings, sterna_item *items,
                               size_t n_items, sterna_hadamard_rules *rules, sterna_error *err);

#endif
