/* Matmuls against the reference. */
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "checks.h"
#include "kernels/tern5.h"

/* ---- integer matmuls ---- */

/* What `cols` columns of a panel take (tern5: 0, its map tells), and where scales are. */
typedef struct int_layout {
    size_t cols, bytes;
    size_t segment;   /* records with scales inside: the columns of each; 0 = scales outside */
    size_t halves[2]; /* bytes of a row's block that hold float16s */
} int_layout;

static const int_layout tern2 = {16, 64, 0, {0, 0}}, tern5 = {0, 0, 0, {0, 0}},
                        int4 = {8, 64, 0, {0, 0}}, int8 = {4, 64, 0, {0, 0}},
                        q4k = {256, 36 * 64, 32, {0, 2}}, q5k = {256, 44 * 64, 32, {0, 2}},
                        q6k = {256, 53 * 64, 16, {208, 208}};

/* Scales of records that are numbers. */
static void fill_record_halves(const int_layout *layout, uint8_t *codes, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += layout->bytes)
        for (size_t i = 0; i < 32; i++) {
            size_t half = layout->halves[i / 16], byte = half / 4 * 64 + 4 * (i % 16) + half % 4;
            uint16_t value;
            fill_halves(&value, 1, (unsigned)below(4));
            memcpy(codes + at + byte, &value, 2);
        }
}

static size_t cols_of_case(const int_layout *layout)
{
    if (layout->segment) return layout->cols * (1 + below(4));
    return 16 * (1 + below(below(4) ? 20 : 80));
}

static size_t panel_bytes_of(const int_layout *layout, const sterna_int_tile *tile)
{
    if (layout->cols) return tile->cols / layout->cols * layout->bytes;
    return tern5_panel_bytes(tern5_map_of(tile->cols, tile->segment, tile->segments), tile->cols);
}

static bool int_case(sterna_matmul_int_fn *kernel, sterna_matmul_int_fn *law,
                     const int_layout *layout)
{
    static const size_t groups[] = {16, 32, 48, 64, 128, 256};
    size_t cols = cols_of_case(layout);
    size_t segment = layout->segment ? layout->segment : below(3) ? groups[below(6)] : cols;
    if (!layout->cols && segment % TERN5_COLS) segment = cols;
    if (segment > cols) segment = cols;
    unsigned style = (unsigned)below(6), x_style = (unsigned)below(5);
    const size_t tokens[] = {9, 9, 9, 40, 40, 200};
    size_t n = 1 + below(tokens[below(6)]), panels = 1 + below(5), gap = below(3);
    sterna_int_tile tile = {.panels = panels, .cols = cols, .segment = segment, .n = n};
    tile.segments = (cols + segment - 1) / segment;
    tile.segments_per_scale = 1 + below(3);
    tile.zero = (int32_t)below(2) * 8 + (int32_t)below(2) * 8;
    size_t groups_count = (tile.segments + tile.segments_per_scale - 1) / tile.segments_per_scale;
    size_t panel_bytes = panel_bytes_of(layout, &tile), panel_scales = groups_count * 16;
    tile.codes_step = panel_bytes * (1 + gap);
    tile.scales_step = panel_scales * (1 + gap);
    tile.row_step = 16 * (1 + gap);
    size_t panels_held = (panels - 1) * (1 + gap) + 1, rows = panels_held * 16;

    uint8_t *codes = guarded(panels_held * panel_bytes, 64);
    fill_bytes(codes, panels_held * panel_bytes, style);
    tile.codes = codes;
    if (layout->segment) {
        fill_record_halves(layout, codes, panels_held * panel_bytes);
    } else if (below(3)) {
        uint16_t *scales = guarded(panels_held * panel_scales * 2, 32);
        fill_halves(scales, panels_held * panel_scales, (unsigned)below(4));
        tile.scales = scales;
        if (below(2)) {
            uint16_t *mins = guarded(panels_held * panel_scales * 2, 32);
            fill_halves(mins, panels_held * panel_scales, (unsigned)below(4));
            tile.mins = mins;
        }
    }
    float *factors = guarded(rows * 4, 64);
    fill_floats(factors, rows, 0);
    tile.factors = factors;
    tile.x_stride = cols + 16 * below(3);
    size_t x_bytes = (n - 1) * tile.x_stride + cols;
    int8_t *x = guarded(x_bytes, 16);
    fill_activations(x, x_bytes, x_style);
    tile.x = x;
    tile.x_step = n + below(3);
    size_t x_count = (tile.segments - 1) * tile.x_step + n;
    float *x_scales = guarded(x_count * 4, 4);
    int32_t *x_sums = guarded(x_count * 4, 4);
    memset(x_sums, 0, x_count * 4);
    fill_floats(x_scales, x_count, below(5) ? 0 : 4);
    for (size_t t = 0; t < n; t++)
        for (size_t s = 0; s < tile.segments; s++) {
            int32_t sum = 0;
            for (size_t k = s * segment; k < (s + 1) * segment && k < cols; k++)
                sum += x[t * tile.x_stride + k];
            x_sums[s * tile.x_step + t] = sum;
        }
    tile.x_scales = x_scales;
    tile.x_sums = x_sums;
    if (tile.mins || layout->segment) {
        float *offsets = guarded(x_count * 4, 4);
        for (size_t i = 0; i < x_count; i++) offsets[i] = (float)x_sums[i] * x_scales[i];
        tile.x_offsets = offsets;
    }
    tile.y_stride = rows + 16 * below(2) + below(5);
    size_t y_count = (n - 1) * tile.y_stride + rows;
    float *y = guarded(y_count * 4, 4), *want = guarded(y_count * 4, 4);
    fill_floats(y, y_count, 0);
    memcpy(want, y, y_count * 4);
    tile.y = want;
    law(&tile);
    tile.y = y;
    kernel(&tile);
    char what[128];
    snprintf(what, sizeof what, "cols %zu segment %zu n %zu panels %zu style %u/%u%s%s", cols,
             segment, n, panels, style, x_style, tile.scales ? " scales" : "",
             tile.mins ? " mins" : "");
    return same_floats(y, want, y_count, what);
}

static void int_cases(sterna_matmul_int_fn *kernel, sterna_matmul_int_fn *law,
                      const int_layout *layout)
{
    for (int i = 0; i < 400; i++) {
        bool good = int_case(kernel, law, layout);
        release_guarded();
        if (!good) return;
    }
}

void check_matmul_tern2(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_tern2_ref, &tern2);
}

void check_matmul_tern5(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_tern5_ref, &tern5);
}

void check_matmul_int4(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_int4_ref, &int4);
}

void check_matmul_int8(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_int8_ref, &int8);
}

void check_matmul_q4k(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_q4k_ref, &q4k);
}

void check_matmul_q5k(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_q5k_ref, &q5k);
}

void check_matmul_q6k(sterna_matmul_int_fn *kernel)
{
    int_cases(kernel, sterna_matmul_q6k_ref, &q6k);
}

/* ---- float matmuls ---- */

static void float_cases(sterna_matmul_float_fn *kernel, sterna_matmul_float_fn *law, size_t element)
{
    for (int i = 0; i < 300; i++) {
        size_t cols = 1 + below(70), n = 1 + below(12), panels = 1 + below(4);
        size_t panel_bytes = cols * 16 * element, rows = panels * 16;
        sterna_float_tile tile = {.panels = panels,
                                  .weights_step = panel_bytes,
                                  .row_step = 16,
                                  .cols = cols,
                                  .n = n,
                                  .x_stride = cols + below(4),
                                  .y_stride = rows + below(4)};
        uint8_t *weights = guarded(panels * panel_bytes, 32);
        for (size_t k = 0; k < rows * cols; k++) {
            float value = uniform();
            uint16_t half = element == 2 ? sterna_f32_to_f16(value) : 0;
            if (law == sterna_matmul_bf16_ref) half = sterna_f32_to_bf16(value);
            memcpy(weights + k * element, element == 2 ? (void *)&half : (void *)&value, element);
        }
        size_t x_count = (n - 1) * tile.x_stride + cols, y_count = (n - 1) * tile.y_stride + rows;
        float *x = guarded(x_count * 4, 4), *factors = guarded(rows * 4, 64);
        fill_floats(x, x_count, (unsigned)below(5));
        fill_floats(factors, rows, 0);
        float *y = guarded(y_count * 4, 4), *want = guarded(y_count * 4, 4);
        fill_floats(y, y_count, 0);
        memcpy(want, y, y_count * 4);
        tile.weights = weights;
        tile.factors = factors;
        tile.x = x;
        tile.y = want;
        law(&tile);
        tile.y = y;
        kernel(&tile);
        bool good = same_floats(y, want, y_count, "y");
        release_guarded();
        if (!good) return;
    }
}

void check_matmul_f32(sterna_matmul_float_fn *kernel)
{
    float_cases(kernel, sterna_matmul_f32_ref, 4);
}

void check_matmul_f16(sterna_matmul_float_fn *kernel)
{
    float_cases(kernel, sterna_matmul_f16_ref, 2);
}

void check_matmul_bf16(sterna_matmul_float_fn *kernel)
{
    float_cases(kernel, sterna_matmul_bf16_ref, 2);
}
