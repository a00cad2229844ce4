/* A tokenizer from Hugging Face's tokenizer.json (and the tokenizer_config.json beside it): the
 * vocabulary, the model and the added tokens; json_pipeline.c reads the other sections. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "text/load_internal.h"

typedef struct loader {
    const char *name;
    const json_t *root, *model, *vocab, *added, *config;
    const char *type;
    sterna_tokenizer *t;
    sterna_error *err;
} loader;

static sterna_status broken(const loader *in, const char *what)
{
    return sterna_fail(in->err, STERNA_ERROR_FORMAT, "%s: %s", in->name, what);
}

/* ---- ids ---- */

/* Grows *count to hold `id`. */
static sterna_status hold(const loader *in, const json_t *id, size_t *count)
{
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= STERNA_TOKENIZER_MAX_TOKENS)
        return sterna_fail(in->err, STERNA_ERROR_FORMAT,
                           "%s: a token's id is %lld; ids are whole numbers from 0 to %d", in->name,
                           (long long)value, (int)STERNA_TOKENIZER_MAX_TOKENS - 1);
    if ((size_t)value >= *count) *count = (size_t)value + 1;
    return STERNA_OK;
}

/* Ids may have gaps, but a file cannot ask for a table far beyond what it lists. */
static sterna_status count_tokens(const loader *in, size_t *count)
{
    enum { GAPS = 1 << 16 };
    size_t listed = json_array_size(in->added);
    *count = 0;
    if (json_is_array(in->vocab)) {
        *count = json_array_size(in->vocab);
        listed += *count;
    } else {
        const char *key;
        json_t *id;
        listed += json_object_size(in->vocab);
        json_object_foreach((json_t *)in->vocab, key, id)
        {
            sterna_status status = hold(in, id, count);
            if (status) return status;
        }
    }
    for (size_t i = 0; i < json_array_size(in->added); i++) {
        const json_t *id = json_object_get(json_array_get(in->added, i), "id");
        sterna_status status = hold(in, id, count);
        if (status) return status;
    }
    if (*count > 2 * listed + GAPS)
        return sterna_fail(in->err, STERNA_ERROR_FORMAT,
                           "%s: the largest token id is %zu, but only %zu tokens are listed",
                           in->name, *count - 1, listed);
    return STERNA_OK;
}

/* ---- tokens ---- */

static sterna_status set_object_vocab(const loader *in)
{
    for (void *at = json_object_iter((json_t *)in->vocab); at;
         at = json_object_iter_next((json_t *)in->vocab, at)) {
        sterna_text text = {json_object_iter_key(at), json_object_iter_key_len(at)};
        size_t id = (size_t)json_integer_value(json_object_iter_value(at));
        sterna_status status =
            sterna_tokenizer_set(in->t, id, text, STERNA_TOKEN_NORMAL, 0, in->err);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_status set_list_vocab(const loader *in)
{
    for (size_t i = 0; i < json_array_size(in->vocab); i++) {
        const json_t *pair = json_array_get(in->vocab, i), *piece = json_array_get(pair, 0);
        const json_t *score = json_array_get(pair, 1);
        if (!json_is_string(piece) || !json_is_number(score))
            return sterna_fail(in->err, STERNA_ERROR_FORMAT,
                               "%s: entry %zu of the unigram vocabulary is not [text, score]",
                               in->name, i);
        sterna_text text = {json_string_value(piece), json_string_length(piece)};
        sterna_status status = sterna_tokenizer_set(in->t, i, text, STERNA_TOKEN_NORMAL,
                                                    json_number_value(score), in->err);
        if (status) return status;
    }
    return STERNA_OK;
}

/* The id that the vocabulary gives to an added token; its own one (*outside) where it gives none.
 */
static size_t added_id(const loader *in, const json_t *item, sterna_text text, bool *outside)
{
    const json_t *known =
        json_is_object(in->vocab) ? json_object_getn(in->vocab, text.data, text.size) : NULL;
    size_t id = (size_t)json_integer_value(known ? known : json_object_get(item, "id"));
    *outside = json_is_array(in->vocab) ? id >= json_array_size(in->vocab) : !known;
    return id;
}

static sterna_status set_added(const loader *in)
{
    for (size_t i = 0; i < json_array_size(in->added); i++) {
        const json_t *item = json_array_get(in->added, i);
        sterna_text text = sterna_json_text(item, "content");
        if (!text.data) return broken(in, "an added token has no content");
        bool special = sterna_json_flag(item, "special", false), outside;
        size_t id = added_id(in, item, text, &outside);
        sterna_status status = sterna_tokenizer_set(
            in->t, id, text, special ? STERNA_TOKEN_CONTROL : STERNA_TOKEN_USER_DEFINED,
            in->t->tokens[id].score, in->err);
        if (status) return status;
        if (!text.size) continue;
        sterna_added added = {.id = (int32_t)id,
                              .special = special,
                              .normalized = sterna_json_flag(item, "normalized", !special),
                              .lstrip = sterna_json_flag(item, "lstrip", false),
                              .rstrip = sterna_json_flag(item, "rstrip", false),
                              .single_word = sterna_json_flag(item, "single_word", false)};
        in->t->tokens[id].outside = outside;
        status = sterna_tokenizer_add(in->t, added, in->err);
        if (status) return status;
    }
    return STERNA_OK;
}

static void mark_byte_tokens(sterna_tokenizer *t)
{
    for (size_t i = 0; i < t->n_tokens; i++)
        if (sterna_byte_token(t->tokens[i].text) >= 0 && !t->tokens[i].added)
            t->tokens[i].type = STERNA_TOKEN_BYTE;
}

/* ---- BPE ---- */

/* "left right" or ["left", "right"]. */
static bool merge_parts(const json_t *entry, sterna_text *left, sterna_text *right)
{
    if (json_is_array(entry) && json_array_size(entry) == 2) {
        const json_t *a = json_array_get(entry, 0), *b = json_array_get(entry, 1);
        *left = (sterna_text){json_string_value(a), json_string_length(a)};
        *right = (sterna_text){json_string_value(b), json_string_length(b)};
        return left->data && right->data;
    }
    const char *text = json_string_value(entry), *gap = text ? strchr(text, ' ') : NULL;
    if (!gap || strchr(gap + 1, ' ')) return false;
    *left = (sterna_text){text, (size_t)(gap - text)};
    *right = (sterna_text){gap + 1, json_string_length(entry) - left->size - 1};
    return true;
}

static sterna_status add_merge(const loader *in, size_t rank, sterna_text left, sterna_text right,
                               sterna_buffer *both)
{
    const sterna_tokenizer *t = in->t;
    const sterna_text prefix = t->model.prefix;
    size_t skip = prefix.size && right.size >= prefix.size ? prefix.size : 0;
    sterna_buffer_clear(both);
    sterna_buffer_add(both, left.data, left.size);
    sterna_buffer_add(both, right.data + skip, right.size - skip);
    if (both->failed) return sterna_fail_memory(in->err, "merges");
    int32_t a = sterna_token_find(t, left.data, left.size);
    int32_t b = sterna_token_find(t, right.data, right.size);
    int32_t merged = sterna_token_find(t, both->data, both->size);
    if (a < 0 || b < 0 || merged < 0) {
        sterna_text missing = a < 0 ? left : b < 0 ? right : (sterna_text){both->data, both->size};
        return sterna_fail(in->err, STERNA_ERROR_FORMAT,
                           "%s: merge %zu needs the token '%.*s', which the vocabulary lacks",
                           in->name, rank, (int)(missing.size < 64 ? missing.size : 64),
                           missing.data);
    }
    if (sterna_piece_id(t, both->data, both->size) == merged) /* not into a control token */
        sterna_merges_put(t->model.merges, a, b, (uint32_t)rank, merged, true);
    return STERNA_OK;
}

static sterna_status add_merges(const loader *in)
{
    const json_t *merges = json_object_get(in->model, "merges");
    if (!json_is_array(merges)) return broken(in, "the BPE model has no list of merges");
    if (json_array_size(merges) > STERNA_TOKENIZER_MAX_MERGES)
        return sterna_fail(in->err, STERNA_ERROR_LIMIT,
                           "%s: %zu merges are more than the limit of %d", in->name,
                           json_array_size(merges), (int)STERNA_TOKENIZER_MAX_MERGES);
    in->t->model.merges = sterna_merges_new(json_array_size(merges));
    if (!in->t->model.merges) return sterna_fail_memory(in->err, "merges");
    sterna_buffer both = {0};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < json_array_size(merges) && !status; i++) {
        const json_t *entry = json_array_get(merges, i);
        sterna_text left, right;
        const char *text = json_string_value(entry);
        if (text && strncmp(text, "#version", 8) == 0) continue;
        if (!merge_parts(entry, &left, &right))
            status = sterna_fail(in->err, STERNA_ERROR_FORMAT, "%s: merge %zu is not two tokens",
                                 in->name, i);
        else
            status = add_merge(in, i, left, right, &both);
    }
    sterna_buffer_free(&both);
    return status;
}

static sterna_text keep_member(const loader *in, const char *key)
{
    sterna_text text = sterna_json_text(in->model, key);
    return text.size ? sterna_tokenizer_keep(in->t, text.data, text.size) : (sterna_text){"", 0};
}

static sterna_status load_bpe(const loader *in)
{
    sterna_text_model *model = &in->t->model;
    const json_t *dropout = json_object_get(in->model, "dropout");
    if (json_is_number(dropout) && json_number_value(dropout) != 0)
        return sterna_fail(in->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model asks for BPE dropout, which makes encoding random; set "
                           "'dropout' to null",
                           in->name);
    model->kind = STERNA_MODEL_BPE;
    model->ignore_merges = sterna_json_flag(in->model, "ignore_merges", false);
    model->byte_fallback = sterna_json_flag(in->model, "byte_fallback", false);
    model->fuse_unknown = sterna_json_flag(in->model, "fuse_unk", false);
    model->prefix = keep_member(in, "continuing_subword_prefix");
    model->suffix = keep_member(in, "end_of_word_suffix");
    return add_merges(in);
}

static sterna_status load_wordpiece(const loader *in)
{
    sterna_text_model *model = &in->t->model;
    json_int_t most = 100;
    const json_t *limit = json_object_get(in->model, "max_input_chars_per_word");
    if (json_is_integer(limit)) most = json_integer_value(limit);
    model->kind = STERNA_MODEL_WORDPIECE;
    model->max_word_chars = most < 0 ? 0 : (size_t)most;
    model->prefix = json_object_get(in->model, "continuing_subword_prefix")
                        ? keep_member(in, "continuing_subword_prefix")
                        : (sterna_text){"##", 2};
    return STERNA_OK;
}

static sterna_status load_unigram(const loader *in)
{
    in->t->model.kind = STERNA_MODEL_UNIGRAM;
    in->t->model.byte_fallback = sterna_json_flag(in->model, "byte_fallback", false);
    in->t->model.fuse_unknown = true;
    return sterna_tokenizer_make_unigram(in->t, in->err);
}

static sterna_status load_wordlevel(const loader *in)
{
    in->t->model.kind = STERNA_MODEL_WORDLEVEL;
    return STERNA_OK;
}

static const struct {
    const char *type;
    sterna_status (*load)(const loader *in);
} kinds[] = {{"BPE", load_bpe},
             {"WordPiece", load_wordpiece},
             {"Unigram", load_unigram},
             {"WordLevel", load_wordlevel}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* Files before version 1.0 of the library do not name the type. */
static const char *guess_type(const loader *in)
{
    if (json_is_array(in->vocab)) return "Unigram";
    if (json_object_get(in->model, "merges")) return "BPE";
    return json_object_get(in->model, "max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

/* ---- special tokens ---- */

/* "<s>" or {"content": "<s>", ...} in tokenizer_config.json. */
static int32_t config_token(const loader *in, const char *key)
{
    const json_t *value = json_object_get(in->config, key);
    sterna_text text = json_is_object(value) ? sterna_json_text(value, "content")
                                             : sterna_json_text(in->config, key);
    return text.data ? sterna_token_find(in->t, text.data, text.size) : -1;
}

static int32_t first_known(const sterna_tokenizer *t, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int32_t id = sterna_map_get(t->specials, names[i], strlen(names[i]));
        if (id >= 0) return id;
    }
    return -1;
}

static void set_roles(const loader *in)
{
    static const struct {
        const char *key;
        sterna_token_role role;
    } keys[] = {{"bos_token", STERNA_TOKEN_BOS}, {"eos_token", STERNA_TOKEN_EOS},
                {"sep_token", STERNA_TOKEN_SEP}, {"pad_token", STERNA_TOKEN_PAD},
                {"cls_token", STERNA_TOKEN_CLS}, {"mask_token", STERNA_TOKEN_MASK}};
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<bos>", "[CLS]",
                                      "<|startoftext|>"};
    static const char *const eos[] = {"</s>",          "<|end_of_text|>", "<eos>",
                                      "<|endoftext|>", "[SEP]",           "<|im_end|>"};
    sterna_tokenizer *t = in->t;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        t->roles[keys[i].role] = config_token(in, keys[i].key);
    if (in->config) return;
    t->roles[STERNA_TOKEN_BOS] = first_known(t, bos, sizeof bos / sizeof *bos);
    t->roles[STERNA_TOKEN_EOS] = first_known(t, eos, sizeof eos / sizeof *eos);
}

static bool holds(const sterna_ids *ids, int32_t id)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->data[i] == id) return true;
    return false;
}

static void take_out(sterna_ids *ids, int32_t id)
{
    size_t kept = 0;
    for (size_t i = 0; i < ids->count; i++)
        if (ids->data[i] != id) ids->data[kept++] = ids->data[i];
    ids->count = kept;
}

/* tokenizer_config.json may add BOS and EOS to what the post-processor does, or take them away. */
static void set_ends(const loader *in)
{
    sterna_tokenizer *t = in->t;
    int32_t bos = t->roles[STERNA_TOKEN_BOS], eos = t->roles[STERNA_TOKEN_EOS];
    const json_t *add_bos = json_object_get(in->config, "add_bos_token");
    const json_t *add_eos = json_object_get(in->config, "add_eos_token");
    if (json_is_false(add_bos) && bos >= 0) take_out(&t->prefix, bos);
    if (json_is_false(add_eos) && eos >= 0) take_out(&t->suffix, eos);
    if (json_is_true(add_bos) && bos >= 0 && !holds(&t->prefix, bos)) {
        sterna_ids_add(&t->prefix, bos);
        if (!t->prefix.failed) { /* in front of the others */
            memmove(t->prefix.data + 1, t->prefix.data, (t->prefix.count - 1) * sizeof bos);
            t->prefix.data[0] = bos;
        }
    }
    if (json_is_true(add_eos) && eos >= 0 && !holds(&t->suffix, eos))
        sterna_ids_add(&t->suffix, eos);
    t->add_bos = t->prefix.count > 0;
    t->add_eos = t->suffix.count > 0;
}

static sterna_status set_unknown(const loader *in)
{
    sterna_text text = sterna_json_text(in->model, "unk_token");
    const json_t *number = json_object_get(in->model, "unk_id");
    int32_t id = -1;
    if (text.data) {
        for (size_t i = 0; i < in->t->n_tokens && id < 0; i++)
            if (in->t->tokens[i].text.size == text.size &&
                memcmp(in->t->tokens[i].text.data, text.data, text.size) == 0)
                id = (int32_t)i;
    } else if (json_is_integer(number)) {
        json_int_t value = json_integer_value(number);
        if (value < 0 || (size_t)value >= in->t->n_tokens)
            return broken(in, "the id of the unknown token is not in the vocabulary");
        id = (int32_t)value;
    }
    in->t->roles[STERNA_TOKEN_UNK] = id;
    if (id >= 0 && in->t->tokens[id].type == STERNA_TOKEN_NORMAL)
        in->t->tokens[id].type = STERNA_TOKEN_UNKNOWN;
    return STERNA_OK;
}

static sterna_status build(loader *in)
{
    size_t kind = 0;
    while (kind < N_KINDS && strcmp(kinds[kind].type, in->type) != 0) kind++;
    if (kind == N_KINDS)
        return sterna_fail(in->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the model is of type '%.64s'; known are BPE, WordPiece, Unigram "
                           "and WordLevel",
                           in->name, in->type);
    size_t count;
    sterna_status status = count_tokens(in, &count);
    if (!status) status = sterna_tokenizer_new(in->name, count, &in->t, in->err);
    if (!status) status = json_is_array(in->vocab) ? set_list_vocab(in) : set_object_vocab(in);
    if (!status) status = set_added(in);
    if (!status) status = set_unknown(in);
    if (!status && sterna_json_flag(in->model, "byte_fallback", false)) mark_byte_tokens(in->t);
    if (!status) status = sterna_tokenizer_index(in->t, in->err);
    if (!status) status = kinds[kind].load(in);
    const json_t *root = in->root;
    if (!status)
        status = sterna_json_normalizer(in->t, json_object_get(root, "normalizer"), in->err);
    if (!status)
        status = sterna_json_pretokenizer(in->t, json_object_get(root, "pre_tokenizer"), in->err);
    if (!status) status = sterna_json_decoder(in->t, json_object_get(root, "decoder"), in->err);
    if (!status)
        status = sterna_json_postprocessor(in->t, json_object_get(root, "post_processor"), in->err);
    if (status) return status;
    set_roles(in);
    set_ends(in);
    snprintf(in->t->description, sizeof in->t->description, "%s (tokenizer.json)", in->type);
    return sterna_tokenizer_finish(in->t, in->err);
}

static json_t *parse(const char *name, const char *text, size_t size, size_t flags,
                     sterna_error *err)
{
    json_error_t error;
    if (size > STERNA_TOKENIZER_MAX_FILE_BYTES) {
        sterna_fail(err, STERNA_ERROR_LIMIT, "%s: %zu bytes are more than the limit of %d", name,
                    size, (int)STERNA_TOKENIZER_MAX_FILE_BYTES);
        return NULL;
    }
    json_t *root = json_loadb(text, size, JSON_ALLOW_NUL | flags, &error);
    if (root && json_is_object(root)) return root;
    if (root)
        sterna_fail(err, STERNA_ERROR_FORMAT, "%s: the JSON text is not an object", name);
    else if (json_error_code(&error) == json_error_out_of_memory)
        sterna_fail_memory(err, "a tokenizer");
    else
        sterna_fail(err, STERNA_ERROR_FORMAT, "%s: not valid JSON: %s (line %d, column %d)", name,
                    error.text, error.line, error.column);
    json_decref(root);
    return NULL;
}

sterna_status sterna_tokenizer_from_json(const char *name, const char *text, size_t size,
                                         const char *config, size_t config_size,
                                         sterna_tokenizer **out, sterna_error *err)
{
    sterna_error local = {0};
    loader in = {.name = name, .err = err ? err : &local};
    json_t *root = parse(name, text, size, 0, in.err);
    /* a model_max_length of 10^30 is common there and fits no integer */
    json_t *settings =
        root && config ? parse(name, config, config_size, JSON_DECODE_INT_AS_REAL, in.err) : NULL;
    sterna_status status = STERNA_OK;
    in.root = root;
    in.config = settings;
    if (!root || (config && !settings)) {
        status = in.err->status;
    } else {
        in.model = json_object_get(root, "model");
        in.vocab = json_object_get(in.model, "vocab");
        in.added = json_object_get(root, "added_tokens");
        const char *type = json_string_value(json_object_get(in.model, "type"));
        in.type = type ? type : guess_type(&in);
        if (!json_is_array(in.vocab) && !json_is_object(in.vocab))
            status = broken(&in, "there is no vocabulary in it (model.vocab)");
        else
            status = build(&in);
    }
    json_decref(settings);
    json_decref(root);
    if (status) {
        sterna_tokenizer_free(in.t);
        return status;
    }
    *out = in.t;
    return STERNA_OK;
}
