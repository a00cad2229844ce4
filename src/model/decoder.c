/* The forward pass, written once over the device's table. What a family has and another has not is
 * a part that is there or NULL; nothing here asks for a family's name. */

#include "base/clock.h"
#include "base/memory.h"
#include "model/decoder.h"

/* Bytes of the device buffer that logits pass through: larger calls go in slices of rows. */
enum { LOGIT_BYTES = 8 << 20 };

struct sterna_workspace {
    sterna_decoder *decoder;
    size_t max_tokens, logit_rows;
    /* device memory */
    float *x;         /* [max_tokens][width]: the residual stream */
    float *normed;    /* [max_tokens][width] */
    float *q, *mixed; /* [max_tokens][heads][head_dim] */
    float *k, *v;     /* [max_tokens][kv_heads][head_dim] */
    float *gate, *up; /* [max_tokens][max_ffn] */
    float *out;       /* [max_tokens][width]: what a block adds to the stream */
    float *logits;    /* [logit_rows][vocabulary] */
    float *frequencies[STERNA_ROPE_KINDS]; /* [dims/2] */
    float *turns[STERNA_ROPE_KINDS];       /* [max_tokens][dims/2][2] */
    float rope_scale[STERNA_ROPE_KINDS];
    float *host_frequencies;  /* [head_dim/2] */
    sterna_pass_times *times; /* NULL: nobody measures */
};

static double begin_timing(const sterna_workspace *w)
{
    return w->times ? sterna_now() : 0;
}

static void multiply(const sterna_workspace *w, const float *x, size_t n,
                     const sterna_product *products, size_t count)
{
    sterna_device *device = w->decoder->device;
    double start = begin_timing(w);
    device->matmul(device, x, n, products, count);
    if (w->times) w->times->matmul += sterna_now() - start;
}

static void set_frequencies(sterna_workspace *w, int kind, uint32_t length)
{
    const sterna_rope_config *rope = &w->decoder->config.rope[kind];
    sterna_device *device = w->decoder->device;
    sterna_rope_frequencies(rope, length, w->host_frequencies, &w->rope_scale[kind]);
    device->upload(device, w->frequencies[kind], w->host_frequencies,
                   rope->dims / 2 * sizeof(float));
}

static sterna_status allocate(sterna_workspace *w, sterna_error *err)
{
    sterna_device *device = w->decoder->device;
    const sterna_config *config = &w->decoder->config;
    size_t q = (size_t)config->heads * config->head_dim,
           kv = (size_t)config->kv_heads * config->head_dim, n = w->max_tokens;
    const struct {
        float **out;
        size_t rows, columns;
    } buffers[] = {{&w->x, n, config->width},
                   {&w->normed, n, config->width},
                   {&w->q, n, q},
                   {&w->mixed, n, q},
                   {&w->k, n, kv},
                   {&w->v, n, kv},
                   {&w->gate, n, w->decoder->max_ffn},
                   {&w->up, n, w->decoder->max_ffn},
                   {&w->out, n, config->width},
                   {&w->logits, w->logit_rows, config->vocabulary},
                   {&w->frequencies[0], 1, config->rope[0].dims / 2},
                   {&w->frequencies[1], 1, config->rope[1].dims / 2},
                   {&w->turns[0], n, config->rope[0].dims},
                   {&w->turns[1], n, config->rope[1].dims}};
    w->host_frequencies = sterna_alloc(config->head_dim / 2, sizeof(float));
    bool complete = w->host_frequencies;
    for (size_t i = 0; complete && i < sizeof buffers / sizeof *buffers; i++) {
        size_t count, bytes;
        if (sterna_mul_size(buffers[i].rows, buffers[i].columns, &count) &&
            sterna_mul_size(count, sizeof(float), &bytes))
            *buffers[i].out = device->alloc(device, bytes);
        complete = *buffers[i].out;
    }
    return complete ? STERNA_OK : sterna_fail_memory(err, "the buffers of a forward pass");
}

static uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

sterna_status sterna_workspace_new(sterna_decoder *decoder, size_t max_tokens, uint32_t capacity,
                                   sterna_workspace **out, sterna_error *err)
{
    const sterna_config *config = &decoder->config;
    sterna_device *device = decoder->device;
    sterna_workspace *w = sterna_calloc(1, sizeof *w);
    if (!w) return sterna_fail_memory(err, "a workspace");
    w->decoder = decoder;
    w->max_tokens = max_tokens;
    w->logit_rows = LOGIT_BYTES / sizeof(float) / config->vocabulary;
    if (w->logit_rows > max_tokens) w->logit_rows = max_tokens;
    if (w->logit_rows == 0) w->logit_rows = 1;
    uint64_t q = (uint64_t)config->heads * config->head_dim,
             wide = largest(largest(config->width, q), decoder->max_ffn);
    sterna_status status = allocate(w, err);
    if (!status) {
        pthread_mutex_lock(&decoder->turn);
        status = device->reserve(device, max_tokens, wide, largest(wide, config->vocabulary),
                                 config->heads, capacity, err);
        pthread_mutex_unlock(&decoder->turn);
    }
    if (status) {
        sterna_workspace_free(w);
        return status;
    }
    for (int kind = 0; kind < STERNA_ROPE_KINDS; kind++) set_frequencies(w, kind, 0);
    *out = w;
    return STERNA_OK;
}

void sterna_workspace_free(sterna_workspace *w)
{
    if (!w) return;
    sterna_device *device = w->decoder->device;
    float *const buffers[] = {w->x,
                              w->normed,
                              w->q,
                              w->mixed,
                              w->k,
                              w->v,
                              w->gate,
                              w->up,
                              w->out,
                              w->logits,
                              w->turns[0],
                              w->turns[1],
                              w->frequencies[0],
                              w->frequencies[1]};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i]) device->release(device, buffers[i]);
    sterna_free(w->host_frequencies);
    sterna_free(w);
}

/* Cosines and sines for every token. Where the frequencies depend on the length, tokens of one
 * length (that is, of one sequence, or of several as long) share a call. */
static void make_turns(sterna_workspace *w, const sterna_forward *call)
{
    sterna_device *device = w->decoder->device;
    for (int kind = 0; kind < STERNA_ROPE_KINDS; kind++) {
        const sterna_rope_config *rope = &w->decoder->config.rope[kind];
        size_t pairs = rope->dims / 2;
        bool varies = sterna_rope_depends_on_length(rope);
        for (size_t i = 0, end; i < call->n; i = end) {
            end = call->n;
            if (varies) {
                for (end = i + 1; end < call->n && call->lengths[end] == call->lengths[i];) end++;
                set_frequencies(w, kind, call->lengths[i]);
            }
            device->rope_table(device, call->places + i, end - i, w->frequencies[kind], pairs,
                               w->rope_scale[kind], w->turns[kind] + i * 2 * pairs);
        }
    }
}

/* The norm of a slot in place; a slot that the family lacks leaves x as it is. */
static void norm_in_place(const sterna_workspace *w, const sterna_part *part, float *x, size_t rows,
                          size_t columns)
{
    sterna_device *device = w->decoder->device;
    if (part->vector)
        device->rmsnorm(device, x, rows, columns, part->vector, w->decoder->config.norm_eps, x);
}

/* ---- the six stages of a layer ---- */

static void attention_in(const sterna_workspace *w, const sterna_forward *call, uint32_t index)
{
    sterna_device *device = w->decoder->device;
    const sterna_config *config = &w->decoder->config;
    device->rmsnorm(device, w->x, call->n, config->width,
                    w->decoder->layers[index].part[STERNA_SLOT_ATTN_NORM].vector, config->norm_eps,
                    w->normed);
}

static void attention_mix(const sterna_workspace *w, const sterna_forward *call, uint32_t index)
{
    sterna_device *device = w->decoder->device;
    const sterna_config *config = &w->decoder->config;
    const sterna_layer_config *layer = &config->layers[index];
    const sterna_part *part = w->decoder->layers[index].part;
    size_t n = call->n, heads = config->heads, kv_heads = config->kv_heads, dim = config->head_dim;

    const sterna_product qkv[] = {
        {part[STERNA_SLOT_Q].weight, part[STERNA_SLOT_Q].vector, w->q, 0},
        {part[STERNA_SLOT_K].weight, part[STERNA_SLOT_K].vector, w->k, 0},
        {part[STERNA_SLOT_V].weight, part[STERNA_SLOT_V].vector, w->v, 0}};
    multiply(w, w->normed, n, qkv, 3);
    norm_in_place(w, &part[STERNA_SLOT_Q_NORM], w->q, n * heads, dim);
    norm_in_place(w, &part[STERNA_SLOT_K_NORM], w->k, n * kv_heads, dim);
    if (layer->rope != STERNA_ROPE_ABSENT) {
        size_t pairs = config->rope[layer->rope].dims / 2;
        const float *turns = w->turns[layer->rope];
        device->rope(device, w->q, n, heads, dim, turns, pairs, config->rope_style);
        device->rope(device, w->k, n, kv_heads, dim, turns, pairs, config->rope_style);
    }
    device->kv_store(device, call->places, n, index, w->k, w->v);
    const sterna_attention attention = {.q = w->q,
                                        .out = w->mixed,
                                        .places = call->places,
                                        .n = n,
                                        .layer = index,
                                        .heads = config->heads,
                                        .kv_heads = config->kv_heads,
                                        .head_dim = config->head_dim,
                                        .scale = config->attention_scale,
                                        .soft_cap = config->attention_soft_cap,
                                        .window = layer->window};
    double start = begin_timing(w);
    device->attention(device, &attention);
    if (w->times) w->times->attention += sterna_now() - start;
    norm_in_place(w, &part[STERNA_SLOT_ATTN_SUB_NORM], w->mixed, n, heads * dim);
}

/* x += norm(weight . input): the end of both blocks. */
static void add_output(const sterna_workspace *w, const sterna_forward *call, const float *input,
                       const sterna_part *matrix, const sterna_part *norm)
{
    sterna_device *device = w->decoder->device;
    size_t width = w->decoder->config.width;
    const sterna_product out = {matrix->weight, matrix->vector, w->out, 0};
    multiply(w, input, call->n, &out, 1);
    norm_in_place(w, norm, w->out, call->n, width);
    device->add(device, w->x, w->out, call->n * width);
}

static void attention_out(const sterna_workspace *w, const sterna_forward *call, uint32_t index)
{
    const sterna_part *part = w->decoder->layers[index].part;
    add_output(w, call, w->mixed, &part[STERNA_SLOT_OUT], &part[STERNA_SLOT_ATTN_POST_NORM]);
}

static void ffn_in(const sterna_workspace *w, const sterna_forward *call, uint32_t index)
{
    sterna_device *device = w->decoder->device;
    const sterna_config *config = &w->decoder->config;
    device->rmsnorm(device, w->x, call->n, config->width,
                    w->decoder->layers[index].part[STERNA_SLOT_FFN_NORM].vector, config->norm_eps,
                    w->normed);
}

static void ffn_mix(const sterna_workspace *w, const sterna_forward *call, uint32_t index)
{
    sterna_device *device = w->decoder->device;
    const sterna_config *config = &w->decoder->config;
    const sterna_part *part = w->decoder->layers[index].part;
    size_t width = config->layers[index].ffn_width;

    const sterna_product in[] = {
        {part[STERNA_SLOT_GATE].weight, part[STERNA_SLOT_GATE].vector, w->gate, 0},
        {part[STERNA_SLOT_UP].weight, part[STERNA_SLOT_UP].vector, w->up, 0}};
    multiply(w, w->normed, call->n, in, 2);
    device->gate(device, config->gate, w->gate, w->up, w->gate, call->n * width);
    norm_in_place(w, &part[STERNA_SLOT_FFN_SUB_NORM], w->gate, call->n, width);
}

static void ffn_out(const sterna_workspace *w, const sterna_forward *call, uint32_t index)
{
    const sterna_part *part = w->decoder->layers[index].part;
    add_output(w, call, w->gate, &part[STERNA_SLOT_DOWN], &part[STERNA_SLOT_FFN_POST_NORM]);
}

static void run_stage(const sterna_workspace *w, const sterna_forward *call, uint32_t layer,
                      sterna_stage stage)
{
    static void (*const stages[])(const sterna_workspace *, const sterna_forward *,
                                  uint32_t) = {[STERNA_STAGE_ATTENTION_IN] = attention_in,
                                               [STERNA_STAGE_ATTENTION_MIX] = attention_mix,
                                               [STERNA_STAGE_ATTENTION_OUT] = attention_out,
                                               [STERNA_STAGE_FFN_IN] = ffn_in,
                                               [STERNA_STAGE_FFN_MIX] = ffn_mix,
                                               [STERNA_STAGE_FFN_OUT] = ffn_out};
    stages[stage](w, call, layer);
}

static void begin(sterna_workspace *w, const sterna_forward *call)
{
    sterna_decoder *decoder = w->decoder;
    make_turns(w, call);
    decoder->device->embed(decoder->device, decoder->embedding.weight, call->ids, call->n,
                           decoder->config.embedding_scale, w->x);
}

void sterna_decoder_forward(sterna_workspace *w, const sterna_forward *call)
{
    sterna_decoder *decoder = w->decoder;
    pthread_mutex_lock(&decoder->turn);
    double start = begin_timing(w);
    begin(w, call);
    for (uint32_t layer = 0; layer < decoder->config.n_layers; layer++)
        for (int stage = 0; stage < STERNA_STAGES; stage++)
            run_stage(w, call, layer, (sterna_stage)stage);
    if (w->times) w->times->total += sterna_now() - start;
    pthread_mutex_unlock(&decoder->turn);
}

void sterna_workspace_time(sterna_workspace *w, sterna_pass_times *times)
{
    w->times = times;
}

void sterna_decoder_begin(sterna_workspace *w, const sterna_forward *call)
{
    pthread_mutex_lock(&w->decoder->turn);
    begin(w, call);
    pthread_mutex_unlock(&w->decoder->turn);
}

void sterna_decoder_stage(sterna_workspace *w, const sterna_forward *call, uint32_t layer,
                          sterna_stage stage)
{
    pthread_mutex_lock(&w->decoder->turn);
    run_stage(w, call, layer, stage);
    pthread_mutex_unlock(&w->decoder->turn);
}

float *sterna_workspace_stream(const sterna_workspace *w)
{
    return w->x;
}

float *sterna_workspace_input(const sterna_workspace *w, sterna_stage stage)
{
    switch (stage) {
    case STERNA_STAGE_ATTENTION_MIX: return w->mixed;
    case STERNA_STAGE_FFN_MIX: return w->gate;
    default: return w->normed;
    }
}

void sterna_decoder_logits(sterna_workspace *w, size_t first, size_t count, float *logits,
                           float *const *rows)
{
    sterna_decoder *decoder = w->decoder;
    sterna_device *device = decoder->device;
    const sterna_config *config = &decoder->config;
    size_t vocabulary = config->vocabulary;
    pthread_mutex_lock(&decoder->turn);
    double start = begin_timing(w);
    for (size_t done = 0; done < count;) {
        size_t n = count - done < w->logit_rows ? count - done : w->logit_rows;
        device->rmsnorm(device, w->x + (first + done) * config->width, n, config->width,
                        decoder->final_norm.vector, config->norm_eps, w->normed);
        const sterna_product head = {decoder->head.weight, decoder->head.vector, w->logits, 0};
        multiply(w, w->normed, n, &head, 1);
        if (config->logit_soft_cap > 0)
            device->soft_cap(device, w->logits, n * vocabulary, config->logit_soft_cap);
        for (size_t i = 0; i < n; i++)
            device->download(device, rows ? rows[done + i] : logits + (done + i) * vocabulary,
                             w->logits + i * vocabulary, vocabulary * sizeof *logits);
        done += n;
    }
    if (w->times) w->times->total += sterna_now() - start;
    pthread_mutex_unlock(&decoder->turn);
}
