/* Where things are in a record: 16 rows' K blocks of 256 columns, interleaved by words of four
 * bytes (kernels.h). What ref/, x86/ and arm/ share.
 *
 * A group of lines holds `fields` segments, one in each field of its bytes; the segments of a
 * record are added group by group, field by field. Word numbers, one line each:
 *   Q4_K  0 d and dmin, 1-3 scales, 4-35 codes (8 a group: segments 2g in low, 2g + 1 in high
 *         halves)
 *   Q5_K  0 d and dmin, 1-3 scales, 4-11 fifth bits, 12-43 codes as Q4_K
 *   Q6_K  0-31 low four bits, 32-47 high two bits, 48-51 scales, 52 d; group g = 2 * half + side
 *         is columns 128 * half + 16 * side + 32 * field .. + 15 of each field
 */
#ifndef STERNA_KERNELS_K_BLOCKS_H
#define STERNA_KERNELS_K_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

typedef enum k_layout { Q4K, Q5K, Q6K } k_layout;

enum { K_COLS = 256, K_GROUPS = 4 };

static inline size_t k_record_bytes(k_layout L)
{
    return L == Q4K ? 36 * 64 : L == Q5K ? 44 * 64 : 53 * 64;
}

/* Columns that share a scale. */
static inline size_t k_segment_cols(k_layout L)
{
    return L == Q6K ? 16 : 32;
}

static inline size_t k_fields(k_layout L)
{
    return L == Q6K ? 4 : 2;
}

/* The segment of a group's field. */
static inline size_t k_segment(k_layout L, size_t group, size_t field)
{
    return L == Q6K ? 8 * (group / 2) + 2 * field + group % 2 : 2 * group + field;
}

/* The code of a zero weight. */
static inline int32_t k_zero(k_layout L)
{
    return L == Q6K ? 32 : 0;
}

#endif
