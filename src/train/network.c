#include "train/network.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "train/network_state.h"
#include "train/vector.h"

/* ---- factors ---- */

sterna_status sterna_factors_new(sterna_factors *f, size_t count, sterna_error *err)
{
    *f = (sterna_factors){.count = count,
                          .log = sterna_calloc(count, sizeof *f->log),
                          .factor = sterna_alloc(count, sizeof *f->factor),
                          .gradient = sterna_calloc(count, sizeof *f->gradient)};
    if (!f->log || !f->factor || !f->gradient) {
        sterna_factors_free(f);
        return sterna_fail_memory(err, "factors of weights");
    }
    sterna_factors_refresh(f);
    return STERNA_OK;
}

void sterna_factors_free(sterna_factors *f)
{
    sterna_free(f->log);
    sterna_free(f->factor);
    sterna_free(f->gradient);
    *f = (sterna_factors){0};
}

void sterna_factors_refresh(sterna_factors *f)
{
    for (size_t i = 0; i < f->count; i++) f->factor[i] = expf(f->log[i]);
}

sterna_status sterna_linear_train(sterna_linear *l, size_t group, sterna_error *err)
{
    l->group = group;
    return sterna_factors_new(&l->factors, l->rows * ((l->cols + group - 1) / group), err);
}

sterna_status sterna_gain_train(sterna_gain *gain, sterna_error *err)
{
    return sterna_factors_new(&gain->factors, gain->count, err);
}

static void refresh_gain(sterna_gain *gain)
{
    sterna_factors_refresh(&gain->factors);
    for (size_t i = 0; i < gain->factors.count; i++)
        gain->value[i] = gain->start[i] * gain->factors.factor[i];
}

void sterna_network_refresh(sterna_network *net)
{
    for (uint32_t i = 0; i < net->config->n_layers; i++) {
        for (int k = 0; k < STERNA_MATRICES; k++)
            sterna_factors_refresh(&net->layers[i].matrices[k].factors);
        for (int k = 0; k < STERNA_NORMS; k++) refresh_gain(&net->layers[i].norms[k]);
    }
    refresh_gain(&net->final_norm);
}

void sterna_network_visit(sterna_network *net,
                          void (*visit)(void *context, sterna_factors *factors), void *context)
{
    for (uint32_t i = 0; i < net->config->n_layers; i++) {
        sterna_network_layer *layer = &net->layers[i];
        for (int k = 0; k < STERNA_MATRICES; k++)
            if (layer->matrices[k].factors.count) visit(context, &layer->matrices[k].factors);
        for (int k = 0; k < STERNA_NORMS; k++)
            if (layer->norms[k].factors.count) visit(context, &layer->norms[k].factors);
    }
    if (net->final_norm.factors.count) visit(context, &net->final_norm.factors);
}

/* ---- parts ---- */

static sterna_status check_finite(const sterna_network *net, const sterna_tensor *tensor,
                                  const float *x, size_t n, sterna_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: tensor '%s' holds NaN or infinite values", net->file->path,
                               tensor->name);
    return STERNA_OK;
}

static sterna_status read_gain(const sterna_network *net, const sterna_tensor *tensor,
                               sterna_gain *gain, sterna_error *err)
{
    *gain = (sterna_gain){.tensor = tensor};
    if (!tensor) return STERNA_OK;
    gain->count = (size_t)tensor->dims[0];
    gain->start = sterna_alloc_floats(gain->count, 1);
    gain->value = sterna_alloc_floats(gain->count, 1);
    if (!gain->start || !gain->value) return sterna_fail_memory(err, tensor->name);
    sterna_tensor_row(tensor, 0, gain->start);
    for (size_t i = 0; i < gain->count; i++) gain->start[i] += net->config->norm_shift;
    memcpy(gain->value, gain->start, gain->count * sizeof *gain->value);
    return check_finite(net, tensor, gain->start, gain->count, err);
}

static void free_gain(sterna_gain *gain)
{
    sterna_free(gain->start);
    sterna_free(gain->value);
    sterna_factors_free(&gain->factors);
}

static sterna_status read_bias(const sterna_network *net, const sterna_matrix_place *place,
                               float **bias, sterna_error *err)
{
    if (!place->tensor) return STERNA_OK;
    size_t all = (size_t)place->tensor->dims[0];
    float *values = sterna_alloc_floats(all, 1);
    if (!values) return sterna_fail_memory(err, place->tensor->name);
    *bias = values;
    sterna_tensor_row(place->tensor, 0, values);
    memmove(values, values + place->first_row, (size_t)place->rows * sizeof *values);
    return check_finite(net, place->tensor, values, (size_t)place->rows, err);
}

static sterna_status read_layer(sterna_network *net, uint32_t index, sterna_error *err)
{
    sterna_network_state *s = net->state;
    sterna_network_layer *layer = &net->layers[index];
    sterna_layer_places places;
    sterna_status status = sterna_decoder_find_layer(s->decoder, net->file, index, &places, err);
    for (int i = 0; i < STERNA_MATRICES && !status; i++) {
        const sterna_matrix_place *place = &places.matrices[i];
        sterna_linear *l = &layer->matrices[i];
        sterna_weight_options options = {.activation = STERNA_ACT_FLOAT};
        status = sterna_hadamard_apply(&s->rules, net->file->path, place->tensor, &options, err);
        *l = (sterna_linear){.tensor = *place->tensor,
                             .first_row = place->first_row,
                             .rows = (size_t)place->rows,
                             .cols = (size_t)place->tensor->dims[0],
                             .factor = places.factors[i],
                             .hadamard = options.hadamard};
        if (!status) status = read_bias(net, &places.biases[i], &l->bias, err);
    }
    for (int i = 0; i < STERNA_NORMS && !status; i++)
        status = read_gain(net, places.norms[i], &layer->norms[i], err);
    return status;
}

/* ---- buffers ---- */

/* Cosines and sines of every position, as the device's rope_table. */
static sterna_status make_turns(sterna_network *net, sterna_error *err)
{
    for (int kind = 0; kind < STERNA_ROPE_KINDS; kind++) {
        const sterna_rope_config *rope = &net->config->rope[kind];
        size_t pairs = rope->dims / 2, length = net->options.length;
        float *frequencies = sterna_alloc_floats(pairs, 1), scale;
        float *turns = net->state->turns[kind] = sterna_alloc_floats(length, 2 * pairs);
        if (!frequencies || !turns) {
            sterna_free(frequencies);
            return sterna_fail_memory(err, "rotations");
        }
        sterna_rope_frequencies(rope, (uint32_t)length, frequencies, &scale);
        for (size_t t = 0; t < length; t++)
            for (size_t i = 0; i < pairs; i++) {
                double angle = (double)t * (double)frequencies[i];
                turns[(t * pairs + i) * 2] = scale * (float)cos(angle);
                turns[(t * pairs + i) * 2 + 1] = scale * (float)sin(angle);
            }
        sterna_free(frequencies);
    }
    return STERNA_OK;
}

static size_t q_size(const sterna_config *c)
{
    return (size_t)c->heads * c->head_dim;
}

static size_t kv_size(const sterna_config *c)
{
    return (size_t)c->kv_heads * c->head_dim;
}

static size_t widest_ffn(const sterna_config *c)
{
    size_t most = 0;
    for (uint32_t i = 0; i < c->n_layers; i++)
        if (c->layers[i].ffn_width > most) most = c->layers[i].ffn_width;
    return most;
}

static bool new_activations(const sterna_network *net, sterna_activations *a)
{
    const sterna_config *c = net->config;
    size_t n = net->state->tokens, ffn = widest_ffn(c);
    bool post = net->layers[0].norms[STERNA_NORM_ATTENTION_POST].tensor;
    *a = (sterna_activations){.q = sterna_alloc_floats(n, q_size(c)),
                              .k = sterna_alloc_floats(n, kv_size(c)),
                              .v = sterna_alloc_floats(n, kv_size(c)),
                              .mixed = sterna_alloc_floats(n, q_size(c)),
                              .log_sums = sterna_alloc_floats(n, c->heads),
                              .attention_out = post ? sterna_alloc_floats(n, c->width) : NULL,
                              .middle = sterna_alloc_floats(n, c->width),
                              .gate = sterna_alloc_floats(n, ffn),
                              .up = sterna_alloc_floats(n, ffn),
                              .ffn_out = post ? sterna_alloc_floats(n, c->width) : NULL};
    return a->q && a->k && a->v && a->mixed && a->log_sums && a->middle && a->gate && a->up &&
           (!post || (a->attention_out && a->ffn_out));
}

static void free_activations(sterna_activations *a)
{
    float *const all[] = {a->q,      a->k,    a->v,  a->mixed,  a->log_sums, a->attention_out,
                          a->middle, a->gate, a->up, a->ffn_out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sterna_free(all[i]);
}

static bool new_streams(const sterna_network *net)
{
    const sterna_config *c = net->config;
    sterna_network_state *s = net->state;
    size_t n = s->tokens;
    /* q, mixed, k, v, log_sums, middle, gate, up, and two products under norms */
    double bytes = 4.0 * (double)n *
                   (2.0 * (double)q_size(c) + 2.0 * (double)kv_size(c) + c->heads + 3.0 * c->width +
                    2.0 * (double)widest_ffn(c));
    double fit = net->options.backward ? (double)net->options.keep_bytes / bytes : 0;
    s->kept_layers = fit < c->n_layers ? (size_t)fit : c->n_layers;
    s->streams = sterna_calloc(c->n_layers + 1, sizeof *s->streams);
    s->kept = sterna_calloc(s->kept_layers + 1, sizeof *s->kept);
    bool complete = s->streams && s->kept;
    for (uint32_t i = 0; complete && i <= c->n_layers; i++) {
        bool own = net->options.backward || i < 2; /* else two that take turns */
        s->streams[i] = own ? sterna_alloc_floats(n, c->width) : s->streams[i - 2];
        complete = s->streams[i];
    }
    size_t shared = s->kept_layers < c->n_layers;
    for (size_t i = 0; complete && i < s->kept_layers + shared; i++)
        complete = new_activations(net, &s->kept[i]);
    return complete;
}

static sterna_status make_buffers(sterna_network *net, sterna_error *err)
{
    const sterna_config *c = net->config;
    sterna_network_state *s = net->state;
    size_t n = s->tokens, ffn = widest_ffn(c), q = q_size(c), kv = kv_size(c);
    size_t wide = q > c->width ? q : c->width, most = 0;
    if (ffn > wide) wide = ffn;
    for (uint32_t i = 0; i < c->n_layers; i++)
        for (int k = 0; k < STERNA_MATRICES; k++) {
            const sterna_linear *l = &net->layers[i].matrices[k];
            if (l->rows * l->cols > most) most = l->rows * l->cols;
        }
    sterna_attention_shape shape = {.length = net->options.length};
    bool back = net->options.backward;
    const struct {
        float **to;
        size_t rows, cols;
        bool needed;
    } buffers[] = {{&s->normed, n, wide, true},
                   {&s->turned, n, wide, true},
                   {&s->q, n, q, true},
                   {&s->k, n, kv, true},
                   {&s->wide, n, ffn, true},
                   {&s->weights, most, 1, true},
                   {&s->attention, sterna_attention_scratch(&shape, net->m.threads), 1, true},
                   {&s->dq, n, q, back},
                   {&s->dk, n, kv, back},
                   {&s->dv, n, kv, back},
                   {&s->dgate, n, ffn, back},
                   {&s->dup, n, ffn, back},
                   {&s->dinput, n, wide, back},
                   {&s->dnormed, n, wide, back},
                   {&s->dstream, n, c->width, back},
                   {&s->products, STERNA_GRADIENT_ROWS, wide, back},
                   {&s->parts, STERNA_SUM_PARTS, wide, back}};
    bool complete = new_streams(net);
    for (size_t i = 0; complete && i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].needed)
            complete = (*buffers[i].to = sterna_alloc_floats(buffers[i].rows, buffers[i].cols));
    return complete ? STERNA_OK : sterna_fail_memory(err, "the activations of a training step");
}

/* ---- opening ---- */

static void note_missing(void *context, const char *name)
{
    (void)context;
    (void)name; /* sterna_decoder_find_layer says so */
}

static sterna_status open_decoder(sterna_network *net, sterna_error *err)
{
    sterna_network_state *s = net->state;
    const sterna_cpu_options cpu = {.threads = 1, .plan = true};
    const sterna_decoder_options plan = {.on_missing = note_missing, .without_layers = true};
    sterna_status status = sterna_device_cpu_open(&cpu, &s->device, err);
    if (!status) status = sterna_decoder_load(net->file, s->device, &plan, &s->decoder, err);
    if (status) return status;
    net->config = sterna_decoder_config(s->decoder);
    if (net->config->ternarize)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model's weights become ternary at every step (BitNet), which "
                           "training of scales does not do",
                           net->file->path);
    if (net->options.length > net->config->context)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: windows of %zu tokens are longer than the model's context of %u",
                           net->file->path, net->options.length, net->config->context);
    return sterna_hadamard_read(net->file, &s->rules, err);
}

static sterna_status open_parts(sterna_network *net, sterna_error *err)
{
    sterna_network_state *s = net->state;
    sterna_status status = open_decoder(net, err);
    if (!status) status = sterna_decoder_find_ends(s->decoder, net->file, &net->ends, err);
    if (status) return status;
    sterna_weight_options options = {0};
    status = sterna_hadamard_apply(&s->rules, net->file->path, net->ends.embedding, &options, err);
    s->embedding_inverse = options.inverse_hadamard;
    if (!status) status = read_gain(net, net->ends.final_norm, &net->final_norm, err);
    net->layers = sterna_calloc(net->config->n_layers, sizeof *net->layers);
    if (!net->layers) return sterna_fail_memory(err, "the layers of a network");
    for (uint32_t i = 0; i < net->config->n_layers && !status; i++)
        status = read_layer(net, i, err);
    if (!status) status = make_turns(net, err);
    if (!status) status = make_buffers(net, err);
    return status;
}

sterna_status sterna_network_open(const sterna_model_file *file,
                                  const sterna_network_options *options, sterna_network **out,
                                  sterna_error *err)
{
    sterna_network *net = sterna_calloc(1, sizeof *net);
    sterna_network_state *state = sterna_calloc(1, sizeof *state);
    if (!net || !state) {
        sterna_free(net);
        sterna_free(state);
        return sterna_fail_memory(err, "a network");
    }
    net->file = file;
    net->options = *options;
    net->state = state;
    sterna_multiplier_init(&net->m, options->features, options->threads, options->exact);
    sterna_status status = STERNA_OK;
    if (!sterna_mul_size(options->windows, options->length, &state->tokens))
        status = sterna_fail_memory(err, "the windows of a training step");
    if (!status) status = open_parts(net, err);
    if (status)
        sterna_network_close(net);
    else
        *out = net;
    return status;
}

static void free_layers(sterna_network *net)
{
    for (uint32_t i = 0; net->layers && i < net->config->n_layers; i++) {
        for (int k = 0; k < STERNA_MATRICES; k++) {
            sterna_free(net->layers[i].matrices[k].bias);
            sterna_free(net->layers[i].matrices[k].fixed);
            sterna_factors_free(&net->layers[i].matrices[k].factors);
        }
        for (int k = 0; k < STERNA_NORMS; k++) free_gain(&net->layers[i].norms[k]);
    }
    free_gain(&net->final_norm);
    sterna_free(net->layers);
}

static void free_buffers(sterna_network *net)
{
    sterna_network_state *s = net->state;
    float *const buffers[] = {s->turns[0], s->turns[1], s->normed, s->turned,   s->q,
                              s->k,        s->dq,       s->dk,     s->dv,       s->wide,
                              s->dgate,    s->dup,      s->dinput, s->dnormed,  s->dstream,
                              s->weights,  s->products, s->parts,  s->attention};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) sterna_free(buffers[i]);
    for (uint32_t i = 0; s->streams && i <= net->config->n_layers; i++)
        if (net->options.backward || i < 2) sterna_free(s->streams[i]);
    for (size_t i = 0; s->kept && i <= s->kept_layers; i++) free_activations(&s->kept[i]);
    sterna_free(s->streams);
    sterna_free(s->kept);
    sterna_packed_free(&s->left);
    sterna_packed_free(&s->right);
    sterna_packed_free(&s->shared);
}

void sterna_network_close(sterna_network *net)
{
    if (!net) return;
    sterna_network_state *s = net->state;
    free_layers(net);
    free_buffers(net);
    sterna_hadamard_free(&s->rules);
    sterna_decoder_free(s->decoder);
    if (s->device) s->device->close(s->device);
    sterna_free(s);
    sterna_free(net);
}

/* ---- passes ---- */

static void embed(const sterna_network *net, const int32_t *ids)
{
    const sterna_network_state *s = net->state;
    size_t width = net->config->width;
#pragma omp parallel for schedule(static) num_threads(net->m.threads)
    for (size_t t = 0; t < s->tokens; t++) {
        float *row = s->streams[0] + t * width;
        sterna_tensor_row(net->ends.embedding, (uint64_t)ids[t], row);
        for (size_t i = 0; i < width; i++) row[i] *= net->config->embedding_scale;
    }
    if (s->embedding_inverse.block)
        sterna_transform_backward(&net->m, &s->embedding_inverse, s->streams[0], s->tokens, width,
                                  s->streams[0]);
}

sterna_status sterna_network_forward(sterna_network *net, const int32_t *ids, float *hidden,
                                     sterna_error *err)
{
    const sterna_network_state *s = net->state;
    const sterna_config *c = net->config;
    sterna_status status = STERNA_OK;
    embed(net, ids);
    for (uint32_t i = 0; i < c->n_layers && !status; i++)
        status = sterna_layer_forward(net, i, err);
    if (!status)
        sterna_norm_forward(&net->m, s->streams[c->n_layers], s->tokens, c->width,
                            net->final_norm.value, c->norm_eps, hidden);
    return status;
}

sterna_status sterna_network_backward(sterna_network *net, float *gradient, sterna_error *err)
{
    const sterna_network_state *s = net->state;
    const sterna_config *c = net->config;
    sterna_status status = STERNA_OK;
    sterna_norm_backward(&net->m, s->streams[c->n_layers], gradient, s->tokens, c->width,
                         net->final_norm.value, c->norm_eps, false, gradient,
                         net->final_norm.factors.gradient, s->parts);
    for (uint32_t i = c->n_layers; i-- > 0 && !status;)
        status = sterna_layer_backward(net, i, gradient, err);
    return status;
}
