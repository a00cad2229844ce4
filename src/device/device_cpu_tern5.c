/* From lines of tern2, which every ternary tensor can be read as, to panels of tern5
 * (kernels/tern5.h). Works on words of four bytes, so that any compiler makes it wide. */
#include <string.h>

#include "device/device_cpu_pack.h"

enum { ROWS = STERNA_PANEL, LINE_COLS = 16, MASK = 0x03030303 };

typedef uint32_t words[ROWS]; /* a line: a word of each row */

static inline void load(const uint8_t *line, words out)
{
    memcpy(out, line, sizeof(words));
}

/* 16 columns of three runs, half `half` of a block: two lines of low bits, and its share of the
 * high bits. Codes of four columns are a word, and a + 3 b + 9 c stays within its bytes. */
static inline void pack_half(const words runs[3], size_t half, uint8_t *block, words high)
{
    words low[4];
    for (size_t f = 0; f < 4; f++)
        for (size_t r = 0; r < ROWS; r++) {
            uint32_t code = (runs[0][r] >> 2 * f & MASK) + 3 * (runs[1][r] >> 2 * f & MASK) +
                            9 * (runs[2][r] >> 2 * f & MASK);
            low[f][r] = code & 0x0f0f0f0f;
            high[r] |= (code >> 4 & 0x01010101) << (4 * half + f + 4) % 8;
        }
    for (size_t line = 0; line < 2; line++) {
        words joined;
        for (size_t r = 0; r < ROWS; r++) joined[r] = low[2 * line][r] | low[2 * line + 1][r] << 4;
        memcpy(block + (2 * half + line) * 64, joined, sizeof joined);
    }
}

/* 32 columns of three runs whose lines stand `step` bytes apart. */
static void pack_block(const uint8_t *lines, size_t step, uint8_t *block)
{
    words high = {0};
    for (size_t half = 0; half < 2; half++) {
        words runs[3];
        for (size_t i = 0; i < 3; i++) load(lines + i * step + half * 64, runs[i]);
        pack_half(runs, half, block, high);
    }
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
