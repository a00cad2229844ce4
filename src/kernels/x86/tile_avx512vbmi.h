/* Tiles of two panels x 12 or 8 tokens as assembler text: runs of tern5 and lines of tern2
 * (tern5.h).
 *
 * 24 integer sums, the codes of two panels, their high bits, two tables, a mask and four
 * activations are all 32 registers. gcc 12 and clang 14 spill sums within the loop, or move all of
 * them between two runs: 22 of 405 cycles a segment of 128 columns. Here a segment's end stands
 * among the products of its last two fields as well, each sum three tokens behind its last one.
 *
 * zmm0-23 are the sums (token t, panel p: 2t + p), 24 and 25 codes, 26 activations, 27 and 28 high
 * bits or codes of a second field, 29 and 30 tables of even and odd fields or scales, 31 the mask
 * or a product of scales.
 */
#ifndef STERNA_KERNELS_X86_TILE_AVX512VBMI_H
#define STERNA_KERNELS_X86_TILE_AVX512VBMI_H

#include "kernels/x86/tern5_avx512vbmi.h"

enum { TILE_PANELS = 2, TILE_TOKENS = 12, TILE_FEW = 8 };

/* Tokens of the next tile where `left` are left; 0 for fewer than 8. */
INLINE size_t tile_tokens(size_t left)
{
    if (left >= TILE_TOKENS && left != 2 * TILE_FEW) return TILE_TOKENS;
    return left >= TILE_FEW ? TILE_FEW : 0;
}

/* Columns that are walked at a time. */
typedef struct tile_walk {
    const uint8_t *codes[TILE_PANELS];
    size_t count; /* blocks of tern5, lines of tern2; at least one */
    const int8_t *x;
    size_t stride;      /* between the tokens of x */
    size_t tokens;      /* TILE_TOKENS or TILE_FEW */
    size_t run;         /* tern5: 0, 1 or 2 */
    const uint8_t *ask; /* tern5: what blocks ask for */
} tile_walk;

typedef struct tile_isums {
    _Alignas(64) int32_t of[TILE_TOKENS][TILE_PANELS][16];
} tile_isums;

/* `scales` stands 1536 bytes behind `of`: the text below knows. */
typedef struct tile_sums {
    _Alignas(64) float of[TILE_TOKENS][TILE_PANELS][16];
    float scales[TILE_PANELS][16]; /* of the segment */
} tile_sums;

#define TILE_EACH_8(f)                                                                             \
    f(0, 0, 1) f(1, 2, 3) f(2, 4, 5) f(3, 6, 7) f(4, 8, 9) f(5, 10, 11) f(6, 12, 13) f(7, 14, 15)
#define TILE_EACH_12(f) TILE_EACH_8(f) f(8, 16, 17) f(9, 18, 19) f(10, 20, 21) f(11, 22, 23)
#define TILE_LOAD(t, a, b)                                                                         \
    "vmovdqa64 128*" #t "(%[sums]), %%zmm" #a "\n\t"                                               \
    "vmovdqa64 128*" #t "+64(%[sums]), %%zmm" #b "\n\t"
#define TILE_STORE(t, a, b)                                                                        \
    "vmovdqa64 %%zmm" #a ", 128*" #t "(%[sums])\n\t"                                               \
    "vmovdqa64 %%zmm" #b ", 128*" #t "+64(%[sums])\n\t"
/* Four columns, `at` bytes into x, times a field: of one token, and of all. */
#define TILE_TOKEN(a, b, c, d, at)                                                                 \
    "vpbroadcastd " at ", %%zmm26\n\t"                                                             \
    "vpdpbusd %%zmm26, %%zmm" #c ", %%zmm" #a "\n\t"                                               \
    "vpdpbusd %%zmm26, %%zmm" #d ", %%zmm" #b "\n\t"
#define TILE_TOKENS_8(at)                                                                          \
    TILE_TOKEN(0, 1, 24, 25, #at "(%[x0])")                                                        \
    TILE_TOKEN(2, 3, 24, 25, #at "(%[x0],%[stride])")                                              \
    TILE_TOKEN(4, 5, 24, 25, #at "(%[x0],%[stride],2)")                                            \
    TILE_TOKEN(6, 7, 24, 25, #at "(%[x3])")                                                        \
    TILE_TOKEN(8, 9, 24, 25, #at "(%[x3],%[stride])")                                              \
    TILE_TOKEN(10, 11, 24, 25, #at "(%[x3],%[stride],2)")                                          \
    TILE_TOKEN(12, 13, 24, 25, #at "(%[x6])")                                                      \
    TILE_TOKEN(14, 15, 24, 25, #at "(%[x6],%[stride])")
#define TILE_TOKENS_12(at)                                                                         \
    TILE_TOKENS_8(at)                                                                              \
    TILE_TOKEN(16, 17, 24, 25, #at "(%[x6],%[stride],2)")                                          \
    TILE_TOKEN(18, 19, 24, 25, #at "(%[x9])")                                                      \
    TILE_TOKEN(20, 21, 24, 25, #at "(%[x9],%[stride])")                                            \
    TILE_TOKEN(22, 23, 24, 25, #at "(%[x9],%[stride],2)")
/* Minus the zeros' part. */
#define TILE_START(t, a, b)                                                                        \
    "vpsubd 4*" #t "(%[x_sums])%{1to16%}, %%zmm31, %%zmm" #a "\n\t"                                \
    "vmovdqa64 %%zmm" #a ", %%zmm" #b "\n\t"
/* The last two fields of a segment, and its end. */
#define TILE_BOTH(a, b, x, first, second)                                                          \
    TILE_TOKEN(a, b, 24, 25, #first x) TILE_TOKEN(a, b, 27, 28, #second x)
/* sums += the integer sums of token t times its x_scale, times the scales in zmm29 and 30. */
#define TILE_FLUSH(t, a, b)                                                                        \
    "vmulps 4*" #t "(%[x_scales])%{1to16%}, %%zmm29, %%zmm31\n\t"                                  \
    "vcvtdq2ps %%zmm" #a ", %%zmm" #a "\n\t"                                                       \
    "vfmadd213ps 128*" #t "(%[sums]), %%zmm31, %%zmm" #a "\n\t"                                    \
    "vmovaps %%zmm" #a ", 128*" #t "(%[sums])\n\t"                                                 \
    "vmulps 4*" #t "(%[x_scales])%{1to16%}, %%zmm30, %%zmm31\n\t"                                  \
    "vcvtdq2ps %%zmm" #b ", %%zmm" #b "\n\t"                                                       \
    "vfmadd213ps 128*" #t "+64(%[sums]), %%zmm31, %%zmm" #b "\n\t"                                 \
    "vmovaps %%zmm" #b ", 128*" #t "+64(%[sums])\n\t"
/* clang-format off */
#define TILE_END_MOST(first, second)                        \
    "vmovaps 1536(%[sums]), %%zmm29\n\t"                    \
    "vmovaps 1600(%[sums]), %%zmm30\n\t"                    \
    TILE_BOTH(0, 1, "(%[x0])", first, second)               \
    TILE_BOTH(2, 3, "(%[x0],%[stride])", first, second)     \
    TILE_BOTH(4, 5, "(%[x0],%[stride],2)", first, second)   \
    TILE_FLUSH(0, 0, 1)                                     \
    TILE_BOTH(6, 7, "(%[x3])", first, second)               \
    TILE_FLUSH(1, 2, 3)                                     \
    TILE_BOTH(8, 9, "(%[x3],%[stride])", first, second)     \
    TILE_FLUSH(2, 4, 5)                                     \
    TILE_BOTH(10, 11, "(%[x3],%[stride],2)", first, second) \
    TILE_FLUSH(3, 6, 7)                                     \
    TILE_BOTH(12, 13, "(%[x6])", first, second)             \
    TILE_FLUSH(4, 8, 9)                                     \
    TILE_BOTH(14, 15, "(%[x6],%[stride])", first, second)   \
    TILE_FLUSH(5, 10, 11)
#define TILE_END_8(first, second)                           \
    TILE_END_MOST(first, second)                            \
    TILE_FLUSH(6, 12, 13)                                   \
    TILE_FLUSH(7, 14, 15)
#define TILE_END_12(first, second)                          \
    TILE_END_MOST(first, second)                            \
    TILE_BOTH(16, 17, "(%[x6],%[stride],2)", first, second) \
    TILE_FLUSH(6, 12, 13)                                   \
    TILE_BOTH(18, 19, "(%[x9])", first, second)             \
    TILE_FLUSH(7, 14, 15)                                   \
    TILE_BOTH(20, 21, "(%[x9],%[stride])", first, second)   \
    TILE_FLUSH(8, 16, 17)                                   \
    TILE_BOTH(22, 23, "(%[x9],%[stride],2)", first, second) \
    TILE_FLUSH(9, 18, 19)                                   \
    TILE_FLUSH(10, 20, 21)                                  \
    TILE_FLUSH(11, 22, 23)
/* clang-format on */

/* Bytes of 2^(16 - shift) - 1. */
#define TILE_MASK(shift)                                                                           \
    "vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31\n\t"                                              \
    "vpsrlw $" #shift ", %%zmm31, %%zmm31\n\t"                                                     \
    "vpackuswb %%zmm31, %%zmm31, %%zmm31\n\t"
#define TILE_ADVANCE(codes, columns)                                                               \
    "add $" #codes ", %[c0]\n\t"                                                                   \
    "add $" #codes ", %[c1]\n\t"                                                                   \
    "add $" #columns ", %[x0]\n\t"                                                                 \
    "add $" #columns ", %[x3]\n\t"                                                                 \
    "add $" #columns ", %[x6]\n\t"                                                                 \
    "add $" #columns ", %[x9]\n\t"                                                                 \
    "dec %[count]\n\t"                                                                             \
    "jnz 1b\n\t"

/* tern5: the high bits of two fields, the codes of the even one and of the odd one. vpternlogd
 * takes low bits where the mask is, else high ones. */
#define TILE_HIGH(shift) shift "256(%[c0]), %%zmm27\n\t" shift "256(%[c1]), %%zmm28\n\t"
#define TILE_LOOK_UP(table)                                                                        \
    "vpternlogd $0xe2, %%zmm27, %%zmm31, %%zmm24\n\t"                                              \
    "vpternlogd $0xe2, %%zmm28, %%zmm31, %%zmm25\n\t"                                              \
    "vpermb %%zmm" #table ", %%zmm24, %%zmm24\n\t"                                                 \
    "vpermb %%zmm" #table ", %%zmm25, %%zmm25\n\t"
#define TILE_EVEN(line)                                                                            \
    "vmovdqa64 " #line "(%[c0]), %%zmm24\n\t"                                                      \
    "vmovdqa64 " #line "(%[c1]), %%zmm25\n\t" TILE_LOOK_UP(29)
#define TILE_ODD(line)                                                                             \
    "vpsrlw $4, " #line "(%[c0]), %%zmm24\n\t"                                                     \
    "vpsrlw $4, " #line "(%[c1]), %%zmm25\n\t" TILE_LOOK_UP(30)
/* The odd field beside the even one. */
#define TILE_ODD_TOO(line)                                                                         \
    "vpsrlw $4, " #line "(%[c0]), %%zmm26\n\t"                                                     \
    "vpternlogd $0xe2, %%zmm27, %%zmm31, %%zmm26\n\t"                                              \
    "vpermb %%zmm30, %%zmm26, %%zmm27\n\t"                                                         \
    "vpsrlw $4, " #line "(%[c1]), %%zmm26\n\t"                                                     \
    "vpternlogd $0xe2, %%zmm28, %%zmm31, %%zmm26\n\t"                                              \
    "vpermb %%zmm30, %%zmm26, %%zmm28\n\t"
/* What a block asks for: one line of 320 bytes with 12 tokens, 214 bytes in a row with 8. */
#define TILE_ASK_12                                                                                \
    "prefetcht1 (%[ask])\n\t"                                                                      \
    "add $320, %[ask]\n\t"
#define TILE_ASK_8                                                                                 \
    "prefetcht1 (%[ask])\n\t"                                                                      \
    "prefetcht1 54(%[ask])\n\t"                                                                    \
    "prefetcht1 107(%[ask])\n\t"                                                                   \
    "prefetcht1 160(%[ask])\n\t"                                                                   \
    "add $214, %[ask]\n\t"
/* A block up to the codes of its last but one field. */
#define TILE_BLOCK(T)                                                                              \
    TILE_ASK_##T TILE_HIGH("vmovdqa64 ") TILE_EVEN(0) TILE_TOKENS_##T(0) TILE_ODD(0)               \
        TILE_TOKENS_##T(4) TILE_HIGH("vpsrlw $2, ") TILE_EVEN(64) TILE_TOKENS_##T(8) TILE_ODD(64)  \
            TILE_TOKENS_##T(12) TILE_HIGH("vpsllw $4, ") TILE_EVEN(128) TILE_TOKENS_##T(16)        \
                TILE_ODD(128) TILE_TOKENS_##T(20) TILE_HIGH("vpsllw $2, ") TILE_EVEN(192)
#define TILE_TABLES                                                                                \
    "vmovdqa64 (%[tables]), %%zmm29\n\t"                                                           \
    "vmovdqa64 192(%[tables]), %%zmm30\n\t" TILE_MASK(12)
#define TILE_BLOCKS(T)                                                                             \
    ".p2align 5\n1:\n\t" TILE_BLOCK(T) TILE_TOKENS_##T(24) TILE_ODD(192) TILE_TOKENS_##T(28)       \
        TILE_ADVANCE(320, 32)

/* tern2: a field to registers a and b, and a line up to the codes of its last but one field. */
#define TILE_FIELD(shift, a, b)                                                                    \
    "vpsrlw $" #shift ", (%[c0]), %%zmm" #a "\n\t"                                                 \
    "vpsrlw $" #shift ", (%[c1]), %%zmm" #b "\n\t"                                                 \
    "vpandd %%zmm31, %%zmm" #a ", %%zmm" #a "\n\t"                                                 \
    "vpandd %%zmm31, %%zmm" #b ", %%zmm" #b "\n\t"
#define TILE_LINE(T)                                                                               \
    "vpandd (%[c0]), %%zmm31, %%zmm24\n\t"                                                         \
    "vpandd (%[c1]), %%zmm31, %%zmm25\n\t" TILE_TOKENS_##T(0) TILE_FIELD(2, 24, 25)                \
        TILE_TOKENS_##T(4) TILE_FIELD(4, 24, 25)
#define TILE_LINES(T)                                                                              \
    ".p2align 5\n1:\n\t" TILE_LINE(T) TILE_TOKENS_##T(8) TILE_FIELD(6, 24, 25) TILE_TOKENS_##T(12) \
        TILE_ADVANCE(64, 16)

#define TILE_ZERO        "vpxord %%zmm31, %%zmm31, %%zmm31\n\t"
#define TILE_BUT_ONE(go) "dec %[count]\n\tjz 2f\n\t" go "2:\n\t"

/* `text` with as many tokens as the walk has. */
#define TILE_EITHER(text, ...)                                                                     \
    if (w->tokens == TILE_FEW) {                                                                   \
        TILE_WALK(text(8), __VA_ARGS__);                                                           \
    } else {                                                                                       \
        TILE_WALK(text(12), __VA_ARGS__);                                                          \
    }
#define TILE_CLOBBERS                                                                              \
    "cc", "memory", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8",        \
        "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18",   \
        "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", "zmm28",  \
        "zmm29", "zmm30", "zmm31"
#define TILE_WALK(text, ...)                                                                       \
    const uint8_t *c0 = w->codes[0], *c1 = w->codes[1], *ask = w->ask;                             \
    const int8_t *x0 = w->x, *x3 = x0 + 3 * w->stride, *x6 = x3 + 3 * w->stride;                   \
    const int8_t *x9 = x6 + 3 * w->stride;                                                         \
    size_t count = w->count;                                                                       \
    __asm__ volatile(text                                                                          \
                     : [c0] "+r"(c0), [c1] "+r"(c1), [count] "+r"(count), [ask] "+r"(ask),         \
                       [x0] "+r"(x0), [x3] "+r"(x3), [x6] "+r"(x6), [x9] "+r"(x9)                  \
                     : [stride] "r"(w->stride), [tables] "r"(tern5_tables[0][w->run]), __VA_ARGS__ \
                     : TILE_CLOBBERS)
#define TILE_RUN_TERN5(T)                                                                          \
    TILE_EACH_##T(TILE_LOAD) TILE_TABLES TILE_BLOCKS(T) TILE_EACH_##T(TILE_STORE)
#define TILE_RUN_TERN2(T)                                                                          \
    TILE_EACH_##T(TILE_LOAD) TILE_MASK(14) TILE_LINES(T) TILE_EACH_##T(TILE_STORE)
#define TILE_SEGMENT_TERN5(T)                                                                      \
    TILE_ZERO TILE_EACH_##T(TILE_START) TILE_TABLES TILE_BUT_ONE(TILE_BLOCKS(T)) TILE_BLOCK(T)     \
        TILE_ODD_TOO(192) TILE_END_##T(24, 28)
#define TILE_SEGMENT_TERN2(T)                                                                      \
    TILE_ZERO TILE_EACH_##T(TILE_START) TILE_MASK(14) TILE_BUT_ONE(TILE_LINES(T)) TILE_LINE(T)     \
        TILE_FIELD(6, 27, 28) TILE_END_##T(8, 12)

/* isums += codes * x. */
INLINE void tile_tern5(const tile_walk *w,
                       tile_isums *isums){TILE_EITHER(TILE_RUN_TERN5, [sums] "r"(isums))}

INLINE void tile_tern2(const tile_walk *w,
                       tile_isums *isums){TILE_EITHER(TILE_RUN_TERN2, [sums] "r"(isums))}

/* A whole segment: sums += (codes * x - x_sums) * (x_scales * scales), as kernels.h rounds. */
INLINE void tile_segment_tern5(const tile_walk *w, const int32_t *x_sums, const float *x_scales,
                               tile_sums *sums){TILE_EITHER(
    TILE_SEGMENT_TERN5, [sums] "r"(sums), [x_sums] "r"(x_sums), [x_scales] "r"(x_scales))}

INLINE void tile_segment_tern2(const tile_walk *w, const int32_t *x_sums, const float *x_scales,
                               tile_sums *sums)
{
    TILE_EITHER(
        TILE_SEGMENT_TERN2, [sums] "r"(sums), [x_sums] "r"(x_sums), [x_scales] "r"(x_scales))
}

#endif
