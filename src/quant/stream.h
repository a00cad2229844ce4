/* A model's tensors on their way from one file to another: every tensor is an item with a verb, and
 * one loop moves them all, a few megabytes at a time, over the rows in parallel.
 *
 * Threads: rows are independent and every sum is taken in row order, so the output does not depend
 * on their number.
 */
#ifndef STERNA_QUANT_STREAM_H
#define STERNA_QUANT_STREAM_H

#include "formats/writer.h"
#include "quant/fit.h"
#include "ternary/native.h"

typedef enum sterna_verb {
    STERNA_VERB_COPY,    /* the stored bytes */
    STERNA_VERB_ENCODE,  /* rows to float, then to a float type or Q8_0 */
    STERNA_VERB_CONVERT, /* ternary to ternary, exactly */
    STERNA_VERB_FIT,  /* rows to float, then to trits and scales (or to floats that say the same) */
    STERNA_VERB_READY /* rows that were made before: `packed` */
} sterna_verb;

typedef struct sterna_item {
    const sterna_tensor *tensor;
    const char *name; /* in the output */
    sterna_type from; /* in the model that is quantized: the tensor's, or what that was made of */
    sterna_type type; /* in the output */
    sterna_verb verb;
    uint32_t pair_heads; /* head_dim: rows of each head go from halves to adjacent pairs; 0: as
                            they are */
    float shift;         /* ENCODE: added to every weight */
    const char *note;    /* for the receipt; NULL = nothing to say */
    /* Of FIT and READY: the columns that share a scale (form.group; 0 = all of the tensor), the
     * code of NATIVE, and what stands beside scale * trit. Of COPY: the source's. */
    sterna_native form;
    /* READY: the rows in the type of the output and the order of the source, then the parts of
     * `form`; sterna_export_close releases it */
    uint8_t *packed;
    /* set by sterna_stream_write, or by who made it READY */
    bool measured; /* the result is known */
    sterna_fit_result result;
    double sensitivity; /* nats a token that the predictions move when only this matrix becomes
                           ternary; 0 = not measured */
} sterna_item;

typedef struct sterna_stream {
    const sterna_model_file *file;
    sterna_model_writer *writer;
    sterna_fit_method method;
    bool round_scales; /* CONVERT */
    bool finite;       /* copied and encoded floats are checked too: NaN and infinity refused */
    int threads;       /* >= 1 */
    const char *stage; /* for progress, which counts bytes of the source */
    sterna_progress progress; /* may be NULL */
    void *progress_context;
} sterna_stream;

/* ---- a matrix fitted elsewhere ----
 *
 * A fit of any kind fills an item in three steps:
 *   1. It decides the form. form.group is planned already (sterna_item_group, from the option
 *      --group); where it wants them it sets form.shifted = true, form.code2 = STERNA_CODE_BASE3 (a
 * second plane), form.outliers = how many columns stay in int8. These work for NATIVE and beside
 * every standard layout alike; with none of them the file holds a plain ternary tensor.
 *   2. sterna_item_prepare makes room for all rows, which are zeros, and the item READY.
 *   3. sterna_item_store puts rows there, each with one scale (shift, second scale) for every
 *      form.group columns. weight = scale trit + shift + scale2 trit2 + outlier, so that an outlier
 *      is stored less its group's shift, and its trits must be 0.
 * At any time sterna_item_output is the matrix as it is now, to be run (weight_load,
 * sterna_tensor_row) or read back (sterna_tensor_row_trits, _shifts, _plane2, _outliers) and stored
 * again with, say, other scales. Scales and shifts are rounded to float16 when they are stored:
 * round first (sterna_fit_round) what further fitting relies on. */

/* Plans a plain form: `group` columns share a scale; 0: all of the tensor (then NATIVE holds the
 * scale as float32). */
void sterna_item_group(sterna_item *item, uint64_t group);
/* Is the output ternary with parts of its own? */
bool sterna_item_has_parts(const sterna_item *item);
/* `columns` [form.outliers], ascending, borrowed for the call; NULL without outliers. */
sterna_status sterna_item_prepare(sterna_item *item, const uint32_t *columns, sterna_error *err);
/* Room for the item's output and all its bytes at once: what sterna_item_prepare and
 * sterna_item_store made before, in the same form. */
sterna_status sterna_item_restore(sterna_item *item, const uint8_t *bytes, sterna_error *err);
void sterna_item_store(sterna_item *item, uint64_t row, const sterna_ternary_row *values);
/* Plans the form in which NATIVE holds an item's ternary source exactly. */
void sterna_item_plan_native(sterna_item *item);
/* Makes it READY. Fails where a code is no trit or a scale not finite. */
sterna_status sterna_item_to_native(sterna_item *item, sterna_error *err);

/* The row of the source (of a vector: the element) that becomes row `row` of the output. */
uint64_t sterna_item_source_row(const sterna_item *item, uint64_t row);
/* Bytes of an item in the output, with all parts. */
uint64_t sterna_item_bytes(const sterna_item *item);
/* The tensor that the output holds; its data are those of `packed`, borrowed. */
sterna_tensor sterna_item_output(const sterna_item *item);

/* Refuses weights of an item to be fitted or copied that are not finite or exceed float16, naming
 * tensor and row: before long work starts. */
sterna_status sterna_item_check(const sterna_item *item, int threads, sterna_error *err);

/* Declares all items, then writes them in order. Refuses weights that are not finite or exceed the
 * target type, naming tensor and row. */
sterna_status sterna_stream_write(const sterna_stream *stream, sterna_item *items, size_t count,
                                  sterna_error *err);

#endif
