/* A decoder for training: the same configuration data as model/decoder.c, float32, forward and
 * backward over whole windows of equal length.
 *
 * Weights stay in the bytes of their tensors and become floats one matrix at a time. What can be
 * trained is a factor e^s: on every group of weights of a matrix, and on every gain of a norm. Of
 * the activations of a pass the residual stream before every layer is kept; the rest of a layer is
 * kept too where `keep_bytes` allow, and computed again on the way back where not.
 *
 * Memory, with n = windows * length tokens: 4 n width (layers + 1) bytes for the streams, about
 * 4 n (6 width + 2 q + 4 kv + 6 ffn) of scratch, and twelve bytes for each weight of the largest
 * matrix. A model of 1.5 billion parameters with 1024 tokens: 0.2 + 0.3 + 0.2 GB; of 7 billion:
 * 0.4 + 0.6 + 0.8 GB. The head (train/distil.h) comes on top.
 */
#ifndef STERNA_TRAIN_NETWORK_H
#define STERNA_TRAIN_NETWORK_H

#include "model/model.h"
#include "train/product.h"

enum { STERNA_GRADIENT_ROWS = 1024 }; /* of a matrix whose products exist at a time */

/* Factors e^log[i] on `count` values or groups of values. */
typedef struct sterna_factors {
    size_t count;    /* 0: what they would stand before is fixed */
    float *log;      /* what is trained; 0 at the start */
    float *factor;   /* e^log, by sterna_factors_refresh */
    float *gradient; /* at log, summed over passes until it is cleared */
} sterna_factors;

sterna_status sterna_factors_new(sterna_factors *factors, size_t count, sterna_error *err);
void sterna_factors_free(sterna_factors *factors);
void sterna_factors_refresh(sterna_factors *factors);

/* y = W x + bias; the rows of W are rows first_row .. of the tensor. */
typedef struct sterna_linear {
    sterna_tensor tensor; /* its data are borrowed */
    uint64_t first_row;
    size_t rows, cols;
    float factor;             /* of all weights */
    sterna_hadamard hadamard; /* of the input; signs are borrowed */
    float *bias;              /* [rows] or NULL */
    size_t group;             /* columns that share a factor */
    uint32_t *fixed;          /* [n_fixed]: columns that no factor changes; NULL: none */
    size_t n_fixed;
    sterna_factors factors; /* [rows][ceil(cols / group)] */
} sterna_linear;

typedef struct sterna_gain {
    const sterna_tensor *tensor; /* where it comes from; NULL: there is no such norm */
    size_t count;
    float *start, *value; /* value = start * factor */
    sterna_factors factors;
} sterna_gain;

typedef struct sterna_network_layer {
    sterna_linear matrices[STERNA_MATRICES];
    sterna_gain norms[STERNA_NORMS];
} sterna_network_layer;

typedef struct sterna_network_options {
    size_t windows, length; /* of a pass; length <= the model's context */
    size_t keep_bytes;      /* for activations besides the streams */
    bool backward;          /* memory for the way back is made */
    uint32_t features;      /* of base/cpu.h */
    int threads;
    bool exact; /* float32 products, whatever the processor offers */
} sterna_network_options;

typedef struct sterna_network_state sterna_network_state; /* decoder and buffers: network.c */

typedef struct sterna_network {
    const sterna_model_file *file; /* borrowed */
    const sterna_config *config;
    sterna_multiplier m;
    sterna_network_options options;
    sterna_network_layer *layers; /* [n_layers] */
    sterna_gain final_norm;
    sterna_end_places ends;
    sterna_network_state *state;
} sterna_network;

/* Finds every part in the file. Everything is fixed until sterna_linear_train and
 * sterna_gain_train say otherwise. Fails for models whose float weights are made ternary at load
 * (BitNet): they need straight-through estimates. */
sterna_status sterna_network_open(const sterna_model_file *file,
                                  const sterna_network_options *options, sterna_network **out,
                                  sterna_error *err);
void sterna_network_close(sterna_network *network); /* NULL accepted */
sterna_status sterna_linear_train(sterna_linear *linear, size_t group, sterna_error *err);
sterna_status sterna_gain_train(sterna_gain *gain, sterna_error *err);

/* Calls `visit` for the factors of every part that is trained, in one order. */
void sterna_network_visit(sterna_network *network,
                          void (*visit)(void *context, sterna_factors *factors), void *context);
/* Makes changed logarithms count. */
void sterna_network_refresh(sterna_network *network);

/* The hidden states after the last norm, hidden[windows * length][width], of ids
 * [windows][length]. Activations are kept for one call of sterna_network_backward with the gradient
 * at these states, which it uses as scratch; it adds to the gradients of all factors. */
sterna_status sterna_network_forward(sterna_network *network, const int32_t *ids, float *hidden,
                                     sterna_error *err);
sterna_status sterna_network_backward(sterna_network *network, float *gradient, sterna_error *err);

#endif
