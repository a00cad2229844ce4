/* Rows of a tensor: which layout, where the row starts, how many scales it has. */
#include "ternary/tensor.h"

#include <string.h>

#include "base/half.h"
#include "ternary/blocks.h"
#include "ternary/native.h"

uint64_t sterna_tensor_rows(const sterna_tensor *tensor)
{
    return tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

uint64_t sterna_tensor_group(const sterna_tensor *tensor)
{
    const sterna_trit_layout *layout = sterna_trit_layout_of(tensor->type);
    if (layout) return layout->block;
    bool grouped = tensor->type == STERNA_TYPE_NATIVE && tensor->native->group;
    return grouped && tensor->native->group < tensor->dims[0] ? tensor->native->group
                                                              : tensor->dims[0];
}

static sterna_decode *decoder_of(sterna_type type)
{
    static sterna_decode *const decoders[STERNA_TYPES] = {
        [STERNA_TYPE_F32] = sterna_decode_f32,   [STERNA_TYPE_F16] = sterna_decode_f16,
        [STERNA_TYPE_BF16] = sterna_decode_bf16, [STERNA_TYPE_F64] = sterna_decode_f64,
        [STERNA_TYPE_Q8_0] = sterna_decode_q8_0, [STERNA_TYPE_Q4_0] = sterna_decode_q4_0,
        [STERNA_TYPE_Q4_1] = sterna_decode_q4_1, [STERNA_TYPE_Q5_0] = sterna_decode_q5_0,
        [STERNA_TYPE_Q5_1] = sterna_decode_q5_1, [STERNA_TYPE_Q2_K] = sterna_decode_q2_k,
        [STERNA_TYPE_Q3_K] = sterna_decode_q3_k, [STERNA_TYPE_Q4_K] = sterna_decode_q4_k,
        [STERNA_TYPE_Q5_K] = sterna_decode_q5_k, [STERNA_TYPE_Q6_K] = sterna_decode_q6_k,
    };
    return decoders[type];
}

static const uint8_t *row_bytes(const sterna_tensor *tensor, uint64_t row)
{
    const sterna_type_info *info = sterna_type_describe(tensor->type);
    return tensor->data + row * (tensor->dims[0] / info->block * info->block_bytes);
}

/* The one scale of an I2_S or BITNET tensor. */
static float tensor_scale(const sterna_tensor *tensor)
{
    if (tensor->type == STERNA_TYPE_BITNET) return tensor->scale;
    const uint8_t *codes_end = tensor->data + sterna_tensor_rows(tensor) * tensor->dims[0] / 4;
    return sterna_bits_float(sterna_load_u32(codes_end));
}

/* I2_S and BITNET rows can be longer than any block and the caller gave room for floats only: the
 * trits go into the last quarter of that room, and each float is written before the trits under it
 * are needed no more. */
static void whole_row(const sterna_tensor *tensor, uint64_t row, float *out)
{
    size_t cols = (size_t)tensor->dims[0];
    float scale = tensor_scale(tensor);
    int8_t *trits = (int8_t *)out + 3 * cols;
    if (tensor->type == STERNA_TYPE_I2_S)
        sterna_unpack_i2s(tensor, row, trits);
    else
        sterna_unpack_bitnet(tensor, row, trits);
    enum { CHUNK = 64 };
    int8_t chunk[CHUNK];
    for (size_t i = 0; i < cols; i += CHUNK) {
        size_t n = cols - i < CHUNK ? cols - i : CHUNK;
        memcpy(chunk, trits + i, n); /* out[i..i+n) may lie over it */
        for (size_t j = 0; j < n; j++) out[i + j] = (float)chunk[j] * scale;
    }
}

static void trit_row(const sterna_trit_layout *layout, const uint8_t *bytes, size_t cols,
                     float *out)
{
    int8_t trits[STERNA_TRIT_BLOCK];
    for (size_t at = 0; at < cols; at += layout->block, bytes += layout->bytes) {
        float scale = sterna_f16_to_f32(sterna_load_u16(bytes + layout->scale_at));
        layout->unpack(bytes, trits);
        for (size_t i = 0; i < layout->block; i++) out[at + i] = (float)trits[i] * scale;
    }
}

void sterna_tensor_row(const sterna_tensor *tensor, uint64_t row, float *out)
{
    size_t cols = (size_t)tensor->dims[0];
    const sterna_trit_layout *layout = sterna_trit_layout_of(tensor->type);
    sterna_decode *decode = decoder_of(tensor->type);
    if (layout)
        trit_row(layout, row_bytes(tensor, row), cols, out);
    else if (tensor->type == STERNA_TYPE_NATIVE)
        sterna_native_row(tensor, row, out);
    else if (decode)
        decode(row_bytes(tensor, row), cols, out);
    else if (sterna_type_describe(tensor->type)->kind == STERNA_KIND_TERNARY)
        whole_row(tensor, row, out);
    else
        memset(out, 0, cols * sizeof *out); /* integers have no float rows */
    if (tensor->native) sterna_native_add(tensor, row, out);
}

bool sterna_tensor_row_trits(const sterna_tensor *tensor, uint64_t row, int8_t *trits,
                             float *scales)
{
    const sterna_trit_layout *layout = sterna_trit_layout_of(tensor->type);
    if (tensor->type == STERNA_TYPE_NATIVE)
        return sterna_native_row_trits(tensor, row, trits, scales);
    if (!layout) {
        *scales = tensor_scale(tensor);
        return tensor->type == STERNA_TYPE_I2_S ? sterna_unpack_i2s(tensor, row, trits)
                                                : sterna_unpack_bitnet(tensor, row, trits);
    }
    const uint8_t *bytes = row_bytes(tensor, row);
    size_t blocks = (size_t)tensor->dims[0] / layout->block;
    bool all = true;
    for (size_t i = 0; i < blocks; i++, bytes += layout->bytes, trits += layout->block) {
        all &= layout->unpack(bytes, trits);
        scales[i] = sterna_f16_to_f32(sterna_load_u16(bytes + layout->scale_at));
    }
    return all;
}

void sterna_type_encode(sterna_type type, const float *row, size_t cols, uint8_t *out)
{
    if (type == STERNA_TYPE_F32)
        sterna_encode_f32(row, cols, out);
    else if (type == STERNA_TYPE_F16)
        sterna_encode_f16(row, cols, out);
    else if (type == STERNA_TYPE_BF16)
        sterna_encode_bf16(row, cols, out);
    else if (type == STERNA_TYPE_Q8_0)
        sterna_encode_q8_0(row, cols, out);
}

void sterna_type_pack(sterna_type type, const int8_t *trits, const float *scales, size_t cols,
                      uint8_t *out)
{
    const sterna_trit_layout *layout = sterna_trit_layout_of(type);
    if (type == STERNA_TYPE_Q8_0)
        for (size_t at = 0; at < cols; at += 32, out += 34)
            sterna_pack_q8_0(trits + at, *scales++, out);
    if (type == STERNA_TYPE_Q4_0)
        for (size_t at = 0; at < cols; at += 32, out += 18)
            sterna_pack_q4_0(trits + at, *scales++, out);
    if (!layout || !layout->pack) return;
    for (size_t at = 0; at < cols; at += layout->block, out += layout->bytes) {
        layout->pack(trits + at, out);
        sterna_store_u16(out + layout->scale_at, sterna_f32_to_f16(*scales++));
    }
}
