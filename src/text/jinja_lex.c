/* The lexer: cuts a template into text and tags, and tags into tokens.
 *
 * Follows jinja2's rules for whitespace: one newline behind a block or comment is dropped
 * (trim_blocks), blanks between a line's start and a block or comment too (lstrip_blocks); `-`
 * strips all whitespace, `+` keeps it. Line ends become \n and the template's last one is dropped.
 */
#include "text/jinja_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct lexer {
    jinja_arena *arena;
    const char *text;
    size_t size, at;
    int line;
    bool line_starting; /* the last match ended with a newline */
    jinja_token *tokens;
    size_t count, capacity;
    char brackets[JINJA_MAX_NESTING];
    unsigned bracket_count;
    sterna_error *err;
    sterna_status status;
} lexer;

static bool lex_fail(lexer *lex, const char *what)
{
    lex->status =
        sterna_fail(lex->err, STERNA_ERROR_FORMAT, "template line %d: %s", lex->line, what);
    return false;
}

static bool out_of_memory(lexer *lex)
{
    lex->status = sterna_fail_memory(lex->err, "a chat template");
    return false;
}

static bool add_token(lexer *lex, jinja_token_type type, int op, jinja_value value)
{
    if (lex->count == lex->capacity) {
        size_t capacity = lex->capacity ? lex->capacity * 2 : 256;
        jinja_token *tokens = sterna_jinja_arena_grow(
            lex->arena, lex->tokens, lex->count * sizeof *tokens, capacity * sizeof *tokens);
        if (!tokens) return out_of_memory(lex);
        lex->tokens = tokens;
        lex->capacity = capacity;
    }
    lex->tokens[lex->count++] = (jinja_token){type, lex->line, op, value};
    return true;
}

/* A token that holds a string; its length is counted now, as programs are shared by threads. */
static bool add_string(lexer *lex, jinja_token_type type, const char *data, size_t size)
{
    jinja_string *string = sterna_jinja_arena_alloc(lex->arena, 1, sizeof *string);
    if (!string) return out_of_memory(lex);
    *string = (jinja_string){.data = data, .size = size, .length = JINJA_UNKNOWN};
    sterna_jinja_string_length(string);
    return add_token(lex, type, 0, (jinja_value){.type = JINJA_STRING, .as.string = string});
}

static void count_lines(lexer *lex, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) lex->line += lex->text[i] == '\n';
}

/* Moves to `to`; the text between is one match. */
static void advance(lexer *lex, size_t to)
{
    count_lines(lex, lex->at, to);
    lex->line_starting = to > lex->at && lex->text[to - 1] == '\n';
    lex->at = to;
}

static size_t skip_space(const lexer *lex, size_t at)
{
    while (at < lex->size) {
        uint32_t c;
        size_t width = sterna_jinja_decode(lex->text + at, lex->text + lex->size, &c);
        if (!sterna_jinja_is_space(c)) break;
        at += width;
    }
    return at;
}

/* Start of the whitespace that ends at `end`. */
static size_t strip_end(const lexer *lex, size_t start, size_t end)
{
    while (end > start) {
        size_t before = end - 1;
        while (before > start && (lex->text[before] & 0xc0) == 0x80) before--;
        uint32_t c;
        sterna_jinja_decode(lex->text + before, lex->text + end, &c);
        if (!sterna_jinja_is_space(c)) break;
        end = before;
    }
    return end;
}

static bool looking_at(const lexer *lex, size_t at, const char *what)
{
    size_t size = strlen(what);
    return lex->size - at >= size && !memcmp(lex->text + at, what, size);
}

/* Emits the text between lex->at and the tag at `tag`, stripped as the tag's sign asks. */
static bool add_data(lexer *lex, size_t tag, char sign, bool is_print)
{
    size_t start = lex->at, end = tag;
    if (sign == '-') {
        end = strip_end(lex, start, end);
    } else if (sign != '+' && !is_print) {
        size_t line = end;
        while (line > start && lex->text[line - 1] != '\n') line--;
        if ((line > start || lex->line_starting) && skip_space(lex, line) >= end) end = line;
    }
    if (end > start && !add_string(lex, JINJA_TOKEN_DATA, lex->text + start, end - start))
        return false;
    count_lines(lex, lex->at, tag);
    lex->at = tag;
    return true;
}

static char sign_at(const lexer *lex, size_t at)
{
    return at < lex->size && (lex->text[at] == '-' || lex->text[at] == '+') ? lex->text[at] : 0;
}

/* Where a block or comment tag that ends at `at` with "%}" (or "#}") stops, with what it trims; 0
 * when it does not end here. */
static size_t tag_end(const lexer *lex, size_t at, const char *end)
{
    if (lex->text[at] == '+' && looking_at(lex, at + 1, end)) return at + 3;
    if (lex->text[at] == '-' && looking_at(lex, at + 1, end)) return skip_space(lex, at + 3);
    if (!looking_at(lex, at, end)) return 0;
    at += 2;
    return at + (at < lex->size && lex->text[at] == '\n');
}

/* As in jinja2 a comment or raw block that starts at the very end needs no end. */
static bool lex_comment(lexer *lex)
{
    if (lex->at == lex->size) return true;
    for (size_t at = lex->at; at < lex->size; at++) {
        size_t end = tag_end(lex, at, "#}");
        if (!end) continue;
        advance(lex, end);
        return true;
    }
    return lex_fail(lex, "the comment has no end; write #}");
}

/* The end of a "{% raw %}" that starts at `at`, 0 when it is another tag. */
static size_t raw_begin(const lexer *lex, size_t at)
{
    at += 2;
    at += sign_at(lex, at) != 0;
    at = skip_space(lex, at);
    if (!looking_at(lex, at, "raw")) return 0;
    at = skip_space(lex, at + 3);
    if (looking_at(lex, at, "-%}")) return skip_space(lex, at + 3);
    return looking_at(lex, at, "%}") ? at + 2 : 0;
}

static bool lex_raw(lexer *lex)
{
    if (lex->at == lex->size) return true;
    for (size_t at = lex->at; at + 1 < lex->size; at++) {
        if (!looking_at(lex, at, "{%")) continue;
        char sign = sign_at(lex, at + 2);
        size_t name = skip_space(lex, at + 2 + (sign != 0));
        if (!looking_at(lex, name, "endraw")) continue;
        name = skip_space(lex, name + 6);
        size_t end = name < lex->size ? tag_end(lex, name, "%}") : 0;
        if (!end) continue;
        if (!add_data(lex, at, sign, false)) return false;
        advance(lex, end);
        return true;
    }
    return lex_fail(lex, "the raw block has no end; write {% endraw %}");
}

/* ---- tokens inside tags ---- */

static size_t digits(const lexer *lex, size_t at, bool underscores)
{
    size_t start = at;
    while (at < lex->size) {
        char c = lex->text[at];
        bool digit = c >= '0' && c <= '9';
        bool joined = underscores && c == '_' && at > start && at + 1 < lex->size &&
                      lex->text[at + 1] >= '0' && lex->text[at + 1] <= '9';
        if (!digit && !joined) break;
        at++;
    }
    return at;
}

static size_t radix_digits(const lexer *lex, size_t at, int base)
{
    while (at < lex->size) {
        size_t digit = at + (lex->text[at] == '_');
        if (digit >= lex->size) break;
        char c = (char)(lex->text[digit] | 0x20);
        int value = lex->text[digit] >= '0' && lex->text[digit] <= '9' ? lex->text[digit] - '0'
                    : c >= 'a' && c <= 'f'                             ? c - 'a' + 10
                                                                       : 99;
        if (value >= base) break;
        at = digit + 1;
    }
    return at;
}

/* Where a float that starts here ends; 0 when there is none. */
static size_t float_end(const lexer *lex)
{
    if (lex->at && lex->text[lex->at - 1] == '.') return 0;
    size_t end = digits(lex, lex->at, true);
    bool fraction = false;
    if (end < lex->size && lex->text[end] == '.') {
        size_t more = digits(lex, end + 1, true);
        if (more > end + 1) {
            fraction = true;
            end = more;
        }
    }
    if (end < lex->size && (lex->text[end] | 0x20) == 'e') {
        size_t power = end + 1 + (size_t)(sign_at(lex, end + 1) != 0);
        size_t more = digits(lex, power, true);
        if (more > power) return more;
    }
    return fraction ? end : 0;
}

static size_t integer_end(const lexer *lex, int *base)
{
    size_t at = lex->at;
    char kind = at + 1 < lex->size && lex->text[at] == '0' ? (char)(lex->text[at + 1] | 0x20) : 0;
    *base = kind == 'b' ? 2 : kind == 'o' ? 8 : kind == 'x' ? 16 : 10;
    if (*base != 10) {
        size_t end = radix_digits(lex, at + 2, *base);
        if (end > at + 2) return end;
        *base = 10;
    }
    if (lex->text[at] != '0') return digits(lex, at, true);
    while (at < lex->size && (lex->text[at] == '0' || (lex->text[at] == '_' && at + 1 < lex->size &&
                                                       lex->text[at + 1] == '0')))
        at++;
    return at;
}

static bool lex_number(lexer *lex)
{
    char text[400];
    int base = 10;
    size_t end = float_end(lex), start = lex->at, size = 0;
    bool is_float = end != 0;
    if (!is_float) end = integer_end(lex, &base);
    for (size_t i = start + (base == 10 ? 0 : 2); i < end; i++) {
        if (size == sizeof text - 1) return lex_fail(lex, "a number has too many digits");
        if (lex->text[i] != '_') text[size++] = lex->text[i];
    }
    text[size] = 0;
    jinja_value value = sterna_jinja_int(0);
    if (is_float) {
        value = sterna_jinja_float(sterna_jinja_parse_double(text, size));
    } else {
        bool overflow = false;
        sterna_jinja_text_to_int(text, size, base, &value.as.integer, &overflow);
        if (overflow) return lex_fail(lex, "an integer is larger than 64 bits");
    }
    if (!add_token(lex, JINJA_TOKEN_CONSTANT, 0, value)) return false;
    advance(lex, end);
    return true;
}

static int hex_digits(const char *at, const char *end, int count, uint32_t *out)
{
    uint32_t value = 0;
    for (int i = 0; i < count; i++) {
        char c = at + i < end ? at[i] : 0, lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return 0;
    }
    *out = value;
    return count;
}

/* One escape behind a backslash at `at`; writes its bytes and returns those read, 0 on failure. */
static size_t lex_escape(lexer *lex, const char *at, const char *end, char **out)
{
    static const char plain[] = "\\'\"abfnrtv", meaning[] = "\\'\"\a\b\f\n\r\t\v";
    const char *found = strchr(plain, *at);
    uint32_t code = 0;
    if (*at == '\n') return 1;
    if (*at && found) {
        *(*out)++ = meaning[found - plain];
        return 1;
    }
    if (*at >= '0' && *at <= '7') {
        size_t used = 0;
        while (used < 3 && at + used < end && at[used] >= '0' && at[used] <= '7')
            code = code * 8 + (uint32_t)(at[used++] - '0');
        *out += sterna_jinja_encode(code, *out);
        return used;
    }
    int count = *at == 'x' ? 2 : *at == 'u' ? 4 : *at == 'U' ? 8 : 0;
    if (count) {
        if (!hex_digits(at + 1, end, count, &code) || code > 0x10ffff)
            return lex_fail(lex, "a \\x, \\u or \\U escape in a string is malformed");
        if ((code & 0xfffff800) == 0xd800)
            return lex_fail(lex, "a string escape names half of a surrogate pair");
        *out += sterna_jinja_encode(code, *out);
        return (size_t)count + 1;
    }
    if (*at == 'N') return lex_fail(lex, "\\N{...} escapes are not supported");
    *(*out)++ = '\\'; /* an unknown escape stays */
    if ((unsigned char)*at < 0x80) {
        *(*out)++ = *at;
        return 1;
    }
    /* jinja2 turns other characters into \xe9 and the like first: a backslash in front of one
     * escapes that backslash. */
    static const char hex[] = "0123456789abcdef";
    size_t width = sterna_jinja_decode(at, end, &code);
    int size = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
    *(*out)++ = size == 2 ? 'x' : size == 4 ? 'u' : 'U';
    while (size-- > 0) *(*out)++ = hex[code >> (4 * size) & 15];
    return width;
}

static bool lex_string(lexer *lex)
{
    char quote = lex->text[lex->at];
    size_t start = lex->at + 1, end = start;
    bool escaped = false;
    while (end < lex->size && lex->text[end] != quote) {
        escaped |= lex->text[end] == '\\';
        end += lex->text[end] == '\\' ? 2 : 1;
    }
    if (end >= lex->size) return lex_fail(lex, "a string has no closing quote");
    const char *data = lex->text + start, *stop = lex->text + end;
    size_t size = end - start;
    if (escaped) { /* \é is the worst case: 3 bytes become 4, \ and an astral one 5 become 10 */
        char *copy = sterna_jinja_arena_alloc(lex->arena, size, 2), *out = copy;
        if (!copy) return out_of_memory(lex);
        for (const char *p = data; p < stop;) {
            if (*p != '\\') {
                *out++ = *p++;
                continue;
            }
            size_t used = lex_escape(lex, p + 1, stop, &out);
            if (!used) return false;
            p += used + 1;
        }
        data = copy;
        size = (size_t)(out - copy);
    }
    if (!add_string(lex, JINJA_TOKEN_CONSTANT, data, size)) return false;
    advance(lex, end + 1);
    return true;
}

static bool lex_name(lexer *lex)
{
    size_t end = lex->at;
    while (end < lex->size) {
        uint32_t c;
        size_t width = sterna_jinja_decode(lex->text + end, lex->text + lex->size, &c);
        bool mark = c >= 0x80 && !sterna_jinja_is_space(c) && sterna_jinja_is_printable(c) &&
                    !sterna_jinja_is_word(c);
        if (!sterna_jinja_is_word(c) && !mark) break;
        if (mark) return lex_fail(lex, "a character is not allowed in a name");
        end += width;
    }
    if (end == lex->at) return lex_fail(lex, "an unexpected character");
    if (!add_string(lex, JINJA_TOKEN_NAME, lex->text + lex->at, end - lex->at)) return false;
    advance(lex, end);
    return true;
}

static bool lex_operator(lexer *lex)
{
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = lex->text[lex->at];
    int op = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs && !op; i++)
        if (looking_at(lex, lex->at, pairs[i])) op = pairs[i][0] << 8 | pairs[i][1];
    size_t size = op ? 2 : 1;
    if (!op) {
        if (!strchr("+-*/%~[](){}><=.:|,;", c)) return lex_fail(lex, "an unexpected character");
        op = c;
    }
    if (op == '(' || op == '[' || op == '{') {
        if (lex->bracket_count == JINJA_MAX_NESTING)
            return lex_fail(lex, "brackets are nested more than 200 deep");
        lex->brackets[lex->bracket_count++] = op == '(' ? ')' : op == '[' ? ']' : '}';
    } else if (op == ')' || op == ']' || op == '}') {
        if (!lex->bracket_count || lex->brackets[--lex->bracket_count] != op)
            return lex_fail(lex, "a closing bracket does not match");
    }
    if (!add_token(lex, JINJA_TOKEN_OPERATOR, op, sterna_jinja_missing())) return false;
    advance(lex, lex->at + size);
    return true;
}

/* The tokens of a {{ }} or {% %} up to and with its end. */
static bool lex_tag(lexer *lex, bool is_print)
{
    lex->bracket_count = 0;
    while (lex->at < lex->size) {
        size_t end = 0;
        if (!lex->bracket_count && is_print)
            end = looking_at(lex, lex->at, "-}}")  ? skip_space(lex, lex->at + 3)
                  : looking_at(lex, lex->at, "}}") ? lex->at + 2
                                                   : 0;
        else if (!lex->bracket_count)
            end = tag_end(lex, lex->at, "%}");
        if (end) {
            if (!add_token(lex, is_print ? JINJA_TOKEN_PRINT_END : JINJA_TOKEN_BLOCK_END, 0,
                           sterna_jinja_missing()))
                return false;
            advance(lex, end);
            return true;
        }
        char c = lex->text[lex->at];
        size_t space = skip_space(lex, lex->at);
        bool fine = true;
        if (space > lex->at)
            advance(lex, space);
        else if (c >= '0' && c <= '9')
            fine = lex_number(lex);
        else if (c == '"' || c == '\'')
            fine = lex_string(lex);
        else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80))
            fine = lex_name(lex);
        else
            fine = lex_operator(lex);
        if (!fine) return false;
    }
    return true; /* the parser says what is missing */
}

static bool lex_all(lexer *lex)
{
    while (lex->at < lex->size) {
        size_t tag = lex->at;
        while (tag + 1 < lex->size &&
               !(lex->text[tag] == '{' && strchr("{%#", lex->text[tag + 1]) && lex->text[tag + 1]))
            tag++;
        if (tag + 1 >= lex->size)
            return add_string(lex, JINJA_TOKEN_DATA, lex->text + lex->at, lex->size - lex->at);
        char kind = lex->text[tag + 1], sign = sign_at(lex, tag + 2);
        if (!add_data(lex, tag, sign, kind == '{')) return false;
        size_t raw = kind == '%' ? raw_begin(lex, tag) : 0;
        advance(lex, raw ? raw : tag + 2 + (sign != 0));
        bool fine = true;
        if (kind == '#') {
            fine = lex_comment(lex);
        } else if (raw) {
            fine = lex_raw(lex);
        } else {
            fine = add_token(lex, kind == '{' ? JINJA_TOKEN_PRINT_BEGIN : JINJA_TOKEN_BLOCK_BEGIN,
                             0, sterna_jinja_missing()) &&
                   lex_tag(lex, kind == '{');
        }
        if (!fine) return false;
    }
    return true;
}

sterna_status sterna_jinja_lex(jinja_arena *arena, const char *text, size_t size,
                               jinja_token **tokens, size_t *count, sterna_error *err)
{
    lexer lex = {.arena = arena, .line = 1, .line_starting = true, .err = err};
    char *copy = sterna_jinja_arena_alloc(arena, size, 1);
    if (!copy) return sterna_fail_memory(err, "a chat template");
    for (size_t i = 0; i < size; i++) { /* \r\n and \r become \n */
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n') continue;
        copy[lex.size++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (lex.size && copy[lex.size - 1] == '\n') lex.size--;
    lex.text = copy;
    if (!lex_all(&lex) || !add_token(&lex, JINJA_TOKEN_END, 0, sterna_jinja_missing()))
        return lex.status;
    *tokens = lex.tokens;
    *count = lex.count;
    return STERNA_OK;
}
