/* The methods of strings. */
#include "text/jinja_internal.h"

#include <string.h>

#define METHOD(name)                                                                               \
    static bool name(jinja_run *run, jinja_value self, const jinja_value *bound,                   \
                     const jinja_arguments *all, jinja_value *out)
#define UNUSED (void)run, (void)self, (void)bound, (void)all, (void)out

static const char *begin_of(jinja_value self)
{
    return self.as.string->data;
}

static const char *end_of(jinja_value self)
{
    return self.as.string->data + self.as.string->size;
}

/* ---- case and classes ---- */

static bool recase(jinja_run *run, jinja_value self, jinja_case to, jinja_value *out)
{
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_change_case(&text, self.as.string->data, self.as.string->size, to) ||
        !sterna_jinja_text_finish(&text, out))
        return false;
    out->extra = self.extra;
    return true;
}

#define CASE(name, to)                                                                             \
    METHOD(name)                                                                                   \
    {                                                                                              \
        UNUSED;                                                                                    \
        return recase(run, self, to, out);                                                         \
    }
CASE(upper, JINJA_CASE_UPPER)
CASE(lower, JINJA_CASE_LOWER)
CASE(casefold, JINJA_CASE_FOLD)
CASE(swapcase, JINJA_CASE_SWAP)
CASE(capitalize, JINJA_CASE_CAPITAL)
CASE(title, JINJA_CASE_TITLE)

static bool all_are(jinja_run *run, jinja_value self, bool (*is)(uint32_t), bool when_empty,
                    jinja_value *out)
{
    bool holds = self.as.string->size > 0 || when_empty;
    for (const char *p = begin_of(self); p < end_of(self) && holds;) {
        uint32_t c;
        p += sterna_jinja_decode(p, end_of(self), &c);
        holds = is(c);
    }
    *out = sterna_jinja_bool(holds);
    return sterna_jinja_charge(run, self.as.string->size * 4);
}

static bool is_alnum(uint32_t c)
{
    return sterna_jinja_is_alpha(c) || sterna_jinja_is_numeric(c);
}

static bool is_ascii(uint32_t c)
{
    return c < 0x80;
}

#define CLASS(name, is, when_empty)                                                                \
    METHOD(name)                                                                                   \
    {                                                                                              \
        UNUSED;                                                                                    \
        return all_are(run, self, is, when_empty, out);                                            \
    }
CLASS(test_alnum, is_alnum, false)
CLASS(test_alpha, sterna_jinja_is_alpha, false)
CLASS(test_ascii, is_ascii, true)
CLASS(test_decimal, sterna_jinja_is_decimal, false)
CLASS(test_digit, sterna_jinja_is_digit, false)
CLASS(test_numeric, sterna_jinja_is_numeric, false)
CLASS(test_printable, sterna_jinja_is_printable, true)
CLASS(test_space, sterna_jinja_is_space, false)

static bool is_identifier_part(uint32_t c)
{
    return c == '_' || sterna_jinja_is_alpha(c) || sterna_jinja_is_decimal(c);
}

METHOD(test_identifier)
{
    UNUSED;
    uint32_t first = 0;
    if (self.as.string->size) sterna_jinja_decode(begin_of(self), end_of(self), &first);
    if (!all_are(run, self, is_identifier_part, false, out)) return false;
    out->as.boolean = out->as.boolean && (first == '_' || sterna_jinja_is_alpha(first));
    return true;
}

/* islower and isupper: a cased character, and none of the other case. */
static bool one_case(jinja_run *run, jinja_value self, bool upper, jinja_value *out)
{
    bool any = false, other = false;
    for (const char *p = begin_of(self); p < end_of(self) && !other;) {
        uint32_t c;
        p += sterna_jinja_decode(p, end_of(self), &c);
        any |= upper ? sterna_jinja_is_upper(c) : sterna_jinja_is_lower(c);
        other = sterna_jinja_is_title(c) ||
                (upper ? sterna_jinja_is_lower(c) : sterna_jinja_is_upper(c));
    }
    *out = sterna_jinja_bool(any && !other);
    return sterna_jinja_charge(run, self.as.string->size * 4);
}

METHOD(test_lower)
{
    UNUSED;
    return one_case(run, self, false, out);
}

METHOD(test_upper)
{
    UNUSED;
    return one_case(run, self, true, out);
}

METHOD(test_title)
{
    UNUSED;
    bool any = false, cased = false, wrong = false;
    for (const char *p = begin_of(self); p < end_of(self) && !wrong;) {
        uint32_t c;
        p += sterna_jinja_decode(p, end_of(self), &c);
        bool upper = sterna_jinja_is_upper(c) || sterna_jinja_is_title(c),
             lower_case = sterna_jinja_is_lower(c);
        wrong = (upper && cased) || (lower_case && !cased);
        cased = upper || lower_case;
        any |= cased;
    }
    *out = sterna_jinja_bool(any && !wrong);
    return sterna_jinja_charge(run, self.as.string->size * 4);
}

/* ---- stripping and padding ---- */

static bool in_set(uint32_t c, const jinja_string *set)
{
    if (!set) return sterna_jinja_is_space(c);
    for (const char *p = set->data, *end = p + set->size; p < end;) {
        uint32_t one;
        p += sterna_jinja_decode(p, end, &one);
        if (one == c) return true;
    }
    return false;
}

static bool strip_sides(jinja_run *run, jinja_value self, jinja_value chars, bool left, bool right,
                        jinja_value *out)
{
    jinja_string *set = NULL;
    if (chars.type != JINJA_MISSING && chars.type != JINJA_NONE &&
        !sterna_jinja_want_string(run, chars, "the characters to strip", &set))
        return false;
    size_t from = 0, to = self.as.string->size;
    uint32_t c;
    const char *data = begin_of(self);
    while (left && from < to) {
        size_t width = sterna_jinja_decode(data + from, data + to, &c);
        if (!in_set(c, set)) break;
        from += width;
    }
    while (right && to > from) {
        size_t before = to - 1;
        while (before > from && (data[before] & 0xc0) == 0x80) before--;
        sterna_jinja_decode(data + before, data + to, &c);
        if (!in_set(c, set)) break;
        to = before;
    }
    size_t stripped = from + self.as.string->size - to;
    return sterna_jinja_step(run, (stripped * (set ? set->size : 1)) / 16) &&
           sterna_jinja_substring(run, self, from, to, out);
}

METHOD(strip)
{
    UNUSED;
    return strip_sides(run, self, bound[0], true, true, out);
}

METHOD(lstrip)
{
    UNUSED;
    return strip_sides(run, self, bound[0], true, false, out);
}

METHOD(rstrip)
{
    UNUSED;
    return strip_sides(run, self, bound[0], false, true, out);
}

METHOD(removeprefix)
{
    UNUSED;
    jinja_string *part;
    if (!sterna_jinja_want_string(run, bound[0], "the prefix", &part)) return false;
    size_t size = self.as.string->size;
    bool has = part->size <= size && !memcmp(begin_of(self), part->data, part->size);
    return sterna_jinja_substring(run, self, has ? part->size : 0, size, out);
}

METHOD(removesuffix)
{
    UNUSED;
    jinja_string *part;
    if (!sterna_jinja_want_string(run, bound[0], "the suffix", &part)) return false;
    size_t size = self.as.string->size;
    bool has = part->size <= size && !memcmp(end_of(self) - part->size, part->data, part->size);
    return sterna_jinja_substring(run, self, 0, has ? size - part->size : size, out);
}

static bool justify(jinja_run *run, jinja_value self, const jinja_value *bound, int side,
                    jinja_value *out)
{
    int64_t width, length;
    jinja_string *fill = NULL;
    jinja_text text;
    if (!sterna_jinja_want_int(run, bound[0], "the width", &width) ||
        !sterna_jinja_length(run, self, &length))
        return false;
    if (bound[1].type != JINJA_MISSING) {
        if (!sterna_jinja_want_string(run, bound[1], "the fill character", &fill)) return false;
        if (sterna_jinja_string_length(fill) != 1)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "the fill character must be one character");
    }
    int64_t space = width > length ? width - length : 0;
    int64_t before = side > 0 ? space : side < 0 ? 0 : space / 2 + (space & width & 1);
    const char *unit = fill ? fill->data : " ";
    size_t unit_size = fill ? fill->size : 1;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_text_repeat(&text, unit, unit_size, before) ||
        !sterna_jinja_text_value(&text, self) ||
        !sterna_jinja_text_repeat(&text, unit, unit_size, space - before) ||
        !sterna_jinja_text_finish(&text, out))
        return false;
    out->extra = self.extra;
    return true;
}

METHOD(center)
{
    UNUSED;
    return justify(run, self, bound, 0, out);
}

METHOD(ljust)
{
    UNUSED;
    return justify(run, self, bound, -1, out);
}

METHOD(rjust)
{
    UNUSED;
    return justify(run, self, bound, 1, out);
}

METHOD(zfill)
{
    UNUSED;
    int64_t width, length;
    jinja_text text;
    if (!sterna_jinja_want_int(run, bound[0], "the width of zfill", &width) ||
        !sterna_jinja_length(run, self, &length))
        return false;
    size_t sign = self.as.string->size && strchr("+-", *begin_of(self)) && *begin_of(self);
    sterna_jinja_text_start(&text, run);
    return sterna_jinja_text_add(&text, begin_of(self), sign) &&
           sterna_jinja_text_repeat(&text, "0", 1, width > length ? width - length : 0) &&
           sterna_jinja_text_add(&text, begin_of(self) + sign, self.as.string->size - sign) &&
           sterna_jinja_text_finish(&text, out);
}

METHOD(expandtabs)
{
    UNUSED;
    int64_t size = 8, column = 0;
    jinja_text text;
    if (bound[0].type != JINJA_MISSING &&
        !sterna_jinja_want_int(run, bound[0], "the tab size", &size))
        return false;
    sterna_jinja_text_start(&text, run);
    for (const char *p = begin_of(self); p < end_of(self);) {
        uint32_t c;
        size_t width = sterna_jinja_decode(p, end_of(self), &c);
        bool fine = true;
        if (c == '\t') {
            int64_t spaces = size > 0 ? size - column % size : 0;
            fine = sterna_jinja_text_repeat(&text, " ", 1, spaces);
            column += spaces;
        } else {
            fine = sterna_jinja_text_add(&text, p, width);
            column = c == '\n' || c == '\r' ? 0 : column + 1;
        }
        if (!fine) return false;
        p += width;
    }
    return sterna_jinja_charge(run, self.as.string->size) && sterna_jinja_text_finish(&text, out);
}

/* ---- searching ---- */

/* The part of a string between two code point positions. */
static bool window(jinja_run *run, jinja_value self, jinja_value start, jinja_value stop,
                   jinja_value *part, int64_t *offset, bool *inside)
{
    int64_t length, from = 0;
    if (!sterna_jinja_length(run, self, &length)) return false;
    if (start.type > JINJA_NONE && !sterna_jinja_want_int(run, start, "the start", &from))
        return false;
    if (start.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, start);
    if (from < 0) from = from < -length ? 0 : from + length;
    *inside = from <= length;
    *offset = from;
    if (start.type == JINJA_MISSING && stop.type == JINJA_MISSING) {
        *part = self;
        return true;
    }
    int64_t to = length;
    if (stop.type > JINJA_NONE && !sterna_jinja_want_int(run, stop, "the end", &to)) return false;
    if (to < 0) to = to < -length ? 0 : to + length;
    if (from > to) *inside = false;
    return sterna_jinja_slice(run, self, start, stop, sterna_jinja_missing(), part);
}

static bool find(jinja_run *run, jinja_value self, const jinja_value *bound, bool last,
                 int64_t *out)
{
    jinja_string *part;
    jinja_value where;
    int64_t offset;
    bool inside;
    if (!sterna_jinja_want_string(run, bound[0], "the text to find", &part) ||
        !window(run, self, bound[1], bound[2], &where, &offset, &inside) ||
        !sterna_jinja_charge(run, where.as.string->size))
        return false;
    *out = -1;
    if (!inside) return true;
    size_t at =
        sterna_jinja_find(begin_of(where), where.as.string->size, part->data, part->size, last);
    if (at == JINJA_UNKNOWN) return true;
    jinja_string before = {.data = begin_of(where), .size = at, .length = JINJA_UNKNOWN};
    *out = offset + (int64_t)sterna_jinja_string_length(&before);
    return true;
}

static bool find_value(jinja_run *run, jinja_value self, const jinja_value *bound, bool last,
                       bool must, jinja_value *out)
{
    int64_t at;
    if (!find(run, self, bound, last, &at)) return false;
    if (at < 0 && must)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "index: the text is not found");
    *out = sterna_jinja_int(at);
    return true;
}

METHOD(find_method)
{
    UNUSED;
    return find_value(run, self, bound, false, false, out);
}

METHOD(rfind)
{
    UNUSED;
    return find_value(run, self, bound, true, false, out);
}

METHOD(index_method)
{
    UNUSED;
    return find_value(run, self, bound, false, true, out);
}

METHOD(rindex_method)
{
    UNUSED;
    return find_value(run, self, bound, true, true, out);
}

METHOD(count)
{
    UNUSED;
    jinja_string *part;
    jinja_value where;
    int64_t offset, number = 0, length;
    bool inside;
    if (!sterna_jinja_want_string(run, bound[0], "the text to count", &part) ||
        !window(run, self, bound[1], bound[2], &where, &offset, &inside) ||
        !sterna_jinja_charge(run, where.as.string->size) ||
        !sterna_jinja_length(run, where, &length))
        return false;
    const char *p = begin_of(where), *end = end_of(where);
    while (part->size && inside) {
        size_t at = sterna_jinja_find(p, (size_t)(end - p), part->data, part->size, false);
        if (at == JINJA_UNKNOWN) break;
        number++;
        p += at + part->size;
    }
    *out = sterna_jinja_int(part->size || !inside ? number : length + 1);
    return true;
}

static bool has_affix(jinja_run *run, jinja_value self, const jinja_value *bound, bool prefix,
                      jinja_value *out)
{
    jinja_value where, one = bound[0];
    int64_t offset;
    bool inside, found = false;
    if (!window(run, self, bound[1], bound[2], &where, &offset, &inside)) return false;
    size_t count = one.type == JINJA_TUPLE ? one.as.list->count : 1;
    for (size_t i = 0; i < count && !found; i++) {
        jinja_string *part;
        jinja_value candidate = one.type == JINJA_TUPLE ? one.as.list->items[i] : one;
        if (!sterna_jinja_want_string(run, candidate, "a prefix or suffix", &part)) return false;
        if (part->size > where.as.string->size || !inside) continue;
        const char *at = prefix ? begin_of(where) : end_of(where) - part->size;
        found = !memcmp(at, part->data, part->size);
    }
    *out = sterna_jinja_bool(found);
    return true;
}

METHOD(startswith)
{
    UNUSED;
    return has_affix(run, self, bound, true, out);
}

METHOD(endswith)
{
    UNUSED;
    return has_affix(run, self, bound, false, out);
}

METHOD(replace)
{
    UNUSED;
    jinja_string *old, *new;
    int64_t limit = -1;
    jinja_text text;
    if (!sterna_jinja_want_string(run, bound[0], "the text to replace", &old) ||
        !sterna_jinja_want_string(run, bound[1], "the replacement", &new) ||
        (bound[2].type != JINJA_MISSING &&
         !sterna_jinja_want_int(run, bound[2], "the count", &limit)))
        return false;
    sterna_jinja_text_start(&text, run);
    const char *p = begin_of(self), *end = end_of(self);
    bool fine = sterna_jinja_charge(run, self.as.string->size);
    while (fine && limit != 0) {
        size_t at = sterna_jinja_find(p, (size_t)(end - p), old->data, old->size, false);
        if (at == JINJA_UNKNOWN) break;
        fine = sterna_jinja_step(run, 1) && sterna_jinja_text_add(&text, p, at) &&
               sterna_jinja_text_add(&text, new->data, new->size);
        p += at + old->size;
        if (limit > 0) limit--;
        if (old->size) continue;
        if (p >= end) break; /* an empty text is found in front of every character and at the end */
        uint32_t c;
        size_t width = sterna_jinja_decode(p, end, &c);
        fine = fine && sterna_jinja_text_add(&text, p, width);
        p += width;
    }
    if (!fine || !sterna_jinja_text_add(&text, p, (size_t)(end - p)) ||
        !sterna_jinja_text_finish(&text, out))
        return false;
    out->extra = self.extra;
    return true;
}

/* ---- splitting and joining ---- */

METHOD(split)
{
    UNUSED;
    return sterna_jinja_split(run, self, bound[0], bound[1], false, out);
}

METHOD(rsplit)
{
    UNUSED;
    return sterna_jinja_split(run, self, bound[0], bound[1], true, out);
}

METHOD(splitlines)
{
    UNUSED;
    bool keep = false;
    return sterna_jinja_truth(run, bound[0], &keep) &&
           sterna_jinja_split_lines(run, self, keep, out);
}

METHOD(partition)
{
    UNUSED;
    return sterna_jinja_partition(run, self, bound[0], false, out);
}

METHOD(rpartition)
{
    UNUSED;
    return sterna_jinja_partition(run, self, bound[0], true, out);
}

METHOD(join)
{
    UNUSED;
    jinja_iterator *iterator;
    jinja_value item;
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_iterate(run, bound[0], false, &iterator)) return false;
    for (bool begun = false;; begun = true) {
        jinja_string *part;
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING) return sterna_jinja_text_finish(&text, out);
        if (!sterna_jinja_want_string(run, item, "an item of join", &part) ||
            (begun && !sterna_jinja_text_value(&text, self)) ||
            !sterna_jinja_text_add(&text, part->data, part->size))
            return false;
    }
}

METHOD(format)
{
    UNUSED;
    return sterna_jinja_format(run, self, all, out);
}

METHOD(format_map)
{
    UNUSED;
    jinja_arguments names = {0};
    if (bound[0].type != JINJA_DICT)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "format_map needs a dict");
    const jinja_dict *dict = bound[0].as.dict;
    names.names = sterna_jinja_alloc(run, dict->count, sizeof *names.names);
    names.named = sterna_jinja_alloc(run, dict->count, sizeof *names.named);
    if (!names.names || !names.named) return false;
    for (size_t i = 0; i < dict->count; i++) {
        if (dict->entries[i].key.type != JINJA_STRING) continue;
        names.names[names.named_count] = dict->entries[i].key.as.string;
        names.named[names.named_count++] = dict->entries[i].value;
    }
    return sterna_jinja_format(run, self, &names, out);
}

METHOD(refused)
{
    UNUSED;
    return sterna_jinja_fail(
        run, STERNA_ERROR_UNSUPPORTED,
        "the string methods encode, translate and maketrans are not supported");
}

static const jinja_callable methods[] = {
    {"capitalize", capitalize, "", 0, 0},
    {"casefold", casefold, "", 0, 0},
    {"center", center, "width fillchar", 1, 0},
    {"count", count, "sub start end", 1, 0},
    {"encode", refused, NULL, 0, 0},
    {"endswith", endswith, "suffix start end", 1, 0},
    {"expandtabs", expandtabs, "tabsize", 0, 1},
    {"find", find_method, "sub start end", 1, 0},
    {"format", format, NULL, 0, 0},
    {"format_map", format_map, "mapping", 1, 0},
    {"index", index_method, "sub start end", 1, 0},
    {"isalnum", test_alnum, "", 0, 0},
    {"isalpha", test_alpha, "", 0, 0},
    {"isascii", test_ascii, "", 0, 0},
    {"isdecimal", test_decimal, "", 0, 0},
    {"isdigit", test_digit, "", 0, 0},
    {"isidentifier", test_identifier, "", 0, 0},
    {"islower", test_lower, "", 0, 0},
    {"isnumeric", test_numeric, "", 0, 0},
    {"isprintable", test_printable, "", 0, 0},
    {"isspace", test_space, "", 0, 0},
    {"istitle", test_title, "", 0, 0},
    {"isupper", test_upper, "", 0, 0},
    {"join", join, "iterable", 1, 0},
    {"ljust", ljust, "width fillchar", 1, 0},
    {"lower", lower, "", 0, 0},
    {"lstrip", lstrip, "chars", 0, 0},
    {"maketrans", refused, NULL, 0, 0},
    {"partition", partition, "sep", 1, 0},
    {"removeprefix", removeprefix, "prefix", 1, 0},
    {"removesuffix", removesuffix, "suffix", 1, 0},
    {"replace", replace, "old new count", 2, 0},
    {"rfind", rfind, "sub start end", 1, 0},
    {"rindex", rindex_method, "sub start end", 1, 0},
    {"rjust", rjust, "width fillchar", 1, 0},
    {"rpartition", rpartition, "sep", 1, 0},
    {"rsplit", rsplit, "sep maxsplit", 0, 1},
    {"rstrip", rstrip, "chars", 0, 0},
    {"split", split, "sep maxsplit", 0, 1},
    {"splitlines", splitlines, "keepends", 0, 1},
    {"startswith", startswith, "prefix start end", 1, 0},
    {"strip", strip, "chars", 0, 0},
    {"swapcase", swapcase, "", 0, 0},
    {"title", title, "", 0, 0},
    {"translate", refused, NULL, 0, 0},
    {"upper", upper, "", 0, 0},
    {"zfill", zfill, "width", 1, 0},
};

const jinja_callable *sterna_jinja_string_method(const jinja_string *name)
{
    return sterna_jinja_lookup(methods, sizeof methods / sizeof *methods, name);
}
