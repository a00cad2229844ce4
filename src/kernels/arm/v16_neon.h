/* 16 float lanes as four NEON registers: see x86/v16_avx2.h. */
#ifndef STERNA_KERNELS_V16
#define STERNA_KERNELS_V16

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    float32x4_t q[4];
} v16;

#define V16_INLINE static inline __attribute__((always_inline, unused))
#define V16_KEYS   1 /* keys that attention takes at a time */
#define V16_EACH(expression)                                                                       \
    v16 out;                                                                                       \
    for (int i = 0; i < 4; i++) out.q[i] = (expression);                                           \
    return out

V16_INLINE v16 v16_set1(float x)
{
    V16_EACH(vdupq_n_f32(x));
}

V16_INLINE v16 v16_load(const float *x)
{
    V16_EACH(vld1q_f32(x + 4 * i));
}

V16_INLINE void v16_store(float *x, v16 a)
{
    for (int i = 0; i < 4; i++) vst1q_f32(x + 4 * i, a.q[i]);
}

V16_INLINE v16 v16_load_n(const float *x, size_t n)
{
    float all[16] = {0};
    memcpy(all, x, n * sizeof *all);
    return v16_load(all);
}

V16_INLINE void v16_store_n(float *x, v16 a, size_t n)
{
    float all[16];
    v16_store(all, a);
    memcpy(x, all, n * sizeof *all);
}

V16_INLINE v16 v16_add(v16 a, v16 b)
{
    V16_EACH(vaddq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16 v16_sub(v16 a, v16 b)
{
    V16_EACH(vsubq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16 v16_mul(v16 a, v16 b)
{
    V16_EACH(vmulq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16 v16_div(v16 a, v16 b)
{
    V16_EACH(vdivq_f32(a.q[i], b.q[i]));
}

/* b where a is NaN, in both (vmaxq would return the NaN). */
V16_INLINE v16 v16_max(v16 a, v16 b)
{
    V16_EACH(vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}

V16_INLINE v16 v16_min(v16 a, v16 b)
{
    V16_EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}

V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    V16_EACH(vfmaq_f32(c.q[i], a.q[i], b.q[i]));
}

V16_INLINE v16 v16_abs(v16 a)
{
    V16_EACH(vabsq_f32(a.q[i]));
}

V16_INLINE v16 v16_raise(v16 a, v16 shifted)
{
    V16_EACH(vreinterpretq_f32_s32(vaddq_s32(
        vreinterpretq_s32_f32(a.q[i]), vshlq_n_s32(vreinterpretq_s32_f32(shifted.q[i]), 23))));
}

V16_INLINE float32x4_t v16_fold4(v16 a)
{
    return vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
}

V16_INLINE float v16_sum(v16 a)
{
    float32x4_t four = v16_fold4(a);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

V16_INLINE void v16_sum4(const v16 a[4], float out[4])
{
    for (int i = 0; i < 4; i++) out[i] = v16_sum(a[i]);
}

V16_INLINE float v16_largest(v16 a)
{
    float32x4_t four =
        vmaxq_f32(vmaxq_f32(a.q[0], a.q[1]), vmaxq_f32(a.q[2], a.q[3])); /* NaN was left out */
    return vmaxvq_f32(four);
}

V16_INLINE v16 v16_swap(v16 a, int distance)
{
    if (distance == 1) {
        V16_EACH(vrev64q_f32(a.q[i]));
    }
    if (distance == 2) {
        V16_EACH(vextq_f32(a.q[i], a.q[i], 2));
    }
    if (distance == 4) return (v16){{a.q[1], a.q[0], a.q[3], a.q[2]}};
    return (v16){{a.q[2], a.q[3], a.q[0], a.q[1]}};
}

V16_INLINE v16 v16_from_f16(const uint8_t *at)
{
    uint16_t halves[16];
    memcpy(halves, at, sizeof halves);
    V16_EACH(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + 4 * i))));
}

V16_INLINE v16 v16_set1_f16(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, 2);
    float32x4_t four = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
    return (v16){{four, four, four, four}};
}

V16_INLINE v16 v16_from_bf16(const uint8_t *at)
{
    uint16_t halves[16];
    memcpy(halves, at, sizeof halves);
    V16_EACH(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(halves + 4 * i), 16)));
}

V16_INLINE v16 v16_from_i8(const uint8_t *at)
{
    int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(at));
    int16x8_t lo = vmovl_s8(vget_low_s8(bytes)), hi = vmovl_s8(vget_high_s8(bytes));
    return (v16){
        {vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(lo))),
         vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(hi)))}};
}

V16_INLINE void v16_to_f16(v16 a, uint8_t *at)
{
    for (int i = 0; i < 4; i++) {
        uint16x4_t halves = vreinterpret_u16_f16(vcvt_f16_f32(a.q[i]));
        memcpy(at + 8 * i, &halves, 8);
    }
}

V16_INLINE int32_t v16_to_i8(v16 a, int8_t *at)
{
    int32x4_t words[4];
    for (int i = 0; i < 4; i++) words[i] = vcvtnq_s32_f32(a.q[i]);
    int16x8_t lo = vcombine_s16(vmovn_s32(words[0]), vmovn_s32(words[1]));
    int16x8_t hi = vcombine_s16(vmovn_s32(words[2]), vmovn_s32(words[3]));
    vst1q_s8(at, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
    return vaddvq_s32(vaddq_s32(vaddq_s32(words[0], words[1]), vaddq_s32(words[2], words[3])));
}

#endif
