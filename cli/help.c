/* Help for people, made of the command tables. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "output.h"

enum { WIDTH = 80, OPTION_COLUMN = 28 };

/* Prints words from column `at` on, with lines of at most WIDTH columns that begin at `indent`. An
 * empty line in the text stays one. */
static void print_wrapped(const char *text, int at, int indent)
{
    while (*text) {
        if (text[0] == '\n' && text[1] == '\n') {
            printf("\n\n%*s", indent, "");
            at = indent;
            text += 2;
            continue;
        }
        if (*text == ' ' || *text == '\n') {
            text++;
            continue;
        }
        int length = (int)strcspn(text, " \n");
        if (at > indent && at + 1 + length > WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
        }
        at += printf("%s%.*s", at > indent ? " " : "", length, text);
        text += length;
    }
    putchar('\n');
}

int cli_option_usage(const cli_option *option, char *text, size_t size)
{
    char letter[8] = "";
    if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    return snprintf(text, size, "%s--%s%s%s", letter, option->name, option->argument ? " " : "",
                    option->argument ? option->argument : "");
}

static void print_option(const cli_option *option)
{
    char usage[96];
    if (option->kind == CLI_HEADING) {
        printf("\n%s:\n", option->help);
        return;
    }
    int length = cli_option_usage(option, usage, sizeof usage);
    printf("  %s%s", option->letter ? "" : "    ", usage);
    length += option->letter ? 2 : 6;
    if (length + 2 > OPTION_COLUMN) {
        putchar('\n');
        length = 0;
    }
    printf("%*s", OPTION_COLUMN - length, "");
    print_wrapped(option->help, OPTION_COLUMN, OPTION_COLUMN);
}

static void print_examples(const char *examples)
{
    while (*examples) {
        int command = (int)strcspn(examples, "\t\n");
        const char *meaning = examples + command;
        if (*meaning == '\t') meaning++;
        int length = (int)strcspn(meaning, "\n");
        printf("  %.*s\n", command, examples);
        if (length) printf("      %.*s\n", length, meaning);
        examples = meaning + length;
        if (*examples == '\n') examples++;
    }
}

void cli_print_command_help(const cli_command *command)
{
    printf("sterna %s: %s\n\nUsage: sterna %s %s%s[options]\n\n", command->name, command->summary,
           command->name, command->operands, command->operands[0] ? " " : "");
    print_wrapped(command->about, 0, 0);
    if (command->option_count == 0 || command->options[0].kind != CLI_HEADING)
        printf("\nOptions:\n");
    for (size_t i = 0; i < command->option_count; i++) print_option(&command->options[i]);
    static const cli_option help = {"help", 'h', CLI_FLAG, NULL, 0, 0, 0, "show this help"};
    print_option(&help);
    if (command->limits) {
        printf("\nLimits:\n  ");
        print_wrapped(command->limits, 2, 2);
    }
    printf("\nExamples:\n");
    print_examples(command->examples);
}

void cli_print_help(void)
{
    printf("sterna %s: make language models ternary and run them\n\n"
           "Usage: sterna COMMAND [options]\n\n"
           "Commands:\n",
           sterna_version());
    for (size_t i = 0; i < cli_command_count; i++)
        printf("  %-12s%s\n", cli_commands[i]->name, cli_commands[i]->summary);
    printf("\n"
           "  sterna help COMMAND   options, limits and examples of a command\n"
           "  sterna --version      the version\n"
           "\n"
           "MODEL is a GGUF file, a Hugging Face folder or a llama2.c .bin file.\n"
           "\n"
           "Examples:\n"
           "  sterna run model.gguf -p \"Why is the sea salty?\"\n"
           "  sterna run model.gguf\n"
           "  sterna inspect model.gguf\n"
           "  sterna quantize model.gguf small.gguf\n"
           "  sterna eval small.gguf --text wiki.txt\n");
}

static int run_help(const cli_command *command, const void *settings, int operands, char **operand)
{
    (void)command;
    if (*(const bool *)settings)
        cli_print_manual();
    else if (operands == 0)
        cli_print_help();
    else {
        const cli_command *found = cli_find_command(operand[0]);
        if (!found) return cli_unknown_command(operand[0]);
        cli_print_command_help(found);
    }
    return CLI_OK;
}

static const bool no_manual = false;
static const cli_option help_options[] = {
    {"man", 0, CLI_FLAG, NULL, 0, 0, 0, "print the manual page sterna(1) as roff"},
};

const cli_command cli_command_help = {
    .name = "help",
    .summary = "explain a command",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .about = "Shows what a command does, its options with their ranges and defaults, its limits "
             "and examples. Without COMMAND it lists the commands.",
    .examples = "sterna help run\n"
                "sterna help --man | man -l -\tread the manual page without installing it\n",
    .options = help_options,
    .option_count = CLI_COUNT(help_options),
    .defaults = &no_manual,
    .settings_size = sizeof no_manual,
    .run = run_help,
};
