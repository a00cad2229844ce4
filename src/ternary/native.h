/* Sterna's own form of a ternary matrix: parts that are plain arrays beside each other.
 *
 *   weight = scale * trit + shift + scale2 * trit2 + outlier
 *
 * trits in any group size (the last group of a row may be shorter), an optional shift per group, an
 * optional second plane with scales of its own, optional outlier columns in int8. The same parts
 * may stand beside a tensor of another ternary type, which then gives scale * trit. docs/FORMAT.md
 * has every byte.
 *
 * A row of codes is ceil(cols / 5) bytes of five base-3 digits, or ceil(cols / 4) bytes of four
 * two-bit codes: B bytes, whose digit n of byte i is column n B + i, so that digits of many bytes
 * are taken at once. Base-3 bytes are those of TQ1_0 (trit_blocks.c).
 */
#ifndef STERNA_TERNARY_NATIVE_H
#define STERNA_TERNARY_NATIVE_H

#include "ternary/tensor.h"

enum {
    STERNA_NATIVE_VERSION = 1,
    STERNA_NATIVE_HEADER = 8, /* int32 values in NAME.layout */
    STERNA_OUTLIER_GROUP = 32 /* outlier columns that share a scale in a row */
};

typedef enum sterna_trit_code {
    STERNA_CODE_NONE, /* of the first plane: the tensor NAME has a ternary type; second: no plane */
    STERNA_CODE_BASE3,
    STERNA_CODE_TWO_BIT
} sterna_trit_code;

typedef enum sterna_part_kind {
    STERNA_PART_CODES,           /* I8 [rows][row bytes] */
    STERNA_PART_SCALES,          /* F16 [rows][groups] (F32 where `wide`) */
    STERNA_PART_SHIFTS,          /* F16 [rows][groups] */
    STERNA_PART_CODES2,          /* I8 [rows][row bytes] */
    STERNA_PART_SCALES2,         /* F16 [rows][groups] */
    STERNA_PART_OUTLIER_COLUMNS, /* I32 [outliers], ascending */
    STERNA_PART_OUTLIERS,        /* I8 [rows][outliers] */
    STERNA_PART_OUTLIER_SCALES,  /* F16 [rows][ceil(outliers / 32)] */
    STERNA_PARTS
} sterna_part_kind;

/* What parts a matrix has, and where they are. */
struct sterna_native {
    sterna_trit_code code, code2;
    uint32_t group;    /* columns that share a scale; 0: one scale for the whole tensor */
    bool wide;         /* one scale per row or tensor may be float32 */
    bool shifted;      /* there is a shift for every scale */
    uint32_t outliers; /* columns held in int8; their trits are 0 */
    const uint8_t *part[STERNA_PARTS]; /* any alignment; NULL where there is none */
};

#define STERNA_NATIVE_HEADER_SUFFIX ".layout"
/* ".codes", ... : what stands behind the matrix's name. */
const char *sterna_part_suffix(sterna_part_kind kind);
/* Type, dimensions and bytes of a part of `matrix` (dims and native are read), its data where the
 * parts are bound; false where it has none, or where sizes overflow. */
bool sterna_native_part(const sterna_tensor *matrix, sterna_part_kind kind, sterna_tensor *out);
/* Bytes of all parts and the header. */
uint64_t sterna_native_bytes(const sterna_tensor *matrix);
/* The values of NAME.layout. */
void sterna_native_header(const sterna_tensor *matrix, int32_t header[STERNA_NATIVE_HEADER]);
/* Lays the parts, in their order, into one block of sterna_native_bytes. */
void sterna_native_bind(const sterna_tensor *matrix, sterna_native *native, uint8_t *block);

/* Scales of a row: 1 where the row or the tensor has one. */
size_t sterna_native_groups(const sterna_native *native, uint64_t cols);

/* A row in full. What the matrix has no part for is not looked at. */
typedef struct sterna_ternary_row {
    const int8_t *trits;         /* [cols]; 0 in outlier columns */
    const float *scales;         /* [groups], rounded to float16 (unless wide) */
    const float *shifts;         /* [groups] */
    const int8_t *trits2;        /* [cols]; 0 in outlier columns */
    const float *scales2;        /* [groups] */
    const float *outliers;       /* [outliers]: weights less the shift, stored as int8 with one
                                    scale, absmax / 127, for 32 of them */
    const int8_t *outlier_codes; /* or, where outliers is NULL, as they are stored */
    const float *outlier_scales;
} sterna_ternary_row;

/* Row `row` into parts laid by sterna_native_bind at `block`. A tensor with one scale takes it from
 * every row. */
void sterna_native_store(const sterna_tensor *matrix, uint8_t *block, uint64_t row,
                         const sterna_ternary_row *values);

/* ---- reading, for any ternary tensor ---- */

/* Trits and scales say all: no shift, second plane or outlier column. */
bool sterna_tensor_is_plain(const sterna_tensor *tensor);
/* As sterna_tensor_row_trits for the second plane; zeros where there is none. */
bool sterna_tensor_row_plane2(const sterna_tensor *tensor, uint64_t row, int8_t *trits,
                              float *scales);
/* One shift per group of sterna_tensor_group; zeros where there is none. */
void sterna_tensor_row_shifts(const sterna_tensor *tensor, uint64_t row, float *shifts);
/* How many outlier columns; the columns; a row's codes[outliers] and scales[ceil(outliers / 32)].
 */
uint32_t sterna_tensor_outliers(const sterna_tensor *tensor);
void sterna_tensor_outlier_columns(const sterna_tensor *tensor, uint32_t *columns);
void sterna_tensor_row_outliers(const sterna_tensor *tensor, uint64_t row, int8_t *codes,
                                float *scales);

/* ---- for tensor.c ---- */

bool sterna_native_row_trits(const sterna_tensor *tensor, uint64_t row, int8_t *trits,
                             float *scales);
/* scale * trit. */
void sterna_native_row(const sterna_tensor *tensor, uint64_t row, float *out);
/* Adds shift, second plane and outliers. */
void sterna_native_add(const sterna_tensor *tensor, uint64_t row, float *out);

#endif
