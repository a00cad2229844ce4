/* Oniguruma's syntax to PCRE2's. Most of the two is the same; what differs and occurs in tokenizer
 * files is rewritten: \s \w \b \h \d and POSIX brackets in Unicode's sense, long property names,
 * (?m) for "dot matches newline", \uHHHH, nested classes and intersections [a&&[^b]], and {n,m}+,
 * which repeats instead of being possessive. Anything else is left to PCRE2 to judge.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "text/regex.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 100 };

#define SPACE_ITEMS "\\x09-\\x0d\\x{85}\\p{Z}"
#define SPACE_CLASS "[" SPACE_ITEMS "]"
/* Oniguruma's word characters: with the superscripts and fractions of Latin-1 */
#define WORD_ITEMS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define WORD_CLASS "[" WORD_ITEMS "]"

typedef struct reader {
    const char *text;
    size_t size, at;
    bool too_deep;
} reader;

static char peek(const reader *in, size_t ahead)
{
    return in->size - in->at > ahead ? in->text[in->at + ahead] : 0;
}

static bool next_is(const reader *in, const char *text)
{
    size_t length = strlen(text);
    return in->size - in->at >= length && memcmp(in->text + in->at, text, length) == 0;
}

static void copy(reader *in, sterna_buffer *out, size_t count)
{
    sterna_buffer_add(out, in->text + in->at, count);
    in->at += count;
}

/* One character, whole. */
static void copy_character(reader *in, sterna_buffer *out)
{
    size_t length = sterna_utf8_size(in->text[in->at]), left = in->size - in->at;
    copy(in, out, length < left ? length : left);
}

/* ---- properties ---- */

static const char categories[][3] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                     "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                     "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};
enum { N_CATEGORIES = sizeof categories / sizeof *categories };

/* The general categories that a short name means, as bits; 0 when it is not one. */
static uint32_t category_bits(const char *name, size_t size)
{
    uint32_t bits = 0;
    if (size < 1 || size > 2) return 0;
    for (size_t i = 0; i < N_CATEGORIES; i++)
        if (strncmp(categories[i], name, size) == 0) bits |= 1u << i;
    return bits;
}

static const struct {
    const char *name, *is;
} long_names[] = {
    {"letter", "L"},
    {"mark", "M"},
    {"number", "N"},
    {"punctuation", "P"},
    {"punct", "P"},
    {"symbol", "S"},
    {"separator", "Z"},
    {"other", "C"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"decimalnumber", "Nd"},
    {"digit", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"spaceseparator", "Zs"},
    {"control", "Cc"},
    {"cntrl", "Cc"},
    {"format", "Cf"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
    {"alpha", "Alphabetic"},
    {"upper", "Uppercase"},
    {"lower", "Lowercase"},
    {"space", "White_Space"},
};

/* Properties that are neither categories nor scripts. */
static const char *const binary_names[] = {
    "any",
    "alphabetic",
    "uppercase",
    "lowercase",
    "whitespace",
    "cased",
    "math",
    "dash",
    "diacritic",
    "ideographic",
    "unifiedideograph",
    "radical",
    "hexdigit",
    "asciihexdigit",
    "quotationmark",
    "regionalindicator",
    "joincontrol",
    "variationselector",
    "idstart",
    "idcontinue",
    "xidstart",
    "xidcontinue",
    "sentenceterminal",
    "terminalpunctuation",
    "emoji",
    "emojicomponent",
    "emojimodifier",
    "emojimodifierbase",
    "emojipresentation",
    "extendedpictographic",
    "extender",
    "noncharactercodepoint",
    "defaultignorablecodepoint",
    "graphemebase",
    "graphemeextend",
    "softdotted",
};

/* The name inside braces, in PCRE2's words. A script means the characters of that script alone,
 * where PCRE2 would add those that it shares with others. */
static void add_property_name(sterna_buffer *out, const char *name, size_t size)
{
    char plain[32];
    size_t length = 0;
    for (size_t i = 0; i < size && length + 1 < sizeof plain; i++)
        if (name[i] != '_' && name[i] != ' ' && name[i] != '-')
            plain[length++] = (char)tolower((unsigned char)name[i]);
    plain[length] = 0;
    for (size_t i = 0; i < sizeof long_names / sizeof *long_names; i++) {
        if (strcmp(long_names[i].name, plain) == 0) {
            sterna_buffer_add_text(out, long_names[i].is);
            return;
        }
    }
    bool script = size > 2 && !memchr(name, ':', size) && !memchr(name, '=', size);
    for (size_t i = 0; i < sizeof binary_names / sizeof *binary_names && script; i++)
        script = strcmp(binary_names[i], plain) != 0;
    if (script) sterna_buffer_add_text(out, "sc:");
    sterna_buffer_add(out, name, size);
}

/* \p{...} at the reader. *bits gets the categories it means, 0 when it is something else. */
static void property(reader *in, sterna_buffer *out, uint32_t *bits)
{
    *bits = 0;
    bool negated = in->text[in->at + 1] == 'P';
    if (peek(in, 2) != '{') {
        copy(in, out, in->size - in->at > 2 ? 3 : 2);
        return;
    }
    size_t begin = in->at + 3, end = begin;
    while (end < in->size && in->text[end] != '}') end++;
    if (end == in->size) {
        copy(in, out, in->size - in->at);
        return;
    }
    if (begin < end && in->text[begin] == '^') {
        negated = !negated;
        begin++;
    }
    size_t name_at = 3 + out->size;
    sterna_buffer_add_text(out, negated ? "\\P{" : "\\p{");
    add_property_name(out, in->text + begin, end - begin);
    if (!out->failed && !negated) *bits = category_bits(out->data + name_at, out->size - name_at);
    sterna_buffer_add_char(out, '}');
    in->at = end + 1;
}

/* ---- escapes ---- */

/* \uHHHH at the reader becomes \x{HHHH}; false when it is not that. */
static bool unicode_escape(reader *in, sterna_buffer *out)
{
    for (size_t i = 2; i < 6; i++)
        if (!isxdigit((unsigned char)peek(in, i))) return false;
    sterna_buffer_format(out, "\\x{%.4s}", in->text + in->at + 2);
    in->at += 6;
    return true;
}

/* A backslash at the reader, outside a class. */
static void escape(reader *in, sterna_buffer *out)
{
    static const struct {
        char letter;
        const char *is;
    } shorthands[] = {
        {'s', SPACE_CLASS},
        {'S', "[^" SPACE_ITEMS "]"},
        {'d', "\\p{Nd}"},
        {'D', "\\P{Nd}"},
        {'w', WORD_CLASS},
        {'W', "[^" WORD_ITEMS "]"},
        {'h', "[0-9A-Fa-f]"},
        {'H', "[^0-9A-Fa-f]"},
        {'v', "\\x0b"},
        {'O', "(?s:.)"},
        {'b', "(?:(?<=" WORD_CLASS ")(?!" WORD_CLASS ")|(?<!" WORD_CLASS ")(?=" WORD_CLASS "))"},
        {'B', "(?:(?<=" WORD_CLASS ")(?=" WORD_CLASS ")|(?<!" WORD_CLASS ")(?!" WORD_CLASS "))"},
    };
    char letter = peek(in, 1);
    uint32_t bits;
    for (size_t i = 0; i < sizeof shorthands / sizeof *shorthands; i++) {
        if (shorthands[i].letter == letter) {
            sterna_buffer_add_text(out, shorthands[i].is);
            in->at += 2;
            return;
        }
    }
    if (letter == 'p' || letter == 'P') {
        property(in, out, &bits);
    } else if (letter != 'u' || !unicode_escape(in, out)) {
        copy(in, out, 1);
        if (in->at < in->size) copy_character(in, out);
    }
}

/* ---- classes ---- */

/* What stands between brackets: `items` fit into a PCRE2 class, `others` are expressions for one
 * character each, joined by '|'. */
typedef struct class_parts {
    sterna_buffer items, others;
    uint32_t bits;        /* the categories, as long as there is nothing else */
    bool only_categories; /* `items` is nothing but those */
    bool only_excluded;   /* nothing but one nested [^excluded] */
    sterna_buffer excluded;
} class_parts;

static void free_parts(class_parts *parts)
{
    sterna_buffer_free(&parts->items);
    sterna_buffer_free(&parts->others);
    sterna_buffer_free(&parts->excluded);
}

static void add_other(class_parts *parts, const char *text, size_t size)
{
    if (parts->others.size) sterna_buffer_add_char(&parts->others, '|');
    sterna_buffer_add(&parts->others, text, size);
    parts->only_categories = false;
}

static void class_expression(reader *in, sterna_buffer *out, int depth);

/* [:name:] at the reader; false when it is not one. */
static bool posix_bracket(reader *in, class_parts *parts)
{
    static const struct {
        const char *name, *is;
    } brackets[] = {
        {"[:alpha:]", "\\p{Alphabetic}"},
        {"[:digit:]", "\\p{Nd}"},
        {"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"},
        {"[:upper:]", "\\p{Uppercase}"},
        {"[:lower:]", "\\p{Lowercase}"},
        {"[:space:]", SPACE_ITEMS},
        {"[:punct:]", "\\p{P}\\p{S}"},
        {"[:blank:]", "\\x09\\p{Zs}"},
        {"[:cntrl:]", "\\p{Cc}"},
        {"[:word:]", WORD_ITEMS},
        {"[:xdigit:]", "0-9A-Fa-f"},
        {"[:ascii:]", "\\x00-\\x7f"},
    };
    for (size_t i = 0; i < sizeof brackets / sizeof *brackets; i++) {
        if (!next_is(in, brackets[i].name)) continue;
        sterna_buffer_add_text(&parts->items, brackets[i].is);
        in->at += strlen(brackets[i].name);
        return true;
    }
    return false;
}

/* A backslash inside a class. True when it stands for a set, after which '-' is a plain hyphen. */
static bool class_escape(reader *in, class_parts *parts)
{
    static const struct {
        char letter;
        const char *is;
    } sets[] = {{'s', SPACE_ITEMS}, {'S', "\\P{White_Space}"}, {'d', "\\p{Nd}"},
                {'D', "\\P{Nd}"},   {'w', WORD_ITEMS},         {'h', "0-9A-Fa-f"}};
    char letter = peek(in, 1);
    uint32_t bits = 0;
    if (letter == 'p' || letter == 'P') {
        property(in, &parts->items, &bits);
        parts->bits |= bits;
        if (!bits) parts->only_categories = false;
        return true;
    }
    parts->only_categories = false;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (sets[i].letter != letter) continue;
        sterna_buffer_add_text(&parts->items, sets[i].is);
        in->at += 2;
        return true;
    }
    if (letter == 'W' || letter == 'H') {
        const char *is = letter == 'W' ? "[^" WORD_ITEMS "]" : "[^0-9A-Fa-f]";
        add_other(parts, is, strlen(is));
        in->at += 2;
        return true;
    }
    if (letter == 'b' || letter == 'v') {
        sterna_buffer_add_text(&parts->items, letter == 'b' ? "\\x08" : "\\x0b");
        in->at += 2;
    } else if (letter != 'u' || !unicode_escape(in, &parts->items)) {
        copy(in, &parts->items, 1);
        if (in->at < in->size) copy_character(in, &parts->items);
    }
    return false;
}

/* A '[' inside a class that is no POSIX bracket. */
static void nested_class(reader *in, class_parts *parts, bool alone, int depth)
{
    sterna_buffer inner = {0};
    class_expression(in, &inner, depth + 1);
    if (!inner.failed && inner.size > 2 && inner.data[0] == '[') {
        bool negated = inner.data[1] == '^';
        if (!negated) {
            sterna_buffer_add(&parts->items, inner.data + 1, inner.size - 2);
            parts->only_categories = false;
        } else {
            add_other(parts, inner.data, inner.size);
            if (alone) {
                parts->only_excluded = true;
                sterna_buffer_add(&parts->excluded, inner.data + 2, inner.size - 3);
            }
        }
    } else {
        add_other(parts, inner.failed ? "" : inner.data, inner.size);
        parts->others.failed |= inner.failed;
    }
    sterna_buffer_free(&inner);
}

/* Reads up to "&&", or the closing bracket (left for the caller). */
static void class_items(reader *in, class_parts *parts, int depth)
{
    bool first = true, after_set = true;
    parts->only_categories = true;
    while (in->at < in->size && (in->text[in->at] != ']' || first) && !next_is(in, "&&")) {
        char c = in->text[in->at];
        bool set = false;
        if (!first || c != '[') parts->only_excluded = false;
        if (c == '[') {
            if (posix_bracket(in, parts))
                parts->only_categories = false;
            else
                nested_class(in, parts, first, depth);
            set = true;
        } else if (c == '\\') {
            set = class_escape(in, parts);
        } else {
            parts->only_categories = false;
            bool hyphen = c == '-' && (after_set || peek(in, 1) == ']');
            if (hyphen || c == ']') sterna_buffer_add_char(&parts->items, '\\');
            copy_character(in, &parts->items);
            set = hyphen;
        }
        after_set = set;
        first = false;
    }
}

/* One expression for "any of these": a plain class where that is possible. */
static void any_of(const class_parts *parts, bool negated, sterna_buffer *out)
{
    const char *items = parts->items.size ? parts->items.data : "";
    const char *others = parts->others.size ? parts->others.data : "";
    if (!parts->others.size)
        sterna_buffer_format(out, "[%s", negated ? "^" : "");
    else if (!parts->items.size)
        sterna_buffer_format(out, negated ? "(?:(?!%s)(?s:." : "(?:%s", others);
    else
        sterna_buffer_format(out, negated ? "(?:(?!%s)[^" : "(?:%s|[", others);
    sterna_buffer_add_text(out, items);
    if (!parts->others.size)
        sterna_buffer_add_char(out, ']');
    else if (!parts->items.size)
        sterna_buffer_add_text(out, negated ? "))" : ")");
    else
        sterna_buffer_add_text(out, "])");
}

/* left && right: one class when left is categories and right is [^...], else a look-ahead. */
static void both_of(const class_parts *left, const class_parts *right, bool negated,
                    sterna_buffer *out)
{
    if (left->only_categories && left->bits && right->only_excluded && !negated) {
        sterna_buffer_add_text(out, "[^");
        for (size_t i = 0; i < N_CATEGORIES; i++)
            if (!(left->bits >> i & 1)) sterna_buffer_format(out, "\\p{%s}", categories[i]);
        sterna_buffer_add(out, right->excluded.data, right->excluded.size);
        sterna_buffer_add_char(out, ']');
        return;
    }
    sterna_buffer_add_text(out, negated ? "(?:(?!(?=" : "(?:(?=");
    any_of(right, false, out);
    sterna_buffer_add_char(out, ')');
    any_of(left, false, out);
    sterna_buffer_add_text(out, negated ? ")(?s:.))" : ")");
}

/* A class at the reader, closing bracket included. */
static void class_expression(reader *in, sterna_buffer *out, int depth)
{
    if (depth > MAX_DEPTH) {
        in->too_deep = true;
        in->at = in->size;
        return;
    }
    class_parts left = {0}, right = {0};
    in->at++;
    bool negated = peek(in, 0) == '^';
    if (negated) in->at++;
    class_items(in, &left, depth);
    if (next_is(in, "&&")) {
        in->at += 2;
        class_items(in, &right, depth);
        both_of(&left, &right, negated, out);
    } else {
        any_of(&left, negated, out);
    }
    if (in->at < in->size && in->text[in->at] == ']') {
        in->at++;
    } else { /* not closed, or more than one "&&": PCRE2 shall complain */
        sterna_buffer_add_char(out, '[');
        in->at = in->size;
    }
    out->failed |= left.items.failed | left.others.failed | right.items.failed |
                   right.others.failed | left.excluded.failed | right.excluded.failed;
    free_parts(&left);
    free_parts(&right);
}

/* ---- the whole expression ---- */

/* {n}, {n,}, {,m}, {n,m} at the reader; false (nothing read) when it is a plain brace. */
static bool interval(reader *in, sterna_buffer *out)
{
    size_t at = in->at + 1, low = at, comma = 0, digits = 0;
    for (; at < in->size && in->text[at] != '}'; at++) {
        if (in->text[at] == ',' && !comma)
            comma = at;
        else if (isdigit((unsigned char)in->text[at]))
            digits++;
        else
            return false;
    }
    if (at == in->size || !digits) return false;
    sterna_buffer_add_text(out, comma == low ? "{0" : "{");
    sterna_buffer_add(out, in->text + low, at - low + 1);
    in->at = at + 1;
    return true;
}

/* Puts "(?:" at `from` and ")" at the end. */
static void enclose(sterna_buffer *out, size_t from)
{
    sterna_buffer_add_text(out, "(?:)");
    if (out->failed) return;
    memmove(out->data + from + 3, out->data + from, out->size - 4 - from);
    memcpy(out->data + from, "(?:", 3);
    out->data[out->size - 1] = ')';
}

/* "(" and what follows up to the group's content. */
static void group_head(reader *in, sterna_buffer *out)
{
    copy(in, out, 1);
    if (peek(in, 0) != '?') return;
    copy(in, out, 1);
    while (isalpha((unsigned char)peek(in, 0)) || peek(in, 0) == '-') {
        if (peek(in, 0) == 'P') { /* (?P<name>...): no option letter */
            copy(in, out, 1);
            return;
        }
        char option = in->text[in->at++];
        sterna_buffer_add_char(out, option == 'm' ? 's' : option);
    }
    char c = peek(in, 0);
    if (c == ':' || c == '=' || c == '!' || c == '>') {
        copy(in, out, 1);
    } else if (c == '<') {
        copy(in, out, 1);
        if (peek(in, 0) == '=' || peek(in, 0) == '!') copy(in, out, 1);
    } else if (c == '#') {
        while (in->at < in->size && in->text[in->at] != ')') copy_character(in, out);
    }
}

static void sequence(reader *in, sterna_buffer *out, int depth)
{
    size_t atom = out->size;
    if (depth > MAX_DEPTH) {
        in->too_deep = true;
        in->at = in->size;
        return;
    }
    while (in->at < in->size) {
        char c = in->text[in->at];
        if (c == ')' && depth) return;
        if (c == '*' || c == '+' || c == '?') {
            copy(in, out, 1);
            if (peek(in, 0) == '+' || peek(in, 0) == '?') copy(in, out, 1);
            continue;
        }
        if (c == '{' && interval(in, out)) {
            if (peek(in, 0) == '+') enclose(out, atom);
            if (peek(in, 0) == '?') copy(in, out, 1);
            continue;
        }
        atom = out->size;
        if (c == '(') {
            group_head(in, out);
            sequence(in, out, depth + 1);
            if (in->at < in->size) copy(in, out, 1);
        } else if (c == '[') {
            class_expression(in, out, 0);
        } else if (c == '\\') {
            escape(in, out);
        } else {
            if (c == '{') sterna_buffer_add_char(out, '\\');
            copy_character(in, out);
        }
    }
}

bool sterna_regex_translate(const char *pattern, size_t size, sterna_buffer *out)
{
    reader in = {.text = pattern, .size = size};
    if (size == 4 && memcmp(pattern, "\\s+$", 4) == 0)
        /* DeepSeek's: tried at every position of a run it is quadratic; the first one decides */
        sterna_buffer_add_text(out, "(?<!" SPACE_CLASS ")" SPACE_CLASS "+$");
    else
        sequence(&in, out, 0);
    if (!out->data) sterna_buffer_add_text(out, ""); /* an empty expression is one, too */
    return !out->failed && !in.too_deep;
}
