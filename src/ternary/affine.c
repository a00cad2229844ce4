/* ggml's 4, 5 and 8-bit blocks as integer codes. Layouts as in ggml-common.h (docs/FORMAT.md). */
#include "ternary/affine.h"

#include "base/half.h"

static float half_at(const uint8_t *at)
{
    return sterna_f16_to_f32((uint16_t)(at[0] | at[1] << 8));
}

bool sterna_affine_describe(sterna_type type, sterna_affine *out)
{
    switch (type) {
    case STERNA_TYPE_Q8_0: *out = (sterna_affine){32, 8, 0, false}; return true;
    case STERNA_TYPE_Q4_0: *out = (sterna_affine){32, 4, 8, false}; return true;
    case STERNA_TYPE_Q5_0: *out = (sterna_affine){32, 5, 16, false}; return true;
    case STERNA_TYPE_Q4_1: *out = (sterna_affine){32, 4, 0, true}; return true;
    case STERNA_TYPE_Q5_1: *out = (sterna_affine){32, 5, 0, true}; return true;
    default: return false;
    }
}

/* Low halves of 16 bytes are codes 0..15 of a block of 32, high halves 16..31; bit i of `fifth` is
 * bit 4 of code i. */
static void nibbles(const uint8_t *bytes, uint32_t fifth, int8_t *codes)
{
    for (uint32_t i = 0; i < 16; i++) {
        codes[i] = (int8_t)((bytes[i] & 15) | (int)(fifth >> i & 1) << 4);
        codes[i + 16] = (int8_t)(bytes[i] >> 4 | (int)(fifth >> (i + 16) & 1) << 4);
    }
}

/* Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: blocks of 32. */
static void block32(sterna_type type, const uint8_t *block, int8_t *codes, float *scale, float *min)
{
    *scale = half_at(block);
    block += 2;
    if (type == STERNA_TYPE_Q8_0) {
        for (int i = 0; i < 32; i++) codes[i] = (int8_t)block[i];
        return;
    }
    if (type == STERNA_TYPE_Q4_1 || type == STERNA_TYPE_Q5_1) {
        *min = half_at(block);
        block += 2;
    }
    uint32_t fifth = 0;
    if (type == STERNA_TYPE_Q5_0 || type == STERNA_TYPE_Q5_1) {
        fifth = block[0] | (uint32_t)block[1] << 8 | (uint32_t)block[2] << 16 |
                (uint32_t)block[3] << 24;
        block += 4;
    }
    nibbles(block, fifth, codes);
}

void sterna_affine_row(const sterna_tensor *tensor, uint64_t row, int8_t *codes, float *scales,
                       float *mins)
{
    const sterna_type_info *info = sterna_type_describe(tensor->type);
    size_t blocks = (size_t)(tensor->dims[0] / info->block);
    const uint8_t *block = tensor->data + row * blocks * info->block_bytes;
    for (size_t b = 0; b < blocks; b++, block += info->block_bytes)
        block32(tensor->type, block, codes + 32 * b, scales + b, mins + b);
}
