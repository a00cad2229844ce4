/* Shell completions, made of the command tables. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "output.h"

static bool takes_file(const cli_option *option)
{
    return option->kind == CLI_FILE;
}

/* Text inside single quotes of a shell; zsh's own separators get a backslash as well. */
static void print_quoted(const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(special, *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void print_choices(const char *list)
{
    const char *word;
    size_t length;
    for (bool first = true; (length = cli_next_word(&list, &word)) > 0; first = false)
        printf("%s%.*s", first ? "" : " ", (int)length, word);
}

/* ---- bash ---- */

static void bash_command(const cli_command *command)
{
    printf("    %s)\n        options='--help", command->name);
    for (size_t i = 0; i < command->option_count; i++)
        if (command->options[i].kind != CLI_HEADING) printf(" --%s", command->options[i].name);
    printf("'\n        case $before in\n");
    for (size_t i = 0; i < command->option_count; i++) {
        const cli_option *option = &command->options[i];
        if (option->kind == CLI_HEADING || option->kind == CLI_FLAG) continue;
        printf("        --%s", option->name);
        if (option->letter) printf("|-%c", option->letter);
        if (option->kind == CLI_CHOICE) {
            printf(") words='");
            print_choices(option->argument);
            printf("' ;;\n");
        } else {
            printf(") words='' files=%d ;;\n", takes_file(option));
        }
    }
    printf("        esac ;;\n");
}

static void print_names(void)
{
    for (size_t i = 0; i < cli_command_count; i++)
        printf("%s%s", i ? " " : "", cli_commands[i]->name);
}

static void print_bash(void)
{
    printf("# bash completion for sterna\n"
           "_sterna() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local options='' words='' files=1\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W '--help --version ");
    print_names();
    printf("' -- \"$word\"))\n"
           "        return\n"
           "    fi\n"
           "    words=-\n"
           "    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < cli_command_count; i++) bash_command(cli_commands[i]);
    printf("    esac\n"
           "    if [ \"$words\" != - ] && [ -n \"$words\" ]; then\n"
           "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
           "    elif [ \"$words\" = - ] && [[ $word == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
           "    elif [ \"$words\" = - ] && [ \"${COMP_WORDS[1]}\" = help ]; then\n"
           "        COMPREPLY=($(compgen -W '");
    print_names();
    printf("' -- \"$word\"))\n"
           "    elif [ \"$words\" = - ] && [ \"${COMP_WORDS[1]}\" = completion ]; then\n"
           "        COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$word\"))\n"
           "    elif [ \"$files\" -eq 1 ]; then\n"
           "        local IFS=$'\\n'\n"
           "        compopt -o filenames 2>/dev/null\n"
           "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
           "    fi\n"
           "}\n"
           "complete -F _sterna sterna\n");
}

/* ---- zsh ---- */

static void zsh_option(const cli_option *option)
{
    if (option->kind == CLI_HEADING) return;
    bool again = option->kind == CLI_TEXTS;
    for (int letter = 0; letter <= (option->letter ? 1 : 0); letter++) {
        printf(" \\\n            '%s", again ? "*" : "");
        if (option->letter && !again) printf("(-%c --%s)", option->letter, option->name);
        if (letter)
            printf("-%c%s", option->letter, option->kind == CLI_FLAG ? "" : "+");
        else
            printf("--%s%s", option->name, option->kind == CLI_FLAG ? "" : "=");
        putchar('[');
        print_quoted(option->help, "[]\\");
        putchar(']');
        if (option->kind != CLI_FLAG) {
            printf(":%s:", option->kind == CLI_CHOICE ? "value" : option->argument);
            if (option->kind == CLI_CHOICE) {
                putchar('(');
                print_choices(option->argument);
                putchar(')');
            } else if (takes_file(option)) {
                printf("_files");
            }
        }
        putchar('\'');
    }
}

static void print_zsh(void)
{
    printf("#compdef sterna\n"
           "# zsh completion for sterna\n"
           "_sterna() {\n"
           "    local -a commands\n"
           "    commands=(\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("        '%s:", cli_commands[i]->name);
        print_quoted(cli_commands[i]->summary, ":\\");
        printf("'\n");
    }
    printf("    )\n"
           "    if (( CURRENT == 2 )); then\n"
           "        _describe command commands\n"
           "        _arguments '--help[show the help]' '--version[show the version]'\n"
           "        return\n"
           "    fi\n"
           "    local command=$words[2]\n"
           "    shift words\n"
           "    (( CURRENT-- ))\n"
           "    case $command in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        printf(
            "    %s)\n        _arguments \\\n            '(-h --help)'{-h,--help}'[show the help]'",
            command->name);
        for (size_t j = 0; j < command->option_count; j++) zsh_option(&command->options[j]);
        if (command == &cli_command_help)
            printf(" \\\n            '1:command:(");
        else if (command == &cli_command_completion)
            printf(" \\\n            '1:shell:(bash zsh fish)' ;;\n");
        else
            printf(" \\\n            '*:file:_files' ;;\n");
        if (command != &cli_command_help) continue;
        print_names();
        printf(")' ;;\n");
    }
    printf("    esac\n"
           "}\n"
           "_sterna \"$@\"\n");
}

/* ---- fish ---- */

static void fish_option(const cli_command *command, const cli_option *option)
{
    if (option->kind == CLI_HEADING) return;
    printf("complete -c sterna -n '__fish_seen_subcommand_from %s' -l %s", command->name,
           option->name);
    if (option->letter) printf(" -s %c", option->letter);
    if (option->kind == CLI_CHOICE) {
        printf(" -x -a '");
        print_choices(option->argument);
        putchar('\'');
    } else if (option->kind != CLI_FLAG) {
        printf(takes_file(option) ? " -r -F" : " -x");
    }
    printf(" -d '");
    /* fish knows \' and \\ inside single quotes, and no other way out of them */
    for (const char *at = option->help; *at; at++) {
        if (*at == '\'' || *at == '\\') putchar('\\');
        putchar(*at);
    }
    printf("'\n");
}

static void print_fish(void)
{
    printf("# fish completion for sterna\n"
           "complete -c sterna -n __fish_use_subcommand -f -l version -d 'show the version'\n"
           "complete -c sterna -s h -l help -d 'show the help'\n");
    for (size_t i = 0; i < cli_command_count; i++)
        printf("complete -c sterna -n __fish_use_subcommand -f -a %s -d '%s'\n",
               cli_commands[i]->name, cli_commands[i]->summary);
    for (size_t i = 0; i < cli_command_count; i++)
        for (size_t j = 0; j < cli_commands[i]->option_count; j++)
            fish_option(cli_commands[i], &cli_commands[i]->options[j]);
    printf("complete -c sterna -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh "
           "fish'\n"
           "complete -c sterna -n '__fish_seen_subcommand_from help' -f -a '");
    print_names();
    printf("'\n");
}

static int run_completion(const cli_command *command, const void *settings, int operands,
                          char **operand)
{
    (void)settings;
    (void)operands;
    if (strcmp(operand[0], "bash") == 0)
        print_bash();
    else if (strcmp(operand[0], "zsh") == 0)
        print_zsh();
    else if (strcmp(operand[0], "fish") == 0)
        print_fish();
    else
        return cli_usage_error(command->name, "SHELL is bash, zsh or fish, not '%s'", operand[0]);
    return CLI_OK;
}

const cli_command cli_command_completion = {
    .name = "completion",
    .summary = "print the completions of a shell",
    .operands = "bash|zsh|fish",
    .min_operands = 1,
    .max_operands = 1,
    .about = "Prints a script that teaches bash, zsh or fish the commands and options of sterna. "
             "`make install` installs all three; this is for everybody else.",
    .examples = "source <(sterna completion bash)\tthis bash session only\n"
                "sterna completion fish > ~/.config/fish/completions/sterna.fish\n",
    .run = run_completion,
};
