/* Kernels: one thread, one tile, no allocation, no failure.
 *
 * A slot is a kind of kernel: a typedef with its contract, a row in kernels.list per
 * implementation, and a check and a bench in tests/kernels/ (a slot without them does not link).
 * ref/ is the law: plain C that says what every other implementation must return. Integer sums are
 * exact everywhere. Float steps have a stated order, the same for every instruction set, so that
 * results are bit-equal too: output rows are lanes, and a lane adds its terms in column order.
 *
 * Packed matrices come in panels of 16 rows. A line is 64 bytes of a panel:
 *   tern2  16 columns; byte 4*r + c holds columns 4*f + c (f = 0..3) of row r in bits 2f..2f+1, as
 *          code = trit + 1 (3 = +2, which Q2_0 has)
 *   tern5  trits only, three in five bits: tern5.h
 *   int4    8 columns; byte 4*r + c holds column c (low half) and 4 + c (high half) of row r, 0..15
 *   int8    4 columns; byte 4*r + c holds column c of row r, signed
 *   f32, f16, bf16  1 column; element r is row r (64 or 32 bytes)
 * Lines of a panel follow in column order. Rows are padded to 16 and the columns of integer
 * matrices to a multiple of 16; what the padding holds does not matter as its activations are zero.
 * No kernel reads or writes beyond what its contract names.
 */
#ifndef STERNA_KERNELS_KERNELS_H
#define STERNA_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STERNA_PANEL = 16,           /* rows of a panel */
    STERNA_COLUMN_UNIT = 16,     /* integer matrices: columns are padded to this */
    STERNA_MAX_COLS = 1 << 18,   /* integer sums shifted by a field (2 * 64 * 127 * cols / 4) fit */
    STERNA_ATTENTION_BLOCK = 64, /* keys whose scores are taken at a time */
    STERNA_Q8_GROUP = 32,        /* values that share a scale in a Q8 key or value */
};
#define STERNA_QUANTIZE_LEAST 0x1p-100f /* activations whose largest is below are zeros */

/* ---- matmul over integer codes and int8 activations ----
 *
 * Columns are cut into segments of `segment` columns (a multiple of 16; where tern5 has several, of
 * 32; the last may be shorter): all columns of a segment share one weight scale per row and one
 * activation scale per token.
 *   isum = sum(code * x) - zero * x_sum[s]                  exact
 *   acc  = fma((float)isum, x_scale[s] * scale[s / segments_per_scale], acc)
 *   acc  = fma(x_offset[s], min[s / segments_per_scale], acc)  where the matrix has mins
 * for s = 0, 1, ...; y = acc * factor. Products and sums round to nearest even.
 */
typedef struct sterna_int_tile {
    /* `panels` panels; the next one stands codes_step bytes, scales_step float16s, row_step floats
     * (factors, y) further on. Panels need not be neighbours: several far-apart streams keep more
     * memory reads in flight. */
    size_t panels;
    const uint8_t *codes;   /* 64-byte aligned */
    const uint16_t *scales; /* float16 [ceil(segments / segments_per_scale)][16], 32-byte aligned;
                               NULL = 1 */
    const uint16_t *mins;   /* as scales; NULL = none */
    const float *factors;   /* [16], one per row; 64-byte aligned */
    size_t codes_step, scales_step, row_step;

    size_t cols; /* padded: a multiple of 16 */
    size_t segment, segments, segments_per_scale;
    int32_t zero; /* the code of a zero weight (int4, int8); tern2 and tern5 have 1 */

    size_t n;        /* tokens, >= 1 */
    const int8_t *x; /* [n][x_stride], -127..127, zero from the real columns to `cols` */
    size_t x_stride; /* bytes, a multiple of 16; x is 16-byte aligned */
    size_t x_step;   /* of segment s and token t the following have entry s * x_step + t */
    const float *x_scales;
    const int32_t *x_sums;  /* sum of x over the segment */
    const float *x_offsets; /* (float)x_sum * x_scale; read where there are mins */

    float *y; /* token t, row r of panel p: y[t * y_stride + p * row_step + r] */
    size_t y_stride;
} sterna_int_tile;
typedef void sterna_matmul_int_fn(const sterna_int_tile *tile);

/* ---- matmul over K blocks ----
 *
 * ggml's blocks of 256 weights (Q4_K, Q5_K, Q6_K: ternary/k_blocks.c draws them) as they are. A
 * record is the blocks of 16 rows interleaved by words of four bytes: byte 64 * w + 4 * r + c is
 * byte 4 * w + c of row r's block; a Q6_K block is filled up with two bytes to 53 words. Records
 * take 36, 44 and 53 lines of 64 bytes and follow in column order.
 *
 * A tile as above whose `scales` and `mins` are not looked at: they are in the records. cols is a
 * multiple of 256, segment is 32 (Q6_K: 16), zero is not read (Q6_K: 32). scale[s] = d * (integer
 * scale), min[s] = -(dmin * (integer minimum)), products in float32; Q6_K has no minimums. Segments
 * of a record are added in the order of k_blocks.h: Q4_K and Q5_K 0, 1, 2, ..., Q6_K 0, 2, 4, 6, 1,
 * 3, 5, 7 and the same from 8 on.
 */

/* ---- matmul over float weights and activations ----
 * a[j] = fma(w[k], x[k], a[j]) for k = j, j + 4, ...; y = ((a[0] + a[1]) + (a[2] + a[3])) * factor.
 */
typedef struct sterna_float_tile {
    size_t panels;
    const void *weights;  /* [cols][16] float32, float16 or bfloat16; 32-byte aligned */
    const float *factors; /* [16] */
    size_t weights_step;  /* bytes between panels */
    size_t row_step;      /* floats between panels in factors and y */
    size_t cols;          /* any */
    size_t n;
    const float *x; /* [n][x_stride], 4-byte aligned */
    size_t x_stride;
    float *y;
    size_t y_stride;
} sterna_float_tile;
typedef void sterna_matmul_float_fn(const sterna_float_tile *tile);

/* ---- activations ---- */

/* q[i] = x[i] * (127 / a) rounded to nearest even and cut to -127..127, a = max(floor, max |x|);
 * zeros from n to the next multiple of 16. sums[j] = sum of q[16j .. 16j+15]. Returns a / 127; when
 * a is below 2^-100 (127 / a might not be finite), zeros and 0. A NaN becomes -127, is ignored in
 * max |x| and makes the result NaN, so that it reaches the outputs. */
typedef float sterna_quantize_fn(const float *x, size_t n, float floor, int8_t *q, int32_t *sums);

/* out = H (signs * x) / sqrt(n) for one block of n = 2^k values, 2 <= n <= 4096: butterflies a + b,
 * a - b over distances 1, 2, 4, ..., then the product with (float)(1 / sqrt(n)). signs may be NULL;
 * out may be x. */
typedef void sterna_hadamard_fn(const float *x, const float *signs, float *out, size_t n);

/* ---- vectors ----
 * A sum over i runs in 16 lanes: lane i % 16 takes its terms in order (by fma where they are
 * products); then lanes l and l + 8 are added, l and l + 4, l and l + 2, l and l + 1.
 */

/* out[i] = x[i] * (1 / sqrt(sum(x^2) / n + eps)) * gain[i]; gain may be NULL; out may be x. */
typedef void sterna_rmsnorm_fn(const float *x, size_t n, const float *gain, float eps, float *out);

/* out[i] = act(gate[i]) * up[i], with exp as sterna_exp of ref/math_ref.h; out may be gate or up.
 * silu: g / (1 + exp(-g)). gelu: g / (1 + exp(-2u)), u = sqrt(2/pi) (g + 0.044715 g^3). relu2:
 * max(g, 0)^2. */
typedef void sterna_gate_fn(const float *gate, const float *up, float *out, size_t n);

/* x[i] = cap * tanh(x[i] / cap), tanh as sterna_tanh of ref/math_ref.h. */
typedef void sterna_soft_cap_fn(float *x, size_t n, float cap);

/* x[i] = exp(x[i] - shift) with exp as sterna_exp (not below e^-87); returns the lane sum. */
typedef float sterna_exp_sum_fn(float *x, size_t n, float shift);

/* ---- products of matrices, for training ----
 *
 * c[i][j] += sum of a(i, k) * b(j, k) over a tile of 12 x 32. Both operands are packed as bfloat16
 * in panels (12 lanes of a, 32 of b): pair k / 2, lane, k % 2; an odd depth is padded with zero.
 * Sums are float32; the order within a pair is the instruction set's, and subnormal numbers may
 * count as zero, so that results agree to rounding only.
 */
enum { STERNA_GEMM_ROWS = 12, STERNA_GEMM_COLUMNS = 32 };
typedef void sterna_gemm_bf16_fn(const uint16_t *a, const uint16_t *b, size_t pairs, float *c,
                                 size_t c_stride);
/* One panel of `panel` (12 or 32) lanes, of which `lanes` are there and the others zero, from
 * floats: rows: x(i, k) = x[i * stride + k]; columns: x(i, k) = x[k * stride + i]. bfloat16 to
 * nearest even. */
typedef void sterna_pack_bf16_fn(const float *x, size_t stride, size_t lanes, size_t depth,
                                 size_t panel, uint16_t *out);

/* ---- attention ---- */

/* One row of queries per (token, head) that shares the same keys: an online softmax over keys
 * begin..end-1, of which row r sees first[r] <= key < last[r].
 *   s = (q . k) * scale, soft-capped when soft_cap > 0; the dot product is a lane sum.
 * Keys are taken in blocks of 64 from `begin`; block b's are 64 rows at k + b * block_stride, its
 * values at v + b * block_stride. A block in which a row sees nothing is skipped for
 * it; otherwise m' = max(m, max s), c = exp(m - m'), p = exp(s - m') (0 for unseen keys),
 * sum = sum * c + (lane sum of p over the block), acc = acc * c, then acc = fma(p, v, acc) in key
 * order over the seen keys. State starts as m = -INFINITY, sum = 0, acc = 0 (the caller's).
 * Q8 rows are head_dim int8, then (from the next even byte) a float16 scale per 32 values: k =
 * (float)code * scale. */
typedef struct sterna_attention_tile {
    const float *q; /* [rows][head_dim] */
    const uint32_t *first, *last;
    size_t rows;
    const uint8_t *k, *v; /* of key `begin`; 2-byte aligned (4 for f32) */
    size_t kv_stride;     /* bytes between the rows of a block */
    size_t block_stride;
    size_t head_dim;
    size_t begin, end;
    float scale, soft_cap;
    float *max, *sum; /* [rows] */
    float *acc;       /* [rows][head_dim] */
} sterna_attention_tile;
typedef void sterna_attention_fn(const sterna_attention_tile *tile);

/* A float row to a stored key or value: float16 to nearest even; Q8: absmax/127 rounded to float16
 * as the scale, codes x / scale to nearest even cut to -127..127. */
typedef void sterna_kv_encode_fn(const float *x, size_t n, uint8_t *out);

/* ---- measuring ---- */

/* Reads bytes (a multiple of 1024) as four far-apart streams and returns a hash of them: the memory
 * bandwidth a kernel could see. */
typedef uint64_t sterna_read_fn(const void *data, size_t bytes);
/* `rounds` of register-only int8 multiply-adds; returns how many operations (2 per product) that
 * was. */
typedef uint64_t sterna_peak_fn(size_t rounds);

/* The slots: STERNA_SLOT(name, type of function). */
#define STERNA_SLOTS(STERNA_SLOT)                                                                  \
    STERNA_SLOT(matmul_tern2, sterna_matmul_int_fn)                                                \
    STERNA_SLOT(matmul_tern5, sterna_matmul_int_fn)                                                \
    STERNA_SLOT(matmul_int4, sterna_matmul_int_fn)                                                 \
    STERNA_SLOT(matmul_int8, sterna_matmul_int_fn)                                                 \
    STERNA_SLOT(matmul_q4k, sterna_matmul_int_fn)                                                  \
    STERNA_SLOT(matmul_q5k, sterna_matmul_int_fn)                                                  \
    STERNA_SLOT(matmul_q6k, sterna_matmul_int_fn)                                                  \
    STERNA_SLOT(matmul_f32, sterna_matmul_float_fn)                                                \
    STERNA_SLOT(matmul_f16, sterna_matmul_float_fn)                                                \
    STERNA_SLOT(matmul_bf16, sterna_matmul_float_fn)                                               \
    STERNA_SLOT(quantize, sterna_quantize_fn)                                                      \
    STERNA_SLOT(hadamard, sterna_hadamard_fn)                                                      \
    STERNA_SLOT(rmsnorm, sterna_rmsnorm_fn)                                                        \
    STERNA_SLOT(gate_silu, sterna_gate_fn)                                                         \
    STERNA_SLOT(gate_gelu_tanh, sterna_gate_fn)                                                    \
    STERNA_SLOT(gate_relu2, sterna_gate_fn)                                                        \
    STERNA_SLOT(soft_cap, sterna_soft_cap_fn)                                                      \
    STERNA_SLOT(exp_sum, sterna_exp_sum_fn)                                                        \
    STERNA_SLOT(gemm_bf16, sterna_gemm_bf16_fn)                                                    \
    STERNA_SLOT(pack_bf16_rows, sterna_pack_bf16_fn)                                               \
    STERNA_SLOT(pack_bf16_columns, sterna_pack_bf16_fn)                                            \
    STERNA_SLOT(attention_f32, sterna_attention_fn)                                                \
    STERNA_SLOT(attention_f16, sterna_attention_fn)                                                \
    STERNA_SLOT(attention_q8, sterna_attention_fn)                                                 \
    STERNA_SLOT(kv_encode_f16, sterna_kv_encode_fn)                                                \
    STERNA_SLOT(kv_encode_q8, sterna_kv_encode_fn)                                                 \
    STERNA_SLOT(read, sterna_read_fn)                                                              \
    STERNA_SLOT(peak, sterna_peak_fn)

/* One implementation of every slot, and the name of each ("tern2_avx2" is matmul_tern2's). */
typedef struct sterna_kernels {
#define STERNA_SLOT(name, type)                                                                    \
    type *name;                                                                                    \
    const char *name##_suffix;
    STERNA_SLOTS(STERNA_SLOT)
#undef STERNA_SLOT
} sterna_kernels;

/* Fills the table with the best kernels that a feature mask (base/cpu.h) allows. */
void sterna_kernels_select(uint32_t features, sterna_kernels *table);

/* Prototypes of every row: sterna_<slot>_<suffix>. */
#define STERNA_SLOT(name, type) typedef type sterna_slot_##name;
STERNA_SLOTS(STERNA_SLOT)
#undef STERNA_SLOT
#define STERNA_KERNEL(slot, suffix, features) sterna_slot_##slot sterna_##slot##_##suffix;
#include "kernels/kernels.list"
#undef STERNA_KERNEL

#endif
