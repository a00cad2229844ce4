/* The buffers of a network's passes. Internal to train/. */
#ifndef STERNA_TRAIN_NETWORK_STATE_H
#define STERNA_TRAIN_NETWORK_STATE_H

#include "model/hadamard.h"
#include "train/attention.h"
#include "train/network.h"

/* Activations of one layer that the way back needs besides the streams. */
typedef struct sterna_activations {
    float *q, *k, *v;     /* products, before norm and rotation */
    float *mixed;         /* what attention gives */
    float *log_sums;      /* [n][heads] */
    float *attention_out; /* the output projection; kept only where a norm follows */
    float *middle;        /* the stream between attention and feed-forward */
    float *gate, *up;     /* products */
    float *ffn_out;       /* as attention_out */
} sterna_activations;

struct sterna_network_state {
    sterna_device *device;   /* only plans */
    sterna_decoder *decoder; /* only planned: the configuration, and where tensors are */
    sterna_hadamard_rules rules;
    sterna_hadamard embedding_inverse;
    float *turns[STERNA_ROPE_KINDS]; /* [length][dims/2][2] */

    size_t tokens;            /* windows * length */
    size_t widest;            /* columns of any product's input, or rows of its output */
    size_t kept_layers;       /* the first so many have activations of their own */
    float **streams;          /* [n_layers + 1][tokens][width] */
    sterna_activations *kept; /* [kept_layers + 1]: the last one is shared by the other layers */

    /* scratch of one layer, [tokens][...] */
    float *normed; /* input of a product */
    float *turned; /* the same, transformed */
    float *q, *k;  /* normed and rotated */
    float *dq, *dk, *dv;
    float *wide, *dgate, *dup;         /* [ffn] */
    float *dinput, *dnormed, *dstream; /* [widest], [widest], [width] */
    float *weights;                    /* a matrix */
    float *products;                   /* rows of its gradient */
    float *parts;                      /* of a norm's sums */
    float *attention;                  /* attention's scratch */
    sterna_packed left, right, shared;
};

/* layer.c: one layer from stream `layer` to stream `layer + 1`, and back: `gradient` [tokens]
 * [width] at the later one becomes that at the earlier one. */
sterna_status sterna_layer_forward(sterna_network *network, uint32_t layer, sterna_error *err);
sterna_status sterna_layer_backward(sterna_network *network, uint32_t layer, float *gradient,
                                    sterna_error *err);

/* linear.c: products of matrices that share an input. */
sterna_status sterna_linears_forward(sterna_network *network, const sterna_linear *const *linears,
                                     size_t count, const float *x, float *const *y,
                                     sterna_error *err);
/* dx [tokens][cols] = the gradient at the input, and gradients of the factors. */
sterna_status sterna_linears_backward(sterna_network *network, sterna_linear *const *linears,
                                      size_t count, const float *x, const float *const *dy,
                                      float *dx, sterna_error *err);

#endif
