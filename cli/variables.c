#include "variables.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

/* "NAME=VALUE" into the object: VALUE as JSON where it is JSON, else as a string. */
static int set_variable(const cli_command *command, json_t *variables, const char *setting)
{
    const char *equals = strchr(setting, '=');
    if (!equals || equals == setting)
        return cli_usage_error(command->name, "--set takes NAME=VALUE, not '%s'", setting);
    json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
    if (!value) value = cli_json_text(equals + 1, strlen(equals + 1));
    char *name = strndup(setting, (size_t)(equals - setting));
    int status = CLI_OK;
    if (!name || !value)
        status = cli_fail_memory();
    else if (json_object_set(variables, name, value) != 0)
        status = cli_usage_error(command->name, "--set: the name is not UTF-8");
    json_decref(value);
    free(name);
    return status;
}

int cli_read_variables(const cli_command *command, const cli_texts *set, char **json)
{
    json_t *variables = json_object();
    int status = variables ? CLI_OK : cli_fail_memory();
    for (size_t i = 0; status == CLI_OK && i < set->count; i++)
        status = set_variable(command, variables, set->items[i]);
    if (status == CLI_OK) {
        *json = json_dumps(variables, JSON_COMPACT);
        if (!*json) status = cli_fail_memory();
    }
    json_decref(variables);
    return status;
}
