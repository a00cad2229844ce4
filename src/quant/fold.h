/* A model changed in its weights but not in what it computes, so that it survives coarse grids
 * better and runs in engines that know nothing of it:
 *
 *   gains      those of the input norms (attention, feed-forward) move into the matrices that read
 *              the norm: W diag(g), g = 1
 *   residual   the residual stream is turned: x' = R^T x. Embedding rows and matrices that read it
 *              become W R (with gains folded first: then the norm is the same for x and x'), those
 *              that write it R^T W. The last norm's gain goes into the head, which is then no
 *              longer the embedding: a model of tied ones gets a head of its own.
 *   heads      the values of every head are turned: rows of v, columns of the output projection
 *
 * model/family.h says which of these a family allows. QuaRot (arXiv 2404.00456) calls the last two
 * R1 and R2. The input of the down projection would need a transform at run time, so it has none.
 */
#ifndef STERNA_QUANT_FOLD_H
#define STERNA_QUANT_FOLD_H

#include "formats/model_file.h"

typedef struct sterna_folding {
    int threads;
    sterna_progress progress; /* counts tensors; may be NULL */
    void *progress_context;
} sterna_folding;

/* What can be folded in this model: STERNA_FOLD_* of model/family.h. 0 where its matrices are
 * ternary already, have factors beside them or are stored transformed, and where it is of no family
 * that is known. */
sterna_status sterna_fold_possible(const sterna_model_file *file, unsigned *folds,
                                   sterna_error *err);
/* The folded model as a GGUF file of that name: matrices as F16 (F32 where they were), the rest as
 * F32. Memory: the largest matrix of a layer in float32. `from` [tensors of the new file, in its
 * order; to be released] says what type each had before. */
sterna_status sterna_fold_model(const sterna_model_file *file, const char *path, unsigned folds,
                                const sterna_folding *folding, sterna_type **from,
                                sterna_error *err);

#endif
