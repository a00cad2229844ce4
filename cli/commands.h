/* The commands, in the order of the help, and the texts that are made of their tables. */
#ifndef STERNA_CLI_COMMANDS_H
#define STERNA_CLI_COMMANDS_H

#include "options.h"

extern const cli_command cli_command_run, cli_command_eval, cli_command_bench, cli_command_inspect,
    cli_command_tokenize, cli_command_template, cli_command_convert, cli_command_quantize,
    cli_command_verify, cli_command_completion, cli_command_help;

extern const cli_command *const cli_commands[];
extern const size_t cli_command_count;

/* NULL when there is none of this name; cli_unknown_command then tells the user. */
const cli_command *cli_find_command(const char *name);
int cli_unknown_command(const char *name);

/* On stdout: the program's help, a command's help, the manual page sterna(1) as roff. */
void cli_print_help(void);
void cli_print_command_help(const cli_command *command);
void cli_print_manual(void);

/* "--temp T" with its letter: "-n, --n-predict N"; returns its length. */
int cli_option_usage(const cli_option *option, char *text, size_t size);

#endif
