/* Reading everything that an opened model file promises, for the tests of formats/ and the fuzz
 * targets: a sanitizer sees a byte too far. */
#ifndef STERNA_TESTS_TOUCH_FILE_H
#define STERNA_TESTS_TOUCH_FILE_H

#include "base/memory.h"
#include "formats/model_file.h"
#include "ternary/native.h"

/* Every row of a native matrix, as floats. */
static inline uint64_t touch_rows(const sterna_tensor *t)
{
    uint64_t sum = 0;
    float *row = sterna_alloc((size_t)t->dims[0], sizeof *row);
    for (uint64_t r = 0; row && r < sterna_tensor_rows(t); r++) {
        sterna_tensor_row(t, r, row);
        for (uint64_t i = 0; i < t->dims[0]; i++) sum += row[i] > 0;
    }
    sterna_free(row);
    return sum;
}

static inline uint64_t touch_tensor(const sterna_tensor *t)
{
    uint64_t sum = 0, beside = t->native ? sterna_native_bytes(t) : 0;
    for (uint64_t k = 0; k < t->bytes - beside; k++) sum += t->data[k];
    for (int kind = 0; kind < STERNA_PARTS && t->native; kind++) {
        sterna_tensor part;
        bool there = sterna_native_part(t, (sterna_part_kind)kind, &part);
        for (uint64_t k = 0; there && k < part.bytes; k++) sum += part.data[k];
    }
    return t->native ? sum + touch_rows(t) : sum;
}

static inline uint64_t touch_text(const sterna_text *text)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < text->size; i++) sum += (uint8_t)text->data[i];
    return sum;
}

static inline uint64_t touch_meta(const sterna_meta *m)
{
    uint64_t sum = m->type == STERNA_META_STRING ? touch_text(&m->value.s) : 0;
    for (uint64_t k = 0; m->type == STERNA_META_ARRAY && k < m->count; k++)
        sum += m->strings ? touch_text(&m->strings[k]) : sterna_meta_element(m, k) > 0;
    return sum;
}

/* False where the directory contradicts itself. */
static inline bool touch_file(const sterna_model_file *file)
{
    uint64_t sum = 0;
    bool sound = true;
    for (size_t i = 0; i < file->n_tensors; i++) {
        const sterna_tensor *t = &file->tensors[i];
        sum += touch_tensor(t);
        sound &= sterna_model_file_find(file, t->name) == t && t->n_dims >= 1 && t->n_dims <= 4;
    }
    for (size_t i = 0; i < file->n_meta; i++) sum += touch_meta(&file->meta[i]);
    __asm__ volatile("" ::"r"(sum)); /* the reads must happen */
    return sound;
}

#endif
