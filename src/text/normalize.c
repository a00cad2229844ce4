/* Normalizer steps: each turns a well-formed text into another. The semantics are those of the
 * normalizers of Hugging Face's tokenizer.json, and of SentencePiece for its own. */
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

static const char metaspace[] = "\xe2\x96\x81"; /* U+2581, SentencePiece's visible space */

static void lowercase(const char *text, size_t size, sterna_buffer *out)
{
    for (size_t at = 0, length; at < size; at += length) {
        uint32_t lower[2], code = sterna_utf8_decode(text + at, &length);
        size_t n = sterna_to_lower(code, lower);
        for (size_t i = 0; i < n; i++) sterna_buffer_add_utf8(out, lower[i]);
    }
}

static void strip(const char *text, size_t size, bool left, bool right, sterna_buffer *out)
{
    size_t length;
    while (left && size && sterna_is_white_space(sterna_utf8_decode(text, &length))) {
        text += length;
        size -= length;
    }
    while (right && size) {
        size_t last = sterna_utf8_last(text, size);
        if (!sterna_is_white_space(sterna_utf8_decode(text + last, &length))) break;
        size = last;
    }
    sterna_buffer_add(out, text, size);
}

static void drop(const char *text, size_t size, bool (*unwanted)(uint32_t), sterna_buffer *out)
{
    for (size_t at = 0, length; at < size; at += length)
        if (!unwanted(sterna_utf8_decode(text + at, &length)))
            sterna_buffer_add(out, text + at, length);
}

static void replace_string(const char *text, size_t size, sterna_text pattern, sterna_text content,
                           sterna_buffer *out)
{
    size_t copied = 0;
    if (pattern.size) {
        const char *at = text, *end = text + size;
        while ((at = memmem(at, (size_t)(end - at), pattern.data, pattern.size))) {
            sterna_buffer_add(out, text + copied, (size_t)(at - text) - copied);
            sterna_buffer_add(out, content.data, content.size);
            at += pattern.size;
            copied = (size_t)(at - text);
        }
    }
    sterna_buffer_add(out, text + copied, size - copied);
}

static sterna_status replace_regex(const sterna_normalize_step *step, sterna_scratch *scratch,
                                   const char *text, size_t size, sterna_buffer *out,
                                   sterna_error *err)
{
    sterna_regex_walk walk;
    size_t copied = 0, begin, end;
    bool found;
    sterna_regex_begin(&walk, step->regex, &scratch->regex, text, size);
    for (;;) {
        sterna_status status = sterna_regex_next(&walk, &found, &begin, &end, err);
        if (status) return status;
        if (!found) break;
        sterna_buffer_add(out, text + copied, begin - copied);
        sterna_buffer_add(out, step->content.data, step->content.size);
        copied = end;
    }
    sterna_buffer_add(out, text + copied, size - copied);
    return STERNA_OK;
}

/* ---- BERT ---- */

static bool bert_drops(uint32_t code)
{
    if (code == '\t' || code == '\n' || code == '\r') return false;
    return code == 0 || code == 0xfffd || sterna_is_other(code);
}

static void bert_clean(const char *text, size_t size, bool clean, bool cjk, sterna_buffer *out)
{
    for (size_t at = 0, length; at < size; at += length) {
        uint32_t code = sterna_utf8_decode(text + at, &length);
        if (clean) {
            if (bert_drops(code)) continue;
            if (sterna_is_white_space(code)) {
                sterna_buffer_add_char(out, ' ');
                continue;
            }
        }
        bool apart = cjk && sterna_is_cjk_ideograph(code);
        if (apart) sterna_buffer_add_char(out, ' ');
        sterna_buffer_add(out, text + at, length);
        if (apart) sterna_buffer_add_char(out, ' ');
    }
}

static sterna_status bert(const sterna_normalize_step *step, const char *text, size_t size,
                          sterna_buffer *out, sterna_error *err)
{
    sterna_buffer a = {0}, b = {0};
    bert_clean(text, size, step->clean, step->cjk, &a);
    if (step->strip_accents) {
        if (!a.failed && !sterna_normal_form_of(a.size ? a.data : "", a.size, STERNA_NFD, &b))
            b.failed = true;
        sterna_buffer_clear(&a);
        drop(b.size ? b.data : "", b.size, sterna_is_nonspacing, &a);
    }
    if (step->lower)
        lowercase(a.size ? a.data : "", a.size, out);
    else
        sterna_buffer_add(out, a.data, a.size);
    bool failed = a.failed || b.failed;
    sterna_buffer_free(&a);
    sterna_buffer_free(&b);
    return failed ? sterna_fail_memory(err, "a normalised text") : STERNA_OK;
}

static bool nmt_drops(uint32_t c)
{
    return (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
           c == 0x9f;
}

/* The replacements of Google's neural machine translation rules: controls go, odd spaces become
 * spaces. */
static void nmt(const char *text, size_t size, sterna_buffer *out)
{
    for (size_t at = 0, length; at < size; at += length) {
        uint32_t c = sterna_utf8_decode(text + at, &length);
        if (nmt_drops(c)) continue;
        if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
            (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
            c == 0xfeff || c == 0xfffd)
            sterna_buffer_add_char(out, ' ');
        else
            sterna_buffer_add(out, text + at, length);
    }
}

/* ---- SentencePiece's rules ---- */

/* The size of the first grapheme cluster. */
static size_t grapheme(const char *text, size_t size)
{
    size_t at, length;
    int32_t state = 0, code = (int32_t)sterna_utf8_decode(text, &length);
    for (at = length; at < size; at += length) {
        int32_t next = (int32_t)sterna_utf8_decode(text + at, &length);
        if (utf8proc_grapheme_break_stateful(code, next, &state)) break;
        code = next;
    }
    return at;
}

/* As Hugging Face applies the map: a grapheme cluster below 6 bytes as a whole if a rule matches
 * its beginning (the shortest such rule), else character by character in the same way. */
static void charsmap(const sterna_charsmap *map, const char *text, size_t size, sterna_buffer *out)
{
    enum { WHOLE = 6 };
    sterna_text by;
    for (size_t at = 0, length; at < size; at += length) {
        length = grapheme(text + at, size - at);
        if (length < WHOLE && sterna_charsmap_match(map, text + at, length, true, &by)) {
            sterna_buffer_add(out, by.data, by.size);
            continue;
        }
        for (size_t i = 0, n; i < length; i += n) {
            n = sterna_utf8_size(text[at + i]);
            if (sterna_charsmap_match(map, text + at + i, n, true, &by))
                sterna_buffer_add(out, by.data, by.size);
            else
                sterna_buffer_add(out, text + at + i, n);
        }
    }
}

/* Where user-defined tokens are matched after the normaliser it must leave them alone. */
static size_t protected_token(const sterna_tokenizer *t, const char *text, size_t size)
{
    int32_t index;
    const sterna_trie *trie = t->added_normalized[1];
    return trie ? sterna_trie_longest(trie, text, size, &index) : 0;
}

static size_t sentencepiece_unit(const sterna_tokenizer *t, const char *text, size_t size,
                                 sterna_text *by)
{
    size_t length = protected_token(t, text, size);
    if (!length) {
        length = sterna_charsmap_match(&t->charsmap, text, size, false, by);
        if (length) return length;
        length = sterna_utf8_size(text[0]);
    }
    *by = (sterna_text){text, length};
    return length;
}

static void sentencepiece(const sterna_tokenizer *t, const sterna_normalize_step *step,
                          const char *text, size_t size, sterna_buffer *out)
{
    const char *space = step->escape ? metaspace : " ";
    size_t at = 0, length, start = out->size;
    sterna_text by;
    if (step->remove_extra) { /* at the beginning */
        for (; at < size; at += length) {
            length = sentencepiece_unit(t, text + at, size - at, &by);
            if (by.size != 1 || by.data[0] != ' ') break;
        }
    }
    if (at == size) return;
    if (step->add_prefix && !step->suffix) sterna_buffer_add_text(out, space);
    bool after_space = step->remove_extra;
    for (; at < size; at += length) {
        length = sentencepiece_unit(t, text + at, size - at, &by);
        while (after_space && by.size && by.data[0] == ' ') {
            by.data++;
            by.size--;
        }
        if (!by.size) continue;
        for (size_t i = 0; i < by.size; i++) {
            if (by.data[i] == ' ')
                sterna_buffer_add_text(out, space);
            else
                sterna_buffer_add_char(out, by.data[i]);
        }
        after_space = step->remove_extra && by.data[by.size - 1] == ' ';
    }
    size_t width = strlen(space);
    while (step->remove_extra && !out->failed && out->size - start >= width &&
           memcmp(out->data + out->size - width, space, width) == 0)
        out->size -= width;
    if (step->add_prefix && step->suffix) sterna_buffer_add_text(out, space);
}

/* Whether the step takes the first character away: what is left does not begin the text any more,
 * and gets no prefix where only the beginning has one. */
static bool drops_first(const sterna_normalize_step *step, const char *text, size_t size)
{
    size_t length;
    if (!size) return false;
    uint32_t first = sterna_utf8_decode(text, &length);
    switch (step->kind) {
    case STERNA_NORMALIZE_STRIP: return step->left && sterna_is_white_space(first);
    case STERNA_NORMALIZE_STRIP_MARKS: return sterna_is_mark(first);
    case STERNA_NORMALIZE_NMT: return nmt_drops(first);
    case STERNA_NORMALIZE_BERT:
        return (step->clean && bert_drops(first)) ||
               (step->strip_accents && sterna_is_nonspacing(first));
    case STERNA_NORMALIZE_REPLACE:
        return !step->regex && !step->content.size && step->pattern.size &&
               size >= step->pattern.size &&
               memcmp(text, step->pattern.data, step->pattern.size) == 0;
    default: return false;
    }
}

static sterna_status apply(const sterna_tokenizer *t, const sterna_normalize_step *step,
                           sterna_scratch *scratch, const char *text, size_t size,
                           sterna_buffer *out, sterna_error *err)
{
    switch (step->kind) {
    case STERNA_NORMALIZE_FORM:
        if (!sterna_normal_form_of(text, size, step->form, out)) out->failed = true;
        break;
    case STERNA_NORMALIZE_LOWERCASE: lowercase(text, size, out); break;
    case STERNA_NORMALIZE_STRIP: strip(text, size, step->left, step->right, out); break;
    case STERNA_NORMALIZE_STRIP_MARKS: drop(text, size, sterna_is_mark, out); break;
    case STERNA_NORMALIZE_REPLACE:
        if (step->regex) return replace_regex(step, scratch, text, size, out, err);
        replace_string(text, size, step->pattern, step->content, out);
        break;
    case STERNA_NORMALIZE_PREPEND:
        if (size) sterna_buffer_add(out, step->content.data, step->content.size);
        sterna_buffer_add(out, text, size);
        break;
    case STERNA_NORMALIZE_APPEND:
        sterna_buffer_add(out, text, size);
        if (size) sterna_buffer_add(out, step->content.data, step->content.size);
        break;
    case STERNA_NORMALIZE_BERT: return bert(step, text, size, out, err);
    case STERNA_NORMALIZE_NMT: nmt(text, size, out); break;
    case STERNA_NORMALIZE_CHARSMAP: charsmap(&t->charsmap, text, size, out); break;
    case STERNA_NORMALIZE_SENTENCEPIECE: sentencepiece(t, step, text, size, out); break;
    case STERNA_NORMALIZE_BYTES: sterna_add_byte_chars(out, text, size); break;
    }
    return STERNA_OK;
}

sterna_status sterna_normalize(const sterna_tokenizer *t, sterna_scratch *scratch, const char *text,
                               size_t size, sterna_error *err)
{
    sterna_buffer_clear(&scratch->normal);
    scratch->beginning_dropped = false;
    if (!t->n_normalizer) sterna_buffer_add(&scratch->normal, text, size);
    for (size_t i = 0; i < t->n_normalizer; i++) {
        sterna_buffer_clear(&scratch->other);
        scratch->beginning_dropped |= drops_first(&t->normalizer[i], text, size);
        sterna_status status =
            apply(t, &t->normalizer[i], scratch, text, size, &scratch->other, err);
        if (status) return status;
        sterna_buffer swap = scratch->normal;
        scratch->normal = scratch->other;
        scratch->other = swap;
        text = scratch->normal.size ? scratch->normal.data : "";
        size = scratch->normal.size;
        if (scratch->normal.failed) break;
        if (size > STERNA_TEXT_MAX_BYTES)
            return sterna_fail(err, STERNA_ERROR_LIMIT,
                               "%s: the normalised text is larger than %d bytes", t->name,
                               (int)STERNA_TEXT_MAX_BYTES);
    }
    return scratch->normal.failed ? sterna_fail_memory(err, "a normalised text") : STERNA_OK;
}
