/* Random matrices in the native form, for the tests of ternary/, device/, formats/ and quant/. */
#ifndef STERNA_TESTS_NATIVE_SUPPORT_H
#define STERNA_TESTS_NATIVE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "ternary/native.h"

typedef struct native_matrix {
    sterna_tensor tensor; /* NATIVE, or of type `base` with parts beside it */
    sterna_native native;
    uint8_t *base, *block;
} native_matrix;

static inline float native_random(sterna_rng *rng)
{
    return (float)(2 * sterna_rng_double(rng) - 1);
}

static inline float native_half(float value)
{
    return sterna_f16_to_f32(sterna_f32_to_f16(value));
}

/* Numbers of a row; scales are float16 values, but for a wide one. */
typedef struct native_values {
    int8_t *trits, *trits2;
    float *scales, *shifts, *scales2, *outliers;
} native_values;

static inline native_values native_row_values(sterna_rng *rng, const native_matrix *m,
                                              const uint32_t *columns)
{
    size_t cols = (size_t)m->tensor.dims[0], groups = sterna_native_groups(&m->native, cols);
    native_values v = {.trits = malloc(cols), .trits2 = malloc(cols)};
    v.scales = malloc(groups * sizeof(float));
    v.shifts = malloc(groups * sizeof(float));
    v.scales2 = malloc(groups * sizeof(float));
    v.outliers = malloc((m->native.outliers + 1) * sizeof(float));
    for (size_t i = 0; i < cols; i++) {
        v.trits[i] = (int8_t)(sterna_rng_u64(rng) % 3) - 1;
        v.trits2[i] = (int8_t)(sterna_rng_u64(rng) % 3) - 1;
    }
    for (size_t g = 0; g < groups; g++) {
        v.scales[g] = m->native.wide ? 0.37f : native_half(0.02f + 0.1f * native_random(rng));
        v.shifts[g] = native_half(0.05f * native_random(rng));
        v.scales2[g] = native_half(0.03f * native_random(rng));
    }
    for (uint32_t i = 0; i < m->native.outliers; i++) {
        v.outliers[i] = 2 * native_random(rng);
        v.trits[columns[i]] = v.trits2[columns[i]] = 0;
    }
    return v;
}

static inline void native_values_free(native_values *v)
{
    free(v->trits);
    free(v->trits2);
    free(v->scales);
    free(v->shifts);
    free(v->scales2);
    free(v->outliers);
}

/* A matrix of the form of `native` with random content; `type` NATIVE or a block type. */
static inline native_matrix *native_make(sterna_rng *rng, sterna_type type, sterna_native form,
                                         uint64_t cols, uint64_t rows)
{
    native_matrix *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->native = form;
    m->tensor = (sterna_tensor){.name = "blk.0.ffn_up.weight",
                                .type = type,
                                .n_dims = 2,
                                .dims = {cols, rows, 1, 1},
                                .native = &m->native};
    uint64_t base = 0;
    if (type != STERNA_TYPE_NATIVE) assert_true(sterna_type_bytes(type, cols, rows, &base));
    m->tensor.bytes = base + sterna_native_bytes(&m->tensor);
    m->base = malloc(base + 1);
    m->block = calloc(1, m->tensor.bytes - base);
    if (base) m->tensor.data = m->base;
    sterna_native_bind(&m->tensor, &m->native, m->block);
    uint32_t columns[4096];
    for (uint32_t i = 0; i < form.outliers; i++) {
        uint8_t *at = (uint8_t *)(uintptr_t)m->native.part[STERNA_PART_OUTLIER_COLUMNS] + 4 * i;
        columns[i] = (uint32_t)(i * cols / form.outliers);
        for (int b = 0; b < 4; b++) at[b] = (uint8_t)(columns[i] >> 8 * b);
    }
    for (uint64_t r = 0; r < rows; r++) {
        native_values v = native_row_values(rng, m, columns);
        const sterna_ternary_row row = {v.trits,   v.scales,   v.shifts, v.trits2,
                                        v.scales2, v.outliers, NULL,     NULL};
        const sterna_type_info *info = sterna_type_describe(type);
        for (uint64_t at = 0; base && at < cols; at += info->block)
            sterna_type_pack(type, v.trits + at, v.scales + (form.group ? at / form.group : 0),
                             info->block,
                             m->base + (r * cols + at) / info->block * info->block_bytes);
        sterna_native_store(&m->tensor, m->block, r, &row);
        native_values_free(&v);
    }
    return m;
}

static inline void native_free(native_matrix *m)
{
    free(m->base);
    free(m->block);
    free(m);
}

#endif
