/* Inside of the CPU device: its state and packed matrices. Only device_cpu*.c includes it. */
#ifndef STERNA_DEVICE_DEVICE_CPU_H
#define STERNA_DEVICE_DEVICE_CPU_H

#include "device/device.h"
#include "kernels/kernels.h"
#include "kernels/tern5.h"

typedef enum sterna_cpu_layout {
    STERNA_LAYOUT_TERN2,
    STERNA_LAYOUT_TERN5,
    STERNA_LAYOUT_INT4,
    STERNA_LAYOUT_INT8,
    STERNA_LAYOUT_Q4K, /* K blocks as in the file, scales inside: device_cpu_k.c */
    STERNA_LAYOUT_Q5K,
    STERNA_LAYOUT_Q6K,
    STERNA_LAYOUT_F32,
    STERNA_LAYOUT_F16,
    STERNA_LAYOUT_BF16,
} sterna_cpu_layout;

struct sterna_weight {
    sterna_cpu_layout layout;
    sterna_activation_mode activation; /* never AUTO */
    size_t rows, cols, padded;         /* padded: columns that lines cover */
    size_t panels, panel_bytes;
    size_t group, groups; /* columns per weight scale; group 0 = the row (no scales) */
    int32_t zero;
    /* how a matmul walks it (kernels.h); unused by float layouts */
    size_t segment, segments, segments_per_scale;
    /* A second ternary plane stands behind the first one, `plane` columns further on, and is
     * multiplied with a copy of the activations. take: real columns of a segment, where groups do
     * not divide into segments of 16 columns: each segment is then padded; 0: columns stand where
     * they are. */
    size_t planes, plane, take;
    sterna_weight *outliers;   /* [rows][outlier columns], int8; NULL: there are none */
    uint32_t *outlier_columns; /* of the input (as transformed) */

    uint8_t *codes;                    /* [panels][panel_bytes] */
    uint16_t *scales, *mins;           /* [panels][groups][16] or NULL */
    float *factors;                    /* [panels][16] */
    sterna_hadamard hadamard, inverse; /* signs are our own copies */
    uint64_t bytes;
    char layout_name[48], kernel_name[32];
};

/* Scratch of the token loop: made by reserve, grown nowhere else. */
typedef struct sterna_cpu_scratch {
    size_t tokens, cols; /* what a matmul may use of them; larger batches go in pieces */
    float *transformed;  /* [tokens][cols] after a Hadamard transform */
    int8_t *x;           /* [tokens][cols + 64] */
    float *group_scales; /* [tokens][cols / 16] */
    int32_t *unit_sums;  /* [tokens][cols / 16] */
    float *x_scales;     /* [segments <= cols / 16][tokens of the call] */
    int32_t *x_sums;
    float *x_offsets; /* x_sums * x_scales */

    float *attention; /* [attention_floats] */
    size_t attention_floats;
} sterna_cpu_scratch;

/* device_cpu_pool.c: pieces [begin, end) of a job, on the thread with this number. */
typedef void sterna_pool_task(void *context, size_t begin, size_t end, int thread);
typedef struct sterna_pool sterna_pool;

sterna_pool *sterna_pool_new(int threads); /* NULL when out of memory or threads */
void sterna_pool_free(sterna_pool *pool);
/* Calls the task for pieces of `grain` of 0 .. count-1 on all threads, the caller's being number 0;
 * returns when all are done. A job of one piece stays with the caller. */
void sterna_pool_run(sterna_pool *pool, size_t count, size_t grain, sterna_pool_task *task,
                     void *context);

typedef struct sterna_cpu {
    sterna_device device;
    sterna_kernels kernels;
    int threads;
    sterna_pool *pool;
    bool plan;     /* weights are described, not packed */
    size_t widest; /* padded columns of the widest weight loaded */
    size_t most_outliers;
    sterna_cpu_scratch scratch, outlier_scratch;
    struct {
        size_t n, max_cols, max_rows;
        uint32_t heads, capacity;
    } reserved; /* what the scratch was made for */
} sterna_cpu;

static inline sterna_cpu *sterna_cpu_of(sterna_device *device)
{
    return device->state;
}

sterna_status sterna_cpu_reserve(sterna_device *device, size_t n, uint64_t max_cols,
                                 uint64_t max_rows, uint32_t heads, uint32_t capacity,
                                 sterna_error *err);
/* A matrix of so many padded columns and outliers is there: scratch that was reserved grows. */
sterna_status sterna_cpu_make_room(sterna_device *device, size_t cols, size_t outliers,
                                   sterna_error *err);
void sterna_cpu_scratch_free(sterna_cpu_scratch *scratch);

/* device_cpu_place.c: where the columns of a matrix stand in its panels, and the activations beside
 * them. */
/* Sets padded, groups and the walk of an integer matrix whose layout, activation, cols, group and
 * planes are known. */
void sterna_cpu_place(sterna_weight *weight);
/* The trios of a matrix whose walk is known (tern5). */
tern5_map sterna_cpu_tern5(const sterna_weight *weight);
/* Where column k of the first plane stands. */
size_t sterna_cpu_column(const sterna_weight *weight, size_t k);
/* Whether two matrices of the same input take the same quantised activations. */
bool sterna_cpu_same_places(const sterna_weight *a, const sterna_weight *b);
/* Quantises a token: q[padded], sums[padded / 16] and scales: one, or one for each segment. */
void sterna_cpu_quantise(sterna_quantize_fn *quantize, const sterna_weight *weight, const float *x,
                         int8_t *q, int32_t *sums, float *scales);

/* device_cpu_weight.c, device_cpu_embed.c */
sterna_status sterna_cpu_weight_load(sterna_device *device, const sterna_tensor *tensor,
                                     const sterna_weight_options *options, sterna_weight **out,
                                     sterna_error *err);
void sterna_cpu_weight_free(sterna_device *device, sterna_weight *weight);
void sterna_cpu_weight_info(const sterna_weight *weight, sterna_weight_info *info);
void sterna_cpu_embed(sterna_device *device, const sterna_weight *table, const int32_t *ids,
                      size_t n, float scale, float *x);

/* device_cpu_k.c: ggml's K blocks, packed without reading their codes. */
/* Sets the layout and group of Q4_K, Q5_K and Q6_K; false for other types. */
bool sterna_cpu_k_layout(sterna_type type, sterna_weight *weight);
bool sterna_cpu_is_k(sterna_cpu_layout layout);
/* 16 rows of a tensor (NULL: a row of zeros) as a panel at `out`. False when a factor is NaN or
 * infinite; then *bad is the row. */
bool sterna_cpu_k_pack(const sterna_weight *weight, const uint8_t *const rows[STERNA_PANEL],
                       uint8_t *out, size_t *bad);
/* Row r as floats, exactly those of the file. */
void sterna_cpu_k_unpack_row(const sterna_weight *weight, size_t r, float *out);

/* device_cpu_matmul.c */
void sterna_cpu_matmul(sterna_device *device, const float *x, size_t n,
                       const sterna_product *products, size_t count);

/* device_cpu_attention.c */
sterna_status sterna_cpu_kv_new(sterna_device *device, sterna_kv_type type, uint32_t layers,
                                uint32_t kv_heads, uint32_t head_dim, uint32_t capacity,
                                sterna_kv **out, sterna_error *err);
void sterna_cpu_kv_free(sterna_device *device, sterna_kv *kv);
void sterna_cpu_kv_store(sterna_device *device, const sterna_batch_place *places, size_t n,
                         uint32_t layer, const float *k, const float *v);
/* Floats of scratch that attention may use; `width` >= heads * head_dim. */
size_t sterna_cpu_attention_floats(int threads, size_t width, size_t heads, size_t capacity);
void sterna_cpu_attention(sterna_device *device, const sterna_attention *args);

/* device_cpu_measure.c */
double sterna_cpu_read_speed(sterna_device *device);
double sterna_cpu_int8_peak(sterna_device *device);

#endif
