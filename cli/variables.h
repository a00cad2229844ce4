/* Variables for chat templates, as --set NAME=VALUE gives them. */
#ifndef STERNA_CLI_VARIABLES_H
#define STERNA_CLI_VARIABLES_H

#include "options.h"

#define CLI_SET_OPTION(settings)                                                                   \
    {                                                                                              \
        "set", 0, CLI_TEXTS, "NAME=VALUE", 0, 0, offsetof(settings, set),                          \
            "a variable for the chat template, such as enable_thinking=false; VALUE is read as "   \
            "JSON, "                                                                               \
            "else as text (may be given again)"                                                    \
    }

/* *json receives the text of a JSON object; release with free. Returns the exit status, after a
 * sentence. */
int cli_read_variables(const cli_command *command, const cli_texts *set, char **json);

#endif
