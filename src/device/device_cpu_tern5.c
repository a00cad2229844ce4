/* From lines of tern2, which every ternary tensor can be read as, to panels of tern5
 * (kernels/tern5.h). Works on words of four bytes, so that any compiler makes it wide. */
#include <string.h>

#include "device/device_cpu_pack.h"

enum { ROWS = STERNA_PANEL, LINE_COLS = 16, MASK = 0x03030303 };

typedef uint32_t words[ROWS]; /* a line: a word of each row */

/* The codes of field f of three lines, four columns a word: a + 3 b + 9 c stays within its bytes.
 * Sums instead of products, which the oldest vector instructions have not. */
static inline void codes_of(const words runs[3], int f, words out)
{
    for (size_t r = 0; r < ROWS; r++) {
        uint32_t a = runs[0][r] >> 2 * f & MASK, b = runs[1][r] >> 2 * f & MASK,
                 c = runs[2][r] >> 2 * f & MASK;
        b += c + (c << 1);
        out[r] = a + b + (b << 1);
    }
}

/* Fields f and f + 1 of half `half` of a block: a line of low bits, and their high bits. */
static inline __attribute__((always_inline)) void pack_line(const words runs[3], int half, int f,
                                                            uint8_t *line, words high)
{
    const int bit = (4 * half + f + 4) % 8;
    words even, odd;
    codes_of(runs, f, even);
    codes_of(runs, f + 1, odd);
    for (size_t r = 0; r < ROWS; r++) {
        high[r] |= (even[r] >> 4 & 0x01010101) << bit | (odd[r] >> 4 & 0x01010101) << (bit + 1);
        even[r] = (even[r] & 0x0f0f0f0f) | (odd[r] & 0x0f0f0f0f) << 4;
    }
    memcpy(line, even, sizeof even);
}

/* 16 columns of three runs whose lines stand `step` bytes apart, half `half` of a block. */
static inline __attribute__((always_inline)) void pack_half(const uint8_t *lines, size_t step,
                                                            int half, uint8_t *block, words high)
{
    words runs[3];
    for (size_t i = 0; i < 3; i++) memcpy(runs[i], lines + i * step + half * 64, sizeof runs[i]);
    pack_line(runs, half, 0, block + 2 * half * 64, high);
    pack_line(runs, half, 2, block + (2 * half + 1) * 64, high);
}

/* 32 columns of three runs whose lines stand `step` bytes apart. */
static void pack_block(const uint8_t *lines, size_t step, uint8_t *block)
{
    words high = {0};
    pack_half(lines, step, 0, block, high);
    pack_half(lines, step, 1, block, high);
    memcpy(block + TERN5_HIGH, high, sizeof high);
}

static bool has_threes(const uint8_t *lines, size_t count)
{
    uint64_t found = 0;
    for (size_t i = 0; i < count * 64; i += sizeof found) {
        uint64_t word;
        memcpy(&word, lines + i, sizeof word);
        found |= word & word >> 1 & 0x5555555555555555u;
    }
    return found != 0;
}

bool sterna_cpu_pack_tern5(tern5_map map, size_t cols, const uint8_t *lines, uint8_t *out)
{
    const size_t step = map.run / LINE_COLS * 64, trio_cols = tern5_trio_cols(map);
    if (has_threes(lines, trio_cols / LINE_COLS)) return false;
    for (size_t t = 0; t < map.trios; t++, lines += 3 * step)
        for (size_t c = 0; c < map.run; c += TERN5_COLS, out += TERN5_BYTES)
            pack_block(lines + c / LINE_COLS * 64, step, out);
    memcpy(out, lines, (cols - trio_cols) / LINE_COLS * 64);
    return true;
}
