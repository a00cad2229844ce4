#include "train/product.h"

#include <cblas.h>

#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"

/* A task is a block of c: PANELS_A panels of a by PANELS_B panels of b, taken about DEPTH terms
 * at a time, so that a panel of b stays in the first cache and the block of a in the second. */
enum { PANELS_A = 22, PANELS_B = 4, DEPTH = 512 };

void sterna_multiplier_init(sterna_multiplier *m, uint32_t features, int threads, bool exact)
{
    sterna_kernels_select(features, &m->kernels);
    m->bf16 = !exact && features & STERNA_CPU_AVX512BF16;
    m->threads = threads;
}

static size_t lanes_of(sterna_side side)
{
    return side == STERNA_LEFT ? STERNA_GEMM_ROWS : STERNA_GEMM_COLUMNS;
}

static size_t panels_of(const sterna_packed *p)
{
    return (p->operand.count + lanes_of(p->side) - 1) / lanes_of(p->side);
}

static size_t pairs_of(const sterna_packed *p)
{
    return (p->operand.depth + 1) / 2;
}

static const uint16_t *panel_at(const sterna_packed *p, size_t panel, size_t pair)
{
    return p->data + (panel * pairs_of(p) + pair) * lanes_of(p->side) * 2;
}

sterna_status sterna_pack(const sterna_multiplier *m, sterna_packed *packed, sterna_side side,
                          const sterna_operand *operand, sterna_error *err)
{
    packed->operand = *operand;
    packed->side = side;
    if (!m->bf16) return STERNA_OK;
    size_t lanes = lanes_of(side), panels = panels_of(packed), pairs = pairs_of(packed), room;
    if (!sterna_mul_size(panels, lanes * 2, &room) || !sterna_mul_size(room, pairs, &room))
        return sterna_fail_memory(err, "a packed matrix");
    if (room > packed->room) {
        sterna_packed_free(packed);
        packed->data = sterna_alloc(room, sizeof *packed->data);
        if (!packed->data) return sterna_fail_memory(err, "a packed matrix");
        packed->room = room;
        packed->operand = *operand;
        packed->side = side;
    }
    sterna_pack_bf16_fn *pack =
        operand->transposed ? m->kernels.pack_bf16_columns : m->kernels.pack_bf16_rows;
#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (size_t i = 0; i < panels; i++) {
        size_t first = i * lanes, left = operand->count - first;
        pack(operand->x + first * (operand->transposed ? 1 : operand->stride), operand->stride,
             left < lanes ? left : lanes, operand->depth, lanes,
             packed->data + i * pairs * lanes * 2);
    }
    return STERNA_OK;
}

void sterna_packed_free(sterna_packed *packed)
{
    sterna_free(packed->data);
    *packed = (sterna_packed){0};
}

/* One tile of 12 x 32 of c, of which `rows` x `cols` are there. */
static void add_tile(const sterna_multiplier *m, const uint16_t *a, const uint16_t *b, size_t pairs,
                     size_t rows, size_t cols, float *c, size_t c_stride)
{
    enum { ROWS = STERNA_GEMM_ROWS, COLUMNS = STERNA_GEMM_COLUMNS };
    if (rows == ROWS && cols == COLUMNS) {
        m->kernels.gemm_bf16(a, b, pairs, c, c_stride);
        return;
    }
    float tile[ROWS * COLUMNS] = {0};
    m->kernels.gemm_bf16(a, b, pairs, tile, COLUMNS);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) c[i * c_stride + j] += tile[i * COLUMNS + j];
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The block of c whose panels begin at (i0, j0). */
static void multiply_block(const sterna_multiplier *m, const sterna_packed *a,
                           const sterna_packed *b, size_t i0, size_t j0, bool add, float *c,
                           size_t c_stride)
{
    enum { ROWS = STERNA_GEMM_ROWS, COLUMNS = STERNA_GEMM_COLUMNS };
    size_t rows = a->operand.count, cols = b->operand.count, pairs = pairs_of(a);
    size_t i1 = least(i0 + PANELS_A, panels_of(a)), j1 = least(j0 + PANELS_B, panels_of(b));
    if (!add)
        for (size_t i = i0 * ROWS; i < least(i1 * ROWS, rows); i++)
            memset(c + i * c_stride + j0 * COLUMNS, 0,
                   (least(j1 * COLUMNS, cols) - j0 * COLUMNS) * sizeof *c);
    size_t cuts = (pairs + DEPTH / 4) / (DEPTH / 2),
           share = cuts > 1 ? (pairs + cuts - 1) / cuts : pairs;
    for (size_t p = 0; p < pairs; p += share)
        for (size_t j = j0; j < j1; j++)
            for (size_t i = i0; i < i1; i++)
                add_tile(m, panel_at(a, i, p), panel_at(b, j, p), least(share, pairs - p),
                         least(rows - i * ROWS, ROWS), least(cols - j * COLUMNS, COLUMNS),
                         c + i * ROWS * c_stride + j * COLUMNS, c_stride);
}

static void multiply_bf16(const sterna_multiplier *m, const sterna_packed *a,
                          const sterna_packed *b, bool add, bool upper, float *c, size_t c_stride)
{
    size_t down = (panels_of(a) + PANELS_A - 1) / PANELS_A,
           across = (panels_of(b) + PANELS_B - 1) / PANELS_B;
#pragma omp parallel for schedule(dynamic, 1) num_threads(m->threads)
    for (size_t t = 0; t < down * across; t++) {
        size_t i = t % down * PANELS_A, j = t / down * PANELS_B;
        if (upper && i * STERNA_GEMM_ROWS >= (j + PANELS_B) * STERNA_GEMM_COLUMNS) continue;
        multiply_block(m, a, b, i, j, add, c, c_stride);
    }
}

/* Columns of c that a thread takes at a time. */
enum { FLOAT_COLUMNS = 128 };

static void multiply_float(const sterna_multiplier *m, const sterna_operand *a,
                           const sterna_operand *b, bool add, bool upper, float *c, size_t c_stride)
{
    size_t blocks = (b->count + FLOAT_COLUMNS - 1) / FLOAT_COLUMNS;
#pragma omp parallel for schedule(dynamic, 1) num_threads(m->threads)
    for (size_t t = 0; t < blocks; t++) {
        size_t j = t * FLOAT_COLUMNS, count = least(FLOAT_COLUMNS, b->count - j);
        size_t rows = upper ? least(a->count, j + count) : a->count;
        cblas_sgemm(CblasRowMajor, a->transposed ? CblasTrans : CblasNoTrans,
                    b->transposed ? CblasNoTrans : CblasTrans, (blasint)rows, (blasint)count,
                    (blasint)a->depth, 1, a->x, (blasint)a->stride,
                    b->x + j * (b->transposed ? 1 : b->stride), (blasint)b->stride, add ? 1 : 0,
                    c + j, (blasint)c_stride);
    }
}

static void multiply(const sterna_multiplier *m, const sterna_packed *a, const sterna_packed *b,
                     bool add, bool upper, float *c, size_t c_stride)
{
    if (m->bf16)
        multiply_bf16(m, a, b, add, upper, c, c_stride);
    else
        multiply_float(m, &a->operand, &b->operand, add, upper, c, c_stride);
}

void sterna_multiply(const sterna_multiplier *m, const sterna_packed *a, const sterna_packed *b,
                     bool add, float *c, size_t c_stride)
{
    multiply(m, a, b, add, false, c, c_stride);
}

void sterna_multiply_upper(const sterna_multiplier *m, const sterna_packed *a,
                           const sterna_packed *b, float *c, size_t c_stride)
{
    multiply(m, a, b, true, true, c, c_stride);
}
