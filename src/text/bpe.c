/* Byte-pair encoding, two kinds over one loop: symbols in a linked list, candidate pairs in a heap
 * ordered by cost, then by position; a candidate whose symbols have changed since is skipped. n
 * symbols make at most 3n candidates, so a piece takes n log n whatever it holds.
 *
 * "Merges": a table says which pairs of tokens merge, and at what rank. "Spans": two neighbours
 * merge wherever their text together is a token; the cost is that token's score (SentencePiece,
 * llama2.c) or rank (tiktoken).
 */
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

/* ---- the table of merges ---- */

typedef struct merge {
    int32_t left, right, merged; /* merged < 0: an empty slot */
    uint32_t rank;
} merge;

struct sterna_merges {
    merge *slots;
    size_t mask;
};

sterna_merges *sterna_merges_new(size_t count)
{
    size_t capacity = 16;
    while (capacity < SIZE_MAX / 4 && capacity < count * 2) capacity *= 2;
    sterna_merges *merges = sterna_calloc(1, sizeof *merges);
    merge *slots = sterna_alloc(capacity, sizeof *slots);
    if (!merges || !slots) {
        sterna_free(merges);
        sterna_free(slots);
        return NULL;
    }
    for (size_t i = 0; i < capacity; i++) slots[i].merged = -1;
    *merges = (sterna_merges){slots, capacity - 1};
    return merges;
}

void sterna_merges_free(sterna_merges *merges)
{
    if (!merges) return;
    sterna_free(merges->slots);
    sterna_free(merges);
}

static merge *find(const sterna_merges *merges, int32_t left, int32_t right)
{
    int32_t pair[2] = {left, right};
    for (size_t i = (size_t)sterna_hash(pair, sizeof pair);; i++) {
        merge *slot = &merges->slots[i & merges->mask];
        if (slot->merged < 0 || (slot->left == left && slot->right == right)) return slot;
    }
}

void sterna_merges_put(sterna_merges *merges, int32_t left, int32_t right, uint32_t rank,
                       int32_t merged, bool replace)
{
    merge *slot = find(merges, left, right);
    if (slot->merged < 0 || replace) *slot = (merge){left, right, merged, rank};
}

/* ---- the heap: four children a node, so that siblings share a cache line ---- */

static bool push(sterna_scratch *s, sterna_merge_candidate candidate)
{
    if (s->n_heap == s->heap_capacity) {
        size_t capacity = s->heap_capacity * 2 + 64;
        sterna_merge_candidate *heap = sterna_realloc(s->heap, capacity, sizeof *heap);
        if (!heap) return false;
        s->heap = heap;
        s->heap_capacity = capacity;
    }
    size_t at = s->n_heap++;
    while (at && candidate.key < s->heap[(at - 1) / 4].key) {
        s->heap[at] = s->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    s->heap[at] = candidate;
    return true;
}

static sterna_merge_candidate pop(sterna_scratch *s)
{
    sterna_merge_candidate *heap = s->heap, top = heap[0], last = heap[--s->n_heap];
    size_t at = 0, n = s->n_heap;
    for (size_t child; (child = 4 * at + 1) < n; at = child) {
        size_t least = child, end = child + 4 < n ? child + 4 : n;
        for (size_t i = child + 1; i < end; i++)
            if (heap[i].key < heap[least].key) least = i;
        child = least;
        if (heap[child].key >= last.key) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* ---- the loop ---- */

static bool add_symbol(sterna_scratch *s, uint32_t begin, uint32_t size, int32_t id)
{
    if (s->n_symbols == s->symbols_capacity) {
        size_t capacity = s->symbols_capacity * 2 + 64;
        sterna_symbol *symbols = sterna_realloc(s->symbols, capacity, sizeof *symbols);
        if (!symbols) return false;
        s->symbols = symbols;
        s->symbols_capacity = capacity;
    }
    int32_t index = (int32_t)s->n_symbols;
    s->symbols[s->n_symbols++] = (sterna_symbol){begin, size, id, index - 1, index + 1};
    return true;
}

/* Pushes the pair of neighbours (left, right) if it may merge; false when out of memory. */
static bool consider(const sterna_tokenizer *t, sterna_scratch *s, const char *text, int32_t left,
                     int32_t right)
{
    if (left < 0 || right < 0 || (size_t)right >= s->n_symbols) return true;
    const sterna_symbol *a = &s->symbols[left], *b = &s->symbols[right];
    sterna_merge_candidate candidate = {.size = a->size + b->size};
    uint32_t rank;
    if (t->model.kind == STERNA_MODEL_BPE) {
        if (a->id < 0 || b->id < 0) return true;
        const merge *found = find(t->model.merges, a->id, b->id);
        if (found->merged < 0) return true;
        rank = found->rank;
        candidate.id = found->merged;
    } else {
        candidate.id = sterna_piece_id(t, text + a->begin, candidate.size);
        if (candidate.id < 0) return true;
        rank = t->tokens[candidate.id].rank;
    }
    candidate.key = (uint64_t)rank << 32 | (uint32_t)left;
    return push(s, candidate);
}

/* Whether the candidate's two symbols are still what they were when it was pushed. */
static bool is_current(const sterna_tokenizer *t, const sterna_scratch *s,
                       const sterna_merge_candidate *c)
{
    const sterna_symbol *left = &s->symbols[(uint32_t)c->key];
    if (!left->size || (size_t)left->next >= s->n_symbols) return false;
    const sterna_symbol *right = &s->symbols[left->next];
    if (left->size + right->size != c->size) return false;
    if (t->model.kind != STERNA_MODEL_BPE) return true; /* the same span, the same token */
    const merge *found = find(t->model.merges, left->id, right->id);
    return found->merged == c->id && found->rank == c->key >> 32;
}

static bool merge_all(const sterna_tokenizer *t, sterna_scratch *s, const char *text)
{
    s->n_heap = 0;
    for (size_t i = 1; i < s->n_symbols; i++)
        if (!consider(t, s, text, (int32_t)i - 1, (int32_t)i)) return false;
    while (s->n_heap) {
        sterna_merge_candidate c = pop(s);
        if (!is_current(t, s, &c)) continue;
        int32_t at = (int32_t)(uint32_t)c.key;
        sterna_symbol *left = &s->symbols[at], *right = &s->symbols[left->next];
        left->size = c.size;
        left->id = c.id;
        left->next = right->next;
        right->size = 0;
        if ((size_t)right->next < s->n_symbols) s->symbols[right->next].previous = at;
        if (!consider(t, s, text, left->previous, at) || !consider(t, s, text, at, left->next))
            return false;
    }
    return true;
}

/* The bytes as "<0xXX>" tokens; false (nothing added) when one of them has none. */
static bool add_bytes(const sterna_tokenizer *t, const char *bytes, size_t size, sterna_ids *ids)
{
    for (size_t i = 0; i < size; i++)
        if (t->model.byte_ids[(uint8_t)bytes[i]] < 0) return false;
    for (size_t i = 0; i < size; i++) sterna_ids_add(ids, t->model.byte_ids[(uint8_t)bytes[i]]);
    return true;
}

/* ---- merges ---- */

/* The token of one character of a word, with the prefix and suffix that its place asks for. */
static int32_t character_id(const sterna_tokenizer *t, sterna_scratch *s, const char *text,
                            size_t size, bool first, bool last)
{
    const sterna_text_model *model = &t->model;
    if ((first || !model->prefix.size) && (!last || !model->suffix.size))
        return sterna_piece_id(t, text, size);
    sterna_buffer_clear(&s->word);
    if (!first) sterna_buffer_add(&s->word, model->prefix.data, model->prefix.size);
    sterna_buffer_add(&s->word, text, size);
    if (last) sterna_buffer_add(&s->word, model->suffix.data, model->suffix.size);
    return s->word.failed ? -1 : sterna_piece_id(t, s->word.data, s->word.size);
}

/* Characters to symbols. Unknown ones become byte tokens, else the unknown token (one for a run of
 * them where the model fuses), else nothing. */
static bool cut_characters(const sterna_tokenizer *t, sterna_scratch *s, const char *text,
                           size_t size)
{
    int32_t unknown = t->roles[STERNA_TOKEN_UNK];
    uint32_t unknown_begin = 0, unknown_size = 0;
    bool done = true;
    s->n_symbols = 0;
    for (size_t at = 0, length; at < size && done; at += length) {
        length = sterna_utf8_size(text[at]);
        int32_t id = character_id(t, s, text + at, length, at == 0, at + length == size);
        if (id >= 0) {
            if (unknown_size) done = add_symbol(s, unknown_begin, unknown_size, unknown);
            unknown_size = 0;
            done = done && add_symbol(s, (uint32_t)at, (uint32_t)length, id);
            continue;
        }
        s->path.count = 0;
        if (t->model.byte_fallback && add_bytes(t, text + at, length, &s->path)) {
            for (size_t i = 0; i < length && done && !s->path.failed; i++)
                done = add_symbol(s, (uint32_t)(at + i), 1, s->path.data[i]);
            continue;
        }
        if (unknown < 0) continue;
        if (unknown_size && t->model.fuse_unknown) {
            unknown_size += (uint32_t)length;
            continue;
        }
        if (unknown_size) done = add_symbol(s, unknown_begin, unknown_size, unknown);
        unknown_begin = (uint32_t)at;
        unknown_size = (uint32_t)length;
    }
    if (done && unknown_size) done = add_symbol(s, unknown_begin, unknown_size, unknown);
    return done && !s->word.failed && !s->path.failed;
}

static bool taken_whole(const sterna_text_model *model, const char *text, size_t size)
{
    if (model->ignore_merges) return true;
    if (!model->whole_newlines) return false;
    for (size_t i = 0; i < size; i++)
        if (text[i] != '\n') return false;
    return true;
}

sterna_status sterna_bpe_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                const char *text, size_t size, sterna_ids *ids, sterna_error *err)
{
    if (taken_whole(&t->model, text, size)) {
        int32_t id = sterna_piece_id(t, text, size);
        if (id >= 0) {
            sterna_ids_add(ids, id);
            return STERNA_OK;
        }
    }
    if (!cut_characters(t, scratch, text, size) || !merge_all(t, scratch, text))
        return sterna_fail_memory(err, "the symbols of a text");
    for (size_t i = 0; i < scratch->n_symbols; i = (size_t)scratch->symbols[i].next)
        sterna_ids_add(ids, scratch->symbols[i].id);
    return STERNA_OK;
}

/* ---- spans ---- */

sterna_status sterna_span_bpe_encode(const sterna_tokenizer *t, sterna_scratch *scratch,
                                     const char *text, size_t size, sterna_ids *ids,
                                     sterna_error *err)
{
    bool done = true, after_unknown = false;
    scratch->n_symbols = 0;
    if (t->model.ignore_merges) {
        int32_t id = sterna_piece_id(t, text, size);
        if (id >= 0) {
            sterna_ids_add(ids, id);
            return STERNA_OK;
        }
    }
    for (size_t at = 0, length; at < size && done; at += length) {
        length = sterna_utf8_size(text[at]);
        done = add_symbol(scratch, (uint32_t)at, (uint32_t)length,
                          sterna_piece_id(t, text + at, length));
    }
    if (!done || !merge_all(t, scratch, text))
        return sterna_fail_memory(err, "the symbols of a text");
    for (size_t i = 0; i < scratch->n_symbols; i = (size_t)scratch->symbols[i].next) {
        const sterna_symbol *symbol = &scratch->symbols[i];
        bool known = symbol->id >= 0;
        if (known) {
            sterna_ids_add(ids, symbol->id);
        } else if (!t->model.byte_fallback ||
                   !add_bytes(t, text + symbol->begin, symbol->size, ids)) {
            int32_t unknown = t->roles[STERNA_TOKEN_UNK];
            if (unknown >= 0 && !(after_unknown && t->model.fuse_unknown))
                sterna_ids_add(ids, unknown);
            after_unknown = true;
            continue;
        }
        after_unknown = false;
    }
    return STERNA_OK;
}
