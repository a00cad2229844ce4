/* The manual page sterna(1), made of the command tables. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "sterna.h"

/* Text for roff: a hyphen-minus stays one, a backslash is escaped, a line does not begin with a
 * control character. Newlines are kept. */
static void print_roff(const char *text, size_t size)
{
    bool start = true;
    for (size_t i = 0; i < size; i++) {
        if (start && (text[i] == '.' || text[i] == '\'')) fputs("\\&", stdout);
        if (text[i] == '-')
            fputs("\\-", stdout);
        else if (text[i] == '\\')
            fputs("\\e", stdout);
        else
            putchar(text[i]);
        start = text[i] == '\n';
    }
}

static void print_paragraphs(const char *text)
{
    for (;;) {
        const char *end = strstr(text, "\n\n");
        print_roff(text, end ? (size_t)(end - text) : strlen(text));
        putchar('\n');
        if (!end) return;
        puts(".PP");
        text = end + 2;
    }
}

static void print_option(const cli_option *option)
{
    if (option->kind == CLI_HEADING) {
        printf(".PP\n%s:\n", option->help);
        return;
    }
    fputs(".TP\n", stdout);
    if (option->letter) printf("\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", stdout);
    print_roff(option->name, strlen(option->name));
    fputs("\\fR", stdout);
    if (option->argument) {
        fputs(" \\fI", stdout);
        print_roff(option->argument, strlen(option->argument));
        fputs("\\fR", stdout);
    }
    putchar('\n');
    print_roff(option->help, strlen(option->help));
    putchar('\n');
}

static void print_examples(const char *examples)
{
    while (*examples) {
        size_t command = strcspn(examples, "\t\n");
        const char *meaning = examples + command;
        if (*meaning == '\t') meaning++;
        size_t length = strcspn(meaning, "\n");
        fputs(".PP\n.RS 4\n.nf\n", stdout);
        print_roff(examples, command);
        fputs("\n.fi\n", stdout);
        if (length) {
            print_roff(meaning, length);
            putchar('\n');
        }
        puts(".RE");
        examples = meaning + length;
        if (*examples == '\n') examples++;
    }
}

static void print_command(const cli_command *command)
{
    printf(".SS \"sterna %s\"\n\\fBsterna %s\\fR \\fI", command->name, command->name);
    print_roff(command->operands, strlen(command->operands));
    puts("\\fR [options]\n.PP");
    print_paragraphs(command->about);
    for (size_t i = 0; i < command->option_count; i++) print_option(&command->options[i]);
    if (command->limits) {
        fputs(".PP\nLimits: ", stdout);
        print_paragraphs(command->limits);
    }
    puts(".PP\nExamples:");
    print_examples(command->examples);
}

void cli_print_manual(void)
{
    printf(".TH STERNA 1 \"\" \"sterna %s\" \"User Commands\"\n"
           ".SH NAME\n"
           "sterna \\- make language models ternary and run them\n"
           ".SH SYNOPSIS\n"
           "\\fBsterna\\fR \\fICOMMAND\\fR [options]\n"
           ".br\n"
           "\\fBsterna \\-\\-version\\fR\n"
           ".SH DESCRIPTION\n"
           "Sterna runs language models from GGUF files, Hugging Face folders and llama2.c files,\n"
           "measures them, and makes them ternary: every weight becomes \\-1, 0 or +1 times a\n"
           "scale.\n"
           ".PP\n"
           "Options may stand before or behind the other arguments; \\fB\\-\\-\\fR ends them. A "
           "value\n"
           "follows as \\fB\\-\\-option value\\fR or \\fB\\-\\-option=value\\fR. Every command\n"
           "explains itself with \\fB\\-h\\fR, \\fB\\-\\-help\\fR.\n"
           ".SH COMMANDS\n",
           sterna_version());
    for (size_t i = 0; i < cli_command_count; i++) print_command(cli_commands[i]);
    printf(".SH EXIT STATUS\n"
           ".TP\n0\nSuccess.\n"
           ".TP\n1\nThe work failed; one sentence on standard error says why.\n"
           ".TP\n2\nThe command line makes no sense.\n"
           ".TP\n130\nCtrl\\-C ended the work.\n"
           ".SH ENVIRONMENT\n"
           ".TP\n.B STERNA_HISTORY\n"
           "The file that keeps the lines typed into a chat; empty: none is kept.\n"
           ".TP\n.B XDG_STATE_HOME\n"
           "Where \\fIsterna/history\\fR is kept otherwise; \\fI~/.local/state\\fR when not set.\n"
           ".SH FILES\n"
           ".TP\n.I ~/.local/state/sterna/history\n"
           "Lines typed into chats, the last 1000.\n"
           ".SH SEE ALSO\n"
           "The header \\fIsterna.h\\fR describes the library.\n");
}
