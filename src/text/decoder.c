/* From tokens to text. What a token stands for does not depend on its neighbours, but for the
 * beginning of the text and a few spaces; so the steps of the decoder run once, over every token,
 * and decoding is copying. */
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

typedef struct work {
    sterna_scratch scratch;
    sterna_buffer text, other;
    size_t first_skip;
    bool space_after;
} work;

static void swap(work *w)
{
    sterna_buffer other = w->text;
    w->text = w->other;
    w->other = other;
    sterna_buffer_clear(&w->other);
}

static bool begins_with(const sterna_buffer *text, size_t at, const char *bytes, size_t size)
{
    return text->size - at >= size && memcmp(text->data + at, bytes, size) == 0;
}

static sterna_status replace(const sterna_decode_step *step, work *w, sterna_error *err)
{
    size_t copied = 0, begin, end;
    if (step->regex) {
        sterna_regex_walk walk;
        bool found;
        sterna_regex_begin(&walk, step->regex, &w->scratch.regex, w->text.data, w->text.size);
        for (;;) {
            sterna_status status = sterna_regex_next(&walk, &found, &begin, &end, err);
            if (status) return status;
            if (!found) break;
            sterna_buffer_add(&w->other, w->text.data + copied, begin - copied);
            sterna_buffer_add(&w->other, step->content.data, step->content.size);
            copied = end;
        }
    } else {
        for (begin = 0; step->pattern.size && begin < w->text.size;) {
            if (!begins_with(&w->text, begin, step->pattern.data, step->pattern.size)) {
                begin++;
                continue;
            }
            sterna_buffer_add(&w->other, w->text.data + copied, begin - copied);
            sterna_buffer_add(&w->other, step->content.data, step->content.size);
            begin += step->pattern.size;
            copied = begin;
        }
    }
    sterna_buffer_add(&w->other, w->text.data + copied, w->text.size - copied);
    swap(w);
    return STERNA_OK;
}

/* GPT-2's characters to bytes; a token with any other character stays as it is. */
static void bytes_of(work *w)
{
    for (size_t at = 0, length; at < w->text.size; at += length) {
        if (!sterna_utf8_check(w->text.data + at, w->text.size - at, &length)) return;
        int byte = sterna_char_to_byte(sterna_utf8_decode(w->text.data + at, &length));
        if (byte < 0) {
            sterna_buffer_clear(&w->other);
            return;
        }
        sterna_buffer_add_char(&w->other, (char)byte);
    }
    swap(w);
}

/* " ." and the like are glued to the word before (Hugging Face's clean-up of English). */
static bool is_glued(const sterna_buffer *text)
{
    static const char *const beginnings[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (begins_with(text, 0, beginnings[i], strlen(beginnings[i]))) return true;
    return false;
}

static void put_space_in_front(work *w)
{
    sterna_buffer_add_char(&w->other, ' ');
    sterna_buffer_add(&w->other, w->text.data, w->text.size);
    swap(w);
    w->first_skip = 1;
}

static void wordpiece(const sterna_decode_step *step, work *w)
{
    if (step->pattern.size && begins_with(&w->text, 0, step->pattern.data, step->pattern.size)) {
        sterna_buffer_add(&w->other, w->text.data + step->pattern.size,
                          w->text.size - step->pattern.size);
        swap(w);
    } else if (!step->cleanup || !is_glued(&w->text)) {
        put_space_in_front(w);
    }
}

static void strip_token(const sterna_decode_step *step, work *w)
{
    size_t begin = 0, end = w->text.size, width = step->content.size;
    for (size_t i = 0; i < step->left && width; i++) {
        if (!begins_with(&w->text, begin, step->content.data, width)) break;
        begin += width;
    }
    for (size_t i = 0; i < step->right && width && end - begin >= width; i++) {
        if (memcmp(w->text.data + end - width, step->content.data, width) != 0) break;
        end -= width;
    }
    sterna_buffer_add(&w->other, w->text.data + begin, end - begin);
    swap(w);
}

/* How many bytes fall away when the token begins the text. */
static void strip_beginning(const sterna_decode_step *step, size_t most, work *w)
{
    size_t width = step->content.size;
    for (size_t i = 0; i < most && width && w->first_skip + width < 256; i++) {
        if (!begins_with(&w->text, w->first_skip, step->content.data, width)) break;
        w->first_skip += width;
    }
}

static sterna_status apply(const sterna_decode_step *step, const sterna_token *token, work *w,
                           sterna_error *err)
{
    int byte;
    switch (step->kind) {
    case STERNA_DECODE_REPLACE: return replace(step, w, err);
    case STERNA_DECODE_BYTES:
        if (!token->added) bytes_of(w);
        break;
    case STERNA_DECODE_BYTE_FALLBACK:
        byte = sterna_byte_token((sterna_text){w->text.data, w->text.size});
        if (byte >= 0) {
            sterna_buffer_clear(&w->text);
            sterna_buffer_add_char(&w->text, (char)byte);
        }
        break;
    case STERNA_DECODE_METASPACE: {
        sterna_status status = replace(step, w, err);
        if (status) return status;
        if (step->strip_first) strip_beginning(step, SIZE_MAX, w);
        break;
    }
    case STERNA_DECODE_WORDPIECE: wordpiece(step, w); break;
    case STERNA_DECODE_SUFFIX: {
        size_t size = step->pattern.size;
        if (size && w->text.size >= size &&
            begins_with(&w->text, w->text.size - size, step->pattern.data, size)) {
            w->text.size -= size;
            w->space_after = true;
        }
        break;
    }
    case STERNA_DECODE_STRIP: strip_token(step, w); break;
    case STERNA_DECODE_FUSE: break;
    case STERNA_DECODE_STRIP_TEXT: strip_beginning(step, step->left, w); break;
    case STERNA_DECODE_JOIN: put_space_in_front(w); break;
    }
    return STERNA_OK;
}

sterna_status sterna_tokenizer_decode_all(sterna_tokenizer *t, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    work w = {.scratch.regex.budget =
                  STERNA_REGEX_BUDGET_BASE + (uint64_t)STERNA_REGEX_BUDGET_PER_BYTE * t->n_tokens};
    for (size_t i = 0; i < t->n_tokens && !status; i++) {
        sterna_token *token = &t->tokens[i];
        sterna_buffer_clear(&w.text);
        sterna_buffer_clear(&w.other);
        sterna_buffer_add(&w.text, token->text.data, token->text.size);
        w.first_skip = 0;
        w.space_after = false;
        for (size_t k = 0; k < t->n_decoder && !status && !w.text.failed && !w.other.failed; k++)
            status = apply(&t->decoder[k], token, &w, err);
        if (status || w.text.failed || w.other.failed) break;
        bool same = w.text.size == token->text.size &&
                    (!w.text.size || memcmp(w.text.data, token->text.data, w.text.size) == 0);
        token->bytes = same ? token->text : sterna_tokenizer_keep(t, w.text.data, w.text.size);
        token->first_skip =
            (uint8_t)(w.first_skip < token->bytes.size ? w.first_skip : token->bytes.size);
        token->space_after = w.space_after;
    }
    if (!status && (w.text.failed || w.other.failed || t->arena.failed))
        status = sterna_fail_memory(err, "the text of tokens");
    sterna_regex_scratch_free(&w.scratch.regex);
    sterna_buffer_free(&w.text);
    sterna_buffer_free(&w.other);
    return status;
}

/* ---- decoding ---- */

void sterna_detok_init(sterna_detok *detok, const sterna_tokenizer *tokenizer, int flags)
{
    *detok = (sterna_detok){.tokenizer = tokenizer, .flags = flags};
}

void sterna_detok_continue(sterna_detok *detok)
{
    detok->started = true;
}

/* The bytes of the next token, without caring for whole characters: a space before it (*space) and
 * what it stands for. */
static sterna_status next_bytes(sterna_detok *detok, int32_t id, bool *space, sterna_text *bytes,
                                sterna_error *err)
{
    const sterna_tokenizer *t = detok->tokenizer;
    *space = false;
    *bytes = (sterna_text){"", 0};
    if (id < 0 || (size_t)id >= t->n_tokens)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: token id %d is not in the vocabulary of %zu tokens", t->name,
                           (int)id, t->n_tokens);
    const sterna_token *token = &t->tokens[id];
    bool special = token->type == STERNA_TOKEN_CONTROL || token->type == STERNA_TOKEN_UNKNOWN;
    if (special && detok->flags & STERNA_SKIP_SPECIAL) return STERNA_OK;
    *space = detok->space_pending;
    *bytes = token->bytes;
    if (!detok->started) {
        bytes->data += token->first_skip;
        bytes->size -= token->first_skip;
    }
    if (token->bytes.size) detok->started = true;
    detok->space_pending = token->space_after;
    return STERNA_OK;
}

sterna_status sterna_decode(const sterna_tokenizer *tokenizer, const int32_t *ids, size_t count,
                            int flags, sterna_buffer *text, sterna_error *err)
{
    sterna_detok detok;
    sterna_detok_init(&detok, tokenizer, flags);
    for (size_t i = 0; i < count; i++) {
        bool space;
        sterna_text bytes;
        sterna_status status = next_bytes(&detok, ids[i], &space, &bytes, err);
        if (status) return status;
        if (space) sterna_buffer_add_char(text, ' ');
        sterna_buffer_add(text, bytes.data, bytes.size);
    }
    return text->failed ? sterna_fail_memory(err, "a decoded text") : STERNA_OK;
}

static bool may_continue(const sterna_detok *detok)
{
    /* the bytes so far could still become a character: the check stopped for want of bytes */
    size_t length;
    return !sterna_utf8_check((const char *)detok->pending, detok->n_pending, &length) &&
           length == detok->n_pending;
}

/* One more byte; what is whole goes out, and what cannot become whole as U+FFFD. */
static void push_byte(sterna_detok *detok, char byte, sterna_buffer *out)
{
    detok->pending[detok->n_pending++] = (uint8_t)byte;
    while (detok->n_pending) {
        const char *pending = (const char *)detok->pending;
        size_t length;
        uint8_t lead = detok->pending[0];
        bool whole = sterna_utf8_check(pending, detok->n_pending, &length);
        bool could_lead = lead >= 0xc2 && lead <= 0xf4;
        if (!whole && could_lead && may_continue(detok)) return;
        if (whole)
            sterna_buffer_add(out, pending, length);
        else
            sterna_buffer_add(out, "\xef\xbf\xbd", 3);
        detok->n_pending = (uint8_t)(detok->n_pending - length);
        memmove(detok->pending, detok->pending + length, detok->n_pending);
    }
}

sterna_status sterna_detok_push(sterna_detok *detok, int32_t id, sterna_buffer *text,
                                sterna_error *err)
{
    bool space;
    sterna_text bytes;
    sterna_status status = next_bytes(detok, id, &space, &bytes, err);
    if (status) return status;
    if (space) push_byte(detok, ' ', text);
    for (size_t i = 0; i < bytes.size; i++) push_byte(detok, bytes.data[i], text);
    return text->failed ? sterna_fail_memory(err, "a decoded text") : STERNA_OK;
}

sterna_status sterna_detok_flush(sterna_detok *detok, sterna_buffer *text, sterna_error *err)
{
    if (detok->n_pending) sterna_buffer_add(text, "\xef\xbf\xbd", 3);
    detok->n_pending = 0;
    return text->failed ? sterna_fail_memory(err, "a decoded text") : STERNA_OK;
}
