/* A tokenizer from what a GGUF's metadata hold. Defaults for what the file does not say are those
 * of its tokenizer.ggml.model, as GGUF's writers and readers agree on them. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "text/load_internal.h"

static const sterna_text metaspace = {"\xe2\x96\x81", 3}, space = {" ", 1};

void sterna_vocab_init(sterna_vocab *vocab)
{
    *vocab = (sterna_vocab){.bos = -1,
                            .eos = -1,
                            .unk = -1,
                            .sep = -1,
                            .pad = -1,
                            .cls = -1,
                            .mask = -1,
                            .eot = -1,
                            .eom = -1,
                            .add_bos = -1,
                            .add_eos = -1,
                            .add_sep = -1,
                            .add_space_prefix = -1,
                            .remove_extra_whitespaces = -1,
                            .escape_whitespaces = -1,
                            .lowercase = -1,
                            .strip_accents = -1};
}

static bool flag(int8_t value, bool otherwise)
{
    return value < 0 ? otherwise : value != 0;
}

/* ---- what all kinds share ---- */

static void set_roles(sterna_tokenizer *t, const sterna_vocab *vocab)
{
    const int32_t ids[STERNA_TOKEN_ROLES] = {
        [STERNA_TOKEN_BOS] = vocab->bos,   [STERNA_TOKEN_EOS] = vocab->eos,
        [STERNA_TOKEN_UNK] = vocab->unk,   [STERNA_TOKEN_SEP] = vocab->sep,
        [STERNA_TOKEN_PAD] = vocab->pad,   [STERNA_TOKEN_CLS] = vocab->cls,
        [STERNA_TOKEN_MASK] = vocab->mask, [STERNA_TOKEN_EOT] = vocab->eot,
        [STERNA_TOKEN_EOM] = vocab->eom};
    for (size_t i = 0; i < STERNA_TOKEN_ROLES; i++)
        t->roles[i] = ids[i] >= 0 && (size_t)ids[i] < t->n_tokens ? ids[i] : -1;
}

static void default_role(sterna_tokenizer *t, sterna_token_role role, int32_t id)
{
    if (t->roles[role] < 0 && (size_t)id < t->n_tokens) t->roles[role] = id;
}

/* BOS and EOS (or what stands in for them) around the ids. An asked-for token that does not exist
 * is left out. */
static void set_ends(sterna_tokenizer *t, bool bos, bool eos, sterna_token_role first,
                     sterna_token_role last)
{
    t->add_bos = bos && t->roles[first] >= 0;
    t->add_eos = eos && t->roles[last] >= 0;
    if (t->add_bos) sterna_ids_add(&t->prefix, t->roles[first]);
    if (t->add_eos) sterna_ids_add(&t->suffix, t->roles[last]);
}

static sterna_status set_tokens(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        sterna_status status =
            sterna_tokenizer_set(t, i, vocab->tokens[i], vocab->types ? vocab->types[i] : 0,
                                 vocab->scores ? (double)vocab->scores[i] : 0, err);
        if (status) return status;
    }
    return STERNA_OK;
}

static bool contains_ignoring_case(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (; text && *text; text++)
        if (strncasecmp(text, word, length) == 0) return true;
    return false;
}

/* Control and user-defined tokens are cut out of the raw text. */
static sterna_status add_specials(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    bool phi3 = contains_ignoring_case(vocab->model_name, "phi-3") ||
                contains_ignoring_case(vocab->model_name, "phi3");
    for (size_t i = 0; i < t->n_tokens; i++) {
        const sterna_token *token = &t->tokens[i];
        bool user = token->type == STERNA_TOKEN_USER_DEFINED;
        bool special = token->type == STERNA_TOKEN_CONTROL || token->type == STERNA_TOKEN_UNKNOWN;
        if ((!user && !special) || !token->text.size) continue;
        sterna_added added = {.id = (int32_t)i, .special = special};
        /* Phi-3's own tokens swallow the white space behind them, Llama's do not */
        added.rstrip = phi3 && strcmp(token->text.data, "<unk>") != 0 &&
                       strcmp(token->text.data, "<s>") != 0 &&
                       strcmp(token->text.data, "<|endoftext|>") != 0;
        sterna_status status = sterna_tokenizer_add(t, added, err);
        if (status) return status;
    }
    return STERNA_OK;
}

/* ---- byte-level BPE ---- */

static sterna_status add_merges(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    if (vocab->n_merges > STERNA_TOKENIZER_MAX_MERGES)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "%s: %zu merges are more than the limit of %d",
                           t->name, vocab->n_merges, (int)STERNA_TOKENIZER_MAX_MERGES);
    sterna_buffer both = {0};
    t->model.merges = sterna_merges_new(vocab->n_merges);
    bool failed = !t->model.merges;
    for (size_t i = 0; i < vocab->n_merges && !failed; i++) {
        const sterna_text line = vocab->merges[i];
        /* the space between the two: not the first character, which may be one itself */
        const char *gap = line.size > 1 ? memchr(line.data + 1, ' ', line.size - 1) : NULL;
        if (!gap) continue;
        size_t left = (size_t)(gap - line.data), right = line.size - left - 1;
        sterna_buffer_clear(&both);
        sterna_buffer_add(&both, line.data, left);
        sterna_buffer_add(&both, gap + 1, right);
        failed = both.failed;
        int32_t a = sterna_piece_id(t, line.data, left), b = sterna_piece_id(t, gap + 1, right);
        int32_t merged = failed ? -1 : sterna_piece_id(t, both.data, both.size);
        if (a >= 0 && b >= 0 && merged >= 0) /* others could never apply */
            sterna_merges_put(t->model.merges, a, b, (uint32_t)i, merged, false);
    }
    sterna_buffer_free(&both);
    return failed ? sterna_fail_memory(err, "merges") : STERNA_OK;
}

/* Files from before tokenizer.ggml.pre existed: some vocabularies are known by a token that stands
 * at its own place in them and nowhere else. */
static const char *pre_known_by_tokens(const sterna_vocab *vocab)
{
    static const struct {
        size_t id;
        const char *text, *pre;
    } marks[] = {{128000, "<|begin_of_text|>", "llama-bpe"},
                 {151643, "<|endoftext|>", "qwen2"},
                 {50256, "<|endoftext|>", "gpt-2"}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (marks[i].id >= vocab->n_tokens) continue;
        const sterna_text token = vocab->tokens[marks[i].id];
        if (token.size == strlen(marks[i].text) &&
            memcmp(token.data, marks[i].text, token.size) == 0)
            return marks[i].pre;
    }
    return NULL;
}

static sterna_status find_pre(const sterna_vocab *vocab, const char *name,
                              const sterna_pretokenizer_row **row, const char **pre,
                              sterna_error *err)
{
    sterna_buffer known = {0};
    *pre = vocab->pre && *vocab->pre ? vocab->pre : pre_known_by_tokens(vocab);
    *row = *pre ? sterna_pretokenizer_find(*pre) : NULL;
    if (*row) return STERNA_OK;
    sterna_pretokenizer_names(&known);
    const char *names = known.failed || !known.data ? "" : known.data;
    sterna_status status =
        *pre
            ? sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                          "%s: unknown pre-tokenizer '%.64s' (tokenizer.ggml.pre): use the model's "
                          "tokenizer.json instead, or set the key to the one of these that cuts "
                          "text the same way: %s",
                          name, *pre, names)
            : sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                          "%s: the file does not name its pre-tokenizer (tokenizer.ggml.pre): use "
                          "the model's tokenizer.json instead, or set the key to one of: %s",
                          name, names);
    sterna_buffer_free(&known);
    return status;
}

static sterna_status load_bpe(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    const sterna_pretokenizer_row *row;
    sterna_vocab gemma = *vocab;
    const char *pre;
    if (strcmp(vocab->model, "gemma4") == 0) gemma.pre = "gemma4";
    if (strcmp(vocab->model, "whitespace") == 0) gemma.pre = "whitespace";
    sterna_status status = find_pre(&gemma, t->name, &row, &pre, err);
    if (status) return status;
    bool white = strcmp(pre, "whitespace") == 0, escape = row->raw && !white;
    sterna_split_step at_space = {
        .kind = STERNA_SPLIT, .matcher = STERNA_MATCH_WHITE_SPACE, .behaviour = STERNA_REMOVED};
    t->model.kind = STERNA_MODEL_BPE;
    t->model.ignore_merges = row->ignore_merges;
    t->model.byte_fallback = row->raw;
    t->model.whole_newlines = escape && strcmp(pre, "sarvam-moe") != 0;
    if (!vocab->n_merges && strcmp(pre, "kimi-k2") == 0) { /* a rank list without its merges */
        t->model.kind = STERNA_MODEL_SPAN_BPE;
        t->model.ignore_merges = true;
        for (size_t i = 0; i < t->n_tokens; i++) t->tokens[i].score = -(double)i;
    } else if (!vocab->n_merges) {
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: a byte-pair vocabulary needs tokenizer.ggml.merges, which the file "
                           "does not have",
                           t->name);
    }
    if (escape)
        status = sterna_tokenizer_normalize(
            t,
            (sterna_normalize_step){
                .kind = STERNA_NORMALIZE_REPLACE, .pattern = space, .content = metaspace},
            err);
    if (!status && white && flag(vocab->lowercase, false))
        status = sterna_tokenizer_normalize(
            t, (sterna_normalize_step){.kind = STERNA_NORMALIZE_LOWERCASE}, err);
    if (!status)
        status = white ? sterna_tokenizer_split(t, at_space, err)
                       : sterna_tokenizer_pretokenizer(t, row, err);
    if (!status && flag(vocab->add_space_prefix, false) && !row->raw)
        status = sterna_tokenizer_normalize(
            t, (sterna_normalize_step){.kind = STERNA_NORMALIZE_PREPEND, .content = space}, err);
    sterna_decode_step decode = {.kind = escape ? STERNA_DECODE_REPLACE : STERNA_DECODE_BYTES,
                                 .pattern = metaspace,
                                 .content = space};
    if (!status && !white) status = sterna_tokenizer_decode_step(t, decode, err);
    if (!status && row->raw)
        status = sterna_tokenizer_decode_step(
            t, (sterna_decode_step){.kind = STERNA_DECODE_BYTE_FALLBACK}, err);
    if (!status) status = sterna_tokenizer_index(t, err);
    if (!status && t->model.kind == STERNA_MODEL_BPE) status = add_merges(t, vocab, err);
    bool bos = flag(vocab->add_bos, row->add_bos) || strcmp(pre, "gemma4") == 0;
    set_ends(t, bos, flag(vocab->add_eos, false), STERNA_TOKEN_BOS, STERNA_TOKEN_EOS);
    snprintf(t->description, sizeof t->description, "%s BPE, pre-tokenizer %.64s%s",
             row->raw ? "character-level" : "byte-level", pre,
             pre != vocab->pre && !row->raw ? " (known by its tokens)" : "");
    return status;
}

/* ---- SentencePiece ---- */

static sterna_status load_sentencepiece_bpe(sterna_tokenizer *t, const sterna_vocab *vocab,
                                            sterna_error *err)
{
    bool prefix = flag(vocab->add_space_prefix, true),
         escape = flag(vocab->escape_whitespaces, true);
    default_role(t, STERNA_TOKEN_BOS, 1);
    default_role(t, STERNA_TOKEN_EOS, 2);
    default_role(t, STERNA_TOKEN_UNK, 0);
    t->model.kind = STERNA_MODEL_SPAN_BPE;
    t->model.byte_fallback = true;
    t->model.fuse_unknown = true;
    sterna_status status = STERNA_OK;
    if (prefix)
        status = sterna_tokenizer_normalize(
            t, (sterna_normalize_step){.kind = STERNA_NORMALIZE_PREPEND, .content = space}, err);
    if (!status && escape)
        status = sterna_tokenizer_normalize(
            t,
            (sterna_normalize_step){
                .kind = STERNA_NORMALIZE_REPLACE, .pattern = space, .content = metaspace},
            err);
    if (!status)
        status = sterna_tokenizer_decode_step(
            t, (sterna_decode_step){.kind = STERNA_DECODE_BYTE_FALLBACK}, err);
    sterna_decode_step decode = {
        .kind = STERNA_DECODE_REPLACE, .pattern = metaspace, .content = space};
    if (!status) status = sterna_tokenizer_decode_step(t, decode, err);
    sterna_decode_step strip = {.kind = STERNA_DECODE_STRIP_TEXT, .content = space, .left = 1};
    if (!status && prefix) status = sterna_tokenizer_decode_step(t, strip, err);
    if (!status) status = sterna_tokenizer_index(t, err);
    set_ends(t, flag(vocab->add_bos, true), flag(vocab->add_eos, false), STERNA_TOKEN_BOS,
             STERNA_TOKEN_EOS);
    snprintf(t->description, sizeof t->description, "SentencePiece BPE");
    return status;
}

static sterna_status load_unigram(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    sterna_normalize_step normalizer = {.kind = STERNA_NORMALIZE_SENTENCEPIECE,
                                        .add_prefix = flag(vocab->add_space_prefix, true),
                                        .remove_extra = flag(vocab->remove_extra_whitespaces, true),
                                        .escape = flag(vocab->escape_whitespaces, true)};
    default_role(t, STERNA_TOKEN_EOS, 1);
    default_role(t, STERNA_TOKEN_UNK, 2);
    default_role(t, STERNA_TOKEN_PAD, 0);
    t->model.kind = STERNA_MODEL_UNIGRAM;
    t->model.fuse_unknown = true;
    sterna_status status = sterna_charsmap_load(&t->charsmap, vocab->precompiled_charsmap,
                                                vocab->charsmap_size, t->name, err);
    if (!status) status = sterna_tokenizer_normalize(t, normalizer, err);
    sterna_decode_step decode = {
        .kind = STERNA_DECODE_REPLACE, .pattern = metaspace, .content = space};
    sterna_decode_step strip = {.kind = STERNA_DECODE_STRIP_TEXT, .content = space, .left = 1};
    if (!status) status = sterna_tokenizer_decode_step(t, decode, err);
    if (!status && normalizer.add_prefix) status = sterna_tokenizer_decode_step(t, strip, err);
    if (!status) status = sterna_tokenizer_index(t, err);
    if (!status) status = sterna_tokenizer_make_unigram(t, err);
    set_ends(t, flag(vocab->add_bos, false), flag(vocab->add_eos, true), STERNA_TOKEN_BOS,
             STERNA_TOKEN_EOS);
    snprintf(t->description, sizeof t->description, "unigram");
    return status;
}

/* ---- WordPiece: words begin with U+2581 here, continuations are bare ---- */

static sterna_status load_wordpiece(sterna_tokenizer *t, const sterna_vocab *vocab,
                                    sterna_error *err)
{
    enum { WORD_CHARS = 100 }; /* BERT's own limit */
    bool lower = flag(vocab->lowercase, true);
    sterna_normalize_step normalizer = {.kind = STERNA_NORMALIZE_BERT,
                                        .clean = true,
                                        .cjk = true,
                                        .lower = lower,
                                        .strip_accents = flag(vocab->strip_accents, lower)};
    sterna_split_step at_space = {
        .kind = STERNA_SPLIT, .matcher = STERNA_MATCH_WHITE_SPACE, .behaviour = STERNA_REMOVED};
    sterna_split_step at_punctuation = {
        .kind = STERNA_SPLIT, .matcher = STERNA_MATCH_PUNCTUATION, .behaviour = STERNA_ISOLATED};
    if (t->roles[STERNA_TOKEN_BOS] < 0) t->roles[STERNA_TOKEN_BOS] = t->roles[STERNA_TOKEN_CLS];
    default_role(t, STERNA_TOKEN_BOS, 101);
    default_role(t, STERNA_TOKEN_CLS, t->roles[STERNA_TOKEN_BOS]);
    default_role(t, STERNA_TOKEN_UNK, 100);
    default_role(t, STERNA_TOKEN_SEP, 102);
    default_role(t, STERNA_TOKEN_PAD, 0);
    default_role(t, STERNA_TOKEN_MASK, 103);
    t->model.kind = STERNA_MODEL_WORDPIECE;
    t->model.word_prefix = metaspace;
    t->model.max_word_chars = WORD_CHARS;
    sterna_status status = sterna_tokenizer_normalize(t, normalizer, err);
    if (!status) status = sterna_tokenizer_split(t, at_space, err);
    if (!status) status = sterna_tokenizer_split(t, at_punctuation, err);
    sterna_decode_step decode = {
        .kind = STERNA_DECODE_REPLACE, .pattern = metaspace, .content = space};
    sterna_decode_step strip = {.kind = STERNA_DECODE_STRIP_TEXT, .content = space, .left = 1};
    if (!status) status = sterna_tokenizer_decode_step(t, decode, err);
    if (!status) status = sterna_tokenizer_decode_step(t, strip, err);
    if (!status) status = sterna_tokenizer_index(t, err);
    set_ends(t, flag(vocab->add_bos, true), flag(vocab->add_sep, true), STERNA_TOKEN_BOS,
             STERNA_TOKEN_SEP);
    snprintf(t->description, sizeof t->description, "WordPiece%s", lower ? ", lower case" : "");
    return status;
}

/* ---- RWKV: tokens written with Python's escapes, the longest one at each byte ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void unescape(sterna_text text, sterna_buffer *out)
{
    sterna_buffer_clear(out);
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '\\' && i + 1 < text.size) {
            c = text.data[++i];
            int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_digit(text.data[i + 2]) : -1;
            if (c == 'x' && high >= 0 && low >= 0) {
                c = (char)(high * 16 + low);
                i += 2;
            } else {
                c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
            }
        }
        sterna_buffer_add_char(out, c);
    }
}

static sterna_status load_longest(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    sterna_buffer bytes = {0};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < t->n_tokens && !status; i++) {
        sterna_token *token = &t->tokens[i];
        if (token->type == STERNA_TOKEN_CONTROL) continue;
        unescape(token->text, &bytes);
        if (bytes.failed) status = sterna_fail_memory(err, "a vocabulary");
        if (!status)
            status =
                sterna_tokenizer_set(t, i, (sterna_text){bytes.data ? bytes.data : "", bytes.size},
                                     token->type, token->score, err);
    }
    sterna_buffer_free(&bytes);
    t->model.kind = STERNA_MODEL_LONGEST;
    if (!status) status = sterna_tokenizer_index(t, err);
    if (!status) status = sterna_tokenizer_make_unigram(t, err);
    set_ends(t, flag(vocab->add_bos, false), flag(vocab->add_eos, false), STERNA_TOKEN_BOS,
             STERNA_TOKEN_EOS);
    snprintf(t->description, sizeof t->description, "longest match (RWKV)");
    return status;
}

static sterna_status load_none(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err)
{
    (void)vocab;
    t->model.kind = STERNA_MODEL_NONE;
    snprintf(t->description, sizeof t->description, "no vocabulary (ids only)");
    return sterna_tokenizer_index(t, err);
}

static const struct {
    const char *model;
    sterna_status (*load)(sterna_tokenizer *t, const sterna_vocab *vocab, sterna_error *err);
} kinds[] = {
    {"gpt2", load_bpe},       {"gemma4", load_bpe},
    {"whitespace", load_bpe}, {"llama", load_sentencepiece_bpe},
    {"t5", load_unigram},     {"bert", load_wordpiece},
    {"rwkv", load_longest},   {"none", load_none},
    {"no_vocab", load_none},
};

sterna_status sterna_tokenizer_from_vocab(const sterna_vocab *vocab, const char *name,
                                          sterna_tokenizer **out, sterna_error *err)
{
    sterna_tokenizer *t = NULL;
    size_t kind = 0, n_kinds = sizeof kinds / sizeof *kinds;
    const char *model = vocab->model ? vocab->model : "";
    while (kind < n_kinds && strcmp(kinds[kind].model, model) != 0) kind++;
    if (kind == n_kinds)
        return sterna_fail(
            err, STERNA_ERROR_UNSUPPORTED,
            "%s: unknown kind of tokenizer '%.64s' (tokenizer.ggml.model); known are "
            "gpt2, llama, t5, bert, gemma4, whitespace, rwkv and none",
            name, model);
    bool empty = kinds[kind].load == load_none;
    if (!vocab->tokens && !empty)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the file has no vocabulary (tokenizer.ggml.tokens)", name);
    sterna_status status = sterna_tokenizer_new(name, vocab->n_tokens, &t, err);
    if (status) return status;
    set_roles(t, vocab);
    if (vocab->tokens) status = set_tokens(t, vocab, err);
    if (!status && !empty) sterna_tokenizer_mark_controls(t);
    if (!status) status = kinds[kind].load(t, vocab, err);
    if (!status) status = add_specials(t, vocab, err);
    if (!status) status = sterna_tokenizer_finish(t, err);
    if (status) {
        sterna_tokenizer_free(t);
        return status;
    }
    *out = t;
    return STERNA_OK;
}
