/* libFuzzer target: any bytes as text, through one vocabulary of each kind. Streaming must give the
 * text of decoding as a whole, every id must exist, and a byte-level vocabulary must give
 * well-formed text back unchanged. The first byte chooses the kind. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { KINDS = 6, BASE = 256, EXTRA = 6 };

/* Every byte, a few merges, a control and a user-defined token. */
static sterna_tokenizer *make(int kind)
{
    static const struct {
        const char *model, *pre;
    } kinds[KINDS] = {{"gpt2", "llama-bpe"}, {"gpt2", "gpt-4o"}, {"gpt2", "deepseek-llm"},
                      {"gpt2", "tiny_aya"},  {"llama", NULL},    {"t5", NULL}};
    static char storage[BASE][8];
    static sterna_text tokens[BASE + EXTRA];
    static float scores[BASE + EXTRA];
    static int32_t types[BASE + EXTRA];
    static const sterna_text merges[] = {{"a b", 3}, {"ab c", 4}, {"\xc4\xa0 a", 4}};
    static const char *const extra[EXTRA] = {"ab",  "abc", "\304\240a",
                                             "<s>", "<t>", "\xe2\x96\x81"};
    for (int i = 0; i < BASE; i++) {
        sterna_buffer text = {0};
        if (kind < 4)
            sterna_buffer_add_utf8(&text, sterna_byte_to_char((uint8_t)i));
        else
            sterna_buffer_format(&text, "<0x%02X>", (unsigned)i);
        memcpy(storage[i], text.data, text.size);
        tokens[i] = (sterna_text){storage[i], text.size};
        types[i] = kind < 4 ? STERNA_TOKEN_NORMAL : STERNA_TOKEN_BYTE;
        scores[i] = -(float)i;
        sterna_buffer_free(&text);
    }
    for (int i = 0; i < EXTRA; i++) {
        tokens[BASE + i] = (sterna_text){extra[i], strlen(extra[i])};
        types[BASE + i] = i == 3   ? STERNA_TOKEN_CONTROL
                          : i == 4 ? STERNA_TOKEN_USER_DEFINED
                                   : STERNA_TOKEN_NORMAL;
        scores[BASE + i] = -(float)i - 1;
    }
    sterna_vocab vocab;
    sterna_vocab_init(&vocab);
    vocab.model = kinds[kind].model;
    vocab.pre = kinds[kind].pre;
    vocab.tokens = tokens;
    vocab.types = types;
    vocab.scores = scores;
    vocab.n_tokens = BASE + EXTRA;
    vocab.merges = merges;
    vocab.n_merges = 3;
    sterna_tokenizer *t = NULL;
    if (sterna_tokenizer_from_vocab(&vocab, "t", &t, NULL)) __builtin_trap();
    return t;
}

static bool well_formed(const char *text, size_t size)
{
    for (size_t at = 0, length; at < size; at += length)
        if (!sterna_utf8_check(text + at, size - at, &length)) return false;
    return true;
}

static void check(const sterna_tokenizer *t, int kind, const char *text, size_t size)
{
    int32_t *ids = NULL;
    size_t count = 0;
    sterna_buffer whole = {0}, streamed = {0};
    sterna_detok detok;
    if (sterna_encode(t, text, size, 0, &ids, &count, NULL)) __builtin_trap();
    sterna_detok_init(&detok, t, 0);
    for (size_t i = 0; i < count; i++) {
        if (sterna_token_type_of(t, ids[i]) == STERNA_TOKEN_CONTROL) __builtin_trap();
        if (sterna_detok_push(&detok, ids[i], &streamed, NULL)) __builtin_trap();
    }
    if (sterna_detok_flush(&detok, &streamed, NULL)) __builtin_trap();
    if (sterna_decode(t, ids, count, 0, &whole, NULL)) __builtin_trap();
    if (streamed.size && !well_formed(streamed.data, streamed.size)) __builtin_trap();
    bool same = whole.size == streamed.size &&
                (!whole.size || memcmp(whole.data, streamed.data, whole.size) == 0);
    if (whole.size && well_formed(whole.data, whole.size) && !same) __builtin_trap();
    if (kind < 4 && size && well_formed(text, size) &&
        (whole.size != size || memcmp(whole.data, text, size) != 0))
        __builtin_trap();
    sterna_free(ids);
    sterna_buffer_free(&whole);
    sterna_buffer_free(&streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static sterna_tokenizer *tokenizers[KINDS];
    if (!size) return 0;
    int kind = bytes[0] % KINDS;
    if (!tokenizers[kind]) tokenizers[kind] = make(kind);
    check(tokenizers[kind], kind, (const char *)bytes + 1, size - 1);
    return 0;
}
