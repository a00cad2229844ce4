/* What quantizing cost: perplexity of a few texts before and after, and how far the answers moved.
 */
#ifndef STERNA_QUANT_EVALUATE_H
#define STERNA_QUANT_EVALUATE_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/error.h"

typedef struct sterna_evaluation_options {
    const char *const *paths; /* texts; none = the built-in three */
    size_t count;
    int threads;
    sterna_progress progress;
    void *progress_context;
} sterna_evaluation_options;

/* Loads both models and scores the second halves of at most four windows of 512 tokens of each
 * text. *results: an array of {text, tokens, before, after, kl, agreement}; perplexities, nats and
 * a share. The caller releases it. */
sterna_status sterna_evaluate(const char *before, const char *after,
                              const sterna_evaluation_options *options, json_t **results,
                              sterna_error *err);

/* Tokens that it takes for `count` texts, at most, through each model. */
double sterna_evaluation_tokens(size_t count);

/* evaluate_text.c */
typedef struct sterna_evaluation_text {
    const char *name;
    sterna_text text;
} sterna_evaluation_text;
extern const sterna_evaluation_text sterna_evaluation_texts[];
extern const size_t sterna_evaluation_text_count;

#endif
