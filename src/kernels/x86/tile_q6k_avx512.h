/* Q6_K of a panel x 8 tokens as assembler text: half a record at a time, each field unpacked where
 * it is multiplied, each segment ended behind its products.
 *
 * zmm0-7 are integer sums, 8-15 float sums, 16-19 the lines of high bits of a group, 20-27 those of
 * low bits, 28 and 29 codes on their way, a scale and its product, 30 and 31 the bits of low halves
 * and of codes.
 */
#ifndef STERNA_KERNELS_X86_TILE_Q6K_AVX512_H
#define STERNA_KERNELS_X86_TILE_Q6K_AVX512_H

#include <stddef.h>
#include <stdint.h>

enum { Q6K_TOKENS = 8, Q6K_SEGMENTS = 16 /* of a record */ };

/* Of a record's segment j and 8 tokens: where sums start, and the activations' scales. */
typedef struct q6k_inputs {
    int32_t starts[Q6K_TOKENS];
    float scales[Q6K_TOKENS];
} q6k_inputs;

/* f for each token t, of segment j; its float sum. */
#define Q6K_EACH(f, j)                                                                             \
    f(j, 0, 8) f(j, 1, 9) f(j, 2, 10) f(j, 3, 11) f(j, 4, 12) f(j, 5, 13) f(j, 6, 14) f(j, 7, 15)
#define Q6K_LOAD(j, t, sum)  "vmovaps 64*" #t "(%[sums]), %%zmm" #sum "\n\t"
#define Q6K_STORE(j, t, sum) "vmovaps %%zmm" #sum ", 64*" #t "(%[sums])\n\t"
#define Q6K_START(j, t, sum) "vpbroadcastd 64*" #j "+4*" #t "(%[inputs]), %%zmm" #t "\n\t"
#define Q6K_FLUSH(j, t, sum)                                                                       \
    "vmulps 64*" #j "+32+4*" #t "(%[inputs])%{1to16%}, %%zmm28, %%zmm29\n\t"                       \
    "vcvtdq2ps %%zmm" #t ", %%zmm" #t "\n\t"                                                       \
    "vfmadd231ps %%zmm29, %%zmm" #t ", %%zmm" #sum "\n\t"
/* Four columns, `at` bytes into x, times the codes. */
#define Q6K_TOKEN(t, at) "vpdpbusd " at "%{1to16%}, %%zmm29, %%zmm" #t "\n\t"
#define Q6K_PRODUCTS(at)                                                                           \
    Q6K_TOKEN(0, at "(%[x0])")                                                                     \
    Q6K_TOKEN(1, at "(%[x0],%[stride])")                                                           \
    Q6K_TOKEN(2, at "(%[x0],%[stride],2)")                                                         \
    Q6K_TOKEN(3, at "(%[x3])")                                                                     \
    Q6K_TOKEN(4, at "(%[x3],%[stride])")                                                           \
    Q6K_TOKEN(5, at "(%[x3],%[stride],2)")                                                         \
    Q6K_TOKEN(6, at "(%[x6])")                                                                     \
    Q6K_TOKEN(7, at "(%[x6],%[stride])")

/* The codes of a field from a line of low bits and one of high bits. */
#define Q6K_LOW_HALF(shift, low, high)                                                             \
    "vpsllw $" #shift ", %%zmm" #high ", %%zmm29\n\t"                                              \
    "vpternlogd $0xb8, %%zmm" #low ", %%zmm30, %%zmm29\n\t"                                        \
    "vpandd %%zmm31, %%zmm29, %%zmm29\n\t"
#define Q6K_FIELD_0(low, other, high) Q6K_LOW_HALF(4, low, high)
#define Q6K_FIELD_1(low, other, high) Q6K_LOW_HALF(2, other, high)
#define Q6K_FIELD_2(low, other, high)                                                              \
    "vpsrlw $4, %%zmm" #low ", %%zmm29\n\t"                                                        \
    "vpternlogd $0xe2, %%zmm" #high ", %%zmm30, %%zmm29\n\t"                                       \
    "vpandd %%zmm31, %%zmm29, %%zmm29\n\t"
#define Q6K_FIELD_3(low, other, high)                                                              \
    "vpsrlw $4, %%zmm" #other ", %%zmm29\n\t"                                                      \
    "vpsrlw $2, %%zmm" #high ", %%zmm28\n\t"                                                       \
    "vpternlogd $0xe2, %%zmm28, %%zmm30, %%zmm29\n\t"                                              \
    "vpandd %%zmm31, %%zmm29, %%zmm29\n\t"

#define Q6K_LINE(q, side, high, low, other)                                                        \
    "vmovdqa64 256*" #side "+64*" #q "(%[high]), %%zmm" #high "\n\t"                               \
    "vmovdqa64 256*" #side "+64*" #q "(%[low]), %%zmm" #low "\n\t"                                 \
    "vmovdqa64 512+256*" #side "+64*" #q "(%[low]), %%zmm" #other "\n\t"
/* clang-format off */
/* Field f of a group on the given side, which is segment j of the half. */
#define Q6K_SEGMENT(f, side, j, ask)                                        \
    ask                                                                     \
    Q6K_EACH(Q6K_START, j)                                                  \
    Q6K_FIELD_##f(20, 24, 16) Q6K_PRODUCTS("32*" #f "+16*" #side)           \
    Q6K_FIELD_##f(21, 25, 17) Q6K_PRODUCTS("32*" #f "+16*" #side "+4")      \
    Q6K_FIELD_##f(22, 26, 18) Q6K_PRODUCTS("32*" #f "+16*" #side "+8")      \
    Q6K_FIELD_##f(23, 27, 19) Q6K_PRODUCTS("32*" #f "+16*" #side "+12")     \
    "vmovaps 64*" #j "(%[scales]), %%zmm28\n\t"                             \
    Q6K_EACH(Q6K_FLUSH, j)
#define Q6K_GROUP(side, j0, j1, j2, j3, ask)        \
    Q6K_LINE(0, side, 16, 20, 24)                   \
    Q6K_LINE(1, side, 17, 21, 25)                   \
    Q6K_LINE(2, side, 18, 22, 26)                   \
    Q6K_LINE(3, side, 19, 23, 27)                   \
    Q6K_SEGMENT(0, side, j0, ask)                   \
    Q6K_SEGMENT(1, side, j1, ask)                   \
    Q6K_SEGMENT(2, side, j2, ask)                   \
    Q6K_SEGMENT(3, side, j3, ask)
/* clang-format on */
/* A sixteenth of a record, `ask` being where the next one begins. */
#define Q6K_ASK                                                                                    \
    "prefetcht0 (%[ask])\n\t"                                                                      \
    "prefetcht0 53(%[ask])\n\t"                                                                    \
    "prefetcht0 106(%[ask])\n\t"                                                                   \
    "prefetcht0 159(%[ask])\n\t"                                                                   \
    "add $212, %[ask]\n\t"
#define Q6K_MASKS                                                                                  \
    "vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31\n\t"                                              \
    "vpsrlw $12, %%zmm31, %%zmm30\n\t"                                                             \
    "vpsrlw $10, %%zmm31, %%zmm31\n\t"                                                             \
    "vpackuswb %%zmm30, %%zmm30, %%zmm30\n\t"                                                      \
    "vpackuswb %%zmm31, %%zmm31, %%zmm31\n\t"
#define Q6K_ADVANCE                                                                                \
    "add $1024, %[low]\n\t"                                                                        \
    "add $512, %[high]\n\t"                                                                        \
    "add $128, %[x0]\n\t"                                                                          \
    "add $128, %[x3]\n\t"                                                                          \
    "add $128, %[x6]\n\t"                                                                          \
    "add $512, %[inputs]\n\t"                                                                      \
    "add $512, %[scales]\n\t"                                                                      \
    "dec %[halves]\n\t"                                                                            \
    "jnz 1b\n\t"
#define Q6K_RECORD(ask)                                                                            \
    Q6K_MASKS Q6K_EACH(Q6K_LOAD, 0) ".p2align 5\n1:\n\t" Q6K_GROUP(0, 0, 2, 4, 6, ask)             \
        Q6K_GROUP(1, 1, 3, 5, 7, ask) Q6K_ADVANCE                                                  \
        Q6K_EACH(Q6K_STORE, 0)
#define Q6K_WALK(ask_text)                                                                         \
    __asm__ volatile(                                                                              \
        Q6K_RECORD(ask_text)                                                                       \
        : [low] "+r"(low), [high] "+r"(high), [x0] "+r"(x), [x3] "+r"(x3), [x6] "+r"(x6),          \
          [inputs] "+r"(inputs), [scales] "+r"(scales), [ask] "+r"(ask), [halves] "+r"(halves)     \
        : [stride] "r"(stride), [sums] "r"(sums)                                                   \
        : "cc", "memory", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8",  \
          "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", \
          "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27",         \
          "zmm28", "zmm29", "zmm30", "zmm31")

/* sums += a record's products with 8 tokens, segment by segment as kernels.h orders and rounds.
 * Asks for a record's worth of bytes at `ask`, if any. */
static inline void tile_q6k(const uint8_t *record, const int8_t *x, size_t stride,
                            const q6k_inputs *inputs, const float (*scales)[16], const uint8_t *ask,
                            float (*sums)[16])
{
    const uint8_t *low = record, *high = record + 32 * 64;
    const int8_t *x3 = x + 3 * stride, *x6 = x3 + 3 * stride;
    size_t halves = 2;
    if (ask)
        Q6K_WALK(Q6K_ASK);
    else
        Q6K_WALK("");
}

#endif
