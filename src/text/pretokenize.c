/* Pre-tokenizer steps: a text is cut into pieces that the model never looks across. Each step takes
 * the list of pieces and makes another; the behaviours are those of tokenizer.json. */
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

void sterna_pieces_add(sterna_pieces *pieces, sterna_piece piece)
{
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity * 2 + 64;
        sterna_piece *data =
            pieces->failed ? NULL : sterna_realloc(pieces->data, capacity, sizeof *data);
        if (!data) {
            pieces->failed = true;
            return;
        }
        pieces->data = data;
        pieces->capacity = capacity;
    }
    pieces->data[pieces->count++] = piece;
}

/* ---- matchers: the spans of a piece that match, in order, into scratch->spans ---- */

static void add_span(sterna_scratch *scratch, size_t begin, size_t end)
{
    sterna_pieces_add(&scratch->spans,
                      (sterna_piece){(uint32_t)begin, (uint32_t)(end - begin), false});
}

static sterna_status match_regex(const sterna_split_step *step, sterna_scratch *scratch,
                                 const char *text, size_t size, sterna_error *err)
{
    sterna_regex_walk walk;
    size_t begin, end;
    bool found;
    sterna_regex_begin(&walk, step->regex, &scratch->regex, text, size);
    for (;;) {
        sterna_status status = sterna_regex_next(&walk, &found, &begin, &end, err);
        if (status || !found) return status;
        add_span(scratch, begin, end);
    }
}

static void match_string(sterna_text string, sterna_scratch *scratch, const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    if (!string.size) return;
    while ((at = memmem(at, (size_t)(end - at), string.data, string.size))) {
        add_span(scratch, (size_t)(at - text), (size_t)(at - text) + string.size);
        at += string.size;
    }
}

static void match_each(bool (*wanted)(uint32_t), sterna_scratch *scratch, const char *text,
                       size_t size)
{
    for (size_t at = 0, length; at < size; at += length)
        if (wanted(sterna_utf8_decode(text + at, &length))) add_span(scratch, at, at + length);
}

/* Every run of digits in groups of three from its right end; only with `before_words` where a
 * word character follows the run. */
static void match_digit_groups(bool before_words, sterna_scratch *scratch, const char *text,
                               size_t size)
{
    size_t at = 0, length = 0;
    while (at < size) {
        size_t begin = at, count = 0;
        uint32_t code = 0;
        while (at < size &&
               sterna_is_decimal_digit(code = sterna_utf8_decode(text + at, &length))) {
            at += length;
            count++;
        }
        if (!count) {
            at += length;
            continue;
        }
        bool word = sterna_is_word(code) || (code < 0x100 && sterna_is_numeric(code));
        if (!before_words && at < size && word) continue;
        for (size_t left = count; left;) {
            size_t group = left % 3 ? left % 3 : 3, end = begin;
            for (size_t i = 0; i < group; i++) end += sterna_utf8_size(text[end]);
            add_span(scratch, begin, end);
            begin = end;
            left -= group;
        }
    }
}

static void match_characters(size_t count, sterna_scratch *scratch, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t begin = at;
        for (size_t i = 0; i < count && at < size; i++) at += sterna_utf8_size(text[at]);
        add_span(scratch, begin, at);
    }
}

static sterna_status match(const sterna_split_step *step, sterna_scratch *scratch, const char *text,
                           size_t size, sterna_error *err)
{
    scratch->spans.count = 0;
    switch (step->matcher) {
    case STERNA_MATCH_REGEX: return match_regex(step, scratch, text, size, err);
    case STERNA_MATCH_STRING: match_string(step->string, scratch, text, size); break;
    case STERNA_MATCH_WHITE_SPACE: match_each(sterna_is_white_space, scratch, text, size); break;
    case STERNA_MATCH_PUNCTUATION: match_each(sterna_is_punctuation, scratch, text, size); break;
    case STERNA_MATCH_NUMERIC: match_each(sterna_is_numeric, scratch, text, size); break;
    case STERNA_MATCH_DIGIT_GROUPS: match_digit_groups(true, scratch, text, size); break;
    case STERNA_MATCH_DIGIT_GROUPS_ALONE: match_digit_groups(false, scratch, text, size); break;
    case STERNA_MATCH_CHARACTERS: match_characters(step->length, scratch, text, size); break;
    }
    return STERNA_OK;
}

/* ---- behaviours ---- */

/* What is being put together from one piece: the matches and the text between them arrive in order
 * and are merged as the behaviour says. */
typedef struct collector {
    const sterna_split_step *step;
    sterna_pieces *out;
    sterna_piece source, open; /* open: not yet given out, when size > 0 */
    bool open_match;
} collector;

static void give_out(collector *c)
{
    if (c->open.size) sterna_pieces_add(c->out, c->open);
    c->open.size = 0;
}

static void collect(collector *c, size_t begin, size_t end, bool is_match)
{
    if (begin == end) return;
    if (c->step->invert) is_match = !is_match;
    sterna_piece part = {(uint32_t)(c->source.begin + begin), (uint32_t)(end - begin),
                         c->source.first && begin == 0};
    bool join = false;
    switch (c->step->behaviour) {
    case STERNA_ISOLATED: break;
    case STERNA_REMOVED:
        give_out(c);
        if (is_match) return;
        break;
    case STERNA_MERGED_WITH_PREVIOUS: join = is_match && !c->open_match; break;
    case STERNA_MERGED_WITH_NEXT: join = c->open_match && !is_match; break;
    case STERNA_CONTIGUOUS: join = c->open_match == is_match; break;
    }
    if (join && c->open.size) {
        c->open.size += part.size;
    } else {
        give_out(c);
        c->open = part;
    }
    c->open_match = is_match;
}

static sterna_status split(const sterna_split_step *step, sterna_scratch *scratch,
                           sterna_error *err)
{
    scratch->pieces_other.count = 0;
    for (size_t i = 0; i < scratch->pieces.count; i++) {
        sterna_piece piece = scratch->pieces.data[i];
        const char *text = scratch->text.data + piece.begin;
        sterna_status status = match(step, scratch, text, piece.size, err);
        if (status) return status;
        collector c = {.step = step, .out = &scratch->pieces_other, .source = piece};
        size_t at = 0;
        for (size_t m = 0; m < scratch->spans.count; m++) {
            sterna_piece span = scratch->spans.data[m];
            collect(&c, at, span.begin, false);
            collect(&c, span.begin, span.begin + span.size, true);
            at = span.begin + span.size;
        }
        collect(&c, at, piece.size, false);
        give_out(&c);
    }
    sterna_pieces swap = scratch->pieces;
    scratch->pieces = scratch->pieces_other;
    scratch->pieces_other = swap;
    return STERNA_OK;
}

/* ---- steps that rewrite ---- */

static bool needs_prefix(const sterna_split_step *step, sterna_piece piece, const char *text)
{
    if (step->kind == STERNA_SPLIT_PREFIX_SPACE) return text[0] != ' ';
    if (step->kind != STERNA_SPLIT_METASPACE || step->prepend == STERNA_PREPEND_NEVER) return false;
    if (step->prepend == STERNA_PREPEND_FIRST && !piece.first) return false;
    bool there = text[0] == ' ' || (piece.size >= step->string.size &&
                                    memcmp(text, step->string.data, step->string.size) == 0);
    return !there;
}

static void rewrite_piece(const sterna_split_step *step, sterna_piece piece, const char *text,
                          sterna_buffer *out)
{
    if (needs_prefix(step, piece, text)) {
        if (step->kind == STERNA_SPLIT_PREFIX_SPACE)
            sterna_buffer_add_char(out, ' ');
        else
            sterna_buffer_add(out, step->string.data, step->string.size);
    }
    if (step->kind == STERNA_SPLIT_BYTES) {
        sterna_add_byte_chars(out, text, piece.size);
        return;
    }
    if (step->kind == STERNA_SPLIT_PREFIX_SPACE) {
        sterna_buffer_add(out, text, piece.size);
        return;
    }
    const char *end = text + piece.size;
    while (text < end) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        sterna_buffer_add(out, text, (size_t)((space ? space : end) - text));
        if (!space) break;
        sterna_buffer_add(out, step->string.data, step->string.size);
        text = space + 1;
    }
}

static sterna_status rewrite(const sterna_split_step *step, sterna_scratch *scratch,
                             sterna_error *err)
{
    sterna_buffer *out = &scratch->text_other;
    sterna_buffer_clear(out);
    for (size_t i = 0; i < scratch->pieces.count && !out->failed; i++) {
        sterna_piece *piece = &scratch->pieces.data[i];
        size_t begin = out->size;
        rewrite_piece(step, *piece, scratch->text.data + piece->begin, out);
        if (out->size > STERNA_TEXT_MAX_BYTES)
            return sterna_fail(err, STERNA_ERROR_LIMIT,
                               "the text to encode is larger than %d bytes after its preparation",
                               (int)STERNA_TEXT_MAX_BYTES);
        piece->begin = (uint32_t)begin;
        piece->size = (uint32_t)(out->size - begin);
    }
    sterna_buffer swap = scratch->text;
    scratch->text = scratch->text_other;
    scratch->text_other = swap;
    return STERNA_OK;
}

sterna_status sterna_pretokenize(const sterna_tokenizer *t, sterna_scratch *scratch,
                                 const char *text, size_t size, bool first, sterna_error *err)
{
    scratch->pieces.count = 0;
    sterna_buffer_clear(&scratch->text);
    if (!size) return STERNA_OK;
    sterna_buffer_add(&scratch->text, text, size);
    sterna_pieces_add(&scratch->pieces, (sterna_piece){0, (uint32_t)size, first});
    for (size_t i = 0; i < t->n_splits; i++) {
        const sterna_split_step *step = &t->splits[i];
        sterna_status status =
            step->kind == STERNA_SPLIT ? split(step, scratch, err) : rewrite(step, scratch, err);
        if (status) return status;
        if (scratch->pieces.failed || scratch->pieces_other.failed || scratch->spans.failed ||
            scratch->text.failed || scratch->text_other.failed)
            break;
    }
    bool failed = scratch->pieces.failed || scratch->pieces_other.failed || scratch->spans.failed ||
                  scratch->text.failed || scratch->text_other.failed;
    return failed ? sterna_fail_memory(err, "the pieces of a text") : STERNA_OK;
}
