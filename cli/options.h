/* Options: one table a command, from which the parser, the help, the manual page and the shell
 * completions are all made.
 *
 * A row says the long name, the letter, the kind of its argument, the range, where the value goes
 * in the command's settings struct and one line of help. A command's settings start as a copy of
 * its `defaults`, so that "not given" is a value of the command's own choosing.
 */
#ifndef STERNA_CLI_OPTIONS_H
#define STERNA_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most values of an option that may be given again, and most numbers of a list. */
enum { CLI_LIST_MAX = 64 };

typedef struct cli_texts {
    const char *items[CLI_LIST_MAX];
    size_t count;
} cli_texts;

typedef struct cli_numbers {
    uint32_t items[CLI_LIST_MAX];
    size_t count;
} cli_numbers;

typedef enum cli_kind {
    CLI_HEADING, /* no option: `help` stands above the rows that follow */
    CLI_FLAG,    /* bool: takes no argument */
    CLI_INTEGER, /* uint64_t in [low, high] */
    CLI_SIZE,    /* uint64_t in [low, high]; k, m, g multiply by 2^10, 2^20, 2^30 */
    CLI_REAL,    /* double in [low, high] */
    CLI_PERCENT, /* the same; a % may stand behind it */
    CLI_TEXT,    /* const char * */
    CLI_FILE,    /* const char *: a file's name */
    CLI_CHOICE,  /* const char *: one of the words in `argument`, which a | separates */
    CLI_TEXTS,   /* cli_texts: may be given again */
    CLI_NUMBERS  /* cli_numbers: "128,512", each in [low, high] */
} cli_kind;

typedef struct cli_option {
    const char *name;
    char letter; /* 0 = none */
    cli_kind kind;
    const char *argument; /* its name in the help; the words of a choice */
    double low, high;
    size_t offset; /* in the settings struct */
    const char *help;
} cli_option;

typedef struct cli_command cli_command;
/* Returns the exit status. */
typedef int (*cli_run)(const cli_command *command, const void *settings, int operands,
                       char **operand);

struct cli_command {
    const char *name;
    const char *summary;            /* one line, lower case, no full stop */
    const char *operands;           /* "MODEL [TEXT]" */
    int min_operands, max_operands; /* max -1 = any number */
    const char *about;              /* paragraphs, separated by empty lines */
    const char *examples;           /* lines "command\tmeaning" */
    const char *limits;             /* a paragraph */
    const cli_option *options;
    size_t option_count;
    const void *defaults;
    size_t settings_size;
    cli_run run;
};

/* Rows that most tables have: members `json` and `quiet` of the settings. */
#define CLI_JSON_OPTION(settings, help)                                                            \
    {                                                                                              \
        "json", 0, CLI_FLAG, NULL, 0, 0, offsetof(settings, json), help                            \
    }
#define CLI_QUIET_OPTION(settings, help)                                                           \
    {                                                                                              \
        "quiet", 'q', CLI_FLAG, NULL, 0, 0, offsetof(settings, quiet), help                        \
    }

#define CLI_COUNT(array) (sizeof(array) / sizeof *(array))

/* Fills `settings` ([settings_size], starts as the defaults) from argv[0..argc) and moves the
 * operands to the front of argv. Returns their number, CLI_PARSE_HELP when --help was given, or
 * CLI_PARSE_ERROR after it has told the user what is wrong. */
enum { CLI_PARSE_ERROR = -1, CLI_PARSE_HELP = -2 };
int cli_parse(const cli_command *command, int argc, char **argv, void *settings);

/* The text without a sign, blanks or anything behind it as a number; false otherwise. */
bool cli_number(const char *text, double *out);

/* The word among `count` that is so near to `typed` that it was probably meant, or NULL. */
const char *cli_nearest(const char *typed, const char *const *words, size_t count);

/* The next word of a |-separated list: its length, and *list moves behind it; 0 at the end. */
size_t cli_next_word(const char **list, const char **word);

#endif
