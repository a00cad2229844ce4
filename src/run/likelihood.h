/* What the evaluations share. Internal to run/. */
#ifndef STERNA_RUN_LIKELIHOOD_H
#define STERNA_RUN_LIKELIHOOD_H

#include "text/tokenizer.h"

/* log(sum(exp(logits[n]))): subtract it from a logit for the log-probability. *best (may be NULL):
 * where the largest logit stands, the first of equal ones. */
double sterna_log_sum_exp(const float *logits, size_t n, size_t *best);
/* KL(reference || logits) of n each, in nats; the reference's log-sum, and whether both prefer the
 * same token (both may be NULL). */
double sterna_divergence(const float *reference, const float *logits, size_t n,
                         double *log_reference_sum, bool *agree);
/* A token of n, drawn at temperature 1 with a random `at` of 0 <= at < 1: the first one whose
 * probability and those before it come to more. -1: the logits are not finite. */
int32_t sterna_draw(const float *logits, size_t n, double at);
/* The token that the model's files put before every text, or -1. */
int32_t sterna_beginning(const sterna_tokenizer *tokenizer);
/* The tokens of a text behind that one, and nothing after them. Release *ids with sterna_free. */
sterna_status sterna_encode_begun(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                                  int32_t **ids, size_t *count, sterna_error *err);

#endif
