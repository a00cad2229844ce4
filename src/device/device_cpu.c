/* The CPU device: opening, memory, scratch and the small operations. Matrices are in
 * device_cpu_weight.c and device_cpu_matmul.c, attention in device_cpu_attention.c. Threads live
 * here and nowhere else; a kernel is one thread. */
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "device/device_cpu.h"

enum {
    PARALLEL_FLOATS = 16384, /* below, waking the threads costs more than it saves */
    PIECES = 8,              /* pieces of a job per thread: evens out cores of different speed */
};

static void cpu_close(sterna_device *device)
{
    if (!device) return;
    sterna_cpu *cpu = sterna_cpu_of(device);
    sterna_pool_free(cpu->pool);
    sterna_cpu_scratch_free(&cpu->scratch);
    sterna_cpu_scratch_free(&cpu->outlier_scratch);
    sterna_free(cpu);
}

static void *cpu_alloc(sterna_device *device, size_t bytes)
{
    (void)device;
    return sterna_alloc(bytes, 1);
}

static void cpu_release(sterna_device *device, void *memory)
{
    (void)device;
    sterna_free(memory);
}

static void cpu_copy(sterna_device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    if (bytes) memcpy(to, from, bytes);
}

void sterna_cpu_scratch_free(sterna_cpu_scratch *scratch)
{
    sterna_free(scratch->transformed);
    sterna_free(scratch->x);
    sterna_free(scratch->group_scales);
    sterna_free(scratch->unit_sums);
    sterna_free(scratch->x_scales);
    sterna_free(scratch->x_sums);
    sterna_free(scratch->x_offsets);
    sterna_free(scratch->attention);
    *scratch = (sterna_cpu_scratch){0};
}

/* Quantised activations of n tokens of `cols` columns, a multiple of 128. */
static bool new_scratch(sterna_cpu_scratch *scratch, size_t n, size_t cols)
{
    *scratch = (sterna_cpu_scratch){.tokens = n, .cols = cols};
    scratch->transformed = sterna_alloc(n, cols * sizeof(float));
    scratch->x = sterna_alloc(n, cols + 64);
    scratch->group_scales = sterna_alloc(n, cols / 16 * sizeof(float));
    scratch->unit_sums = sterna_alloc(n, cols / 16 * sizeof(int32_t));
    scratch->x_scales = sterna_alloc(n, cols / 16 * sizeof(float));
    scratch->x_sums = sterna_alloc(n, cols / 16 * sizeof(int32_t));
    scratch->x_offsets = sterna_alloc(n, cols / 16 * sizeof(float));
    return scratch->transformed && scratch->x && scratch->group_scales && scratch->unit_sums &&
           scratch->x_scales && scratch->x_sums && scratch->x_offsets;
}

static size_t whole_segments(size_t cols)
{
    return (cols + 127) / 128 * 128;
}

sterna_status sterna_cpu_reserve(sterna_device *device, size_t n, uint64_t max_cols,
                                 uint64_t max_rows, uint32_t heads, uint32_t capacity,
                                 sterna_error *err)
{
    sterna_cpu *cpu = sterna_cpu_of(device);
    size_t cols = cpu->widest, width = (size_t)(max_rows > max_cols ? max_rows : max_cols);
    if (max_cols > cols) cols = (size_t)max_cols;
    if (width < cols) width = cols;
    if (width > SIZE_MAX / 4096) return sterna_fail_memory(err, "the scratch of a forward pass");
    cols = whole_segments(cols);
    n = n ? n : 1;
    heads = heads ? heads : 1;
    sterna_cpu_scratch new, thin = {0};
    bool complete = new_scratch(&new, n, cols);
    new.attention_floats = sterna_cpu_attention_floats(cpu->threads, cols, heads, capacity);
    new.attention = sterna_alloc(new.attention_floats, sizeof(float));
    if (cpu->most_outliers)
        complete = new_scratch(&thin, n, whole_segments(cpu->most_outliers)) && complete;
    if (!complete || !new.attention) {
        sterna_cpu_scratch_free(&new);
        sterna_cpu_scratch_free(&thin);
        return sterna_fail_memory(err, "the scratch of a forward pass");
    }
    sterna_cpu_scratch_free(&cpu->scratch);
    sterna_cpu_scratch_free(&cpu->outlier_scratch);
    cpu->scratch = new;
    cpu->outlier_scratch = thin;
    cpu->reserved.n = n;
    cpu->reserved.max_cols = (size_t)max_cols;
    cpu->reserved.max_rows = (size_t)max_rows;
    cpu->reserved.heads = heads;
    cpu->reserved.capacity = capacity;
    return STERNA_OK;
}

sterna_status sterna_cpu_make_room(sterna_device *device, size_t cols, size_t outliers,
                                   sterna_error *err)
{
    sterna_cpu *cpu = sterna_cpu_of(device);
    if (cols > cpu->widest) cpu->widest = cols;
    if (outliers > cpu->most_outliers) cpu->most_outliers = outliers;
    if (!cpu->scratch.tokens ||
        (cols <= cpu->scratch.cols && outliers <= cpu->outlier_scratch.cols))
        return STERNA_OK;
    return sterna_cpu_reserve(device, cpu->reserved.n, cpu->reserved.max_cols,
                              cpu->reserved.max_rows, cpu->reserved.heads, cpu->reserved.capacity,
                              err);
}

/* Units of a piece when `count` units of `size` floats are dealt out: all of them (the caller does
 * the job alone) when they are few. */
static size_t grain_of(const sterna_cpu *cpu, size_t count, size_t size)
{
    if (count * size <= PARALLEL_FLOATS) return count;
    return count / ((size_t)cpu->threads * PIECES) + 1;
}

typedef struct norm_job {
    const sterna_cpu *cpu;
    const float *x, *gain;
    size_t dim;
    float eps, *out;
} norm_job;

static void norm_rows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const norm_job *job = context;
    for (size_t r = begin; r < end; r++)
        job->cpu->kernels.rmsnorm(job->x + r * job->dim, job->dim, job->gain, job->eps,
                                  job->out + r * job->dim);
}

static void cpu_rmsnorm(sterna_device *device, const float *x, size_t rows, size_t dim,
                        const float *gain, float eps, float *out)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    norm_job job = {cpu, x, gain, dim, eps, out};
    sterna_pool_run(cpu->pool, rows, grain_of(cpu, rows, dim), norm_rows, &job);
}

typedef struct table_job {
    const sterna_batch_place *places;
    const float *frequencies;
    size_t pairs;
    float scale, *table;
} table_job;

static void table_tokens(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const table_job *job = context;
    for (size_t t = begin; t < end; t++)
        for (size_t i = 0; i < job->pairs; i++) {
            float angle = (float)job->places[t].position * job->frequencies[i];
            job->table[(t * job->pairs + i) * 2] = job->scale * cosf(angle);
            job->table[(t * job->pairs + i) * 2 + 1] = job->scale * sinf(angle);
        }
}

static void cpu_rope_table(sterna_device *device, const sterna_batch_place *places, size_t n,
                           const float *frequencies, size_t pairs, float scale, float *table)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    table_job job = {places, frequencies, pairs, scale, table};
    sterna_pool_run(cpu->pool, n, grain_of(cpu, n, pairs * 16), table_tokens, &job);
}

/* One head; a[i * step] and b[i * step] are pair i. Inlined with constant steps: neighbouring pairs
 * then go in vectors. */
static inline __attribute__((always_inline)) void
rotate(float *restrict a, float *restrict b, size_t step, const float *restrict table, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        float c = table[2 * i], s = table[2 * i + 1], x = a[i * step], y = b[i * step];
        a[i * step] = x * c - y * s;
        b[i * step] = y * c + x * s;
    }
}

static void rope_token(float *x, size_t heads, size_t head_dim, const float *table, size_t pairs,
                       sterna_rope_style style)
{
    for (size_t h = 0; h < heads; h++, x += head_dim) {
        if (style == STERNA_ROPE_HALVES)
            rotate(x, x + pairs, 1, table, pairs);
        else
            rotate(x, x + 1, 2, table, pairs);
    }
}

typedef struct rope_job {
    float *x;
    size_t heads, head_dim, pairs;
    const float *table;
    sterna_rope_style style;
} rope_job;

static void rope_tokens(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const rope_job *job = context;
    for (size_t t = begin; t < end; t++)
        rope_token(job->x + t * job->heads * job->head_dim, job->heads, job->head_dim,
                   job->table + t * job->pairs * 2, job->pairs, job->style);
}

static void cpu_rope(sterna_device *device, float *x, size_t n, size_t heads, size_t head_dim,
                     const float *table, size_t pairs, sterna_rope_style style)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    rope_job job = {x, heads, head_dim, pairs, table, style};
    sterna_pool_run(cpu->pool, n, grain_of(cpu, n, heads * head_dim), rope_tokens, &job);
}

/* Operations on single floats are dealt out in cache lines of them. */
enum { LINE = 16 };

typedef struct floats_job {
    const sterna_cpu *cpu;
    sterna_gate kind;
    const float *a, *b;
    float *out, cap;
    size_t count;
} floats_job;

/* The floats of lines begin .. end-1. */
static size_t floats_of(const floats_job *job, size_t begin, size_t end)
{
    size_t last = end * LINE < job->count ? end * LINE : job->count;
    return last - begin * LINE;
}

static void run_floats(const floats_job *job, sterna_pool_task *task)
{
    size_t lines = (job->count + LINE - 1) / LINE;
    floats_job copy = *job;
    sterna_pool_run(job->cpu->pool, lines, grain_of(job->cpu, lines, LINE), task, &copy);
}

static void add_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const floats_job *job = context;
    size_t at = begin * LINE, n = floats_of(job, begin, end);
    for (size_t i = at; i < at + n; i++) job->out[i] += job->a[i];
}

static void cpu_add(sterna_device *device, float *y, const float *x, size_t count)
{
    floats_job job = {.cpu = sterna_cpu_of(device), .a = x, .out = y, .count = count};
    run_floats(&job, add_lines);
}

static void gate_part(const sterna_cpu *cpu, sterna_gate kind, const float *gate, const float *up,
                      float *out, size_t n)
{
    switch (kind) {
    case STERNA_GATE_SILU: cpu->kernels.gate_silu(gate, up, out, n); break;
    case STERNA_GATE_GELU_TANH: cpu->kernels.gate_gelu_tanh(gate, up, out, n); break;
    case STERNA_GATE_GELU:
        for (size_t i = 0; i < n; i++)
            out[i] = 0.5f * gate[i] * (1.0f + erff(gate[i] * 0.707106781f)) * up[i];
        break;
    case STERNA_GATE_RELU2: cpu->kernels.gate_relu2(gate, up, out, n); break;
    }
}

static void gate_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const floats_job *job = context;
    size_t at = begin * LINE;
    gate_part(job->cpu, job->kind, job->a + at, job->b + at, job->out + at,
              floats_of(job, begin, end));
}

static void cpu_gate(sterna_device *device, sterna_gate kind, const float *gate, const float *up,
                     float *out, size_t count)
{
    floats_job job = {
        .cpu = sterna_cpu_of(device), .kind = kind, .a = gate, .b = up, .out = out, .count = count};
    run_floats(&job, gate_lines);
}

static void cap_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const floats_job *job = context;
    job->cpu->kernels.soft_cap(job->out + begin * LINE, floats_of(job, begin, end), job->cap);
}

static void cpu_soft_cap(sterna_device *device, float *x, size_t count, float cap)
{
    floats_job job = {.cpu = sterna_cpu_of(device), .out = x, .count = count, .cap = cap};
    run_floats(&job, cap_lines);
}

sterna_status sterna_device_cpu_open(const sterna_cpu_options *options, sterna_device **out,
                                     sterna_error *err)
{
    sterna_cpu *cpu = sterna_calloc(1, sizeof *cpu);
    if (!cpu) return sterna_fail_memory(err, "the CPU device");
    cpu->threads = options && options->threads > 0 ? options->threads : sterna_cpu_count();
    cpu->plan = options && options->plan;
    cpu->pool = sterna_pool_new(cpu->plan ? 1 : cpu->threads);
    if (!cpu->pool) {
        sterna_free(cpu);
        return sterna_fail(err, STERNA_ERROR_MEMORY, "%d threads could not be started",
                           options && options->threads > 0 ? options->threads : sterna_cpu_count());
    }
    sterna_kernels_select(options ? options->features : sterna_cpu_features(), &cpu->kernels);
    cpu->device = (sterna_device){
        .name = "cpu",
        .state = cpu,
        .close = cpu_close,
        .alloc = cpu_alloc,
        .release = cpu_release,
        .upload = cpu_copy,
        .download = cpu_copy,
        .reserve = sterna_cpu_reserve,
        .weight_load = sterna_cpu_weight_load,
        .weight_free = sterna_cpu_weight_free,
        .weight_info = sterna_cpu_weight_info,
        .embed = sterna_cpu_embed,
        .matmul = sterna_cpu_matmul,
        .rmsnorm = cpu_rmsnorm,
        .rope_table = cpu_rope_table,
        .rope = cpu_rope,
        .add = cpu_add,
        .gate = cpu_gate,
        .soft_cap = cpu_soft_cap,
        .kv_new = sterna_cpu_kv_new,
        .kv_free = sterna_cpu_kv_free,
        .kv_store = sterna_cpu_kv_store,
        .attention = sterna_cpu_attention,
        .read_speed = sterna_cpu_read_speed,
        .int8_peak = sterna_cpu_int8_peak,
    };
    *out = &cpu->device;
    return STERNA_OK;
}
