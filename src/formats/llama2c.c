/* llama2.c's checkpoints: the original ("version 0": seven int32, then float32 tensors) and version
 * 1 (a header of 256 bytes that begins with "ak42", the same tensors in another order).
 *
 * Version 0 has no magic number; what makes a file one is that its header explains its size to the
 * byte. Tensors get the names that GGUF has for them. Source: export.py and run.c of
 * karpathy/llama2.c (MIT).
 */
#include "formats/internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum {
    MAGIC_V1 = 0x616b3432, /* bytes 32 34 6b 61 */
    HEADER_V0 = 28,
    HEADER_V1 = 256,
    MAX_WIDTH = 1 << 20,
    MAX_LAYERS = 1 << 12,
    MAX_VOCAB = 1 << 24
};

/* A run of equal tensors, one per layer (or a single one). */
typedef struct run {
    const char *name; /* "%d" stands for the layer; NULL: floats that are skipped */
    uint64_t rows, cols;
    bool per_layer;
} run;

typedef struct plan {
    sterna_llama2c_header header;
    uint32_t version;
    size_t start; /* of the first tensor */
    run runs[14];
    size_t n_runs;
    uint64_t bytes; /* that the whole file must have */
} plan;

static bool read_header(const sterna_source *source, plan *p)
{
    sterna_cursor cursor = {.data = source->data, .size = source->size};
    sterna_llama2c_header *h = &p->header;
    if (sterna_cursor_u32(&cursor) == MAGIC_V1) {
        p->version = sterna_cursor_u32(&cursor);
        p->start = HEADER_V1;
    } else {
        cursor.at = 0;
        p->start = HEADER_V0;
    }
    int32_t *const fields[] = {&h->dim,        &h->hidden_dim, &h->n_layers, &h->n_heads,
                               &h->n_kv_heads, &h->vocab_size, &h->seq_len};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = (int32_t)sterna_cursor_u32(&cursor);
    if (p->version) {
        h->tied = sterna_cursor_u8(&cursor) != 0;
    } else {
        h->tied = h->vocab_size > 0; /* a negative size says: the head has its own matrix */
        if (h->vocab_size < 0 && h->vocab_size >= -MAX_VOCAB) h->vocab_size = -h->vocab_size;
    }
    return !cursor.failed && source->size >= p->start && h->dim > 0 && h->dim <= MAX_WIDTH &&
           h->hidden_dim > 0 && h->hidden_dim <= MAX_WIDTH && h->n_layers > 0 &&
           h->n_layers <= MAX_LAYERS && h->n_heads > 0 && h->n_kv_heads > 0 &&
           h->dim % h->n_heads == 0 && h->n_heads % h->n_kv_heads == 0 && h->vocab_size > 0 &&
           h->vocab_size <= MAX_VOCAB && h->seq_len > 0 && h->seq_len <= MAX_VOCAB;
}

static void add_run(plan *p, const char *name, uint64_t rows, uint64_t cols, bool per_layer)
{
    p->runs[p->n_runs++] = (run){.name = name, .rows = rows, .cols = cols, .per_layer = per_layer};
    /* cannot wrap: at most 14 runs of 2^12 layers of 2^20 x 2^24 floats */
    p->bytes += 4 * rows * cols * (per_layer ? (uint64_t)p->header.n_layers : 1);
}

static void add_matrices(plan *p, bool attention)
{
    const sterna_llama2c_header *h = &p->header;
    const uint64_t dim = (uint64_t)h->dim, hidden = (uint64_t)h->hidden_dim,
                   kv = dim / (uint64_t)h->n_heads * (uint64_t)h->n_kv_heads;
    if (attention) {
        add_run(p, "blk.%d.attn_q.weight", dim, dim, true);
        add_run(p, "blk.%d.attn_k.weight", kv, dim, true);
        add_run(p, "blk.%d.attn_v.weight", kv, dim, true);
        add_run(p, "blk.%d.attn_output.weight", dim, dim, true);
    } else {
        add_run(p, "blk.%d.ffn_gate.weight", hidden, dim, true);
        add_run(p, "blk.%d.ffn_down.weight", dim, hidden, true);
        add_run(p, "blk.%d.ffn_up.weight", hidden, dim, true);
    }
}

/* The tensors in the order of the file. False when the header cannot be one. */
static bool make_plan(const sterna_source *source, plan *p)
{
    *p = (plan){0};
    if (!read_header(source, p)) return false;
    const sterna_llama2c_header *h = &p->header;
    const uint64_t dim = (uint64_t)h->dim, vocab = (uint64_t)h->vocab_size;
    p->bytes = p->start;
    if (p->version) {
        add_run(p, "blk.%d.attn_norm.weight", 1, dim, true);
        add_run(p, "blk.%d.ffn_norm.weight", 1, dim, true);
        add_run(p, "output_norm.weight", 1, dim, false);
        add_run(p, "token_embd.weight", vocab, dim, false);
        add_matrices(p, true);
        add_matrices(p, false);
    } else {
        add_run(p, "token_embd.weight", vocab, dim, false);
        add_run(p, "blk.%d.attn_norm.weight", 1, dim, true);
        add_matrices(p, true);
        add_run(p, "blk.%d.ffn_norm.weight", 1, dim, true);
        add_matrices(p, false);
        add_run(p, "output_norm.weight", 1, dim, false);
        /* tables of cos and sin, [seq_len][head/2] each: computed anew */
        add_run(p, NULL, (uint64_t)h->seq_len, dim / (uint64_t)h->n_heads / 2 * 2, false);
    }
    if (!h->tied) add_run(p, "output.weight", vocab, dim, false);
    return true;
}

bool sterna_llama2c_is(const sterna_source *source)
{
    plan p;
    sterna_cursor cursor = {.data = source->data, .size = source->size};
    if (sterna_cursor_u32(&cursor) == MAGIC_V1) return true;
    return make_plan(source, &p) && p.bytes == source->size;
}

static sterna_status add_tensors(sterna_model_file *file, const plan *p, sterna_error *err)
{
    const sterna_source *source = &file->private_data->sources[0];
    const uint8_t *at = source->data + p->start;
    for (size_t i = 0; i < p->n_runs; i++) {
        const run *r = &p->runs[i];
        int count = r->per_layer ? p->header.n_layers : 1;
        uint64_t bytes = 4 * r->rows * r->cols;
        for (int layer = 0; layer < count; layer++, at += bytes) {
            if (!r->name) continue;
            const char *rest = strchr(r->name, '%');
            char name[64];
            if (rest)
                snprintf(name, sizeof name, "blk.%d%s", layer, rest + 2);
            else
                snprintf(name, sizeof name, "%s", r->name);
            sterna_tensor tensor = {.type = STERNA_TYPE_F32,
                                    .n_dims = r->rows > 1 ? 2 : 1,
                                    .dims = {r->cols, r->rows, 1, 1},
                                    .data = at,
                                    .bytes = bytes};
            sterna_status status =
                sterna_directory_add(file, source->path, name, strlen(name), &tensor, err);
            if (status) return status;
        }
    }
    return STERNA_OK;
}

/* tok512.bin for a vocabulary of 512, or tokenizer.bin, in the folder of the model. */
static sterna_status find_tokenizer(sterna_model_file *file, sterna_error *err)
{
    char own[32];
    snprintf(own, sizeof own, "tok%d.bin", file->llama2c.vocab_size);
    const char *const names[] = {own, "tokenizer.bin"};
    char *folder = sterna_path_folder(file->path);
    if (!folder) return sterna_fail_memory(err, file->path);
    sterna_status status = STERNA_OK;
    for (int i = 0; i < 2 && !status && !file->tokenizer_model_path; i++) {
        char *path = sterna_path_join(folder, names[i]);
        if (!path)
            status = sterna_fail_memory(err, file->path);
        else if (sterna_path_exists(path))
            file->tokenizer_model_path = path;
        else
            sterna_free(path);
    }
    sterna_free(folder);
    return status;
}

sterna_status sterna_llama2c_read(sterna_model_file *file, sterna_error *err)
{
    const sterna_source *source = &file->private_data->sources[0];
    plan p;
    bool valid = make_plan(source, &p);
    if (p.version > 1)
        return sterna_fail(
            err, STERNA_ERROR_UNSUPPORTED,
            "%s: llama2.c version %u; versions 0 and 1 (float32) can be read: export "
            "the model with --version 0",
            source->path, p.version);
    if (!valid || p.bytes != source->size)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: a llama2.c header for a file of %llu bytes in a file of %zu bytes; "
                           "it is cut off or damaged: get it again",
                           source->path, (unsigned long long)p.bytes, source->size);
    file->container = STERNA_LLAMA2C;
    file->llama2c = p.header;
    sterna_status status = add_tensors(file, &p, err);
    return status || !source->mapping ? status : find_tokenizer(file, err);
}
