/* One answer: what both ways of `sterna run` (a single prompt, a chat) are made of. */
#ifndef STERNA_CLI_ANSWER_H
#define STERNA_CLI_ANSWER_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "model.h"
#include "options.h"
#include "sterna.h"

/* "Not given": the model's own recommendation stands. */
#define CLI_UNSET_REAL NAN
#define CLI_UNSET      UINT64_MAX

typedef struct cli_run_settings {
    cli_model_settings model;
    const char *prompt, *file, *system, *cache;
    cli_texts stop, set;
    double temperature, top_p, min_p, repeat_penalty;
    uint64_t top_k, repeat_window, seed, n_predict, context;
    bool raw, special, ignore_end, json, quiet, verbose;
} cli_run_settings;

/* Text that grows. */
typedef struct cli_text {
    char *data; /* NUL-terminated once something was added */
    size_t size, capacity;
} cli_text;

/* False when memory ran out; the text stays as it was. */
bool cli_text_add(cli_text *text, const char *more, size_t size);
void cli_text_free(cli_text *text);

typedef struct cli_talk {
    const cli_run_settings *settings;
    const char *model_path;
    const char *variables; /* JSON object for the chat template */
    sterna_model *model;
    sterna_session *session;
    sterna_sampling sampling;
    bool templated; /* prompts go through the model's chat template */
} cli_talk;

/* Loads the model and makes a session. Returns the exit status, after a sentence; close it in any
 * case. */
int cli_talk_open(cli_talk *talk, const cli_run_settings *settings, const char *model_path,
                  const char *variables);
void cli_talk_close(cli_talk *talk);

/* The ids of a conversation (messages: [{role, content}]) or of a plain text; sterna_free. */
sterna_status cli_encode_chat(const cli_talk *talk, const json_t *messages, int32_t **ids,
                              size_t *count, sterna_error *err);
sterna_status cli_encode_text(const cli_talk *talk, const char *text, size_t size, int32_t **ids,
                              size_t *count, sterna_error *err);

typedef struct cli_answer {
    cli_text text; /* cli_text_free */
    sterna_generate_result result;
    size_t prompt_tokens; /* those which the session still held included */
    bool interrupted;     /* by Ctrl-C */
} cli_answer;

/* Generates the answer to `ids`, which replace what the session holds as far as they differ from
 * it, and streams it to stdout unless the answer is wanted as JSON. */
sterna_status cli_answer_ids(cli_talk *talk, const int32_t *ids, size_t count, cli_answer *answer,
                             sterna_error *err);

/* Tokens per second; 0 for no time. */
double cli_rate(size_t tokens, double seconds);
/* The line of figures on stderr. */
void cli_answer_summary(const cli_answer *answer);
/* {model, text, tokens, prompt_tokens, tokens_per_s, prompt_tokens_per_s, stop_reason, seed} */
json_t *cli_answer_json(const cli_talk *talk, const cli_answer *answer);

/* The interactive chat; returns the exit status. */
int cli_chat(cli_talk *talk);

#endif
