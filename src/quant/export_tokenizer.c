/* A tokenizer as GGUF metadata.
 *
 * GGUF names a pre-tokenizer instead of describing it, and keeps a BPE either as merges ("gpt2") or
 * as scores ("llama"). So the vocabulary is written down in those terms, a tokenizer is made from
 * that for each name that could fit, and the first one that cuts a text full of traps into the same
 * pieces and the same tokens as the model's own is taken. When none does, the conversion is
 * refused: a model that reads other tokens than it was trained with answers nonsense. (The text is
 * in normal form C: that some tokenizers compose characters first is nothing that GGUF can say.)
 */
#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "quant/export.h"
#include "run/text.h"

static const char traps[] =
    "Hello, world! I'll say we'RE sure it's 1234567 or 12.5 % of 3x4.\n\n  \n\tTabs\t\tand   "
    "spaces  \n\r\n HTMLParser camelCase snake_case ABCdef x1y22z333 don\xE2\x80\x99t can't'Ve "
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xD0\x9C\xD0\x98\xD0\xA0, "
    "\xE4\xBD\xA0\xE5\xA5\xBD\xE4\xB8\x96\xE7\x95\x8C\xE3\x80\x82 \xE3\x81\x93\xE3\x82\x93 "
    "\xED\x95\x9C\xEA\xB5\xAD \xD8\xB3\xD9\x84\xD8\xA7\xD9\x85 "
    "\xE0\xA6\xAC\xE0\xA7\xA7\xE0\xA7\xA8 "
    "\xE0\xB8\xAA\xE0\xB8\xA7 \xC3\xA9t\xC3\xA9 \xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD "
    "!!!... (x) == {y}; a+b=c <tag> https://a.b/c?d=1&e #42 $5 __init__ -- \xE2\x80\x94 "
    "\xC2\xBD \xE2\x85\xA7 \xC2\xB2 2024-11-22T07:20  end   ";

/* Names that llama.cpp knows, common ones first. */
static const char *const pre_names[] = {
    "llama-bpe",   "qwen2",    "smollm", "gpt-2",     "deepseek-llm", "deepseek-coder",
    "deepseek-v3", "falcon",   "dbrx",   "glm4",      "tekken",       "gpt-4o",
    "qwen35",      "kimi-k2",  "bloom",  "viking",    "default",      "seed-coder",
    "chameleon",   "superbpe", "exaone", "minerva-7b"};

typedef struct vocabulary {
    sterna_vocab vocab;
    const sterna_tokenizer *own; /* the model's */
    sterna_text *tokens, *merges;
    int32_t *types;
    float *scores;
    sterna_buffer changed, joined; /* texts of tokens that are not the source's, and of merges */
    json_t *json;                  /* tokenizer.json, or NULL */
    bool bytes;                    /* byte-level: "gpt2" */
} vocabulary;

/* ---- the vocabulary in GGUF's terms ---- */

static sterna_status read_json(const char *path, json_t **out, sterna_error *err)
{
    char *text;
    size_t size;
    json_error_t why;
    sterna_status status =
        sterna_file_read(path, STERNA_TOKENIZER_MAX_FILE_BYTES, &text, &size, err);
    if (status) return status;
    *out = json_loadb(text, size, JSON_ALLOW_NUL, &why);
    sterna_free(text);
    if (*out) return STERNA_OK;
    if (json_error_code(&why) == json_error_out_of_memory) return sterna_fail_memory(err, path);
    return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: line %d: %s", path, why.line, why.text);
}

/* llama2.c writes spaces as they are, SentencePiece and GGUF as U+2581. */
static void mark_spaces(sterna_buffer *text, sterna_text token)
{
    for (size_t i = 0; i < token.size; i++)
        if (token.data[i] == ' ')
            sterna_buffer_add_text(text, "\xE2\x96\x81");
        else
            sterna_buffer_add_char(text, token.data[i]);
}

/* Tokens of the tokenizer, then unused ones up to the rows of the embedding table, which llama.cpp
 * wants to be as many. */
static sterna_status list_tokens(vocabulary *v, size_t rows, bool plain_spaces, sterna_error *err)
{
    size_t known = sterna_tokenizer_size(v->own), count = known > rows ? known : rows;
    v->tokens = sterna_calloc(count, sizeof *v->tokens);
    v->types = sterna_alloc(count, sizeof *v->types);
    v->scores = sterna_calloc(count, sizeof *v->scores);
    if (!v->tokens || !v->types || !v->scores) return sterna_fail_memory(err, "the vocabulary");
    for (size_t i = 0; i < count; i++) {
        sterna_text token = sterna_token_text(v->own, (int32_t)i);
        size_t before = v->changed.size;
        v->types[i] = (int32_t)sterna_token_type_of(v->own, (int32_t)i);
        v->scores[i] = sterna_token_score(v->own, (int32_t)i);
        if (!token.size) { /* a hole, or past the end */
            v->types[i] = STERNA_TOKEN_UNUSED;
            sterna_buffer_format(&v->changed, "[PAD%zu]", i);
        } else if (plain_spaces) {
            mark_spaces(&v->changed, token);
        } else {
            v->tokens[i] = token;
            continue;
        }
        v->tokens[i].size = v->changed.size - before; /* data when the buffer has stopped moving */
    }
    if (v->changed.failed) return sterna_fail_memory(err, "the vocabulary");
    const char *at = v->changed.data;
    for (size_t i = 0; i < count; i++)
        if (!v->tokens[i].data) {
            v->tokens[i].data = at;
            at += v->tokens[i].size;
        }
    v->vocab.tokens = v->tokens;
    v->vocab.types = v->types;
    v->vocab.n_tokens = count;
    return STERNA_OK;
}

/* "left right", from either way that tokenizer.json writes a merge. */
static sterna_status list_merges(vocabulary *v, const json_t *list, sterna_error *err)
{
    sterna_buffer *text = &v->joined;
    size_t count = json_array_size(list), start = 0;
    v->merges = sterna_alloc(count, sizeof *v->merges);
    if (!v->merges) return sterna_fail_memory(err, "the merges");
    for (size_t i = 0; i < count; i++) {
        const json_t *merge = json_array_get(list, i);
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        size_t before = text->size;
        if (json_is_string(merge)) {
            sterna_buffer_add(text, json_string_value(merge), json_string_length(merge));
        } else if (json_is_string(left) && json_is_string(right)) {
            sterna_buffer_add(text, json_string_value(left), json_string_length(left));
            sterna_buffer_add_char(text, ' ');
            sterna_buffer_add(text, json_string_value(right), json_string_length(right));
        }
        v->merges[i].size = text->size - before;
    }
    if (text->failed) return sterna_fail_memory(err, "the merges");
    for (size_t i = 0; i < count; i++) {
        v->merges[i].data = text->data + start;
        start += v->merges[i].size;
    }
    return STERNA_OK;
}

/* A SentencePiece BPE merges the pair whose result has the highest score. Ranks of merges as
 * scores say the same: the earlier, the higher. */
static void score_by_merges(vocabulary *v, size_t count)
{
    for (size_t i = 0; i < v->vocab.n_tokens; i++) v->scores[i] = -1e6f;
    sterna_buffer joined = {0};
    for (size_t i = count; i-- > 0;) {
        const char *space = memchr(v->merges[i].data + 1, ' ', v->merges[i].size - 1);
        if (v->merges[i].size < 3 || !space) continue;
        size_t left = (size_t)(space - v->merges[i].data);
        sterna_buffer_clear(&joined);
        sterna_buffer_add(&joined, v->merges[i].data, left);
        sterna_buffer_add(&joined, space + 1, v->merges[i].size - left - 1);
        int32_t id = joined.failed ? -1 : sterna_token_find(v->own, joined.data, joined.size);
        if (id >= 0) v->scores[id] = -(float)i;
    }
    sterna_buffer_free(&joined);
}

static bool has_byte_tokens(const sterna_tokenizer *tokenizer)
{
    return sterna_token_find(tokenizer, "<0x0A>", 6) >= 0;
}

static sterna_status read_model(vocabulary *v, const char *path, sterna_error *err)
{
    const json_t *model = json_object_get(v->json, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    const json_t *merges = json_object_get(model, "merges");
    sterna_vocab *vocab = &v->vocab;
    vocab->scores = v->scores;
    if (!v->json) { /* SentencePiece or llama2.c: pieces with scores */
        vocab->model = "llama";
        return STERNA_OK;
    }
    if (type && strcmp(type, "Unigram") == 0) {
        vocab->model = "t5";
        return STERNA_OK;
    }
    if (!merges || (type && strcmp(type, "BPE") != 0))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: GGUF has no form for a %.40s tokenizer of a language model", path,
                           type ? type : "nameless");
    sterna_status status = list_merges(v, merges, err);
    if (status) return status;
    v->bytes = !has_byte_tokens(v->own);
    vocab->model = v->bytes ? "gpt2" : "llama";
    if (v->bytes) {
        vocab->merges = v->merges;
        vocab->n_merges = json_array_size(merges);
        vocab->scores = NULL;
    } else {
        score_by_merges(v, json_array_size(merges));
    }
    return STERNA_OK;
}

/* ---- the proof ---- */

static sterna_status encode(const sterna_tokenizer *tokenizer, int flags, int32_t **ids,
                            size_t *count, sterna_error *err)
{
    return sterna_encode(tokenizer, traps, sizeof traps - 1, flags, ids, count, err);
}

/* Whether a tokenizer made from the vocabulary reads the traps as the model's own does. */
static sterna_status reads_alike(const vocabulary *v, bool *alike, sterna_error *err)
{
    static const int flags[] = {0, STERNA_ADD_SPECIAL};
    sterna_tokenizer *made = NULL;
    *alike = false;
    sterna_status status = sterna_tokenizer_from_vocab(&v->vocab, "the output", &made, err);
    if (status) return status == STERNA_ERROR_MEMORY ? status : STERNA_OK; /* not this name */
    *alike = true;
    if (v->bytes)
        status = sterna_tokenizers_cut_alike(v->own, made, traps, sizeof traps - 1, alike, err);
    for (int i = 0; i < 2 && !status && *alike; i++) {
        int32_t *a = NULL, *b = NULL;
        size_t n = 0, m = 0;
        status = encode(v->own, flags[i], &a, &n, err);
        if (!status) status = encode(made, flags[i], &b, &m, err);
        *alike = !status && n == m && memcmp(a, b, n * sizeof *a) == 0;
        sterna_free(a);
        sterna_free(b);
    }
    sterna_tokenizer_free(made);
    return status;
}

static sterna_status choose_form(vocabulary *v, const char *path, sterna_error *err)
{
    bool alike = false;
    sterna_status status = STERNA_OK;
    if (v->bytes) {
        for (size_t i = 0; i < sizeof pre_names / sizeof *pre_names && !alike && !status; i++) {
            v->vocab.pre = pre_names[i];
            status = reads_alike(v, &alike, err);
        }
    } else {
        for (int prefix = 1; prefix >= 0 && !alike && !status; prefix--) {
            v->vocab.add_space_prefix = (int8_t)prefix;
            status = reads_alike(v, &alike, err);
        }
    }
    if (status || alike) return status;
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: no tokenizer that GGUF can name reads text as this one does (%s); run "
                       "the model as it is",
                       path, sterna_tokenizer_describe(v->own));
}

/* ---- writing ---- */

static sterna_status put_text(sterna_model_writer *writer, const char *key, const char *text,
                              sterna_error *err)
{
    return text ? sterna_model_writer_meta_string(writer, key, text, strlen(text), err) : STERNA_OK;
}

static sterna_status put_ids(const vocabulary *v, sterna_model_writer *writer, sterna_error *err)
{
    static const struct {
        const char *key;
        sterna_token_role role;
    } ids[] = {{"tokenizer.ggml.bos_token_id", STERNA_TOKEN_BOS},
               {"tokenizer.ggml.eos_token_id", STERNA_TOKEN_EOS},
               {"tokenizer.ggml.unknown_token_id", STERNA_TOKEN_UNK},
               {"tokenizer.ggml.padding_token_id", STERNA_TOKEN_PAD},
               {"tokenizer.ggml.eot_token_id", STERNA_TOKEN_EOT},
               {"tokenizer.ggml.eom_token_id", STERNA_TOKEN_EOM}};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !status; i++) {
        int32_t id = sterna_token_id(v->own, ids[i].role);
        if (id >= 0) status = sterna_model_writer_meta_u32(writer, ids[i].key, (uint32_t)id, err);
    }
    return status;
}

static sterna_status write_vocabulary(const vocabulary *v, const char *chat_template,
                                      sterna_model_writer *writer, sterna_error *err)
{
    const sterna_vocab *vocab = &v->vocab;
    size_t count = vocab->n_tokens;
    sterna_status status = put_text(writer, "tokenizer.ggml.model", vocab->model, err);
    if (!status) status = put_text(writer, "tokenizer.ggml.pre", vocab->pre, err);
    if (!status)
        status = sterna_model_writer_meta_strings(writer, "tokenizer.ggml.tokens", vocab->tokens,
                                                  count, err);
    if (!status)
        status = sterna_model_writer_meta_i32s(writer, "tokenizer.ggml.token_type", vocab->types,
                                               count, err);
    if (!status && vocab->scores)
        status = sterna_model_writer_meta_floats(writer, "tokenizer.ggml.scores", vocab->scores,
                                                 count, err);
    if (!status && vocab->merges)
        status = sterna_model_writer_meta_strings(writer, "tokenizer.ggml.merges", vocab->merges,
                                                  vocab->n_merges, err);
    if (!status) status = put_ids(v, writer, err);
    if (!status)
        status = sterna_model_writer_meta_bool(writer, "tokenizer.ggml.add_bos_token",
                                               vocab->add_bos == 1, err);
    if (!status)
        status = sterna_model_writer_meta_bool(writer, "tokenizer.ggml.add_eos_token",
                                               vocab->add_eos == 1, err);
    if (!status && vocab->add_space_prefix >= 0)
        status = sterna_model_writer_meta_bool(writer, "tokenizer.ggml.add_space_prefix",
                                               vocab->add_space_prefix == 1, err);
    if (!status) status = put_text(writer, "tokenizer.chat_template", chat_template, err);
    return status;
}

sterna_status sterna_export_tokenizer(const sterna_model_file *file, const sterna_config *config,
                                      sterna_model_writer *writer, sterna_error *err)
{
    sterna_tokenizer *own = NULL;
    char *chat_template = NULL;
    sterna_status status = sterna_load_tokenizer(file, config->vocabulary, &own, err);
    if (status || !own) return status;
    vocabulary v = {.own = own};
    sterna_vocab_init(&v.vocab);
    v.vocab.bos = sterna_token_id(own, STERNA_TOKEN_BOS);
    v.vocab.eos = sterna_token_id(own, STERNA_TOKEN_EOS);
    v.vocab.unk = sterna_token_id(own, STERNA_TOKEN_UNK);
    v.vocab.add_bos = sterna_tokenizer_adds_bos(own);
    v.vocab.add_eos = sterna_tokenizer_adds_eos(own);
    if (file->tokenizer_json_path) status = read_json(file->tokenizer_json_path, &v.json, err);
    if (!status)
        status = list_tokens(&v, config->vocabulary, file->container == STERNA_LLAMA2C, err);
    if (!status) status = read_model(&v, file->path, err);
    if (!status) status = choose_form(&v, file->path, err);
    if (!status) status = sterna_load_chat_template(file, &chat_template, err);
    if (!status) status = write_vocabulary(&v, chat_template, writer, err);
    sterna_free(chat_template);
    json_decref(v.json);
    sterna_buffer_free(&v.changed);
    sterna_buffer_free(&v.joined);
    sterna_free(v.tokens);
    sterna_free(v.merges);
    sterna_free(v.types);
    sterna_free(v.scores);
    sterna_tokenizer_free(own);
    return status;
}
