/* Python's two ways to fill strings: the % operator and str.format. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_LIMIT 1000000

/* ---- % ---- */

typedef struct percent {
    jinja_run *run;
    jinja_value values;
    size_t used; /* of a tuple */
    bool is_tuple, is_mapping, by_name;
    jinja_text out;
    const char *at, *end;
    /* the conversion at hand */
    bool left, plus, space, alternate, zero;
    int64_t width, precision;
} percent;

static bool next_argument(percent *f, jinja_value *out)
{
    if (f->is_tuple && f->used < f->values.as.list->count) {
        *out = f->values.as.list->items[f->used++];
        return true;
    }
    if (!f->is_tuple && !f->used++) {
        *out = f->values;
        return true;
    }
    return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT,
                             "not enough arguments for a format string");
}

static bool read_width(percent *f, int64_t *out, bool *given)
{
    *out = 0;
    *given = false;
    if (f->at < f->end && *f->at == '*') {
        jinja_value value;
        f->at++;
        *given = true;
        if (!next_argument(f, &value) || !sterna_jinja_want_int(f->run, value, "a width of *", out))
            return false;
    }
    for (; f->at < f->end && *f->at >= '0' && *f->at <= '9'; f->at++) {
        *given = true;
        if (*out <= WIDTH_LIMIT) *out = *out * 10 + (*f->at - '0');
    }
    if (*out > WIDTH_LIMIT || *out < -WIDTH_LIMIT)
        return sterna_jinja_fail(f->run, STERNA_ERROR_LIMIT, "a format width is larger than %d",
                                 WIDTH_LIMIT);
    return true;
}

static bool add_padded(percent *f, const char *prefix, const char *body, size_t size, size_t length,
                       bool number)
{
    int64_t space = f->width - (int64_t)length - (int64_t)strlen(prefix);
    bool zeros = f->zero && number && !f->left;
    return sterna_jinja_text_repeat(&f->out, " ", 1, f->left || zeros ? 0 : space) &&
           sterna_jinja_text_add_string(&f->out, prefix) &&
           sterna_jinja_text_repeat(&f->out, "0", 1, zeros ? space : 0) &&
           sterna_jinja_text_add(&f->out, body, size) &&
           sterna_jinja_text_repeat(&f->out, " ", 1, f->left ? space : 0);
}

static const char *sign_of(const percent *f, bool negative)
{
    return negative ? "-" : f->plus ? "+" : f->space ? " " : "";
}

static bool percent_integer(percent *f, char conversion, jinja_value value)
{
    bool decimal = conversion == 'd' || conversion == 'i' || conversion == 'u';
    if (value.type == JINJA_UNDEFINED && decimal) return sterna_jinja_fail_undefined(f->run, value);
    if (decimal && value.type == JINJA_FLOAT && fabs(value.as.real) < 9.2e18)
        value = sterna_jinja_int((int64_t)value.as.real);
    if (decimal && value.type == JINJA_FLOAT && isfinite(value.as.real))
        return sterna_jinja_fail(f->run, STERNA_ERROR_LIMIT, "a number does not fit in 64 bits");
    if (!sterna_jinja_is_integer(value))
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "%%%c needs a number, not '%s'",
                                 conversion, sterna_jinja_type_name(value));
    char digits[72], prefix[8];
    int64_t number = sterna_jinja_as_integer(value);
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    unsigned base = decimal ? 10 : conversion == 'o' ? 8 : 16;
    size_t at = sizeof digits;
    do digits[--at] = (conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base];
    while (rest /= base);
    snprintf(prefix, sizeof prefix, "%s%s", sign_of(f, number < 0),
             !f->alternate || decimal ? ""
             : base == 8              ? "0o"
             : conversion == 'X'      ? "0X"
                                      : "0x");
    jinja_text body;
    sterna_jinja_text_start(&body, f->run);
    int64_t missing = f->precision - (int64_t)(sizeof digits - at);
    return sterna_jinja_text_repeat(&body, "0", 1, missing) &&
           sterna_jinja_text_add(&body, digits + at, sizeof digits - at) &&
           add_padded(f, prefix, body.data, body.size, body.size, true);
}

static bool percent_float(percent *f, char conversion, jinja_value value)
{
    double number = 0;
    if (value.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(f->run, value);
    if (!sterna_jinja_is_number(value))
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "%%%c needs a number, not '%s'",
                                 conversion, sterna_jinja_type_name(value));
    number = sterna_jinja_as_float(value);
    jinja_text body;
    sterna_jinja_text_start(&body, f->run);
    bool upper = conversion < 'a';
    bool fine =
        isnan(number) ? sterna_jinja_text_add_string(&body, upper ? "NAN" : "nan")
        : isinf(number)
            ? sterna_jinja_text_add_string(&body, upper ? "INF" : "inf")
            : sterna_jinja_float_digits(&body, fabs(number), conversion,
                                        f->precision < 0 ? 6 : (int)f->precision, f->alternate);
    return fine && add_padded(f, sign_of(f, signbit(number) && !isnan(number)), body.data,
                              body.size, body.size, true);
}

static bool percent_text(percent *f, char conversion, jinja_value value)
{
    jinja_value string;
    int64_t length;
    if (conversion == 'c') {
        char bytes[4];
        if (sterna_jinja_is_integer(value) && sterna_jinja_as_integer(value) >= 0 &&
            sterna_jinja_as_integer(value) <= 0x10ffff) {
            size_t size = sterna_jinja_encode((uint32_t)sterna_jinja_as_integer(value), bytes);
            return add_padded(f, "", bytes, size, 1, false);
        }
        if (value.type != JINJA_STRING || sterna_jinja_string_length(value.as.string) != 1)
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "%%c needs one character");
        return add_padded(f, "", value.as.string->data, value.as.string->size, 1, false);
    }
    jinja_text text;
    sterna_jinja_text_start(&text, f->run);
    bool fine = conversion == 's' ? sterna_jinja_text_value(&text, value)
                                  : sterna_jinja_text_repr(&text, value);
    if (!fine || !sterna_jinja_text_finish(&text, &string)) return false;
    if (f->precision >= 0 &&
        !sterna_jinja_slice(f->run, string, sterna_jinja_missing(), sterna_jinja_int(f->precision),
                            sterna_jinja_missing(), &string))
        return false;
    return sterna_jinja_length(f->run, string, &length) &&
           add_padded(f, "", string.as.string->data, string.as.string->size, (size_t)length, false);
}

/* "(name)" behind a percent sign. */
static bool percent_name(percent *f, jinja_value *out)
{
    const char *start = ++f->at;
    jinja_value *found = NULL, key;
    for (int depth = 1; f->at < f->end; f->at++) {
        depth += *f->at == '(' ? 1 : *f->at == ')' ? -1 : 0;
        if (!depth) break;
    }
    if (f->at >= f->end || !f->is_mapping)
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT,
                                 "a format string with names needs a dict");
    if (!sterna_jinja_borrow(f->run, start, (size_t)(f->at++ - start), &key)) return false;
    if (f->values.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(f->run, f->values);
    if (f->values.type == JINJA_DICT &&
        !sterna_jinja_dict_find(f->run, f->values.as.dict, key, &found))
        return false;
    if (!found)
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT,
                                 "a format string names '%.*s', which is not given",
                                 (int)(key.as.string->size < 60 ? key.as.string->size : 60), start);
    *out = *found;
    f->by_name = true;
    return true;
}

static bool percent_one(percent *f)
{
    jinja_value value = sterna_jinja_missing();
    bool given = false;
    f->left = f->plus = f->space = f->alternate = f->zero = false;
    f->precision = -1;
    if (f->at < f->end && *f->at == '(' && !percent_name(f, &value)) return false;
    for (; f->at < f->end && strchr("-+ #0", *f->at) && *f->at; f->at++) {
        f->left |= *f->at == '-';
        f->plus |= *f->at == '+';
        f->space |= *f->at == ' ';
        f->alternate |= *f->at == '#';
        f->zero |= *f->at == '0';
    }
    if (!read_width(f, &f->width, &given)) return false;
    if (f->width < 0) f->left = true, f->width = -f->width;
    if (f->at < f->end && *f->at == '.') {
        f->at++;
        if (!read_width(f, &f->precision, &given)) return false;
        if (f->precision < 0) f->precision = 0;
    }
    while (f->at < f->end && (*f->at == 'l' || *f->at == 'h' || *f->at == 'L')) f->at++;
    if (f->at >= f->end)
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "an incomplete format string");
    char conversion = *f->at++;
    if (conversion == '%') return sterna_jinja_text_add_char(&f->out, '%');
    if (!strchr("diuxXoeEfFgGcsra", conversion) || !conversion)
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "an unknown conversion %%%c",
                                 conversion);
    if (value.type == JINJA_MISSING && !next_argument(f, &value)) return false;
    if (strchr("diuxXo", conversion)) return percent_integer(f, conversion, value);
    if (strchr("eEfFgG", conversion)) return percent_float(f, conversion, value);
    return percent_text(f, conversion, value);
}

bool sterna_jinja_percent(jinja_run *run, jinja_value format, jinja_value values, jinja_value *out)
{
    percent f = {.run = run, .values = values, .at = format.as.string->data};
    f.end = f.at + format.as.string->size;
    f.is_tuple = values.type == JINJA_TUPLE;
    f.is_mapping = values.type == JINJA_DICT || values.type == JINJA_LIST ||
                   values.type == JINJA_UNDEFINED || values.type == JINJA_RANGE;
    sterna_jinja_text_start(&f.out, run);
    if (format.extra & JINJA_SAFE)
        return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED, "%% on markup is not supported");
    while (f.at < f.end) {
        const char *sign = memchr(f.at, '%', (size_t)(f.end - f.at)), *stop = sign ? sign : f.end;
        if (!sterna_jinja_step(run, 1) ||
            !sterna_jinja_text_add(&f.out, f.at, (size_t)(stop - f.at)))
            return false;
        f.at = stop;
        if (!sign) break;
        f.at++;
        if (!percent_one(&f)) return false;
    }
    bool all_used = f.is_tuple ? f.used == values.as.list->count : f.used > 0 || f.is_mapping;
    if (!all_used && !(f.is_tuple && f.by_name))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "more values than a format string has places for");
    return sterna_jinja_text_finish(&f.out, out);
}

/* ---- str.format ---- */

typedef struct formatter {
    jinja_run *run;
    const jinja_arguments *arguments;
    int64_t next; /* automatic field number; -1 once fields are numbered by hand */
} formatter;

static bool format_into(formatter *f, const char *text, size_t size, int depth, jinja_text *out);

/* The first part of a field name: a number, a name, or nothing. */
static bool field_start(formatter *f, const char *name, size_t size, jinja_value *out)
{
    int64_t index = 0;
    bool number = size > 0, overflow = false;
    for (size_t i = 0; i < size; i++) number = number && name[i] >= '0' && name[i] <= '9';
    if (!size) {
        if (f->next < 0)
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: {} cannot follow {0}");
        index = f->next++;
    } else if (number) {
        if (f->next > 0)
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: {0} cannot follow {}");
        f->next = -1;
        sterna_jinja_text_to_int(name, size, 10, &index, &overflow);
    }
    if (!size || number) {
        if (overflow || (uint64_t)index >= f->arguments->count)
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT,
                                     "format: there is no value for field %lld", (long long)index);
        *out = f->arguments->values[index];
        return true;
    }
    for (size_t i = 0; i < f->arguments->named_count; i++) {
        const jinja_string *given = f->arguments->names[i];
        if (given->size != size || memcmp(given->data, name, size)) continue;
        *out = f->arguments->named[i];
        return true;
    }
    return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: there is no value named '%.*s'",
                             size < 60 ? (int)size : 60, name);
}

/* name.attribute[item]... */
static bool field_value(formatter *f, const char *name, size_t size, jinja_value *out)
{
    size_t at = 0;
    while (at < size && name[at] != '.' && name[at] != '[') at++;
    if (!field_start(f, name, at, out)) return false;
    while (at < size) {
        size_t start = ++at;
        jinja_value key;
        bool item = name[start - 1] == '[', number = true, overflow = false;
        while (at < size && (item ? name[at] != ']' : name[at] != '.' && name[at] != '[')) at++;
        if (at == start || (item && at >= size) ||
            (item && at + 1 < size && name[at + 1] != '.' && name[at + 1] != '['))
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: a malformed field name");
        if (!sterna_jinja_borrow(f->run, name + start, at - start, &key)) return false;
        for (size_t i = start; i < at; i++) number = number && name[i] >= '0' && name[i] <= '9';
        if (item) {
            int64_t index;
            if (number &&
                sterna_jinja_text_to_int(name + start, at - start, 10, &index, &overflow) &&
                !overflow)
                key = sterna_jinja_int(index);
            at++;
        }
        if (item ? !sterna_jinja_item(f->run, *out, key, out)
                 : !sterna_jinja_attribute(f->run, *out, key.as.string, out))
            return false;
    }
    return true;
}

/* The text between { and }: name [!conversion] [:specification]. */
static bool format_field(formatter *f, const char *text, size_t size, int depth, jinja_text *out)
{
    size_t name = 0, bracket = 0;
    for (; name < size && (bracket || (text[name] != '!' && text[name] != ':')); name++)
        bracket = text[name] == '[' ? 1 : text[name] == ']' ? 0 : bracket;
    size_t spec = name;
    char conversion = 0;
    if (spec < size && text[spec] == '!') {
        conversion = spec + 1 < size ? text[spec + 1] : '?';
        spec += 2;
        if (spec < size && text[spec] != ':') conversion = '?';
    }
    jinja_value value;
    jinja_text part;
    if (!field_value(f, text, name, &value)) return false;
    if (conversion) {
        sterna_jinja_text_start(&part, f->run);
        bool known = conversion == 's' || conversion == 'r' || conversion == 'a';
        if (!known)
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: an unknown conversion");
        if (!(conversion == 's' ? sterna_jinja_text_value(&part, value)
                                : sterna_jinja_text_repr(&part, value)) ||
            !sterna_jinja_text_finish(&part, &value))
            return false;
    }
    sterna_jinja_text_start(&part, f->run);
    if (spec < size && !format_into(f, text + spec + 1, size - spec - 1, depth + 1, &part))
        return false;
    return sterna_jinja_format_spec(f->run, value, part.data, part.size, out);
}

static bool format_into(formatter *f, const char *text, size_t size, int depth, jinja_text *out)
{
    if (depth > 1)
        return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: fields nest too deep");
    for (size_t at = 0; at < size;) {
        size_t start = at;
        while (at < size && text[at] != '{' && text[at] != '}') at++;
        if (!sterna_jinja_step(f->run, 1) || !sterna_jinja_text_add(out, text + start, at - start))
            return false;
        if (at >= size) break;
        if (at + 1 < size && text[at + 1] == text[at]) {
            if (!sterna_jinja_text_add_char(out, text[at])) return false;
            at += 2;
            continue;
        }
        if (text[at] == '}')
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: a single }");
        start = ++at;
        int open = 1;
        for (bool bracket = false; at < size; at++) {
            if (text[at] == '[') bracket = true;
            if (text[at] == ']') bracket = false;
            if (bracket) continue;
            open += text[at] == '{' ? 1 : text[at] == '}' ? -1 : 0;
            if (!open) break;
        }
        if (at >= size)
            return sterna_jinja_fail(f->run, STERNA_ERROR_FORMAT, "format: a { without }");
        if (!format_field(f, text + start, at - start, depth, out)) return false;
        at++;
    }
    return true;
}

bool sterna_jinja_format(jinja_run *run, jinja_value format, const jinja_arguments *arguments,
                         jinja_value *out)
{
    formatter f = {.run = run, .arguments = arguments};
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (format.extra & JINJA_SAFE)
        return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED,
                                 "format on markup is not supported");
    return format_into(&f, format.as.string->data, format.as.string->size, 0, &text) &&
           sterna_jinja_text_finish(&text, out);
}
