/* Panels of ggml's K blocks (Q4_K, Q5_K, Q6_K): the blocks of 16 rows interleaved by words of four
 * bytes, so that a matrix takes the bytes that it has in the file and nothing is lost. A Q6_K block
 * is half a word short of whole words.
 */
#include <string.h>

#include "device/device_cpu.h"

enum { BLOCK_COLS = 256, MOST_WORDS = 53 };

static const struct k_type {
    sterna_cpu_layout layout;
    sterna_type type;
    size_t group, block_bytes;
    size_t halves[2]; /* where the float16 factors are */
} k_types[] = {
    {STERNA_LAYOUT_Q4K, STERNA_TYPE_Q4_K, 32, 144, {0, 2}},
    {STERNA_LAYOUT_Q5K, STERNA_TYPE_Q5_K, 32, 176, {0, 2}},
    {STERNA_LAYOUT_Q6K, STERNA_TYPE_Q6_K, 16, 210, {208, 208}},
};

bool sterna_cpu_k_layout(sterna_type type, sterna_weight *weight)
{
    for (size_t i = 0; i < sizeof k_types / sizeof *k_types; i++) {
        if (k_types[i].type != type) continue;
        weight->layout = k_types[i].layout;
        weight->group = k_types[i].group;
        return true;
    }
    return false;
}

bool sterna_cpu_is_k(sterna_cpu_layout layout)
{
    return layout >= STERNA_LAYOUT_Q4K && layout <= STERNA_LAYOUT_Q6K;
}

static bool half_is_finite(const uint8_t *at)
{
    return (at[1] & 0x7c) != 0x7c;
}

/* The block of one row as lane `lane` of a record. */
static void store_block(const uint8_t *block, size_t bytes, size_t lane, uint8_t *record)
{
    uint8_t *out = record + 4 * lane;
    size_t whole = bytes / 4 * 4;
    for (size_t i = 0; i < whole; i += 4, out += 4 * STERNA_PANEL) memcpy(out, block + i, 4);
    if (whole == bytes) return;
    uint8_t last[4] = {0};
    memcpy(last, block + whole, 2);
    memcpy(out, last, 4);
}

bool sterna_cpu_k_pack(const sterna_weight *weight, const uint8_t *const rows[STERNA_PANEL],
                       uint8_t *out, size_t *bad)
{
    static const uint8_t zeros[MOST_WORDS * 4];
    const struct k_type *type = &k_types[weight->layout - STERNA_LAYOUT_Q4K];
    size_t blocks = weight->cols / BLOCK_COLS, record = weight->panel_bytes / blocks;
    for (size_t b = 0; b < blocks; b++, out += record)
        for (size_t lane = 0; lane < STERNA_PANEL; lane++) {
            const uint8_t *block = rows[lane] ? rows[lane] + b * type->block_bytes : zeros;
            if (!half_is_finite(block + type->halves[0]) ||
                !half_is_finite(block + type->halves[1])) {
                *bad = lane;
                return false;
            }
            store_block(block, type->block_bytes, lane, out);
        }
    return true;
}

void sterna_cpu_k_unpack_row(const sterna_weight *weight, size_t r, float *out)
{
    const struct k_type *type = &k_types[weight->layout - STERNA_LAYOUT_Q4K];
    size_t blocks = weight->cols / BLOCK_COLS, record = weight->panel_bytes / blocks;
    const uint8_t *at = weight->codes + r / STERNA_PANEL * weight->panel_bytes;
    at += 4 * (r % STERNA_PANEL);
    uint8_t block[MOST_WORDS * 4];
    sterna_tensor tensor = {.type = type->type, .dims = {BLOCK_COLS, 1, 1, 1}, .data = block};
    for (size_t b = 0; b < blocks; b++, at += record, out += BLOCK_COLS) {
        for (size_t word = 0; 4 * word < type->block_bytes; word++)
            memcpy(block + 4 * word, at + 4 * STERNA_PANEL * word, 4);
        sterna_tensor_row(&tensor, 0, out);
    }
}
