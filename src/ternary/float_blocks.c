/* Plain floats and the simple blocks of 32: F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.
 *
 * Half floats are converted without branches, so that the loop becomes vector code on any machine;
 * tests hold it equal to base/half.h on all 65,536 values.
 */
#include "ternary/blocks.h"

#include <string.h>

#include "base/half.h"

void sterna_decode_f32(const uint8_t *row, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++) out[i] = sterna_bits_float(sterna_load_u32(row + 4 * i));
}

/* Shifts exponent and mantissa into place and corrects the bias. Two cases need more, chosen by
 * masks: exponent 31 (infinity, NaN) takes the bias twice; exponent 0 (zero, subnormal) is made
 * normal by counting 2^-14 into it, which is subtracted again as a float. */
static inline float f16_to_f32(uint16_t half)
{
    uint32_t rest = (uint32_t)(half & 0x7fffu) << 13, sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t is_last = 0u - (rest >> 23 == 31), is_first = 0u - (rest >> 23 == 0);
    uint32_t bits = rest + 0x38000000u + (is_last & 0x38000000u) + (is_first & 0x00800000u);
    float value = sterna_bits_float(bits) - sterna_bits_float(is_first & 0x38800000u);
    return sterna_bits_float(sterna_float_bits(value) | sign);
}

void sterna_decode_f16(const uint8_t *row, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++) out[i] = f16_to_f32(sterna_load_u16(row + 2 * i));
}

void sterna_decode_bf16(const uint8_t *row, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++) out[i] = sterna_bf16_to_f32(sterna_load_u16(row + 2 * i));
}

void sterna_decode_f64(const uint8_t *row, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++) {
        uint64_t bits = sterna_load_u32(row + 8 * i);
        bits |= (uint64_t)sterna_load_u32(row + 8 * i + 4) << 32;
        double value;
        memcpy(&value, &bits, sizeof value);
        out[i] = (float)value;
    }
}

/* f16 scale, 32 signed bytes */
void sterna_decode_q8_0(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 32; cols -= 32, row += 34, out += 32) {
        float d = sterna_f16_to_f32(sterna_load_u16(row));
        for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)row[2 + i] * d;
    }
}

/* f16 scale, 16 bytes: element i in the low half of byte i, 16 + i in the high half */
void sterna_decode_q4_0(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 32; cols -= 32, row += 18, out += 32) {
        float d = sterna_f16_to_f32(sterna_load_u16(row));
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((row[2 + i] & 15) - 8);
            out[16 + i] = d * (float)((row[2 + i] >> 4) - 8);
        }
    }
}

/* f16 scale, f16 minimum, 16 bytes */
void sterna_decode_q4_1(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 32; cols -= 32, row += 20, out += 32) {
        float d = sterna_f16_to_f32(sterna_load_u16(row));
        float m = sterna_f16_to_f32(sterna_load_u16(row + 2));
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(row[4 + i] & 15) + m;
            out[16 + i] = d * (float)(row[4 + i] >> 4) + m;
        }
    }
}

/* f16 scale, 32 fifth bits, 16 bytes */
void sterna_decode_q5_0(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 32; cols -= 32, row += 22, out += 32) {
        float d = sterna_f16_to_f32(sterna_load_u16(row));
        uint32_t high = sterna_load_u32(row + 2);
        for (int i = 0; i < 16; i++) {
            uint32_t low = row[6 + i];
            out[i] = d * (float)((int)((low & 15) | (high >> i & 1) << 4) - 16);
            out[16 + i] = d * (float)((int)(low >> 4 | (high >> (16 + i) & 1) << 4) - 16);
        }
    }
}

/* f16 scale, f16 minimum, 32 fifth bits, 16 bytes */
void sterna_decode_q5_1(const uint8_t *row, size_t cols, float *out)
{
    for (; cols >= 32; cols -= 32, row += 24, out += 32) {
        float d = sterna_f16_to_f32(sterna_load_u16(row));
        float m = sterna_f16_to_f32(sterna_load_u16(row + 2));
        uint32_t high = sterna_load_u32(row + 4);
        for (int i = 0; i < 16; i++) {
            uint32_t low = row[8 + i];
            out[i] = d * (float)(int)((low & 15) | (high >> i & 1) << 4) + m;
            out[16 + i] = d * (float)(int)(low >> 4 | (high >> (16 + i) & 1) << 4) + m;
        }
    }
}

void sterna_encode_f32(const float *row, size_t cols, uint8_t *out)
{
    for (size_t i = 0; i < cols; i++) {
        uint32_t bits = sterna_float_bits(row[i]);
        sterna_store_u16(out + 4 * i, (uint16_t)bits);
        sterna_store_u16(out + 4 * i + 2, (uint16_t)(bits >> 16));
    }
}

void sterna_encode_f16(const float *row, size_t cols, uint8_t *out)
{
    for (size_t i = 0; i < cols; i++) sterna_store_u16(out + 2 * i, sterna_f32_to_f16(row[i]));
}

void sterna_encode_bf16(const float *row, size_t cols, uint8_t *out)
{
    for (size_t i = 0; i < cols; i++) sterna_store_u16(out + 2 * i, sterna_f32_to_bf16(row[i]));
}

/* Round to nearest, halves away from zero, as ggml does; NaN and what is out of range are clamped
 * (a block whose scale underflows float16 decodes to zeros whatever its codes are). */
static inline int8_t round_to_byte(float value)
{
    float size = value < 0 ? -value : value;
    size = size < 127.0f ? size : 127.0f;
    int whole = (int)size;
    whole += size - (float)whole >= 0.5f;
    return (int8_t)(value < 0 ? -whole : whole);
}

void sterna_encode_q8_0(const float *row, size_t cols, uint8_t *out)
{
    for (; cols >= 32; cols -= 32, row += 32, out += 34) {
        int32_t largest = 0; /* positive floats are ordered as their bits are */
        for (int i = 0; i < 32; i++) {
            int32_t size = (int32_t)(sterna_float_bits(row[i]) & 0x7fffffffu);
            largest = size > largest ? size : largest;
        }
        float d = sterna_bits_float((uint32_t)largest) / 127.0f, inverse = d != 0 ? 1.0f / d : 0;
        sterna_store_u16(out, sterna_f32_to_f16(d));
        for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)round_to_byte(row[i] * inverse);
    }
}

void sterna_pack_q8_0(const int8_t *codes, float scale, uint8_t *out)
{
    sterna_store_u16(out, sterna_f32_to_f16(scale));
    memcpy(out + 2, codes, 32);
}

void sterna_pack_q4_0(const int8_t *codes, float scale, uint8_t *out)
{
    sterna_store_u16(out, sterna_f32_to_f16(scale));
    for (int i = 0; i < 16; i++) out[2 + i] = (uint8_t)((codes[i] + 8) | (codes[16 + i] + 8) << 4);
}
