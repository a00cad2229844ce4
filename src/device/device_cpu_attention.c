/* Keys, values and attention of the CPU device.
 *
 * The cache lies as attention reads it: [chunk of 512 keys][layer][kv head][block of 64 keys], a
 * block being its keys and then its values. So decode is one stream of memory per thread, and a
 * cache takes memory as it grows, though in large pages.
 *
 * The keys of a query are taken in chunks of 512 that start at multiples of 512; every chunk has
 * its own online softmax and the chunks are merged in order. Where there are few queries the chunks
 * are dealt to the threads, otherwise tiles of queries are: the result is the same to the bit, and
 * so it is for a prompt in one call or token by token.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "device/device_cpu.h"
#include "kernels/ref/math_ref.h"

enum {
    CHUNK_BLOCKS = 8,
    CHUNK = CHUNK_BLOCKS * STERNA_ATTENTION_BLOCK,
    TILE_ROWS = 64, /* rows of queries (tokens x heads that share keys) of a tile */
    SPLIT_TOKENS = 4,
};

static size_t row_bytes(sterna_kv_type type, size_t dim)
{
    if (type == STERNA_KV_F32) return 4 * dim;
    if (type == STERNA_KV_F16) return 2 * dim;
    return ((dim + 1) & ~(size_t)1) + 2 * ((dim + STERNA_Q8_GROUP - 1) / STERNA_Q8_GROUP);
}

static size_t blocks_of(size_t keys)
{
    return (keys + STERNA_ATTENTION_BLOCK - 1) / STERNA_ATTENTION_BLOCK;
}

/* 64 keys and their values. */
static size_t block_bytes(const sterna_kv *kv)
{
    return 2 * STERNA_ATTENTION_BLOCK * row_bytes(kv->type, kv->head_dim);
}

/* The blocks of a kv head in chunk c. */
static uint8_t *head_at(const sterna_kv *kv, size_t layer, size_t c, size_t head)
{
    size_t before = c * CHUNK_BLOCKS, left = blocks_of(kv->capacity) - before;
    size_t blocks = left < CHUNK_BLOCKS ? left : CHUNK_BLOCKS;
    size_t heads = (size_t)kv->layers * kv->kv_heads, index = layer * kv->kv_heads + head;
    return (uint8_t *)kv->data + (before * heads + index * blocks) * block_bytes(kv);
}

sterna_status sterna_cpu_kv_new(sterna_device *device, sterna_kv_type type, uint32_t layers,
                                uint32_t kv_heads, uint32_t head_dim, uint32_t capacity,
                                sterna_kv **out, sterna_error *err)
{
    (void)device;
    size_t block, total;
    sterna_kv *kv = sterna_calloc(1, sizeof *kv);
    if (!kv) return sterna_fail_memory(err, "the key and value cache");
    *kv = (sterna_kv){type, layers, kv_heads, head_dim, capacity, NULL};
    block = block_bytes(kv);
    if (sterna_mul_size((size_t)layers * kv_heads, blocks_of(capacity), &total) &&
        sterna_mul_size(total, block, &total))
        kv->data = sterna_alloc_streamed(total, 1);
    if (!kv->data) {
        sterna_free(kv);
        return sterna_fail(err, STERNA_ERROR_MEMORY,
                           "no memory for a key and value cache of %u tokens, %zu KB each; choose "
                           "a shorter context or --kv q8",
                           capacity, ((size_t)layers * kv_heads * block / 64) >> 10);
    }
    *out = kv;
    return STERNA_OK;
}

void sterna_cpu_kv_free(sterna_device *device, sterna_kv *kv)
{
    (void)device;
    if (!kv) return;
    sterna_free(kv->data);
    sterna_free(kv);
}

typedef struct store_job {
    const sterna_cpu *cpu;
    const sterna_batch_place *places;
    uint32_t layer;
    const float *k, *v;
} store_job;

static void store_tokens(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const store_job *job = context;
    for (size_t t = begin; t < end; t++) {
        const sterna_kv *kv = job->places[t].kv;
        size_t heads = kv->kv_heads, dim = kv->head_dim, bytes = row_bytes(kv->type, dim);
        size_t position = job->places[t].position, inside = position % CHUNK;
        for (size_t h = 0; h < heads; h++) {
            uint8_t *to_key = head_at(kv, job->layer, position / CHUNK, h) +
                              inside / STERNA_ATTENTION_BLOCK * block_bytes(kv) +
                              inside % STERNA_ATTENTION_BLOCK * bytes;
            uint8_t *to_value = to_key + STERNA_ATTENTION_BLOCK * bytes;
            const float *key = job->k + (t * heads + h) * dim;
            const float *value = job->v + (t * heads + h) * dim;
            if (kv->type == STERNA_KV_F32) {
                memcpy(to_key, key, bytes);
                memcpy(to_value, value, bytes);
                continue;
            }
            sterna_kv_encode_fn *encode = kv->type == STERNA_KV_F16
                                              ? job->cpu->kernels.kv_encode_f16
                                              : job->cpu->kernels.kv_encode_q8;
            encode(key, dim, to_key);
            encode(value, dim, to_value);
        }
    }
}

void sterna_cpu_kv_store(sterna_device *device, const sterna_batch_place *places, size_t n,
                         uint32_t layer, const float *k, const float *v)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    store_job job = {cpu, places, layer, k, v};
    sterna_pool_run(cpu->pool, n, 16, store_tokens, &job);
}

/* An online softmax of some rows. */
typedef struct state {
    float *max, *sum, *acc; /* [rows], [rows], [rows][dim] */
} state;

/* Queries t..t+tokens-1 of one sequence, all heads that share kv head `group`. */
typedef struct queries {
    const sterna_attention *args;
    size_t t, tokens, group, rows;
    uint32_t *first, *last; /* [rows] */
    float *q;               /* [rows][dim] */
} queries;

static size_t shared_heads(const sterna_attention *args)
{
    return args->heads / args->kv_heads;
}

static void gather(queries *tile)
{
    const sterna_attention *args = tile->args;
    size_t shared = shared_heads(args), dim = args->head_dim;
    tile->rows = tile->tokens * shared;
    for (size_t i = 0; i < tile->tokens; i++) {
        uint32_t last = args->places[tile->t + i].position + 1;
        uint32_t first = args->window && last > args->window ? last - args->window : 0;
        for (size_t h = 0; h < shared; h++) {
            tile->first[i * shared + h] = first;
            tile->last[i * shared + h] = last;
        }
        memcpy(tile->q + i * shared * dim,
               args->q + ((tile->t + i) * args->heads + tile->group * shared) * dim,
               shared * dim * sizeof(float));
    }
}

/* Chunk c of the keys for all rows of a tile, from a fresh state. */
static void attend_chunk(const sterna_cpu *cpu, const queries *tile, size_t c, state *out)
{
    const sterna_attention *args = tile->args;
    const sterna_kv *kv = args->places[tile->t].kv;
    size_t bytes = row_bytes(kv->type, args->head_dim);
    size_t end = (c + 1) * CHUNK;
    const uint8_t *keys = head_at(kv, args->layer, c, tile->group);
    if (end > tile->last[tile->rows - 1]) end = tile->last[tile->rows - 1];
    for (size_t r = 0; r < tile->rows; r++) out->max[r] = -INFINITY;
    memset(out->sum, 0, tile->rows * sizeof(float));
    memset(out->acc, 0, tile->rows * args->head_dim * sizeof(float));
    sterna_attention_tile call = {.q = tile->q,
                                  .first = tile->first,
                                  .last = tile->last,
                                  .rows = tile->rows,
                                  .k = keys,
                                  .v = keys + STERNA_ATTENTION_BLOCK * bytes,
                                  .kv_stride = bytes,
                                  .block_stride = block_bytes(kv),
                                  .head_dim = args->head_dim,
                                  .begin = c * CHUNK,
                                  .end = end,
                                  .scale = args->scale,
                                  .soft_cap = args->soft_cap,
                                  .max = out->max,
                                  .sum = out->sum,
                                  .acc = out->acc};
    sterna_attention_fn *kernel = kv->type == STERNA_KV_F16   ? cpu->kernels.attention_f16
                                  : kv->type == STERNA_KV_F32 ? cpu->kernels.attention_f32
                                                              : cpu->kernels.attention_q8;
    kernel(&call);
}

/* Adds a chunk to what was merged before, row by row. */
static void merge(size_t rows, size_t dim, const state *part, state *total)
{
    for (size_t r = 0; r < rows; r++) {
        float *to = total->acc + r * dim;
        const float *from = part->acc + r * dim;
        if (part->sum[r] == 0) continue; /* saw nothing */
        if (total->sum[r] == 0) {
            total->max[r] = part->max[r];
            total->sum[r] = part->sum[r];
            memcpy(to, from, dim * sizeof(float));
            continue;
        }
        float max = part->max[r] > total->max[r] ? part->max[r] : total->max[r];
        float old = sterna_exp(total->max[r] - max), new = sterna_exp(part->max[r] - max);
        total->max[r] = max;
        total->sum[r] = total->sum[r] * old + part->sum[r] * new;
        for (size_t i = 0; i < dim; i++) to[i] = to[i] * old + from[i] * new;
    }
}

static void finish(const queries *tile, const state *total)
{
    const sterna_attention *args = tile->args;
    size_t shared = shared_heads(args), dim = args->head_dim;
    for (size_t r = 0; r < tile->rows; r++) {
        size_t token = tile->t + r / shared, head = tile->group * shared + r % shared;
        float *out = args->out + (token * args->heads + head) * dim, inverse = 1.0f / total->sum[r];
        for (size_t i = 0; i < dim; i++) out[i] = total->acc[r * dim + i] * inverse;
    }
}

/* Scratch of one thread: a tile's rows, the chunk's state and the merged one. */
static size_t local_floats(size_t rows, size_t dim)
{
    return rows * (3 * dim + 6);
}

static state state_at(float *memory, size_t rows)
{
    return (state){memory, memory + rows, memory + 2 * rows};
}

static void carve(float *memory, size_t rows, size_t dim, queries *tile, state *part, state *total)
{
    tile->first = (uint32_t *)(void *)memory;
    tile->last = tile->first + rows;
    tile->q = memory + 2 * rows;
    *part = state_at(tile->q + rows * dim, rows);
    *total = state_at(part->acc + rows * dim, rows);
}

/* A tile, chunk after chunk. */
static void whole_tile(const sterna_cpu *cpu, queries *tile, state *part, state *total)
{
    size_t dim = tile->args->head_dim;
    gather(tile);
    memset(total->sum, 0, tile->rows * sizeof(float));
    size_t end = tile->last[tile->rows - 1];
    for (size_t c = tile->first[0] / CHUNK; c * CHUNK < end; c++) {
        attend_chunk(cpu, tile, c, part);
        merge(tile->rows, dim, part, total);
    }
    finish(tile, total);
}

/* One call of attention. */
typedef struct attend_job {
    const sterna_cpu *cpu;
    const sterna_attention *args;
    size_t local; /* floats of scratch per thread */
    size_t pairs; /* (token, kv head) */
    float *parts; /* few queries: states of [chunk][pair] */
    size_t most;  /* many queries: tokens of a tile */
} attend_job;

/* Scratch of a thread for tiles of `rows` rows. */
static queries prepare_tile(const attend_job *job, int thread, size_t rows, state *part,
                            state *total)
{
    queries tile = {.args = job->args, .tokens = 1};
    carve(job->cpu->scratch.attention + (size_t)thread * job->local, rows, job->args->head_dim,
          &tile, part, total);
    return tile;
}

static void choose_pair(queries *tile, size_t pair)
{
    tile->t = pair / tile->args->kv_heads;
    tile->group = pair % tile->args->kv_heads;
    gather(tile);
}

static state part_at(const attend_job *job, size_t index)
{
    size_t shared = shared_heads(job->args);
    return state_at(job->parts + index * shared * (job->args->head_dim + 2), shared);
}

static void split_chunks(void *context, size_t begin, size_t end, int thread)
{
    const attend_job *job = context;
    state part, total;
    queries tile = prepare_tile(job, thread, shared_heads(job->args), &part, &total);
    for (size_t i = begin; i < end; i++) {
        size_t c = i / job->pairs;
        choose_pair(&tile, i % job->pairs);
        if (c * CHUNK >= tile.last[0] || (c + 1) * CHUNK <= tile.first[0]) continue;
        state out = part_at(job, i);
        attend_chunk(job->cpu, &tile, c, &out);
    }
}

static void split_merges(void *context, size_t begin, size_t end, int thread)
{
    const attend_job *job = context;
    size_t shared = shared_heads(job->args);
    state part, total;
    queries tile = prepare_tile(job, thread, shared, &part, &total);
    for (size_t pair = begin; pair < end; pair++) {
        choose_pair(&tile, pair);
        memset(total.sum, 0, shared * sizeof(float));
        for (size_t c = tile.first[0] / CHUNK; c * CHUNK < tile.last[0]; c++) {
            state from = part_at(job, c * job->pairs + pair);
            merge(shared, job->args->head_dim, &from, &total);
        }
        finish(&tile, &total);
    }
}

/* Tokens from t on that share a cache, at most `most`. */
static size_t same_cache(const sterna_attention *args, size_t t, size_t most)
{
    size_t count = 1;
    while (count < most && t + count < args->n && args->places[t + count].kv == args->places[t].kv)
        count++;
    return count;
}

static void whole_tiles(void *context, size_t begin, size_t end, int thread)
{
    const attend_job *job = context;
    const sterna_attention *args = job->args;
    state part, total;
    queries tile = prepare_tile(job, thread, job->most * shared_heads(args), &part, &total);
    for (size_t i = begin; i < end; i++) {
        size_t from = i / args->kv_heads * job->most;
        size_t to = from + job->most < args->n ? from + job->most : args->n;
        tile.group = i % args->kv_heads;
        for (tile.t = from; tile.t < to; tile.t += tile.tokens) {
            tile.tokens = same_cache(args, tile.t, to - tile.t);
            whole_tile(job->cpu, &tile, &part, &total);
        }
    }
}

/* The most neighbouring tokens that share a cache, as far as `most`. */
static size_t longest_run(const sterna_attention *args, size_t most)
{
    size_t longest = 1;
    for (size_t t = 0, run; t < args->n && longest < most; t += run) {
        run = same_cache(args, t, most);
        if (run > longest) longest = run;
    }
    return longest;
}

void sterna_cpu_attention(sterna_device *device, const sterna_attention *args)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    const sterna_cpu_scratch *scratch = &cpu->scratch;
    size_t shared = shared_heads(args), dim = args->head_dim, keys = 0;
    for (size_t t = 0; t < args->n; t++)
        if (args->places[t].position + 1 > keys) keys = args->places[t].position + 1;
    attend_job job = {.cpu = cpu, .args = args, .local = local_floats(shared, dim)};
    job.parts = scratch->attention + (size_t)cpu->threads * job.local;
    job.pairs = args->n * args->kv_heads;
    size_t chunks = (keys + CHUNK - 1) / CHUNK;
    /* Few queries: every chunk of every (token, kv head) is a piece; then each pair merges its. */
    if (args->n <= SPLIT_TOKENS && chunks > 1 &&
        (size_t)cpu->threads * job.local + args->n * args->heads * chunks * (dim + 2) <=
            scratch->attention_floats) {
        sterna_pool_run(cpu->pool, job.pairs * chunks, 1, split_chunks, &job);
        sterna_pool_run(cpu->pool, job.pairs, job.pairs, split_merges, &job);
        return;
    }
    size_t even = job.pairs / (size_t)(cpu->threads * 2);
    job.most = shared < TILE_ROWS ? TILE_ROWS / shared : 1;
    if (job.most > even) job.most = even ? even : 1; /* a tile for every thread at least */
    job.most = longest_run(args, job.most);          /* sequences apart, so that all have work */
    job.local = local_floats(job.most * shared, dim);
    size_t tiles = (args->n + job.most - 1) / job.most * args->kv_heads;
    bool small = args->n * keys * args->heads * dim <= 65536;
    sterna_pool_run(cpu->pool, tiles, small ? tiles : 1, whole_tiles, &job);
}

/* How many floats of scratch the above may use. */
size_t sterna_cpu_attention_floats(int threads, size_t width, size_t heads, size_t capacity)
{
    size_t dim = (width + heads - 1) / heads, rows = heads > TILE_ROWS ? heads : TILE_ROWS;
    size_t chunks = capacity / CHUNK + 1;
    return (size_t)threads * local_floats(rows, dim) + SPLIT_TOKENS * heads * chunks * (dim + 2);
}
