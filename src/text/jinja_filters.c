/* Filters on text and numbers, and those that look at any value. Sequences: jinja_sequence.c. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name)                                                                               \
    static bool name(jinja_run *run, jinja_value self, const jinja_value *bound,                   \
                     const jinja_arguments *all, jinja_value *out)
#define UNUSED (void)run, (void)self, (void)bound, (void)all, (void)out

bool sterna_jinja_want_int(jinja_run *run, jinja_value value, const char *what, int64_t *out)
{
    *out = 0;
    if (value.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, value);
    if (!sterna_jinja_is_integer(value))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "%s must be an integer, not '%s'", what,
                                 sterna_jinja_type_name(value));
    *out = sterna_jinja_as_integer(value);
    return true;
}

bool sterna_jinja_want_string(jinja_run *run, jinja_value value, const char *what,
                              jinja_string **out)
{
    *out = NULL;
    if (value.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, value);
    if (value.type != JINJA_STRING)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "%s must be a string, not '%s'", what,
                                 sterna_jinja_type_name(value));
    *out = value.as.string;
    return true;
}

const jinja_callable *sterna_jinja_lookup(const jinja_callable *table, size_t count,
                                          const jinja_string *name)
{
    for (size_t i = 0; i < count; i++)
        if (sterna_jinja_string_is(name, table[i].name)) return &table[i];
    return NULL;
}

static bool change_case(jinja_run *run, jinja_value self, jinja_case to, jinja_value *out)
{
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_to_string(run, self, true, &self) ||
        !sterna_jinja_change_case(&text, self.as.string->data, self.as.string->size, to) ||
        !sterna_jinja_text_finish(&text, out))
        return false;
    out->extra = self.extra;
    return true;
}

FILTER(upper)
{
    UNUSED;
    return change_case(run, self, JINJA_CASE_UPPER, out);
}

FILTER(lower)
{
    UNUSED;
    return change_case(run, self, JINJA_CASE_LOWER, out);
}

FILTER(capitalize)
{
    UNUSED;
    return change_case(run, self, JINJA_CASE_CAPITAL, out);
}

static bool begins_word(uint32_t c)
{
    return sterna_jinja_is_space(c) || (c < 0x80 && c && strchr("-({[<", (char)c));
}

FILTER(title)
{
    UNUSED;
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_to_string(run, self, false, &self)) return false;
    const char *data = self.as.string->data;
    size_t size = self.as.string->size, at = 0;
    while (at < size) {
        uint32_t c;
        size_t first = sterna_jinja_decode(data + at, data + size, &c), end = at + first;
        bool separator = begins_word(c);
        while (end < size) {
            size_t width = sterna_jinja_decode(data + end, data + size, &c);
            if (begins_word(c) != separator) break;
            end += width;
        }
        if (!sterna_jinja_change_case(&text, data + at, first, JINJA_CASE_UPPER) ||
            !sterna_jinja_change_case(&text, data + at + first, end - at - first, JINJA_CASE_LOWER))
            return false;
        at = end;
    }
    return sterna_jinja_text_finish(&text, out);
}

FILTER(string)
{
    UNUSED;
    return sterna_jinja_to_string(run, self, true, out);
}

FILTER(safe)
{
    UNUSED;
    if (!sterna_jinja_to_string(run, self, true, out)) return false;
    out->extra = JINJA_SAFE;
    return true;
}

static bool escape_string(jinja_run *run, jinja_value self, jinja_value *out)
{
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_to_string(run, self, false, &self) ||
        !sterna_jinja_escape(&text, self.as.string->data, self.as.string->size) ||
        !sterna_jinja_text_finish(&text, out))
        return false;
    out->extra = JINJA_SAFE;
    return true;
}

FILTER(escape)
{
    UNUSED;
    *out = self;
    return (self.type == JINJA_STRING && self.extra & JINJA_SAFE) || escape_string(run, self, out);
}

FILTER(forceescape)
{
    UNUSED;
    return escape_string(run, self, out);
}

/* A method of strings applied to the filtered value's text. */
static bool string_method(jinja_run *run, const char *name, jinja_value self,
                          const jinja_arguments *all, jinja_value *out)
{
    jinja_string wanted = {.data = name, .size = strlen(name)};
    return sterna_jinja_to_string(run, self, true, &self) &&
           sterna_jinja_call_builtin(run, sterna_jinja_string_method(&wanted), self, all, out);
}

FILTER(trim)
{
    UNUSED;
    jinja_value chars = bound[0];
    jinja_arguments one = {.values = &chars, .count = chars.type != JINJA_MISSING};
    return string_method(run, "strip", self, &one, out);
}

FILTER(center)
{
    UNUSED;
    jinja_value width = bound[0].type == JINJA_MISSING ? sterna_jinja_int(80) : bound[0];
    jinja_arguments one = {.values = &width, .count = 1};
    return string_method(run, "center", self, &one, out);
}

FILTER(replace)
{
    UNUSED;
    jinja_value values[3] = {bound[0], bound[1], bound[2]};
    if (!sterna_jinja_to_string(run, self, false, &self) ||
        !sterna_jinja_to_string(run, values[0], false, &values[0]) ||
        !sterna_jinja_to_string(run, values[1], false, &values[1]))
        return false;
    bool counted = values[2].type != JINJA_MISSING && values[2].type != JINJA_NONE;
    jinja_arguments some = {.values = values, .count = counted ? 3 : 2};
    return string_method(run, "replace", self, &some, out);
}

FILTER(wordcount)
{
    UNUSED;
    int64_t count = 0;
    bool inside = false;
    if (!sterna_jinja_to_string(run, self, false, &self) ||
        !sterna_jinja_charge(run, self.as.string->size * 4))
        return false;
    const char *p = self.as.string->data, *end = p + self.as.string->size;
    while (p < end) {
        uint32_t c;
        p += sterna_jinja_decode(p, end, &c);
        bool word = sterna_jinja_is_word(c);
        count += word && !inside;
        inside = word;
    }
    *out = sterna_jinja_int(count);
    return true;
}

FILTER(indent)
{
    UNUSED;
    jinja_string *string, *by = NULL;
    int64_t width = 4;
    bool first = false, blank = false;
    jinja_text text;
    if (!sterna_jinja_want_string(run, self, "the value of indent", &string) ||
        !sterna_jinja_truth(run, bound[1], &first) || !sterna_jinja_truth(run, bound[2], &blank))
        return false;
    if (bound[0].type == JINJA_STRING)
        by = bound[0].as.string;
    else if (bound[0].type != JINJA_MISSING &&
             !sterna_jinja_want_int(run, bound[0], "the width of indent", &width))
        return false;
    const char *unit = by ? by->data : " ", *data = string->data;
    size_t unit_size = by ? by->size : 1, left = string->size;
    int64_t times = by ? 1 : width;
    sterna_jinja_text_start(&text, run);
    if (first && !sterna_jinja_text_repeat(&text, unit, unit_size, times)) return false;
    for (bool start = true;; start = false) {
        size_t without, with;
        sterna_jinja_line(data, left, &without, &with);
        if (!start && !sterna_jinja_text_add_char(&text, '\n')) return false;
        if (!start && (blank || without) &&
            !sterna_jinja_text_repeat(&text, unit, unit_size, times))
            return false;
        if (!sterna_jinja_step(run, 1) || !sterna_jinja_text_add(&text, data, without))
            return false;
        if (with == without) break;
        data += with;
        left -= with;
    }
    return sterna_jinja_text_finish(&text, out);
}

FILTER(truncate)
{
    UNUSED;
    jinja_string *string, *end = NULL;
    static jinja_string dots = {"...", 3, 3, NULL};
    int64_t length = 255, leeway = 5, size;
    bool kill = false;
    if (self.type == JINJA_UNDEFINED) {
        *out = self;
        return true;
    }
    if ((bound[0].type != JINJA_MISSING &&
         !sterna_jinja_want_int(run, bound[0], "the length", &length)) ||
        !sterna_jinja_truth(run, bound[1], &kill) ||
        (bound[2].type != JINJA_MISSING &&
         !sterna_jinja_want_string(run, bound[2], "the end", &end)) ||
        (bound[3].type > JINJA_NONE &&
         !sterna_jinja_want_int(run, bound[3], "the leeway", &leeway)) ||
        !sterna_jinja_length(run, self, &size))
        return false;
    if (!end) end = &dots;
    int64_t end_length = (int64_t)sterna_jinja_string_length(end);
    if (length < end_length || leeway < 0)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "truncate needs a length of at least %lld", (long long)end_length);
    *out = self;
    if (size <= length || size - length <= leeway) return true;
    jinja_value cut;
    if (!sterna_jinja_want_string(run, self, "the value of truncate", &string)) return false;
    if (!sterna_jinja_slice(run, self, sterna_jinja_missing(),
                            sterna_jinja_int(length - end_length), sterna_jinja_missing(), &cut))
        return false;
    size_t keep = cut.as.string->size;
    if (!kill) {
        size_t space = sterna_jinja_find(cut.as.string->data, keep, " ", 1, true);
        if (space != JINJA_UNKNOWN) keep = space;
    }
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    return sterna_jinja_text_add(&text, cut.as.string->data, keep) &&
           sterna_jinja_text_add(&text, end->data, end->size) &&
           sterna_jinja_text_finish(&text, out);
}

FILTER(wordwrap)
{
    UNUSED;
    jinja_string *string, *separator = NULL;
    int64_t width = 79;
    bool break_long = true, break_hyphens = true;
    if (!sterna_jinja_want_string(run, self, "the value of wordwrap", &string) ||
        (bound[0].type != JINJA_MISSING &&
         !sterna_jinja_want_int(run, bound[0], "the width", &width)) ||
        (bound[1].type != JINJA_MISSING && !sterna_jinja_truth(run, bound[1], &break_long)) ||
        (bound[2].type > JINJA_NONE &&
         !sterna_jinja_want_string(run, bound[2], "the wrapstring", &separator)) ||
        (bound[3].type != JINJA_MISSING && !sterna_jinja_truth(run, bound[3], &break_hyphens)))
        return false;
    return sterna_jinja_wrap_words(run, string, width, break_long, break_hyphens,
                                   separator ? separator->data : "\n",
                                   separator ? separator->size : 1, out);
}

FILTER(striptags)
{
    UNUSED;
    return sterna_jinja_to_string(run, self, false, &self) &&
           sterna_jinja_strip_tags(run, self.as.string, out);
}

FILTER(format)
{
    UNUSED;
    jinja_value values;
    if (all->count && all->named_count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "format takes values by position or by name, not both");
    if (all->named_count) {
        if (!sterna_jinja_new_dict(run, &values)) return false;
        for (size_t i = 0; i < all->named_count; i++) {
            jinja_value key = {.type = JINJA_STRING, .as.string = (jinja_string *)all->names[i]};
            if (!sterna_jinja_dict_put(run, values.as.dict, key, all->named[i])) return false;
        }
    } else {
        if (!sterna_jinja_new_list(run, JINJA_TUPLE, all->count, &values)) return false;
        for (size_t i = 0; i < all->count; i++)
            sterna_jinja_list_add(run, values.as.list, all->values[i]);
    }
    return sterna_jinja_to_string(run, self, true, &self) &&
           sterna_jinja_percent(run, self, values, out);
}

/* ---- URLs and markup ---- */

static bool quote(jinja_text *text, jinja_value value, bool query)
{
    jinja_value string;
    char buffer[8];
    if (!sterna_jinja_to_string(text->run, value, false, &string)) return false;
    for (size_t i = 0; i < string.as.string->size; i++) {
        char c = string.as.string->data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("_.-~", c)) || (c == '/' && !query);
        if (!plain) snprintf(buffer, sizeof buffer, "%%%02X", (unsigned char)c);
        bool fine = plain               ? sterna_jinja_text_add_char(text, c)
                    : query && c == ' ' ? sterna_jinja_text_add_char(text, '+')
                                        : sterna_jinja_text_add_string(text, buffer);
        if (!fine) return false;
    }
    return sterna_jinja_charge(text->run, string.as.string->size * 4);
}

FILTER(urlencode)
{
    UNUSED;
    jinja_text text;
    jinja_iterator *iterator;
    jinja_value pair, parts;
    sterna_jinja_text_start(&text, run);
    if (self.type == JINJA_STRING || !sterna_jinja_iterable(self))
        return quote(&text, self, false) && sterna_jinja_text_finish(&text, out);
    if (self.type == JINJA_DICT)
        self = (jinja_value){JINJA_VIEW, JINJA_ITEMS, {.dict = self.as.dict}};
    if (!sterna_jinja_iterate(run, self, false, &iterator)) return false;
    for (bool first = true;; first = false) {
        if (!sterna_jinja_next(run, iterator, &pair)) return false;
        if (pair.type == JINJA_MISSING) return sterna_jinja_text_finish(&text, out);
        if (!sterna_jinja_collect(run, pair, &parts)) return false;
        if (parts.as.list->count != 2)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "urlencode needs pairs of key and value");
        if ((!first && !sterna_jinja_text_add_char(&text, '&')) ||
            !quote(&text, parts.as.list->items[0], true) ||
            !sterna_jinja_text_add_char(&text, '=') || !quote(&text, parts.as.list->items[1], true))
            return false;
    }
}

FILTER(xmlattr)
{
    UNUSED;
    bool space = true;
    jinja_text text;
    if (self.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, self);
    if (self.type != JINJA_DICT)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "xmlattr needs a dict, not '%s'",
                                 sterna_jinja_type_name(self));
    if (bound[0].type != JINJA_MISSING && !sterna_jinja_truth(run, bound[0], &space)) return false;
    sterna_jinja_text_start(&text, run);
    for (size_t i = 0; i < self.as.dict->count; i++) {
        const jinja_entry *entry = &self.as.dict->entries[i];
        jinja_string *key;
        jinja_value name, value;
        if (entry->value.type == JINJA_NONE || entry->value.type == JINJA_UNDEFINED) continue;
        if (!sterna_jinja_want_string(run, entry->key, "a key of xmlattr", &key)) return false;
        for (size_t k = 0; k < key->size; k++)
            if (memchr(" \t\n\r\f\v/>=", key->data[k], 9))
                return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                         "an attribute name of xmlattr has a character "
                                         "that is not allowed");
        if (!escape(run, entry->key, NULL, NULL, &name) ||
            !escape(run, entry->value, NULL, NULL, &value) ||
            ((space || text.size) && !sterna_jinja_text_add_char(&text, ' ')) ||
            !sterna_jinja_text_value(&text, name) || !sterna_jinja_text_add_string(&text, "=\"") ||
            !sterna_jinja_text_value(&text, value) || !sterna_jinja_text_add_char(&text, '"'))
            return false;
    }
    return sterna_jinja_text_finish(&text, out);
}

FILTER(tojson)
{
    UNUSED;
    jinja_json_style style = {.item_separator = ", ",
                              .item_separator_size = 2,
                              .key_separator = ": ",
                              .key_separator_size = 2};
    jinja_text text, indent;
    if (!sterna_jinja_truth(run, bound[0], &style.ascii) ||
        !sterna_jinja_truth(run, bound[3], &style.sort_keys))
        return false;
    if (bound[1].type == JINJA_STRING) {
        style.indented = true;
        style.indent = bound[1].as.string->data;
        style.indent_size = bound[1].as.string->size;
    } else if (bound[1].type != JINJA_MISSING && bound[1].type != JINJA_NONE) {
        int64_t width;
        if (!sterna_jinja_want_int(run, bound[1], "the indent of tojson", &width)) return false;
        sterna_jinja_text_start(&indent, run);
        if (!sterna_jinja_text_repeat(&indent, " ", 1, width)) return false;
        style.indented = true;
        style.indent = indent.data;
        style.indent_size = indent.size;
    }
    if (style.indented) style.item_separator_size = 1;
    if (bound[2].type != JINJA_MISSING && bound[2].type != JINJA_NONE) {
        jinja_value parts;
        if (!sterna_jinja_collect(run, bound[2], &parts)) return false;
        bool pair = parts.as.list->count == 2 && parts.as.list->items[0].type == JINJA_STRING &&
                    parts.as.list->items[1].type == JINJA_STRING;
        if (!pair)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "the separators of tojson are two strings");
        const jinja_string *item = parts.as.list->items[0].as.string,
                           *key = parts.as.list->items[1].as.string;
        style.item_separator = item->data, style.item_separator_size = item->size;
        style.key_separator = key->data, style.key_separator_size = key->size;
    }
    sterna_jinja_text_start(&text, run);
    return sterna_jinja_text_json(&text, self, &style, 0) && sterna_jinja_text_finish(&text, out);
}

/* ---- numbers ---- */

static bool float_to_int(jinja_run *run, double value, jinja_value *out)
{
    if (!(fabs(value) < 9.2233720368547e18))
        return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "a number does not fit in 64 bits");
    *out = sterna_jinja_int((int64_t)value);
    return true;
}

FILTER(to_int)
{
    UNUSED;
    int64_t base = 10, number;
    bool overflow = false;
    double real;
    if (bound[1].type != JINJA_MISSING &&
        !sterna_jinja_want_int(run, bound[1], "the base of int", &base))
        return false;
    if (self.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, self);
    *out = bound[0].type == JINJA_MISSING ? sterna_jinja_int(0) : bound[0];
    if (sterna_jinja_is_integer(self)) {
        *out = sterna_jinja_int(sterna_jinja_as_integer(self));
        return true;
    }
    if (self.type == JINJA_FLOAT)
        return isnan(self.as.real) || float_to_int(run, self.as.real, out);
    if (self.type != JINJA_STRING) return true;
    const jinja_string *text = self.as.string;
    if (sterna_jinja_text_to_int(text->data, text->size, base, &number, &overflow)) {
        if (overflow)
            return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "an integer does not fit in 64 bits");
        *out = sterna_jinja_int(number);
        return true;
    }
    if (!sterna_jinja_text_to_float(text->data, text->size, &real) || !isfinite(real)) return true;
    return float_to_int(run, real, out);
}

FILTER(to_float)
{
    UNUSED;
    double real;
    if (self.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, self);
    *out = bound[0].type == JINJA_MISSING ? sterna_jinja_float(0) : bound[0];
    if (sterna_jinja_is_number(self)) *out = sterna_jinja_float(sterna_jinja_as_float(self));
    if (self.type == JINJA_STRING &&
        sterna_jinja_text_to_float(self.as.string->data, self.as.string->size, &real))
        *out = sterna_jinja_float(real);
    return true;
}

FILTER(absolute)
{
    UNUSED;
    if (self.type == JINJA_FLOAT) {
        *out = sterna_jinja_float(fabs(self.as.real));
        return true;
    }
    if (!sterna_jinja_is_integer(self))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "abs needs a number, not '%s'",
                                 sterna_jinja_type_name(self));
    return sterna_jinja_negate(run, sterna_jinja_as_integer(self) < 0, self, out);
}

/* Rounds half to even on the exact decimal value, as Python does. */
static bool round_float(jinja_run *run, double value, int64_t digits, double *out)
{
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    *out = value;
    if (digits > 330 || !isfinite(value)) return true;
    if (digits >= 0) {
        if (!sterna_jinja_float_digits(&text, value, 'f', (int)digits, false)) return false;
        *out = sterna_jinja_parse_double(text.data, text.size);
        return true;
    }
    /* so many significant digits are left; printf rounds the exact decimal value */
    char exact[64], *exponent;
    snprintf(exact, sizeof exact, "%.40e", value);
    exponent = strchr(exact, 'e');
    int64_t kept = (exponent ? strtol(exponent + 1, NULL, 10) : 0) + 1 + digits;
    double unit = digits < -330 ? INFINITY : pow(10, (double)-digits);
    if (kept <= 0) {
        *out = copysign(kept == 0 && fabs(value) > unit / 2 ? unit : 0, value);
        return true;
    }
    if (!sterna_jinja_float_digits(&text, value, 'e', (int)kept - 1, false)) return false;
    *out = sterna_jinja_parse_double(text.data, text.size);
    return true;
}

FILTER(round_filter)
{
    UNUSED;
    int64_t precision = 0;
    jinja_string *method = NULL;
    if (bound[0].type != JINJA_MISSING &&
        !sterna_jinja_want_int(run, bound[0], "the precision of round", &precision))
        return false;
    if (bound[1].type != JINJA_MISSING &&
        !sterna_jinja_want_string(run, bound[1], "the method of round", &method))
        return false;
    bool common = !method || sterna_jinja_string_is(method, "common"),
         up = method && sterna_jinja_string_is(method, "ceil");
    if (!common && !up && !sterna_jinja_string_is(method, "floor"))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "the method of round is common, ceil or floor");
    if (!sterna_jinja_is_number(self))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "round needs a number, not '%s'",
                                 sterna_jinja_type_name(self));
    if (common && sterna_jinja_is_integer(self) && precision >= 0) {
        *out = sterna_jinja_int(sterna_jinja_as_integer(self));
        return true;
    }
    double value = sterna_jinja_as_float(self), result;
    if (common) {
        if (!round_float(run, value, precision, &result)) return false;
        if (sterna_jinja_is_integer(self)) return float_to_int(run, result, out);
        *out = sterna_jinja_float(result);
        return true;
    }
    if (!isfinite(value))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "round needs a finite number");
    double unit = pow(10, (double)precision);
    *out = sterna_jinja_float((up ? ceil(value * unit) : floor(value * unit)) / unit);
    return isfinite(out->as.real) ||
           sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "round cannot have a precision of %lld",
                             (long long)precision);
}

FILTER(filesizeformat)
{
    UNUSED;
    static const char letters[] = "kMGTPEZY";
    jinja_value number;
    bool binary = false;
    jinja_text text;
    double real;
    if (self.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, self);
    if (self.type == JINJA_STRING) {
        if (!sterna_jinja_text_to_float(self.as.string->data, self.as.string->size, &real))
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "filesizeformat needs a number");
    } else if (sterna_jinja_is_number(self)) {
        real = sterna_jinja_as_float(self);
    } else {
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "filesizeformat needs a number, not '%s'",
                                 sterna_jinja_type_name(self));
    }
    if (!sterna_jinja_truth(run, bound[0], &binary)) return false;
    sterna_jinja_text_start(&text, run);
    double base = binary ? 1024 : 1000, unit = base;
    if (real == 1) return sterna_jinja_literal(run, "1 Byte", out);
    if (real < base)
        return float_to_int(run, real, &number) && sterna_jinja_text_value(&text, number) &&
               sterna_jinja_text_add_string(&text, " Bytes") &&
               sterna_jinja_text_finish(&text, out);
    size_t index = 0;
    for (unit = base * base; index < 7 && !(real < unit); index++) unit *= base;
    char suffix[8];
    snprintf(suffix, sizeof suffix, " %c%sB", binary && !index ? 'K' : letters[index],
             binary ? "i" : "");
    return sterna_jinja_float_digits(&text, base * real / unit, 'f', 1, false) &&
           sterna_jinja_text_add_string(&text, suffix) && sterna_jinja_text_finish(&text, out);
}

/* ---- any value ---- */

FILTER(default_filter)
{
    UNUSED;
    bool also_false = false, truth = true;
    if (bound[1].type != JINJA_MISSING && !sterna_jinja_truth(run, bound[1], &also_false))
        return false;
    if (also_false && !sterna_jinja_truth(run, self, &truth)) return false;
    *out = self;
    if (self.type != JINJA_UNDEFINED && truth) return true;
    *out = bound[0];
    return bound[0].type != JINJA_MISSING || sterna_jinja_literal(run, "", out);
}

/* Like an attribute, without falling back on items. */
FILTER(attr)
{
    UNUSED;
    jinja_string *name;
    if (!sterna_jinja_want_string(run, bound[0], "the name of attr", &name)) return false;
    if (self.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, self);
    if (!sterna_jinja_member(run, self, name, out)) return false;
    if (out->type != JINJA_MISSING) return true;
    return sterna_jinja_undefined_name(run, name, out) && (out->extra = self.type, true);
}

FILTER(pprint)
{
    UNUSED;
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_text_repr(&text, self)) return false;
    bool simple = self.type < JINJA_LIST && text.size <= 80;
    for (size_t i = 0; self.type == JINJA_LIST && i < self.as.list->count; i++)
        simple = (i == 0 || simple) && self.as.list->items[i].type < JINJA_LIST && text.size <= 79;
    if (!simple)
        return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED,
                                 "pprint of nested or long values is not supported");
    return sterna_jinja_text_finish(&text, out);
}

FILTER(refused)
{
    UNUSED;
    return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED,
                             "the filters random and urlize are not supported");
}

static const jinja_callable filters[] = {
    {"abs", absolute, "", 0, 0},
    {"attr", attr, "name", 1, 1},
    {"capitalize", capitalize, "", 0, 1},
    {"center", center, "width", 0, 1},
    {"d", default_filter, "default_value boolean", 0, 1},
    {"default", default_filter, "default_value boolean", 0, 1},
    {"e", escape, "", 0, 0},
    {"escape", escape, "", 0, 0},
    {"filesizeformat", filesizeformat, "binary", 0, 1},
    {"float", to_float, "default", 0, 1},
    {"forceescape", forceescape, "", 0, 1},
    {"format", format, NULL, 0, 1},
    {"indent", indent, "width first blank", 0, 1},
    {"int", to_int, "default base", 0, 1},
    {"lower", lower, "", 0, 1},
    {"pprint", pprint, "", 0, 1},
    {"random", refused, NULL, 0, 1},
    {"replace", replace, "old new count", 2, 1},
    {"round", round_filter, "precision method", 0, 1},
    {"safe", safe, "", 0, 1},
    {"string", string, "", 0, 1},
    {"striptags", striptags, "", 0, 1},
    {"title", title, "", 0, 1},
    {"tojson", tojson, "ensure_ascii indent separators sort_keys", 0, 1},
    {"trim", trim, "chars", 0, 1},
    {"truncate", truncate, "length killwords end leeway", 0, 1},
    {"upper", upper, "", 0, 1},
    {"urlencode", urlencode, "", 0, 1},
    {"urlize", refused, NULL, 0, 1},
    {"wordcount", wordcount, "", 0, 1},
    {"wordwrap", wordwrap, "width break_long_words wrapstring break_on_hyphens", 0, 1},
    {"xmlattr", xmlattr, "autospace", 0, 1},
};

const jinja_callable *sterna_jinja_filter(const jinja_string *name)
{
    const jinja_callable *found =
        sterna_jinja_lookup(filters, sizeof filters / sizeof *filters, name);
    return found ? found : sterna_jinja_sequence_filter(name);
}
