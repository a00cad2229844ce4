/* Checks of the products for training: panels of bfloat16. */
#include <math.h>
#include <string.h>

#include "checks.h"

static void pack_cases(sterna_pack_bf16_fn *kernel, sterna_pack_bf16_fn *law, bool columns)
{
    for (int i = 0; i < 300; i++) {
        size_t panel = below(2) ? STERNA_GEMM_ROWS : STERNA_GEMM_COLUMNS, lanes = 1 + below(panel);
        size_t depth = 1 + below(i < 100 ? 12 : 150);
        size_t stride = (columns ? lanes : depth) + below(5);
        size_t floats = columns ? (depth - 1) * stride + lanes : (lanes - 1) * stride + depth;
        const float *x = vector(floats, false);
        size_t bytes = (depth + 1) / 2 * panel * 4;
        uint16_t *out = guarded(bytes, 4), *want = guarded(bytes, 4);
        kernel(x, stride, lanes, depth, panel, out);
        law(x, stride, lanes, depth, panel, want);
        same_bytes(out, want, bytes, "panel");
        release_guarded();
    }
}

void check_pack_bf16_rows(sterna_pack_bf16_fn *kernel)
{
    pack_cases(kernel, sterna_pack_bf16_rows_ref, false);
}

void check_pack_bf16_columns(sterna_pack_bf16_fn *kernel)
{
    pack_cases(kernel, sterna_pack_bf16_columns_ref, true);
}

void check_gemm_bf16(sterna_gemm_bf16_fn *kernel)
{
    enum { ROWS = STERNA_GEMM_ROWS, COLUMNS = STERNA_GEMM_COLUMNS };
    for (int i = 0; i < 100; i++) {
        size_t pairs = 1 + below(70), stride = COLUMNS + below(9), floats = ROWS * stride;
        float *x = vector(ROWS * pairs * 2, false), *y = vector(COLUMNS * pairs * 2, false);
        fill_floats(x, ROWS * pairs * 2, 0); /* rounding errors are told for numbers of one size */
        fill_floats(y, COLUMNS * pairs * 2, 0);
        uint16_t *a = guarded(ROWS * pairs * 4, 4), *b = guarded(COLUMNS * pairs * 4, 4);
        sterna_pack_bf16_rows_ref(x, pairs * 2, ROWS, pairs * 2, ROWS, a);
        sterna_pack_bf16_rows_ref(y, pairs * 2, COLUMNS, pairs * 2, COLUMNS, b);
        float *c = vector(floats, false), *want = guarded(floats * 4, 4);
        fill_floats(c, floats, 0);
        memcpy(want, c, floats * 4);
        kernel(a, b, pairs, c, stride);
        sterna_gemm_bf16_ref(a, b, pairs, want, stride);
        for (size_t k = 0; k < floats; k++) {
            bool inside = k % stride < COLUMNS;
            float room = inside ? 1e-6f * (float)pairs + 1e-6f : 0;
            if (!(fabsf(c[k] - want[k]) <= room)) {
                same_floats(c + k, want + k, 1, "c");
                break;
            }
        }
        release_guarded();
    }
}
