#include "table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

struct cli_table {
    size_t columns, count, capacity;
    char **cells; /* [count], row by row */
    bool failed;
};

cli_table *cli_table_new(size_t columns)
{
    cli_table *table = calloc(1, sizeof *table);
    if (table) table->columns = columns;
    return table;
}

void cli_table_cell(cli_table *table, const char *text)
{
    if (!table || table->failed) return;
    if (table->count == table->capacity) {
        size_t larger = table->capacity ? table->capacity * 2 : 64;
        char **cells = realloc(table->cells, larger * sizeof *cells);
        if (!cells) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->capacity = larger;
    }
    char *copy = strdup(text);
    if (copy)
        table->cells[table->count++] = copy;
    else
        table->failed = true;
}

/* Columns on the screen: bytes that begin a character. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static bool is_figure(const char *text)
{
    return text[0] == '\0' || strcmp(text, "-") == 0 ||
           (strspn(text, "+-.,0123456789%") > 0 && strpbrk(text, "0123456789") &&
            !strpbrk(text, "_()/:[]"));
}

static void measure(const cli_table *table, size_t column, int *width, bool *right)
{
    *width = 0;
    *right = true;
    for (size_t i = column; i < table->count; i += table->columns) {
        int cell = width_of(table->cells[i]);
        if (cell > *width) *width = cell;
        if (i >= table->columns && !is_figure(table->cells[i])) *right = false;
    }
}

static void print_cell(FILE *stream, const char *text, int width, bool right, bool last)
{
    int pad = width - width_of(text);
    if (right) fprintf(stream, "%*s", pad, "");
    cli_write(stream, text, strlen(text));
    if (!last) fprintf(stream, "%*s", (right ? 0 : pad) + 2, "");
}

bool cli_table_finish(cli_table *table, FILE *stream, int indent)
{
    enum { COLUMNS_MAX = 32 };
    int width[COLUMNS_MAX];
    bool right[COLUMNS_MAX];
    if (!table) return false;
    bool ok = !table->failed && table->columns <= COLUMNS_MAX;
    for (size_t c = 0; ok && c < table->columns; c++) measure(table, c, &width[c], &right[c]);
    for (size_t i = 0; ok && i < table->count; i++) {
        size_t c = i % table->columns;
        bool last = c + 1 == table->columns;
        if (c == 0) fprintf(stream, "%*s", indent, "");
        print_cell(stream, table->cells[i], width[c], right[c], last);
        if (last) fputc('\n', stream);
    }
    for (size_t i = 0; i < table->count; i++) free(table->cells[i]);
    free(table->cells);
    free(table);
    return ok;
}

void cli_grouped(double value, char *text, size_t size)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%.0f", fabs(value));
    size_t used = 0;
    if (value < 0 && size > 1) text[used++] = '-';
    for (int i = 0; i < length && used + 2 < size; i++) {
        if (i > 0 && (length - i) % 3 == 0) text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
}

void cli_bytes(double bytes, char *text, size_t size)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, size, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}
