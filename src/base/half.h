/* 16-bit floats, portable and exact (round to nearest even; NaN stays NaN). */
#ifndef STERNA_BASE_HALF_H
#define STERNA_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t sterna_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float sterna_bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float sterna_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    if (rest >= 0x7c00u) return sterna_bits_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest >= 0x400u) return sterna_bits_float(sign | ((rest << 13) + 0x38000000u));
    float small = (float)rest * 0x1p-24f; /* subnormal or zero: exact */
    return sign ? -small : small;
}

static inline uint16_t sterna_f32_to_f16(float value)
{
    uint32_t bits = sterna_float_bits(value), sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (bits >> 13 & 0x3ffu)); /* NaN */
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to infinity */
    if (bits < 0x38800000u) { /* subnormal: adding 0.5 aligns the last bit to 2^-24 and rounds */
        float aligned = sterna_bits_float(bits) + 0.5f;
        return (uint16_t)(sign | (sterna_float_bits(aligned) - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

static inline float sterna_bf16_to_f32(uint16_t half)
{
    return sterna_bits_float((uint32_t)half << 16);
}

static inline uint16_t sterna_f32_to_bf16(float value)
{
    uint32_t bits = sterna_float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
