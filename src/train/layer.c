/* One layer of a decoder, forward and back: model/decoder.c's six stages with their derivatives. */
#include <string.h>

#include "train/network_state.h"
#include "train/vector.h"

static const float *gain_of(const sterna_network_layer *layer, sterna_norm norm)
{
    return layer->norms[norm].value; /* NULL where there is no such norm */
}

static sterna_activations *activations_of(const sterna_network *net, uint32_t layer)
{
    sterna_network_state *s = net->state;
    return &s->kept[layer < s->kept_layers ? layer : s->kept_layers];
}

static void norm(const sterna_network *net, uint32_t layer, sterna_norm which, const float *x,
                 size_t rows, float *out)
{
    const sterna_gain *gain = &net->layers[layer].norms[which];
    size_t n = gain->tensor ? gain->count : 0;
    if (n) sterna_norm_forward(&net->m, x, rows, n, gain->value, net->config->norm_eps, out);
}

/* The gradient through a norm in place; nothing where there is none. */
static void norm_back(const sterna_network *net, uint32_t layer, sterna_norm which, const float *x,
                      size_t rows, float *d)
{
    sterna_gain *gain = &net->layers[layer].norms[which];
    if (gain->value)
        sterna_norm_backward(&net->m, x, d, rows, gain->count, gain->value, net->config->norm_eps,
                             false, d, gain->factors.gradient, net->state->parts);
}

static sterna_attention_shape shape_of(const sterna_network *net, uint32_t layer)
{
    const sterna_config *c = net->config;
    return (sterna_attention_shape){.windows = net->options.windows,
                                    .length = net->options.length,
                                    .heads = c->heads,
                                    .kv_heads = c->kv_heads,
                                    .dim = c->head_dim,
                                    .scale = c->attention_scale,
                                    .soft_cap = c->attention_soft_cap,
                                    .sliding = c->layers[layer].window};
}

static void rotate(const sterna_network *net, uint32_t layer, float *q, float *k, bool back)
{
    const sterna_config *c = net->config;
    uint8_t kind = c->layers[layer].rope;
    if (kind == STERNA_ROPE_ABSENT) return;
    const sterna_network_state *s = net->state;
    size_t pairs = c->rope[kind].dims / 2, length = net->options.length;
    sterna_rope_rotate(&net->m, q, s->tokens, c->heads, c->head_dim, s->turns[kind], pairs, length,
                       c->rope_style, back);
    sterna_rope_rotate(&net->m, k, s->tokens, c->kv_heads, c->head_dim, s->turns[kind], pairs,
                       length, c->rope_style, back);
}

/* s->q and s->k, as attention sees them, from the products. */
static void place_heads(const sterna_network *net, uint32_t layer, const sterna_activations *a)
{
    const sterna_config *c = net->config;
    const sterna_network_state *s = net->state;
    size_t q = s->tokens * c->heads, k = s->tokens * c->kv_heads;
    memcpy(s->q, a->q, q * c->head_dim * sizeof *s->q);
    memcpy(s->k, a->k, k * c->head_dim * sizeof *s->k);
    norm(net, layer, STERNA_NORM_Q, s->q, q, s->q);
    norm(net, layer, STERNA_NORM_K, s->k, k, s->k);
    rotate(net, layer, s->q, s->k, false);
}

/* The input of the output or down projection: x, normed where the family norms it. */
static const float *sub_normed(const sterna_network *net, uint32_t layer, sterna_norm which,
                               const float *x)
{
    if (!gain_of(&net->layers[layer], which)) return x;
    norm(net, layer, which, x, net->state->tokens, net->state->normed);
    return net->state->normed;
}

/* stream + norm(matrix . input) into `to`. */
static sterna_status add_output(sterna_network *net, uint32_t layer, sterna_matrix matrix,
                                sterna_norm post, const float *input, const float *stream,
                                float *product, float *to, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    const sterna_linear *out = &net->layers[layer].matrices[matrix];
    size_t floats = s->tokens * net->config->width;
    float *y = product ? product : to;
    sterna_status status = sterna_linears_forward(net, &out, 1, input, &y, err);
    if (status) return status;
    norm(net, layer, post, y, s->tokens, to);
    sterna_add_rows(&net->m, to, stream, floats);
    return STERNA_OK;
}

static sterna_status attention_forward(sterna_network *net, uint32_t layer, sterna_activations *a,
                                       sterna_error *err)
{
    const sterna_network_state *s = net->state;
    const sterna_linear *m = net->layers[layer].matrices;
    const sterna_linear *qkv[] = {&m[STERNA_MATRIX_Q], &m[STERNA_MATRIX_K], &m[STERNA_MATRIX_V]};
    float *const to[] = {a->q, a->k, a->v};
    norm(net, layer, STERNA_NORM_ATTENTION, s->streams[layer], s->tokens, s->normed);
    sterna_status status = sterna_linears_forward(net, qkv, 3, s->normed, to, err);
    if (status) return status;
    place_heads(net, layer, a);
    sterna_attention_shape shape = shape_of(net, layer);
    sterna_attention_forward(&net->m, &shape, s->q, s->k, a->v, a->mixed, a->log_sums,
                             s->attention);
    return add_output(net, layer, STERNA_MATRIX_OUT, STERNA_NORM_ATTENTION_POST,
                      sub_normed(net, layer, STERNA_NORM_ATTENTION_SUB, a->mixed),
                      s->streams[layer], a->attention_out, a->middle, err);
}

static sterna_status ffn_products(sterna_network *net, uint32_t layer, sterna_activations *a,
                                  sterna_error *err)
{
    const sterna_network_state *s = net->state;
    const sterna_linear *m = net->layers[layer].matrices;
    const sterna_linear *in[] = {&m[STERNA_MATRIX_GATE], &m[STERNA_MATRIX_UP]};
    float *const to[] = {a->gate, a->up};
    norm(net, layer, STERNA_NORM_FFN, a->middle, s->tokens, s->normed);
    return sterna_linears_forward(net, in, 2, s->normed, to, err);
}

static void mix_ffn(const sterna_network *net, uint32_t layer, const sterna_activations *a)
{
    sterna_gate_forward(&net->m, net->config->gate, a->gate, a->up, net->state->tokens,
                        net->config->layers[layer].ffn_width, net->state->wide);
}

sterna_status sterna_layer_forward(sterna_network *net, uint32_t layer, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    sterna_activations *a = activations_of(net, layer);
    sterna_status status = attention_forward(net, layer, a, err);
    if (!status) status = ffn_products(net, layer, a, err);
    if (status) return status;
    mix_ffn(net, layer, a);
    return add_output(net, layer, STERNA_MATRIX_DOWN, STERNA_NORM_FFN_POST,
                      sub_normed(net, layer, STERNA_NORM_FFN_SUB, s->wide), a->middle, a->ffn_out,
                      s->streams[layer + 1], err);
}

/* ---- the way back ---- */

/* s->dinput: the gradient at `input`, before its norm `sub`, of an output projection whose product
 * was `product`. `gradient` is the one at the stream. */
static sterna_status output_back(sterna_network *net, uint32_t layer, sterna_matrix matrix,
                                 sterna_norm sub, sterna_norm post, const float *input,
                                 const float *product, const float *gradient, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    sterna_linear *out = &net->layers[layer].matrices[matrix];
    memcpy(s->dstream, gradient, s->tokens * net->config->width * sizeof *gradient);
    norm_back(net, layer, post, product, s->tokens, s->dstream);
    const float *dy = s->dstream;
    sterna_status status = sterna_linears_backward(net, &out, 1, sub_normed(net, layer, sub, input),
                                                   &dy, s->dnormed, err);
    if (!status) norm_back(net, layer, sub, input, s->tokens, s->dnormed);
    return status;
}

/* gradient += the gradient through the norm `which` of the products' input. */
static sterna_status input_back(sterna_network *net, uint32_t layer, sterna_norm which,
                                sterna_linear *const *linears, size_t count, const float *stream,
                                const float *const *dy, float *gradient, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    sterna_gain *gain = &net->layers[layer].norms[which];
    norm(net, layer, which, stream, s->tokens, s->normed);
    sterna_status status =
        sterna_linears_backward(net, linears, count, s->normed, dy, s->dnormed, err);
    if (status) return status;
    sterna_norm_backward(&net->m, stream, s->dnormed, s->tokens, gain->count, gain->value,
                         net->config->norm_eps, true, gradient, gain->factors.gradient, s->parts);
    return STERNA_OK;
}

static sterna_status ffn_back(sterna_network *net, uint32_t layer, const sterna_activations *a,
                              float *gradient, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    sterna_linear *m = net->layers[layer].matrices;
    size_t ffn = net->config->layers[layer].ffn_width;
    mix_ffn(net, layer, a);
    sterna_status status = output_back(net, layer, STERNA_MATRIX_DOWN, STERNA_NORM_FFN_SUB,
                                       STERNA_NORM_FFN_POST, s->wide, a->ffn_out, gradient, err);
    if (status) return status;
    sterna_gate_backward(&net->m, net->config->gate, a->gate, a->up, s->dnormed, s->tokens, ffn,
                         s->dgate, s->dup);
    sterna_linear *const in[] = {&m[STERNA_MATRIX_GATE], &m[STERNA_MATRIX_UP]};
    const float *const dy[] = {s->dgate, s->dup};
    return input_back(net, layer, STERNA_NORM_FFN, in, 2, a->middle, dy, gradient, err);
}

static sterna_status attention_back(sterna_network *net, uint32_t layer,
                                    const sterna_activations *a, float *gradient, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    const sterna_config *c = net->config;
    sterna_linear *m = net->layers[layer].matrices;
    sterna_attention_shape shape = shape_of(net, layer);
    sterna_status status =
        output_back(net, layer, STERNA_MATRIX_OUT, STERNA_NORM_ATTENTION_SUB,
                    STERNA_NORM_ATTENTION_POST, a->mixed, a->attention_out, gradient, err);
    if (status) return status;
    place_heads(net, layer, a);
    sterna_attention_backward(&net->m, &shape, s->q, s->k, a->v, a->mixed, a->log_sums, s->dnormed,
                              s->dq, s->dk, s->dv, s->attention);
    rotate(net, layer, s->dq, s->dk, true);
    norm_back(net, layer, STERNA_NORM_Q, a->q, s->tokens * c->heads, s->dq);
    norm_back(net, layer, STERNA_NORM_K, a->k, s->tokens * c->kv_heads, s->dk);
    sterna_linear *const qkv[] = {&m[STERNA_MATRIX_Q], &m[STERNA_MATRIX_K], &m[STERNA_MATRIX_V]};
    const float *const dy[] = {s->dq, s->dk, s->dv};
    return input_back(net, layer, STERNA_NORM_ATTENTION, qkv, 3, s->streams[layer], dy, gradient,
                      err);
}

sterna_status sterna_layer_backward(sterna_network *net, uint32_t layer, float *gradient,
                                    sterna_error *err)
{
    sterna_status status = STERNA_OK;
    if (layer >= net->state->kept_layers) status = sterna_layer_forward(net, layer, err);
    const sterna_activations *a = activations_of(net, layer);
    if (!status) status = ffn_back(net, layer, a, gradient, err);
    if (!status) status = attention_back(net, layer, a, gradient, err);
    return status;
}
