/* Sessions: what stands in the cache, and the forward passes that extend it. */
#include "run/session.h"

#include <string.h>

#include "base/memory.h"

enum {
    PREFILL_TOKENS = 256,   /* of one forward pass */
    DEFAULT_CONTEXT = 4096, /* where neither the caller nor a shorter model says */
    EACH_BYTES = 8 << 20    /* of the rows of logits that sterna_run_append_each holds */
};

static size_t vocabulary_of(const sterna_session *session)
{
    return sterna_decoder_config(session->model->decoder)->vocabulary;
}

/* The model's buffers for forward passes, which all its sessions use in turn. */
static sterna_status join(sterna_session *session, sterna_error *err)
{
    sterna_model *model = session->model;
    sterna_status status = STERNA_OK;
    pthread_mutex_lock(&model->pass);
    uint32_t tokens = session->max_batch, capacity = session->capacity;
    if (tokens < model->pass_tokens) tokens = model->pass_tokens;
    if (capacity < model->pass_capacity) capacity = model->pass_capacity;
    if (tokens > model->pass_tokens || capacity > model->pass_capacity) {
        sterna_workspace *larger = NULL;
        status = sterna_workspace_new(model->decoder, tokens, capacity, &larger, err);
        if (!status) {
            sterna_workspace_free(model->workspace);
            model->workspace = larger;
            model->pass_tokens = tokens;
            model->pass_capacity = capacity;
        }
    }
    if (!status) model->sessions++;
    session->joined = !status;
    pthread_mutex_unlock(&model->pass);
    return status;
}

static void leave(sterna_session *session)
{
    sterna_model *model = session->model;
    if (!session->joined) return;
    pthread_mutex_lock(&model->pass);
    if (--model->sessions == 0) {
        sterna_workspace_free(model->workspace);
        model->workspace = NULL;
        model->pass_tokens = model->pass_capacity = 0;
    }
    pthread_mutex_unlock(&model->pass);
}

static sterna_status allocate(sterna_session *session, sterna_kv_type type, sterna_error *err)
{
    const sterna_config *config = sterna_decoder_config(session->model->decoder);
    sterna_device *device = session->model->device;
    session->tokens = sterna_alloc(session->capacity, sizeof *session->tokens);
    session->logits = sterna_alloc(config->vocabulary, sizeof *session->logits);
    session->places = sterna_alloc(session->max_batch, sizeof *session->places);
    session->lengths = sterna_alloc(session->max_batch, sizeof *session->lengths);
    session->rows = sterna_alloc(session->max_batch, sizeof *session->rows);
    if (!session->tokens || !session->logits || !session->places || !session->lengths ||
        !session->rows)
        return sterna_fail_memory(err, "a session");
    sterna_status status = device->kv_new(device, type, config->n_layers, config->kv_heads,
                                          config->head_dim, session->capacity, &session->kv, err);
    return status ? status : join(session, err);
}

sterna_status sterna_run_session_new(sterna_model *model, const sterna_session_options *options,
                                     sterna_session **out, sterna_error *err)
{
    static const sterna_kv_type types[] = {[STERNA_CACHE_F16] = STERNA_KV_F16,
                                           [STERNA_CACHE_F32] = STERNA_KV_F32,
                                           [STERNA_CACHE_Q8] = STERNA_KV_Q8};
    const sterna_session_options none = {0};
    if (!options) options = &none;
    if ((unsigned)options->cache >= sizeof types / sizeof *types)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT, "unknown cache type %u",
                           (unsigned)options->cache);
    if (options->context > STERNA_MAX_CONTEXT)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "a context of %u tokens is more than the limit %d", options->context,
                           STERNA_MAX_CONTEXT);
    sterna_session *session = sterna_calloc(1, sizeof *session);
    if (!session) return sterna_fail_memory(err, "a session");
    uint32_t trained = sterna_decoder_config(model->decoder)->context;
    session->model = model;
    session->capacity = options->context            ? options->context
                        : trained < DEFAULT_CONTEXT ? trained
                                                    : DEFAULT_CONTEXT;
    session->max_batch =
        session->capacity < PREFILL_TOKENS ? session->capacity : (uint32_t)PREFILL_TOKENS;
    atomic_init(&session->cancelled, false);
    sterna_status status = allocate(session, types[options->cache], err);
    if (status) {
        sterna_run_session_free(session);
        return status;
    }
    *out = session;
    return STERNA_OK;
}

void sterna_run_session_free(sterna_session *session)
{
    if (!session) return;
    sterna_device *device = session->model->device;
    if (session->kv) device->kv_free(device, session->kv);
    leave(session);
    sterna_free(session->tokens);
    sterna_free(session->logits);
    sterna_free(session->places);
    sterna_free(session->lengths);
    sterna_free(session->rows);
    sterna_free(session);
}

static sterna_status check_ids(const sterna_session *session, const int32_t *ids, size_t count,
                               sterna_error *err)
{
    size_t vocabulary = vocabulary_of(session);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= vocabulary)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "token id %d is not in the model's vocabulary of %zu", ids[i],
                               vocabulary);
    if (count > session->capacity - session->length)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%zu more tokens do not fit into the context: %u of %u are in use; take "
                           "a larger context",
                           count, session->length, session->capacity);
    return STERNA_OK;
}

/* One forward pass over `n` tokens of a prompt that will end at `length`. */
static void pass(sterna_session *session, const int32_t *ids, uint32_t n, uint32_t length)
{
    for (uint32_t i = 0; i < n; i++) {
        session->places[i] = (sterna_batch_place){session->kv, session->length + i};
        session->lengths[i] = length;
        session->tokens[session->length + i] = ids[i];
    }
    const sterna_forward call = {
        .ids = ids, .places = session->places, .lengths = session->lengths, .n = n};
    sterna_decoder_forward(session->model->workspace, &call);
    session->length += n;
}

/* What to do with the logits of tokens first.. of an append: either may be NULL. */
typedef struct wanted {
    size_t first;
    float *all; /* [count][vocabulary] */
    sterna_on_logits on_logits;
    void *context;
    float *rows; /* [n_rows][vocabulary], for on_logits */
    size_t n_rows;
} wanted;

/* Logits of the n tokens that stand behind `at` in the append. The caller holds `pass`. */
static void give(sterna_session *session, size_t at, size_t n, const wanted *want)
{
    size_t vocabulary = vocabulary_of(session);
    size_t from = want->first > at ? want->first - at : 0;
    if (want->all && from < n)
        sterna_decoder_logits(session->model->workspace, from, n - from,
                              want->all + (at + from) * vocabulary, NULL);
    for (size_t i = from; want->on_logits && i < n; i += want->n_rows) {
        size_t count = n - i < want->n_rows ? n - i : want->n_rows;
        sterna_decoder_logits(session->model->workspace, i, count, want->rows, NULL);
        for (size_t k = 0; k < count; k++)
            want->on_logits(want->context, at + i + k, want->rows + k * vocabulary);
    }
}

static sterna_status append(sterna_session *session, const int32_t *ids, size_t count,
                            const wanted *want, sterna_error *err)
{
    sterna_status status = check_ids(session, ids, count, err);
    if (status || count == 0) return status;
    uint32_t before = session->length, length = before + (uint32_t)count;
    for (size_t at = 0; at < count;) {
        if (atomic_load(&session->cancelled)) {
            sterna_run_rewind(session, before);
            return sterna_fail(err, STERNA_ERROR_CANCELLED, "the session was cancelled");
        }
        uint32_t n = count - at < session->max_batch ? (uint32_t)(count - at) : session->max_batch;
        session->has_logits = false;
        pthread_mutex_lock(&session->model->pass);
        pass(session, ids + at, n, length);
        if (want) give(session, at, n, want);
        at += n;
        if (at == count)
            sterna_decoder_logits(session->model->workspace, n - 1, 1, session->logits, NULL);
        pthread_mutex_unlock(&session->model->pass);
    }
    session->has_logits = true;
    return STERNA_OK;
}

sterna_status sterna_run_append(sterna_session *session, const int32_t *ids, size_t count,
                                float *logits, sterna_error *err)
{
    const wanted want = {.all = logits};
    atomic_store(&session->cancelled, false);
    return append(session, ids, count, logits ? &want : NULL, err);
}

sterna_status sterna_run_extend(sterna_session *session, const int32_t *ids, size_t count,
                                sterna_error *err)
{
    return append(session, ids, count, NULL, err);
}

sterna_status sterna_run_append_each(sterna_session *session, const int32_t *ids, size_t count,
                                     size_t first, sterna_on_logits on_logits, void *context,
                                     sterna_error *err)
{
    size_t vocabulary = vocabulary_of(session);
    wanted want = {.first = first, .on_logits = on_logits, .context = context};
    want.n_rows = EACH_BYTES / sizeof(float) / vocabulary;
    if (want.n_rows == 0) want.n_rows = 1;
    want.rows = sterna_alloc(want.n_rows * vocabulary, sizeof *want.rows);
    if (!want.rows) return sterna_fail_memory(err, "rows of logits");
    atomic_store(&session->cancelled, false);
    sterna_status status = append(session, ids, count, &want, err);
    sterna_free(want.rows);
    return status;
}

static sterna_status check_step(sterna_session *const *sessions, const int32_t *ids, size_t count,
                                sterna_error *err)
{
    if (count > sessions[0]->max_batch)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%zu sessions in one step; the first one has room for %u", count,
                           sessions[0]->max_batch);
    for (size_t i = 0; i < count; i++) {
        if (sessions[i]->model != sessions[0]->model)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "sessions of different models cannot share a step");
        for (size_t k = 0; k < i; k++)
            if (sessions[k] == sessions[i])
                return sterna_fail(err, STERNA_ERROR_ARGUMENT, "one session twice in one step");
        sterna_status status = check_ids(sessions[i], &ids[i], 1, err);
        if (status) return status;
    }
    return STERNA_OK;
}

sterna_status sterna_run_step(sterna_session *const *sessions, const int32_t *ids, size_t count,
                              sterna_error *err)
{
    if (count == 0) return STERNA_OK;
    sterna_status status = check_step(sessions, ids, count, err);
    if (status) return status;
    sterna_session *lead = sessions[0];
    for (size_t i = 0; i < count; i++) {
        sterna_session *session = sessions[i];
        lead->places[i] = (sterna_batch_place){session->kv, session->length};
        session->tokens[session->length++] = ids[i];
        lead->lengths[i] = session->length;
        lead->rows[i] = session->logits;
        session->has_logits = true;
    }
    const sterna_forward call = {
        .ids = ids, .places = lead->places, .lengths = lead->lengths, .n = count};
    pthread_mutex_lock(&lead->model->pass);
    sterna_decoder_forward(lead->model->workspace, &call);
    sterna_decoder_logits(lead->model->workspace, 0, count, NULL, lead->rows);
    pthread_mutex_unlock(&lead->model->pass);
    return STERNA_OK;
}

void sterna_run_rewind(sterna_session *session, size_t length)
{
    if (length >= session->length) return;
    session->length = (uint32_t)length;
    session->has_logits = false;
}

void sterna_run_cancel(sterna_session *session)
{
    atomic_store(&session->cancelled, true);
}
