/* WordPiece: the longest token that begins a word, then the longest that continues it, ...; a word
 * that cannot be cut this way is one unknown token. */
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

/* The longest token at `at`, its size into *length; -1 = none. `word` holds a copy of the prefix
 * for continuations in front of the text where there is one. */
static int32_t longest(const sterna_tokenizer *t, sterna_buffer *word, const char *text,
                       size_t size, size_t at, size_t *length)
{
    const sterna_text prefix = t->model.prefix;
    size_t limit = size - at, extra = at ? prefix.size : 0;
    if (limit + extra > t->longest) limit = t->longest > extra ? t->longest - extra : 0;
    const char *key = text + at;
    if (extra) {
        sterna_buffer_clear(word);
        sterna_buffer_add(word, prefix.data, prefix.size);
        sterna_buffer_add(word, text + at, limit);
        if (word->failed) return -1;
        key = word->data;
    }
    while (limit) {
        bool whole = at + limit == size || ((uint8_t)text[at + limit] & 0xc0) != 0x80;
        int32_t id = whole ? sterna_piece_id(t, key, extra + limit) : -1;
        if (id >= 0) {
            *length = limit;
            return id;
        }
        limit--;
    }
    return -1;
}

static size_t count_characters(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) count += ((uint8_t)text[i] & 0xc0) != 0x80;
    return count;
}

sterna_status sterna_wordpiece_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                      const char *text, size_t size, sterna_ids *ids,
                                      sterna_error *err)
{
    const sterna_text word_prefix = t->model.word_prefix;
    sterna_buffer *word = &scratch->other, *key = &scratch->word;
    size_t before = ids->count, at = 0, length = 0;
    bool known = count_characters(text, size) <= t->model.max_word_chars;
    if (word_prefix.size) {
        sterna_buffer_clear(word);
        sterna_buffer_add(word, word_prefix.data, word_prefix.size);
        sterna_buffer_add(word, text, size);
        if (word->failed) return sterna_fail_memory(err, "a word");
        text = word->data;
        size = word->size;
    }
    while (known && at < size) {
        int32_t id = longest(t, key, text, size, at, &length);
        known = id >= 0;
        if (known) sterna_ids_add(ids, id);
        at += length;
    }
    if (key->failed) return sterna_fail_memory(err, "a word");
    if (!known) {
        ids->count = before;
        if (t->roles[STERNA_TOKEN_UNK] >= 0) sterna_ids_add(ids, t->roles[STERNA_TOKEN_UNK]);
    }
    return STERNA_OK;
}
