/* Reports: JSON objects of the library shown to people.
 *
 * One presenter for all of them, so that a member which the library adds is shown at once: the
 * member's name says the unit (file_bytes, load_s), its type says the form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "table.h"

enum { VALUE_MAX = 512, COLUMNS_MAX = 16, DEPTH_MAX = 8 };

/* Names that read badly with blanks for underscores. */
static const struct {
    const char *key, *label;
} labels[] = {
    {"tok_per_s", "tokens/s"},
    {"bytes_per_token", "bytes/token"},
    {"read_gb_s", "memory read, GB/s"},
    {"int8_gop_s", "int8 peak, GOP/s"},
    {"gop_per_s", "GOP/s"},
    {"gb_per_s", "GB/s"},
    {"peak_percent", "% of int8 peak"},
    {"read_percent", "% of memory read"},
    {"matmul_percent", "% in products"},
    {"attention_percent", "% in attention"},
    {"first_token_s", "time to first token"},
    {"cache_bytes", "key-value cache"},
    {"rss_bytes", "peak memory"},
    {"resident_bytes", "memory"},
    {"load_s", "load time"},
    {"load_gb_s", "loaded a thread, GB/s"},
    {"file_bytes", "file size"},
    {"bits_per_weight", "bits/weight"},
    {"ternary_bits_per_weight", "bits/weight, ternary part"},
    {"level", "instruction set"},
};

static void label_of(const char *key, char *label, size_t size)
{
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        if (strcmp(labels[i].key, key) == 0) {
            snprintf(label, size, "%s", labels[i].label);
            return;
        }
    }
    snprintf(label, size, "%s", key);
    for (char *at = label; *at; at++)
        if (*at == '_') *at = ' ';
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static void number_text(const char *key, const json_t *value, char *text, size_t size)
{
    double number = json_number_value(value);
    if (ends_with(key, "_bytes") || strcmp(key, "bytes") == 0)
        cli_bytes(number, text, size);
    else if (json_is_integer(value))
        cli_grouped(number, text, size);
    else if (ends_with(key, "_per_s") || ends_with(key, "gb_s") || ends_with(key, "gop_s") ||
             strcmp(key, "slowest") == 0 || strcmp(key, "fastest") == 0)
        snprintf(text, size, "%.1f", number);
    else if (ends_with(key, "_percent"))
        snprintf(text, size, "%.0f", number);
    else if (strcmp(key, "bytes_per_token") == 0)
        cli_bytes(number, text, size);
    else if (ends_with(key, "_s"))
        snprintf(text, size, "%.2f s", number);
    else if (ends_with(key, "bits_per_weight") || strcmp(key, "bits") == 0)
        snprintf(text, size, "%.3f", number);
    else if (fabs(number) >= 1e5 && fabs(number) < 1e15)
        cli_grouped(number, text, size);
    else
        snprintf(text, size, "%.5g", number);
}

static void value_text(const char *key, const json_t *value, char *text, size_t size)
{
    text[0] = '\0';
    switch (json_typeof(value)) {
    case JSON_STRING: snprintf(text, size, "%s", json_string_value(value)); break;
    case JSON_TRUE: snprintf(text, size, "yes"); break;
    case JSON_FALSE: snprintf(text, size, "no"); break;
    case JSON_NULL: snprintf(text, size, "-"); break;
    case JSON_INTEGER:
    case JSON_REAL: number_text(key, value, text, size); break;
    case JSON_ARRAY: {
        if (json_array_size(value) == 0) snprintf(text, size, "none");
        const char *between = strcmp(key, "shape") == 0 ? " x " : ", ";
        for (size_t i = 0; i < json_array_size(value); i++) {
            size_t used = strlen(text);
            if (i) snprintf(text + used, size - used, "%s", between);
            used = strlen(text);
            value_text(key, json_array_get(value, i), text + used, size - used);
        }
        break;
    }
    case JSON_OBJECT: {
        const char *name;
        json_t *member;
        bool first = true;
        json_object_foreach((json_t *)value, name, member)
        {
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s ", first ? "" : ", ", name);
            used = strlen(text);
            value_text(name, member, text + used, size - used);
            first = false;
        }
        break;
    }
    }
}

static bool is_list_of_objects(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) > 0 &&
           json_is_object(json_array_get(value, 0));
}

/* Sentences and names, too long for a line together. */
static bool is_list_of_texts(const json_t *value)
{
    size_t length = 0, i;
    json_t *item;
    json_array_foreach((json_t *)value, i, item) length += json_string_length(item);
    return length > 60;
}

static bool is_plain(const json_t *value)
{
    return !is_list_of_objects(value) && !is_list_of_texts(value) && !json_is_object(value);
}

/* One table of a list of objects; its columns are the members of any of them, in first-seen order.
 */
static bool print_list(const json_t *list, FILE *stream, int indent)
{
    const char *columns[COLUMNS_MAX];
    char text[VALUE_MAX];
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name;
        json_t *member;
        json_object_foreach(json_array_get(list, i), name, member)
        {
            size_t c = 0;
            while (c < count && strcmp(columns[c], name) != 0) c++;
            if (c == count && count < COLUMNS_MAX) columns[count++] = name;
        }
    }
    if (count == 0) return true;
    cli_table *table = cli_table_new(count);
    for (size_t c = 0; c < count; c++) {
        label_of(columns[c], text, sizeof text);
        cli_table_cell(table, text);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        for (size_t c = 0; c < count; c++) {
            const json_t *value = json_object_get(json_array_get(list, i), columns[c]);
            text[0] = '\0';
            if (value) value_text(columns[c], value, text, sizeof text);
            cli_table_cell(table, text);
        }
    }
    return cli_table_finish(table, stream, indent);
}

static void print_texts(const json_t *list, FILE *stream, int indent)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        fprintf(stream, "%*s", indent, "");
        if (json_is_string(item))
            cli_write(stream, json_string_value(item), json_string_length(item));
        fputc('\n', stream);
    }
}

static bool print_section(const char *name, const json_t *value, FILE *stream, int indent);

static void print_values(const json_t *object, FILE *stream, int indent)
{
    char text[VALUE_MAX];
    const char *name;
    json_t *value;
    int width = 0;
    json_object_foreach((json_t *)object, name, value)
    {
        if (!is_plain(value)) continue;
        label_of(name, text, sizeof text);
        int length = (int)strlen(text);
        if (length > width) width = length;
    }
    json_object_foreach((json_t *)object, name, value)
    {
        if (!is_plain(value)) continue;
        label_of(name, text, sizeof text);
        fprintf(stream, "%*s%-*s  ", indent, "", width, text);
        value_text(name, value, text, sizeof text);
        cli_write(stream, text, strlen(text));
        fputc('\n', stream);
    }
}

/* The long list comes first, so that the totals are what stays on the screen. */
static bool print_object(const json_t *object, bool tensors, FILE *stream, int indent)
{
    static const char *const long_list = "tensors";
    const char *name;
    json_t *value = json_object_get(object, long_list);
    bool ok = true;
    if (tensors && value && !is_plain(value)) {
        ok = print_section(long_list, value, stream, indent);
        fputc('\n', stream);
    }
    print_values(object, stream, indent);
    json_object_foreach((json_t *)object, name, value)
    {
        if (is_plain(value) || strcmp(name, long_list) == 0) continue;
        fputc('\n', stream);
        ok = print_section(name, value, stream, indent) && ok;
    }
    return ok;
}

static bool print_section(const char *name, const json_t *value, FILE *stream, int indent)
{
    char label[VALUE_MAX];
    label_of(name, label, sizeof label);
    fprintf(stream, "%*s", indent, "");
    cli_write(stream, label, strlen(label));
    fputs(":\n", stream);
    if (is_list_of_texts(value)) print_texts(value, stream, indent + 2);
    if (is_list_of_objects(value)) return print_list(value, stream, indent + 2);
    if (json_is_object(value) && indent < 2 * DEPTH_MAX)
        return print_object(value, true, stream, indent + 2);
    return true;
}

int cli_print_report(const json_t *object, FILE *stream, bool tensors)
{
    return print_object(object, tensors, stream, 0) ? CLI_OK : cli_fail_memory();
}

int cli_show_report(char *json, bool as_json, bool tensors)
{
    int status;
    if (as_json) {
        status = cli_print_report_text(json);
    } else {
        json_error_t where;
        json_t *object = json_loads(json, 0, &where);
        status = object ? cli_print_report(object, stdout, tensors)
                        : cli_fail("the library's report is no JSON (%s); use --json and report "
                                   "this as a bug",
                                   where.text);
        json_decref(object);
    }
    sterna_free(json);
    return status;
}
