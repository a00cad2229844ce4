#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "output.h"
#include "signals.h"

/* ---- text ---- */

bool cli_text_add(cli_text *text, const char *more, size_t size)
{
    if (size >= SIZE_MAX / 4 - text->size) return false;
    if (text->size + size + 1 > text->capacity) {
        size_t larger = (text->size + size + 1) * 2;
        char *data = realloc(text->data, larger);
        if (!data) return false;
        text->data = data;
        text->capacity = larger;
    }
    memcpy(text->data + text->size, more, size);
    text->size += size;
    text->data[text->size] = '\0';
    return true;
}

void cli_text_free(cli_text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}

/* ---- a model and a session ---- */

static void override_real(float *field, double given)
{
    if (!isnan(given)) *field = (float)given;
}

static void choose_sampling(cli_talk *talk)
{
    const cli_run_settings *settings = talk->settings;
    sterna_sampling *sampling = &talk->sampling;
    sterna_sampling_default(talk->model, sampling);
    override_real(&sampling->temperature, settings->temperature);
    override_real(&sampling->top_p, settings->top_p);
    override_real(&sampling->min_p, settings->min_p);
    override_real(&sampling->repeat_penalty, settings->repeat_penalty);
    if (settings->top_k != CLI_UNSET) sampling->top_k = (int32_t)settings->top_k;
    if (settings->repeat_window != CLI_UNSET)
        sampling->repeat_window = (uint32_t)settings->repeat_window;
    sampling->seed = settings->seed;
    if (settings->seed == CLI_UNSET) {
        uint32_t fresh = 0;
        if (getrandom(&fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh) fresh = 0;
        sampling->seed = fresh;
    }
}

static int open_session(cli_talk *talk)
{
    const cli_run_settings *settings = talk->settings;
    sterna_session_options options;
    sterna_error err;
    memset(&options, 0, sizeof options);
    memset(&err, 0, sizeof err);
    options.context = (uint32_t)settings->context;
    options.cache = cli_cache_type(settings->cache);
    if (sterna_session_new(talk->model, &options, &talk->session, &err) != STERNA_OK)
        return cli_fail_library(&err);
    return CLI_OK;
}

int cli_talk_open(cli_talk *talk, const cli_run_settings *settings, const char *model_path,
                  const char *variables)
{
    memset(talk, 0, sizeof *talk);
    talk->settings = settings;
    talk->model_path = model_path;
    talk->variables = variables;
    int status = cli_open_model(model_path, &settings->model, settings->quiet || settings->json,
                                &talk->model);
    if (status != CLI_OK) return status;
    if (!sterna_model_tokenizer(talk->model))
        return cli_fail("%s holds no vocabulary, so that it can neither read nor write text",
                        model_path);
    talk->templated = !settings->raw && sterna_model_chat_template(talk->model);
    if (settings->system && !talk->templated)
        return cli_fail("%s has no chat template, so that --system has no place in its prompts",
                        model_path);
    choose_sampling(talk);
    return open_session(talk);
}

void cli_talk_close(cli_talk *talk)
{
    sterna_session_free(talk->session);
    sterna_model_close(talk->model);
    memset(talk, 0, sizeof *talk);
}

sterna_status cli_encode_chat(const cli_talk *talk, const json_t *messages, int32_t **ids,
                              size_t *count, sterna_error *err)
{
    char *text = json_dumps(messages, JSON_COMPACT);
    if (!text) {
        err->status = STERNA_ERROR_MEMORY;
        snprintf(err->message, sizeof err->message, "out of memory");
        return err->status;
    }
    sterna_status status =
        sterna_model_encode_chat(talk->model, text, NULL, talk->variables, true, ids, count, err);
    free(text);
    return status;
}

sterna_status cli_encode_text(const cli_talk *talk, const char *text, size_t size, int32_t **ids,
                              size_t *count, sterna_error *err)
{
    int flags = STERNA_TOKENS_ADD_SPECIAL;
    if (talk->settings->special) flags |= STERNA_TOKENS_PARSE_SPECIAL;
    return sterna_tokenize(sterna_model_tokenizer(talk->model), text, size, flags, ids, count, err);
}

/* ---- the answer ---- */

typedef struct stream {
    cli_text *text;
    bool silent, no_memory;
} stream;

static bool on_text(void *context, const char *text, size_t size)
{
    stream *to = context;
    if (!cli_text_add(to->text, text, size)) to->no_memory = true;
    if (!to->silent) {
        cli_write(stdout, text, size);
        /* nobody reads any more, or the disk is full: stop now; main says why */
        if (fflush(stdout) != 0) return false;
    }
    return !to->no_memory && !cli_interrupted();
}

/* How many of the ids the session holds already, one left to be appended: its logits are needed. */
static size_t common_prefix(const sterna_session *session, const int32_t *ids, size_t count)
{
    const int32_t *held = sterna_session_tokens(session);
    size_t length = sterna_session_length(session), common = 0;
    while (common < length && common + 1 < count && held[common] == ids[common]) common++;
    return common;
}

sterna_status cli_answer_ids(cli_talk *talk, const int32_t *ids, size_t count, cli_answer *answer,
                             sterna_error *err)
{
    const cli_run_settings *settings = talk->settings;
    sterna_generate_options options;
    memset(answer, 0, sizeof *answer);
    memset(&options, 0, sizeof options);
    stream to = {&answer->text, settings->json, false};
    options.sampling = talk->sampling;
    options.n_predict = (uint32_t)settings->n_predict;
    options.stop = settings->stop.items;
    options.stop_count = settings->stop.count;
    options.ignore_end = settings->ignore_end;
    options.on_text = on_text;
    options.context = &to;
    size_t held = common_prefix(talk->session, ids, count);
    sterna_session_rewind(talk->session, held);
    answer->prompt_tokens = count;
    cli_interrupt_session(talk->session);
    sterna_status status =
        sterna_generate(talk->session, ids + held, count - held, &options, &answer->result, err);
    cli_interrupt_session(NULL);
    answer->interrupted = cli_interrupted();
    if (answer->interrupted && status == STERNA_ERROR_CANCELLED) status = STERNA_OK;
    const cli_text *text = &answer->text;
    if (!to.silent && text->size && text->data[text->size - 1] != '\n') putchar('\n');
    fflush(stdout);
    if (to.no_memory) {
        snprintf(err->message, sizeof err->message, "out of memory");
        return err->status = STERNA_ERROR_MEMORY;
    }
    return status;
}

double cli_rate(size_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

void cli_answer_summary(const cli_answer *answer)
{
    const sterna_generate_result *r = &answer->result;
    fprintf(stderr, "[prompt %zu tokens, %.1f tokens/s; answer %zu tokens, %.1f tokens/s%s]\n",
            answer->prompt_tokens, cli_rate(r->prompt_tokens, r->prompt_s), r->tokens,
            cli_rate(r->tokens, r->decode_s),
            answer->interrupted               ? "; stopped by Ctrl-C"
            : r->reason == STERNA_STOP_LENGTH ? "; cut at the length limit"
                                              : "");
}

json_t *cli_answer_json(const cli_talk *talk, const cli_answer *answer)
{
    static const char *const reasons[] = {"end", "stop", "length", "cancelled"};
    const sterna_generate_result *r = &answer->result;
    const char *reason = answer->interrupted ? "cancelled" : reasons[r->reason];
    return json_pack("{s:o,s:o,s:I,s:I,s:o,s:o,s:s,s:I}", "model",
                     cli_json_text(talk->model_path, strlen(talk->model_path)), "text",
                     cli_json_text(answer->text.data, answer->text.size), "tokens",
                     (json_int_t)r->tokens, "prompt_tokens", (json_int_t)answer->prompt_tokens,
                     "tokens_per_s", cli_json_number(cli_rate(r->tokens, r->decode_s)),
                     "prompt_tokens_per_s",
                     cli_json_number(cli_rate(r->prompt_tokens, r->prompt_s)), "stop_reason",
                     reason, "seed", (json_int_t)talk->sampling.seed);
}
