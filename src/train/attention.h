/* Causal attention of whole windows and its derivative. Scores exist for a block of queries at a
 * time and are computed again on the way back (arXiv 2205.14135), so that memory does not grow with
 * the square of the length. */
#ifndef STERNA_TRAIN_ATTENTION_H
#define STERNA_TRAIN_ATTENTION_H

#include "train/product.h"

typedef struct sterna_attention_shape {
    size_t windows, length; /* rows of q are windows * length */
    size_t heads, kv_heads, dim;
    float scale, soft_cap; /* soft_cap 0: none */
    size_t sliding;        /* 0 = attends everything before; else so many last positions */
} sterna_attention_shape;

/* Floats of scratch that both calls need. */
size_t sterna_attention_scratch(const sterna_attention_shape *shape, int threads);

/* q [rows][heads][dim], k and v [rows][kv_heads][dim], rotated. out as q; `log_sums` [rows][heads]
 * is what the way back needs. */
void sterna_attention_forward(const sterna_multiplier *m, const sterna_attention_shape *shape,
                              const float *q, const float *k, const float *v, float *out,
                              float *log_sums, float *scratch);
/* dq, dk, dv from dout; `out` and `log_sums` as the forward call left them. */
void sterna_attention_backward(const sterna_multiplier *m, const sterna_attention_shape *shape,
                               const float *q, const float *k, const float *v, const float *out,
                               const float *log_sums, const float *dout, float *dq, float *dk,
                               float *dv, float *scratch);

#endif
