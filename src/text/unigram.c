/* The unigram model (Kudo 2018): of all ways to cut a text into tokens, the one with the highest
 * sum of scores, by Viterbi over character positions. Also the plain longest match. */
#include <string.h>

#include "base/memory.h"
#include "text/load_internal.h"
#include "text/utf8.h"

/* The best path that ends at a byte position. */
typedef struct sterna_best {
    double score;
    uint32_t begin; /* of the last token; UINT32_MAX = nothing ends here */
    int32_t id;     /* -1 = unknown */
} best;

sterna_status sterna_tokenizer_make_unigram(sterna_tokenizer *t, sterna_error *err)
{
    enum { UNKNOWN_PENALTY = 10 }; /* as SentencePiece */
    sterna_trie_key *keys = sterna_alloc(t->n_tokens, sizeof *keys);
    if (!keys) return sterna_fail_memory(err, "a vocabulary");
    double worst = 0;
    size_t count = 0;
    bool any = false;
    for (size_t i = 0; i < t->n_tokens; i++) {
        sterna_token *token = &t->tokens[i];
        if (token->type == STERNA_TOKEN_NORMAL && (!any || token->score < worst)) {
            worst = token->score;
            any = true;
        }
        if (sterna_piece_id(t, token->text.data, token->text.size) != (int32_t)i) continue;
        if (token->type == STERNA_TOKEN_USER_DEFINED) token->score = 0;
        keys[count++] = (sterna_trie_key){token->text.data, (uint32_t)token->text.size, (int32_t)i};
    }
    t->model.unknown_score = worst - UNKNOWN_PENALTY;
    t->model.trie = sterna_trie_new(keys, count);
    sterna_free(keys);
    return t->model.trie ? STERNA_OK : sterna_fail_memory(err, "a vocabulary");
}

static bool reserve(sterna_scratch *scratch, size_t count)
{
    if (scratch->best_capacity >= count) return true;
    best *nodes = sterna_realloc(scratch->best, count, sizeof *nodes);
    if (!nodes) return false;
    scratch->best = nodes;
    scratch->best_capacity = count;
    return true;
}

static void offer(const sterna_tokenizer *t, best *node, double score, size_t begin, int32_t id)
{
    if (t->model.single_precision) score = (double)(float)score; /* decides between equal paths */
    if (node->begin != UINT32_MAX && score <= node->score) return;
    *node = (best){score, (uint32_t)begin, id};
}

static void forward(const sterna_tokenizer *t, best *nodes, const char *text, size_t size)
{
    for (size_t i = 1; i <= size; i++) nodes[i].begin = UINT32_MAX;
    nodes[0] = (best){0, 0, -1};
    for (size_t at = 0, length; at < size; at += length) {
        length = sterna_utf8_size(text[at]);
        double score = nodes[at].score;
        bool single = false;
        sterna_trie_walk walk;
        int32_t id;
        size_t n;
        sterna_trie_begin(&walk, t->model.trie, text + at, size - at);
        while (sterna_trie_next(&walk, &id, &n)) {
            offer(t, &nodes[at + n], score + t->tokens[id].score, at, id);
            single |= n == length;
        }
        if (!single) offer(t, &nodes[at + length], score + t->model.unknown_score, at, -1);
    }
}

static void add_unknown(const sterna_tokenizer *t, const char *text, size_t size, sterna_ids *ids)
{
    bool bytes = t->model.byte_fallback;
    for (size_t i = 0; i < size && bytes; i++) bytes = t->model.byte_ids[(uint8_t)text[i]] >= 0;
    for (size_t i = 0; i < size && bytes; i++)
        sterna_ids_add(ids, t->model.byte_ids[(uint8_t)text[i]]);
    if (!bytes && t->roles[STERNA_TOKEN_UNK] >= 0) sterna_ids_add(ids, t->roles[STERNA_TOKEN_UNK]);
}

sterna_status sterna_unigram_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                    const char *text, size_t size, sterna_ids *ids,
                                    sterna_error *err)
{
    if (!reserve(scratch, size + 1)) return sterna_fail_memory(err, "the paths of a text");
    best *nodes = scratch->best;
    sterna_ids *ends = &scratch->path; /* of the tokens on the best path, last first */
    forward(t, nodes, text, size);
    ends->count = 0;
    for (size_t end = size; end; end = nodes[end].begin) sterna_ids_add(ends, (int32_t)end);
    if (ends->failed) return sterna_fail_memory(err, "the paths of a text");
    size_t begin = 0;
    for (size_t i = ends->count; i-- > 0;) {
        size_t end = (size_t)ends->data[i];
        if (nodes[end].id >= 0) {
            sterna_ids_add(ids, nodes[end].id);
        } else {
            while (t->model.fuse_unknown && i && nodes[ends->data[i - 1]].id < 0)
                end = (size_t)ends->data[--i];
            add_unknown(t, text + begin, end - begin, ids);
        }
        begin = end;
    }
    return STERNA_OK;
}

void sterna_longest_encode(const sterna_tokenizer *t, const char *text, size_t size,
                           sterna_ids *ids)
{
    for (size_t at = 0; at < size;) {
        int32_t id = t->roles[STERNA_TOKEN_UNK];
        size_t length = sterna_trie_longest(t->model.trie, text + at, size - at, &id);
        if (id >= 0) sterna_ids_add(ids, id);
        at += length ? length : 1;
    }
}
