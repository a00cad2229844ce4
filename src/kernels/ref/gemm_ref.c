/* The law of the products of bfloat16 panels. */
#include <math.h>

#include "base/half.h"
#include "kernels/kernels.h"

void sterna_gemm_bf16_ref(const uint16_t *a, const uint16_t *b, size_t pairs, float *c,
                          size_t c_stride)
{
    enum { ROWS = STERNA_GEMM_ROWS, COLUMNS = STERNA_GEMM_COLUMNS };
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLUMNS; j++) {
            float sum = 0;
            for (size_t p = 0; p < pairs; p++)
                for (size_t k = 0; k < 2; k++)
                    sum += sterna_bf16_to_f32(a[(p * ROWS + i) * 2 + k]) *
                           sterna_bf16_to_f32(b[(p * COLUMNS + j) * 2 + k]);
            c[i * c_stride + j] += sum;
        }
}

static void pack(const float *x, size_t lane_stride, size_t depth_stride, size_t lanes,
                 size_t depth, size_t panel, uint16_t *out)
{
    for (size_t k = 0; k < (depth + 1) / 2 * 2; k++)
        for (size_t i = 0; i < panel; i++) {
            bool there = i < lanes && k < depth;
            float value = there ? x[i * lane_stride + k * depth_stride] : 0;
            if (fabsf(value) < 0x1p-126f) value = copysignf(0, value);
            out[(k / 2 * panel + i) * 2 + k % 2] = sterna_f32_to_bf16(value);
        }
}

void sterna_pack_bf16_rows_ref(const float *x, size_t stride, size_t lanes, size_t depth,
                               size_t panel, uint16_t *out)
{
    pack(x, stride, 1, lanes, depth, panel, out);
}

void sterna_pack_bf16_columns_ref(const float *x, size_t stride, size_t lanes, size_t depth,
                                  size_t panel, uint16_t *out)
{
    pack(x, 1, stride, lanes, depth, panel, out);
}
