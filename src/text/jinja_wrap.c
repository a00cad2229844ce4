/* The filters wordwrap (as Python's textwrap) and striptags (as markupsafe). */
#include "text/jinja_internal.h"

#include <string.h>

/* ---- wordwrap ---- */

typedef struct piece {
    const char *data;
    size_t size;
    int64_t length; /* code points */
} piece;

typedef struct wrapper {
    jinja_run *run;
    int64_t width;
    bool break_long, break_hyphens;
    const char *separator;
    size_t separator_size;
    jinja_text out;
    bool begun; /* a line has been written */
} wrapper;

static bool is_blank(char c)
{
    return c && strchr("\t\n\v\f\r ", c);
}

static uint32_t code_at(const char *p, const char *end)
{
    uint32_t c = 0;
    if (p < end) sterna_jinja_decode(p, end, &c);
    return c;
}

static uint32_t code_before(const char *begin, const char *p, const char **at)
{
    if (p <= begin) return 0;
    const char *q = p - 1;
    while (q > begin && (*q & 0xc0) == 0x80) q--;
    *at = q;
    return code_at(q, p);
}

static bool is_letter(uint32_t c)
{
    return c && sterna_jinja_is_word(c) && !sterna_jinja_is_decimal(c);
}

static bool is_word_punctuation(uint32_t c)
{
    return c && (sterna_jinja_is_word(c) || (c < 0x80 && strchr("!\"'&.,?", (char)c)));
}

/* Two or more hyphens at p with a word character behind: an em dash; its end, or NULL. */
static const char *em_dash(const char *p, const char *end)
{
    const char *q = p;
    while (q < end && *q == '-') q++;
    return q - p >= 2 && sterna_jinja_is_word(code_at(q, end)) && q < end ? q : NULL;
}

/* Whether a word may be cut behind the hyphen in front of p: two letters before it, or letter,
 * hyphen, letter; and behind it a letter, perhaps a hyphen, and a letter. */
static bool may_hyphenate(const char *begin, const char *p, const char *end)
{
    const char *hyphen = p - 1, *first = begin, *second = begin;
    uint32_t before = code_before(begin, hyphen, &first);
    uint32_t earlier = before ? code_before(begin, first, &second) : 0;
    uint32_t letter = earlier == '-' ? code_before(begin, second, &second) : 0;
    bool word = (is_letter(before) && is_letter(earlier)) ||
                (is_letter(before) && earlier == '-' && is_letter(letter));
    uint32_t c = code_at(p, end);
    if (!word || !is_letter(c)) return false;
    char bytes[4];
    p += sterna_jinja_encode(c, bytes);
    if (p < end && *p == '-') p++;
    return is_letter(code_at(p, end));
}

/* The end of the chunk that starts at p: blanks, an em dash, or a word up to a place to break. */
static const char *chunk_end(const wrapper *wrap, const char *begin, const char *p, const char *end)
{
    const char *q = p, *unused = p;
    if (is_blank(*p)) {
        while (q < end && is_blank(*q)) q++;
        return q;
    }
    if (!wrap->break_hyphens) {
        while (q < end && !is_blank(*q)) q++;
        return q;
    }
    if (*p == '-' && is_word_punctuation(code_before(begin, p, &unused)) && em_dash(p, end))
        return em_dash(p, end);
    for (q = p;;) {
        uint32_t c;
        q += sterna_jinja_decode(q, end, &c);
        if (q >= end || is_blank(*q)) return q;
        if (c == '-' && q - p >= 2 && may_hyphenate(begin, q, end)) return q;
        if (*q == '-' && is_word_punctuation(c) && em_dash(q, end)) return q;
    }
}

static bool all_blank(const piece *chunk)
{
    for (const char *p = chunk->data, *end = p + chunk->size; p < end;) {
        uint32_t c;
        p += sterna_jinja_decode(p, end, &c);
        if (!sterna_jinja_is_space(c)) return false;
    }
    return true;
}

static bool write_line(wrapper *wrap, const piece *chunks, size_t count)
{
    if (wrap->begun && !sterna_jinja_text_add(&wrap->out, wrap->separator, wrap->separator_size))
        return false;
    wrap->begun = true;
    for (size_t i = 0; i < count; i++)
        if (!sterna_jinja_text_add(&wrap->out, chunks[i].data, chunks[i].size)) return false;
    return true;
}

/* Cuts the first `room` code points off a chunk that is too long; with hyphens the cut goes behind
 * the last one that fits. Without break_long the whole chunk is taken. */
static piece cut_chunk(const wrapper *wrap, piece *whole, int64_t room)
{
    piece head = {whole->data, 0, 0};
    int64_t wanted = wrap->break_long ? room : whole->length, hyphen_length = 0;
    size_t hyphen = 0;
    bool other = false;
    while (head.length < wanted && head.size < whole->size) {
        uint32_t c;
        head.size += sterna_jinja_decode(whole->data + head.size, whole->data + whole->size, &c);
        head.length++;
        if (c == '-') hyphen = other ? head.size : 0, hyphen_length = head.length;
        other |= c != '-';
    }
    if (wrap->break_long && wrap->break_hyphens && whole->length > room && hyphen) {
        head.size = hyphen;
        head.length = hyphen_length;
    }
    whole->data += head.size;
    whole->size -= head.size;
    whole->length -= head.length;
    return head;
}

static bool fill_lines(wrapper *wrap, piece *chunks, size_t count)
{
    piece *line = sterna_jinja_alloc(wrap->run, count + 1, sizeof *line);
    bool any = false;
    if (!line) return false;
    for (size_t at = 0; at < count;) {
        size_t used = 0;
        int64_t length = 0;
        if (any && all_blank(&chunks[at])) at++; /* no blanks at the start of a later line */
        for (; at < count && length + chunks[at].length <= wrap->width; at++) {
            length += chunks[at].length;
            line[used++] = chunks[at];
        }
        if (at < count && chunks[at].length > wrap->width) {
            if (wrap->break_long) {
                line[used++] = cut_chunk(wrap, &chunks[at], wrap->width - length);
            } else if (!used) {
                line[used++] = chunks[at];
                chunks[at].size = 0;
            }
            if (!chunks[at].size) at++;
        }
        if (used && all_blank(&line[used - 1])) used--;
        if (!sterna_jinja_step(wrap->run, 1)) return false;
        if (!used) continue;
        if (!write_line(wrap, line, used)) return false;
        any = true;
    }
    return true;
}

static bool wrap_line(wrapper *wrap, const char *data, size_t size)
{
    const char *end = data + size;
    size_t count = 0, capacity = 16;
    piece *chunks = sterna_jinja_alloc(wrap->run, capacity, sizeof *chunks);
    for (const char *p = data; p < end && chunks;) {
        const char *stop = chunk_end(wrap, data, p, end);
        jinja_string part = {.data = p, .size = (size_t)(stop - p), .length = JINJA_UNKNOWN};
        if (!sterna_jinja_step(wrap->run, 1)) return false;
        if (count == capacity) {
            chunks = sterna_jinja_arena_grow(&wrap->run->arena, chunks, count * sizeof *chunks,
                                             2 * capacity * sizeof *chunks);
            capacity *= 2;
            if (!chunks) break;
        }
        chunks[count++] = (piece){p, part.size, (int64_t)sterna_jinja_string_length(&part)};
        p = stop;
    }
    if (!chunks)
        return sterna_jinja_alloc(wrap->run, capacity, sizeof *chunks) && false; /* its sentence */
    size_t before = wrap->out.size;
    bool begun = wrap->begun;
    if (!fill_lines(wrap, chunks, count)) return false;
    /* a line without words is an empty line */
    return wrap->out.size != before || wrap->begun != begun || write_line(wrap, NULL, 0);
}

bool sterna_jinja_wrap_words(jinja_run *run, jinja_string *text, int64_t width, bool break_long,
                             bool break_hyphens, const char *separator, size_t separator_size,
                             jinja_value *out)
{
    wrapper wrap = {.run = run,
                    .width = width,
                    .break_long = break_long,
                    .break_hyphens = break_hyphens,
                    .separator = separator,
                    .separator_size = separator_size};
    const char *p = text->data, *end = p + text->size;
    if (p < end && width <= 0)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "the width of wordwrap must be above 0");
    sterna_jinja_text_start(&wrap.out, run);
    if (!sterna_jinja_charge(run, text->size * 8)) return false;
    while (p < end) {
        size_t without, with;
        sterna_jinja_line(p, (size_t)(end - p), &without, &with);
        if (!wrap_line(&wrap, p, without)) return false;
        p += with;
    }
    return sterna_jinja_text_finish(&wrap.out, out);
}

/* ---- striptags ---- */

/* Removes what lies between `open` and `close`, both included. */
static bool remove_between(jinja_run *run, jinja_value *text, const char *open, const char *close)
{
    jinja_text kept;
    const char *p = text->as.string->data, *end = p + text->as.string->size;
    sterna_jinja_text_start(&kept, run);
    while (p < end) {
        size_t from = sterna_jinja_find(p, (size_t)(end - p), open, strlen(open), false),
               to = JINJA_UNKNOWN;
        const char *inside = from == JINJA_UNKNOWN ? end : p + from + strlen(open);
        if (inside < end || from != JINJA_UNKNOWN)
            to = sterna_jinja_find(inside, (size_t)(end - inside), close, strlen(close), false);
        if (to == JINJA_UNKNOWN) break;
        if (!sterna_jinja_text_add(&kept, p, from)) return false;
        p = inside + to + strlen(close);
    }
    return sterna_jinja_charge(run, text->as.string->size) &&
           sterna_jinja_text_add(&kept, p, (size_t)(end - p)) &&
           sterna_jinja_text_finish(&kept, text);
}

/* One entity at p; the bytes read, 0 when it is plain text. */
static size_t read_entity(const char *p, const char *end, uint32_t *code)
{
    static const struct {
        const char *name;
        uint32_t code;
    } named[] = {{"&amp;", '&'},      {"&lt;", '<'},       {"&gt;", '>'},     {"&quot;", '"'},
                 {"&apos;", '\''},    {"&nbsp;", 0xa0},    {"&copy;", 0xa9},  {"&hellip;", 0x2026},
                 {"&ndash;", 0x2013}, {"&mdash;", 0x2014}, {"&rarr;", 0x2192}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        size_t size = strlen(named[i].name);
        if ((size_t)(end - p) < size || memcmp(p, named[i].name, size)) continue;
        *code = named[i].code;
        return size;
    }
    if (end - p < 4 || p[1] != '#') return 0;
    const char *q = p + 2;
    bool hex = (*q | 0x20) == 'x';
    q += hex;
    const char *digits = q;
    *code = 0;
    for (; q < end && *code < 0x110000; q++) {
        int digit = *q >= '0' && *q <= '9'                            ? *q - '0'
                    : hex && (*q | 0x20) >= 'a' && (*q | 0x20) <= 'f' ? (*q | 0x20) - 'a' + 10
                                                                      : -1;
        if (digit < 0) break;
        *code = *code * (hex ? 16 : 10) + (uint32_t)digit;
    }
    if (q == digits) return 0;
    return (size_t)(q - p) + (q < end && *q == ';');
}

bool sterna_jinja_strip_tags(jinja_run *run, jinja_string *string, jinja_value *out)
{
    jinja_value value = {.type = JINJA_STRING, .as.string = string};
    if (!remove_between(run, &value, "<!--", "-->") || !remove_between(run, &value, "<", ">"))
        return false;
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    const char *p = value.as.string->data, *end = p + value.as.string->size;
    bool space = false;
    while (p < end) {
        uint32_t c;
        size_t width = sterna_jinja_decode(p, end, &c);
        bool blank = sterna_jinja_is_space(c);
        if (blank) {
            space = true;
            p += width;
            continue;
        }
        if (space && text.size && !sterna_jinja_text_add_char(&text, ' ')) return false;
        space = false;
        size_t entity = c == '&' ? read_entity(p, end, &c) : 0;
        if (!sterna_jinja_text_add_code(&text, c)) return false;
        p += entity ? entity : width;
    }
    return sterna_jinja_charge(run, string->size * 4) && sterna_jinja_text_finish(&text, out);
}
