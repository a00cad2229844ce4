/* Tokenizers from bare lists: tiktoken's "base64 rank" lines and llama2.c's tokenizer.bin; and
 * opening a file by what it holds. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "text/load_internal.h"

bool sterna_base64(const char *text, size_t size, sterna_buffer *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int8_t values[256];
    uint32_t bits = 0;
    unsigned held = 0;
    memset(values, -1, sizeof values);
    for (int i = 0; i < 64; i++) values[(uint8_t)digits[i]] = (int8_t)i;
    while (size && text[size - 1] == '=') size--;
    for (size_t i = 0; i < size; i++) {
        int8_t value = values[(uint8_t)text[i]];
        if (value < 0) return false;
        bits = bits << 6 | (uint8_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            sterna_buffer_add_char(out, (char)(bits >> held));
        }
    }
    return held < 6 && !out->failed;
}

/* ---- tiktoken ---- */

typedef struct line {
    sterna_text base64;
    size_t rank;
} line;

/* The line at *at; false at the end. *good tells whether it has the form "base64 rank". */
static bool next_line(const char *text, size_t size, size_t *at, line *out, bool *good)
{
    while (*at < size && (text[*at] == '\n' || text[*at] == '\r')) ++*at;
    if (*at == size) return false;
    size_t begin = *at, gap, digits;
    while (*at < size && text[*at] != '\n') ++*at;
    for (gap = begin; gap < *at && text[gap] != ' '; gap++) continue;
    out->base64 = (sterna_text){text + begin, gap - begin};
    out->rank = 0;
    for (digits = gap + 1; digits < *at && text[digits] >= '0' && text[digits] <= '9'; digits++)
        if (out->rank < SIZE_MAX / 16) out->rank = out->rank * 10 + (size_t)(text[digits] - '0');
    *good = gap > begin && digits > gap + 1 &&
            (digits == *at || (text[digits] == '\r' && digits + 1 == *at));
    return true;
}

/* What is known about a rank list by its size: its splitting, and the control tokens behind it. */
typedef struct list_kind {
    size_t ranks;
    const char *split;
    struct {
        uint32_t id;
        const char *name;
    } specials[6];
} list_kind;

static const list_kind list_kinds[] = {
    {.ranks = 50256, .split = "gpt-2", .specials = {{50256, "<|endoftext|>"}}},
    {.ranks = 50257, .split = "gpt-2"},
    {.ranks = 100256,
     .split = "dbrx",
     .specials = {{100257, "<|endoftext|>"},
                  {100258, "<|fim_prefix|>"},
                  {100259, "<|fim_middle|>"},
                  {100260, "<|fim_suffix|>"},
                  {100276, "<|endofprompt|>"}}},
    {.ranks = 128000,
     .split = "llama-bpe",
     .specials = {{128000, "<|begin_of_text|>"},
                  {128001, "<|end_of_text|>"},
                  {128006, "<|start_header_id|>"},
                  {128007, "<|end_header_id|>"},
                  {128009, "<|eot_id|>"}}},
    {.ranks = 199998,
     .split = "gpt-4o",
     .specials = {{199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}}},
};

static const list_kind *kind_of(size_t ranks)
{
    for (size_t i = 0; i < sizeof list_kinds / sizeof *list_kinds; i++)
        if (list_kinds[i].ranks == ranks) return &list_kinds[i];
    return NULL;
}

static size_t size_with_specials(const list_kind *kind, size_t ranks)
{
    size_t size = ranks;
    for (size_t i = 0; kind && i < 6 && kind->specials[i].name; i++)
        if (kind->specials[i].id >= size) size = kind->specials[i].id + 1;
    return kind && kind->ranks == 128000 ? ranks + 256 : size;
}

static sterna_status add_special(sterna_tokenizer *t, size_t id, const char *name,
                                 sterna_error *err)
{
    sterna_text text = {name, strlen(name)};
    sterna_status status = sterna_tokenizer_set(t, id, text, STERNA_TOKEN_CONTROL, 0, err);
    if (status) return status;
    return sterna_tokenizer_add(t, (sterna_added){.id = (int32_t)id, .special = true}, err);
}

static sterna_status add_specials(sterna_tokenizer *t, const list_kind *kind, sterna_error *err)
{
    for (size_t i = 0; kind && i < 6 && kind->specials[i].name; i++) {
        sterna_status status = add_special(t, kind->specials[i].id, kind->specials[i].name, err);
        if (status) return status;
    }
    if (!kind || kind->ranks != 128000) return STERNA_OK;
    unsigned number = 0; /* Llama 3 numbers the reserved ones in the order of their ids */
    for (size_t id = 128000; id < 128256; id++) {
        char name[48];
        if (t->tokens[id].text.size) continue;
        snprintf(name, sizeof name, "<|reserved_special_token_%u|>", number++);
        sterna_status status = add_special(t, id, name, err);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_status count_ranks(const char *name, const char *text, size_t size, size_t *ranks,
                                 sterna_error *err)
{
    size_t at = 0, lines = 0, largest = 0;
    line l;
    bool good;
    while (next_line(text, size, &at, &l, &good)) {
        lines++;
        if (!good || l.rank >= STERNA_TOKENIZER_MAX_TOKENS)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: line %zu is not a base64 token and its rank", name, lines);
        if (l.rank > largest) largest = l.rank;
    }
    if (!lines || largest >= 2 * lines + 65536)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %zu tokens with ranks up to %zu are no tiktoken list", name, lines,
                           largest);
    *ranks = largest + 1;
    return STERNA_OK;
}

static sterna_status set_ranks(sterna_tokenizer *t, const char *text, size_t size,
                               sterna_error *err)
{
    sterna_buffer bytes = {0}, chars = {0};
    sterna_status status = STERNA_OK;
    size_t at = 0;
    line l;
    bool good;
    while (!status && next_line(text, size, &at, &l, &good)) {
        sterna_buffer_clear(&bytes);
        sterna_buffer_clear(&chars);
        if (!sterna_base64(l.base64.data, l.base64.size, &bytes) && !bytes.failed) {
            status = sterna_fail(err, STERNA_ERROR_FORMAT,
                                 "%s: the token of rank %zu is not valid base64", t->name, l.rank);
            break;
        }
        if (!bytes.failed && bytes.size) sterna_add_byte_chars(&chars, bytes.data, bytes.size);
        if (bytes.failed || chars.failed)
            status = sterna_fail_memory(err, "a vocabulary");
        else
            status = sterna_tokenizer_set(t, l.rank,
                                          (sterna_text){chars.size ? chars.data : "", chars.size},
                                          STERNA_TOKEN_NORMAL, -(double)l.rank, err);
    }
    sterna_buffer_free(&bytes);
    sterna_buffer_free(&chars);
    return status;
}

static sterna_status build_ranks(sterna_tokenizer *t, const list_kind *kind,
                                 const sterna_pretokenizer_row *row, sterna_error *err)
{
    t->model.kind = STERNA_MODEL_SPAN_BPE;
    t->model.ignore_merges = true;
    sterna_status status = add_specials(t, kind, err);
    if (!status) status = sterna_tokenizer_index(t, err);
    if (!status) status = sterna_tokenizer_pretokenizer(t, row, err);
    if (!status)
        status =
            sterna_tokenizer_decode_step(t, (sterna_decode_step){.kind = STERNA_DECODE_BYTES}, err);
    if (status) return status;
    t->roles[STERNA_TOKEN_BOS] = sterna_token_find(t, "<|begin_of_text|>", 17);
    t->roles[STERNA_TOKEN_EOS] = sterna_token_find(t, "<|end_of_text|>", 15);
    if (t->roles[STERNA_TOKEN_EOS] < 0)
        t->roles[STERNA_TOKEN_EOS] = sterna_map_get(t->specials, "<|endoftext|>", 13);
    t->add_bos = t->roles[STERNA_TOKEN_BOS] >= 0;
    if (t->add_bos) sterna_ids_add(&t->prefix, t->roles[STERNA_TOKEN_BOS]);
    snprintf(t->description, sizeof t->description,
             "byte-level BPE (tiktoken), pre-tokenizer %.64s", row->name);
    t->description[strcspn(t->description, "|")] = 0;
    return sterna_tokenizer_finish(t, err);
}

sterna_status sterna_tokenizer_from_tiktoken(const char *name, const char *text, size_t size,
                                             const char *split, sterna_tokenizer **out,
                                             sterna_error *err)
{
    sterna_tokenizer *t = NULL;
    size_t ranks = 0;
    sterna_status status = count_ranks(name, text, size, &ranks, err);
    if (status) return status;
    const list_kind *kind = kind_of(ranks);
    if (!split && !kind)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: a tiktoken list of %zu ranks is not a known one, and the file does "
                           "not say how text is split: use the model's tokenizer.json",
                           name, ranks);
    const sterna_pretokenizer_row *row = sterna_pretokenizer_find(split ? split : kind->split);
    if (!row || row->raw)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED, "%s: unknown pre-tokenizer '%.64s'", name,
                           split);
    status = sterna_tokenizer_new(name, size_with_specials(kind, ranks), &t, err);
    if (!status) status = set_ranks(t, text, size, err);
    if (!status) status = build_ranks(t, kind, row, err);
    if (status) {
        sterna_tokenizer_free(t);
        return status;
    }
    *out = t;
    return STERNA_OK;
}

/* ---- llama2.c: i32 longest token, then f32 score, i32 size, bytes each ---- */

enum { LLAMA2C_UNKNOWN, LLAMA2C_BOS, LLAMA2C_EOS };

static bool count_llama2c(sterna_cursor in, size_t limit, size_t *count)
{
    sterna_cursor_u32(&in);
    for (*count = 0; sterna_cursor_left(&in) && (!limit || *count < limit); ++*count) {
        sterna_cursor_f32(&in);
        sterna_cursor_bytes(&in, sterna_cursor_u32(&in));
        if (in.failed) return false;
    }
    return *count > LLAMA2C_EOS && (!limit || *count == limit);
}

static sterna_status set_llama2c(sterna_tokenizer *t, sterna_cursor in, sterna_error *err)
{
    static const char *const controls[] = {"<unk>", "<s>", "</s>"};
    sterna_cursor_u32(&in);
    for (size_t id = 0; id < t->n_tokens; id++) {
        double score = (double)sterna_cursor_f32(&in);
        uint32_t size = sterna_cursor_u32(&in);
        sterna_text text = {(const char *)sterna_cursor_bytes(&in, size), size};
        int type = STERNA_TOKEN_NORMAL;
        if (id <= LLAMA2C_EOS) {
            text = (sterna_text){controls[id], strlen(controls[id])};
            type = id == LLAMA2C_UNKNOWN ? STERNA_TOKEN_UNKNOWN : STERNA_TOKEN_CONTROL;
        } else if (sterna_byte_token(text) >= 0) {
            type = STERNA_TOKEN_BYTE;
        }
        sterna_status status = sterna_tokenizer_set(t, id, text, type, score, err);
        if (!status && type == STERNA_TOKEN_CONTROL)
            status =
                sterna_tokenizer_add(t, (sterna_added){.id = (int32_t)id, .special = true}, err);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_status build_llama2c(sterna_tokenizer *t, sterna_error *err)
{
    const sterna_text space = {" ", 1};
    t->model.kind = STERNA_MODEL_SPAN_BPE;
    t->model.byte_fallback = true;
    t->model.fuse_unknown = true;
    t->roles[STERNA_TOKEN_UNK] = LLAMA2C_UNKNOWN;
    t->roles[STERNA_TOKEN_BOS] = LLAMA2C_BOS;
    t->roles[STERNA_TOKEN_EOS] = LLAMA2C_EOS;
    t->add_bos = true;
    sterna_ids_add(&t->prefix, LLAMA2C_BOS);
    sterna_status status = sterna_tokenizer_normalize(
        t, (sterna_normalize_step){.kind = STERNA_NORMALIZE_PREPEND, .content = space}, err);
    sterna_decode_step steps[] = {{.kind = STERNA_DECODE_BYTE_FALLBACK},
                                  {.kind = STERNA_DECODE_STRIP_TEXT, .content = space, .left = 1}};
    for (size_t i = 0; i < 2 && !status; i++)
        status = sterna_tokenizer_decode_step(t, steps[i], err);
    if (!status) status = sterna_tokenizer_index(t, err);
    if (status) return status;
    snprintf(t->description, sizeof t->description, "SentencePiece BPE (llama2.c)");
    return sterna_tokenizer_finish(t, err);
}

sterna_status sterna_tokenizer_from_llama2c(const char *name, const void *bytes, size_t size,
                                            size_t n_vocab, sterna_tokenizer **out,
                                            sterna_error *err)
{
    sterna_tokenizer *t = NULL;
    sterna_cursor in = {.data = bytes, .size = size};
    size_t count;
    if (!count_llama2c(in, n_vocab, &count))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: not a llama2.c tokenizer, cut off, or of fewer tokens than the "
                           "model has",
                           name);
    sterna_status status = sterna_tokenizer_new(name, count, &t, err);
    if (!status) status = set_llama2c(t, in, err);
    if (!status) status = build_llama2c(t, err);
    if (status) {
        sterna_tokenizer_free(t);
        return status;
    }
    *out = t;
    return STERNA_OK;
}

/* ---- by content ---- */

static sterna_status open_json(const char *path, const sterna_file *file, sterna_tokenizer **out,
                               sterna_error *err)
{
    char *folder = sterna_path_folder(path), *config = NULL;
    char *beside = folder ? sterna_path_join(folder, "tokenizer_config.json") : NULL;
    size_t size = 0;
    sterna_status status = beside ? STERNA_OK : sterna_fail_memory(err, "a path");
    if (!status && sterna_path_exists(beside))
        status = sterna_file_read(beside, STERNA_TOKENIZER_MAX_FILE_BYTES, &config, &size, err);
    if (!status)
        status = sterna_tokenizer_from_json(path, (const char *)file->data, file->size, config,
                                            size, out, err);
    sterna_free(config);
    sterna_free(beside);
    sterna_free(folder);
    return status;
}

static bool looks_like_ranks(const char *text, size_t size)
{
    size_t at = 0;
    line l;
    bool good;
    return next_line(text, size, &at, &l, &good) && good;
}

static sterna_status open_file(const char *path, sterna_tokenizer **out, sterna_error *err)
{
    sterna_file *file;
    sterna_status status = sterna_file_open(path, &file, err);
    if (status) return status;
    const char *text = (const char *)file->data;
    size_t start = 0, count;
    while (start < file->size && strchr(" \t\r\n", text[start]) && text[start]) start++;
    if (start < file->size && text[start] == '{')
        status = open_json(path, file, out, err);
    else if (looks_like_ranks(text, file->size))
        status = sterna_tokenizer_from_tiktoken(path, text, file->size, NULL, out, err);
    else if (count_llama2c((sterna_cursor){.data = file->data, .size = file->size}, 0, &count))
        status = sterna_tokenizer_from_llama2c(path, file->data, file->size, 0, out, err);
    else if (file->size && text[0] == '\n') /* the tag of the first piece */
        status = sterna_tokenizer_from_sentencepiece(path, file->data, file->size, out, err);
    else
        status = sterna_fail(err, STERNA_ERROR_FORMAT,
                             "%s: not a tokenizer: neither tokenizer.json nor a SentencePiece "
                             ".model, a tiktoken list or llama2.c's tokenizer.bin",
                             path);
    sterna_file_close(file);
    return status;
}

sterna_status sterna_tokenizer_open(const char *path, sterna_tokenizer **out, sterna_error *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin"};
    if (!sterna_path_is_folder(path)) return open_file(path, out, err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *inside = sterna_path_join(path, names[i]);
        if (!inside) return sterna_fail_memory(err, "a path");
        bool there = sterna_path_exists(inside);
        sterna_status status = there ? open_file(inside, out, err) : STERNA_OK;
        sterna_free(inside);
        if (there) return status;
    }
    return sterna_fail(err, STERNA_ERROR_IO,
                       "%s: the folder holds no tokenizer (tokenizer.json or tokenizer.model)",
                       path);
}
