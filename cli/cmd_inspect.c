/* sterna inspect: what a file is, without loading it. */
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct inspect_settings {
    cli_model_settings model;
    bool tensors, json;
} inspect_settings;

static int run_inspect(const cli_command *command, const void *from, int operands, char **operand)
{
    const inspect_settings *settings = from;
    sterna_error err;
    char *json = NULL;
    (void)command;
    (void)operands;
    memset(&err, 0, sizeof err);
    sterna_model_options options = cli_model_options(&settings->model, NULL);
    if (sterna_inspect(operand[0], &options, &json, &err) != STERNA_OK)
        return cli_fail_library(&err);
    return cli_show_report(json, settings->json, settings->tensors);
}

static const inspect_settings inspect_defaults;
static const cli_option inspect_options[] = {
    {"tensors", 0, CLI_FLAG, NULL, 0, 0, offsetof(inspect_settings, tensors),
     "list every tensor with its shape and type"},
    CLI_JSON_OPTION(inspect_settings, "print one JSON object with everything, tensors included"),
    CLI_MODEL_OPTIONS(inspect_settings),
};

const cli_command cli_command_inspect = {
    .name = "inspect",
    .summary = "say what is in a file and how it would run",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .about = "Reads the directory of a model file and prints its family, shapes, types and "
             "tokenizer, the honest bits per weight (scales, embeddings and head counted) of the "
             "ternary part and of the whole file, which kernels this machine would run it with, "
             "and what is missing to run it. The weights are not loaded.\n\n"
             "FILE is a GGUF file (any part of a split one), a Hugging Face folder, a "
             ".safetensors file in one, or a llama2.c .bin file.",
    .examples = "sterna inspect model.gguf\n"
                "sterna inspect model.gguf --tensors\tevery tensor\n"
                "sterna inspect model.gguf --json | jq .bits_per_weight\n",
    .options = inspect_options,
    .option_count = CLI_COUNT(inspect_options),
    .defaults = &inspect_defaults,
    .settings_size = sizeof inspect_defaults,
    .run = run_inspect,
};
