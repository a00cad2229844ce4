#include "quant/stream.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "quant/fitted.h"

enum { CHUNK_WEIGHTS = 1 << 21, TENSOR_FIT_ROUNDS = 24 };

typedef enum row_fault { ROW_FINE, ROW_NOT_FINITE, ROW_TOO_LARGE } row_fault;

/* One item's loop: buffers for a chunk of rows, and for each thread a row. */
typedef struct loop {
    const sterna_stream *stream;
    sterna_item *item;
    size_t cols, row_bytes, group;    /* row_bytes: in `out`, 0 where rows go into the item */
    uint64_t rows, chunk;             /* rows in all, at a time */
    double tensor_scale, tensor_mean; /* FIT with one scale per tensor; of its magnitudes */
    uint8_t *out;                     /* [chunk][row_bytes] */
    sterna_fit_result *results;       /* [chunk] */
    sterna_fit_part *parts;           /* [chunk] */
    uint8_t *faults;                  /* [chunk] */
    float *row, *work;                /* [threads][cols] each */
    float *scales;                    /* [threads][2][cols]: scales, shifts */
    int8_t *trits;                    /* [threads][cols] */
} loop;

/* Pair j of a head is made of its elements j and j + head_dim / 2. */
uint64_t sterna_item_source_row(const sterna_item *item, uint64_t row)
{
    uint64_t head = item->pair_heads;
    if (head == 0) return row;
    uint64_t inside = row % head;
    return row - inside + inside / 2 + inside % 2 * (head / 2);
}

/* The largest magnitude that a type can hold; a hair more rounds to infinity. */
static float type_limit(sterna_type type)
{
    if (type == STERNA_TYPE_F16) return 65519.0f;
    if (type == STERNA_TYPE_Q8_0) return 65519.0f * 127.0f;
    return type == STERNA_TYPE_BF16 ? 0x1.fep127f : FLT_MAX;
}

static row_fault check_row(const loop *l, float largest)
{
    bool moved = l->item->verb == STERNA_VERB_ENCODE && !l->stream->finite;
    if (!isfinite(largest)) /* floats that only change their width keep what they are */
        return moved && l->item->type != STERNA_TYPE_Q8_0 ? ROW_FINE : ROW_NOT_FINITE;
    return largest > type_limit(l->item->type) ? ROW_TOO_LARGE : ROW_FINE;
}

/* The same order within a row: vectors that belong to such rows (biases). */
static void pair_columns(const loop *l, float *row, float *work)
{
    memcpy(work, row, l->cols * sizeof *row);
    for (size_t i = 0; i < l->cols; i++) row[i] = work[sterna_item_source_row(l->item, i)];
}

/* ---- one row ---- */

/* Rows go into the item's memory, because its parts do not lie row by row in the file. */
static bool is_packed(const sterna_item *item)
{
    return item->verb == STERNA_VERB_FIT &&
           sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
}

static void measure_encoded(const loop *l, const float *row, const uint8_t *bytes, float *again,
                            sterna_fit_result *result)
{
    sterna_tensor tensor = {.type = l->item->type, .dims = {l->cols, 1, 1, 1}, .data = bytes};
    sterna_tensor_row(&tensor, 0, again);
    double error = 0, energy = 0;
    for (size_t i = 0; i < l->cols; i++) {
        float rest = row[i] - again[i];
        error += (double)(rest * rest);
        energy += (double)(row[i] * row[i]);
    }
    result->error = error;
    result->energy = energy;
}

static row_fault encode_row(const loop *l, const float *row, float *work, uint8_t *out,
                            sterna_fit_result *result)
{
    row_fault fault = check_row(l, sterna_fit_magnitudes(row, l->cols, work));
    if (fault) return fault;
    sterna_type_encode(l->item->type, row, l->cols, out);
    if (l->item->type != STERNA_TYPE_F32) measure_encoded(l, row, out, work, result);
    return ROW_FINE;
}

static row_fault fit_row(const loop *l, uint64_t to, const float *row, float *work, float *scales,
                         int8_t *trits, uint8_t *out, sterna_fit_result *result)
{
    sterna_fit_method method = l->stream->method;
    bool packed = is_packed(l->item);
    if (!isfinite(sterna_fit_magnitudes(row, l->cols, work))) return ROW_NOT_FINITE;
    double scale = l->tensor_scale, mean = l->tensor_mean;
    for (size_t at = 0; at < l->cols; at += l->group) {
        size_t count = l->cols - at < l->group ? l->cols - at : l->group;
        if (l->item->form.group) {
            mean = sterna_fit_above(work + at, count, 0).sum / (double)count;
            scale = sterna_fit_scale(method, work + at, count);
        }
        float stored = packed && !l->item->form.wide ? sterna_fit_round(scale) : (float)scale;
        if (!isfinite(stored)) return ROW_TOO_LARGE;
        float threshold = sterna_fit_threshold(method, mean, scale, stored);
        if (stored == 0) threshold = INFINITY; /* nothing to multiply */
        scales[at / l->group] = stored;
        sterna_fit_assign(row + at, count, stored, threshold, trits + at, result);
    }
    if (packed) {
        const sterna_ternary_row values = {.trits = trits, .scales = scales};
        sterna_item_store(l->item, to, &values);
    } else {
        for (size_t i = 0; i < l->cols; i++) work[i] = (float)trits[i] * scales[i / l->group];
        sterna_type_encode(l->item->type, work, l->cols, out);
    }
    return ROW_FINE;
}

/* With a shift for every group: iterative ternary fitting. */
static row_fault fit_shifted_row(const loop *l, uint64_t to, const float *row, float *work,
                                 float *scales, int8_t *trits, sterna_fit_result *result)
{
    const sterna_levels levels = {-1, 1, false, true};
    float *shifts = scales + l->cols;
    if (!isfinite(sterna_fit_magnitudes(row, l->cols, work))) return ROW_NOT_FINITE;
    for (size_t at = 0; at < l->cols; at += l->group) {
        size_t count = l->cols - at < l->group ? l->cols - at : l->group;
        sterna_grid grid = sterna_grid_fit(&levels, row + at, count, work);
        if (!isfinite(grid.scale) || !isfinite(grid.shift)) return ROW_TOO_LARGE;
        scales[at / l->group] = grid.scale;
        shifts[at / l->group] = grid.shift;
        for (size_t i = at; i < at + count; i++) {
            sterna_level level = sterna_level_nearest(&levels, &grid, row[i]);
            double rest = (double)row[i] - (double)level.value;
            trits[i] = level.code;
            result->error += rest * rest;
            result->energy += (double)row[i] * (double)row[i];
            result->zeros += level.code == 0;
        }
    }
    const sterna_ternary_row values = {.trits = trits, .scales = scales, .shifts = shifts};
    sterna_item_store(l->item, to, &values);
    return ROW_FINE;
}

static row_fault make_row(const loop *l, uint64_t row, uint64_t in_chunk)
{
    const sterna_item *item = l->item;
    size_t mine = (size_t)omp_get_thread_num() * l->cols;
    uint8_t *out = l->out + in_chunk * l->row_bytes;
    sterna_fit_result *result = &l->results[in_chunk];
    memset(result, 0, sizeof *result);
    uint64_t from = l->rows > 1 ? sterna_item_source_row(item, row) : row;
    float *values = l->row + mine;
    sterna_tensor_row(item->tensor, from, values);
    if (item->verb == STERNA_VERB_FIT && item->form.shifted)
        return fit_shifted_row(l, row, values, l->work + mine, l->scales + 2 * mine,
                               l->trits + mine, result);
    if (item->verb == STERNA_VERB_FIT)
        return fit_row(l, row, values, l->work + mine, l->scales + 2 * mine, l->trits + mine, out,
                       result);
    if (item->pair_heads && l->rows == 1) pair_columns(l, values, l->work + mine);
    if (item->shift != 0)
        for (size_t i = 0; i < l->cols; i++) values[i] += item->shift;
    return encode_row(l, values, l->work + mine, out, result);
}

/* ---- one tensor ---- */

static sterna_status report(const sterna_stream *stream, double done, double total,
                            sterna_error *err)
{
    if (!stream->progress || stream->progress(stream->progress_context, stream->stage, done, total))
        return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_CANCELLED, "%s was cancelled; nothing was written",
                       stream->stage);
}

static sterna_status fail_row(const loop *l, uint64_t row, row_fault fault, sterna_error *err)
{
    const char *name = l->item->tensor->name;
    if (fault == ROW_NOT_FINITE)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "tensor '%s', row %" PRIu64 " holds a weight that is not a finite "
                           "number (NaN or infinity); the model is damaged",
                           name, row);
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "tensor '%s', row %" PRIu64 " holds weights too large for %s; choose F32 or "
                       "BF16 for it",
                       name, row, sterna_type_describe(l->item->type)->name);
}

/* The first faulty row of a chunk of `rows` from `first`, as an error. */
static sterna_status check_faults(const loop *l, uint64_t first, uint64_t rows, sterna_error *err)
{
    for (uint64_t i = 0; i < rows; i++)
        if (l->faults[i])
            return fail_row(l, l->rows > 1 ? sterna_item_source_row(l->item, first + i) : 0,
                            (row_fault)l->faults[i], err);
    return STERNA_OK;
}

/* Sum and count of all magnitudes of at least `threshold`, in row order. */
static sterna_status sum_tensor(loop *l, float threshold, sterna_fit_part *part, sterna_error *err)
{
    *part = (sterna_fit_part){0, 0};
    for (uint64_t first = 0; first < l->rows; first += l->chunk) {
        uint64_t rows = l->rows - first < l->chunk ? l->rows - first : l->chunk;
#pragma omp parallel for schedule(dynamic, 8) num_threads(l->stream->threads)
        for (uint64_t i = 0; i < rows; i++) {
            float *row = l->row + (size_t)omp_get_thread_num() * l->cols;
            sterna_tensor_row(l->item->tensor, first + i, row);
            float largest = sterna_fit_magnitudes(row, l->cols, row);
            l->faults[i] = (uint8_t)(isfinite(largest) ? ROW_FINE : ROW_NOT_FINITE);
            l->parts[i] = sterna_fit_above(row, l->cols, threshold);
        }
        sterna_status status = check_faults(l, first, rows, err);
        if (status) return status;
        for (uint64_t i = 0; i < rows; i++) {
            part->sum += l->parts[i].sum;
            part->count += l->parts[i].count;
        }
    }
    return STERNA_OK;
}

/* One scale for the whole tensor. Least squares: iterative ternary fitting from 0.75 mean|w|, until
 * the scale moves by less than float16 shows. */
static sterna_status fit_tensor(loop *l, sterna_error *err)
{
    sterna_fit_part part;
    sterna_status status = sum_tensor(l, 0, &part, err);
    if (status || part.count == 0) return status;
    double scale = part.sum / (double)part.count;
    l->tensor_mean = scale;
    if (l->stream->method == STERNA_FIT_TWN) {
        status = sum_tensor(l, sterna_fit_threshold(STERNA_FIT_TWN, scale, 0, 0), &part, err);
        if (status) return status;
        scale = part.sum / (double)part.count;
    }
    if (l->stream->method == STERNA_FIT_ITF) {
        float threshold = (float)(0.75 * scale);
        for (int round = 0; round < TENSOR_FIT_ROUNDS; round++) {
            status = sum_tensor(l, threshold, &part, err);
            if (status) return status;
            if (part.count == 0) break; /* all below: cannot happen while scale is a mean of some */
            double next = part.sum / (double)part.count;
            bool settled = fabs(next - scale) <= scale * 1e-4;
            scale = next;
            threshold = (float)(0.5 * scale);
            if (settled) break;
        }
    }
    l->tensor_scale = scale;
    return STERNA_OK;
}

static sterna_status write_rows(loop *l, double *done, double total, sterna_error *err)
{
    const sterna_stream *stream = l->stream;
    double per_row = l->rows ? (double)l->item->tensor->bytes / (double)l->rows : 0;
    for (uint64_t first = 0; first < l->rows; first += l->chunk) {
        uint64_t rows = l->rows - first < l->chunk ? l->rows - first : l->chunk;
#pragma omp parallel for schedule(dynamic, 8) num_threads(stream->threads)
        for (uint64_t i = 0; i < rows; i++) l->faults[i] = (uint8_t)make_row(l, first + i, i);
        sterna_status status = check_faults(l, first, rows, err);
        for (uint64_t i = 0; i < rows; i++) {
            l->item->result.error += l->results[i].error;
            l->item->result.energy += l->results[i].energy;
            l->item->result.zeros += l->results[i].zeros;
        }
        if (!status && l->row_bytes)
            status =
                sterna_model_writer_data(stream->writer, l->out, (size_t)rows * l->row_bytes, err);
        *done += per_row * (double)rows;
        if (!status) status = report(stream, *done, total, err);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_status run_loop(loop *l, double *done, double total, sterna_error *err)
{
    size_t threads = (size_t)l->stream->threads, chunk = (size_t)l->chunk, values;
    if (!sterna_mul_size(threads, l->cols, &values)) return sterna_fail_memory(err, "rows");
    l->out = sterna_alloc(chunk, l->row_bytes);
    l->results = sterna_alloc(chunk, sizeof *l->results);
    l->parts = sterna_alloc(chunk, sizeof *l->parts);
    l->faults = sterna_alloc(chunk, 1);
    l->row = sterna_alloc(values, sizeof *l->row);
    l->work = sterna_alloc(values, sizeof *l->work);
    l->scales = sterna_alloc(values, 2 * sizeof *l->scales);
    l->trits = sterna_alloc(values, 1);
    sterna_status status = STERNA_OK;
    if (!l->out || !l->results || !l->parts || !l->faults || !l->row || !l->work || !l->scales ||
        !l->trits)
        status = sterna_fail_memory(err, "the rows of a tensor");
    if (!status && l->item->verb == STERNA_VERB_FIT && !l->item->form.group)
        status = fit_tensor(l, err);
    if (!status) status = write_rows(l, done, total, err);
    sterna_free(l->out);
    sterna_free(l->results);
    sterna_free(l->parts);
    sterna_free(l->faults);
    sterna_free(l->row);
    sterna_free(l->work);
    sterna_free(l->scales);
    sterna_free(l->trits);
    return status;
}

/* `rows` rows of `row_bytes` each, in the order of the source. */
static sterna_status write_in_order(const sterna_stream *stream, const sterna_item *item,
                                    const uint8_t *data, uint64_t rows, size_t row_bytes,
                                    sterna_error *err)
{
    if (item->pair_heads == 0)
        return sterna_model_writer_data(stream->writer, data, (size_t)rows * row_bytes, err);
    sterna_status status = STERNA_OK;
    for (uint64_t row = 0; row < rows && !status; row++)
        status = sterna_model_writer_data(
            stream->writer, data + sterna_item_source_row(item, row) * row_bytes, row_bytes, err);
    return status;
}

/* What stands beside a tensor, each as a tensor of its own. */
static sterna_status write_parts(const sterna_stream *stream, const sterna_item *item,
                                 sterna_error *err)
{
    sterna_tensor whole = sterna_item_output(item), part;
    if (!whole.native) return STERNA_OK;
    int32_t values[STERNA_NATIVE_HEADER];
    uint8_t header[4 * STERNA_NATIVE_HEADER];
    sterna_native_header(&whole, values);
    for (size_t i = 0; i < sizeof header; i++)
        header[i] = (uint8_t)((uint32_t)values[i / 4] >> 8 * (i % 4));
    sterna_status status = sterna_model_writer_data(stream->writer, header, sizeof header, err);
    for (int kind = 0; kind < STERNA_PARTS && !status; kind++) {
        if (!sterna_native_part(&whole, (sterna_part_kind)kind, &part)) continue;
        uint64_t rows = part.n_dims > 1 ? sterna_tensor_rows(&part) : 0;
        if (rows)
            status =
                write_in_order(stream, item, part.data, rows, (size_t)(part.bytes / rows), err);
        else
            status = sterna_model_writer_data(stream->writer, part.data, (size_t)part.bytes, err);
    }
    return status;
}

/* All rows of an item at `packed`, in the type of the output, and what stands beside them. */
static sterna_status write_packed(const sterna_stream *stream, const sterna_item *item,
                                  const uint8_t *packed, sterna_error *err)
{
    uint64_t rows = sterna_tensor_rows(item->tensor), bytes = 0;
    sterna_status status = STERNA_OK;
    if (sterna_type_bytes(item->type, item->tensor->dims[0], rows, &bytes) && rows)
        status = write_in_order(stream, item, packed, rows, (size_t)(bytes / rows), err);
    return status ? status : write_parts(stream, item, err);
}

/* Exact conversion has the whole tensor in memory; it is small, being ternary. */
static sterna_status convert_tensor(const sterna_stream *stream, sterna_item *item,
                                    sterna_error *err)
{
    if (item->type == STERNA_TYPE_NATIVE) {
        sterna_status made = sterna_item_to_native(item, err);
        item->verb = STERNA_VERB_CONVERT; /* which is what the receipt tells */
        if (!made) made = write_packed(stream, item, item->packed, err);
        sterna_free(item->packed);
        item->packed = NULL;
        return made;
    }
    uint8_t *out = sterna_alloc((size_t)sterna_item_bytes(item), 1);
    if (!out) return sterna_fail_memory(err, "a converted tensor");
    sterna_status status =
        sterna_tensor_convert(item->tensor, item->type, stream->round_scales, out, err);
    if (!status) status = write_packed(stream, item, out, err);
    sterna_free(out);
    return status;
}

/* The items that no loop over rows has to make. */
static sterna_status write_whole(const sterna_stream *stream, sterna_item *item, sterna_error *err)
{
    sterna_type_kind kind = sterna_type_describe(item->type)->kind;
    if (item->verb == STERNA_VERB_CONVERT) return convert_tensor(stream, item, err);
    if (item->verb == STERNA_VERB_READY) return write_packed(stream, item, item->packed, err);
    if (stream->finite && kind != STERNA_KIND_INTEGER) {
        sterna_status checked = sterna_item_check(item, stream->threads, err);
        if (checked) return checked;
    }
    if (item->pair_heads || item->type == STERNA_TYPE_NATIVE)
        return write_packed(stream, item, item->tensor->data, err);
    uint64_t beside = item->tensor->native ? sterna_native_bytes(item->tensor) : 0;
    sterna_status status = sterna_model_writer_data(stream->writer, item->tensor->data,
                                                    (size_t)(item->tensor->bytes - beside), err);
    return status ? status : write_parts(stream, item, err);
}

/* A matrix whose rows must all be there before the first part can be written. */
static sterna_status write_fitted(loop *l, double *done, double total, sterna_error *err)
{
    sterna_item *item = l->item;
    sterna_status status = run_loop(l, done, total, err);
    if (!status) status = write_packed(l->stream, item, item->packed, err);
    sterna_free(item->packed);
    item->packed = NULL;
    return status;
}

static sterna_status write_item(const sterna_stream *stream, sterna_item *item, double *done,
                                double total, sterna_error *err)
{
    const sterna_tensor *tensor = item->tensor;
    sterna_status status;
    if (item->verb == STERNA_VERB_CONVERT || item->verb == STERNA_VERB_READY ||
        item->verb == STERNA_VERB_COPY) {
        status = write_whole(stream, item, err);
        *done += (double)tensor->bytes;
        return status ? status : report(stream, *done, total, err);
    }
    loop l = {.stream = stream, .item = item, .cols = (size_t)tensor->dims[0]};
    bool packed = is_packed(item);
    l.rows = sterna_tensor_rows(tensor);
    if (packed && (status = sterna_item_prepare(item, NULL, err)) != STERNA_OK) return status;
    if (packed) item->verb = STERNA_VERB_FIT; /* it is not yet READY */
    if (l.rows && !packed) l.row_bytes = (size_t)(sterna_item_bytes(item) / l.rows);
    l.group = item->form.group ? item->form.group : l.cols;
    l.chunk = l.cols ? CHUNK_WEIGHTS / l.cols : 0;
    if (l.chunk == 0) l.chunk = 1;
    if (l.chunk > l.rows) l.chunk = l.rows;
    item->result = (sterna_fit_result){0, 0, 0};
    item->measured = true;
    return packed ? write_fitted(&l, done, total, err) : run_loop(&l, done, total, err);
}

/* A tensor and the parts beside it, in the order in which they are written. */
static sterna_status declare_item(const sterna_stream *stream, const sterna_item *item,
                                  sterna_error *err)
{
    sterna_tensor whole = sterna_item_output(item), part;
    sterna_status status = STERNA_OK;
    if (item->type != STERNA_TYPE_NATIVE)
        status = sterna_model_writer_declare(stream->writer, &whole, err);
    for (int kind = -1; kind < STERNA_PARTS && whole.native && !status; kind++) {
        char name[STERNA_MAX_TENSOR_NAME_BYTES + 1];
        const char *suffix =
            kind < 0 ? STERNA_NATIVE_HEADER_SUFFIX : sterna_part_suffix((sterna_part_kind)kind);
        part = (sterna_tensor){
            .type = STERNA_TYPE_I32, .n_dims = 1, .dims = {STERNA_NATIVE_HEADER, 1, 1, 1}};
        if (kind >= 0 && !sterna_native_part(&whole, (sterna_part_kind)kind, &part)) continue;
        if (snprintf(name, sizeof name, "%s%s", item->name, suffix) >= (int)sizeof name)
            return sterna_fail(err, STERNA_ERROR_LIMIT,
                               "tensor '%s': its name leaves no room for '%s' behind it",
                               item->name, suffix);
        part.name = name;
        status = sterna_model_writer_declare(stream->writer, &part, err);
    }
    return status;
}

sterna_status sterna_stream_write(const sterna_stream *stream, sterna_item *items, size_t count,
                                  sterna_error *err)
{
    double done = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        sterna_status status = declare_item(stream, &items[i], err);
        if (status) return status;
        total += (double)items[i].tensor->bytes;
    }
    for (size_t i = 0; i < count; i++) {
        sterna_status status = write_item(stream, &items[i], &done, total, err);
        if (status) return status;
        sterna_model_file_release(stream->file, items[i].tensor);
    }
    return STERNA_OK;
}

sterna_status sterna_item_check(const sterna_item *item, int threads, sterna_error *err)
{
    loop l = {.item = (sterna_item *)(uintptr_t)item, .cols = (size_t)item->tensor->dims[0]};
    uint64_t rows = sterna_tensor_rows(item->tensor);
    size_t values;
    l.row = sterna_mul_size((size_t)threads, l.cols, &values) ? sterna_alloc(values, sizeof *l.row)
                                                              : NULL;
    l.faults = sterna_calloc((size_t)rows, 1);
    sterna_status status = STERNA_OK;
    if (!l.row || !l.faults) {
        status = sterna_fail_memory(err, "the rows of a tensor");
    } else {
#pragma omp parallel for schedule(dynamic, 8) num_threads(threads)
        for (uint64_t r = 0; r < rows; r++) {
            float *row = l.row + (size_t)omp_get_thread_num() * l.cols;
            sterna_tensor_row(item->tensor, r, row);
            l.faults[r] = (uint8_t)check_row(&l, sterna_fit_magnitudes(row, l.cols, row));
        }
        for (uint64_t r = 0; r < rows && !status; r++)
            if (l.faults[r]) status = fail_row(&l, r, (row_fault)l.faults[r], err);
    }
    sterna_free(l.row);
    sterna_free(l.faults);
    return status;
}
