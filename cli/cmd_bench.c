/* sterna bench: how fast a model runs here. */
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct bench_settings {
    cli_model_settings model;
    const char *shape, *type, *head, *cache;
    cli_numbers prefill, context, batch;
    uint64_t tokens, repeat;
    bool json, quiet;
} bench_settings;

static int list_shapes(bool json)
{
    char *text = NULL;
    sterna_error err;
    memset(&err, 0, sizeof err);
    if (sterna_shapes(&text, &err) != STERNA_OK) return cli_fail_library(&err);
    return cli_show_report(text, json, false);
}

static int open_shape(const bench_settings *settings, bool silent, sterna_model **out)
{
    cli_progress progress;
    sterna_error err;
    memset(&err, 0, sizeof err);
    cli_progress_start(&progress, silent);
    sterna_model_options options = cli_model_options(&settings->model, &progress);
    sterna_status status = sterna_model_open_shape(settings->shape, settings->type, settings->head,
                                                   &options, out, &err);
    cli_progress_end(&progress);
    return status == STERNA_OK ? CLI_OK : cli_fail_library(&err);
}

static int measure(const bench_settings *settings, bool silent, sterna_model *model)
{
    sterna_bench_options options;
    sterna_error err;
    cli_progress progress;
    char *json = NULL;
    memset(&err, 0, sizeof err);
    memset(&options, 0, sizeof options);
    cli_progress_start(&progress, silent);
    options.prefill = settings->prefill.items;
    options.prefill_count = settings->prefill.count;
    options.contexts = settings->context.items;
    options.contexts_count = settings->context.count;
    options.batches = settings->batch.items;
    options.batches_count = settings->batch.count;
    options.decode_tokens = (uint32_t)settings->tokens;
    options.repetitions = (uint32_t)settings->repeat;
    options.cache = cli_cache_type(settings->cache);
    options.progress = cli_progress_report;
    options.progress_context = &progress;
    sterna_status done = sterna_bench(model, &options, &json, &err);
    cli_progress_end(&progress);
    if (done != STERNA_OK) return cli_fail_library(&err);
    return cli_show_report(json, settings->json, false);
}

static int run_bench(const cli_command *command, const void *from, int operands, char **operand)
{
    const bench_settings *settings = from;
    sterna_model *model = NULL;
    bool silent = settings->quiet || settings->json;
    if (settings->shape && strcmp(settings->shape, "list") == 0) return list_shapes(settings->json);
    if ((operands == 1) == (settings->shape != NULL))
        return cli_usage_error(command->name,
                               "expected a model file or --shape NAME, one of the two");
    if (!settings->shape && (settings->type || settings->head))
        return cli_usage_error(command->name,
                               "--type and --head go with --shape: a file has its own types");
    int status = settings->shape ? open_shape(settings, silent, &model)
                                 : cli_open_model(operand[0], &settings->model, silent, &model);
    if (status == CLI_OK) status = measure(settings, silent, model);
    sterna_model_close(model);
    return status;
}

static const bench_settings bench_defaults = {.tokens = 32, .repeat = 5, .cache = "f16"};
static const cli_option bench_options[] = {
    {"prefill", 0, CLI_NUMBERS, "N,N", 1, 1 << 24, offsetof(bench_settings, prefill),
     "prompt lengths in tokens (default 128,512)"},
    {"context", 0, CLI_NUMBERS, "N,N", 0, 1 << 24, offsetof(bench_settings, context),
     "tokens that stand before those which are decoded (default those of 0,512,4096,16384 that the "
     "model was trained for and that are reached in 20 s)"},
    {"batch", 'b', CLI_NUMBERS, "N,N", 1, 256, offsetof(bench_settings, batch),
     "also decode so many sequences together, behind the first context (default none)"},
    {"tokens", 'n', CLI_INTEGER, "N", 1, 4096, offsetof(bench_settings, tokens),
     "tokens to decode at each context (default 32)"},
    {"repeat", 0, CLI_INTEGER, "N", 1, 100, offsetof(bench_settings, repeat),
     "counted runs of each measurement, behind one to warm up; the median counts (default 5)"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Without a file"},
    {"shape", 0, CLI_TEXT, "NAME", 0, 0, offsetof(bench_settings, shape),
     "measure a model of this shape with random weights; 'list' shows the shapes"},
    {"type", 0, CLI_CHOICE, "I2_S|TQ2_0|TQ1_0|Q2_0|PQ2_0|PTQ1_0", 0, 0,
     offsetof(bench_settings, type),
     "layout of its ternary weights: a scale per tensor (I2_S), per 256 (TQ2_0, TQ1_0), 128 "
     "(PQ2_0, "
     "PTQ1_0) or 64 weights (default as the shape's models have)"},
    {"head", 0, CLI_CHOICE, "Q8_0|Q6_K|F16|BF16|F32", 0, 0, offsetof(bench_settings, head),
     "type of its embedding and head (default Q8_0)"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Running"},
    CLI_CACHE_OPTION(bench_settings, cache),
    CLI_MODEL_OPTIONS(bench_settings),
    CLI_JSON_OPTION(bench_settings, "print one JSON object"),
    CLI_QUIET_OPTION(bench_settings, "show no progress"),
};

const cli_command cli_command_bench = {
    .name = "bench",
    .summary = "measure a model's speed and memory",
    .operands = "[MODEL]",
    .min_operands = 0,
    .max_operands = 1,
    .about =
        "Measures how fast prompts are read (prefill) and answers are written (decode), the time "
        "to load and the peak memory. Every figure is the median of repetitions behind one that "
        "warms up, with the slowest and the fastest beside it.\n\n"
        "The limits of this machine are measured in the same run: decode is bound by the speed at "
        "which memory is read, against which stand the bytes that a token reads (weights, keys and "
        "values); prefill by the int8 products of the processor, against which stand the "
        "operations of the matrix products in the time that they take.",
    .limits = "The contexts are not held to the length that the model was trained for. Other busy "
              "programs make all figures smaller, the limits too.",
    .examples = "sterna bench model.gguf\n"
                "sterna bench model.gguf --prefill 512 --context 0,1024,4096 --tokens 64\n"
                "sterna bench model.gguf --threads 4 --json > speed.json\n"
                "sterna bench --shape bitnet-2b4t --batch 8\tno file: random weights\n"
                "sterna bench --shape list\n",
    .options = bench_options,
    .option_count = CLI_COUNT(bench_options),
    .defaults = &bench_defaults,
    .settings_size = sizeof bench_defaults,
    .run = run_bench,
};
