/* Matmuls over K blocks of ARM: the body of matmul_k_neon.c and matmul_k_dotprod.c, which define
 * STERNA_MATMUL(name) and DOT (0: products widened to 16-bit sums; 1: sdot). A line is four
 * registers of 4 rows.
 */
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/k_blocks.h"

#define INLINE       static inline __attribute__((always_inline))
#define PREFETCH(at) __builtin_prefetch(at)

enum { ROWS = 4, ONE = 4, FEW = 0, MANY = 4, TOKENS = 4 };

typedef uint32x4_t ints;
typedef float32x4_t floats;

INLINE ints zero_ints(void)
{
    return vdupq_n_u32(0);
}

INLINE ints load_ints(const uint8_t *at)
{
    return vreinterpretq_u32_u8(vld1q_u8(at));
}

INLINE ints broadcast(const int8_t *x)
{
    uint32_t four;
    memcpy(&four, x, 4);
    return vdupq_n_u32(four);
}

INLINE ints set_words(int32_t x)
{
    return vdupq_n_u32((uint32_t)x);
}

INLINE ints mask_bytes(ints v, int mask)
{
    return vandq_u32(v, vreinterpretq_u32_u8(vdupq_n_u8((uint8_t)mask)));
}

INLINE ints mask_words(ints v, int mask)
{
    return vandq_u32(v, vdupq_n_u32((uint32_t)mask));
}

INLINE ints or_bits(ints a, ints b)
{
    return vorrq_u32(a, b);
}

/* a where a byte's bit of the mask is set, b elsewhere */
INLINE ints choose_bits(int mask, ints a, ints b)
{
    return vbslq_u32(vreinterpretq_u32_u8(vdupq_n_u8((uint8_t)mask)), a, b);
}

INLINE ints shift_left(ints v, size_t n)
{
    return vreinterpretq_u32_u8(vreinterpretq_u8_u32(v) << (uint8_t)n);
}

INLINE ints shift_right(ints v, size_t n)
{
    return vreinterpretq_u32_u8(vreinterpretq_u8_u32(v) >> (uint8_t)n);
}

INLINE ints shift_words_left(ints v, size_t n)
{
    return v << (uint32_t)n;
}

INLINE ints shift_words_right(ints v, size_t n)
{
    return v >> (uint32_t)n;
}

INLINE ints shift_signed_words_right(ints v, size_t n)
{
    return vreinterpretq_u32_s32(vreinterpretq_s32_u32(v) >> (int32_t)n);
}

INLINE ints sub_words(ints a, ints b)
{
    return vsubq_u32(a, b);
}

#if DOT
enum { WIDE = 1 };

INLINE size_t part_of(k_layout L)
{
    return k_segment_cols(L) / 4;
}

INLINE ints products(ints sum, ints codes, ints x)
{
    return vreinterpretq_u32_s32(vdotq_s32(vreinterpretq_s32_u32(sum), vreinterpretq_s8_u32(codes),
                                           vreinterpretq_s8_u32(x)));
}

INLINE ints widened(ints sum, ints part)
{
    return vaddq_u32(sum, part);
}
#else
/* pairs of products: 8 * 2 * 15 * 127 = 30480, 4 * 2 * 31 * 127 = 31496, 2 * 2 * 63 * 127 = 32004
 */
enum { WIDE = 0 };

INLINE size_t part_of(k_layout L)
{
    return L == Q4K ? 8 : L == Q5K ? 4 : 2;
}

INLINE ints products(ints sum, ints codes, ints x)
{
    int8x16_t w = vreinterpretq_s8_u32(codes), four = vreinterpretq_s8_u32(x);
    int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(four)), high = vmull_high_s8(w, four);
    return vreinterpretq_u32_s16(vaddq_s16(vreinterpretq_s16_u32(sum), vpaddq_s16(low, high)));
}

INLINE ints widened(ints sum, ints part)
{
    return vreinterpretq_u32_s32(
        vpadalq_s16(vreinterpretq_s32_u32(sum), vreinterpretq_s16_u32(part)));
}
#endif

INLINE floats zero_floats(void)
{
    return vdupq_n_f32(0);
}

INLINE floats set_floats(float x)
{
    return vdupq_n_f32(x);
}

INLINE floats load_floats(const float *at)
{
    return vld1q_f32(at);
}

INLINE void store_floats(float *at, floats v)
{
    vst1q_f32(at, v);
}

INLINE floats to_floats(ints v)
{
    return vcvtq_f32_s32(vreinterpretq_s32_u32(v));
}

/* float16s in the low half of each word */
INLINE floats low_halves(ints v)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v)));
}

INLINE floats mul(floats a, floats b)
{
    return vmulq_f32(a, b);
}

INLINE floats multiply_add(floats a, floats b, floats c)
{
    return vfmaq_f32(c, a, b);
}

/* c - a * b */
INLINE floats multiply_subtract(floats a, floats b, floats c)
{
    return vfmsq_f32(c, a, b);
}

#include "kernels/matmul_k_body.h"
