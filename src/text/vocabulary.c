/* The vocabulary of a tokenizer: its tokens, the maps from text to id, and what their names say
 * about them (control tokens, ends of generation). */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

/* ---- strings ---- */

typedef struct sterna_text_arena_block {
    struct sterna_text_arena_block *next;
    size_t capacity;
    char bytes[];
} arena_block;

char *sterna_text_arena_copy(sterna_text_arena *arena, const char *bytes, size_t size)
{
    enum { BLOCK = 1 << 16 };
    if (arena->failed || size > SIZE_MAX / 2) {
        arena->failed = true;
        return NULL;
    }
    if (!arena->blocks || arena->blocks->capacity - arena->used < size + 1) {
        size_t capacity = size + 1 > BLOCK ? size + 1 : BLOCK;
        arena_block *block = sterna_alloc(1, sizeof *block + capacity);
        if (!block) {
            arena->failed = true;
            return NULL;
        }
        block->next = arena->blocks;
        block->capacity = capacity;
        arena->blocks = block;
        arena->used = 0;
    }
    char *copy = arena->blocks->bytes + arena->used;
    if (size) memcpy(copy, bytes, size);
    copy[size] = 0;
    arena->used += size + 1;
    return copy;
}

void sterna_text_arena_free(sterna_text_arena *arena)
{
    while (arena->blocks) {
        arena_block *next = arena->blocks->next;
        sterna_free(arena->blocks);
        arena->blocks = next;
    }
}

sterna_text sterna_tokenizer_keep(sterna_tokenizer *t, const char *bytes, size_t size)
{
    const char *copy = sterna_text_arena_copy(&t->arena, bytes, size);
    return (sterna_text){copy ? copy : "", copy ? size : 0};
}

/* ---- tokens ---- */

sterna_status sterna_tokenizer_new(const char *name, size_t n_tokens, sterna_tokenizer **out,
                                   sterna_error *err)
{
    if (n_tokens > STERNA_TOKENIZER_MAX_TOKENS)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: a vocabulary of %zu tokens is larger than the limit of %d", name,
                           n_tokens, (int)STERNA_TOKENIZER_MAX_TOKENS);
    sterna_tokenizer *t = sterna_calloc(1, sizeof *t);
    if (!t) return sterna_fail_memory(err, "a tokenizer");
    t->name = sterna_strdup(name);
    t->tokens = sterna_alloc(n_tokens, sizeof *t->tokens);
    if (!t->name || !t->tokens) {
        sterna_tokenizer_free(t);
        return sterna_fail_memory(err, "a tokenizer");
    }
    t->n_tokens = n_tokens;
    for (size_t i = 0; i < n_tokens; i++)
        t->tokens[i] =
            (sterna_token){.text = {"", 0}, .bytes = {"", 0}, .type = STERNA_TOKEN_UNUSED};
    for (size_t i = 0; i < STERNA_TOKEN_ROLES; i++) t->roles[i] = -1;
    for (size_t i = 0; i < 256; i++) t->model.byte_ids[i] = -1;
    t->model.max_word_chars = SIZE_MAX;
    *out = t;
    return STERNA_OK;
}

void sterna_tokenizer_free(sterna_tokenizer *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->n_normalizer; i++) sterna_regex_free(t->normalizer[i].regex);
    for (size_t i = 0; i < t->n_splits; i++) sterna_regex_free(t->splits[i].regex);
    for (size_t i = 0; i < t->n_decoder; i++) sterna_regex_free(t->decoder[i].regex);
    for (size_t i = 0; i < 2; i++) {
        sterna_trie_free(t->added_raw[i]);
        sterna_trie_free(t->added_normalized[i]);
    }
    sterna_trie_free(t->model.trie);
    sterna_merges_free(t->model.merges);
    sterna_charsmap_free(&t->charsmap);
    sterna_map_free(t->pieces);
    sterna_map_free(t->specials);
    sterna_free(t->prefix.data);
    sterna_free(t->suffix.data);
    sterna_free(t->added);
    sterna_free(t->tokens);
    sterna_text_arena_free(&t->arena);
    sterna_free(t->name);
    sterna_free(t);
}

sterna_status sterna_tokenizer_set(sterna_tokenizer *t, size_t id, sterna_text text, int type,
                                   double score, sterna_error *err)
{
    if (id >= t->n_tokens)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: token id %zu is not below the size of the vocabulary, %zu", t->name,
                           id, t->n_tokens);
    if (text.size > STERNA_TOKENIZER_MAX_TOKEN_BYTES)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: token %zu has %zu bytes, more than the limit of %d", t->name, id,
                           text.size, (int)STERNA_TOKENIZER_MAX_TOKEN_BYTES);
    bool known = type >= STERNA_TOKEN_NORMAL && type <= STERNA_TOKEN_BYTE;
    t->tokens[id].text = sterna_tokenizer_keep(t, text.data, text.size);
    t->tokens[id].type = known ? (uint8_t)type : STERNA_TOKEN_NORMAL;
    t->tokens[id].score = score == score ? score : -1e30; /* NaN is the worst of all */
    if (text.size > t->longest) t->longest = text.size;
    return t->arena.failed ? sterna_fail_memory(err, "a vocabulary") : STERNA_OK;
}

sterna_status sterna_tokenizer_add(sterna_tokenizer *t, sterna_added added, sterna_error *err)
{
    if (added.id < 0 || (size_t)added.id >= t->n_tokens)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: added token id %d is not below the size of the vocabulary, %zu",
                           t->name, (int)added.id, t->n_tokens);
    if (t->n_added == t->added_capacity) {
        size_t capacity = t->added_capacity * 2 + 64;
        sterna_added *list = sterna_realloc(t->added, capacity, sizeof *list);
        if (!list) return sterna_fail_memory(err, "a vocabulary");
        t->added = list;
        t->added_capacity = capacity;
    }
    t->added[t->n_added++] = added;
    t->tokens[added.id].added = true;
    return STERNA_OK;
}

/* Text from users must not become a control token (nor "<0x0A>" a byte). Single characters are an
 * exception: without them the text could not be written at all. */
static bool reserved(const sterna_token *token)
{
    if (token->type == STERNA_TOKEN_UNKNOWN || token->type == STERNA_TOKEN_BYTE || token->outside)
        return true;
    size_t length = 1;
    return token->type == STERNA_TOKEN_CONTROL && token->text.size &&
           !(sterna_utf8_check(token->text.data, token->text.size, &length) &&
             length == token->text.size);
}

sterna_status sterna_tokenizer_index(sterna_tokenizer *t, sterna_error *err)
{
    t->pieces = sterna_map_new(t->n_tokens);
    t->specials = sterna_map_new(16);
    if (!t->pieces || !t->specials) return sterna_fail_memory(err, "a vocabulary");
    for (size_t i = t->n_tokens; i-- > 0;) { /* of equal texts the last counts */
        const sterna_token *token = &t->tokens[i];
        if (!token->text.size) continue;
        sterna_status status =
            sterna_map_put(reserved(token) ? t->specials : t->pieces, token->text.data,
                           token->text.size, (int32_t)i, NULL, err);
        if (status) return status;
    }
    return STERNA_OK;
}

typedef struct scored {
    double score;
    int32_t id;
} scored;

static int by_score(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    return a->score > b->score ? -1 : a->score < b->score;
}

sterna_status sterna_tokenizer_rank(sterna_tokenizer *t, sterna_error *err)
{
    scored *order = sterna_alloc(t->n_tokens, sizeof *order);
    if (!order) return sterna_fail_memory(err, "a vocabulary");
    for (size_t i = 0; i < t->n_tokens; i++) order[i] = (scored){t->tokens[i].score, (int32_t)i};
    if (t->n_tokens) qsort(order, t->n_tokens, sizeof *order, by_score);
    uint32_t rank = 0;
    for (size_t i = 0; i < t->n_tokens; i++) {
        if (i && order[i].score < order[i - 1].score) rank = (uint32_t)i;
        t->tokens[order[i].id].rank = rank;
    }
    sterna_free(order);
    return STERNA_OK;
}

int32_t sterna_piece_id(const sterna_tokenizer *t, const char *text, size_t size)
{
    return size && size <= t->longest ? sterna_map_get(t->pieces, text, size) : -1;
}

int32_t sterna_token_find(const sterna_tokenizer *t, const char *text, size_t size)
{
    if (!t->pieces || !size) return -1;
    int32_t id = sterna_map_get(t->specials, text, size);
    return id >= 0 ? id : sterna_map_get(t->pieces, text, size);
}

int sterna_byte_token(sterna_text text)
{
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    const char *high = memchr(digits, text.data[3], 32), *low = memchr(digits, text.data[4], 32);
    if (!high || !low) return -1;
    return (int)((high - digits) % 16 * 16 + (low - digits) % 16);
}

/* ---- what names tell ---- */

static bool is_one_of(sterna_text text, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == text.size && memcmp(names[i], text.data, text.size) == 0)
            return true;
    return false;
}

/* Ends of a turn or text in chat models. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    "<｜end▁of▁sentence｜>",
    "</s>",
    "<eos>",
};
enum {
    N_END_NAMES = sizeof end_names / sizeof *end_names,
    N_SURE_END_NAMES = N_END_NAMES - 2 /* the last two are control tokens only if so declared */
};

/* Fill-in-the-middle markers. */
static const char *const middle_names[] = {
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|fim_pad|>",
    "<fim-prefix>",
    "<fim-suffix>",
    "<fim-middle>",
    "<fim-pad>",
    "<fim_prefix>",
    "<fim_suffix>",
    "<fim_middle>",
    "<fim_pad>",
    "<PRE>",
    "<SUF>",
    "<MID>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<reponame>",
    "<|file_sep|>",
    "<|code_prefix|>",
    "<|code_suffix|>",
    "<|code_middle|>",
    "<\xef\xbd\x9c"
    "fim\xe2\x96\x81"
    "begin\xef\xbd\x9c>",
    "<\xef\xbd\x9c"
    "fim\xe2\x96\x81hole\xef\xbd\x9c>",
    "<\xef\xbd\x9c"
    "fim\xe2\x96\x81"
    "end\xef\xbd\x9c>",
};

/* These structure gpt-oss's output and are part of its visible text. */
static const char *const channel_names[] = {"<|channel|>", "<|message|>", "<|start|>",
                                            "<|constrain|>"};

void sterna_tokenizer_mark_controls(sterna_tokenizer *t)
{
    for (size_t i = 0; i < t->n_tokens; i++) {
        sterna_token *token = &t->tokens[i];
        if (token->text.size < 4 || token->text.size > 32) continue;
        if (is_one_of(token->text, end_names, N_SURE_END_NAMES) ||
            is_one_of(token->text, middle_names, sizeof middle_names / sizeof *middle_names))
            token->type = STERNA_TOKEN_CONTROL;
        else if (is_one_of(token->text, channel_names, 4))
            token->type = STERNA_TOKEN_USER_DEFINED;
    }
}

static bool has_control(const sterna_tokenizer *t, const char *name)
{
    return sterna_map_get(t->specials, name, strlen(name)) >= 0;
}

void sterna_tokenizer_mark_ends(sterna_tokenizer *t)
{
    static const sterna_token_role roles[] = {STERNA_TOKEN_EOS, STERNA_TOKEN_EOT, STERNA_TOKEN_EOM};
    for (size_t i = 0; i < t->n_tokens; i++) {
        sterna_token *token = &t->tokens[i];
        token->ends =
            token->type == STERNA_TOKEN_CONTROL && is_one_of(token->text, end_names, N_END_NAMES);
    }
    /* In gpt-oss and Solar <|end|> only closes a message that others follow. */
    if ((has_control(t, "<|return|>") && has_control(t, "<|call|>")) ||
        (has_control(t, "<|calls|>") && has_control(t, "<|flush|>"))) {
        int32_t end = sterna_token_find(t, "<|end|>", 7);
        if (end >= 0) t->tokens[end].ends = false;
    }
    if (t->roles[STERNA_TOKEN_EOT] < 0) {
        static const char *const turn_ends[] = {"<|eot_id|>", "<|im_end|>", "<|end|>",
                                                "<end_of_turn>"};
        for (size_t i = 0; i < 4 && t->roles[STERNA_TOKEN_EOT] < 0; i++) {
            int32_t id = sterna_map_get(t->specials, turn_ends[i], strlen(turn_ends[i]));
            if (id >= 0 && t->tokens[id].ends) t->roles[STERNA_TOKEN_EOT] = id;
        }
    }
    if (t->roles[STERNA_TOKEN_EOM] < 0)
        t->roles[STERNA_TOKEN_EOM] = sterna_map_get(t->specials, "<|eom_id|>", 10);
    for (size_t i = 0; i < 3; i++)
        if (t->roles[roles[i]] >= 0) t->tokens[t->roles[roles[i]]].ends = true;
}

/* ---- questions ---- */

static const sterna_token *token_at(const sterna_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_tokens ? &t->tokens[id] : NULL;
}

size_t sterna_tokenizer_size(const sterna_tokenizer *t)
{
    return t->n_tokens;
}

sterna_text sterna_token_text(const sterna_tokenizer *t, int32_t id)
{
    const sterna_token *token = token_at(t, id);
    return token ? token->text : (sterna_text){NULL, 0};
}

sterna_text sterna_token_bytes(const sterna_tokenizer *t, int32_t id)
{
    const sterna_token *token = token_at(t, id);
    return token ? token->bytes : (sterna_text){NULL, 0};
}

sterna_token_type sterna_token_type_of(const sterna_tokenizer *t, int32_t id)
{
    const sterna_token *token = token_at(t, id);
    return token ? (sterna_token_type)token->type : STERNA_TOKEN_UNUSED;
}

bool sterna_token_ends_generation(const sterna_tokenizer *t, int32_t id)
{
    const sterna_token *token = token_at(t, id);
    return token && token->ends;
}

int32_t sterna_token_id(const sterna_tokenizer *t, sterna_token_role role)
{
    return (unsigned)role < STERNA_TOKEN_ROLES ? t->roles[role] : -1;
}

bool sterna_tokenizer_adds_bos(const sterna_tokenizer *t)
{
    return t->add_bos;
}

bool sterna_tokenizer_adds_eos(const sterna_tokenizer *t)
{
    return t->add_eos;
}

const char *sterna_tokenizer_describe(const sterna_tokenizer *t)
{
    return t->description;
}

float sterna_token_score(const sterna_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_tokens ? (float)t->tokens[id].score : 0;
}
