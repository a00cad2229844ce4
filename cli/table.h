/* Tables of aligned columns, and reports: JSON objects of the library shown to people. */
#ifndef STERNA_CLI_TABLE_H
#define STERNA_CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct cli_table cli_table;

/* Rows are filled cell by cell, from left to right; the first row is the heading. */
cli_table *cli_table_new(size_t columns);
/* Copies the text. Columns whose cells are all numbers below the heading stand to the right. */
void cli_table_cell(cli_table *table, const char *text);
/* Prints every row behind `indent` blanks, then frees the table (NULL accepted). False when memory
 * had run out. */
bool cli_table_finish(cli_table *table, FILE *stream, int indent);

/* Shows an object: its plain values as "label  value" lines, lists of objects as tables, objects as
 * sections; the list "tensors" only when asked for. Returns the exit status. */
int cli_print_report(const json_t *object, FILE *stream, bool tensors);
/* The same for a JSON text from the library: raw when `as_json`. Releases the text. */
int cli_show_report(char *json, bool as_json, bool tensors);

/* Digits in groups of three: "98,362,432". `size` >= 32. */
void cli_grouped(double value, char *text, size_t size);
/* "98.4 MB". `size` >= 32. */
void cli_bytes(double bytes, char *text, size_t size);

#endif
