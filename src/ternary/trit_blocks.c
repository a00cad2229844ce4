/* The ternary layouts: bytes <-> trits.
 *
 * Two-bit codes are trit + 1. Base-3 bytes hold up to five digits (trit + 1), the first one most
 * significant, as the fraction v / 243 rounded up to 1/256: byte = ceil(256 v / 243). Multiplying
 * the byte by 3^n modulo 256 moves digit n in front of the point, and times 3 shifted down by 8
 * reads it. With four digits v is a multiple of 3. A byte that no v gives is told by the
 * remainder: byte * 243 = 256 v + r has r < 243 only for rounded-up fractions (81 for four digits).
 */
#include "ternary/blocks.h"

#include <string.h>

/* ---- two-bit codes ---- */

/* Element i of four runs of `width` bytes: run f in bits `shift` of byte i. Returns the OR of
 * codes & codes >> 1, whose low bit is set when a code was 3. */
static inline unsigned unpack_run(const uint8_t *bytes, size_t width, int shift, int8_t *trits)
{
    unsigned threes = 0;
    for (size_t i = 0; i < width; i++) {
        unsigned code = bytes[i] >> shift & 3u;
        threes |= code & code >> 1;
        trits[i] = (int8_t)((int)code - 1);
    }
    return threes;
}

static bool unpack_tq2_0(const uint8_t *block, int8_t *trits)
{
    unsigned threes = 0;
    for (int half = 0; half < 2; half++)
        for (int f = 0; f < 4; f++)
            threes |= unpack_run(block + 32 * half, 32, 2 * f, trits + 128 * half + 32 * f);
    return threes == 0;
}

static void pack_tq2_0(const int8_t *trits, uint8_t *block)
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 32; i++) {
            const int8_t *t = trits + 128 * half + i;
            block[32 * half + i] =
                (uint8_t)((t[0] + 1) | (t[32] + 1) << 2 | (t[64] + 1) << 4 | (t[96] + 1) << 6);
        }
}

/* Four neighbours in a byte, the first in the low bits; the scale stands in front. */
static inline bool unpack_neighbours(const uint8_t *codes, int bytes, int8_t *trits)
{
    unsigned threes = 0;
    for (int i = 0; i < bytes; i++) {
        unsigned byte = codes[i];
        threes |= byte & byte >> 1 & 0x55u;
        for (int f = 0; f < 4; f++) trits[4 * i + f] = (int8_t)((int)(byte >> 2 * f & 3u) - 1);
    }
    return threes == 0;
}

static inline void pack_neighbours(const int8_t *trits, int bytes, uint8_t *codes)
{
    for (int i = 0; i < bytes; i++) {
        const int8_t *t = trits + 4 * i;
        codes[i] = (uint8_t)((t[0] + 1) | (t[1] + 1) << 2 | (t[2] + 1) << 4 | (t[3] + 1) << 6);
    }
}

static bool unpack_q2_0(const uint8_t *block, int8_t *trits)
{
    return unpack_neighbours(block + 2, 16, trits);
}

static bool unpack_pq2_0(const uint8_t *block, int8_t *trits)
{
    return unpack_neighbours(block + 2, 32, trits);
}

static void pack_q2_0(const int8_t *trits, uint8_t *block)
{
    pack_neighbours(trits, 16, block + 2);
}

static void pack_pq2_0(const int8_t *trits, uint8_t *block)
{
    pack_neighbours(trits, 32, block + 2);
}

/* One sign bit each, 1 = +1. */
static bool unpack_q1_0(const uint8_t *block, int8_t *trits)
{
    for (int i = 0; i < 16; i++)
        for (int bit = 0; bit < 8; bit++)
            trits[8 * i + bit] = (int8_t)((block[2 + i] >> bit & 1) * 2 - 1);
    return true;
}

/* ---- base 3 ---- */

/* `digits` runs of `width` trits from `width` bytes. */
static inline bool unpack_base3(const uint8_t *bytes, int width, int digits, int8_t *trits)
{
    unsigned largest = 0, scale = digits == 5 ? 243 : 81;
    for (int i = 0; i < width; i++) {
        unsigned remainder = bytes[i] * scale & 0xffu;
        largest = remainder > largest ? remainder : largest;
    }
    unsigned power = 1;
    for (int n = 0; n < digits; n++, power *= 3)
        for (int i = 0; i < width; i++) {
            uint16_t fraction = (uint16_t)(bytes[i] * power & 0xffu);
            trits[n * width + i] = (int8_t)((fraction * 3 >> 8) - 1);
        }
    return largest < scale;
}

static inline void pack_base3(const int8_t *trits, int width, int digits, uint8_t *bytes)
{
    for (int i = 0; i < width; i++) {
        unsigned value = 0;
        for (int n = 0; n < digits; n++) value = value * 3 + (unsigned)(trits[n * width + i] + 1);
        if (digits == 4) value *= 3;
        bytes[i] = (uint8_t)((value * 256 + 242) / 243);
    }
}

static bool unpack_tq1_0(const uint8_t *block, int8_t *trits)
{
    bool wide = unpack_base3(block, 32, 5, trits),
         narrow = unpack_base3(block + 32, 16, 5, trits + 160);
    return unpack_base3(block + 48, 4, 4, trits + 240) && wide && narrow;
}

static void pack_tq1_0(const int8_t *trits, uint8_t *block)
{
    pack_base3(trits, 32, 5, block);
    pack_base3(trits + 160, 16, 5, block + 32);
    pack_base3(trits + 240, 4, 4, block + 48);
}

static bool unpack_ptq1_0(const uint8_t *block, int8_t *trits)
{
    bool wide = unpack_base3(block, 16, 5, trits),
         narrow = unpack_base3(block + 16, 8, 5, trits + 80);
    return unpack_base3(block + 24, 2, 4, trits + 120) && wide && narrow;
}

static void pack_ptq1_0(const int8_t *trits, uint8_t *block)
{
    pack_base3(trits, 16, 5, block);
    pack_base3(trits + 80, 8, 5, block + 16);
    pack_base3(trits + 120, 2, 4, block + 24);
}

/* ---- the table ---- */

const sterna_trit_layout *sterna_trit_layout_of(sterna_type type)
{
    static const sterna_trit_layout layouts[STERNA_TYPES] = {
        [STERNA_TYPE_Q1_0] = {128, 18, 0, unpack_q1_0, NULL},
        [STERNA_TYPE_TQ1_0] = {256, 54, 52, unpack_tq1_0, pack_tq1_0},
        [STERNA_TYPE_TQ2_0] = {256, 66, 64, unpack_tq2_0, pack_tq2_0},
        [STERNA_TYPE_Q2_0] = {64, 18, 0, unpack_q2_0, pack_q2_0},
        [STERNA_TYPE_Q2_0_G128] = {128, 34, 0, unpack_pq2_0, NULL},
        [STERNA_TYPE_PQ2_0] = {128, 34, 0, unpack_pq2_0, pack_pq2_0},
        [STERNA_TYPE_PTQ1_0] = {128, 28, 26, unpack_ptq1_0, pack_ptq1_0},
    };
    return layouts[type].unpack ? &layouts[type] : NULL;
}

/* ---- whole-tensor layouts ---- */

/* Code 3, which nobody writes, reads as 0 in BitNet's own decoder. */
static bool zero_threes(int8_t *trits, size_t cols)
{
    for (size_t i = 0; i < cols; i++)
        if (trits[i] == 2) trits[i] = 0;
    return false;
}

/* Blocks of four runs, the first run in the top bits. */
static inline unsigned unpack_runs(const uint8_t *bytes, size_t cols, size_t width, int8_t *trits)
{
    unsigned threes = 0;
    for (size_t at = 0; at < cols; at += 4 * width, bytes += width)
        for (size_t f = 0; f < 4; f++)
            threes |= unpack_run(bytes, width, 6 - 2 * (int)f, trits + at + f * width);
    return threes;
}

bool sterna_unpack_i2s(const sterna_tensor *tensor, uint64_t row, int8_t *trits)
{
    size_t cols = (size_t)tensor->dims[0];
    unsigned threes = 0;
    if (tensor->order == STERNA_I2S_X86_ROWS4) {   /* row 4g + f in bits 6 - 2f of row group g */
        if (sterna_tensor_rows(tensor) % 4 != 0) { /* no such tensor can exist */
            memset(trits, 0, cols);
            return false;
        }
        threes = unpack_run(tensor->data + row / 4 * cols, cols, 6 - 2 * (int)(row % 4), trits);
    } else {
        const uint8_t *bytes = tensor->data + row * (cols / 4);
        threes = tensor->order == STERNA_I2S_ARM ? unpack_runs(bytes, cols, 16, trits)
                                                 : unpack_runs(bytes, cols, 32, trits);
    }
    return threes == 0 || zero_threes(trits, cols);
}

/* Byte (r, c) holds rows r, r + R/4, r + 2R/4, r + 3R/4 in bits 0, 2, 4, 6. */
bool sterna_unpack_bitnet(const sterna_tensor *tensor, uint64_t row, int8_t *trits)
{
    uint64_t cols = tensor->dims[0], quarter = sterna_tensor_rows(tensor) / 4;
    const uint8_t *bytes = tensor->data + row % quarter * cols;
    return unpack_run(bytes, (size_t)cols, 2 * (int)(row / quarter), trits) == 0;
}
