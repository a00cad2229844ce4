/* Log-likelihoods from logits, and texts as evaluations feed them. */
#include "run/likelihood.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

double sterna_log_sum_exp(const float *logits, size_t n, size_t *best)
{
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[at]) at = i;
    float most = logits[at];
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)expf(logits[i] - most);
    if (best) *best = at;
    return (double)most + log(sum);
}

double sterna_divergence(const float *reference, const float *logits, size_t n,
                         double *log_reference_sum, bool *agree)
{
    size_t best_reference, best_logits;
    double log_reference = sterna_log_sum_exp(reference, n, &best_reference);
    double log_logits = sterna_log_sum_exp(logits, n, &best_logits);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double log_p = (double)reference[i] - log_reference;
        sum += exp(log_p) * (log_p - ((double)logits[i] - log_logits));
    }
    if (log_reference_sum) *log_reference_sum = log_reference;
    if (agree) *agree = best_reference == best_logits;
    return sum;
}

int32_t sterna_beginning(const sterna_tokenizer *tokenizer)
{
    return sterna_tokenizer_adds_bos(tokenizer) ? sterna_token_id(tokenizer, STERNA_TOKEN_BOS) : -1;
}

sterna_status sterna_encode_begun(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                                  int32_t **ids, size_t *count, sterna_error *err)
{
    int32_t bos = sterna_beginning(tokenizer), *plain = NULL;
    size_t n = 0, first = bos >= 0;
    sterna_status status = sterna_encode(tokenizer, text, size, 0, &plain, &n, err);
    if (status) return status;
    int32_t *all = sterna_alloc(n + first, sizeof *all);
    if (all) {
        if (first) all[0] = bos;
        if (n) memcpy(all + first, plain, n * sizeof *all);
        *ids = all;
        *count = n + first;
    } else {
        status = sterna_fail_memory(err, "a text's tokens");
    }
    sterna_free(plain);
    return status;
}
