/* sterna quantize: make a model ternary. */
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct quantize_settings {
    cli_model_settings model;
    const char *method, *type, *scales, *keep;
    bool json, quiet;
} quantize_settings;

static int run_quantize(const cli_command *command, const void *from, int operands, char **operand)
{
    const quantize_settings *settings = from;
    sterna_quantize_options options;
    sterna_error err;
    cli_progress progress;
    char *receipt = NULL;
    (void)command;
    (void)operands;
    memset(&err, 0, sizeof err);
    memset(&options, 0, sizeof options);
    cli_progress_start(&progress, settings->quiet || settings->json);
    options.method = settings->method;
    options.type = settings->type;
    options.scales = settings->scales;
    options.keep = settings->keep;
    options.threads = (int)settings->model.threads;
    options.progress = cli_progress_report;
    options.progress_context = &progress;
    sterna_status status = sterna_quantize(operand[0], operand[1], &options, &receipt, &err);
    cli_progress_end(&progress);
    if (status != STERNA_OK) return cli_fail_library(&err);
    if (settings->quiet && !settings->json) {
        sterna_free(receipt);
        return CLI_OK;
    }
    return cli_show_report(receipt, settings->json, NULL);
}

static const quantize_settings quantize_defaults;
static const cli_option quantize_options[] = {
    {"method", 0, CLI_CHOICE, "itf|absmean", 0, 0, offsetof(quantize_settings, method),
     "how trits and scales are found: itf fits both in turn to the least squared error, absmean "
     "scales by the mean magnitude as BitNet does (default itf)"},
    {"type", 0, CLI_CHOICE, "TQ1_0|TQ2_0|Q2_0|PQ2_0|PTQ1_0", 0, 0,
     offsetof(quantize_settings, type),
     "layout of the ternary tensors (default: the method's choice)"},
    {"scales", 0, CLI_CHOICE, "group|row|tensor", 0, 0, offsetof(quantize_settings, scales),
     "one scale for each group of the layout, row or tensor (default group)"},
    {"keep", 0, CLI_CHOICE, "Q8_0|F16", 0, 0, offsetof(quantize_settings, keep),
     "type of the embeddings and the head, which stay out of it (default Q8_0)"},
    CLI_THREADS_OPTION(quantize_settings),
    CLI_JSON_OPTION(quantize_settings, "print the receipt as one JSON object"),
    CLI_QUIET_OPTION(quantize_settings, "print nothing but errors"),
};

const cli_command cli_command_quantize = {
    .name = "quantize",
    .summary = "make a model ternary, with a receipt",
    .operands = "IN OUT",
    .min_operands = 2,
    .max_operands = 2,
    .about = "Makes every weight matrix of the model IN ternary and writes it as OUT (.gguf). The "
             "receipt says for each tensor its type, its bits per weight and the relative error, "
             "and the honest totals: scales, embeddings and head are counted. OUT appears only "
             "when it is complete; a file of that name is replaced.\n\n"
             "No data are used and no weight is trained: expect a far worse model, and measure "
             "it with `sterna eval`.",
    .examples = "sterna quantize model.gguf small.gguf\n"
                "sterna quantize folder small.gguf --method absmean --scales tensor --type TQ2_0\n"
                "sterna quantize model.gguf small.gguf --json > receipt.json\n",
    .options = quantize_options,
    .option_count = CLI_COUNT(quantize_options),
    .defaults = &quantize_defaults,
    .settings_size = sizeof quantize_defaults,
    .run = run_quantize,
};
