#include "quant/fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/hadamard.h"
#include "quant/export.h"
#include "quant/roles.h"
#include "quant/rotate.h"

enum { CHUNK_WEIGHTS = 1 << 21 };

typedef enum turned { NOTHING, RESIDUAL, HEADS } turned;

/* What becomes of the tensors of a slot. */
typedef struct change {
    sterna_slot gain;     /* norm whose gains its columns take; STERNA_SLOTS: none */
    turned columns, rows; /* turned by; biases go with the rows */
    bool ones;            /* a norm that has given its gains away */
} change;

/* A tensor of the folded model. */
typedef struct part {
    const sterna_item *item;
    const char *name;
    sterna_slot slot; /* STERNA_SLOTS: stays as it is */
    uint32_t layer;
    bool bias;
    sterna_type type;
} part;

typedef struct folder {
    const sterna_model_file *file;
    const sterna_folding *folding;
    unsigned folds;
    sterna_config config;
    sterna_export plan;
    part *parts; /* [n_parts] */
    size_t n_parts;
    sterna_turn residual, heads;
    sterna_model_writer *writer;
    sterna_error *err;
} folder;

static change change_of(const folder *f, sterna_slot slot)
{
    static const change changes[STERNA_SLOTS] = {
        [STERNA_SLOT_EMBEDDING] = {STERNA_SLOTS, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_FINAL_NORM] = {STERNA_SLOTS, NOTHING, NOTHING, true},
        [STERNA_SLOT_HEAD] = {STERNA_SLOT_FINAL_NORM, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_ATTN_NORM] = {STERNA_SLOTS, NOTHING, NOTHING, true},
        [STERNA_SLOT_Q] = {STERNA_SLOT_ATTN_NORM, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_K] = {STERNA_SLOT_ATTN_NORM, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_V] = {STERNA_SLOT_ATTN_NORM, RESIDUAL, HEADS, false},
        [STERNA_SLOT_QKV] = {STERNA_SLOT_ATTN_NORM, RESIDUAL, HEADS, false},
        [STERNA_SLOT_OUT] = {STERNA_SLOTS, HEADS, RESIDUAL, false},
        [STERNA_SLOT_FFN_NORM] = {STERNA_SLOTS, NOTHING, NOTHING, true},
        [STERNA_SLOT_GATE] = {STERNA_SLOT_FFN_NORM, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_UP] = {STERNA_SLOT_FFN_NORM, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_GATE_UP] = {STERNA_SLOT_FFN_NORM, RESIDUAL, NOTHING, false},
        [STERNA_SLOT_DOWN] = {STERNA_SLOTS, NOTHING, RESIDUAL, false},
    };
    change c = slot < STERNA_SLOTS ? changes[slot] : (change){0};
    bool last = slot == STERNA_SLOT_FINAL_NORM || slot == STERNA_SLOT_HEAD;
    bool gains = f->folds & (last ? STERNA_FOLD_RESIDUAL : STERNA_FOLD_GAINS);
    if (!gains) c.ones = false;
    if (!gains || c.gain == STERNA_SLOT_EMBEDDING) c.gain = STERNA_SLOTS; /* 0 in rows left out */
    const unsigned needed[] = {0, STERNA_FOLD_RESIDUAL, STERNA_FOLD_HEADS};
    if (!(f->folds & needed[c.columns])) c.columns = NOTHING;
    if (!(f->folds & needed[c.rows])) c.rows = NOTHING;
    return c;
}

static const sterna_turn *turn_of(const folder *f, turned by)
{
    return by == RESIDUAL ? &f->residual : &f->heads;
}

/* ---- names ---- */

/* "blk.7.attn_q.weight": what it is; slot STERNA_SLOTS when it is nothing that a fold touches. */
static void parse_name(const sterna_tensor_names *names, part *p)
{
    const char *stem = p->name;
    bool layered = strncmp(stem, names->layers, strlen(names->layers)) == 0;
    char *end = NULL;
    p->slot = STERNA_SLOTS;
    if (layered) {
        p->layer = (uint32_t)strtoul(stem + strlen(names->layers), &end, 10);
        if (*end != '.') return;
        stem = end + 1;
    }
    const char *dot = strrchr(stem, '.');
    if (!dot) return;
    p->bias = strcmp(dot, ".bias") == 0;
    if (!p->bias && strcmp(dot, ".weight") != 0) return;
    int first = layered ? STERNA_SLOT_LAYERED : 0,
        last = layered ? STERNA_SLOTS : first + STERNA_SLOT_LAYERED;
    for (int slot = first; slot < last; slot++) {
        const char *name = names->name[slot];
        if (name && strlen(name) == (size_t)(dot - stem) &&
            memcmp(name, stem, (size_t)(dot - stem)) == 0)
            p->slot = (sterna_slot)slot;
    }
}

static const part *find_part(const folder *f, sterna_slot slot, uint32_t layer)
{
    for (size_t i = 0; i < f->n_parts; i++)
        if (f->parts[i].slot == slot && f->parts[i].layer == layer && !f->parts[i].bias)
            return &f->parts[i];
    return NULL;
}

/* ---- rows ---- */

/* Rows [first, first + count) in the order and the convention of the output. */
static void read_rows(const sterna_item *item, uint64_t first, uint64_t count, int threads,
                      float *out)
{
    uint64_t cols = item->tensor->dims[0];
    bool one = sterna_tensor_rows(item->tensor) == 1;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint64_t r = 0; r < count; r++) {
        uint64_t from = one ? 0 : sterna_item_source_row(item, first + r);
        sterna_tensor_row(item->tensor, from, out + r * cols);
        for (uint64_t i = 0; item->shift != 0 && i < cols; i++) out[r * cols + i] += item->shift;
    }
}

/* A bias in the order of its matrix's rows. */
static sterna_status read_vector(const folder *f, const sterna_item *item, float *out)
{
    uint64_t count = item->tensor->dims[0];
    read_rows(item, 0, 1, 1, out);
    if (!item->pair_heads) return STERNA_OK;
    float *copy = sterna_alloc((size_t)count, sizeof *copy);
    if (!copy) return sterna_fail_memory(f->err, item->name);
    memcpy(copy, out, (size_t)count * sizeof *copy);
    for (uint64_t i = 0; i < count; i++) out[i] = copy[sterna_item_source_row(item, i)];
    sterna_free(copy);
    return STERNA_OK;
}

static sterna_status check_turn(const folder *f, const part *p, const sterna_turn *turn,
                                size_t size)
{
    if (size > 0 && size % turn->n == 0) return STERNA_OK;
    return sterna_fail(f->err, STERNA_ERROR_FORMAT,
                       "%s: tensor '%s' has another shape than the model's configuration says",
                       f->file->path, p->name);
}

/* Turns the rows of m[rows][cols], of v only where it is fused with q and k. */
static sterna_status turn_rows(const folder *f, const part *p, turned by, float *m, size_t rows,
                               size_t cols)
{
    const sterna_turn *turn = turn_of(f, by);
    size_t first = 0;
    if (p->slot == STERNA_SLOT_QKV)
        first = ((size_t)f->config.heads + f->config.kv_heads) * f->config.head_dim;
    sterna_status status = check_turn(f, p, turn, first < rows ? rows - first : 0);
    for (; first < rows && !status; first += turn->n)
        status = sterna_turn_apply(turn, m + first * cols, 1, cols, f->folding->threads, f->err);
    return status;
}

/* m[rows][cols] *= the gains of a norm, column by column. */
static sterna_status take_gains(const folder *f, const part *p, sterna_slot slot, float *m,
                                size_t rows, size_t cols)
{
    const part *norm = find_part(f, slot, p->layer);
    if (!norm || norm->item->tensor->dims[0] != cols)
        return sterna_fail(f->err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' reads a norm of its width, and there is none",
                           f->file->path, p->name);
    float *gains = sterna_alloc(cols, sizeof *gains);
    if (!gains) return sterna_fail_memory(f->err, p->name);
    read_rows(norm->item, 0, 1, 1, gains);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i++) m[r * cols + i] *= gains[i];
    sterna_free(gains);
    return STERNA_OK;
}

static sterna_status change_rows(const folder *f, const part *p, const change *c, float *m,
                                 size_t rows, size_t cols)
{
    sterna_status status = STERNA_OK;
    if (c->gain != STERNA_SLOTS) status = take_gains(f, p, c->gain, m, rows, cols);
    if (!status && c->columns) {
        const sterna_turn *turn = turn_of(f, c->columns);
        status = check_turn(f, p, turn, cols);
        if (!status)
            status =
                sterna_turn_apply(turn, m, rows * (cols / turn->n), 1, f->folding->threads, f->err);
    }
    if (!status && c->rows) status = turn_rows(f, p, c->rows, m, rows, cols);
    return status;
}

/* ---- writing ---- */

static sterna_status write_rows(const folder *f, const part *p, const float *m, size_t rows,
                                size_t cols, uint8_t *bytes)
{
    size_t size = cols * (p->type == STERNA_TYPE_F16 ? 2 : 4);
#pragma omp parallel for schedule(static) num_threads(f->folding->threads)
    for (size_t r = 0; r < rows; r++)
        sterna_type_encode(p->type, m + r * cols, cols, bytes + r * size);
    return sterna_model_writer_data(f->writer, bytes, rows * size, f->err);
}

/* A vector has one row; a bias stands for a column of its matrix. */
static sterna_status write_vector(const folder *f, const part *p, const change *c, float *m,
                                  uint8_t *bytes)
{
    size_t count = (size_t)p->item->tensor->dims[0];
    sterna_status status = read_vector(f, p->item, m);
    if (!status && p->bias && c->rows) status = turn_rows(f, p, c->rows, m, count, 1);
    for (size_t i = 0; c->ones && !p->bias && i < count; i++) m[i] = 1;
    return status ? status : write_rows(f, p, m, 1, count, bytes);
}

static sterna_status write_part(const folder *f, const part *p)
{
    const sterna_tensor *tensor = p->item->tensor;
    size_t cols = (size_t)tensor->dims[0], rows = (size_t)sterna_tensor_rows(tensor), values = 0;
    change c = change_of(f, p->slot);
    if (sterna_type_describe(tensor->type)->kind == STERNA_KIND_INTEGER)
        return sterna_model_writer_data(f->writer, tensor->data, (size_t)tensor->bytes, f->err);
    size_t chunk = c.rows || rows == 1 ? rows : CHUNK_WEIGHTS / (cols + 1) + 1;
    if (chunk > rows) chunk = rows;
    float *m = sterna_mul_size(chunk, cols, &values) ? sterna_alloc(values, sizeof *m) : NULL;
    uint8_t *bytes = sterna_alloc(values, sizeof(float));
    sterna_item stored = *p->item;
    stored.type = p->type;
    sterna_status status = m && bytes ? STERNA_OK : sterna_fail_memory(f->err, p->name);
    if (!status && rows > 1) status = sterna_item_check(&stored, f->folding->threads, f->err);
    if (!status && rows == 1) status = write_vector(f, p, &c, m, bytes);
    for (size_t first = 0; rows > 1 && first < rows && !status; first += chunk) {
        size_t count = rows - first < chunk ? rows - first : chunk;
        read_rows(p->item, first, count, f->folding->threads, m);
        status = change_rows(f, p, &c, m, count, cols);
        if (!status) status = write_rows(f, p, m, count, cols, bytes);
    }
    sterna_free(m);
    sterna_free(bytes);
    sterna_model_file_release(f->file, tensor);
    return status;
}

static sterna_status write_all(const folder *f)
{
    const sterna_folding *folding = f->folding;
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < f->n_parts && !status; i++) {
        sterna_tensor tensor = *f->parts[i].item->tensor;
        tensor.name = f->parts[i].name;
        tensor.type = f->parts[i].type;
        tensor.native = NULL;
        status = sterna_model_writer_declare(f->writer, &tensor, f->err);
    }
    for (size_t i = 0; i < f->n_parts && !status; i++) {
        status = write_part(f, &f->parts[i]);
        if (!status && folding->progress &&
            !folding->progress(folding->progress_context, "folding", (double)(i + 1),
                               (double)f->n_parts))
            status = sterna_fail(f->err, STERNA_ERROR_CANCELLED,
                                 "quantizing was cancelled; nothing was written");
    }
    return status;
}

/* ---- the whole ---- */

static sterna_type folded_type(const sterna_tensor *tensor)
{
    if (sterna_type_describe(tensor->type)->kind == STERNA_KIND_INTEGER) return tensor->type;
    bool whole = sterna_tensor_rows(tensor) < 2 || tensor->type == STERNA_TYPE_F32 ||
                 tensor->type == STERNA_TYPE_F64;
    return whole ? STERNA_TYPE_F32 : STERNA_TYPE_F16;
}

/* The tensors of the folded model: those of the source, and a head where it was the embedding. */
static sterna_status list_parts(folder *f)
{
    const sterna_tensor_names *names = sterna_family_names(f->config.family, STERNA_GGUF);
    f->parts = sterna_calloc(f->plan.count + 1, sizeof *f->parts);
    if (!f->parts) return sterna_fail_memory(f->err, "the directory of a folded model");
    for (; f->n_parts < f->plan.count; f->n_parts++) {
        const sterna_item *item = &f->plan.items[f->n_parts];
        part *p = &f->parts[f->n_parts];
        *p = (part){.item = item, .name = item->name, .type = folded_type(item->tensor)};
        parse_name(names, p);
    }
    const part *embedding = find_part(f, STERNA_SLOT_EMBEDDING, 0);
    if (!(f->folds & STERNA_FOLD_RESIDUAL) || find_part(f, STERNA_SLOT_HEAD, 0) || !embedding)
        return STERNA_OK;
    f->parts[f->n_parts++] = (part){.item = embedding->item,
                                    .name = "output.weight",
                                    .slot = STERNA_SLOT_HEAD,
                                    .type = embedding->type};
    return STERNA_OK;
}

static sterna_status fold(folder *f)
{
    sterna_status status =
        sterna_export_open(f->file, STERNA_GGUF, false, f->writer, &f->plan, f->err);
    if (!status) status = list_parts(f);
    if (!status && f->folds & STERNA_FOLD_RESIDUAL)
        status = sterna_turn_new(f->config.width, &f->residual, f->err);
    if (!status && f->folds & STERNA_FOLD_HEADS)
        status = sterna_turn_new(f->config.head_dim, &f->heads, f->err);
    return status ? status : write_all(f);
}

sterna_status sterna_fold_model(const sterna_model_file *file, const char *path, unsigned folds,
                                const sterna_folding *folding, sterna_type **from,
                                sterna_error *err)
{
    folder f = {.file = file, .folding = folding, .folds = folds, .err = err};
    *from = NULL;
    sterna_status status = sterna_config_read(file, &f.config, err);
    if (!status) status = sterna_model_writer_open(path, &f.writer, err);
    if (!status) status = fold(&f);
    if (!status && !(*from = sterna_alloc(f.n_parts, sizeof **from)))
        status = sterna_fail_memory(err, "the directory of a folded model");
    for (size_t i = 0; !status && i < f.n_parts; i++) (*from)[i] = f.parts[i].item->from;
    if (status) {
        sterna_model_writer_abort(f.writer);
    } else if ((status = sterna_model_writer_commit(f.writer, err)) != STERNA_OK) {
        sterna_free(*from);
        *from = NULL;
    }
    sterna_export_close(&f.plan);
    sterna_config_free(&f.config);
    sterna_turn_free(&f.residual);
    sterna_turn_free(&f.heads);
    sterna_free(f.parts);
    return status;
}

/* A matrix that is made of trits, or has a factor beside it. */
static bool is_fixed(const sterna_tensor *tensor)
{
    size_t size = strlen(tensor->name);
    bool factor = size > 6 && strcmp(tensor->name + size - 6, ".scale") == 0;
    return factor || tensor->native ||
           sterna_type_describe(tensor->type)->kind == STERNA_KIND_TERNARY;
}

sterna_status sterna_fold_possible(const sterna_model_file *file, unsigned *folds,
                                   sterna_error *err)
{
    sterna_config config;
    sterna_hadamard_rules rules;
    *folds = 0;
    sterna_status status = sterna_config_read(file, &config, err);
    if (status) return status == STERNA_ERROR_UNSUPPORTED ? STERNA_OK : status;
    status = sterna_hadamard_read(file, &rules, err);
    if (!status && !rules.names && !rules.inverse_names && !config.ternarize)
        *folds = sterna_family_folds(config.family);
    if (!status) sterna_hadamard_free(&rules);
    for (size_t i = 0; i < file->n_tensors; i++)
        if (is_fixed(&file->tensors[i])) *folds = 0;
    if (!sterna_turn_exists(config.width)) *folds &= ~(unsigned)STERNA_FOLD_RESIDUAL;
    if (!sterna_turn_exists(config.head_dim)) *folds &= ~(unsigned)STERNA_FOLD_HEADS;
    sterna_config_free(&config);
    return status;
}
