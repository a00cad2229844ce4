/* What a tensor in a file is: a type, dimensions, bytes. And what a row of it means: floats, or
 * trits with their scales.
 *
 * This is the only place that knows foreign block layouts (ggml's, BitNet's, Prism's). Everything
 * above sees rows. Dimensions are in GGUF order: dims[0] is the length of a row (the matmul's
 * input, "cols"), dims[1] the number of rows (its output). A ternary row is cols trits in {-1, 0,
 * +1} and one float32 scale per group of `group` columns (the last group may be shorter).
 */
#ifndef STERNA_TERNARY_TENSOR_H
#define STERNA_TERNARY_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef enum sterna_type {
    STERNA_TYPE_F32,
    STERNA_TYPE_F16,
    STERNA_TYPE_BF16,
    STERNA_TYPE_F64,
    STERNA_TYPE_I8,
    STERNA_TYPE_I16,
    STERNA_TYPE_I32,
    STERNA_TYPE_I64,
    STERNA_TYPE_U8,
    STERNA_TYPE_Q8_0,
    STERNA_TYPE_Q4_0,
    STERNA_TYPE_Q4_1,
    STERNA_TYPE_Q5_0,
    STERNA_TYPE_Q5_1,
    STERNA_TYPE_Q2_K,
    STERNA_TYPE_Q3_K,
    STERNA_TYPE_Q4_K,
    STERNA_TYPE_Q5_K,
    STERNA_TYPE_Q6_K,
    STERNA_TYPE_Q1_0,
    STERNA_TYPE_TQ1_0,
    STERNA_TYPE_TQ2_0,
    STERNA_TYPE_Q2_0,      /* upstream, groups of 64 */
    STERNA_TYPE_Q2_0_G128, /* the older layout under the same GGUF id */
    STERNA_TYPE_PQ2_0,
    STERNA_TYPE_PTQ1_0,
    STERNA_TYPE_I2_S,   /* whole tensor: codes, then one float32 scale */
    STERNA_TYPE_BITNET, /* Hugging Face BitNet: uint8 [rows/4][cols] and a weight_scale beside it */
    STERNA_TYPE_NATIVE, /* Sterna's own: parts beside each other (native.h) */
    STERNA_TYPES
} sterna_type;

typedef enum sterna_type_kind {
    STERNA_KIND_FLOAT,   /* F32, F16, BF16, F64 */
    STERNA_KIND_INTEGER, /* raw integers, never a weight matrix */
    STERNA_KIND_BLOCK,   /* quantised to more than three levels */
    STERNA_KIND_TERNARY, /* trits and scales (Q1_0 counts: its codes are -1 and +1; a Q2_0 tensor
                            that uses code 3 does not) */
} sterna_type_kind;

typedef struct sterna_type_info {
    const char *name; /* "TQ2_0" */
    int gguf_id;      /* ggml's type number; -1 where GGUF has none */
    sterna_type_kind kind;
    uint32_t block; /* weights per block; 1 for plain types; 0 where the tensor is one block (I2_S,
                       BITNET, NATIVE) */
    uint32_t block_bytes; /* bytes per block; 0 where the tensor is one block */
    uint32_t group;       /* ternary: columns that share a scale; 0 = the whole tensor, or (NATIVE)
                             as the tensor says */
    bool writable;        /* sterna_type_encode / sterna_type_pack exist */
} sterna_type_info;

/* One row per type; never NULL for a valid enum value. */
const sterna_type_info *sterna_type_describe(sterna_type type);
/* By GGUF type number / by name without regard to case. False when unknown. (42 gives Q2_0; the
 * reader tells g128 apart.) */
bool sterna_type_from_gguf(uint32_t id, sterna_type *type);
bool sterna_type_from_name(const char *name, sterna_type *type);
/* Bytes of a tensor of `rows` rows of `cols` columns; false on overflow or when cols is not a
 * multiple of the block. I2_S counts its 32 trailing bytes; BITNET needs rows % 4 == 0. */
bool sterna_type_bytes(sterna_type type, uint64_t cols, uint64_t rows, uint64_t *bytes);

/* The byte orders of I2_S. The file does not say which: STERNA_I2S_X86 is what the published files
 * have. */
typedef enum sterna_i2s_order {
    STERNA_I2S_X86,
    STERNA_I2S_X86_ROWS4,
    STERNA_I2S_ARM
} sterna_i2s_order;
/* "x86" (also NULL), "x86-rows4", "arm": the names that options use. */
sterna_status sterna_i2s_order_from_name(const char *name, sterna_i2s_order *order,
                                         sterna_error *err);
const char *sterna_i2s_order_name(sterna_i2s_order order);

typedef struct sterna_native sterna_native;

typedef struct sterna_tensor {
    const char *name;
    sterna_type type;
    int n_dims;
    uint64_t dims[4];       /* unused ones are 1 */
    const uint8_t *data;    /* mapped, any alignment; NATIVE: NULL */
    uint64_t bytes;         /* with those of all parts of `native` */
    float scale;            /* BITNET: what a trit is multiplied by (the reader has already inverted
                               "bitlinear" scales) */
    sterna_i2s_order order; /* I2_S only */
    const sterna_native *native; /* NATIVE, and ternary tensors with parts beside them; else NULL */
} sterna_tensor;

uint64_t sterna_tensor_rows(const sterna_tensor *tensor); /* product of dims[1..3] */

/* One row as float32, out[dims[0]]. Any type but the integers. */
void sterna_tensor_row(const sterna_tensor *tensor, uint64_t row, float *out);

/* One row of a ternary type: trits[cols], scales[ceil(cols / group)] with group as
 * sterna_tensor_group gives it. False when the row holds a code that is no trit (Q2_0's code 3, a
 * base-3 byte out of range). Scales may be any float, also negative, NaN or infinite: the caller
 * checks. */
bool sterna_tensor_row_trits(const sterna_tensor *tensor, uint64_t row, int8_t *trits,
                             float *scales);
uint64_t sterna_tensor_group(
    const sterna_tensor *tensor); /* columns per scale; cols when one scale serves the row */

/* Rows as lines: how ternary kernels read them, 16 rows at a time without a byte per trit in
 * between. Line l holds columns 16l .. 16l + 15: byte 4r + c has columns 4f + c (f = 0..3) of row r
 * in bits 2f, 2f + 1 as trit + 1 (and 3 = +2 for Q2_0's code 3). */
enum { STERNA_LINE_ROWS = 16 };
/* Whether sterna_tensor_lines can: most ternary types without parts beside them. */
bool sterna_tensor_has_lines(const sterna_tensor *tensor);
/* lines[cols / 16][64] of rows row_of[0 .. count-1], count <= 16, and row r's scales at scales +
 * r * scale_step as sterna_tensor_row_trits gives them. Returns the first r that holds a code that
 * is no trit, or -1. */
int sterna_tensor_lines(const sterna_tensor *tensor, const uint64_t *row_of, size_t count,
                        uint8_t *lines, float *scales, size_t scale_step);

/* Float rows to stored bytes, for writable float and block types (F32, F16, BF16, Q8_0): `cols`
 * floats to the bytes of one row. */
void sterna_type_encode(sterna_type type, const float *row, size_t cols, uint8_t *out);
/* Trits and scales (one per type's group; for TQ1_0/TQ2_0 one per 256, ...) to the bytes of one
 * row, for writable ternary types; also codes -8 .. 7 to Q4_0 and -127 .. 127 to Q8_0, one scale
 * per 32. cols must be a multiple of the block. Scales are rounded to float16. */
void sterna_type_pack(sterna_type type, const int8_t *trits, const float *scales, size_t cols,
                      uint8_t *out);

/* Exact conversion of one ternary tensor to another ternary type, `out` of sterna_type_bytes. Exact
 * where every target group holds source groups of one equal scale (groups without a nonzero trit
 * fit any scale), the scale fits float16 exactly and the target's codes can say it. Otherwise fails
 * with a sentence that names the tensor, the row, the group sizes and what to do. `round_scales`
 * lets a float32 scale (I2_S, BITNET) be rounded to float16, a change of at most 2^-11. */
sterna_status sterna_tensor_convert(const sterna_tensor *tensor, sterna_type target,
                                    bool round_scales, uint8_t *out, sterna_error *err);

#endif
