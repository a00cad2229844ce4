/* Building a tokenizer's stages and running text through them. The stages themselves are in
 * normalize.c, pretokenize.c and one file a model. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"
#include "text/utf8.h"

/* ---- building ---- */

static sterna_status full(const sterna_tokenizer *t, sterna_regex *regex, sterna_error *err)
{
    sterna_regex_free(regex);
    return sterna_fail(err, STERNA_ERROR_LIMIT,
                       "%s: the tokenizer has more than %d steps of a kind", t->name,
                       (int)STERNA_MAX_STEPS);
}

sterna_status sterna_tokenizer_normalize(sterna_tokenizer *t, sterna_normalize_step step,
                                         sterna_error *err)
{
    if (t->n_normalizer == STERNA_MAX_STEPS) return full(t, step.regex, err);
    t->normalizer[t->n_normalizer++] = step;
    return STERNA_OK;
}

sterna_status sterna_tokenizer_split(sterna_tokenizer *t, sterna_split_step step, sterna_error *err)
{
    if (t->n_splits == STERNA_MAX_STEPS) return full(t, step.regex, err);
    t->splits[t->n_splits++] = step;
    return STERNA_OK;
}

sterna_status sterna_tokenizer_decode_step(sterna_tokenizer *t, sterna_decode_step step,
                                           sterna_error *err)
{
    if (t->n_decoder == STERNA_MAX_STEPS) return full(t, step.regex, err);
    t->decoder[t->n_decoder++] = step;
    return STERNA_OK;
}

sterna_status sterna_tokenizer_split_regex(sterna_tokenizer *t, const char *pattern, size_t size,
                                           sterna_behaviour behaviour, bool invert,
                                           sterna_error *err)
{
    /* Two expressions that look ahead to the end of a run of digits at every step: counted instead
     */
    static const char alone[] = "\\d{1,3}(?=(?:\\d{3})*\\b)", cuts[] = "(?=(\\d{3})+(?!\\d))";
    sterna_split_step step = {.kind = STERNA_SPLIT,
                              .matcher = STERNA_MATCH_REGEX,
                              .behaviour = behaviour,
                              .invert = invert};
    if (size == sizeof alone - 1 && memcmp(pattern, alone, size) == 0) {
        step.matcher = STERNA_MATCH_DIGIT_GROUPS_ALONE;
    } else if (size == sizeof cuts - 1 && memcmp(pattern, cuts, size) == 0 && !invert &&
               behaviour == STERNA_ISOLATED) {
        step.matcher = STERNA_MATCH_DIGIT_GROUPS;
    } else {
        sterna_status status = sterna_regex_new(
            pattern, size, sterna_pretokenizer_knows(pattern, size), &step.regex, err);
        if (status) {
            sterna_fail_prefix(err, "%s", t->name);
            return status;
        }
    }
    return sterna_tokenizer_split(t, step, err);
}

sterna_status sterna_tokenizer_pretokenizer(sterna_tokenizer *t, const sterna_pretokenizer_row *row,
                                            sterna_error *err)
{
    for (size_t i = 0; i < 8 && row->patterns[i]; i++) {
        sterna_status status = sterna_tokenizer_split_regex(
            t, row->patterns[i], strlen(row->patterns[i]), STERNA_ISOLATED, false, err);
        if (status) return status;
    }
    if (row->raw) return STERNA_OK;
    return sterna_tokenizer_split(t, (sterna_split_step){.kind = STERNA_SPLIT_BYTES}, err);
}

static void free_scratch(sterna_scratch *scratch)
{
    sterna_regex_scratch_free(&scratch->regex);
    sterna_buffer_free(&scratch->normal);
    sterna_buffer_free(&scratch->other);
    sterna_buffer_free(&scratch->text);
    sterna_buffer_free(&scratch->text_other);
    sterna_buffer_free(&scratch->word);
    sterna_free(scratch->pieces.data);
    sterna_free(scratch->pieces_other.data);
    sterna_free(scratch->spans.data);
    sterna_free(scratch->symbols);
    sterna_free(scratch->heap);
    sterna_free(scratch->best);
    sterna_free(scratch->path.data);
}

/* The trie over the added tokens that live in raw or in normalised text; values are indices into
 * t->added. */
static sterna_status make_trie(sterna_tokenizer *t, bool normalized, bool special,
                               sterna_trie **out, sterna_error *err)
{
    sterna_trie_key *keys = sterna_alloc(t->n_added, sizeof *keys);
    sterna_scratch scratch = {.regex.budget = STERNA_REGEX_BUDGET_BASE};
    sterna_status status = keys ? STERNA_OK : sterna_fail_memory(err, "added tokens");
    bool whole = t->n_normalizer && t->normalizer[0].kind == STERNA_NORMALIZE_SENTENCEPIECE;
    size_t count = 0;
    for (size_t i = 0; i < t->n_added && !status; i++) {
        const sterna_added *added = &t->added[i];
        if (added->normalized != normalized || (added->special && !special)) continue;
        sterna_text text = t->tokens[added->id].text;
        if (normalized && !whole) {
            status = sterna_normalize(t, &scratch, text.data, text.size, err);
            if (status) break;
            text = sterna_tokenizer_keep(t, scratch.normal.data, scratch.normal.size);
        }
        keys[count++] = (sterna_trie_key){text.data, (uint32_t)text.size, (int32_t)i};
    }
    if (!status && t->arena.failed) status = sterna_fail_memory(err, "added tokens");
    if (!status && count) {
        *out = sterna_trie_new(keys, count);
        if (!*out) status = sterna_fail_memory(err, "added tokens");
    }
    free_scratch(&scratch);
    sterna_free(keys);
    return status;
}

sterna_status sterna_tokenizer_finish(sterna_tokenizer *t, sterna_error *err)
{
    for (size_t i = t->n_tokens; i-- > 0;) {
        int byte = sterna_byte_token(t->tokens[i].text);
        if (byte >= 0) t->model.byte_ids[byte] = (int32_t)i;
    }
    for (size_t i = 0; i < STERNA_TOKEN_ROLES; i++)
        if (t->roles[i] < 0 || (size_t)t->roles[i] >= t->n_tokens) t->roles[i] = -1;
    sterna_tokenizer_mark_ends(t);
    for (int special = 0; special < 2; special++) {
        sterna_status status = make_trie(t, false, special, &t->added_raw[special], err);
        if (!status) status = make_trie(t, true, special, &t->added_normalized[special], err);
        if (status) return status;
    }
    sterna_status status = sterna_tokenizer_decode_all(t, err);
    if (!status && t->model.kind == STERNA_MODEL_SPAN_BPE) status = sterna_tokenizer_rank(t, err);
    if (status) return status;
    return t->arena.failed || t->prefix.failed || t->suffix.failed
               ? sterna_fail_memory(err, "a tokenizer")
               : STERNA_OK;
}

/* ---- encoding ---- */

void sterna_ids_add(sterna_ids *ids, int32_t id)
{
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity * 2 + 64;
        int32_t *data = ids->failed ? NULL : sterna_realloc(ids->data, capacity, sizeof *data);
        if (!data) {
            ids->failed = true;
            return;
        }
        ids->data = data;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
}

typedef struct encoder {
    const sterna_tokenizer *t;
    sterna_scratch *scratch;
    sterna_ids *ids;
    int special;        /* 1: control tokens are looked for */
    const size_t *cuts; /* offsets in the raw text that no control token spans */
    size_t n_cuts;
    sterna_error *err;
} encoder;

static sterna_status encode_piece(encoder *e, const char *text, size_t size)
{
    const sterna_tokenizer *t = e->t;
    switch (t->model.kind) {
    case STERNA_MODEL_BPE: return sterna_bpe_encode(t, e->scratch, text, size, e->ids, e->err);
    case STERNA_MODEL_SPAN_BPE:
        return sterna_span_bpe_encode(t, e->scratch, text, size, e->ids, e->err);
    case STERNA_MODEL_UNIGRAM:
        return sterna_unigram_encode(t, e->scratch, text, size, e->ids, e->err);
    case STERNA_MODEL_WORDPIECE:
        return sterna_wordpiece_encode(t, e->scratch, text, size, e->ids, e->err);
    case STERNA_MODEL_WORDLEVEL: {
        int32_t id = sterna_piece_id(t, text, size);
        if (id < 0) id = t->roles[STERNA_TOKEN_UNK];
        if (id >= 0) sterna_ids_add(e->ids, id);
        return STERNA_OK;
    }
    case STERNA_MODEL_LONGEST: sterna_longest_encode(t, text, size, e->ids); return STERNA_OK;
    case STERNA_MODEL_NONE: break;
    }
    return sterna_fail(e->err, STERNA_ERROR_UNSUPPORTED,
                       "%s: the model has no vocabulary, so text cannot be encoded", t->name);
}

static sterna_status encode_text(encoder *e, const char *text, size_t size, bool first)
{
    sterna_status status = sterna_pretokenize(e->t, e->scratch, text, size, first, e->err);
    for (size_t i = 0; i < e->scratch->pieces.count && !status; i++) {
        sterna_piece piece = e->scratch->pieces.data[i];
        if (piece.size) status = encode_piece(e, e->scratch->text.data + piece.begin, piece.size);
    }
    return status;
}

static bool word_before(const char *text, size_t at)
{
    size_t length;
    return at > 0 && sterna_is_word(sterna_utf8_decode(text + sterna_utf8_last(text, at), &length));
}

static bool word_after(const char *text, size_t size, size_t at)
{
    size_t length;
    return at < size && sterna_is_word(sterna_utf8_decode(text + at, &length));
}

/* White space in front of `at`, not before `from`. */
static size_t strip_left(const char *text, size_t from, size_t at)
{
    size_t length;
    while (at > from) {
        size_t last = from + sterna_utf8_last(text + from, at - from);
        if (!sterna_is_white_space(sterna_utf8_decode(text + last, &length))) break;
        at = last;
    }
    return at;
}

static size_t strip_right(const char *text, size_t size, size_t at)
{
    size_t length;
    while (at < size && sterna_is_white_space(sterna_utf8_decode(text + at, &length))) at += length;
    return at;
}

/* True when the caller cut the text between begin and end (cuts are ascending). */
static bool is_cut(const encoder *e, size_t begin, size_t end)
{
    size_t low = 0, high = e->n_cuts;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (e->cuts[middle] <= begin)
            low = middle + 1;
        else
            high = middle;
    }
    return low < e->n_cuts && e->cuts[low] < end;
}

/* Finds the next added token at or after *at. Its span is [*begin, *end) with the white space that
 * it swallows, and *at moves behind the token itself. */
static const sterna_added *next_added(const encoder *e, sterna_trie *const tries[2],
                                      const char *text, size_t size, size_t done, size_t *at,
                                      size_t *begin, size_t *end)
{
    const sterna_tokenizer *t = e->t;
    const sterna_trie *trie = tries[e->special];
    while (trie && *at < size) {
        int32_t index = -1;
        size_t start = *at, length = sterna_trie_longest(trie, text + start, size - start, &index);
        if (length && t->added[index].special && is_cut(e, start, start + length))
            length =
                tries[0] ? sterna_trie_longest(tries[0], text + start, size - start, &index) : 0;
        if (!length) {
            *at += sterna_utf8_size(text[start]);
            continue;
        }
        const sterna_added *added = &t->added[index];
        *at = start + length;
        if (start < done) continue; /* inside white space that the last one swallowed */
        if (added->single_word && (word_before(text, start) || word_after(text, size, *at)))
            continue;
        *begin = added->lstrip ? strip_left(text, done, start) : start;
        *end = added->rstrip ? strip_right(text, size, *at) : *at;
        return added;
    }
    return NULL;
}

static sterna_status encode_split(encoder *e, const char *text, size_t size, bool normalized,
                                  bool first);

/* Text without raw added tokens: normalised, then split at those that are looked for afterwards.
 * There the places of cuts are gone, so a cut anywhere keeps all control tokens out. */
static sterna_status encode_raw(const encoder *e, const char *text, size_t begin, size_t end,
                                bool first)
{
    encoder inner = *e;
    if (is_cut(e, begin, end)) inner.special = 0;
    inner.n_cuts = 0;
    sterna_status status = sterna_normalize(e->t, e->scratch, text + begin, end - begin, e->err);
    if (status || !e->scratch->normal.size) return status;
    first = first && !e->scratch->beginning_dropped;
    return encode_split(&inner, e->scratch->normal.data, e->scratch->normal.size, true, first);
}

/* Splits at added tokens; the text between goes to the next stage: first (normalized = false) the
 * raw text, which is then normalised and split again. */
static sterna_status encode_split(encoder *e, const char *text, size_t size, bool normalized,
                                  bool first)
{
    sterna_trie *const *tries = normalized ? e->t->added_normalized : e->t->added_raw;
    size_t at = 0, done = 0, begin = 0, end = 0;
    for (;;) {
        const sterna_added *added = next_added(e, tries, text, size, done, &at, &begin, &end);
        size_t stop = added ? begin : size;
        if (stop > done) {
            bool starts = first && done == 0;
            sterna_status status = normalized ? encode_text(e, text + done, stop - done, starts)
                                              : encode_raw(e, text, done, stop, starts);
            if (status) return status;
        }
        if (!added) return STERNA_OK;
        sterna_ids_add(e->ids, added->id);
        done = end;
    }
}

/* Replaces ill-formed bytes by U+FFFD. *text stays where it is when there are none. */
static bool make_well_formed(const char **text, size_t *size, sterna_buffer *out)
{
    size_t at = 0, length, copied = 0;
    while (at < *size) {
        bool good = sterna_utf8_check(*text + at, *size - at, &length);
        if (!good) {
            sterna_buffer_add(out, *text + copied, at - copied);
            sterna_buffer_add(out, "\xef\xbf\xbd", 3);
            copied = at + length;
        }
        at += length;
    }
    if (!copied) return true;
    sterna_buffer_add(out, *text + copied, *size - copied);
    *text = out->data;
    *size = out->size;
    return !out->failed;
}

sterna_status sterna_encode(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                            int flags, int32_t **ids, size_t *count, sterna_error *err)
{
    return sterna_encode_cut(tokenizer, text, size, flags, NULL, 0, ids, count, err);
}

sterna_status sterna_encode_cut(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                                int flags, const size_t *cuts, size_t n_cuts, int32_t **ids,
                                size_t *count, sterna_error *err)
{
    if (size > STERNA_TEXT_MAX_BYTES)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "a text of %zu bytes is larger than %d", size,
                           (int)STERNA_TEXT_MAX_BYTES);
    sterna_scratch scratch = {.regex.budget = STERNA_REGEX_BUDGET_BASE +
                                              (uint64_t)STERNA_REGEX_BUDGET_PER_BYTE * size};
    sterna_ids list = {0};
    sterna_buffer repaired = {0};
    encoder e = {tokenizer, &scratch, &list, flags & STERNA_PARSE_SPECIAL ? 1 : 0,
                 cuts,      n_cuts,   err};
    sterna_status status = STERNA_OK;
    bool add = flags & STERNA_ADD_SPECIAL;
    for (size_t i = 0; add && i < tokenizer->prefix.count; i++)
        sterna_ids_add(&list, tokenizer->prefix.data[i]);
    if (!make_well_formed(&text, &size, &repaired))
        status = sterna_fail_memory(err, "a text");
    else if (n_cuts && text == repaired.data)
        status = sterna_fail(err, STERNA_ERROR_ARGUMENT, "a text with cuts must be UTF-8");
    else if (size)
        status = encode_split(&e, text, size, false, true);
    for (size_t i = 0; add && i < tokenizer->suffix.count; i++)
        sterna_ids_add(&list, tokenizer->suffix.data[i]);
    if (!status && !list.data) { /* no ids: still something to free */
        list.data = sterna_realloc(NULL, 1, sizeof *list.data);
        list.failed |= !list.data;
    }
    if (!status && list.failed) status = sterna_fail_memory(err, "the ids of a text");
    free_scratch(&scratch);
    sterna_buffer_free(&repaired);
    if (status) {
        sterna_free(list.data);
        return status;
    }
    *ids = list.data;
    *count = list.count;
    return STERNA_OK;
}

size_t sterna_control_prefix(const sterna_tokenizer *tokenizer, const char *text, size_t size)
{
    const sterna_trie *const tries[] = {tokenizer->added_raw[1], tokenizer->added_normalized[1]};
    size_t longest = 0;
    for (int i = 0; i < 2; i++) {
        sterna_trie_walk walk;
        int32_t index;
        size_t length;
        if (!tries[i]) continue;
        sterna_trie_begin(&walk, tries[i], text, size);
        while (sterna_trie_next(&walk, &index, &length))
            if (tokenizer->added[index].special && length > longest) longest = length;
    }
    return longest;
}

sterna_status sterna_tokenizers_cut_alike(const sterna_tokenizer *a, const sterna_tokenizer *b,
                                          const char *text, size_t size, bool *alike,
                                          sterna_error *err)
{
    uint64_t budget = STERNA_REGEX_BUDGET_BASE + STERNA_REGEX_BUDGET_PER_BYTE * (uint64_t)size;
    sterna_scratch x = {.regex.budget = budget}, y = {.regex.budget = budget};
    sterna_status status = sterna_pretokenize(a, &x, text, size, true, err);
    if (!status) status = sterna_pretokenize(b, &y, text, size, true, err);
    bool same = !status && x.pieces.count == y.pieces.count && x.text.size == y.text.size &&
                memcmp(x.text.data, y.text.data, x.text.size) == 0;
    for (size_t i = 0; same && i < x.pieces.count; i++)
        same = x.pieces.data[i].begin == y.pieces.data[i].begin &&
               x.pieces.data[i].size == y.pieces.data[i].size;
    free_scratch(&x);
    free_scratch(&y);
    if (!status) *alike = same;
    return status;
}
