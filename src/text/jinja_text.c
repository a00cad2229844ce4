/* Values as text: Python's str() and repr(), floats in their shortest form, JSON; and numbers from
 * text. Nothing here depends on the locale. */
#include "text/jinja_internal.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ---- floats ---- */

double sterna_jinja_parse_double(const char *text, size_t size)
{
    char buffer[512];
    const char *point = localeconv()->decimal_point;
    size_t used = 0;
    for (size_t i = 0; i < size && used + 8 < sizeof buffer; i++) {
        if (text[i] == '.')
            for (const char *p = point; *p && used + 8 < sizeof buffer;) buffer[used++] = *p++;
        else
            buffer[used++] = text[i];
    }
    buffer[used] = 0;
    return strtod(buffer, NULL);
}

/* The significant digits of a finite value (most 17), without trailing zeros, and the exponent of
 * the first. */
static int shortest_digits(double value, char digits[20], int *exponent)
{
    char buffer[64];
    int count = 0;
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(buffer, sizeof buffer, "%.*e", precision, value);
        if (strtod(buffer, NULL) == value) break;
    }
    const char *p = buffer;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9' && count < 19) digits[count++] = *p;
    *exponent = *p ? (int)strtol(p + 1, NULL, 10) : 0;
    while (count > 1 && digits[count - 1] == '0') count--;
    digits[count] = 0;
    return count;
}

void sterna_jinja_float_repr(double value, char *buffer)
{
    char digits[20], *out = buffer;
    int exponent;
    if (isnan(value)) {
        memcpy(buffer, "nan", 4);
        return;
    }
    if (signbit(value)) *out++ = '-';
    if (isinf(value)) {
        memcpy(out, "inf", 4);
        return;
    }
    int count = shortest_digits(fabs(value), digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        *out++ = digits[0];
        if (count > 1) *out++ = '.';
        memcpy(out, digits + 1, (size_t)count - 1);
        out += count - 1;
        snprintf(out, 16, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        *out++ = '0';
        *out++ = '.';
        for (int i = -1; i > exponent; i--) *out++ = '0';
        memcpy(out, digits, (size_t)count + 1);
        return;
    }
    for (int i = 0; i < count || i <= exponent; i++) {
        if (i == exponent + 1) *out++ = '.';
        *out++ = i < count ? digits[i] : '0';
    }
    if (count <= exponent + 1) {
        *out++ = '.';
        *out++ = '0';
    }
    *out = 0;
}

bool sterna_jinja_float_digits(jinja_text *text, double value, char conversion, int precision,
                               bool alternate)
{
    char format[16], small[64], *buffer = small;
    snprintf(format, sizeof format, "%%%s.%d%c", alternate ? "#" : "", precision, conversion);
    int size = snprintf(small, sizeof small, format, value);
    if (size < 0)
        return sterna_jinja_fail(text->run, STERNA_ERROR_INTERNAL, "a float cannot be formatted");
    if ((size_t)size >= sizeof small) {
        buffer = sterna_jinja_alloc(text->run, (size_t)size + 1, 1);
        if (!buffer) return false;
        snprintf(buffer, (size_t)size + 1, format, value);
    }
    const char *point = localeconv()->decimal_point;
    char *found = strcmp(point, ".") ? strstr(buffer, point) : NULL;
    if (!found) return sterna_jinja_text_add(text, buffer, (size_t)size);
    return sterna_jinja_text_add(text, buffer, (size_t)(found - buffer)) &&
           sterna_jinja_text_add_char(text, '.') &&
           sterna_jinja_text_add_string(text, found + strlen(point));
}

/* Trims whitespace and takes out the underscores that Python allows between digits; the size, or
 * JINJA_UNKNOWN when the text cannot be a number. */
static size_t clean_number(const char *text, size_t size, char *out, size_t capacity)
{
    size_t start = 0, used = 0;
    uint32_t c;
    while (start < size) {
        size_t width = sterna_jinja_decode(text + start, text + size, &c);
        if (!sterna_jinja_is_space(c)) break;
        start += width;
    }
    for (size_t i = start; i < size;) {
        size_t width = sterna_jinja_decode(text + i, text + size, &c);
        if (sterna_jinja_is_space(c)) { /* only at the end */
            for (i += width; i < size; i += width) {
                width = sterna_jinja_decode(text + i, text + size, &c);
                if (!sterna_jinja_is_space(c)) return JINJA_UNKNOWN;
            }
            break;
        }
        if (c >= 0x80 && sterna_jinja_is_decimal(c)) { /* decimal digits stand in runs of ten */
            uint32_t zero = c;
            while (sterna_jinja_is_decimal(zero - 1)) zero--;
            c = '0' + (c - zero) % 10;
        }
        if (c == '_') {
            bool between = i > start && i + 1 < size && text[i - 1] != '_' &&
                           strchr("0123456789abcdefABCDEFxXoO", text[i - 1]) &&
                           strchr("0123456789abcdefABCDEF", text[i + 1]) && text[i + 1];
            if (!between) return JINJA_UNKNOWN;
        } else {
            if (c >= 0x80 || used + 1 >= capacity) return JINJA_UNKNOWN;
            out[used++] = (char)c;
        }
        i += width;
    }
    out[used] = 0;
    return used;
}

static bool is_word_of(const char *text, const char *lower)
{
    for (; *text && *lower; text++, lower++)
        if ((*text | 0x20) != *lower) return false;
    return !*text && !*lower;
}

bool sterna_jinja_text_to_float(const char *text, size_t size, double *out)
{
    char number[400];
    size_t used = clean_number(text, size, number, sizeof number);
    if (used == JINJA_UNKNOWN || !used) return false;
    const char *p = number + (*number == '-' || *number == '+');
    double sign = *number == '-' ? -1 : 1;
    bool digit = false;
    if (is_word_of(p, "inf") || is_word_of(p, "infinity")) {
        *out = sign * INFINITY;
        return true;
    }
    if (is_word_of(p, "nan")) {
        *out = NAN;
        return true;
    }
    const char *start = p;
    while (*p >= '0' && *p <= '9') digit = true, p++;
    if (*p == '.') p++;
    while (*p >= '0' && *p <= '9') digit = true, p++;
    if (!digit) return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+') p++;
        if (!*p) return false;
        while (*p >= '0' && *p <= '9') p++;
    }
    if (*p) return false;
    *out = sign * sterna_jinja_parse_double(start, strlen(start));
    return true;
}

bool sterna_jinja_text_to_int(const char *text, size_t size, int64_t base, int64_t *out,
                              bool *overflow)
{
    char number[400];
    size_t used = clean_number(text, size, number, sizeof number);
    if (used == JINJA_UNKNOWN || !used || base < 0 || base == 1 || base > 36) return false;
    bool negative = *number == '-';
    const char *p = number + (*number == '-' || *number == '+');
    char prefix = *p == '0' ? (char)(p[1] | 0x20) : 0;
    int64_t named = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (named && (base == 0 || base == named)) {
        base = named;
        p += 2;
    } else if (base == 0) {
        base = 10;
        if (*p == '0' && strspn(p, "0") != strlen(p)) return false;
    }
    if (!*p) return false;
    uint64_t value = 0;
    for (; *p; p++) {
        char lower = (char)(*p | 0x20);
        int digit = *p >= '0' && *p <= '9'         ? *p - '0'
                    : lower >= 'a' && lower <= 'z' ? lower - 87
                                                   : 99;
        if (digit >= base) return false;
        if (!sterna_mul_u64(value, (uint64_t)base, &value) ||
            !sterna_add_u64(value, (uint64_t)digit, &value) ||
            value > (uint64_t)INT64_MAX + negative) {
            *overflow = true;
            value = 0;
        }
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* ---- repr ---- */

static bool repr_string(jinja_text *text, const jinja_string *string)
{
    char quote =
        memchr(string->data, '\'', string->size) && !memchr(string->data, '"', string->size) ? '"'
                                                                                             : '\'';
    const char *end = string->data + string->size;
    bool fine =
        sterna_jinja_charge(text->run, string->size * 2) && sterna_jinja_text_add_char(text, quote);
    for (const char *p = string->data; p < end && fine;) {
        uint32_t c;
        char buffer[16];
        size_t width = sterna_jinja_decode(p, end, &c);
        const char *named = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
        if (named) {
            fine = sterna_jinja_text_add_string(text, named);
        } else if (c == '\\' || c == (uint32_t)quote) {
            fine =
                sterna_jinja_text_add_char(text, '\\') && sterna_jinja_text_add_char(text, (char)c);
        } else if (sterna_jinja_is_printable(c)) {
            fine = sterna_jinja_text_add(text, p, width);
        } else {
            snprintf(buffer, sizeof buffer,
                     c < 0x100     ? "\\x%02x"
                     : c < 0x10000 ? "\\u%04x"
                                   : "\\U%08x",
                     (unsigned)c);
            fine = sterna_jinja_text_add_string(text, buffer);
        }
        p += width;
    }
    return fine && sterna_jinja_text_add_char(text, quote);
}

static bool repr_items(jinja_text *text, const jinja_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if ((i && !sterna_jinja_text_add_string(text, ", ")) ||
            !sterna_jinja_text_repr(text, list->items[i]))
            return false;
    return true;
}

static bool repr_dict(jinja_text *text, const jinja_dict *dict)
{
    if (!sterna_jinja_text_add_char(text, '{')) return false;
    for (size_t i = 0; i < dict->count; i++)
        if ((i && !sterna_jinja_text_add_string(text, ", ")) ||
            !sterna_jinja_text_repr(text, dict->entries[i].key) ||
            !sterna_jinja_text_add_string(text, ": ") ||
            !sterna_jinja_text_repr(text, dict->entries[i].value))
            return false;
    return sterna_jinja_text_add_char(text, '}');
}

static bool repr_view(jinja_text *text, const jinja_dict *dict, unsigned what)
{
    static const char *const names[] = {"dict_keys([", "dict_values([", "dict_items(["};
    if (!sterna_jinja_text_add_string(text, names[what])) return false;
    for (size_t i = 0; i < dict->count; i++) {
        const jinja_entry *entry = &dict->entries[i];
        bool fine = !i || sterna_jinja_text_add_string(text, ", ");
        if (what == JINJA_ITEMS) fine = fine && sterna_jinja_text_add_char(text, '(');
        if (what != JINJA_VALUES) fine = fine && sterna_jinja_text_repr(text, entry->key);
        if (what == JINJA_ITEMS) fine = fine && sterna_jinja_text_add_string(text, ", ");
        if (what != JINJA_KEYS) fine = fine && sterna_jinja_text_repr(text, entry->value);
        if (what == JINJA_ITEMS) fine = fine && sterna_jinja_text_add_char(text, ')');
        if (!fine) return false;
    }
    return sterna_jinja_text_add_string(text, "])");
}

static bool repr_range(jinja_text *text, const jinja_range *range)
{
    char buffer[96];
    snprintf(buffer, sizeof buffer,
             range->step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)",
             (long long)range->start, (long long)range->stop, (long long)range->step);
    return sterna_jinja_text_add_string(text, buffer);
}

static bool repr_macro(jinja_text *text, const jinja_macro *macro)
{
    if (macro->node->value.type != JINJA_STRING)
        return sterna_jinja_text_add_string(text, "<Macro anonymous>");
    return sterna_jinja_text_add_string(text, "<Macro ") &&
           repr_string(text, macro->node->value.as.string) && sterna_jinja_text_add_char(text, '>');
}

static bool repr_inner(jinja_text *text, jinja_value value)
{
    char buffer[64];
    switch (value.type) {
    case JINJA_UNDEFINED: return sterna_jinja_text_add_string(text, "Undefined");
    case JINJA_MISSING:
    case JINJA_NONE: return sterna_jinja_text_add_string(text, "None");
    case JINJA_BOOL: return sterna_jinja_text_add_string(text, value.as.boolean ? "True" : "False");
    case JINJA_INT:
        snprintf(buffer, sizeof buffer, "%lld", (long long)value.as.integer);
        return sterna_jinja_text_add_string(text, buffer);
    case JINJA_FLOAT:
        sterna_jinja_float_repr(value.as.real, buffer);
        return sterna_jinja_text_add_string(text, buffer);
    case JINJA_STRING:
        if (!(value.extra & JINJA_SAFE)) return repr_string(text, value.as.string);
        return sterna_jinja_text_add_string(text, "Markup(") &&
               repr_string(text, value.as.string) && sterna_jinja_text_add_char(text, ')');
    case JINJA_LIST:
        return sterna_jinja_text_add_char(text, '[') && repr_items(text, value.as.list) &&
               sterna_jinja_text_add_char(text, ']');
    case JINJA_TUPLE:
        return sterna_jinja_text_add_char(text, '(') && repr_items(text, value.as.list) &&
               sterna_jinja_text_add_string(text, value.as.list->count == 1 ? ",)" : ")");
    case JINJA_DICT: return repr_dict(text, value.as.dict);
    case JINJA_VIEW: return repr_view(text, value.as.dict, value.extra);
    case JINJA_RANGE: return repr_range(text, value.as.range);
    case JINJA_NAMESPACE:
        return sterna_jinja_text_add_string(text, "<Namespace ") &&
               repr_dict(text, value.as.dict) && sterna_jinja_text_add_char(text, '>');
    case JINJA_MACRO: return repr_macro(text, value.as.macro);
    case JINJA_LOOP: {
        int64_t length;
        if (!sterna_jinja_length(text->run, value, &length)) return false;
        snprintf(buffer, sizeof buffer, "<LoopContext %lld/%lld>",
                 (long long)value.as.loop->index0 + 1, (long long)length);
        return sterna_jinja_text_add_string(text, buffer);
    }
    default:
        snprintf(buffer, sizeof buffer, "<%s object>", sterna_jinja_type_name(value));
        return sterna_jinja_text_add_string(text, buffer);
    }
}

bool sterna_jinja_text_repr(jinja_text *text, jinja_value value)
{
    if (text->failed || !sterna_jinja_step(text->run, 1) || !sterna_jinja_enter(text->run))
        return false;
    bool fine = repr_inner(text, value);
    sterna_jinja_leave(text->run);
    return fine;
}

bool sterna_jinja_text_value(jinja_text *text, jinja_value value)
{
    if (value.type == JINJA_STRING)
        return sterna_jinja_text_add(text, value.as.string->data, value.as.string->size);
    if (value.type == JINJA_UNDEFINED) return !text->failed;
    return sterna_jinja_text_repr(text, value);
}

bool sterna_jinja_to_string(jinja_run *run, jinja_value value, bool keep_safe, jinja_value *out)
{
    if (value.type == JINJA_STRING) {
        *out = value;
        if (!keep_safe) out->extra = 0;
        return true;
    }
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    return sterna_jinja_text_value(&text, value) && sterna_jinja_text_finish(&text, out);
}

bool sterna_jinja_escape(jinja_text *text, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const char *entity = data[i] == '&'    ? "&amp;"
                             : data[i] == '<'  ? "&lt;"
                             : data[i] == '>'  ? "&gt;"
                             : data[i] == '"'  ? "&#34;"
                             : data[i] == '\'' ? "&#39;"
                                               : NULL;
        if (entity ? !sterna_jinja_text_add_string(text, entity)
                   : !sterna_jinja_text_add_char(text, data[i]))
            return false;
    }
    return sterna_jinja_charge(text->run, size * 4);
}

/* ---- JSON, as Python's json.dumps ---- */

static bool json_string_text(jinja_text *text, const char *data, size_t size, bool ascii)
{
    const char *end = data + size, *plain = data;
    bool fine = sterna_jinja_charge(text->run, size) && sterna_jinja_text_add_char(text, '"');
    for (const char *p = data; p < end && fine;) {
        uint32_t c;
        char buffer[16];
        size_t width = sterna_jinja_decode(p, end, &c);
        const char *named = c == '"'    ? "\\\""
                            : c == '\\' ? "\\\\"
                            : c == '\n' ? "\\n"
                            : c == '\r' ? "\\r"
                            : c == '\t' ? "\\t"
                            : c == '\f' ? "\\f"
                            : c == '\b' ? "\\b"
                                        : NULL;
        if (!named && c >= 32 && (!ascii || c < 127)) {
            p += width;
            continue;
        }
        fine = sterna_jinja_text_add(text, plain, (size_t)(p - plain));
        if (!named && c < 0x10000)
            snprintf(buffer, sizeof buffer, "\\u%04x", (unsigned)c);
        else if (!named)
            snprintf(buffer, sizeof buffer, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (c >> 10)),
                     (unsigned)(0xdc00 + (c & 0x3ff)));
        fine = fine && sterna_jinja_text_add_string(text, named ? named : buffer);
        p += width;
        plain = p;
    }
    return fine && sterna_jinja_text_add(text, plain, (size_t)(end - plain)) &&
           sterna_jinja_text_add_char(text, '"');
}

static bool json_newline(jinja_text *text, const jinja_json_style *style, unsigned level)
{
    if (!style->indented) return true;
    return sterna_jinja_text_add_char(text, '\n') &&
           sterna_jinja_text_repeat(text, style->indent, style->indent_size, level);
}

static bool json_list(jinja_text *text, const jinja_list *list, const jinja_json_style *style,
                      unsigned level)
{
    if (!list->count) return sterna_jinja_text_add_string(text, "[]");
    if (!sterna_jinja_text_add_char(text, '[')) return false;
    for (size_t i = 0; i < list->count; i++)
        if ((i &&
             !sterna_jinja_text_add(text, style->item_separator, style->item_separator_size)) ||
            !json_newline(text, style, level + 1) ||
            !sterna_jinja_text_json(text, list->items[i], style, level + 1))
            return false;
    return json_newline(text, style, level) && sterna_jinja_text_add_char(text, ']');
}

static bool json_key(jinja_text *text, jinja_value key, const jinja_json_style *style)
{
    if (key.type == JINJA_STRING)
        return json_string_text(text, key.as.string->data, key.as.string->size, style->ascii);
    if (key.type > JINJA_FLOAT || key.type < JINJA_NONE)
        return sterna_jinja_fail(text->run, STERNA_ERROR_FORMAT, "tojson: a '%s' cannot be a key",
                                 sterna_jinja_type_name(key));
    return sterna_jinja_text_add_char(text, '"') && sterna_jinja_text_json(text, key, style, 0) &&
           sterna_jinja_text_add_char(text, '"');
}

static bool json_dict(jinja_text *text, const jinja_dict *dict, const jinja_json_style *style,
                      unsigned level)
{
    if (!dict->count) return sterna_jinja_text_add_string(text, "{}");
    jinja_run *run = text->run;
    size_t *order = sterna_jinja_alloc(run, dict->count, sizeof *order);
    if (!order || !sterna_jinja_text_add_char(text, '{')) return false;
    for (size_t i = 0; i < dict->count; i++) order[i] = i;
    if (style->sort_keys) {
        jinja_value *keys = sterna_jinja_alloc(run, dict->count, sizeof *keys);
        if (!keys) return false;
        for (size_t i = 0; i < dict->count; i++) keys[i] = dict->entries[i].key;
        if (!sterna_jinja_sort(run, keys, order, dict->count, false)) return false;
    }
    for (size_t i = 0; i < dict->count; i++) {
        const jinja_entry *entry = &dict->entries[order[i]];
        if ((i &&
             !sterna_jinja_text_add(text, style->item_separator, style->item_separator_size)) ||
            !json_newline(text, style, level + 1) || !json_key(text, entry->key, style) ||
            !sterna_jinja_text_add(text, style->key_separator, style->key_separator_size) ||
            !sterna_jinja_text_json(text, entry->value, style, level + 1))
            return false;
    }
    return json_newline(text, style, level) && sterna_jinja_text_add_char(text, '}');
}

static bool json_inner(jinja_text *text, jinja_value value, const jinja_json_style *style,
                       unsigned level)
{
    switch (value.type) {
    case JINJA_NONE: return sterna_jinja_text_add_string(text, "null");
    case JINJA_BOOL: return sterna_jinja_text_add_string(text, value.as.boolean ? "true" : "false");
    case JINJA_INT: return sterna_jinja_text_repr(text, value);
    case JINJA_FLOAT:
        if (isnan(value.as.real)) return sterna_jinja_text_add_string(text, "NaN");
        if (isinf(value.as.real))
            return sterna_jinja_text_add_string(text, value.as.real < 0 ? "-Infinity" : "Infinity");
        return sterna_jinja_text_repr(text, value);
    case JINJA_STRING:
        return json_string_text(text, value.as.string->data, value.as.string->size, style->ascii);
    case JINJA_LIST:
    case JINJA_TUPLE: return json_list(text, value.as.list, style, level);
    case JINJA_DICT: return json_dict(text, value.as.dict, style, level);
    default:
        return sterna_jinja_fail(text->run, STERNA_ERROR_FORMAT, "tojson cannot write a '%s'",
                                 sterna_jinja_type_name(value));
    }
}

bool sterna_jinja_text_json(jinja_text *text, jinja_value value, const jinja_json_style *style,
                            unsigned level)
{
    if (text->failed || !sterna_jinja_step(text->run, 1) || !sterna_jinja_enter(text->run))
        return false;
    bool fine = json_inner(text, value, style, level);
    sterna_jinja_leave(text->run);
    return fine;
}
