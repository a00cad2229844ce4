/* What the fuzz targets of formats/ share: open the bytes as a model file and use all that it says.
 */
#ifndef STERNA_FUZZ_FORMATS_H
#define STERNA_FUZZ_FORMATS_H

#include <string.h>

#include "base/memory.h"
#include "formats/model_file.h"
#include "ternary/native.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Every row of a native matrix, as floats. */
static uint64_t use_rows(const sterna_tensor *t)
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

static uint64_t use_tensors(const sterna_model_file *file)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        const sterna_tensor *t = &file->tensors[i];
        uint64_t beside = t->native ? sterna_native_bytes(t) : 0;
        for (uint64_t k = 0; k < t->bytes - beside; k++) sum += t->data[k];
        for (int kind = 0; kind < STERNA_PARTS && t->native; kind++) {
            sterna_tensor part;
            bool there = sterna_native_part(t, (sterna_part_kind)kind, &part);
            for (uint64_t k = 0; there && k < part.bytes; k++) sum += part.data[k];
        }
        if (t->native) sum += use_rows(t);
        if (sterna_model_file_find(file, t->name) != t) __builtin_trap();
    }
    return sum;
}

static uint64_t use_meta(const sterna_model_file *file)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < file->n_meta; i++) {
        const sterna_meta *m = &file->meta[i];
        if (m->type == STERNA_META_STRING)
            for (size_t k = 0; k < m->value.s.size; k++) sum += (uint8_t)m->value.s.data[k];
        for (uint64_t k = 0; m->type == STERNA_META_ARRAY && k < m->count; k++)
            if (m->strings)
                sum += m->strings[k].size ? (uint8_t)m->strings[k].data[m->strings[k].size - 1] : 0;
            else
                sum += sterna_meta_element(m, k) > 0;
    }
    return sum;
}

/* Puts `magic` over the first bytes (n = 0: none), so that every input gets past the first look. */
static int open_and_use(const uint8_t *bytes, size_t size, const char *magic, size_t n)
{
    uint8_t *copy = sterna_alloc(size + n, 1);
    if (!copy) return 0;
    if (n) memcpy(copy, magic, n);
    if (size) memcpy(copy + n, bytes, size);
    sterna_error err;
    sterna_model_file *file = NULL;
    if (!sterna_model_file_open_memory("input", copy, size + n, NULL, &file, &err)) {
        uint64_t sum = use_tensors(file) + use_meta(file);
        __asm__ volatile("" ::"r"(sum)); /* the reads must happen */
        sterna_model_file_close(file);
    } else if (!memchr(err.message, 0, sizeof err.message) || file) {
        __builtin_trap();
    }
    sterna_free(copy);
    return 0;
}

#endif
