/* sterna convert: from one container and layout to another. */
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct convert_settings {
    cli_model_settings model;
    const char *type, *float_type;
    bool round_scales, json, quiet, tensors;
} convert_settings;

static int run_convert(const cli_command *command, const void *from, int operands, char **operand)
{
    const convert_settings *settings = from;
    sterna_convert_options options;
    sterna_error err;
    cli_progress progress;
    char *report = NULL;
    (void)command;
    (void)operands;
    memset(&err, 0, sizeof err);
    memset(&options, 0, sizeof options);
    cli_progress_start(&progress, settings->quiet || settings->json);
    options.type = settings->type;
    options.float_type = settings->float_type;
    options.i2s_order = settings->model.i2s_order;
    options.round_scales = settings->round_scales;
    options.progress = cli_progress_report;
    options.progress_context = &progress;
    sterna_status status = sterna_convert(operand[0], operand[1], &options, &report, &err);
    cli_progress_end(&progress);
    if (status != STERNA_OK) return cli_fail_library(&err);
    if (settings->quiet && !settings->json) {
        sterna_free(report);
        return CLI_OK;
    }
    return cli_show_report(report, settings->json, settings->tensors);
}

static const convert_settings convert_defaults;
static const cli_option convert_options[] = {
    {"type", 0, CLI_CHOICE, "native|TQ1_0|TQ2_0|Q2_0|PQ2_0|PTQ1_0", 0, 0,
     offsetof(convert_settings, type), "layout of the ternary tensors (default: as they are)"},
    {"float-type", 0, CLI_CHOICE, "F32|F16|Q8_0", 0, 0, offsetof(convert_settings, float_type),
     "type of the other matrices (default: as they are)"},
    {"round-scales", 0, CLI_FLAG, NULL, 0, 0, offsetof(convert_settings, round_scales),
     "let float32 scales (I2_S, BitNet) be rounded to float16, by at most 0.05 %"},
    CLI_I2S_OPTION(convert_settings),
    {"tensors", 0, CLI_FLAG, NULL, 0, 0, offsetof(convert_settings, tensors),
     "list every tensor in the report"},
    CLI_JSON_OPTION(convert_settings, "print the report as one JSON object"),
    CLI_QUIET_OPTION(convert_settings, "print nothing but errors"),
};

const cli_command cli_command_convert = {
    .name = "convert",
    .summary = "change a model's container or ternary layout, exactly",
    .operands = "IN OUT",
    .min_operands = 2,
    .max_operands = 2,
    .about = "Writes the model IN as OUT. The name of OUT says the container: a .gguf file or a "
             ".safetensors file (the weights alone). Ternary weights keep every trit and "
             "every scale; where the groups of the two layouts do not fit together, nothing is "
             "written and the reason is given. OUT appears only when it is complete; a file of "
             "that name is replaced.",
    .examples = "sterna convert folder model.gguf\ta Hugging Face folder as GGUF\n"
                "sterna convert old.gguf new.gguf --type TQ2_0\tternary tensors in another layout\n"
                "sterna convert stories15M.bin stories.gguf --float-type F16\n",
    .options = convert_options,
    .option_count = CLI_COUNT(convert_options),
    .defaults = &convert_defaults,
    .settings_size = sizeof convert_defaults,
    .run = run_convert,
};
