/* Attention and the stores of keys and values against the reference. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "checks.h"

static void kv_encode_cases(sterna_kv_encode_fn *kernel, sterna_kv_encode_fn *law, bool q8)
{
    for (int i = 0; i < 400; i++) {
        size_t n = 1 + below(150);
        size_t bytes = q8 ? ((n + 1) & ~(size_t)1) + (n + 31) / 32 * 2 : 2 * n;
        const float *x = vector(n, !q8);
        uint8_t *out = guarded(bytes, 2), *want = guarded(bytes, 2);
        memset(out, 0x5a, bytes);
        memset(want, 0x5a, bytes);
        kernel(x, n, out);
        law(x, n, want);
        for (size_t j = 0; !q8 && j < n; j++) { /* one NaN is as good as another */
            uint16_t half;
            memcpy(&half, want + 2 * j, 2);
            if (isnan(sterna_f16_to_f32(half))) memcpy(out + 2 * j, want + 2 * j, 2);
        }
        same_bytes(out, want, bytes, "stored");
        release_guarded();
    }
}

void check_kv_encode_f16(sterna_kv_encode_fn *kernel)
{
    kv_encode_cases(kernel, sterna_kv_encode_f16_ref, false);
}

void check_kv_encode_q8(sterna_kv_encode_fn *kernel)
{
    kv_encode_cases(kernel, sterna_kv_encode_q8_ref, true);
}

static void attention_cases(sterna_attention_fn *kernel, sterna_attention_fn *law, int kind)
{
    static const size_t dims[] = {1, 8, 16, 20, 32, 48, 64, 80, 96, 100, 128, 256};
    for (int i = 0; i < 120; i++) {
        size_t dim = dims[below(12)], rows = 1 + below(9), keys = 1 + below(below(3) ? 90 : 200);
        size_t stride = kind == 0   ? 4 * dim
                        : kind == 1 ? 2 * dim
                                    : ((dim + 1) & ~(size_t)1) + (dim + 31) / 32 * 2;
        float *q = guarded(rows * dim * 4, 4), *row = guarded(dim * 4, 4);
        size_t begin = below(2) ? 0 : below(keys), n = keys - begin;
        bool apart = below(2); /* else blocks of keys and of values take turns, as in a cache */
        const size_t block = STERNA_ATTENTION_BLOCK * stride;
        size_t block_stride = apart ? block : 2 * block;
        size_t bytes = (n - 1) / STERNA_ATTENTION_BLOCK * block_stride +
                       ((n - 1) % STERNA_ATTENTION_BLOCK + 1) * stride;
        uint8_t *k = guarded(apart ? bytes : block + bytes, 4);
        uint8_t *v = apart ? guarded(bytes, 4) : k + block;
        fill_floats(q, rows * dim, 0);
        for (size_t key = 0; key < 2 * n; key++) {
            uint8_t *to = (key < n ? k : v) + key % n / STERNA_ATTENTION_BLOCK * block_stride +
                          key % n % STERNA_ATTENTION_BLOCK * stride;
            fill_floats(row, dim, below(3) ? 0 : 3);
            if (kind == 0) memcpy(to, row, stride);
            if (kind == 1) sterna_kv_encode_f16_ref(row, dim, to);
            if (kind == 2) sterna_kv_encode_q8_ref(row, dim, to);
        }
        uint32_t *first = guarded(rows * 4, 4), *last = guarded(rows * 4, 4);
        bool ragged = below(2);
        for (size_t r = 0; r < rows; r++) {
            last[r] = (uint32_t)(ragged ? 1 + below(keys) : keys);
            first[r] = (uint32_t)(ragged && below(2) ? below(last[r] + 1) : 0);
        }
        size_t state = rows * (dim + 2);
        float *got = guarded(state * 4, 4), *want = guarded(state * 4, 4);
        sterna_attention_tile tile = {.q = q,
                                      .first = first,
                                      .last = last,
                                      .rows = rows,
                                      .k = k,
                                      .v = v,
                                      .kv_stride = stride,
                                      .block_stride = block_stride,
                                      .head_dim = dim,
                                      .begin = begin,
                                      .end = keys,
                                      .scale = 0.3f,
                                      .soft_cap = below(3) ? 0 : 20.0f};
        for (int pass = 0; pass < 2; pass++) {
            float *at = pass ? got : want;
            memset(at, 0, state * 4);
            for (size_t r = 0; r < rows; r++) at[r] = -INFINITY;
            tile.max = at;
            tile.sum = at + rows;
            tile.acc = at + 2 * rows;
            (pass ? kernel : law)(&tile);
        }
        char what[80];
        snprintf(what, sizeof what, "dim %zu rows %zu keys %zu%s", dim, rows, keys,
                 ragged ? " ragged" : "");
        bool good = same_floats(got, want, state, what);
        release_guarded();
        if (!good) return;
    }
}

void check_attention_f32(sterna_attention_fn *kernel)
{
    attention_cases(kernel, sterna_attention_f32_ref, 0);
}

void check_attention_f16(sterna_attention_fn *kernel)
{
    attention_cases(kernel, sterna_attention_f16_ref, 1);
}

void check_attention_q8(sterna_attention_fn *kernel)
{
    attention_cases(kernel, sterna_attention_q8_ref, 2);
}
