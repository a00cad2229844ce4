/* The command `sterna`: finds the command in the table, reads its options, runs it. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "signals.h"

const cli_command *const cli_commands[] = {
    &cli_command_run,      &cli_command_eval,       &cli_command_bench,   &cli_command_inspect,
    &cli_command_tokenize, &cli_command_template,   &cli_command_convert, &cli_command_quantize,
    &cli_command_verify,   &cli_command_completion, &cli_command_help,
};
const size_t cli_command_count = CLI_COUNT(cli_commands);

const cli_command *cli_find_command(const char *name)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
    return NULL;
}

int cli_unknown_command(const char *name)
{
    const char *names[CLI_COUNT(cli_commands)];
    for (size_t i = 0; i < cli_command_count; i++) names[i] = cli_commands[i]->name;
    const char *nearest = cli_nearest(name, names, cli_command_count);
    if (nearest)
        return cli_usage_error(NULL, "there is no command '%s'; did you mean '%s'?", name, nearest);
    return cli_usage_error(NULL, "there is no command '%s'", name);
}

static int run_command(const cli_command *command, int argc, char **argv)
{
    void *settings = calloc(1, command->settings_size ? command->settings_size : 1);
    if (!settings) return cli_fail_memory();
    int status = CLI_OK, operands = cli_parse(command, argc, argv, settings);
    if (operands == CLI_PARSE_HELP)
        cli_print_command_help(command);
    else if (operands == CLI_PARSE_ERROR)
        status = CLI_USAGE;
    else
        status = command->run(command, settings, operands, argv);
    free(settings);
    return status;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        cli_print_help();
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        cli_print_help();
        return CLI_OK;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("sterna %s\n", sterna_version());
        return CLI_OK;
    }
    if (word[0] == '-')
        return cli_usage_error(NULL, "the command comes first, not '%s'; type sterna COMMAND %s",
                               word, word);
    const cli_command *command = cli_find_command(word);
    return command ? run_command(command, argc - 2, argv + 2) : cli_unknown_command(word);
}

int main(int argc, char **argv)
{
    /* characters as the user's terminal has them; numbers stay as C writes them */
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    cli_signals_start();
    return cli_finish_output(run(argc, argv));
}
