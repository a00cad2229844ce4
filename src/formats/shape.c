/* The table of known shapes, and a model file of one of them with random weights. Sizes are those
 * of the models' published configurations. */
#include "formats/shape.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"
#include "base/rng.h"
#include "formats/internal.h"

enum {
    PATTERN_ROWS = 64, /* rows that differ; the others repeat them */
    Q6_K_SCALE_AT = 208
};

static const sterna_shape shapes[] = {
    {"tiny", "llama", 2, 256, 512, 4, 2, 64, 512, 512, 10000, false, false, false,
     STERNA_TYPE_TQ2_0},
    {"bitnet-0.7b", "bitnet", 24, 1536, 4096, 16, 16, 96, 32002, 2048, 10000, true, false, true,
     STERNA_TYPE_I2_S},
    {"bitnet-2b4t", "bitnet-b1.58", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 500000, true, false,
     true, STERNA_TYPE_I2_S},
    {"qwen3-1.7b", "qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 40960, 1000000, true, true, false,
     STERNA_TYPE_TQ2_0},
    {"bonsai-4b", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 40960, 1000000, true, true, false,
     STERNA_TYPE_PQ2_0},
    {"falcon3-7b", "llama", 28, 3072, 23040, 12, 4, 256, 131072, 32768, 1000042, false, false,
     false, STERNA_TYPE_I2_S},
    {"llama3-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 500000, false, false, false,
     STERNA_TYPE_I2_S},
    {"bonsai-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 40960, 1000000, false, true, false,
     STERNA_TYPE_PQ2_0},
    {"llama3-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 8192, 500000, false, false, false,
     STERNA_TYPE_I2_S},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

const sterna_shape *sterna_shape_at(size_t i)
{
    return i < SHAPES ? &shapes[i] : NULL;
}

sterna_status sterna_shape_find(const char *name, const sterna_shape **out, sterna_error *err)
{
    char known[256] = "";
    for (size_t i = 0; i < SHAPES; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            *out = &shapes[i];
            return STERNA_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", shapes[i].name);
    }
    return sterna_fail(err, STERNA_ERROR_ARGUMENT, "shape '%.60s' is unknown; choose %s", name,
                       known);
}

/* ---- its matrices ---- */

typedef struct matrix {
    const char *name;
    uint64_t cols, rows;
} matrix;

enum { MATRICES = 7, NORMS = 6 };

static void list_matrices(const sterna_shape *shape, matrix out[MATRICES])
{
    uint64_t q = (uint64_t)shape->heads * shape->head_dim,
             kv = (uint64_t)shape->kv_heads * shape->head_dim;
    const matrix all[MATRICES] = {{"attn_q", shape->width, q},
                                  {"attn_k", shape->width, kv},
                                  {"attn_v", shape->width, kv},
                                  {"attn_output", q, shape->width},
                                  {"ffn_gate", shape->width, shape->ffn},
                                  {"ffn_up", shape->width, shape->ffn},
                                  {"ffn_down", shape->ffn, shape->width}};
    memcpy(out, all, sizeof all);
}

uint64_t sterna_shape_parameters(const sterna_shape *shape)
{
    matrix matrices[MATRICES];
    list_matrices(shape, matrices);
    uint64_t sum = 0;
    for (int i = 0; i < MATRICES; i++) sum += matrices[i].rows * matrices[i].cols;
    return sum * shape->layers + (uint64_t)shape->vocabulary * shape->width * (shape->tied ? 1 : 2);
}

/* ---- random bytes ---- */

static uint32_t draw(sterna_rng *rng, uint32_t below)
{
    return (uint32_t)((sterna_rng_u64(rng) >> 32) * below >> 32);
}

/* One scale for the whole tensor: four codes of trit + 1 a byte, then the scale. */
static void fill_i2s(sterna_rng *rng, float scale, uint64_t bytes, uint8_t *out)
{
    enum { TAIL = 32 };
    memset(out + bytes - TAIL, 0, TAIL);
    memcpy(out + bytes - TAIL, &scale, sizeof scale);
    for (uint64_t i = 0; i < bytes - TAIL; i++) {
        uint32_t four = draw(rng, 81);
        out[i] = (uint8_t)(four % 3 | four / 3 % 3 << 2 | four / 9 % 3 << 4 | four / 27 << 6);
    }
}

static void fill_row(sterna_rng *rng, sterna_type type, float scale, size_t cols, float *floats,
                     int8_t *trits, size_t bytes, uint8_t *out)
{
    const sterna_type_info *info = sterna_type_describe(type);
    if (type == STERNA_TYPE_Q6_K) { /* every code is valid */
        for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)draw(rng, 256);
        uint16_t half = sterna_f32_to_f16(scale / 1024); /* codes to 32, scales to 127 */
        for (size_t at = Q6_K_SCALE_AT; at < bytes; at += info->block_bytes) {
            out[at] = (uint8_t)half;
            out[at + 1] = (uint8_t)(half >> 8);
        }
    } else if (info->kind == STERNA_KIND_TERNARY) {
        for (size_t i = 0; i < cols; i++) trits[i] = (int8_t)((int)draw(rng, 3) - 1);
        for (size_t i = 0; i < cols / info->group; i++)
            floats[i] = scale * (float)(0.5 + sterna_rng_double(rng));
        sterna_type_pack(type, trits, floats, cols, out);
    } else {
        for (size_t i = 0; i < cols; i++)
            floats[i] = scale * (float)(2 * sterna_rng_double(rng) - 1);
        sterna_type_encode(type, floats, cols, out);
    }
}

static bool fill_rows(sterna_rng *rng, const sterna_tensor *tensor, float scale, uint8_t *out)
{
    size_t cols = (size_t)tensor->dims[0], rows = (size_t)tensor->dims[1];
    size_t bytes = (size_t)(tensor->bytes / rows);
    float *floats = sterna_alloc(cols, sizeof *floats);
    int8_t *trits = sterna_alloc(cols, 1);
    for (size_t r = 0; floats && trits && r < rows; r++) {
        if (r < PATTERN_ROWS)
            fill_row(rng, tensor->type, scale, cols, floats, trits, bytes, out + r * bytes);
        else
            memcpy(out + r * bytes, out + r % PATTERN_ROWS * bytes, bytes);
    }
    bool complete = floats && trits;
    sterna_free(floats);
    sterna_free(trits);
    return complete;
}

/* ---- the directory ---- */

typedef struct maker {
    const sterna_shape *shape;
    sterna_model_file *file;
    sterna_rng rng;
    sterna_error *err;
} maker;

/* The bytes of a tensor: those of an earlier one of the same type and size, or new ones. */
static sterna_status fill(maker *m, sterna_tensor *tensor)
{
    for (size_t i = 0; i < m->file->n_tensors; i++) {
        const sterna_tensor *other = &m->file->tensors[i];
        if (other->type != tensor->type || memcmp(other->dims, tensor->dims, sizeof other->dims))
            continue;
        tensor->data = other->data;
        return STERNA_OK;
    }
    uint8_t *bytes = sterna_arena_alloc(&m->file->private_data->arena, (size_t)tensor->bytes, 1);
    if (!bytes) return sterna_fail_memory(m->err, "random weights");
    tensor->data = bytes;
    if (tensor->n_dims == 1) {
        const float one = 1;
        for (uint64_t i = 0; i < tensor->dims[0]; i++) memcpy(bytes + 4 * i, &one, sizeof one);
        return STERNA_OK;
    }
    float scale = 1 / sqrtf((float)tensor->dims[0]); /* keeps the size of what it multiplies */
    if (tensor->type == STERNA_TYPE_I2_S)
        fill_i2s(&m->rng, scale, tensor->bytes, bytes);
    else if (!fill_rows(&m->rng, tensor, scale, bytes))
        return sterna_fail_memory(m->err, "random weights");
    return STERNA_OK;
}

static sterna_status add(maker *m, const char *name, sterna_type type, uint64_t cols, uint64_t rows)
{
    sterna_tensor tensor = {
        .name = name, .type = type, .n_dims = rows ? 2 : 1, .dims = {cols, rows ? rows : 1, 1, 1}};
    if (!sterna_type_bytes(type, cols, tensor.dims[1], &tensor.bytes))
        return sterna_fail_shape(m->err, m->file->path, &tensor);
    sterna_status status = fill(m, &tensor);
    if (!status)
        status = sterna_directory_add(m->file, m->file->path, name, strlen(name), &tensor, m->err);
    m->file->bytes += tensor.bytes;
    return status;
}

static sterna_status add_layer(maker *m, uint32_t layer, sterna_type type)
{
    const sterna_shape *shape = m->shape;
    uint64_t q = (uint64_t)shape->heads * shape->head_dim;
    const struct {
        const char *name;
        uint64_t size;
        bool there;
    } norms[NORMS] = {{"attn_norm", shape->width, true},
                      {"ffn_norm", shape->width, true},
                      {"attn_q_norm", shape->head_dim, shape->qk_norms},
                      {"attn_k_norm", shape->head_dim, shape->qk_norms},
                      {"attn_sub_norm", q, shape->sub_norms},
                      {"ffn_sub_norm", shape->ffn, shape->sub_norms}};
    matrix matrices[MATRICES];
    list_matrices(shape, matrices);
    sterna_status status = STERNA_OK;
    char name[64];
    for (int i = 0; !status && i < NORMS; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, norms[i].name);
        if (norms[i].there) status = add(m, name, STERNA_TYPE_F32, norms[i].size, 0);
    }
    for (int i = 0; !status && i < MATRICES; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, matrices[i].name);
        status = add(m, name, type, matrices[i].cols, matrices[i].rows);
    }
    return status;
}

static sterna_status add_meta(maker *m)
{
    const sterna_shape *shape = m->shape;
    const struct {
        const char *key;
        uint32_t number;
        float real; /* where it is not 0 */
    } values[] = {{"block_count", shape->layers, 0},
                  {"embedding_length", shape->width, 0},
                  {"feed_forward_length", shape->ffn, 0},
                  {"context_length", shape->context, 0},
                  {"vocab_size", shape->vocabulary, 0},
                  {"attention.head_count", shape->heads, 0},
                  {"attention.head_count_kv", shape->kv_heads, 0},
                  {"attention.key_length", shape->head_dim, 0},
                  {"attention.value_length", shape->head_dim, 0},
                  {"attention.layer_norm_rms_epsilon", 0, 1e-5f},
                  {"rope.freq_base", 0, shape->rope_base}};
    enum { VALUES = sizeof values / sizeof *values };
    struct sterna_model_file_private *own = m->file->private_data;
    sterna_meta *meta = sterna_arena_alloc(&own->arena, VALUES + 1, sizeof *meta);
    own->keys = sterna_map_new(VALUES + 1);
    if (!meta || !own->keys) return sterna_fail_memory(m->err, "metadata");
    memset(meta, 0, (VALUES + 1) * sizeof *meta);
    meta[0] = (sterna_meta){.type = STERNA_META_STRING, .gguf_type = STERNA_GGUF_STRING};
    meta[0].value.s = (sterna_text){shape->architecture, strlen(shape->architecture)};
    sterna_status status = STERNA_OK;
    for (int i = 0; !status && i <= VALUES; i++) {
        char key[128];
        if (i == 0)
            snprintf(key, sizeof key, "general.architecture");
        else
            snprintf(key, sizeof key, "%s.%s", shape->architecture, values[i - 1].key);
        size_t size = strlen(key);
        char *copy = sterna_arena_string(&own->arena, key, size);
        if (!copy) return sterna_fail_memory(m->err, "metadata");
        meta[i].key = (sterna_text){copy, size};
        status = sterna_map_put(own->keys, copy, size, i, NULL, m->err);
        if (i == 0) continue;
        bool real = values[i - 1].real != 0;
        meta[i].type = real ? STERNA_META_FLOAT : STERNA_META_UINT;
        meta[i].gguf_type = real ? STERNA_GGUF_F32 : STERNA_GGUF_U32;
        if (real)
            meta[i].value.f = (double)values[i - 1].real;
        else
            meta[i].value.u = values[i - 1].number;
    }
    m->file->meta = meta;
    m->file->n_meta = VALUES + 1;
    return status;
}

static sterna_status check_types(sterna_type weights, sterna_type ends, sterna_error *err)
{
    const sterna_type_info *ternary = sterna_type_describe(weights),
                           *other = sterna_type_describe(ends);
    if (ternary->kind != STERNA_KIND_TERNARY || (!ternary->writable && weights != STERNA_TYPE_I2_S))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "random weights cannot have the type %s; choose I2_S, TQ2_0, TQ1_0, "
                           "Q2_0, PQ2_0 or PTQ1_0",
                           ternary->name);
    if (other->kind == STERNA_KIND_TERNARY || (!other->writable && ends != STERNA_TYPE_Q6_K))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "a random embedding cannot have the type %s; choose Q8_0, Q6_K, F16, "
                           "BF16 or F32",
                           other->name);
    return STERNA_OK;
}

/* What loading takes: the packed model (block types of more bits may become int8), beside it the
 * largest tensors as they are made here. */
static sterna_status check_memory(const sterna_shape *shape, sterna_type weights, sterna_type ends,
                                  sterna_error *err)
{
    uint64_t table = (uint64_t)shape->vocabulary * shape->width, stored = 0, layer = 0, bytes = 0;
    matrix matrices[MATRICES];
    list_matrices(shape, matrices);
    for (int i = 0; i < MATRICES; i++)
        if (sterna_type_bytes(weights, matrices[i].cols, matrices[i].rows, &bytes)) layer += bytes;
    if (!sterna_type_bytes(ends, shape->width, shape->vocabulary, &stored)) stored = 0;
    uint64_t packed = stored > table / 8 * 9 ? stored : table / 8 * 9;
    double needed = (double)layer * (shape->layers + 1) * 1.1 + (double)stored +
                    (double)packed * (shape->tied ? 1 : 2);
    double there = (double)sterna_memory_available();
    if (there == 0 || needed <= there) return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_MEMORY,
                       "shape %s takes about %.1f GB of memory, and %.1f GB are free; choose a "
                       "smaller shape",
                       shape->name, needed * 1e-9, there * 1e-9);
}

static sterna_status make(maker *m, sterna_type weights, sterna_type ends)
{
    const sterna_shape *shape = m->shape;
    sterna_status status = add_meta(m);
    if (!status) status = add(m, "token_embd.weight", ends, shape->width, shape->vocabulary);
    if (!status && !shape->tied)
        status = add(m, "output.weight", ends, shape->width, shape->vocabulary);
    if (!status) status = add(m, "output_norm.weight", STERNA_TYPE_F32, shape->width, 0);
    for (uint32_t l = 0; !status && l < shape->layers; l++) status = add_layer(m, l, weights);
    return status;
}

sterna_status sterna_shape_open(const sterna_shape *shape, sterna_type weights, sterna_type ends,
                                sterna_model_file **out, sterna_error *err)
{
    sterna_status status = check_types(weights, ends, err);
    if (!status) status = check_memory(shape, weights, ends, err);
    if (status) return status;
    char name[96];
    snprintf(name, sizeof name, "shape %s, random %s, head %s", shape->name,
             sterna_type_describe(weights)->name, sterna_type_describe(ends)->name);
    maker m = {.shape = shape, .file = sterna_model_file_new(name, NULL), .err = err};
    if (!m.file) return sterna_fail_memory(err, name);
    m.file->container = STERNA_GGUF;
    m.file->gguf_version = 3;
    m.file->alignment = STERNA_GGUF_DEFAULT_ALIGNMENT;
    sterna_rng_seed(&m.rng, 1);
    return sterna_model_file_finish(m.file, make(&m, weights, ends), out);
}
