/* Finding the tokenizer and the chat template of a model file. */
#include "run/text.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"

/* What a sterna_vocab borrows while it is made from GGUF metadata. */
typedef struct vocab_memory {
    char *model, *pre, *name;
    float *scores;
    int32_t *types;
} vocab_memory;

static sterna_status read_text(const sterna_model_file *file, const char *key, char **out,
                               sterna_error *err)
{
    sterna_text text = {NULL, 0};
    sterna_status status = sterna_meta_string(file, key, false, &text, err);
    if (status || !text.data) return status;
    if (memchr(text.data, 0, text.size))
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: '%s' contains a zero byte", file->path,
                           key);
    *out = sterna_strndup(text.data, text.size);
    return *out ? STERNA_OK : sterna_fail_memory(err, key);
}

/* A list of numbers with one element per token. */
static sterna_status number_list(const sterna_model_file *file, const char *key, size_t count,
                                 const sterna_meta **out, sterna_error *err)
{
    *out = sterna_model_file_meta(file, key);
    if (!*out) return STERNA_OK;
    if ((*out)->type == STERNA_META_ARRAY && !(*out)->strings && (*out)->count == count)
        return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: '%s' is not a list of %zu numbers, one for each token", file->path, key,
                       count);
}

static sterna_status read_lists(const sterna_model_file *file, sterna_vocab *vocab,
                                vocab_memory *memory, sterna_error *err)
{
    const sterna_meta *scores, *types;
    sterna_status status =
        number_list(file, "tokenizer.ggml.scores", vocab->n_tokens, &scores, err);
    if (!status)
        status = number_list(file, "tokenizer.ggml.token_type", vocab->n_tokens, &types, err);
    if (status) return status;
    if (scores) {
        memory->scores = sterna_alloc(vocab->n_tokens, sizeof *memory->scores);
        if (!memory->scores) return sterna_fail_memory(err, "token scores");
        for (size_t i = 0; i < vocab->n_tokens; i++)
            memory->scores[i] = (float)sterna_meta_element(scores, i);
    }
    if (types) {
        memory->types = sterna_alloc(vocab->n_tokens, sizeof *memory->types);
        if (!memory->types) return sterna_fail_memory(err, "token types");
        for (size_t i = 0; i < vocab->n_tokens; i++) {
            double type = sterna_meta_element(types, i);
            memory->types[i] = type >= 1 && type <= 6 ? (int32_t)type : STERNA_TOKEN_NORMAL;
        }
    }
    vocab->scores = memory->scores;
    vocab->types = memory->types;
    const sterna_meta *merges = sterna_model_file_meta(file, "tokenizer.ggml.merges");
    if (merges && (merges->type != STERNA_META_ARRAY || (merges->count && !merges->strings)))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: 'tokenizer.ggml.merges' is not a list of texts", file->path);
    if (merges) vocab->merges = merges->strings, vocab->n_merges = (size_t)merges->count;
    const sterna_meta *map = sterna_model_file_meta(file, "tokenizer.ggml.precompiled_charsmap");
    if (map && (map->type != STERNA_META_ARRAY || map->strings || map->element_type > 1))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: 'tokenizer.ggml.precompiled_charsmap' is not a list of bytes",
                           file->path);
    if (map) vocab->precompiled_charsmap = map->raw, vocab->charsmap_size = (size_t)map->count;
    return STERNA_OK;
}

static sterna_status read_ids_and_flags(const sterna_model_file *file, sterna_vocab *vocab,
                                        sterna_error *err)
{
    const struct {
        const char *key;
        int32_t *out;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &vocab->bos},
               {"tokenizer.ggml.eos_token_id", &vocab->eos},
               {"tokenizer.ggml.unknown_token_id", &vocab->unk},
               {"tokenizer.ggml.seperator_token_id", &vocab->sep}, /* spelt so in GGUF */
               {"tokenizer.ggml.padding_token_id", &vocab->pad},
               {"tokenizer.ggml.cls_token_id", &vocab->cls},
               {"tokenizer.ggml.mask_token_id", &vocab->mask},
               {"tokenizer.ggml.eot_token_id", &vocab->eot},
               {"tokenizer.ggml.eom_token_id", &vocab->eom}};
    const struct {
        const char *key;
        int8_t *out;
    } flags[] = {{"tokenizer.ggml.add_bos_token", &vocab->add_bos},
                 {"tokenizer.ggml.add_eos_token", &vocab->add_eos},
                 {"tokenizer.ggml.add_sep_token", &vocab->add_sep},
                 {"tokenizer.ggml.add_space_prefix", &vocab->add_space_prefix},
                 {"tokenizer.ggml.remove_extra_whitespaces", &vocab->remove_extra_whitespaces},
                 {"tokenizer.ggml.escape_whitespaces", &vocab->escape_whitespaces},
                 {"tokenizer.ggml.normalizer.lowercase", &vocab->lowercase},
                 {"tokenizer.ggml.normalizer.strip_accents", &vocab->strip_accents}};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; !status && i < sizeof ids / sizeof *ids; i++) {
        uint32_t id = UINT32_MAX; /* also how files write "none" */
        status = sterna_meta_u32(file, ids[i].key, false, 0, UINT32_MAX, &id, err);
        if (!status && id != UINT32_MAX && id >= vocab->n_tokens)
            status = sterna_fail(err, STERNA_ERROR_FORMAT,
                                 "%s: '%s' is %u, but there are only %zu tokens", file->path,
                                 ids[i].key, id, vocab->n_tokens);
        if (id != UINT32_MAX) *ids[i].out = (int32_t)id;
    }
    for (size_t i = 0; !status && i < sizeof flags / sizeof *flags; i++) {
        if (!sterna_model_file_meta(file, flags[i].key)) continue;
        bool flag = false;
        status = sterna_meta_bool(file, flags[i].key, true, &flag, err);
        *flags[i].out = flag;
    }
    return status;
}

static sterna_status from_gguf(const sterna_model_file *file, sterna_tokenizer **out,
                               sterna_error *err)
{
    const sterna_meta *tokens = sterna_model_file_meta(file, "tokenizer.ggml.tokens");
    if (!tokens) return STERNA_OK;
    if (tokens->type != STERNA_META_ARRAY || !tokens->strings || tokens->count > SIZE_MAX / 64)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: 'tokenizer.ggml.tokens' is not a list of texts", file->path);
    vocab_memory memory = {0};
    sterna_vocab vocab;
    sterna_vocab_init(&vocab);
    vocab.tokens = tokens->strings;
    vocab.n_tokens = (size_t)tokens->count;
    sterna_status status = read_text(file, "tokenizer.ggml.model", &memory.model, err);
    if (!status) status = read_text(file, "tokenizer.ggml.pre", &memory.pre, err);
    if (!status) status = read_text(file, "general.name", &memory.name, err);
    if (!status) status = read_lists(file, &vocab, &memory, err);
    if (!status) status = read_ids_and_flags(file, &vocab, err);
    vocab.model = memory.model;
    vocab.pre = memory.pre;
    vocab.model_name = memory.name;
    if (!status && !vocab.model)
        status = sterna_fail(
            err, STERNA_ERROR_FORMAT,
            "%s: there are tokens, but no 'tokenizer.ggml.model' says of what kind", file->path);
    if (!status) status = sterna_tokenizer_from_vocab(&vocab, file->path, out, err);
    sterna_free(memory.model);
    sterna_free(memory.pre);
    sterna_free(memory.name);
    sterna_free(memory.scores);
    sterna_free(memory.types);
    return status;
}

static int add_json(const char *text, size_t size, void *buffer)
{
    sterna_buffer_add(buffer, text, size);
    return ((sterna_buffer *)buffer)->failed ? -1 : 0;
}

static sterna_status from_json(const sterna_model_file *file, sterna_tokenizer **out,
                               sterna_error *err)
{
    char *text = NULL;
    sterna_buffer config = {0};
    size_t size = 0;
    sterna_status status = sterna_file_read(file->tokenizer_json_path,
                                            STERNA_TOKENIZER_MAX_FILE_BYTES, &text, &size, err);
    if (!status && file->tokenizer_config &&
        json_dump_callback(file->tokenizer_config, add_json, &config, JSON_COMPACT))
        status = sterna_fail_memory(err, "tokenizer_config.json");
    if (!status)
        status = sterna_tokenizer_from_json(file->tokenizer_json_path, text, size, config.data,
                                            config.size, out, err);
    sterna_free(text);
    sterna_buffer_free(&config);
    return status;
}

static sterna_status from_llama2c(const sterna_model_file *file, sterna_tokenizer **out,
                                  sterna_error *err)
{
    sterna_file *bytes = NULL;
    sterna_status status = sterna_file_open(file->tokenizer_model_path, &bytes, err);
    if (status) return status;
    status = sterna_tokenizer_from_llama2c(file->tokenizer_model_path, bytes->data, bytes->size,
                                           (size_t)file->llama2c.vocab_size, out, err);
    sterna_file_close(bytes);
    return status;
}

sterna_status sterna_load_tokenizer(const sterna_model_file *file, size_t vocabulary,
                                    sterna_tokenizer **out, sterna_error *err)
{
    sterna_tokenizer *tokenizer = NULL;
    sterna_status status = STERNA_OK;
    if (file->container == STERNA_GGUF)
        status = from_gguf(file, &tokenizer, err);
    else if (file->tokenizer_json_path)
        status = from_json(file, &tokenizer, err);
    else if (file->tokenizer_model_path && file->container == STERNA_LLAMA2C)
        status = from_llama2c(file, &tokenizer, err);
    else if (file->tokenizer_model_path)
        status = sterna_tokenizer_open(file->tokenizer_model_path, &tokenizer, err);
    if (status) return status;
    size_t size = tokenizer ? sterna_tokenizer_size(tokenizer) : 0;
    if (vocabulary && size > vocabulary) {
        sterna_tokenizer_free(tokenizer);
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the tokenizer has %zu tokens, but the model only %zu: they do not "
                           "belong together",
                           file->path, size, vocabulary);
    }
    *out = tokenizer;
    return STERNA_OK;
}

static bool is_gguf(const char *path)
{
    sterna_file *file = NULL;
    if (sterna_path_is_folder(path) || sterna_file_open(path, &file, NULL)) return false;
    bool gguf = file->size >= 4 && memcmp(file->data, "GGUF", 4) == 0;
    sterna_file_close(file);
    return gguf;
}

sterna_status sterna_load_tokenizer_path(const char *path, sterna_tokenizer **out,
                                         sterna_error *err)
{
    sterna_model_file *file = NULL;
    sterna_status status;
    if (is_gguf(path)) {
        status = sterna_model_file_open(path, NULL, &file, err);
    } else {
        status = sterna_tokenizer_open(path, out, err);
        /* not a vocabulary: perhaps a model that has one beside it (llama2.c); what stood in the
         * way of reading a vocabulary says more when it is neither */
        if (!status || sterna_model_file_open(path, NULL, &file, NULL)) return status;
        status = STERNA_OK;
    }
    if (status) return status;
    sterna_tokenizer *tokenizer = NULL;
    status = sterna_load_tokenizer(file, 0, &tokenizer, err);
    sterna_model_file_close(file);
    if (!status && !tokenizer)
        status =
            sterna_fail(err, STERNA_ERROR_UNSUPPORTED, "%s: the file holds no vocabulary", path);
    if (!status) *out = tokenizer;
    return status;
}

sterna_status sterna_load_chat_template(const sterna_model_file *file, char **out,
                                        sterna_error *err)
{
    char *text = NULL;
    sterna_status status = STERNA_OK;
    if (file->container == STERNA_GGUF) {
        status = read_text(file, "tokenizer.chat_template", &text, err);
    } else if (file->chat_template) {
        text = sterna_strdup(file->chat_template);
        if (!text) status = sterna_fail_memory(err, "the chat template");
    }
    if (!status) *out = text;
    return status;
}
