/* The block layouts behind tensor.h: how the bytes of one row become floats or trits, and back.
 * Private to this room. Rows are whole blocks and every size was checked before; nothing here
 * fails, allocates or reads past the row. Loops have fixed trip counts and no branches, so that
 * any compiler makes them wide.
 *
 * Layouts are those of ggml (ggml-common.h), of Prism's PQ2_0 and PTQ1_0, of BitNet's I2_S and of
 * Hugging Face's packed BitNet linear; docs/FORMAT.md draws them.
 */
#ifndef STERNA_TERNARY_BLOCKS_H
#define STERNA_TERNARY_BLOCKS_H

#include "ternary/tensor.h"

/* One row of `cols` weights at `row` to float32. */
typedef void sterna_decode(const uint8_t *row, size_t cols, float *out);

sterna_decode sterna_decode_f32, sterna_decode_f16, sterna_decode_bf16, sterna_decode_f64;
sterna_decode sterna_decode_q8_0, sterna_decode_q4_0, sterna_decode_q4_1, sterna_decode_q5_0,
    sterna_decode_q5_1;
sterna_decode sterna_decode_q2_k, sterna_decode_q3_k, sterna_decode_q4_k, sterna_decode_q5_k,
    sterna_decode_q6_k;

/* `cols` floats to the bytes of one row. */
typedef void sterna_encode(const float *row, size_t cols, uint8_t *out);

sterna_encode sterna_encode_f32, sterna_encode_f16, sterna_encode_bf16, sterna_encode_q8_0;
/* One block of 32: codes -127 .. 127 and -8 .. 7. */
void sterna_pack_q8_0(const int8_t *codes, float scale, uint8_t *out);
void sterna_pack_q4_0(const int8_t *codes, float scale, uint8_t *out);

/* A ternary layout made of blocks with one float16 scale each. */
typedef struct sterna_trit_layout {
    uint16_t block, bytes;
    uint16_t scale_at; /* offset of the scale */
    /* trits[block]; false when a code is no trit, which is then decoded as ggml does: code 3 of a
     * two-bit code as +2, base-3 bytes that no five trits give as the digits they hold. */
    bool (*unpack)(const uint8_t *block, int8_t *trits);
    void (*pack)(const int8_t *trits, uint8_t *block); /* NULL = not written */
} sterna_trit_layout;

enum { STERNA_TRIT_BLOCK = 256 }; /* the longest block of all layouts */

/* NULL for a type that is not made of such blocks. */
const sterna_trit_layout *sterna_trit_layout_of(sterna_type type);

/* The two that are one block as a whole: trits of one row, false when a code is 3 (I2_S: decoded
 * as 0, BITNET: as +2, as their own readers do). */
bool sterna_unpack_i2s(const sterna_tensor *tensor, uint64_t row, int8_t *trits);
bool sterna_unpack_bitnet(const sterna_tensor *tensor, uint64_t row, int8_t *trits);

static inline uint16_t sterna_load_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t sterna_load_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void sterna_store_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

#endif
