/* Ternary blocks of 16 rows straight to the lines that ternary kernels read, without a byte per
 * trit in between. The blocks are interleaved by words of four bytes first, so that every step
 * works on the same word of 16 rows and any compiler makes it wide.
 */
#include <string.h>

#include "base/half.h"
#include "ternary/blocks.h"

enum { ROWS = STERNA_LINE_ROWS, MOST_WORDS = 17 };

typedef uint32_t words[ROWS]; /* a word of each row */

/* ---- two-bit codes ---- */

/* Marks words that hold a code 3. */
static inline void mark_threes(const words in, words bad)
{
    for (size_t r = 0; r < ROWS; r++) bad[r] |= in[r] & in[r] >> 1 & 0x55555555u;
}

/* Four words of 16 bytes, whose field at bits `shift` is 16 columns, to the line of these. */
static inline void gather_field(const words *in, int shift, words out)
{
    const uint32_t mask = 0x03030303u;
    for (size_t r = 0; r < ROWS; r++)
        out[r] = (in[0][r] >> shift & mask) | (in[1][r] >> shift & mask) << 2 |
                 (in[2][r] >> shift & mask) << 4 | (in[3][r] >> shift & mask) << 6;
}

/* `bytes` bytes hold four runs of columns, run f at bits first + step * f. */
static inline void runs_to_lines(const words *in, size_t bytes, int first, int step, words *out,
                                 words bad)
{
    for (size_t w = 0; w < bytes / 4; w++) mark_threes(in[w], bad);
    for (size_t f = 0; f < 4; f++)
        for (size_t part = 0; part < bytes / 16; part++)
            gather_field(in + 4 * part, first + step * (int)f, out[f * (bytes / 16) + part]);
}

static void tq2_0_lines(const words *in, words *out, words bad)
{
    runs_to_lines(in, 32, 0, 2, out, bad);
    runs_to_lines(in + 8, 32, 0, 2, out + 8, bad);
}

static void i2s_lines(const words *in, words *out, words bad)
{
    runs_to_lines(in, 32, 6, -2, out, bad);
}

static void i2s_arm_lines(const words *in, words *out, words bad)
{
    runs_to_lines(in, 16, 6, -2, out, bad);
}

/* Four neighbours in a byte: byte f's field c becomes byte c's field f. Code 3 is +2 here. */
static inline void neighbours_to_lines(const words *in, size_t count, words *out)
{
    for (size_t w = 0; w < count; w++)
        for (size_t r = 0; r < ROWS; r++) {
            uint32_t v = in[w][r], swap = (v ^ v >> 6) & 0x00cc00ccu;
            v ^= swap ^ swap << 6;
            swap = (v ^ v >> 12) & 0x0000f0f0u;
            out[w][r] = v ^ swap ^ swap << 12;
        }
}

static void q2_0_lines(const words *in, words *out, words bad)
{
    (void)bad;
    neighbours_to_lines(in, 4, out);
}

static void pq2_0_lines(const words *in, words *out, words bad)
{
    (void)bad;
    neighbours_to_lines(in, 8, out);
}

/* ---- base 3 (trit_blocks.c) ---- */

/* `count` words of `digits` digits to a word of codes for each digit, digit[n][word]. What is left
 * behind the last digit tells bytes that no trits give. */
static inline void digits_of(const words *in, size_t count, size_t digits, words out[5][8],
                             words bad)
{
    const uint32_t bytes = 0x00ff00ffu, beyond = digits == 5 ? 256 - 243 : 256 - 81;
    for (size_t w = 0; w < count; w++)
        for (size_t r = 0; r < ROWS; r++) {
            uint32_t even = in[w][r] & bytes, odd = in[w][r] >> 8 & bytes;
            for (size_t n = 0; n < digits; n++) {
                even *= 3;
                odd *= 3;
                out[n][w][r] = (even >> 8 & bytes) | (odd & ~bytes);
                even &= bytes;
                odd &= bytes;
            }
            bad[r] |= ((even + beyond * 0x10001u) | (odd + beyond * 0x10001u)) & ~bytes;
        }
}

/* Four words of codes to a line. */
static inline void join(const uint32_t *a, const uint32_t *b, const uint32_t *c, const uint32_t *d,
                        words out)
{
    for (size_t r = 0; r < ROWS; r++) out[r] = a[r] | b[r] << 2 | c[r] << 4 | d[r] << 6;
}

static void tq1_0_lines(const words *in, words *out, words bad)
{
    words code[5][8];
    digits_of(in, 8, 5, code, bad);
    for (size_t n = 0; n < 5; n++, out += 2)
        for (size_t half = 0; half < 2; half++) {
            words *four = code[n] + 4 * half;
            join(four[0], four[1], four[2], four[3], out[half]);
        }
    digits_of(in + 8, 4, 5, code, bad);
    for (size_t n = 0; n < 5; n++, out++)
        join(code[n][0], code[n][1], code[n][2], code[n][3], out[0]);
    digits_of(in + 12, 1, 4, code, bad);
    join(code[0][0], code[1][0], code[2][0], code[3][0], out[0]);
}

/* ---- the table ---- */

/* A layout's blocks: `words` words from byte `codes_at` on become `columns` / 16 lines. */
typedef struct line_layout {
    size_t columns, bytes, codes_at, words;
    void (*lines)(const words *in, words *out, words bad);
} line_layout;

static bool layout_of(const sterna_tensor *tensor, line_layout *layout)
{
    switch (tensor->type) {
    case STERNA_TYPE_TQ1_0: *layout = (line_layout){256, 54, 0, 13, tq1_0_lines}; return true;
    case STERNA_TYPE_TQ2_0: *layout = (line_layout){256, 66, 0, 16, tq2_0_lines}; return true;
    case STERNA_TYPE_Q2_0: *layout = (line_layout){64, 18, 2, 4, q2_0_lines}; return true;
    case STERNA_TYPE_Q2_0_G128:
    case STERNA_TYPE_PQ2_0: *layout = (line_layout){128, 34, 2, 8, pq2_0_lines}; return true;
    case STERNA_TYPE_I2_S:
        if (tensor->order == STERNA_I2S_X86)
            *layout = (line_layout){128, 32, 0, 8, i2s_lines};
        else
            *layout = (line_layout){64, 16, 0, 4, i2s_arm_lines};
        return tensor->order != STERNA_I2S_X86_ROWS4;
    default: return false;
    }
}

bool sterna_tensor_has_lines(const sterna_tensor *tensor)
{
    line_layout layout;
    return !tensor->native && layout_of(tensor, &layout) && tensor->dims[0] % layout.columns == 0;
}

/* Block b of 16 rows (NULL: zeros) by words. */
static void interleave(const line_layout *layout, const uint8_t *const rows[ROWS], size_t b,
                       words *out)
{
    for (size_t r = 0; r < ROWS; r++) {
        const uint8_t *block = rows[r] ? rows[r] + b * layout->bytes + layout->codes_at : NULL;
        for (size_t w = 0; w < layout->words; w++)
            out[w][r] = block ? sterna_load_u32(block + 4 * w) : 0;
    }
}

static void store_line(const words line, uint8_t *out)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, line, 4 * ROWS);
#else
    for (size_t r = 0; r < ROWS; r++) {
        uint32_t swapped = __builtin_bswap32(line[r]);
        memcpy(out + 4 * r, &swapped, 4);
    }
#endif
}

/* Scales of a row, as sterna_tensor_row_trits gives them. */
static void row_scales(const sterna_tensor *tensor, const uint8_t *row, float *scales)
{
    const sterna_trit_layout *layout = sterna_trit_layout_of(tensor->type);
    if (!layout) {
        uint64_t codes = sterna_tensor_rows(tensor) * tensor->dims[0] / 4;
        *scales = sterna_bits_float(sterna_load_u32(tensor->data + codes));
        return;
    }
    for (size_t b = 0; b < tensor->dims[0] / layout->block; b++, row += layout->bytes)
        scales[b] = sterna_f16_to_f32(sterna_load_u16(row + layout->scale_at));
}

int sterna_tensor_lines(const sterna_tensor *tensor, const uint64_t *row_of, size_t count,
                        uint8_t *lines, float *scales, size_t scale_step)
{
    line_layout layout;
    if (!layout_of(tensor, &layout)) return 0;
    size_t blocks = (size_t)tensor->dims[0] / layout.columns;
    const uint8_t *rows[ROWS] = {NULL};
    for (size_t r = 0; r < count; r++) {
        rows[r] = tensor->data + row_of[r] * blocks * layout.bytes;
        row_scales(tensor, rows[r], scales + r * scale_step);
    }
    words in[MOST_WORDS], out[STERNA_TRIT_BLOCK / 16], bad = {0};
    for (size_t b = 0; b < blocks; b++) {
        interleave(&layout, rows, b, in);
        layout.lines(in, out, bad);
        for (size_t l = 0; l < layout.columns / 16; l++, lines += 4 * ROWS)
            store_line(out[l], lines);
    }
    for (size_t r = 0; r < count; r++)
        if (bad[r]) return (int)r;
    return -1;
}
