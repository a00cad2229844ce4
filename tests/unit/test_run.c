/* run/: the sampler, generation, evaluation, and opening a model when memory runs out. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "run/eval.h"
#include "run/generate.h"
#include "run/likelihood.h"
#include "run/text.h"

static sterna_model *open_model(const char *name)
{
    char path[600];
    sterna_model *model = NULL;
    sterna_error err = {0};
    const sterna_model_options options = {.threads = 1, .arithmetic = STERNA_ARITHMETIC_FLOAT};
    snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, name);
    if (sterna_run_open(path, &options, &model, &err)) fail_msg("%s", err.message);
    assert_non_null(model->tokenizer);
    return model;
}

static sterna_session *open_session(sterna_model *model, uint32_t context)
{
    sterna_session *session = NULL;
    sterna_error err = {0};
    const sterna_session_options options = {.context = context};
    if (sterna_run_session_new(model, &options, &session, &err)) fail_msg("%s", err.message);
    return session;
}

/* ---- sampler ---- */

static const sterna_sampling plain = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

/* How often each of `n` tokens is picked of 20,000. */
static void draw(const sterna_sampling *settings, const float *logits, size_t n,
                 const int32_t *recent, size_t n_recent, double *share)
{
    enum { DRAWS = 20000 };
    sterna_sampler sampler;
    assert_int_equal(sterna_sampler_init(&sampler, settings, n, NULL), STERNA_OK);
    memset(share, 0, n * sizeof *share);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = sterna_sampler_pick(&sampler, logits, recent, n_recent);
        assert_true(id >= 0 && (size_t)id < n);
        share[id] += 1.0 / DRAWS;
    }
    sterna_sampler_free(&sampler);
}

static void sampler_follows_the_distribution(void **state)
{
    (void)state;
    enum { N = 6 };
    /* probabilities 0.4, 0.3, 0.15, 0.1, 0.04, 0.01, not in order */
    const double p[N] = {0.1, 0.4, 0.01, 0.3, 0.04, 0.15};
    float logits[N];
    double share[N];
    for (int i = 0; i < N; i++) logits[i] = (float)log(p[i]) + 3;
    draw(&plain, logits, N, NULL, 0, share);
    for (int i = 0; i < N; i++) assert_true(fabs(share[i] - p[i]) < 0.012); /* 3.5 sigma */

    sterna_sampling s = plain;
    s.top_k = 2;
    draw(&s, logits, N, NULL, 0, share);
    assert_true(fabs(share[1] - 4 / 7.0) < 0.013 && fabs(share[3] - 3 / 7.0) < 0.013);
    s = plain;
    s.top_p = 0.8f; /* 0.4 + 0.3 + 0.15 is the first sum not below */
    draw(&s, logits, N, NULL, 0, share);
    assert_true(share[0] == 0 && share[5] > 0.15 && share[1] > 0.44);
    s = plain;
    s.min_p = 0.3f; /* keeps what has at least 0.12 */
    draw(&s, logits, N, NULL, 0, share);
    assert_true(share[0] == 0 && share[5] > 0.15);
    s = plain;
    s.temperature = 0.5f; /* squares the odds */
    draw(&s, logits, N, NULL, 0, share);
    assert_true(fabs(share[1] / share[3] - 16 / 9.0) < 0.1);
    s.temperature = 0;
    draw(&s, logits, N, NULL, 0, share);
    assert_true(share[1] > 0.999);

    /* a repeated token loses, once however often it stands in the window, and only in the window */
    const int32_t recent[] = {3, 1, 1, 1};
    s = plain;
    s.temperature = 0;
    s.repeat_penalty = 1.2f;
    s.repeat_window = 3;
    draw(&s, logits, N, recent, 4, share);
    assert_true(share[3] > 0.999);
    s.repeat_window = 4;
    s.repeat_penalty = 1.01f;
    draw(&s, logits, N, recent, 4, share);
    assert_true(share[1] > 0.999);
}

static void sampler_refuses_nonsense(void **state)
{
    (void)state;
    sterna_sampler sampler;
    sterna_error err = {0};
    const float bad[] = {NAN, -1, INFINITY};
    for (int i = 0; i < 3; i++) {
        sterna_sampling s = plain;
        s.temperature = bad[i];
        assert_int_equal(sterna_sampler_init(&sampler, &s, 4, &err), STERNA_ERROR_ARGUMENT);
        s = plain;
        s.top_p = bad[i];
        assert_int_equal(sterna_sampler_init(&sampler, &s, 4, &err), STERNA_ERROR_ARGUMENT);
        s = plain;
        s.repeat_penalty = bad[i];
        assert_int_equal(sterna_sampler_init(&sampler, &s, 4, &err), STERNA_ERROR_ARGUMENT);
    }
    sterna_sampling s = plain;
    s.top_k = -1;
    assert_int_equal(sterna_sampler_init(&sampler, &s, 4, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_sampler_init(&sampler, &plain, 4, &err), STERNA_OK);
    const float nan_logits[] = {0, NAN, 1, 2}, inf_logits[] = {0, 1, INFINITY, 2};
    assert_int_equal(sterna_sampler_pick(&sampler, nan_logits, NULL, 0), -1);
    assert_int_equal(sterna_sampler_pick(&sampler, inf_logits, NULL, 0), -1);
    sterna_sampler_free(&sampler);
}

/* Picks by sorting everything, as the settings say, word for word. */
static int32_t naive_pick(const sterna_sampling *settings, const float *logits, int32_t n,
                          double at)
{
    enum { MOST = 500 };
    int32_t order[MOST];
    double p[MOST], sum = 0;
    for (int32_t i = 0; i < n; i++) { /* insertion keeps equal logits in the order of ids */
        int32_t j = i;
        for (; j > 0 && logits[order[j - 1]] < logits[i]; j--) order[j] = order[j - 1];
        order[j] = i;
    }
    if (settings->top_k > 0 && settings->top_k < n) n = settings->top_k;
    for (int32_t i = 0; i < n; i++)
        sum += p[i] = exp((double)(logits[order[i]] - logits[order[0]]));
    double total = 0;
    int32_t kept = 0;
    while (kept < n && (kept == 0 || total < (double)settings->top_p * sum)) total += p[kept++];
    while (kept > 1 && p[kept - 1] < (double)settings->min_p * p[0]) kept--;
    sum = 0;
    for (int32_t i = 0; i < kept; i++)
        sum += p[i] = exp((double)((logits[order[i]] - logits[order[0]]) / settings->temperature));
    total = 0;
    for (int32_t i = 0; i < kept; i++)
        if (at * sum < (total += p[i])) return order[i];
    return order[kept - 1];
}

/* looking at part of the vocabulary gives what sorting all of it gives, ties included */
static void sampler_selects_exactly(void **state)
{
    (void)state;
    enum { N = 500 };
    static const int32_t top_ks[] = {0, 1, 2, 40, 499, 500, 600};
    static const float top_ps[] = {1, 0.95f, 0.3f}, min_ps[] = {0, 0.05f},
                       temperatures[] = {0.7f, 3};
    float logits[N];
    sterna_rng rng;
    sterna_rng_seed(&rng, 5);
    for (int i = 0; i < 7 * 3 * 2 * 2 * 20; i++) {
        sterna_sampling s = plain;
        s.top_k = top_ks[i % 7];
        s.top_p = top_ps[i / 7 % 3];
        s.min_p = min_ps[i / 21 % 2];
        s.temperature = temperatures[i / 42 % 2];
        s.seed = (uint64_t)i;
        float spread = i % 2 ? 40 : 6;
        for (int j = 0; j < N; j++)
            logits[j] = truncf(spread * (float)sterna_rng_double(&rng)) - (j % 3 ? 0 : 100);
        sterna_sampler sampler;
        assert_int_equal(sterna_sampler_init(&sampler, &s, N, NULL), STERNA_OK);
        sterna_rng same;
        sterna_rng_seed(&same, s.seed);
        int32_t want = naive_pick(&s, logits, N, sterna_rng_double(&same));
        assert_int_equal(sterna_sampler_pick(&sampler, logits, NULL, 0), want);
        sterna_sampler_free(&sampler);
    }
}

/* ---- generation ---- */

typedef struct pieces {
    sterna_buffer text;
    size_t count, stop_at;
} pieces;

static bool collect(void *context, const char *text, size_t size)
{
    pieces *p = context;
    sterna_buffer_add(&p->text, text, size);
    return ++p->count != p->stop_at;
}

static char *generate(sterna_session *session, const sterna_generate_options *options,
                      sterna_generate_result *result)
{
    static const char prompt[] = "the quick brown fox";
    sterna_error err = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    char *text = NULL;
    sterna_generate_options with = *options;
    with.text = &text;
    assert_int_equal(
        sterna_encode(session->model->tokenizer, prompt, strlen(prompt), 0, &ids, &n, &err),
        STERNA_OK);
    sterna_run_rewind(session, 0);
    if (sterna_run_generate(session, ids, n, &with, result, &err)) fail_msg("%s", err.message);
    assert_int_equal(result->prompt_tokens, n);
    assert_int_equal(session->length, n + result->tokens);
    sterna_free(ids);
    return text;
}

static void generation_streams_and_stops(void **state)
{
    (void)state;
    sterna_model *model = open_model("llama/hf");
    sterna_session *session = open_session(model, 128);
    pieces p = {.stop_at = SIZE_MAX};
    sterna_generate_options options = {
        .n_predict = 40, .ignore_end = true, .on_text = collect, .context = &p};
    options.sampling = plain;
    options.sampling.temperature = 0;
    sterna_generate_result result;
    char *whole = generate(session, &options, &result);
    assert_int_equal(result.reason, STERNA_STOP_LENGTH);
    assert_int_equal(result.tokens, 40);
    assert_true(strlen(whole) > 20);
    assert_string_equal(p.text.data, whole);

    /* every stop text, of any length and place, ends the answer before its first occurrence */
    for (size_t length = 1; length <= 9; length += 4)
        for (size_t at = 0; at + length <= strlen(whole); at += 5) {
            char stop[16] = {0};
            memcpy(stop, whole + at, length);
            const char *const stops[] = {"\x01never", stop};
            options.stop = stops;
            options.stop_count = 2;
            sterna_buffer_clear(&p.text);
            char *text = generate(session, &options, &result);
            assert_int_equal(result.reason, STERNA_STOP_TEXT);
            size_t expected = (size_t)(strstr(whole, stop) - whole);
            assert_int_equal(strlen(text), expected);
            assert_memory_equal(text, whole, expected);
            assert_int_equal(p.text.size, expected);
            sterna_free(text);
        }
    options.stop_count = 0;

    /* the caller stops; the context ends */
    p.stop_at = p.count + 3;
    sterna_free(generate(session, &options, &result));
    assert_int_equal(result.reason, STERNA_STOP_CALLER);
    assert_true(result.tokens < 40);
    p.stop_at = SIZE_MAX;
    options.n_predict = 0;
    sterna_free(generate(session, &options, &result));
    assert_int_equal(result.reason, STERNA_STOP_LENGTH);
    assert_int_equal(session->length, session->capacity);

    /* one seed, one text; another seed, another */
    options.n_predict = 40;
    options.sampling.temperature = 1;
    options.sampling.seed = 7;
    char *one = generate(session, &options, &result), *two = generate(session, &options, &result);
    options.sampling.seed = 8;
    char *three = generate(session, &options, &result);
    assert_string_equal(one, two);
    assert_string_not_equal(one, three);
    sterna_free(one);
    sterna_free(two);
    sterna_free(three);
    sterna_free(whole);
    sterna_buffer_free(&p.text);
    sterna_run_session_free(session);
    sterna_run_close(model);
}

/* After BOS alone an answer is a text of its own: it begins without the space of its first token.
 */
static void text_opens_without_space(void **state)
{
    (void)state;
    sterna_model *model = open_model("llama2c/model.bin");
    sterna_session *session = open_session(model, 16);
    const int32_t begins[][2] = {{1}, {1, 300}};
    int spaces[2] = {0, 0};
    for (uint64_t seed = 0; seed < 400; seed++)
        for (size_t i = 0; i < 2; i++) {
            char *text = NULL;
            sterna_generate_options options = {
                .n_predict = 1, .ignore_end = true, .sampling = plain, .text = &text};
            options.sampling.temperature = 3;
            options.sampling.seed = seed;
            sterna_run_rewind(session, 0);
            assert_int_equal(sterna_run_generate(session, begins[i], 1 + i, &options, NULL, NULL),
                             STERNA_OK);
            sterna_text token = sterna_token_bytes(model->tokenizer, session->tokens[1 + i]);
            if (token.size > 1 && token.data[0] == ' ') {
                spaces[i]++;
                assert_int_equal(text[0] == ' ', i == 1);
            }
            sterna_free(text);
        }
    assert_true(spaces[0] > 0 && spaces[1] > 0);
    sterna_run_session_free(session);
    sterna_run_close(model);
}

static bool cancel(void *context, const char *text, size_t size)
{
    (void)text;
    (void)size;
    sterna_run_cancel(context);
    return true;
}

static void generation_is_cancelled(void **state)
{
    (void)state;
    sterna_model *model = open_model("qwen2/hf");
    sterna_session *session = open_session(model, 128);
    sterna_generate_options options = {
        .n_predict = 40, .ignore_end = true, .on_text = cancel, .context = session};
    options.sampling = plain;
    sterna_generate_result result;
    sterna_free(generate(session, &options, &result));
    assert_int_equal(result.reason, STERNA_STOP_CALLER);
    assert_true(result.tokens < 40);
    /* an empty session has nothing to continue */
    sterna_error err = {0};
    sterna_run_rewind(session, 0);
    assert_int_equal(sterna_run_generate(session, NULL, 0, &options, &result, &err),
                     STERNA_ERROR_ARGUMENT);
    sterna_run_session_free(session);
    sterna_run_close(model);
}

/* An answer ends at the ids that generation_config.json names. */
static void answers_end(void **state)
{
    (void)state;
    sterna_model *model = open_model("llama/hf");
    sterna_session *session = open_session(model, 128);
    assert_int_equal(model->n_ends, 1);
    assert_int_equal(model->ends[0], 1);
    sterna_generate_options options = {.n_predict = 30, .ignore_end = true};
    options.sampling = plain;
    options.sampling.temperature = 0;
    sterna_generate_result result;
    sterna_free(generate(session, &options, &result));
    size_t start = result.prompt_tokens, at = start;
    int32_t end = session->tokens[start + 10];
    while (session->tokens[at] != end) at++; /* its first place in the answer */
    model->ends[0] = end;
    options.ignore_end = false;
    sterna_free(generate(session, &options, &result));
    assert_int_equal(result.reason, STERNA_STOP_END);
    assert_int_equal(result.tokens, at - start);
    sterna_run_session_free(session);
    sterna_run_close(model);
}

/* Decoding asks for no memory, and sessions of one model may run in several threads. */
static void decoding_allocates_nothing(void **state)
{
    (void)state;
    sterna_model *model = open_model("gemma2/hf");
    sterna_session *session = open_session(model, 64);
    int32_t id = 5;
    assert_int_equal(sterna_run_append(session, &id, 1, NULL, NULL), STERNA_OK);
    sterna_alloc_fail_after(-1);
    for (int i = 0; i < 20; i++) {
        id = (id * 31 + 7) % 300;
        assert_int_equal(sterna_run_append(session, &id, 1, NULL, NULL), STERNA_OK);
    }
    assert_int_equal(sterna_run_step(&session, &id, 1, NULL), STERNA_OK);
    assert_int_equal(sterna_alloc_fail_after(-1), 0);
    sterna_run_session_free(session);
    sterna_run_close(model);
}

typedef struct worker {
    pthread_t thread;
    sterna_model *model;
    char *text;
} worker;

static void *work(void *context)
{
    worker *w = context;
    sterna_session *session = open_session(w->model, 128);
    sterna_generate_options options = {.n_predict = 60, .ignore_end = true};
    options.sampling = plain;
    sterna_generate_result result;
    w->text = generate(session, &options, &result);
    sterna_run_session_free(session);
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    enum { WORKERS = 3 };
    worker alone = {.model = open_model("qwen3/hf")}, workers[WORKERS];
    work(&alone);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].model = alone.model;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_string_equal(workers[i].text, alone.text);
        sterna_free(workers[i].text);
    }
    sterna_free(alone.text);
    sterna_run_close(alone.model);
}

/* ---- evaluation ---- */

/* Sessions share the buffers of a pass: a large one beside a small one, freed in any order. */
static void sessions_share_buffers(void **state)
{
    (void)state;
    sterna_model *model = open_model("qwen3/hf");
    const int32_t ids[] = {1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45};
    const size_t count = sizeof ids / sizeof *ids,
                 bytes = sterna_decoder_config(model->decoder)->vocabulary * sizeof(float);
    sterna_error err = {0};
    sterna_session *alone = open_session(model, 32);
    assert_int_equal(sterna_run_append(alone, ids, count, NULL, &err), STERNA_OK);
    float *wanted = malloc(bytes);
    assert_non_null(wanted);
    memcpy(wanted, alone->logits, bytes);
    sterna_run_session_free(alone);
    assert_null(model->workspace);

    sterna_session *small = open_session(model, 4), *large = open_session(model, 32);
    assert_int_equal(model->pass_tokens, 32);
    sterna_session *other = open_session(model, 8);
    assert_int_equal(model->sessions, 3);
    assert_int_equal(sterna_run_append(small, ids, 3, NULL, &err), STERNA_OK);
    assert_int_equal(sterna_run_append(large, ids, count - 1, NULL, &err), STERNA_OK);
    sterna_run_session_free(small);
    sterna_session *both[] = {large, other};
    const int32_t next[] = {ids[count - 1], ids[0]};
    assert_int_equal(sterna_run_step(both, next, 2, &err), STERNA_OK);
    assert_memory_equal(large->logits, wanted, bytes);
    sterna_run_session_free(large);
    assert_non_null(model->workspace);
    assert_int_equal(sterna_run_append(other, ids + 1, 3, NULL, &err), STERNA_OK);
    sterna_run_session_free(other);
    assert_null(model->workspace);
    free(wanted);
    sterna_run_close(model);
}

static double log_probability(const float *logits, size_t n, int32_t id)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, (double)logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - most);
    return (double)logits[id] - most - log(sum);
}

/* Sum of -log p of tokens first..n-1 of a window, straight from a session. */
static double window_nll(sterna_model *model, const int32_t *ids, size_t n, size_t first)
{
    size_t vocabulary = sterna_decoder_config(model->decoder)->vocabulary;
    sterna_session *session = open_session(model, (uint32_t)n);
    float *logits = malloc(n * vocabulary * sizeof *logits);
    assert_int_equal(sterna_run_append(session, ids, n, logits, NULL), STERNA_OK);
    double sum = 0;
    for (size_t i = first; i < n; i++)
        sum -= log_probability(logits + (i - 1) * vocabulary, vocabulary, ids[i]);
    free(logits);
    sterna_run_session_free(session);
    return sum;
}

static void perplexity_is_what_the_protocol_says(void **state)
{
    (void)state;
    enum { CONTEXT = 24, STRIDE = 10 };
    sterna_model *model = open_model("llama/hf"), *other = open_model("qwen2/hf");
    char text[900] = "";
    while (strlen(text) < 800) strcat(text, "the rain in spain; falls mainly, on the plain. ");
    int32_t *ids = NULL;
    size_t n = 0;
    sterna_error err = {0};
    assert_int_equal(
        sterna_encode(model->tokenizer, text, strlen(text), STERNA_ADD_SPECIAL, &ids, &n, &err),
        STERNA_OK);
    bool bos = sterna_tokenizer_adds_bos(model->tokenizer);
    int32_t bos_id = sterna_token_id(model->tokenizer, STERNA_TOKEN_BOS);

    sterna_eval_options options = {.context = CONTEXT};
    sterna_perplexity_result result;
    if (sterna_run_perplexity(model, NULL, text, strlen(text), &options, &result, &err))
        fail_msg("%s", err.message);
    double sum = 0;
    int32_t window[CONTEXT];
    for (size_t w = 0; w < n / CONTEXT; w++) {
        memcpy(window, ids + w * CONTEXT, sizeof window);
        if (bos) window[0] = bos_id;
        sum += window_nll(model, window, CONTEXT, CONTEXT / 2 + 1);
    }
    assert_int_equal(result.windows, n / CONTEXT);
    assert_int_equal(result.tokens, n / CONTEXT * (CONTEXT - CONTEXT / 2 - 1));
    assert_true(fabs(result.nll - sum / (double)result.tokens) < 1e-5);
    assert_true(fabs(result.perplexity - exp(result.nll)) < 1e-6 * result.perplexity);

    options.stride = STRIDE;
    if (sterna_run_perplexity(model, NULL, text, strlen(text), &options, &result, &err))
        fail_msg("%s", err.message);
    sum = 0;
    size_t scored = 1;
    for (size_t start = 0; scored < n; start += STRIDE) {
        size_t size = n - start < CONTEXT ? n - start : CONTEXT;
        memcpy(window, ids + start, size * sizeof *window);
        if (bos) window[0] = bos_id;
        sum += window_nll(model, window, size, scored - start);
        scored = start + size;
    }
    assert_int_equal(result.tokens, n - 1); /* each but the first, once */
    assert_true(fabs(result.nll - sum / (double)result.tokens) < 1e-5);
    sterna_free(ids);

    /* nothing diverges from itself; another model of the same vocabulary does */
    options.stride = 0;
    double alone = 0;
    for (int k = 0; k < 2; k++) {
        if (sterna_run_perplexity(model, k ? other : model, text, strlen(text), &options, &result,
                                  &err))
            fail_msg("%s", err.message);
        if (k == 0) {
            alone = result.nll;
            assert_true(fabs(result.kl) < 1e-6 && result.agreement == 1);
        } else {
            assert_true(result.kl > 0.1 && result.kl_standard_error > 0 && result.agreement < 0.9);
            assert_true(fabs(result.nll - alone) < 1e-9);
        }
    }
    assert_int_equal(sterna_run_perplexity(model, NULL, "short", 5, &options, &result, &err),
                     STERNA_ERROR_ARGUMENT);
    options.stride = CONTEXT + 1;
    assert_int_equal(
        sterna_run_perplexity(model, NULL, text, strlen(text), &options, &result, &err),
        STERNA_ERROR_ARGUMENT);
    sterna_run_close(model);
    sterna_run_close(other);
}

static sterna_status run_tasks(sterna_model *model, const char *lines, sterna_task_result *result,
                               sterna_error *err)
{
    char path[] = "/tmp/sterna_test_tasks_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, lines, strlen(lines)), (ssize_t)strlen(lines));
    close(fd);
    sterna_status status = sterna_run_tasks(model, path, NULL, result, err);
    unlink(path);
    return status;
}

static double plain_log_sum(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - 20);
    return 20 + log(sum);
}

/* Against libm in double precision; NaN and infinity show. */
static void likelihoods_of_logits(void **state)
{
    (void)state;
    enum { N = 3011 };
    float x[N], y[N];
    sterna_rng rng;
    sterna_rng_seed(&rng, 5);
    for (size_t i = 0; i < N; i++) {
        x[i] = (float)(30 * sterna_rng_double(&rng) - 10);
        y[i] = x[i] + (float)(sterna_rng_double(&rng) - 0.5);
    }
    x[2000] = x[2500] = 21;
    size_t best;
    double log_x = plain_log_sum(x, N), log_y = plain_log_sum(y, N), kl = 0, log_sum, before = 0;
    for (size_t i = 0; i < N; i++)
        kl += exp((double)x[i] - log_x) * ((double)x[i] - log_x - (double)y[i] + log_y);
    assert_true(fabs(sterna_log_sum_exp(x, N, &best) - log_x) < 1e-6 && best == 2000);
    assert_true(fabs(sterna_divergence(x, y, N, &log_sum, NULL) - kl) < 1e-6);
    assert_true(fabs(log_sum - log_x) < 1e-6);
    assert_true(sterna_divergence(x, x, N, NULL, NULL) == 0);
    for (size_t i = 0; i < N; i++) {
        double p = exp((double)x[i] - log_x);
        if (p > 1e-5) assert_int_equal(sterna_draw(x, N, before + p / 2), i);
        before += p;
    }
    assert_int_equal(sterna_draw(x, N, 0), 0);
    assert_in_range(sterna_draw(x, N, nextafter(1, 0)), 0, N - 1);
    x[1700] = NAN;
    assert_true(isnan(sterna_log_sum_exp(x, N, NULL)) && sterna_draw(x, N, 0.5) == -1);
    x[1700] = INFINITY;
    assert_true(!isfinite(sterna_log_sum_exp(x, N, NULL)) && sterna_draw(x, N, 0.5) == -1);
}

/* log p(continuation | context) with every token in a pass of its own */
static double slow_likelihood(sterna_model *model, const char *context, const char *continuation)
{
    char whole[200];
    int32_t *ids = NULL, *start = NULL;
    size_t n = 0, first = 0;
    snprintf(whole, sizeof whole, "%s%s", context, continuation);
    assert_int_equal(
        sterna_encode(model->tokenizer, whole, strlen(whole), STERNA_ADD_SPECIAL, &ids, &n, NULL),
        STERNA_OK);
    assert_int_equal(sterna_encode(model->tokenizer, context, strlen(context), STERNA_ADD_SPECIAL,
                                   &start, &first, NULL),
                     STERNA_OK);
    double sum = -window_nll(model, ids, n, first);
    sterna_free(ids);
    sterna_free(start);
    return sum;
}

static void tasks_pick_the_likelier(void **state)
{
    (void)state;
    sterna_model *model = open_model("llama/hf");
    sterna_error err = {0};
    sterna_task_result result;
    double a = slow_likelihood(model, "the cat", " sat on a mat"),
           b = slow_likelihood(model, "the cat", " barked");
    int likely = a > b ? 0 : 1, normalised = a / 12 > b / 6 ? 0 : 1;
    char lines[600];
    snprintf(
        lines, sizeof lines,
        "{\"query\": \"the cat\", \"choices\": [\"sat on a mat\", \"barked\"], \"gold\": %d}\n"
        "\n"
        "{\"query\": \"the cat\", \"choices\": [\"sat on a mat\", \"barked\"], \"gold\": %d}\n",
        likely, 1 - likely);
    if (run_tasks(model, lines, &result, &err)) fail_msg("%s", err.message);
    assert_int_equal(result.tasks, 2);
    assert_true(result.accuracy == 0.5 && result.accuracy_normalised == 0.5);
    snprintf(lines, sizeof lines,
             "{\"query\": \"the cat\", \"choices\": [\"sat on a mat\", \"barked\"], \"gold\": %d}",
             normalised);
    if (run_tasks(model, lines, &result, &err)) fail_msg("%s", err.message);
    assert_true(result.accuracy_normalised == 1 && result.accuracy == (likely == normalised));

    if (run_tasks(model, "{\"context\": \"the cat\", \"continuation\": \"barked\"}", &result, &err))
        fail_msg("%s", err.message);
    assert_true(fabs(log(result.perplexity) + b) < 1e-4);

    static const struct {
        const char *line, *sentence;
    } broken[] = {{"{", "line 1"},
                  {"[]", "expected {query"},
                  {"{\"query\": \"a\", \"choices\": [\"b\"], \"gold\": 0}", "2 to 64 choices"},
                  {"{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 2}", "2 to 64"},
                  {"{\"query\": \"a\", \"choices\": [\"b\", 3], \"gold\": 0}", "no text"},
                  {"{\"query\": \"a\", \"choices\": [\"b\", \"\"], \"gold\": 0}", "empty"},
                  {"\n\n", "no tasks"}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        if (run_tasks(model, broken[i].line, &result, &err) != STERNA_ERROR_FORMAT ||
            !strstr(err.message, broken[i].sentence))
            fail_msg("%s: %s", broken[i].line, err.message);
    }
    sterna_run_close(model);
}

/* ---- memory ---- */

/* Whichever allocation fails, opening fails cleanly (the sanitizers see leaks) until none does. */
static void opening_survives_exhaustion(void **state)
{
    (void)state;
    static const char *const names[] = {"llama/model.gguf", "qwen3/hf", "llama2c/model.bin",
                                        "llama-hadamard/model.gguf", "bitnet-online/hf"};
    for (size_t m = 0; m < 2 * sizeof names / sizeof *names; m++) {
        const char *name = names[m / 2];
        char path[600];
        snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, name);
        const sterna_model_options options = {.threads = 1 + (int)m % 2};
        sterna_model *model = NULL;
        sterna_error err = {0};
        sterna_alloc_fail_after(-1);
        assert_int_equal(sterna_run_open(path, &options, &model, &err), STERNA_OK);
        long total = sterna_alloc_fail_after(-1), step = total > 400 ? total / 400 : 1;
        sterna_run_close(model);
        for (long n = 0; n < total; n += n < 100 ? 1 : step) {
            model = NULL;
            memset(&err, 0, sizeof err);
            sterna_alloc_fail_after(n);
            sterna_status status = sterna_run_open(path, &options, &model, &err);
            sterna_alloc_fail_after(-1);
            if (status != STERNA_ERROR_MEMORY)
                fail_msg("%s: allocation %ld of %ld: %s: %s", name, n, total,
                         sterna_status_name(status), err.message);
            assert_null(model);
        }
    }
}

/* ---- damage ---- */

static void write_bytes(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The vocabulary is made beside the packing: its sentence is the same with one thread and two. */
static void broken_vocabulary_is_named(void **state)
{
    (void)state;
    char folder[] = "/tmp/sterna-vocabulary-XXXXXX", path[600], said[2][sizeof(sterna_error)];
    assert_non_null(mkdtemp(folder));
    sterna_file *file = NULL;
    snprintf(path, sizeof path, "%s/models/llama/model.gguf", TEST_DATA);
    assert_int_equal(sterna_file_open(path, &file, NULL), STERNA_OK);
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    uint8_t *bytes = malloc(file->size);
    memcpy(bytes, file->data, file->size);
    uint8_t *key = memmem(bytes, file->size, "tokenizer.ggml.model", 20);
    assert_non_null(key);
    key[19] = 'm';
    write_bytes(path, bytes, file->size);
    for (int threads = 1; threads <= 2; threads++) {
        const sterna_model_options options = {.threads = threads};
        sterna_model *model = NULL;
        sterna_error err = {0};
        assert_int_equal(sterna_run_open(path, &options, &model, &err), STERNA_ERROR_FORMAT);
        assert_null(model);
        assert_non_null(strstr(err.message, "tokenizer.ggml.model"));
        snprintf(said[threads - 1], sizeof said[0], "%s", err.message);
    }
    assert_string_equal(said[0], said[1]);
    free(bytes);
    sterna_file_close(file);
    unlink(path);
    rmdir(folder);
}

/* A damaged file either is refused with a sentence, or loads and runs. */
static void try_damaged(const char *path, size_t *refused)
{
    const sterna_model_options options = {.threads = 1};
    const sterna_session_options session_options = {.context = 16};
    const int32_t ids[] = {1, 2, 3};
    sterna_error err = {0};
    sterna_model *model = NULL;
    sterna_session *session = NULL;
    sterna_status status = sterna_run_open(path, &options, &model, &err);
    if (!status) status = sterna_run_session_new(model, &session_options, &session, &err);
    if (!status) status = sterna_run_append(session, ids, 3, NULL, &err);
    if (status) {
        assert_true(strlen(err.message) > 10);
        (*refused)++;
    }
    sterna_run_session_free(session);
    sterna_run_close(model);
}

/* Every `step`-th byte is turned over; STERNA_TEST_STEP=1 takes all (minutes). */
static void damage_is_refused_or_runs(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-rope-linear/model.gguf", "bitnet-packed/model.gguf",
                                        "llama-hadamard/model.gguf", "llama2c/model.bin"};
    const char *wish = getenv("STERNA_TEST_STEP");
    size_t refused = 0, tried = 0;
    char folder[] = "/tmp/sterna_test_damage_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model", folder);
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        char from[600];
        sterna_file *file = NULL;
        snprintf(from, sizeof from, "%s/models/%s", TEST_DATA, names[m]);
        assert_int_equal(sterna_file_open(from, &file, NULL), STERNA_OK);
        uint8_t *bytes = malloc(file->size);
        memcpy(bytes, file->data, file->size);
        size_t step = wish ? (size_t)atoi(wish) : file->size / 200 + 1;
        for (size_t at = 0; at < file->size; at += step, tried++) {
            for (int k = 0; k < 2; k++) {
                bytes[at] ^= k ? 0x01 : 0xff;
                write_bytes(path, bytes, file->size);
                try_damaged(path, &refused);
                bytes[at] = file->data[at];
            }
        }
        free(bytes);
        sterna_file_close(file);
    }
    unlink(path);
    rmdir(folder);
    assert_true(refused > 20 && refused < 2 * tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_follows_the_distribution),
        cmocka_unit_test(sampler_refuses_nonsense),
        cmocka_unit_test(sampler_selects_exactly),
        cmocka_unit_test(generation_streams_and_stops),
        cmocka_unit_test(text_opens_without_space),
        cmocka_unit_test(generation_is_cancelled),
        cmocka_unit_test(answers_end),
        cmocka_unit_test(decoding_allocates_nothing),
        cmocka_unit_test(threads_do_not_disturb_each_other),
        cmocka_unit_test(sessions_share_buffers),
        cmocka_unit_test(perplexity_is_what_the_protocol_says),
        cmocka_unit_test(likelihoods_of_logits),
        cmocka_unit_test(tasks_pick_the_likelier),
        cmocka_unit_test(opening_survives_exhaustion),
        cmocka_unit_test(broken_vocabulary_is_named),
        cmocka_unit_test(damage_is_refused_or_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
