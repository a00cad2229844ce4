/* Models of known shapes with random weights, made in memory: what a model costs to run depends on
 * its shape, not on its values, so that speed can be measured without a file.
 */
#ifndef STERNA_FORMATS_SHAPE_H
#define STERNA_FORMATS_SHAPE_H

#include "formats/model_file.h"

typedef struct sterna_shape {
    const char *name;         /* "bitnet-2b4t" */
    const char *architecture; /* as GGUF files name it */
    uint32_t layers, width, ffn, heads, kv_heads, head_dim, vocabulary, context;
    float rope_base;
    bool tied;                /* the head is the embedding table */
    bool qk_norms, sub_norms; /* norms per head; norms before the output and down projections */
    sterna_type type;         /* what its matrices are stored as where nothing else is asked for */
} sterna_shape;

/* The i-th known shape, NULL behind the last. */
const sterna_shape *sterna_shape_at(size_t i);
/* Fails with the list of those that are known. */
sterna_status sterna_shape_find(const char *name, const sterna_shape **out, sterna_error *err);
/* Weights of the matrices, embedding and head counted once where they are one. */
uint64_t sterna_shape_parameters(const sterna_shape *shape);

/* A GGUF directory of the shape: random trits of the ternary type `weights`, embedding and head of
 * the type `ends` (Q8_0, Q6_K, F16, BF16 or F32), norms of 1. Tensors of equal size share their
 * bytes. Fails with a sentence when the loaded model would not fit into the free memory. */
sterna_status sterna_shape_open(const sterna_shape *shape, sterna_type weights, sterna_type ends,
                                sterna_model_file **out, sterna_error *err);

#endif
