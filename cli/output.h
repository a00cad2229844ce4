/* Output: what is printed, and how the program speaks when something goes wrong.
 *
 * Everything for standard output goes through stdio; cli_finish_output finds a full disk at the
 * end. Text that came from files (names, answers, error sentences) may hold escape sequences, so
 * control characters are shown harmlessly whenever a terminal would act on them.
 */
#ifndef STERNA_CLI_OUTPUT_H
#define STERNA_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "sterna.h"

enum { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

/* "sterna: sentence. See 'sterna COMMAND --help'." on stderr; `command` may be NULL. Returns
 * CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "sterna: sentence" on stderr. Returns CLI_FAILURE. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The library's sentence; after Ctrl-C only "interrupted". Returns CLI_FAILURE or CLI_INTERRUPTED.
 */
int cli_fail_library(const sterna_error *err);
int cli_fail_memory(void);

/* Writes text to a stream; control characters are replaced when it is a terminal. False when the
 * stream has failed. */
bool cli_write(FILE *stream, const char *text, size_t size);
/* Exactly this text on stdout; on a terminal with a line end after it, where it has none. */
bool cli_print_text(const char *text, size_t size);
/* One line of JSON on stdout; takes the reference. NULL says that memory ran out. Returns the exit
 * status. */
int cli_print_json(json_t *value);
/* A JSON text from the library as it is, with a line end. */
int cli_print_report_text(const char *json);
/* A JSON string of any bytes: ill-formed UTF-8 becomes U+FFFD. A finite number, else null. */
json_t *cli_json_text(const char *text, size_t size);
json_t *cli_json_number(double value);

/* Flushes stdout and turns `status` into CLI_FAILURE, with a sentence, when not all of it could be
 * written. A reader that went away is no reason to complain. */
int cli_finish_output(int status);

/* Reads a file ("-" = standard input) whole, NUL-terminated, of at most `limit` bytes; release
 * *text with free. Returns CLI_OK, or CLI_FAILURE after a sentence. */
int cli_read_input(const char *path, size_t limit, char **text, size_t *size);

#endif
