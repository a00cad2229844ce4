#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

/* Longer words are not compared: nobody mistypes them that often. */
enum { WORD_MAX = 40 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance: insertions, deletions, replacements and swapped neighbours. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX) return WORD_MAX;
    for (size_t j = 0; j <= m; j++) rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = smaller(last[j], row[j - 1]) + 1;
            row[j] = smaller(row[j], last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *cli_nearest(const char *typed, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t length = strlen(typed), least = length < 4 ? 1 : length < 8 ? 2 : 3;
    for (size_t i = 0; i < count; i++) {
        size_t common = smaller(length, strlen(words[i]));
        /* --temperature for --temp, --prog for --progress */
        if (common >= 3 && strncmp(typed, words[i], common) == 0) return words[i];
        size_t d = distance(typed, words[i]);
        if (d > least || (best && d == least)) continue;
        best = words[i];
        least = d;
    }
    return best;
}

size_t cli_next_word(const char **list, const char **word)
{
    size_t length = strcspn(*list, "|");
    *word = *list;
    *list += length + ((*list)[length] == '|');
    return length;
}

bool cli_number(const char *text, double *out)
{
    if (!(text[0] >= '0' && text[0] <= '9') && !(text[0] == '.' || text[0] == '-')) return false;
    if (strpbrk(text, "xX")) return false; /* strtod reads hexadecimal too */
    char *end = NULL;
    double value = strtod(text, &end);
    if (*end != '\0' || end == text || !isfinite(value)) return false;
    *out = value;
    return true;
}

/* Digits, with a suffix when `sizes`. */
static bool whole_number(const char *text, bool sizes, uint64_t *out)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (at == text) return false;
    unsigned shift = 0;
    if (sizes && *at != '\0') {
        shift = *at == 'k' || *at == 'K'   ? 10
                : *at == 'm' || *at == 'M' ? 20
                : *at == 'g' || *at == 'G' ? 30
                                           : 0;
        if (shift == 0) return false;
        at++;
    }
    if (*at != '\0' || value > UINT64_MAX >> shift) return false;
    *out = value << shift;
    return true;
}

/* "0.5%" or "0.5" */
static bool percentage(const char *text, double *out)
{
    char number[32];
    size_t length = strcspn(text, "%");
    if (length >= sizeof number || (text[length] && text[length + 1])) return false;
    memcpy(number, text, length);
    number[length] = '\0';
    return cli_number(number, out);
}

static bool in_range(const cli_option *option, uint64_t value)
{
    /* bounds stay below 2^53, where doubles hold every whole number */
    return (double)value >= option->low && (double)value <= option->high;
}

static int bad_value(const cli_command *command, const cli_option *option, const char *value)
{
    const char *kind = option->kind == CLI_REAL ? "a number" : "a whole number";
    if (option->kind == CLI_PERCENT) kind = "a percentage";
    if (option->kind == CLI_NUMBERS) kind = "whole numbers, separated by commas,";
    cli_usage_error(command->name, "--%s takes %s from %.16g to %.16g, not '%s'", option->name,
                    kind, option->low, option->high, value);
    return CLI_PARSE_ERROR;
}

static int store_choice(const cli_command *command, const cli_option *option, const char *value,
                        const char **out)
{
    const char *list = option->argument, *word;
    size_t length;
    while ((length = cli_next_word(&list, &word)) > 0) {
        if (strlen(value) == length && strncmp(word, value, length) == 0) {
            *out = value;
            return 0;
        }
    }
    cli_usage_error(command->name, "--%s is one of %s, not '%s'", option->name, option->argument,
                    value);
    return CLI_PARSE_ERROR;
}

static int store_numbers(const cli_command *command, const cli_option *option, const char *value,
                         cli_numbers *out)
{
    char word[16];
    out->count = 0;
    for (const char *at = value;; at++) {
        size_t length = strcspn(at, ",");
        uint64_t number = 0;
        if (length >= sizeof word) return bad_value(command, option, value);
        memcpy(word, at, length);
        word[length] = '\0';
        if (!whole_number(word, true, &number) || !in_range(option, number))
            return bad_value(command, option, value);
        if (out->count == CLI_LIST_MAX) {
            cli_usage_error(command->name, "--%s takes at most %d numbers", option->name,
                            CLI_LIST_MAX);
            return CLI_PARSE_ERROR;
        }
        out->items[out->count++] = (uint32_t)number;
        at += length;
        if (*at == '\0') return 0;
    }
}

static int store(const cli_command *command, const cli_option *option, const char *value,
                 void *settings)
{
    void *field = (char *)settings + option->offset;
    switch (option->kind) {
    case CLI_HEADING: break;
    case CLI_FLAG: *(bool *)field = true; break;
    case CLI_INTEGER:
    case CLI_SIZE: {
        uint64_t number = 0;
        if (!whole_number(value, option->kind == CLI_SIZE, &number) || !in_range(option, number))
            return bad_value(command, option, value);
        *(uint64_t *)field = number;
        break;
    }
    case CLI_REAL:
    case CLI_PERCENT: {
        double number = 0;
        bool valid =
            option->kind == CLI_REAL ? cli_number(value, &number) : percentage(value, &number);
        if (!valid || number < option->low || number > option->high)
            return bad_value(command, option, value);
        *(double *)field = number;
        break;
    }
    case CLI_TEXT:
    case CLI_FILE: *(const char **)field = value; break;
    case CLI_CHOICE: return store_choice(command, option, value, field);
    case CLI_NUMBERS: return store_numbers(command, option, value, field);
    case CLI_TEXTS: {
        cli_texts *list = field;
        if (list->count == CLI_LIST_MAX) {
            cli_usage_error(command->name, "--%s may be given %d times at most", option->name,
                            CLI_LIST_MAX);
            return CLI_PARSE_ERROR;
        }
        list->items[list->count++] = value;
        break;
    }
    }
    return 0;
}

static const cli_option *find_option(const cli_command *command, const char *name, size_t length,
                                     char letter)
{
    for (size_t i = 0; i < command->option_count; i++) {
        const cli_option *option = &command->options[i];
        if (option->kind == CLI_HEADING) continue;
        if (letter ? option->letter == letter
                   : strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    }
    return NULL;
}

static int unknown_option(const cli_command *command, const char *typed)
{
    enum { NAMES_MAX = 64 };
    const char *names[NAMES_MAX];
    char word[WORD_MAX + 1];
    size_t count = 0, length = strcspn(typed, "=");
    names[count++] = "help";
    for (size_t i = 0; i < command->option_count && count < NAMES_MAX; i++)
        if (command->options[i].kind != CLI_HEADING) names[count++] = command->options[i].name;
    const char *nearest = NULL;
    if (length <= WORD_MAX) {
        memcpy(word, typed, length);
        word[length] = '\0';
        nearest = cli_nearest(word, names, count);
    }
    if (nearest)
        cli_usage_error(command->name, "unknown option --%.*s; did you mean --%s?", (int)length,
                        typed, nearest);
    else
        cli_usage_error(command->name, "unknown option --%.*s", (int)length, typed);
    return CLI_PARSE_ERROR;
}

/* "--name", "--name=value", "--name value". *used is 2 when the next argument was the value. */
static int parse_long(const cli_command *command, const char *argument, const char *next,
                      void *settings, int *used)
{
    const char *name = argument + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    const cli_option *option = find_option(command, name, length, 0);
    if (!option && length == 4 && strncmp(name, "help", 4) == 0) return CLI_PARSE_HELP;
    if (!option) return unknown_option(command, name);
    if (option->kind == CLI_FLAG && value) {
        cli_usage_error(command->name, "--%s takes no value", option->name);
        return CLI_PARSE_ERROR;
    }
    if (option->kind != CLI_FLAG && !value) {
        if (!next) {
            cli_usage_error(command->name, "--%s needs a value (%s)", option->name,
                            option->argument);
            return CLI_PARSE_ERROR;
        }
        value = next;
        *used = 2;
    }
    return store(command, option, value, settings);
}

/* "-n 5", "-n5", "-qn5": letters of flags may stand together. */
static int parse_letters(const cli_command *command, const char *argument, const char *next,
                         void *settings, int *used)
{
    for (const char *at = argument + 1; *at; at++) {
        const cli_option *option = find_option(command, NULL, 0, *at);
        if (!option && *at == 'h') return CLI_PARSE_HELP;
        if (!option) {
            cli_usage_error(command->name, "unknown option -%c%s", *at,
                            at == argument + 1 ? "" : " (-- ends the options)");
            return CLI_PARSE_ERROR;
        }
        const char *value = NULL;
        if (option->kind != CLI_FLAG) {
            value = at[1] ? at + 1 : next;
            if (!value) {
                cli_usage_error(command->name, "-%c needs a value (%s)", *at, option->argument);
                return CLI_PARSE_ERROR;
            }
            if (!at[1]) *used = 2;
        }
        int status = store(command, option, value, settings);
        if (status != 0 || value) return status;
    }
    return 0;
}

static int check_operands(const cli_command *command, int operands, char **argv)
{
    if (command->max_operands >= 0 && operands > command->max_operands) {
        if (command->max_operands == 0)
            cli_usage_error(command->name, "'%s' is not expected here", argv[0]);
        else
            cli_usage_error(command->name, "'%s' is one argument too many; it takes %s",
                            argv[command->max_operands], command->operands);
        return CLI_PARSE_ERROR;
    }
    if (operands < command->min_operands) {
        cli_usage_error(command->name, "%s is missing; type sterna %s %s",
                        operands == 0 ? "its argument" : "an argument", command->name,
                        command->operands);
        return CLI_PARSE_ERROR;
    }
    return operands;
}

int cli_parse(const cli_command *command, int argc, char **argv, void *settings)
{
    int operands = 0;
    bool options = true;
    if (command->settings_size) memcpy(settings, command->defaults, command->settings_size);
    for (int i = 0; i < argc;) {
        char *argument = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        int used = 1, status = 0;
        if (!options || argument[0] != '-' || argument[1] == '\0')
            argv[operands++] = argument;
        else if (strcmp(argument, "--") == 0)
            options = false;
        else if (argument[1] == '-')
            status = parse_long(command, argument, next, settings, &used);
        else
            status = parse_letters(command, argument, next, settings, &used);
        if (status != 0) return status;
        i += used;
    }
    return check_operands(command, operands, argv);
}
