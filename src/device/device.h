/* A processor that runs whole-tensor operations. The decoder is written once over this table;
 * device_cpu.c fills it for the CPU, device_cuda.c will for a GPU.
 *
 * Activations are float32 buffers in the device's memory, token-major: x[n][dim]. Weights are
 * resident matrices in the order that the device's kernels like, made once by weight_load. All
 * operations are synchronous with respect to each other; none allocates in the token loop (scratch
 * is reserved by `reserve`). Operations cannot fail: sizes were checked when the model was loaded.
 */
#ifndef STERNA_DEVICE_DEVICE_H
#define STERNA_DEVICE_DEVICE_H

#include "ternary/tensor.h"

typedef struct sterna_device sterna_device;
typedef struct sterna_weight sterna_weight; /* a matrix [rows][cols] on a device */

/* How a weight multiplies. */
typedef enum sterna_activation_mode {
    STERNA_ACT_AUTO,       /* float for float weights, int8 per group otherwise */
    STERNA_ACT_FLOAT,      /* float32 activations and weights dequantised to float32: the accuracy
                              reference */
    STERNA_ACT_INT8_TOKEN, /* one scale per token: models trained that way (BitNet): round(x *
                              127/absmax), ties to even */
    STERNA_ACT_INT8_GROUP, /* one scale per group of columns of a token: the groups that the weights
                              have, at most 128 columns */
} sterna_activation_mode;

/* A transform of a matmul's input: multiply by signs (NULL = all +1), then a normalised
 * Sylvester-Walsh-Hadamard transform of every `block` consecutive columns (a power of two that
 * divides cols). */
typedef struct sterna_hadamard {
    uint32_t block;     /* 0 = none */
    const float *signs; /* [cols] of +-1 */
} sterna_hadamard;

typedef struct sterna_weight_options {
    sterna_activation_mode activation;
    uint64_t first_row, rows; /* a slice of the tensor's rows; rows 0 = all */
    sterna_hadamard hadamard; /* applied to the input of this matrix */
    /* for an embedding table whose rows are stored transformed: undo it after the look-up */
    sterna_hadamard inverse_hadamard;
    float row_scale; /* 0 = 1: every weight is multiplied by it */
    /* for q and k of files that store adjacent-pair RoPE order: NULL, or the row order wanted
     * [rows]: row i of the weight is row first_row + order[i] of the tensor */
    const uint32_t *row_order;
} sterna_weight_options;

typedef struct sterna_weight_info {
    uint64_t rows, cols, bytes; /* resident */
    const char
        *layout; /* "tern2 g128", "int8 g32", "f16", "f32": for inspect and the load report */
    const char *kernel; /* the decode kernel chosen, e.g. "tern2_avx512vnni" */
} sterna_weight_info;

/* One product of a matmul call: y[n][y_stride] = x . weight^T (+ bias[rows]). */
typedef struct sterna_product {
    const sterna_weight *weight;
    const float *bias; /* device memory or NULL */
    float *y;
    size_t y_stride; /* floats between tokens; 0 = rows */
} sterna_product;

typedef enum sterna_gate {
    STERNA_GATE_SILU,
    STERNA_GATE_GELU_TANH,
    STERNA_GATE_GELU,
    STERNA_GATE_RELU2
} sterna_gate;
typedef enum sterna_rope_style { STERNA_ROPE_HALVES, STERNA_ROPE_PAIRS } sterna_rope_style;
typedef enum sterna_kv_type { STERNA_KV_F16, STERNA_KV_F32, STERNA_KV_Q8 } sterna_kv_type;

/* Keys and values of one sequence. How they lie in `data` is the device's business. */
typedef struct sterna_kv {
    sterna_kv_type type;
    uint32_t layers, kv_heads, head_dim, capacity;
    void *data;
} sterna_kv;

/* Which cache and which place in it each token of a batch has. Tokens of one sequence stand
 * together in ascending positions. */
typedef struct sterna_batch_place {
    sterna_kv *kv;
    uint32_t position;
} sterna_batch_place;

typedef struct sterna_attention {
    const float *q; /* [n][heads][head_dim], rotated */
    float *out;     /* [n][heads][head_dim] */
    const sterna_batch_place
        *places; /* [n]; keys 0..position of the place's cache are attended (already stored) */
    size_t n;
    uint32_t layer, heads, kv_heads, head_dim;
    float scale;     /* of q.k */
    float soft_cap;  /* 0 = none: s = cap * tanh(s / cap) */
    uint32_t window; /* 0 = all; else keys position-window+1 .. position */
} sterna_attention;

struct sterna_device {
    const char *name; /* "cpu" */
    void *state;

    void (*close)(sterna_device *device);
    void *(*alloc)(sterna_device *device, size_t bytes); /* NULL when out of memory */
    void (*release)(sterna_device *device, void *memory);
    void (*upload)(sterna_device *device, void *to, const void *from_host, size_t bytes);
    void (*download)(sterna_device *device, void *to_host, const void *from, size_t bytes);
    /* Makes scratch for matmuls of up to n tokens and cols columns, and attention over `capacity`
     * keys. Called before the token loop. */
    sterna_status (*reserve)(sterna_device *device, size_t n, uint64_t max_cols, uint64_t max_rows,
                             uint32_t heads, uint32_t capacity, sterna_error *err);

    /* Packs a tensor; fails with a sentence on a type it cannot run, codes that are no trits, NaN
     * or infinite scales, out of memory. */
    sterna_status (*weight_load)(sterna_device *device, const sterna_tensor *tensor,
                                 const sterna_weight_options *options, sterna_weight **out,
                                 sterna_error *err);
    void (*weight_free)(sterna_device *device, sterna_weight *weight);
    void (*weight_info)(const sterna_weight *weight, sterna_weight_info *info);

    /* x[n][cols] = scale * rows `ids` of the table. */
    void (*embed)(sterna_device *device, const sterna_weight *table, const int32_t *ids, size_t n,
                  float scale, float *x);
    /* All products share the input x[n][cols]; it is quantised once per activation mode. */
    void (*matmul)(sterna_device *device, const float *x, size_t n, const sterna_product *products,
                   size_t count);
    /* out[rows][dim] = x / sqrt(mean(x^2) + eps) * gain; gain may be NULL; out may be x. LayerNorm
     * is not needed yet. */
    void (*rmsnorm)(sterna_device *device, const float *x, size_t rows, size_t dim,
                    const float *gain, float eps, float *out);
    /* table[n][pairs][2] = scale * cos, sin of position * frequency[pair]. */
    void (*rope_table)(sterna_device *device, const sterna_batch_place *places, size_t n,
                       const float *frequencies, size_t pairs, float scale, float *table);
    /* Rotates the first 2*pairs values of every head of x[n][heads][head_dim] in place. */
    void (*rope)(sterna_device *device, float *x, size_t n, size_t heads, size_t head_dim,
                 const float *table, size_t pairs, sterna_rope_style style);
    void (*add)(sterna_device *device, float *y, const float *x, size_t count); /* y += x */
    void (*gate)(sterna_device *device, sterna_gate kind, const float *gate, const float *up,
                 float *out, size_t count);
    void (*soft_cap)(sterna_device *device, float *x, size_t count,
                     float cap); /* x = cap * tanh(x / cap) */

    /* Cache memory for one sequence; free with kv_free (NULL accepted). */
    sterna_status (*kv_new)(sterna_device *device, sterna_kv_type type, uint32_t layers,
                            uint32_t kv_heads, uint32_t head_dim, uint32_t capacity,
                            sterna_kv **out, sterna_error *err);
    void (*kv_free)(sterna_device *device, sterna_kv *kv);
    /* Stores k, v [n][kv_heads][head_dim] of one layer at the places. */
    void (*kv_store)(sterna_device *device, const sterna_batch_place *places, size_t n,
                     uint32_t layer, const float *k, const float *v);
    void (*attention)(sterna_device *device, const sterna_attention *args);

    /* Bytes per second at which memory is read here, measured now (takes a second or so); 0 when it
     * cannot be measured. */
    double (*read_speed)(sterna_device *device);
    /* int8 operations per second (2 per multiply-add) from registers, with the instructions of the
     * matmul kernels on all threads. */
    double (*int8_peak)(sterna_device *device);
};

typedef struct sterna_cpu_options {
    int threads;       /* 0 = sterna_cpu_count() */
    uint32_t features; /* mask of base/cpu.h */
    bool plan;         /* weight_load chooses layouts and reads nothing; operations cannot run */
} sterna_cpu_options;

sterna_status sterna_device_cpu_open(const sterna_cpu_options *options, sterna_device **out,
                                     sterna_error *err);

#endif
