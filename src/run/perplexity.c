/* Perplexity, and the divergence of one model from another on the same text.
 *
 * Without a stride the protocol is llama.cpp's, so that figures compare: windows of `context`
 * tokens without overlap, the first token of each replaced by BOS where the model's files ask for
 * one, the tokens behind the middle scored. With a stride it is the sliding one of Hugging Face's
 * guide: windows move by `stride`, and each scores what the one before it has not seen. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "run/eval.h"
#include "run/likelihood.h"

enum {
    DEFAULT_WINDOW = 512,
    COMPARED_TOKENS = 32 /* of a pass when two models are compared: their logits are held */
};

typedef struct measure {
    size_t count, agreed;
    double nll, nll2, kl, kl2; /* sums, and sums of squares */
    double other_nll;
} measure;

typedef struct evaluation {
    sterna_session *session, *other; /* other: NULL without comparison */
    size_t vocabulary, context;
    int32_t *window;     /* [context] */
    size_t at;           /* of the segment in the window */
    size_t first_target; /* the first token of the window that is scored */
    float *reference;    /* [COMPARED_TOKENS][vocabulary]: the other model's logits */
    measure sum;
} evaluation;

static void score(void *context, size_t index, const float *logits)
{
    evaluation *e = context;
    measure *sum = &e->sum;
    size_t target = e->at + index + 1;
    if (target < e->first_target) return;
    double nll =
        sterna_log_sum_exp(logits, e->vocabulary, NULL) - (double)logits[e->window[target]];
    sum->nll += nll;
    sum->nll2 += nll * nll;
    sum->count++;
    if (!e->other) return;
    bool agree;
    double log_sum;
    const float *reference = e->reference + index * e->vocabulary;
    double kl = sterna_divergence(reference, logits, e->vocabulary, &log_sum, &agree);
    sum->other_nll += log_sum - (double)reference[e->window[target]];
    sum->kl += kl;
    sum->kl2 += kl * kl;
    sum->agreed += agree;
}

/* Scores tokens first_target..n-1 of the window. */
static sterna_status run_window(evaluation *e, size_t n, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    sterna_run_rewind(e->session, 0);
    if (e->other) sterna_run_rewind(e->other, 0);
    size_t unscored = e->first_target - 1;
    e->at = 0;
    if (e->other && unscored > 0) { /* both models read what only conditions */
        status = sterna_run_append(e->session, e->window, unscored, NULL, err);
        if (!status) status = sterna_run_append(e->other, e->window, unscored, NULL, err);
        e->at = unscored;
    }
    while (!status && e->at < n - 1) { /* nothing follows the last token */
        size_t count = n - 1 - e->at;
        if (e->other && count > COMPARED_TOKENS) count = COMPARED_TOKENS;
        if (e->other)
            status = sterna_run_append(e->other, e->window + e->at, count, e->reference, err);
        if (!status)
            status = sterna_run_append_each(e->session, e->window + e->at, count,
                                            e->at < unscored ? unscored - e->at : 0, score, e, err);
        e->at += count;
    }
    return status;
}

static bool report(const sterna_eval_options *options, size_t done, size_t total)
{
    return !options->progress ||
           options->progress(options->progress_context, "evaluating", (double)done, (double)total);
}

/* How many windows `n` tokens give. */
static size_t count_windows(size_t n, size_t context, size_t stride)
{
    if (stride == 0) return n / context;
    return n <= context ? 1 : 1 + (n - context + stride - 1) / stride;
}

static sterna_status run_windows(evaluation *e, const int32_t *tokens, size_t n,
                                 const sterna_eval_options *options, int32_t bos, size_t *windows,
                                 sterna_error *err)
{
    size_t stride = options->stride, step = stride ? stride : e->context, scored = 1;
    size_t total = count_windows(n, e->context, stride);
    if (options->limit && total > options->limit) total = options->limit;
    for (size_t i = 0; i < total; i++) {
        if (!report(options, i, total))
            return sterna_fail(err, STERNA_ERROR_CANCELLED, "the evaluation was cancelled");
        size_t start = i * step, size = n - start < e->context ? n - start : e->context;
        for (size_t k = 0; k < size; k++) e->window[k] = tokens[start + k];
        if (bos >= 0) e->window[0] = bos;
        e->first_target = stride ? scored - start : e->context / 2 + 1;
        if (e->first_target == 0) e->first_target = 1; /* stride = context: nothing before it */
        sterna_status status = run_window(e, size, err);
        if (status) return status;
        scored = start + size;
    }
    report(options, total, total);
    *windows = total;
    return STERNA_OK;
}

static double standard_error(double sum, double sum2, size_t count)
{
    if (count < 2) return 0;
    double n = (double)count, mean = sum / n, variance = sum2 / n - mean * mean;
    return variance > 0 ? sqrt(variance / (n - 1)) : 0;
}

static sterna_status finish(const evaluation *e, sterna_perplexity_result *result, size_t windows,
                            sterna_error *err)
{
    const measure *sum = &e->sum;
    double n = (double)sum->count;
    if (!isfinite(sum->nll) || !isfinite(sum->kl))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the model's logits are not finite: its weights are damaged or "
                           "overflow",
                           e->session->model->path);
    *result = (sterna_perplexity_result){
        .perplexity = exp(sum->nll / n),
        .nll = sum->nll / n,
        .standard_error = standard_error(sum->nll, sum->nll2, sum->count),
        .tokens = sum->count,
        .windows = windows,
        .kl = sum->kl / n,
        .kl_standard_error = standard_error(sum->kl, sum->kl2, sum->count),
        .agreement = (double)sum->agreed / n,
        .other_perplexity = e->other ? exp(sum->other_nll / n) : 0};
    return STERNA_OK;
}

/* Two models compare only where every id means the same. */
static sterna_status check_other(const sterna_model *model, const sterna_model *other,
                                 sterna_error *err)
{
    size_t vocabulary = sterna_decoder_config(model->decoder)->vocabulary,
           theirs = sterna_decoder_config(other->decoder)->vocabulary;
    bool same = other->tokenizer && vocabulary == theirs &&
                sterna_tokenizer_size(model->tokenizer) == sterna_tokenizer_size(other->tokenizer);
    for (size_t i = 0; same && i < sterna_tokenizer_size(model->tokenizer); i++) {
        sterna_text a = sterna_token_text(model->tokenizer, (int32_t)i),
                    b = sterna_token_text(other->tokenizer, (int32_t)i);
        same = a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
    }
    if (same) return STERNA_OK;
    return sterna_fail(
        err, STERNA_ERROR_ARGUMENT,
        "%s and %s have different vocabularies: their predictions cannot be compared", model->path,
        other->path);
}

static sterna_status check_options(const sterna_model *model, const sterna_eval_options *options,
                                   size_t context, sterna_error *err)
{
    if (!model->tokenizer)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model's files hold no tokenizer, so no text can be scored",
                           model->path);
    if (context < 4)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "windows of %zu tokens; at least 4 are "
                           "needed",
                           context);
    if (options->stride > context)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "a stride of %u leaves gaps between windows of %zu tokens",
                           options->stride, context);
    return STERNA_OK;
}

static sterna_status evaluate(evaluation *e, sterna_model *model, sterna_model *other,
                              const int32_t *tokens, size_t n, const sterna_eval_options *options,
                              int32_t bos, sterna_perplexity_result *result, sterna_error *err)
{
    const sterna_session_options session = {.context = (uint32_t)e->context};
    sterna_status status = sterna_run_session_new(model, &session, &e->session, err);
    if (!status && other) status = sterna_run_session_new(other, &session, &e->other, err);
    e->vocabulary = sterna_decoder_config(model->decoder)->vocabulary;
    e->window = sterna_alloc(e->context, sizeof *e->window);
    if (other) e->reference = sterna_alloc(COMPARED_TOKENS * e->vocabulary, sizeof *e->reference);
    if (!status && (!e->window || (other && !e->reference)))
        status = sterna_fail_memory(err, "an evaluation");
    size_t windows = 0;
    if (!status) status = run_windows(e, tokens, n, options, bos, &windows, err);
    if (!status) status = finish(e, result, windows, err);
    sterna_run_session_free(e->session);
    sterna_run_session_free(e->other);
    sterna_free(e->window);
    sterna_free(e->reference);
    return status;
}

sterna_status sterna_run_perplexity(sterna_model *model, sterna_model *other, const char *text,
                                    size_t size, const sterna_eval_options *options,
                                    sterna_perplexity_result *result, sterna_error *err)
{
    const sterna_eval_options none = {0};
    if (!options) options = &none;
    evaluation e = {.context = options->context ? options->context : DEFAULT_WINDOW};
    sterna_status status = check_options(model, options, e.context, err);
    if (!status && other) status = check_other(model, other, err);
    if (status) return status;
    int32_t bos = sterna_beginning(model->tokenizer);
    int32_t *tokens = NULL;
    size_t n = 0;
    status = sterna_encode_begun(model->tokenizer, text, size, &tokens, &n, err);
    if (status) return status;
    size_t needed = options->stride ? 2 : e.context;
    if (n < needed)
        status = sterna_fail(err, STERNA_ERROR_ARGUMENT,
                             "the text has %zu tokens; windows of %zu need at least %zu", n,
                             e.context, needed);
    else
        status = evaluate(&e, model, other, tokens, n, options, bos, result, err);
    sterna_free(tokens);
    return status;
}
