/* The parts of a tokenizer, shared by the files of this room only.
 *
 * Encoding is one line of stages, whatever the vocabulary:
 *
 *   text -> well-formed UTF-8 -> cut at added tokens -> normalizer steps -> cut at added tokens
 * that live in normalised text -> pre-tokenizer steps (pieces) -> model (ids) -> prefix and suffix
 *
 * A loader (load_*.c) fills these parts in and calls sterna_tokenizer_finish; after that nothing
 * changes.
 */
#ifndef STERNA_TEXT_TOKENIZER_INTERNAL_H
#define STERNA_TEXT_TOKENIZER_INTERNAL_H

#include "base/hash.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/trie.h"
#include "text/unicode.h"

/* Texts to encode are below this many bytes, so that positions fit 32 bits. */
enum { STERNA_TEXT_MAX_BYTES = 1 << 30 };

/* ---- growable lists ---- */

typedef struct sterna_ids {
    int32_t *data;
    size_t count, capacity;
    bool failed; /* out of memory */
} sterna_ids;
void sterna_ids_add(sterna_ids *ids, int32_t id);

/* A part of a text. */
typedef struct sterna_piece {
    uint32_t begin, size;
    bool first; /* stands at the very beginning of what was to be encoded */
} sterna_piece;

typedef struct sterna_pieces {
    sterna_piece *data;
    size_t count, capacity;
    bool failed;
} sterna_pieces;
void sterna_pieces_add(sterna_pieces *pieces, sterna_piece piece);

/* ---- strings that live as long as the tokenizer ---- */

typedef struct sterna_text_arena {
    struct sterna_text_arena_block *blocks;
    size_t used;
    bool failed;
} sterna_text_arena;
/* A copy with a NUL behind it; NULL (and `failed`) when out of memory. */
char *sterna_text_arena_copy(sterna_text_arena *arena, const char *bytes, size_t size);
void sterna_text_arena_free(sterna_text_arena *arena);

/* ---- normalizer steps ---- */

typedef enum sterna_normalize_kind {
    STERNA_NORMALIZE_FORM, /* NFC, NFD, NFKC, NFKD */
    STERNA_NORMALIZE_LOWERCASE,
    STERNA_NORMALIZE_STRIP,       /* white space at the left and/or right end */
    STERNA_NORMALIZE_STRIP_MARKS, /* drops M* */
    STERNA_NORMALIZE_REPLACE,     /* a string or regex by a string */
    STERNA_NORMALIZE_PREPEND,     /* in front of a text that is not empty */
    STERNA_NORMALIZE_APPEND,
    STERNA_NORMALIZE_BERT,
    STERNA_NORMALIZE_NMT,
    STERNA_NORMALIZE_CHARSMAP,      /* SentencePiece's rules, applied as Hugging Face does */
    STERNA_NORMALIZE_SENTENCEPIECE, /* SentencePiece's own normaliser as a whole */
    STERNA_NORMALIZE_BYTES          /* bytes become GPT-2's characters */
} sterna_normalize_kind;

typedef struct sterna_normalize_step {
    sterna_normalize_kind kind;
    sterna_normal_form form;
    bool left, right;                              /* STRIP */
    bool clean, cjk, lower, strip_accents;         /* BERT */
    bool remove_extra, add_prefix, suffix, escape; /* SENTENCEPIECE */
    sterna_text pattern, content; /* REPLACE (string), PREPEND, APPEND; in the arena */
    sterna_regex *regex;          /* REPLACE, or NULL */
} sterna_normalize_step;

/* SentencePiece's replacement rules: a double-array trie over UTF-8 and a pool of NUL-terminated
 * replacements. */
typedef struct sterna_charsmap {
    uint32_t *units;
    size_t n_units;
    char *pool;
    size_t pool_size;
} sterna_charsmap;
/* Copies and checks `bytes`; every later lookup is bounded. */
sterna_status sterna_charsmap_load(sterna_charsmap *map, const void *bytes, size_t size,
                                   const char *name, sterna_error *err);
void sterna_charsmap_free(sterna_charsmap *map);
/* The replacement of a prefix of `text`: the longest rule, or the shortest when asked. Returns the
 * bytes of `text` it stands for, 0 = no rule. */
size_t sterna_charsmap_match(const sterna_charsmap *map, const char *text, size_t size,
                             bool shortest, sterna_text *replacement);

/* ---- pre-tokenizer steps ---- */

typedef enum sterna_matcher {
    STERNA_MATCH_REGEX,
    STERNA_MATCH_STRING,
    STERNA_MATCH_WHITE_SPACE,        /* each character */
    STERNA_MATCH_PUNCTUATION,        /* each character */
    STERNA_MATCH_NUMERIC,            /* each character */
    STERNA_MATCH_DIGIT_GROUPS,       /* runs of digits in threes, counted from the right */
    STERNA_MATCH_DIGIT_GROUPS_ALONE, /* the same, only where no word character follows the run */
    STERNA_MATCH_CHARACTERS          /* runs of `length` characters */
} sterna_matcher;

typedef enum sterna_behaviour {
    STERNA_ISOLATED,
    STERNA_REMOVED,
    STERNA_MERGED_WITH_PREVIOUS,
    STERNA_MERGED_WITH_NEXT,
    STERNA_CONTIGUOUS
} sterna_behaviour;

typedef enum sterna_split_kind {
    STERNA_SPLIT,              /* by a matcher */
    STERNA_SPLIT_BYTES,        /* rewrites every piece into GPT-2's characters */
    STERNA_SPLIT_PREFIX_SPACE, /* a space in front of every piece that lacks one */
    STERNA_SPLIT_METASPACE     /* spaces become `string`; one in front where the scheme says */
} sterna_split_kind;

typedef enum sterna_prepend {
    STERNA_PREPEND_ALWAYS,
    STERNA_PREPEND_FIRST,
    STERNA_PREPEND_NEVER
} sterna_prepend;

typedef struct sterna_split_step {
    sterna_split_kind kind;
    sterna_matcher matcher;
    sterna_behaviour behaviour;
    bool invert;
    sterna_prepend prepend;
    size_t length;
    sterna_text string; /* in the arena */
    sterna_regex *regex;
} sterna_split_step;

/* A row of the table of pre-tokenizers that GGUF names (pretokenizers.c). */
typedef struct sterna_pretokenizer_row {
    const char *name;        /* several names, separated by '|' */
    const char *patterns[8]; /* in tokenizer.json's syntax, applied in order, isolated */
    bool ignore_merges, add_bos;
    bool raw; /* characters as they are: no byte-level alphabet, "<0xXX>" for unknown ones */
} sterna_pretokenizer_row;
const sterna_pretokenizer_row *sterna_pretokenizer_find(const char *name);
/* True for a regex of the table: known to take linear time. */
bool sterna_pretokenizer_knows(const char *pattern, size_t size);
/* Names of the table, comma-separated, for an error sentence. */
void sterna_pretokenizer_names(sterna_buffer *out);

/* ---- models ---- */

typedef enum sterna_text_model_kind {
    STERNA_MODEL_NONE,     /* ids without text: nothing can be encoded */
    STERNA_MODEL_BPE,      /* merges of token pairs by rank */
    STERNA_MODEL_SPAN_BPE, /* merges wherever the concatenation is a token: SentencePiece BPE (by
                              score), tiktoken (by rank) */
    STERNA_MODEL_UNIGRAM,
    STERNA_MODEL_WORDPIECE,
    STERNA_MODEL_WORDLEVEL,
    STERNA_MODEL_LONGEST /* the longest token at each byte (RWKV) */
} sterna_text_model_kind;

typedef struct sterna_merges sterna_merges; /* (left id, right id) -> (rank, merged id) */
sterna_merges *sterna_merges_new(size_t count);
void sterna_merges_free(sterna_merges *merges);
/* A pair that is there keeps its rank unless `replace`. */
void sterna_merges_put(sterna_merges *merges, int32_t left, int32_t right, uint32_t rank,
                       int32_t merged, bool replace);

typedef struct sterna_text_model {
    sterna_text_model_kind kind;
    sterna_merges *merges;
    bool ignore_merges;  /* a piece that is a token is taken whole */
    bool whole_newlines; /* the same, for pieces of newlines only */
    bool byte_fallback;  /* unknown characters as "<0xXX>" tokens */
    bool fuse_unknown;
    sterna_text prefix;      /* continuing_subword_prefix; in the arena */
    sterna_text suffix;      /* end_of_word_suffix */
    sterna_text word_prefix; /* WordPiece of GGUF: in front of every word */
    size_t max_word_chars;   /* WordPiece */
    sterna_trie *trie;       /* unigram, longest match */
    bool single_precision;   /* unigram: sums of scores round to float, as SentencePiece's do */
    double unknown_score;    /* unigram */
    int32_t byte_ids[256];   /* "<0xXX>", -1 = none */
} sterna_text_model;

/* ---- decoding ---- */

typedef enum sterna_decode_kind {
    STERNA_DECODE_REPLACE,
    STERNA_DECODE_BYTES,         /* GPT-2's characters become bytes */
    STERNA_DECODE_BYTE_FALLBACK, /* "<0xXX>" become bytes */
    STERNA_DECODE_METASPACE, /* `pattern` becomes a space, none at the beginning if `strip_first` */
    STERNA_DECODE_WORDPIECE, /* a space in front unless the token begins with `pattern` */
    STERNA_DECODE_SUFFIX,    /* `pattern` at the end of a token is a space before the next */
    STERNA_DECODE_STRIP,     /* of every token */
    STERNA_DECODE_FUSE,      /* what follows is said of the whole text */
    STERNA_DECODE_STRIP_TEXT, /* of the beginning of the whole text */
    STERNA_DECODE_JOIN        /* a space between tokens */
} sterna_decode_kind;

typedef struct sterna_decode_step {
    sterna_decode_kind kind;
    sterna_text pattern, content;
    sterna_regex *regex; /* REPLACE, or NULL */
    size_t left, right;  /* STRIP: how many of `pattern` at most */
    bool strip_first, cleanup;
} sterna_decode_step;

enum { STERNA_MAX_STEPS = 32 };

typedef struct sterna_token {
    sterna_text text;  /* as the file writes it */
    sterna_text bytes; /* in running text */
    double score;
    uint32_t rank;      /* by score, the best is 0; equal scores share one */
    uint8_t type;       /* sterna_token_type */
    bool ends;          /* generation */
    bool added;         /* matched as a whole before the model sees the text */
    bool outside;       /* the model does not know it: only matched as a whole */
    bool space_after;   /* a space comes before the next token */
    uint8_t first_skip; /* leading bytes of `bytes` that fall away at the beginning of a text */
} sterna_token;

typedef struct sterna_added {
    int32_t id;
    bool special;    /* only matched with STERNA_PARSE_SPECIAL */
    bool normalized; /* matched after the normalizer */
    bool lstrip, rstrip, single_word;
} sterna_added;

struct sterna_tokenizer {
    char *name; /* for error sentences */
    sterna_text_arena arena;
    sterna_token *tokens;
    size_t n_tokens, longest; /* longest: bytes of the longest token */
    sterna_map *pieces;       /* text -> id of what text may become */
    sterna_map *specials;     /* text -> id of control and unknown tokens */
    int32_t roles[STERNA_TOKEN_ROLES];
    bool add_bos, add_eos;
    sterna_ids prefix, suffix; /* what STERNA_ADD_SPECIAL adds */

    sterna_added *added;
    size_t n_added, added_capacity;
    sterna_trie *added_raw[2], *added_normalized[2]; /* [without, with] special ones */

    sterna_normalize_step normalizer[STERNA_MAX_STEPS];
    size_t n_normalizer;
    sterna_charsmap charsmap;
    sterna_split_step splits[STERNA_MAX_STEPS];
    size_t n_splits;
    sterna_text_model model;
    sterna_decode_step decoder[STERNA_MAX_STEPS];
    size_t n_decoder;
    char description[160];
};

/* ---- building (tokenizer.c, vocabulary.c) ---- */

sterna_status sterna_tokenizer_new(const char *name, size_t n_tokens, sterna_tokenizer **out,
                                   sterna_error *err);
/* Copies the text. An id beyond n_tokens, or a text beyond the limit, is an error. */
sterna_status sterna_tokenizer_set(sterna_tokenizer *t, size_t id, sterna_text text, int type,
                                   double score, sterna_error *err);
sterna_status sterna_tokenizer_add(sterna_tokenizer *t, sterna_added added, sterna_error *err);
/* The maps; after the tokens and before merges and added tokens' ids are looked up. */
sterna_status sterna_tokenizer_index(sterna_tokenizer *t, sterna_error *err);
/* The rank of every token by its score, for STERNA_MODEL_SPAN_BPE. */
sterna_status sterna_tokenizer_rank(sterna_tokenizer *t, sterna_error *err);
/* Tries, byte table, bytes of every token, ends of generation: last of all. */
sterna_status sterna_tokenizer_finish(sterna_tokenizer *t, sterna_error *err);
sterna_status sterna_tokenizer_normalize(sterna_tokenizer *t, sterna_normalize_step step,
                                         sterna_error *err);
sterna_status sterna_tokenizer_split(sterna_tokenizer *t, sterna_split_step step,
                                     sterna_error *err);
sterna_status sterna_tokenizer_split_regex(sterna_tokenizer *t, const char *pattern, size_t size,
                                           sterna_behaviour behaviour, bool invert,
                                           sterna_error *err);
sterna_status sterna_tokenizer_decode_step(sterna_tokenizer *t, sterna_decode_step step,
                                           sterna_error *err);
sterna_text sterna_tokenizer_keep(sterna_tokenizer *t, const char *bytes, size_t size);
/* The steps of a row of the table, ByteLevel included. */
sterna_status sterna_tokenizer_pretokenizer(sterna_tokenizer *t, const sterna_pretokenizer_row *row,
                                            sterna_error *err);
/* The id that the model may give to this text, or -1. */
int32_t sterna_piece_id(const sterna_tokenizer *t, const char *text, size_t size);
/* "<0xXX>" -> 0..255, anything else -1. */
int sterna_byte_token(sterna_text text);
/* Fills bytes, first_skip and space_after of every token (decoder.c). */
sterna_status sterna_tokenizer_decode_all(sterna_tokenizer *t, sterna_error *err);
/* Types of well-known control tokens, and which tokens end generation (vocabulary.c). */
void sterna_tokenizer_mark_controls(sterna_tokenizer *t);
void sterna_tokenizer_mark_ends(sterna_tokenizer *t);

/* ---- encoding: one scratch a call, reused from piece to piece ---- */

typedef struct sterna_symbol {
    uint32_t begin, size; /* bytes of the piece; size 0 = merged away */
    int32_t id, previous, next;
} sterna_symbol;

/* Two neighbours that may merge. */
typedef struct sterna_merge_candidate {
    uint64_t key;  /* rank of the merge << 32 | index of the left symbol: the smallest goes first */
    uint32_t size; /* of both */
    int32_t id;    /* what they become */
} sterna_merge_candidate;

typedef struct sterna_scratch {
    sterna_regex_scratch regex;
    sterna_buffer normal, other, text, text_other, word;
    sterna_pieces pieces, pieces_other, spans;
    sterna_symbol *symbols;
    size_t n_symbols, symbols_capacity;
    sterna_merge_candidate *heap;
    size_t n_heap, heap_capacity;
    struct sterna_best *best; /* unigram */
    size_t best_capacity;
    sterna_ids path;
    bool beginning_dropped; /* the normalizer took the first character away */
} sterna_scratch;

/* Appends the normal form of `text` to scratch->normal (cleared first). */
sterna_status sterna_normalize(const sterna_tokenizer *t, sterna_scratch *scratch, const char *text,
                               size_t size, sterna_error *err);
/* scratch->text and scratch->pieces. */
sterna_status sterna_pretokenize(const sterna_tokenizer *t, sterna_scratch *scratch,
                                 const char *text, size_t size, bool first, sterna_error *err);
/* One piece to ids. */
sterna_status sterna_bpe_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                const char *text, size_t size, sterna_ids *ids, sterna_error *err);
sterna_status sterna_span_bpe_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                     const char *text, size_t size, sterna_ids *ids,
                                     sterna_error *err);
sterna_status sterna_unigram_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                    const char *text, size_t size, sterna_ids *ids,
                                    sterna_error *err);
sterna_status sterna_wordpiece_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                      const char *text, size_t size, sterna_ids *ids,
                                      sterna_error *err);
void sterna_longest_encode(const sterna_tokenizer *t, const char *text, size_t size,
                           sterna_ids *ids);

#endif
