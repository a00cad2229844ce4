/* Multiple choice and LAMBADA from JSON lines, scored by log-likelihood as the usual harnesses do.
 *
 * {"query", "choices", "gold"}: the choice with the highest sum of token log-likelihoods wins, or
 * (normalised) the highest per byte. {"context", "continuation"}: right when every token of the
 * continuation is the most likely one. What joins the two texts: "delimiter" of the line; else a
 * query that asks "Question: ..." is answered behind "Answer:" on a line of its own; else a space,
 * nothing after white space. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "run/eval.h"
#include "run/likelihood.h"

enum { TASK_CONTEXT = 2048, MAX_CHOICES = 64, MAX_LINE = 1 << 20 };

typedef struct choice {
    int32_t *ids; /* BOS (where the model asks for it), context, continuation */
    size_t count, context;
    size_t bytes; /* of the continuation's text */
    double log_likelihood;
    bool greedy;
} choice;

typedef struct task_run {
    sterna_session *session;
    const sterna_tokenizer *tokenizer;
    size_t vocabulary;
    const char *path;
    size_t line;
    const choice *scored; /* what `score` looks at */
    size_t at;
    double sum;
    bool greedy;
    /* totals */
    size_t tasks, right, right_normalised;
    double log_likelihood;
    bool lambada;
} task_run;

static sterna_status bad_line(const task_run *run, const char *what, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: line %zu: %s", run->path, run->line, what);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* Appends what stands between `query` and its answer. */
static void join(sterna_buffer *text, const char *query, const char *delimiter)
{
    size_t size = strlen(query);
    bool after_space = size && is_space(query[size - 1]);
    bool question = strncmp(query, "Question:", 9) == 0 || strstr(query, "\nQuestion:");
    if (delimiter)
        sterna_buffer_add_text(text, delimiter);
    else if (question)
        sterna_buffer_add_text(text, size && query[size - 1] == '\n' ? "Answer: " : "\nAnswer: ");
    else if (!after_space)
        sterna_buffer_add_char(text, ' ');
}

/* The tokens of prefix + continuation; the prefix's own count tells where the continuation starts.
 * White space at the prefix's end counts to the continuation, as tokenizers join it to words. */
static sterna_status encode(task_run *run, const char *prefix, size_t prefix_size,
                            const char *continuation, choice *out, sterna_error *err)
{
    sterna_buffer text = {0};
    sterna_buffer_add(&text, prefix, prefix_size);
    sterna_buffer_add_text(&text, continuation);
    if (text.failed) {
        sterna_buffer_free(&text);
        return sterna_fail_memory(err, "a task's text");
    }
    while (prefix_size && is_space(prefix[prefix_size - 1])) prefix_size--;
    int32_t *context = NULL;
    int flags = sterna_beginning(run->tokenizer) >= 0 ? STERNA_ADD_SPECIAL : 0;
    sterna_status status =
        sterna_encode(run->tokenizer, text.data, text.size, flags, &out->ids, &out->count, err);
    if (!status)
        status =
            sterna_encode(run->tokenizer, prefix, prefix_size, flags, &context, &out->context, err);
    sterna_free(context);
    sterna_buffer_free(&text);
    if (status) return status;
    out->bytes = strlen(continuation);
    /* a tokenizer may merge across the border; at least one token is always scored */
    if (out->context >= out->count) out->context = out->count ? out->count - 1 : 0;
    if (out->context == 0) return bad_line(run, "an empty context or continuation", err);
    /* a context that does not fit loses its beginning */
    size_t room = run->session->capacity;
    if (out->count - out->context >= room)
        return bad_line(run, "the continuation is longer than the context window", err);
    if (out->count > room) {
        size_t cut = out->count - room;
        memmove(out->ids, out->ids + cut, room * sizeof *out->ids);
        out->count = room;
        out->context -= cut;
    }
    return STERNA_OK;
}

static void score(void *context, size_t index, const float *logits)
{
    task_run *run = context;
    size_t target = run->at + index + 1, best;
    if (target < run->scored->context || target >= run->scored->count) return;
    double total = sterna_log_sum_exp(logits, run->vocabulary, &best);
    int32_t id = run->scored->ids[target];
    run->sum += (double)logits[id] - total;
    run->greedy &= (int32_t)best == id;
}

/* Scores choices whose first `shared` tokens are the same, reading those once. */
static sterna_status score_choices(task_run *run, choice *choices, size_t n, sterna_error *err)
{
    size_t shared = choices[0].context - 1;
    for (size_t c = 1; c < n; c++) {
        size_t same = 0, most = choices[c].context - 1;
        while (same < shared && same < most && choices[c].ids[same] == choices[0].ids[same]) same++;
        shared = same;
    }
    sterna_run_rewind(run->session, 0);
    sterna_status status = STERNA_OK;
    if (shared) status = sterna_run_append(run->session, choices[0].ids, shared, NULL, err);
    for (size_t c = 0; !status && c < n; c++) {
        choice *one = &choices[c];
        sterna_run_rewind(run->session, shared);
        run->scored = one;
        run->at = shared;
        run->sum = 0;
        run->greedy = true;
        /* the last token's prediction is nobody's */
        status = sterna_run_append_each(run->session, one->ids + shared, one->count - 1 - shared,
                                        one->context - 1 - shared, score, run, err);
        one->log_likelihood = run->sum;
        one->greedy = run->greedy;
    }
    return status;
}

static sterna_status check_finite(const task_run *run, const choice *one, sterna_error *err)
{
    if (isfinite(one->log_likelihood)) return STERNA_OK;
    return bad_line(run, "the model's logits are not finite", err);
}

static sterna_status run_choices(task_run *run, const char *query, const char *delimiter,
                                 const json_t *list, json_int_t gold, sterna_error *err)
{
    choice choices[MAX_CHOICES] = {{0}};
    size_t n = json_array_size(list);
    if (n < 2 || n > MAX_CHOICES || gold < 0 || (size_t)gold >= n)
        return bad_line(run, "expected 2 to 64 choices and the gold one's number", err);
    sterna_buffer prefix = {0};
    sterna_buffer_add_text(&prefix, query);
    join(&prefix, query, delimiter);
    sterna_status status = prefix.failed ? sterna_fail_memory(err, "a task's text") : STERNA_OK;
    for (size_t c = 0; !status && c < n; c++) {
        const char *text = json_string_value(json_array_get(list, c));
        if (!text || !*text)
            status = bad_line(run, "a choice is no text, or empty", err);
        else
            status = encode(run, prefix.data, prefix.size, text, &choices[c], err);
    }
    if (!status) status = score_choices(run, choices, n, err);
    size_t best = 0, best_normalised = 0;
    for (size_t c = 0; !status && c < n; c++) {
        status = check_finite(run, &choices[c], err);
        const choice *top = &choices[best], *top_normalised = &choices[best_normalised];
        if (choices[c].log_likelihood > top->log_likelihood) best = c;
        if (choices[c].log_likelihood / (double)choices[c].bytes >
            top_normalised->log_likelihood / (double)top_normalised->bytes)
            best_normalised = c;
    }
    run->right += best == (size_t)gold;
    run->right_normalised += best_normalised == (size_t)gold;
    for (size_t c = 0; c < n; c++) sterna_free(choices[c].ids);
    sterna_buffer_free(&prefix);
    return status;
}

static sterna_status run_continuation(task_run *run, const char *query, const char *delimiter,
                                      const char *continuation, sterna_error *err)
{
    choice one = {0};
    sterna_buffer prefix = {0};
    sterna_buffer_add_text(&prefix, query);
    if (delimiter)
        sterna_buffer_add_text(&prefix, delimiter);
    else if (!*query || !is_space(query[strlen(query) - 1]))
        sterna_buffer_add_char(&prefix, ' ');
    sterna_status status = prefix.failed ? sterna_fail_memory(err, "a task's text") : STERNA_OK;
    if (!status) status = encode(run, prefix.data, prefix.size, continuation, &one, err);
    if (!status) status = score_choices(run, &one, 1, err);
    if (!status) status = check_finite(run, &one, err);
    run->right += one.greedy;
    run->log_likelihood += one.log_likelihood;
    run->lambada = true;
    sterna_free(one.ids);
    sterna_buffer_free(&prefix);
    return status;
}

static sterna_status run_line(task_run *run, const char *line, size_t size, sterna_error *err)
{
    json_error_t json_err;
    json_t *json = json_loadb(line, size, 0, &json_err);
    if (!json) return bad_line(run, json_err.text, err);
    const char *query = json_string_value(json_object_get(json, "query"));
    const char *context = json_string_value(json_object_get(json, "context"));
    const char *continuation = json_string_value(json_object_get(json, "continuation"));
    const char *delimiter = json_string_value(json_object_get(json, "delimiter"));
    const json_t *gold = json_object_get(json, "gold");
    sterna_status status;
    if (query && json_is_integer(gold))
        status = run_choices(run, query, delimiter, json_object_get(json, "choices"),
                             json_integer_value(gold), err);
    else if (context && continuation && *continuation)
        status = run_continuation(run, context, delimiter, continuation, err);
    else
        status = bad_line(run, "expected {query, choices, gold} or {context, continuation}", err);
    run->tasks++;
    json_decref(json);
    return status;
}

/* Calls run_line for every line that is not blank, `limit` of them. */
static sterna_status run_lines(task_run *run, const sterna_file *file,
                               const sterna_eval_options *options, sterna_error *err)
{
    const char *data = (const char *)file->data;
    for (size_t at = 0; at < file->size;) {
        const char *end = memchr(data + at, '\n', file->size - at);
        size_t size = end ? (size_t)(end - (data + at)) : file->size - at;
        run->line++;
        size_t text = 0;
        while (text < size && (is_space(data[at + text]) || data[at + text] == '\r')) text++;
        if (size > MAX_LINE) return bad_line(run, "longer than 1 MiB", err);
        if (text < size) {
            if (options->limit && run->tasks == options->limit) return STERNA_OK;
            if (options->progress && !options->progress(options->progress_context, "evaluating",
                                                        (double)at, (double)file->size))
                return sterna_fail(err, STERNA_ERROR_CANCELLED, "the evaluation was cancelled");
            sterna_status status = run_line(run, data + at, size, err);
            if (status) return status;
        }
        at += size + 1;
    }
    if (run->tasks == 0) return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: no tasks", run->path);
    return STERNA_OK;
}

static double share_error(double share, size_t n)
{
    return n > 1 ? sqrt(share * (1 - share) / (double)(n - 1)) : 0;
}

static void finish(const task_run *run, sterna_task_result *result)
{
    double n = (double)run->tasks;
    *result = (sterna_task_result){.tasks = run->tasks, .accuracy = (double)run->right / n};
    result->standard_error = share_error(result->accuracy, run->tasks);
    if (run->lambada) {
        result->perplexity = exp(-run->log_likelihood / n);
    } else {
        result->accuracy_normalised = (double)run->right_normalised / n;
        result->standard_error_normalised = share_error(result->accuracy_normalised, run->tasks);
    }
}

sterna_status sterna_run_tasks(sterna_model *model, const char *path,
                               const sterna_eval_options *options, sterna_task_result *result,
                               sterna_error *err)
{
    const sterna_eval_options none = {0};
    if (!options) options = &none;
    const sterna_config *config = sterna_decoder_config(model->decoder);
    if (!model->tokenizer)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model's files hold no tokenizer, so no text can be scored",
                           model->path);
    sterna_session_options session = {.context = options->context};
    if (!session.context)
        session.context = config->context < TASK_CONTEXT ? config->context : TASK_CONTEXT;
    task_run run = {.tokenizer = model->tokenizer, .path = path, .vocabulary = config->vocabulary};
    sterna_file *file = NULL;
    sterna_status status = sterna_file_open(path, &file, err);
    if (!status) status = sterna_run_session_new(model, &session, &run.session, err);
    if (!status) status = run_lines(&run, file, options, err);
    if (!status) finish(&run, result);
    sterna_run_session_free(run.session);
    sterna_file_close(file);
    return status;
}
