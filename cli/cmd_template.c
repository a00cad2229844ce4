/* sterna template: render a chat template. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "variables.h"

enum { INPUT_LIMIT = 64 << 20 };

typedef struct template_settings {
    const char *messages, *tools;
    cli_texts set;
    bool no_generation_prompt;
} template_settings;

static int run_template(const cli_command *command, const void *from, int operands, char **operand)
{
    const template_settings *settings = from;
    sterna_error err;
    char *messages = NULL, *tools = NULL, *variables = NULL, *rendered = NULL;
    size_t size;
    (void)operands;
    memset(&err, 0, sizeof err);
    if (!settings->messages) return cli_usage_error(command->name, "--messages FILE is missing");
    if (settings->tools && strcmp(settings->messages, "-") == 0 &&
        strcmp(settings->tools, "-") == 0)
        return cli_usage_error(command->name, "only one of --messages and --tools can be -");
    int status = cli_read_input(settings->messages, INPUT_LIMIT, &messages, &size);
    if (status == CLI_OK && settings->tools)
        status = cli_read_input(settings->tools, INPUT_LIMIT, &tools, &size);
    if (status == CLI_OK) status = cli_read_variables(command, &settings->set, &variables);
    if (status == CLI_OK &&
        sterna_template_render(operand[0], messages, tools, variables,
                               !settings->no_generation_prompt, &rendered, &err) != STERNA_OK)
        status = cli_fail_library(&err);
    if (status == CLI_OK) cli_print_text(rendered, strlen(rendered));
    sterna_free(rendered);
    free(variables);
    free(tools);
    free(messages);
    return status;
}

static const template_settings template_defaults;
static const cli_option template_options[] = {
    {"messages", 'm', CLI_FILE, "FILE", 0, 0, offsetof(template_settings, messages),
     "JSON array of {role, content} objects; - is standard input (required)"},
    {"tools", 0, CLI_FILE, "FILE", 0, 0, offsetof(template_settings, tools),
     "JSON array of tools that the model may call"},
    CLI_SET_OPTION(template_settings),
    {"no-generation-prompt", 0, CLI_FLAG, NULL, 0, 0,
     offsetof(template_settings, no_generation_prompt),
     "end after the last message, without the beginning of an answer"},
};

const cli_command cli_command_template = {
    .name = "template",
    .summary = "render a chat template",
    .operands = "MODEL|FILE.jinja",
    .min_operands = 1,
    .max_operands = 1,
    .about = "Prints the prompt that a model's chat template makes of a conversation, and nothing "
             "else. The template comes from a model file, a Hugging Face folder, or a .jinja file "
             "of its own.",
    .limits = "Messages and tools are at most 64 MiB each. Templates are programs from strangers: "
              "their steps, depth and output are limited.",
    .examples =
        "sterna template model.gguf --messages chat.json\n"
        "echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' | sterna template model.gguf -m -\n"
        "sterna template qwen3.jinja -m chat.json --tools tools.json --set "
        "enable_thinking=false\n",
    .options = template_options,
    .option_count = CLI_COUNT(template_options),
    .defaults = &template_defaults,
    .settings_size = sizeof template_defaults,
    .run = run_template,
};
