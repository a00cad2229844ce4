/* sterna bench: how fast a model runs here. */
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct bench_settings {
    cli_model_settings model;
    cli_numbers prefill, context;
    uint64_t tokens, repeat;
    bool json, quiet;
} bench_settings;

static int run_bench(const cli_command *command, const void *from, int operands, char **operand)
{
    const bench_settings *settings = from;
    sterna_bench_options options;
    sterna_error err;
    sterna_model *model = NULL;
    cli_progress progress;
    char *json = NULL;
    bool silent = settings->quiet || settings->json;
    (void)command;
    (void)operands;
    memset(&err, 0, sizeof err);
    memset(&options, 0, sizeof options);
    int status = cli_open_model(operand[0], &settings->model, silent, &model);
    if (status != CLI_OK) return status;
    cli_progress_start(&progress, silent);
    options.prefill = settings->prefill.items;
    options.prefill_count = settings->prefill.count;
    options.contexts = settings->context.items;
    options.contexts_count = settings->context.count;
    options.decode_tokens = (uint32_t)settings->tokens;
    options.repetitions = (uint32_t)settings->repeat;
    options.progress = cli_progress_report;
    options.progress_context = &progress;
    sterna_status done = sterna_bench(model, &options, &json, &err);
    cli_progress_end(&progress);
    sterna_model_close(model);
    if (done != STERNA_OK) return cli_fail_library(&err);
    return cli_show_report(json, settings->json, false);
}

static const bench_settings bench_defaults = {
    .prefill = {{128, 512}, 2},
    .context = {{0, 512}, 2},
    .tokens = 32,
    .repeat = 3,
};
static const cli_option bench_options[] = {
    {"prefill", 0, CLI_NUMBERS, "N,N", 1, 1 << 24, offsetof(bench_settings, prefill),
     "prompt lengths in tokens (default 128,512)"},
    {"context", 0, CLI_NUMBERS, "N,N", 0, 1 << 24, offsetof(bench_settings, context),
     "tokens that stand before those which are decoded (default 0,512)"},
    {"tokens", 'n', CLI_INTEGER, "N", 1, 1 << 20, offsetof(bench_settings, tokens),
     "tokens to decode at each context (default 32)"},
    {"repeat", 0, CLI_INTEGER, "N", 1, 1000, offsetof(bench_settings, repeat),
     "runs of each measurement; the median counts (default 3)"},
    CLI_MODEL_OPTIONS(bench_settings),
    CLI_JSON_OPTION(bench_settings, "print one JSON object"),
    CLI_QUIET_OPTION(bench_settings, "show no progress"),
};

const cli_command cli_command_bench = {
    .name = "bench",
    .summary = "measure a model's speed and memory",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .about = "Measures how fast prompts are read (prefill) and answers are written (decode), the "
             "time to load and the peak memory. Decode is bound by memory: the bandwidth of this "
             "machine, measured in the same run, stands beside the bytes that each token reads.",
    .limits = "Prompts, contexts and decoded tokens must fit into the model's context together.",
    .examples = "sterna bench model.gguf\n"
                "sterna bench model.gguf --prefill 512 --context 0,1024,4096 --tokens 64\n"
                "sterna bench model.gguf --threads 4 --json > speed.json\n",
    .options = bench_options,
    .option_count = CLI_COUNT(bench_options),
    .defaults = &bench_defaults,
    .settings_size = sizeof bench_defaults,
    .run = run_bench,
};
