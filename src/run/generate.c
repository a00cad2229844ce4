/* Generation: append the prompt, then pick, show and append tokens until something ends it. */
#include "run/generate.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

typedef struct generation {
    sterna_session *session;
    const sterna_generate_options *options;
    const sterna_tokenizer *tokenizer; /* NULL: nobody wants text */
    sterna_sampler sampler;
    sterna_detok detok;
    sterna_buffer held; /* text not shown yet: it may be the beginning of a stop text */
    sterna_buffer text; /* the answer, when the caller wants it */
    sterna_stop_reason reason;
    bool stopped;
} generation;

static void stop(generation *g, sterna_stop_reason reason)
{
    g->stopped = true;
    g->reason = reason;
}

static void show(generation *g, size_t size)
{
    if (size == 0) return;
    if (g->options->text) sterna_buffer_add(&g->text, g->held.data, size);
    if (g->options->on_text && !g->options->on_text(g->options->context, g->held.data, size) &&
        !g->stopped)
        stop(g, STERNA_STOP_CALLER);
    memmove(g->held.data, g->held.data + size, g->held.size - size);
    g->held.size -= size;
}

/* Where the first stop text begins in the held text; its size when none does. *keep: how many bytes
 * at the end are the beginning of one. */
static size_t find_stop(const generation *g, size_t *keep)
{
    size_t size = g->held.size, found = size;
    *keep = 0;
    for (size_t s = 0; s < g->options->stop_count; s++) {
        const char *text = g->options->stop[s];
        size_t length = text ? strlen(text) : 0;
        for (size_t at = 0; length && at < found; at++) {
            size_t left = size - at, n = left < length ? left : length;
            if (memcmp(g->held.data + at, text, n) != 0) continue;
            if (n == length)
                found = at;
            else if (left > *keep)
                *keep = left;
        }
    }
    return found;
}

/* Shows what can no longer become part of a stop text; everything when `end`. */
static void release_text(generation *g, bool end)
{
    size_t keep, found = find_stop(g, &keep);
    if (found < g->held.size) {
        stop(g, STERNA_STOP_TEXT);
        show(g, found);
        sterna_buffer_clear(&g->held);
        return;
    }
    show(g, end ? g->held.size : g->held.size - keep);
}

static sterna_status accept(generation *g, int32_t id, sterna_error *err)
{
    if (g->tokenizer) {
        sterna_status status = STERNA_OK;
        if ((size_t)id < sterna_tokenizer_size(g->tokenizer)) /* padding rows have no text */
            status = sterna_detok_push(&g->detok, id, &g->held, err);
        if (status) return status;
        release_text(g, false);
    }
    return sterna_run_extend(g->session, &id, 1, err);
}

static bool ends_answer(const generation *g, int32_t id)
{
    const sterna_model *model = g->session->model;
    for (size_t i = 0; i < model->n_ends; i++)
        if (model->ends[i] == id) return true;
    return g->tokenizer && sterna_token_ends_generation(g->tokenizer, id);
}

static sterna_status loop(generation *g, sterna_generate_result *result, sterna_error *err)
{
    sterna_session *session = g->session;
    uint32_t most = g->options->n_predict;
    while (!g->stopped) {
        if (atomic_load(&session->cancelled)) {
            stop(g, STERNA_STOP_CALLER);
            break;
        }
        if (session->length == session->capacity || (most && result->tokens == most)) {
            stop(g, STERNA_STOP_LENGTH);
            break;
        }
        int32_t id =
            sterna_sampler_pick(&g->sampler, session->logits, session->tokens, session->length);
        if (id < 0)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "the model's logits are not finite after %u tokens: its weights are "
                               "damaged or overflow",
                               session->length);
        if (!g->options->ignore_end && ends_answer(g, id)) {
            stop(g, STERNA_STOP_END);
            break;
        }
        sterna_status status = accept(g, id, err);
        if (status == STERNA_ERROR_CANCELLED) {
            stop(g, STERNA_STOP_CALLER);
            break;
        }
        if (status) return status;
        result->tokens++;
    }
    if (!g->tokenizer || g->reason == STERNA_STOP_TEXT) return STERNA_OK;
    sterna_status status = sterna_detok_flush(&g->detok, &g->held, err);
    if (!status) release_text(g, true);
    return status;
}

static sterna_status check(const sterna_session *session, size_t count,
                           const sterna_generate_options *options, sterna_error *err)
{
    bool wants_text = options->on_text || options->text || options->stop_count;
    if (wants_text && !session->model->tokenizer)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model's files hold no tokenizer, so its answer has no text",
                           session->model->path);
    if (count == 0 && !session->has_logits)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "nothing to continue: the prompt is empty and so is the session");
    return STERNA_OK;
}

static sterna_status run(generation *g, const int32_t *prompt, size_t count,
                         sterna_generate_result *result, sterna_error *err)
{
    double start = sterna_now();
    sterna_status status = sterna_run_extend(g->session, prompt, count, err);
    double decoding = sterna_now();
    result->prompt_s = decoding - start;
    if (status == STERNA_ERROR_CANCELLED) {
        stop(g, STERNA_STOP_CALLER);
        return STERNA_OK;
    }
    if (!status) {
        result->prompt_tokens = count;
        status = loop(g, result, err);
    }
    result->decode_s = sterna_now() - decoding;
    if (!status && (g->held.failed || g->text.failed))
        status = sterna_fail_memory(err, "the answer's text");
    return status;
}

/* Whether the answer's first token opens a text: tokenizers take away the space that they put
 * before one. It does when nothing but BOS stands before it. */
static bool opens_text(const sterna_session *session, const int32_t *prompt, size_t count)
{
    int32_t last = count ? prompt[count - 1] : session->tokens[session->length - 1];
    return last == sterna_token_id(session->model->tokenizer, STERNA_TOKEN_BOS);
}

sterna_status sterna_run_generate(sterna_session *session, const int32_t *prompt, size_t count,
                                  const sterna_generate_options *options,
                                  sterna_generate_result *result, sterna_error *err)
{
    sterna_status status = check(session, count, options, err);
    if (status) return status;
    generation g = {.session = session, .options = options};
    sterna_generate_result local = {0};
    g.tokenizer = session->model->tokenizer;
    status = sterna_sampler_init(&g.sampler, &options->sampling,
                                 sterna_decoder_config(session->model->decoder)->vocabulary, err);
    if (status) return status;
    if (g.tokenizer) {
        sterna_detok_init(&g.detok, g.tokenizer, STERNA_SKIP_SPECIAL);
        if (!opens_text(session, prompt, count)) sterna_detok_continue(&g.detok);
    }
    atomic_store(&session->cancelled, false);
    status = run(&g, prompt, count, &local, err);
    if (!status && options->text) {
        if (!g.text.data) sterna_buffer_add(&g.text, "", 0);
        *options->text = sterna_buffer_take(&g.text);
        if (!*options->text) status = sterna_fail_memory(err, "the answer's text");
    }
    local.reason = g.reason;
    if (!status && result) *result = local;
    sterna_sampler_free(&g.sampler);
    sterna_buffer_free(&g.held);
    sterna_buffer_free(&g.text);
    return status;
}
