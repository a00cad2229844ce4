/* Tokenizers: text to ids and back, for every kind of vocabulary that language models ship with.
 *
 * One opaque, immutable sterna_tokenizer (share it between threads freely) whatever it was read
 * from: the metadata of a GGUF, a Hugging Face tokenizer.json, a SentencePiece .model, a tiktoken
 * rank list or llama2.c's tokenizer.bin. This room knows nothing of model files: who has read a
 * GGUF fills a sterna_vocab with borrowed pointers and everything needed is copied.
 *
 * What users write never becomes a control token (<|im_end|>, </s>, ...) unless the caller asks
 * for it with STERNA_PARSE_SPECIAL. Any bytes may be encoded: ill-formed UTF-8 is read as U+FFFD,
 * one for each maximal ill-formed part (the Unicode standard's substitution). Encoding takes time
 * proportional to n log n for n bytes of text, whatever the text.
 */
#ifndef STERNA_TEXT_TOKENIZER_H
#define STERNA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

typedef struct sterna_tokenizer sterna_tokenizer;

/* The kinds of a token, with the numbers that GGUF gives them. */
typedef enum sterna_token_type {
    STERNA_TOKEN_NORMAL = 1,
    STERNA_TOKEN_UNKNOWN = 2,
    STERNA_TOKEN_CONTROL = 3,      /* made only by the model's side: never by plain text */
    STERNA_TOKEN_USER_DEFINED = 4, /* matched in any text, before everything else */
    STERNA_TOKEN_UNUSED = 5,
    STERNA_TOKEN_BYTE = 6
} sterna_token_type;

/* Limits; larger vocabularies are refused with STERNA_ERROR_LIMIT. */
enum {
    STERNA_TOKENIZER_MAX_TOKENS = 1 << 24,
    STERNA_TOKENIZER_MAX_MERGES = 1 << 24,
    STERNA_TOKENIZER_MAX_TOKEN_BYTES = 1 << 16,
    STERNA_TOKENIZER_MAX_FILE_BYTES = 1 << 28 /* of tokenizer.json and the other text files */
};

/* What a GGUF's tokenizer.ggml.* metadata hold. Pointers are borrowed for the call only. Start from
 * sterna_vocab_init, which sets every id to -1 (none) and every flag to "the file does not say". */
typedef struct sterna_vocab {
    const char *model; /* "gpt2" (byte-level BPE), "llama" (SentencePiece BPE with scores), "t5"
                          (unigram), "bert" (WordPiece), "none"/"no_vocab" (ids only), ... */
    const char *pre;   /* tokenizer.ggml.pre: "llama-bpe", "qwen2", ... or NULL */
    size_t n_tokens;
    const sterna_text *tokens; /* [n_tokens] */
    const float *scores;       /* [n_tokens] or NULL */
    const int32_t *types;      /* [n_tokens] of sterna_token_type, or NULL: all normal */
    size_t n_merges;
    const sterna_text *merges; /* [n_merges], "left right" each; or NULL */
    int32_t bos, eos, unk, sep, pad, cls, mask, eot, eom; /* ids; -1 = none */
    /* Flags: 1 yes, 0 no, -1 the file does not say (the default of the kind is taken). */
    int8_t add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces,
        escape_whitespaces;
    /* BERT's normaliser (tokenizer.ggml.normalizer.*): as above. */
    int8_t lowercase, strip_accents;
    const uint8_t *precompiled_charsmap; /* or NULL */
    size_t charsmap_size;
    const char *model_name; /* general.name or NULL: Phi-3's control tokens swallow the white space
                               behind them, and only the name tells */
} sterna_vocab;

void sterna_vocab_init(sterna_vocab *vocab);

/* ---- making one ----
 * Each sets *out on success; release it with sterna_tokenizer_free. `name` stands in front of every
 * error sentence (a file's name). A vocabulary of an unknown kind or with an unknown pre-tokenizer
 * is refused by name (STERNA_ERROR_UNSUPPORTED), a malformed one with STERNA_ERROR_FORMAT. */

sterna_status sterna_tokenizer_from_vocab(const sterna_vocab *vocab, const char *name,
                                          sterna_tokenizer **out, sterna_error *err);
/* tokenizer.json of Hugging Face; `config` is the text of the tokenizer_config.json beside it
 * (decides BOS/EOS names and whether they are added), or NULL. */
sterna_status sterna_tokenizer_from_json(const char *name, const char *text, size_t size,
                                         const char *config, size_t config_size,
                                         sterna_tokenizer **out, sterna_error *err);
/* SentencePiece's .model (a protobuf): BPE or unigram, with its normaliser. */
sterna_status sterna_tokenizer_from_sentencepiece(const char *name, const void *bytes, size_t size,
                                                  sterna_tokenizer **out, sterna_error *err);
/* Lines "base64 rank". The list does not say how text is split: `split` names the pre-tokenizer by
 * any name that GGUF uses ("llama-bpe", "gpt-2", "gpt-4o", ...); NULL takes the one that the size
 * of the list gives away (50,256 and 50,257 ranks: gpt-2; 100,256: cl100k; 128,000: llama-bpe;
 * 199,998: o200k) and fails for any other size. The special tokens of those vocabularies are
 * appended for llama-bpe (256 of them). */
sterna_status sterna_tokenizer_from_tiktoken(const char *name, const char *text, size_t size,
                                             const char *split, sterna_tokenizer **out,
                                             sterna_error *err);
/* llama2.c's tokenizer.bin; n_vocab from the model file, or 0 to read until the end. */
sterna_status sterna_tokenizer_from_llama2c(const char *name, const void *bytes, size_t size,
                                            size_t n_vocab, sterna_tokenizer **out,
                                            sterna_error *err);
/* Opens a file by its content (tokenizer.json, .model, tiktoken list, tokenizer.bin), or a folder
 * that holds one. Not GGUF. */
sterna_status sterna_tokenizer_open(const char *path, sterna_tokenizer **out, sterna_error *err);
void sterna_tokenizer_free(sterna_tokenizer *tokenizer);

/* ---- text to ids and back ---- */

enum {
    STERNA_ADD_SPECIAL = 1 << 0,  /* BOS/EOS (or CLS/SEP) where the model's files ask for them */
    STERNA_PARSE_SPECIAL = 1 << 1 /* control tokens written in the text become those tokens */
};
/* *ids (release with sterna_free) and *count on success. Empty text gives count 0 (plus what
 * STERNA_ADD_SPECIAL adds). */
sterna_status sterna_encode(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                            int flags, int32_t **ids, size_t *count, sterna_error *err);

/* The same, where the bytes on both sides of each of the ascending offsets `cuts` (inside the text,
 * which must be UTF-8) never belong to one control token: text of users inside text of the model's
 * side. */
sterna_status sterna_encode_cut(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                                int flags, const size_t *cuts, size_t n_cuts, int32_t **ids,
                                size_t *count, sterna_error *err);
/* Bytes of the longest control token that begins the text; 0 = none does. */
size_t sterna_control_prefix(const sterna_tokenizer *tokenizer, const char *text, size_t size);

enum {
    STERNA_SKIP_SPECIAL = 1 << 0 /* control tokens give no text */
};
/* Appends the bytes of the ids to `text`, with the clean-up of the whole (a first space that the
 * tokenizer had added is taken away). Bytes come out as the tokens hold them: after byte tokens
 * they may be ill-formed UTF-8. An id out of range is an error (STERNA_ERROR_ARGUMENT). */
sterna_status sterna_decode(const sterna_tokenizer *tokenizer, const int32_t *ids, size_t count,
                            int flags, sterna_buffer *text, sterna_error *err);

/* Decodes one id at a time: what comes out is whole UTF-8 characters only; the beginning of a
 * character waits for its end. The concatenation equals sterna_decode's text with ill-formed bytes
 * replaced by U+FFFD. Lives on the caller's stack, holds no memory. */
typedef struct sterna_detok {
    const sterna_tokenizer *tokenizer;
    int flags;
    bool started;       /* a token has produced text: the next is not the first */
    bool space_pending; /* a word has ended: a space comes before the next token */
    uint8_t pending[4]; /* the beginning of a character */
    uint8_t n_pending;
} sterna_detok;

void sterna_detok_init(sterna_detok *detok, const sterna_tokenizer *tokenizer, int flags);
/* As if text stood before the first token: its leading space is kept (continuing a prompt). */
void sterna_detok_continue(sterna_detok *detok);
sterna_status sterna_detok_push(sterna_detok *detok, int32_t id, sterna_buffer *text,
                                sterna_error *err);
/* An unfinished character becomes U+FFFD. */
sterna_status sterna_detok_flush(sterna_detok *detok, sterna_buffer *text, sterna_error *err);

/* ---- about the vocabulary ---- */

size_t sterna_tokenizer_size(const sterna_tokenizer *tokenizer); /* ids are below this */
/* The token as its file writes it ("Ġthe", "▁the", "<0x0A>"); {NULL, 0} out of range. */
sterna_text sterna_token_text(const sterna_tokenizer *tokenizer, int32_t id);
/* The bytes that it stands for in running text (" the", "\n"); control tokens have their text.
 * Points into the tokenizer. */
sterna_text sterna_token_bytes(const sterna_tokenizer *tokenizer, int32_t id);
sterna_token_type sterna_token_type_of(const sterna_tokenizer *tokenizer, int32_t id);
/* A SentencePiece token's score (log-probability, or minus its rank); 0 where the file has none. */
float sterna_token_score(const sterna_tokenizer *tokenizer, int32_t id);
/* The id whose text in the file is exactly this, or -1. */
int32_t sterna_token_find(const sterna_tokenizer *tokenizer, const char *text, size_t size);

typedef enum sterna_token_role {
    STERNA_TOKEN_BOS,
    STERNA_TOKEN_EOS,
    STERNA_TOKEN_UNK,
    STERNA_TOKEN_SEP,
    STERNA_TOKEN_PAD,
    STERNA_TOKEN_CLS,
    STERNA_TOKEN_MASK,
    STERNA_TOKEN_EOT, /* end of a turn */
    STERNA_TOKEN_EOM, /* end of a message (a tool call follows) */
    STERNA_TOKEN_ROLES
} sterna_token_role;
int32_t sterna_token_id(const sterna_tokenizer *tokenizer, sterna_token_role role); /* or -1 */
bool sterna_tokenizer_adds_bos(const sterna_tokenizer *tokenizer);
bool sterna_tokenizer_adds_eos(const sterna_tokenizer *tokenizer);
/* True for EOS, EOT, EOM and control tokens with a well-known end-of-turn name. */
bool sterna_token_ends_generation(const sterna_tokenizer *tokenizer, int32_t id);
/* Whether two tokenizers cut `text` into the same pieces before their models see them: what the
 * name of a pre-tokenizer stands for, whatever the vocabularies. */
sterna_status sterna_tokenizers_cut_alike(const sterna_tokenizer *a, const sterna_tokenizer *b,
                                          const char *text, size_t size, bool *alike,
                                          sterna_error *err);
/* For reports: "byte-level BPE, pre-tokenizer llama-bpe"; points into the tokenizer. */
const char *sterna_tokenizer_describe(const sterna_tokenizer *tokenizer);

#endif
