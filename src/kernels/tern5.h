/* Where things are in a panel of tern5 (kernels.h): three trits in five bits. What ref/, x86/ and
 * the device's packing share.
 *
 * A trio is three runs of columns that stand side by side: the code of column c of the first run,
 * c of the second and c of the third is a + 3 b + 9 c. Runs are segments where a row has
 * several, so that a field's three products belong to three sums; a row that is one segment is one
 * trio. What is left of the columns are lines of tern2 behind the last trio.
 *
 * 32 columns of the runs are a block of five lines: byte 4r + c of lines 0..3 holds the low four
 * bits of the codes of columns 8 * line + c (low half) and 8 * line + 4 + c (high half) of row r;
 * bit (j + 4) % 8 of byte 4r + c of the fifth is the high bit of column 4j + c.
 */
#ifndef STERNA_KERNELS_TERN5_H
#define STERNA_KERNELS_TERN5_H

#include <stddef.h>
#include <stdint.h>

enum {
    TERN5_COLS = 32,      /* of a run, in a block */
    TERN5_BYTES = 5 * 64, /* of a block */
    TERN5_FIELDS = 8,     /* of a block: 4 columns x 16 rows x 3 runs each */
    TERN5_HIGH = 4 * 64,  /* where the high bits of a block are */
};

typedef struct tern5_map {
    size_t run;   /* columns of a run; a multiple of 32 where there are trios */
    size_t trios; /* how many */
} tern5_map;

/* `segment` is a multiple of 32 or there is only one. */
static inline tern5_map tern5_map_of(size_t cols, size_t segment, size_t segments)
{
    size_t run = segments == 1 ? cols / (3 * TERN5_COLS) * TERN5_COLS : segment;
    return (tern5_map){run, segments == 1 ? run != 0 : cols / segment / 3};
}

static inline size_t tern5_trio_bytes(tern5_map map)
{
    return map.run / TERN5_COLS * TERN5_BYTES;
}

/* Columns that are in trios; the lines of tern2 begin with the next one. */
static inline size_t tern5_trio_cols(tern5_map map)
{
    return 3 * map.run * map.trios;
}

static inline size_t tern5_panel_bytes(tern5_map map, size_t cols)
{
    return map.trios * tern5_trio_bytes(map) + (cols - tern5_trio_cols(map)) / 16 * 64;
}

/* The code of row r, column k of a panel: its trit + 1. */
static inline int32_t tern5_code(const uint8_t *panel, tern5_map map, size_t r, size_t k)
{
    if (k >= tern5_trio_cols(map)) {
        panel += map.trios * tern5_trio_bytes(map);
        k -= tern5_trio_cols(map);
        return panel[k / 16 * 64 + 4 * r + k % 4] >> 2 * (k % 16 / 4) & 3;
    }
    size_t trio = k / (3 * map.run), run = k / map.run % 3, c = k % map.run;
    size_t field = c % TERN5_COLS / 4, byte = 4 * r + c % 4;
    panel += trio * tern5_trio_bytes(map) + c / TERN5_COLS * TERN5_BYTES;
    int32_t low = panel[field / 2 * 64 + byte] >> 4 * (field % 2) & 15;
    int32_t code = low | (panel[TERN5_HIGH + byte] >> (field + 4) % 8 & 1) << 4;
    return run == 0 ? code % 3 : run == 1 ? code / 3 % 3 : code / 9;
}

#endif
