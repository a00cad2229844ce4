/* sterna run: one answer, or a chat. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "commands.h"
#include "output.h"
#include "table.h"
#include "variables.h"

enum { PROMPT_LIMIT = 256 << 20 };

/* The prompt, NUL-terminated: of -p, of -f, or of standard input. One line end at its end is not
 * part of it, so that `echo hello | sterna run` asks what `-p hello` asks. */
static int read_prompt(const cli_run_settings *settings, char **text, size_t *size)
{
    const char *path = settings->file ? settings->file : "-";
    if (settings->prompt && strcmp(settings->prompt, "-") != 0) {
        *text = strdup(settings->prompt);
        *size = strlen(settings->prompt);
        return *text ? CLI_OK : cli_fail_memory();
    }
    int status = cli_read_input(path, PROMPT_LIMIT, text, size);
    if (status == CLI_OK && *size && (*text)[*size - 1] == '\n') (*text)[--*size] = '\0';
    return status;
}

static json_t *conversation(const char *system, const char *prompt, size_t size)
{
    json_t *user = json_pack("{s:s,s:o}", "role", "user", "content", cli_json_text(prompt, size));
    if (!system) return json_pack("[o]", user);
    return json_pack("[{s:s,s:o},o]", "role", "system", "content",
                     cli_json_text(system, strlen(system)), user);
}

static int answer_once(cli_talk *talk, const char *prompt, size_t size)
{
    const cli_run_settings *settings = talk->settings;
    sterna_error err;
    cli_answer answer;
    int32_t *ids = NULL;
    size_t count = 0;
    int status;
    sterna_status done;
    memset(&err, 0, sizeof err);
    memset(&answer, 0, sizeof answer);
    if (talk->templated) {
        json_t *messages = conversation(settings->system, prompt, size);
        if (!messages) return cli_fail_memory();
        done = cli_encode_chat(talk, messages, &ids, &count, &err);
        json_decref(messages);
    } else {
        done = cli_encode_text(talk, prompt, size, &ids, &count, &err);
    }
    if (done == STERNA_OK) done = cli_answer_ids(talk, ids, count, &answer, &err);
    if (done != STERNA_OK)
        status = cli_fail_library(&err);
    else if (settings->json)
        status = cli_print_json(cli_answer_json(talk, &answer));
    else
        status = CLI_OK;
    if (done == STERNA_OK && !settings->json && !settings->quiet && !ferror(stdout))
        cli_answer_summary(&answer);
    if (status == CLI_OK && answer.interrupted) status = CLI_INTERRUPTED;
    sterna_free(ids);
    cli_text_free(&answer.text);
    return status;
}

/* On stderr: stdout belongs to the answer. */
static int print_model_report(const cli_talk *talk)
{
    sterna_error err;
    char *json = NULL;
    memset(&err, 0, sizeof err);
    if (sterna_model_report(talk->model, &json, &err) != STERNA_OK) return cli_fail_library(&err);
    json_t *report = json_loads(json, 0, NULL);
    int status = cli_print_report(report, stderr, true);
    json_decref(report);
    sterna_free(json);
    return status;
}

static int run_run(const cli_command *command, const void *from, int operands, char **operand)
{
    const cli_run_settings *settings = from;
    cli_talk talk;
    char *prompt = NULL, *variables = NULL;
    size_t size = 0;
    bool once = settings->prompt || settings->file || !isatty(STDIN_FILENO);
    if (settings->prompt && settings->file)
        return cli_usage_error(command->name, "--prompt and --file exclude each other");
    if (settings->raw && settings->system)
        return cli_usage_error(command->name,
                               "--system needs the chat template that --raw leaves out");
    if (settings->json && !once)
        return cli_usage_error(command->name, "--json needs a prompt: -p TEXT, -f FILE or standard "
                                              "input");
    if (operands == 0)
        return cli_fail("this build has no model of its own yet; name one: sterna run MODEL.gguf");
    int status = cli_read_variables(command, &settings->set, &variables);
    if (status == CLI_OK && once) status = read_prompt(settings, &prompt, &size);
    if (status == CLI_OK) {
        status = cli_talk_open(&talk, settings, operand[0], variables);
        if (status == CLI_OK && settings->verbose) status = print_model_report(&talk);
        if (status == CLI_OK) status = once ? answer_once(&talk, prompt, size) : cli_chat(&talk);
        cli_talk_close(&talk);
    }
    free(variables);
    free(prompt);
    return status;
}

static const cli_run_settings run_defaults = {
    .cache = "f16",
    .temperature = CLI_UNSET_REAL,
    .top_p = CLI_UNSET_REAL,
    .min_p = CLI_UNSET_REAL,
    .repeat_penalty = CLI_UNSET_REAL,
    .top_k = CLI_UNSET,
    .repeat_window = CLI_UNSET,
    .seed = CLI_UNSET,
};

static const cli_option run_options[] = {
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Prompt"},
    {"prompt", 'p', CLI_TEXT, "TEXT", 0, 0, offsetof(cli_run_settings, prompt),
     "answer this prompt and end; - reads it from standard input"},
    {"file", 'f', CLI_FILE, "FILE", 0, 0, offsetof(cli_run_settings, file),
     "answer the prompt in this file and end"},
    {"system", 0, CLI_TEXT, "TEXT", 0, 0, offsetof(cli_run_settings, system), "the system prompt"},
    CLI_SET_OPTION(cli_run_settings),
    {"raw", 0, CLI_FLAG, NULL, 0, 0, offsetof(cli_run_settings, raw),
     "leave out the chat template: continue the prompt as it stands"},
    {"special", 0, CLI_FLAG, NULL, 0, 0, offsetof(cli_run_settings, special),
     "with --raw: special tokens written in the prompt become those tokens"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Answer"},
    {"n-predict", 'n', CLI_INTEGER, "N", 0, 4294967295.0, offsetof(cli_run_settings, n_predict),
     "most tokens of an answer; 0: until the context is full (default 0)"},
    {"stop", 0, CLI_TEXTS, "TEXT", 0, 0, offsetof(cli_run_settings, stop),
     "end the answer before this text (may be given again)"},
    {"ignore-eos", 0, CLI_FLAG, NULL, 0, 0, offsetof(cli_run_settings, ignore_end),
     "go on when the model ends its turn"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Sampling (defaults: what the model's files recommend)"},
    {"temp", 0, CLI_REAL, "T", 0, 100, offsetof(cli_run_settings, temperature),
     "temperature; 0 always takes the most likely token (else 0.8)"},
    {"top-k", 0, CLI_INTEGER, "N", 0, 2147483647.0, offsetof(cli_run_settings, top_k),
     "only the N most likely tokens; 0 off (else 40)"},
    {"top-p", 0, CLI_REAL, "P", 0, 1, offsetof(cli_run_settings, top_p),
     "only the most likely tokens that make up the share P; 1 off (else 0.95)"},
    {"min-p", 0, CLI_REAL, "P", 0, 1, offsetof(cli_run_settings, min_p),
     "only tokens at least P times as likely as the most likely; 0 off (else 0.05)"},
    {"repeat-penalty", 0, CLI_REAL, "R", 0.01, 100, offsetof(cli_run_settings, repeat_penalty),
     "make tokens that came lately less likely; 1 off (else 1)"},
    {"repeat-window", 0, CLI_INTEGER, "N", 0, 4294967295.0,
     offsetof(cli_run_settings, repeat_window), "how many last tokens came lately (else 64)"},
    {"seed", 's', CLI_INTEGER, "N", 0, 9007199254740991.0, offsetof(cli_run_settings, seed),
     "the same seed gives the same answer (default: a new one each time)"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Model"},
    {"ctx", 'c', CLI_SIZE, "N", 0, 4294967295.0, offsetof(cli_run_settings, context),
     "tokens that prompt and answers may take together; 0: what the model was trained for, 4096 at "
     "most (default 0)"},
    CLI_CACHE_OPTION(cli_run_settings, cache),
    CLI_MODEL_OPTIONS(cli_run_settings),
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Output"},
    CLI_JSON_OPTION(cli_run_settings, "print one JSON object with the answer and its figures"),
    CLI_QUIET_OPTION(cli_run_settings, "print nothing but the answer and errors"),
    {"verbose", 'v', CLI_FLAG, NULL, 0, 0, offsetof(cli_run_settings, verbose),
     "say first how every tensor runs"},
};

const cli_command cli_command_run = {
    .name = "run",
    .summary = "answer a prompt, or chat",
    .operands = "[MODEL]",
    .max_operands = 1,
    .about = "With -p or -f, or when standard input is not a terminal, answers one prompt; "
             "otherwise it is a chat with line editing and history, in which /reset forgets the "
             "conversation, /system TEXT sets the system prompt, /quit leaves, and Ctrl-C stops an "
             "answer. A model that has a chat template is asked through it. Text that you type "
             "never becomes a special token.\n\n"
             "MODEL is a GGUF file (any part of a split one), a Hugging Face folder, or a "
             "llama2.c .bin file with its tokenizer.bin beside it.",
    .limits = "A prompt is at most 256 MiB, and must fit into --ctx with its answer. At most 64 "
              "--stop texts.",
    .examples = "sterna run model.gguf\tchat\n"
                "sterna run model.gguf -p \"Why is the sea salty?\"\n"
                "sterna run model.gguf -p \"Name three birds.\" --temp 0 -n 40\n"
                "sterna run model.gguf -f question.txt --json | jq -r .text\n"
                "git diff | sterna run model.gguf --system \"Summarise this change.\"\n"
                "sterna run stories15M.bin --raw -p \"Once upon a time\"\n",
    .options = run_options,
    .option_count = CLI_COUNT(run_options),
    .defaults = &run_defaults,
    .settings_size = sizeof run_defaults,
    .run = run_run,
};
