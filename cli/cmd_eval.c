/* sterna eval: how good a model is: perplexity, divergence from another model, tasks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

enum { TEXT_LIMIT = 1 << 30 };

typedef struct eval_settings {
    cli_model_settings model;
    const char *text, *tasks, *other;
    uint64_t bytes, context, stride, limit;
    bool json, quiet;
} eval_settings;

static sterna_eval_options eval_options_of(const eval_settings *settings, cli_progress *progress)
{
    sterna_eval_options options;
    memset(&options, 0, sizeof options);
    options.context = (uint32_t)settings->context;
    options.stride = (uint32_t)settings->stride;
    options.limit = (uint32_t)settings->limit;
    options.progress = cli_progress_report;
    options.progress_context = progress;
    return options;
}

/* ---- perplexity ---- */

static json_t *perplexity_json(const eval_settings *settings, const char *path,
                               const sterna_perplexity_result *r)
{
    json_t *object = json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I}", "model", cli_json_text(path, strlen(path)), "text",
        cli_json_text(settings->text, strlen(settings->text)), "perplexity",
        cli_json_number(r->perplexity), "nll", cli_json_number(r->nll), "standard_error",
        cli_json_number(r->standard_error), "tokens", (json_int_t)r->tokens, "windows",
        (json_int_t)r->windows, "context", (json_int_t)settings->context, "stride",
        (json_int_t)settings->stride);
    if (!object || !settings->other) return object;
    json_t *divergence = json_pack(
        "{s:o,s:o,s:o,s:o}", "kl_against", cli_json_text(settings->other, strlen(settings->other)),
        "kl", cli_json_number(r->kl), "kl_standard_error", cli_json_number(r->kl_standard_error),
        "agreement", cli_json_number(r->agreement));
    if (!divergence || json_object_update(object, divergence) != 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(divergence);
    return object;
}

static void print_perplexity(const eval_settings *settings, const sterna_perplexity_result *r)
{
    char tokens[32], windows[32];
    cli_grouped((double)r->tokens, tokens, sizeof tokens);
    cli_grouped((double)r->windows, windows, sizeof windows);
    printf("perplexity  %.4f +- %.4f\n", r->perplexity, r->perplexity * r->standard_error);
    printf("nll         %.5f +- %.5f nats per token\n", r->nll, r->standard_error);
    printf("scored      %s tokens in %s windows of %d tokens", tokens, windows,
           (int)settings->context);
    if (settings->stride)
        printf(", sliding by %d\n", (int)settings->stride);
    else
        printf(", the second half of each\n");
    if (!settings->other) return;
    printf("KL          %.5f +- %.5f nats per token\n", r->kl, r->kl_standard_error);
    printf("agreement   %.2f %% of the most likely tokens\n", 100 * r->agreement);
}

static int eval_text(const eval_settings *settings, const char *path, sterna_model *model,
                     sterna_model *other)
{
    sterna_perplexity_result result;
    sterna_error err;
    cli_progress progress;
    char *text = NULL;
    size_t size = 0;
    memset(&err, 0, sizeof err);
    memset(&result, 0, sizeof result);
    int status = cli_read_input(settings->text, TEXT_LIMIT, &text, &size);
    if (status != CLI_OK) return status;
    if (settings->bytes && settings->bytes < size) size = (size_t)settings->bytes;
    cli_progress_start(&progress, settings->json || settings->quiet);
    sterna_eval_options options = eval_options_of(settings, &progress);
    sterna_status done = sterna_perplexity(model, other, text, size, &options, &result, &err);
    cli_progress_end(&progress);
    free(text);
    if (done != STERNA_OK) return cli_fail_library(&err);
    if (settings->json) return cli_print_json(perplexity_json(settings, path, &result));
    print_perplexity(settings, &result);
    return CLI_OK;
}

/* ---- tasks ---- */

static json_t *tasks_json(const eval_settings *settings, const char *path,
                          const sterna_task_result *r)
{
    return json_pack("{s:o,s:o,s:I,s:o,s:o,s:o,s:o,s:o}", "model",
                     cli_json_text(path, strlen(path)), "file",
                     cli_json_text(settings->tasks, strlen(settings->tasks)), "tasks",
                     (json_int_t)r->tasks, "accuracy", cli_json_number(r->accuracy),
                     "standard_error", cli_json_number(r->standard_error), "accuracy_normalised",
                     cli_json_number(r->accuracy_normalised), "standard_error_normalised",
                     cli_json_number(r->standard_error_normalised), "perplexity",
                     r->perplexity > 0 ? cli_json_number(r->perplexity) : json_null());
}

static void print_tasks(const sterna_task_result *r)
{
    char tasks[32];
    cli_grouped((double)r->tasks, tasks, sizeof tasks);
    printf("tasks       %s\n", tasks);
    printf("accuracy    %.2f %% +- %.2f\n", 100 * r->accuracy, 100 * r->standard_error);
    if (r->perplexity > 0)
        printf("perplexity  %.4f of the continuations\n", r->perplexity);
    else
        printf("normalised  %.2f %% +- %.2f (log-likelihood per byte of a choice)\n",
               100 * r->accuracy_normalised, 100 * r->standard_error_normalised);
}

static int eval_tasks(const eval_settings *settings, const char *path, sterna_model *model)
{
    sterna_task_result result;
    sterna_error err;
    cli_progress progress;
    memset(&err, 0, sizeof err);
    memset(&result, 0, sizeof result);
    cli_progress_start(&progress, settings->json || settings->quiet);
    sterna_eval_options options = eval_options_of(settings, &progress);
    sterna_status done = sterna_tasks(model, settings->tasks, &options, &result, &err);
    cli_progress_end(&progress);
    if (done != STERNA_OK) return cli_fail_library(&err);
    if (settings->json) return cli_print_json(tasks_json(settings, path, &result));
    print_tasks(&result);
    return CLI_OK;
}

static int run_eval(const cli_command *command, const void *from, int operands, char **operand)
{
    const eval_settings *settings = from;
    sterna_model *model = NULL, *other = NULL;
    bool silent = settings->json || settings->quiet;
    (void)operands;
    if (!settings->text == !settings->tasks)
        return cli_usage_error(command->name, "give either --text FILE or --tasks FILE");
    if (settings->tasks && settings->other)
        return cli_usage_error(command->name, "--kl-against goes with --text");
    if (settings->stride >= settings->context)
        return cli_usage_error(command->name, "--stride must be smaller than --context (%d)",
                               (int)settings->context);
    int status = cli_open_model(operand[0], &settings->model, silent, &model);
    if (status == CLI_OK && settings->other)
        status = cli_open_model(settings->other, &settings->model, silent, &other);
    if (status == CLI_OK)
        status = settings->text ? eval_text(settings, operand[0], model, other)
                                : eval_tasks(settings, operand[0], model);
    sterna_model_close(other);
    sterna_model_close(model);
    return status;
}

static const eval_settings eval_defaults = {.context = 512};
static const cli_option eval_options[] = {
    {"text", 0, CLI_FILE, "FILE", 0, 0, offsetof(eval_settings, text),
     "measure the perplexity of this text; - is standard input"},
    {"bytes", 0, CLI_SIZE, "N", 0, 1 << 30, offsetof(eval_settings, bytes),
     "only the first N bytes of the text; 0 takes all (default 0)"},
    {"context", 'c', CLI_INTEGER, "N", 2, 1 << 24, offsetof(eval_settings, context),
     "tokens in a window (default 512)"},
    {"stride", 0, CLI_INTEGER, "N", 0, 1 << 24, offsetof(eval_settings, stride),
     "slide the window by N tokens and score the new ones; 0: windows without overlap, the second "
     "half of each scored (default 0)"},
    {"limit", 0, CLI_INTEGER, "N", 0, 4294967295.0, offsetof(eval_settings, limit),
     "stop after N windows or tasks; 0 takes all (default 0)"},
    {"kl-against", 0, CLI_FILE, "OTHER", 0, 0, offsetof(eval_settings, other),
     "also measure how far the answers are from those of the model OTHER"},
    {"tasks", 0, CLI_FILE, "FILE", 0, 0, offsetof(eval_settings, tasks),
     "measure the accuracy on JSON lines {query, choices, gold} or {context, continuation}"},
    CLI_MODEL_OPTIONS(eval_settings),
    CLI_JSON_OPTION(eval_settings, "print one JSON object"),
    CLI_QUIET_OPTION(eval_settings, "show no progress"),
};

const cli_command cli_command_eval = {
    .name = "eval",
    .summary = "measure a model's quality: perplexity, KL, tasks",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .about = "With --text: the perplexity of a text, by default over windows without overlap of "
             "which the second half is scored, a BOS token first where the model asks for one "
             "(llama.cpp's protocol, so that figures compare). With --kl-against: also the "
             "Kullback-Leibler divergence from another model of the same vocabulary, and how "
             "often both find the same token most likely.\n\n"
             "With --tasks: multiple choice, by the log-likelihood of each choice (whole, and per "
             "byte), or LAMBADA, by the exact continuation.",
    .limits = "A text is at most 1 GiB and must fill one window.",
    .examples = "sterna eval model.gguf --text wiki.test.raw\n"
                "sterna eval model.gguf --text wiki.test.raw --bytes 30000 --json\n"
                "sterna eval small.gguf --text wiki.test.raw --kl-against model.gguf\n"
                "sterna eval model.gguf --tasks arc_easy.jsonl --limit 200\n",
    .options = eval_options,
    .option_count = CLI_COUNT(eval_options),
    .defaults = &eval_defaults,
    .settings_size = sizeof eval_defaults,
    .run = run_eval,
};
