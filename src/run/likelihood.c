/* Log-likelihoods from logits, and texts as evaluations feed them. */
#include "run/likelihood.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "kernels/kernels.h"

enum { LANES = 8, BLOCK = 1024 }; /* BLOCK: logits that are summed in float32 */

static sterna_kernels kernels_of_machine(void)
{
    sterna_kernels kernels = {0};
    sterna_kernels_select(sterna_cpu_features(), &kernels);
    return kernels;
}

static float larger(float a, float b)
{
    return a > b ? a : b;
}

/* NaN where one of them is. Lanes, so that the compiler takes several at a time. */
static float largest(const float *logits, size_t n)
{
    float most[LANES];
    int undefined[LANES] = {0}, any = 0;
    size_t whole = n - n % LANES;
    for (size_t l = 0; l < LANES; l++) most[l] = logits[0];
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            most[l] = larger(logits[i + l], most[l]);
            undefined[l] |= logits[i + l] != logits[i + l];
        }
    for (size_t l = 0; l < LANES; l++) {
        most[0] = larger(most[l], most[0]);
        any |= undefined[l];
    }
    for (size_t i = whole; i < n; i++) {
        most[0] = larger(logits[i], most[0]);
        any |= logits[i] != logits[i];
    }
    return any ? NAN : most[0];
}

/* Sum of p (a - b). */
static double weigh(const float *p, const float *a, const float *b, size_t n)
{
    double sums[LANES] = {0}, sum = 0;
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            sums[l] += (double)p[i + l] * ((double)a[i + l] - (double)b[i + l]);
    for (size_t i = whole; i < n; i++) sum += (double)p[i] * ((double)a[i] - (double)b[i]);
    for (size_t l = 0; l < LANES; l++) sum += sums[l];
    return sum;
}

static size_t index_of(const float *logits, size_t n, float most)
{
    for (size_t i = 0; i < n; i++)
        if (logits[i] == most) return i;
    return 0;
}

double sterna_log_sum_exp(const float *logits, size_t n, size_t *best)
{
    const sterna_kernels kernels = kernels_of_machine();
    float most = largest(logits, n), x[BLOCK];
    double sum = 0;
    if (best) *best = index_of(logits, n, most);
    if (isnan(most)) return NAN;
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t count = n - from < BLOCK ? n - from : BLOCK;
        memcpy(x, logits + from, count * sizeof *x);
        sum += (double)kernels.exp_sum(x, count, most);
    }
    return (double)most + log(sum);
}

double sterna_divergence(const float *reference, const float *logits, size_t n,
                         double *log_reference_sum, bool *agree)
{
    const sterna_kernels kernels = kernels_of_machine();
    size_t best;
    double log_logits = sterna_log_sum_exp(logits, n, &best), sum = 0, all = 0;
    float most = largest(reference, n), p[BLOCK];
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t count = n - from < BLOCK ? n - from : BLOCK;
        memcpy(p, reference + from, count * sizeof *p);
        all += (double)kernels.exp_sum(p, count, most);
        sum += weigh(p, reference + from, logits + from, count);
    }
    double log_reference = (double)most + log(all);
    if (log_reference_sum) *log_reference_sum = log_reference;
    if (agree) *agree = index_of(reference, n, most) == best;
    return sum / all - (log_reference - log_logits);
}

int32_t sterna_draw(const float *logits, size_t n, double at)
{
    const sterna_kernels kernels = kernels_of_machine();
    double log_sum = sterna_log_sum_exp(logits, n, NULL), before = 0;
    float p[BLOCK];
    if (!isfinite(log_sum)) return -1;
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t count = n - from < BLOCK ? n - from : BLOCK;
        memcpy(p, logits + from, count * sizeof *p);
        double sum = (double)kernels.exp_sum(p, count, (float)log_sum);
        for (size_t i = 0; before + sum > at && i < count; i++) {
            before += (double)p[i];
            sum -= (double)p[i];
            if (at < before) return (int32_t)(from + i);
        }
        before += sum;
    }
    return (int32_t)n - 1;
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
