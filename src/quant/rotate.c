#include "quant/rotate.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

enum { SMALLEST_BLOCK = 16, LARGEST_BLOCK = 1024, LARGEST_REST = 64 };

uint32_t sterna_rotation_block(uint64_t width)
{
    uint64_t block = width & (~width + 1);
    if (block > LARGEST_BLOCK) block = LARGEST_BLOCK;
    return block < SMALLEST_BLOCK ? 0 : (uint32_t)block;
}

sterna_status sterna_rotation_of(sterna_hadamard_rules *rules, uint64_t width, sterna_hadamard *out,
                                 sterna_error *err)
{
    *out = (sterna_hadamard){0};
    uint32_t block = sterna_rotation_block(width);
    if (!block) return STERNA_OK;
    size_t i = 0;
    while (i < rules->n_widths && rules->widths[i].width != width) i++;
    if (i == STERNA_HADAMARD_WIDTHS)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "the matrices have more than %d widths; quantize without the transform "
                           "(--portable)",
                           STERNA_HADAMARD_WIDTHS);
    if (i == rules->n_widths) {
        float *signs = sterna_alloc((size_t)width, sizeof *signs);
        if (!signs) return sterna_fail_memory(err, "the signs of a Hadamard transform");
        sterna_rng rng;
        sterna_rng_seed(&rng, width);
        for (uint64_t k = 0; k < width; k++) signs[k] = sterna_rng_u64(&rng) >> 63 ? -1 : 1;
        rules->widths[i].width = (uint32_t)width;
        rules->widths[i].block = block;
        rules->widths[i].signs = signs;
        rules->n_widths++;
    }
    out->block = rules->widths[i].block;
    out->signs = rules->widths[i].signs;
    return STERNA_OK;
}

/* One block: signs, butterflies, the factor 1 / sqrt(n). */
static void rotate_block(float *x, const float *signs, size_t n)
{
    float factor = (float)(1 / sqrt((double)n));
    for (size_t i = 0; i < n; i++) x[i] *= signs[i] * factor;
    for (size_t step = 1; step < n; step *= 2)
        for (size_t i = 0; i < n; i += 2 * step)
            for (size_t k = i; k < i + step; k++) {
                float a = x[k], b = x[k + step];
                x[k] = a + b;
                x[k + step] = a - b;
            }
}

void sterna_rotate_rows(float *m, size_t rows, size_t cols, const sterna_hadamard *rotation,
                        int threads)
{
    size_t block = rotation->block;
    if (!block) return;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i += block)
            rotate_block(m + r * cols + i, rotation->signs + i, block);
}

static void transpose(float *m, size_t n, int threads)
{
    enum { TILE = 32 };
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (size_t i = 0; i < n; i += TILE)
        for (size_t k = i; k < n; k += TILE)
            for (size_t a = i; a < i + TILE && a < n; a++)
                for (size_t b = k > a ? k : a + 1; b < k + TILE && b < n; b++) {
                    float swap = m[a * n + b];
                    m[a * n + b] = m[b * n + a];
                    m[b * n + a] = swap;
                }
}

void sterna_rotate_square(float *m, size_t n, const sterna_hadamard *rotation, int threads)
{
    if (!rotation->block) return;
    sterna_rotate_rows(m, n, n, rotation,
                       threads); /* m R; as m is symmetric, its transpose R^T m */
    transpose(m, n, threads);
    sterna_rotate_rows(m, n, n, rotation, threads);
}

/* ---- transforms that fold away ---- */

static size_t largest_power(size_t n)
{
    return n & (~n + 1);
}

bool sterna_turn_exists(uint64_t n)
{
    return n > 1 && n < SIZE_MAX && n / largest_power((size_t)n) <= LARGEST_REST;
}

sterna_status sterna_turn_new(size_t n, sterna_turn *turn, sterna_error *err)
{
    size_t block = largest_power(n), rest = n / block;
    *turn = (sterna_turn){.n = n,
                          .block = block,
                          .signs = sterna_alloc(n, sizeof(float)),
                          .hartley = sterna_alloc(rest * rest, sizeof(float))};
    if (!turn->signs || !turn->hartley) {
        sterna_turn_free(turn);
        return sterna_fail_memory(err, "a transform");
    }
    sterna_rng rng;
    sterna_rng_seed(&rng, n);
    for (size_t i = 0; i < n; i++) turn->signs[i] = sterna_rng_u64(&rng) >> 63 ? -1 : 1;
    for (size_t a = 0; a < rest; a++)
        for (size_t b = 0; b < rest; b++) {
            double angle = 2 * M_PI * (double)(a * b % rest) / (double)rest;
            turn->hartley[a * rest + b] = (float)((cos(angle) + sin(angle)) / sqrt((double)n));
        }
    return STERNA_OK;
}

void sterna_turn_free(sterna_turn *turn)
{
    sterna_free(turn->signs);
    sterna_free(turn->hartley);
    *turn = (sterna_turn){0};
}

/* `lanes` vectors, whose values lie `stride` apart; work[n][lanes]. */
static void turn_lanes(const sterna_turn *turn, float *m, size_t stride, size_t lanes, float *work)
{
    size_t n = turn->n, block = turn->block, rest = n / block;
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < lanes; l++) work[i * lanes + l] = m[i * stride + l] * turn->signs[i];
    for (size_t step = 1; step < block; step *= 2)
        for (size_t i = 0; i < n; i += 2 * step)
            for (size_t k = i * lanes; k < (i + step) * lanes; k++) {
                float a = work[k], b = work[k + step * lanes];
                work[k] = a + b;
                work[k + step * lanes] = a - b;
            }
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < lanes; l++) m[i * stride + l] = 0;
    size_t run = stride == lanes ? block * lanes : lanes; /* values that lie together */
    for (size_t a = 0; a < rest; a++)
        for (size_t b = 0; b < rest; b++) {
            float factor = turn->hartley[a * rest + b];
            for (size_t k = 0; k < block; k += run / lanes)
                for (size_t l = 0; l < run; l++)
                    m[(a * block + k) * stride + l] += factor * work[(b * block + k) * lanes + l];
        }
}

sterna_status sterna_turn_apply(const sterna_turn *turn, float *m, size_t outer, size_t inner,
                                int threads, sterna_error *err)
{
    enum { LANES = 32 };
    size_t per = inner < LANES ? inner : LANES, parts = (inner + per - 1) / per, values;
    float *work = sterna_mul_size(turn->n * per, (size_t)threads, &values)
                      ? sterna_alloc(values, sizeof *work)
                      : NULL;
    if (!work) return sterna_fail_memory(err, "a transform");
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < outer * parts; i++) {
        size_t first = i % parts * per, lanes = inner - first < per ? inner - first : per;
        turn_lanes(turn, m + i / parts * turn->n * inner + first, inner, lanes,
                   work + (size_t)omp_get_thread_num() * turn->n * per);
    }
    sterna_free(work);
    return STERNA_OK;
}

/* ---- metadata ---- */

static sterna_status write_string(sterna_model_writer *writer, const char *key, const char *value,
                                  sterna_error *err)
{
    return sterna_model_writer_meta_string(writer, key, value, strlen(value), err);
}

/* sign_values, sign_widths or their like: `widths` in order, and all signs one behind the other. */
static sterna_status write_widths(const sterna_hadamard_rules *rules, bool prism,
                                  sterna_model_writer *writer, sterna_error *err)
{
    int32_t widths[STERNA_HADAMARD_WIDTHS], blocks[STERNA_HADAMARD_WIDTHS];
    size_t count = 0, at = 0;
    for (size_t i = 0; i < rules->n_widths; i++) {
        widths[i] = (int32_t)rules->widths[i].width;
        blocks[i] = (int32_t)rules->widths[i].block;
        count += rules->widths[i].width;
    }
    int32_t *signs = sterna_alloc(count, sizeof *signs);
    if (!signs) return sterna_fail_memory(err, "the signs of a Hadamard transform");
    for (size_t i = 0; i < rules->n_widths; i++)
        for (uint32_t k = 0; k < rules->widths[i].width; k++)
            signs[at++] = rules->widths[i].signs[k] < 0 ? -1 : 1;
    sterna_status status = sterna_model_writer_meta_i32s(
        writer, prism ? "prism.hadamard.sign_widths" : "sterna.hadamard.widths", widths,
        rules->n_widths, err);
    if (!status)
        status = sterna_model_writer_meta_i32s(
            writer, prism ? "prism.hadamard.sign_values" : "sterna.hadamard.signs", signs, count,
            err);
    if (!status && prism)
        status = sterna_model_writer_meta_u32(writer, "prism.hadamard.block_size",
                                              (uint32_t)blocks[0], err);
    if (!status && !prism)
        status = sterna_model_writer_meta_i32s(writer, "sterna.hadamard.blocks", blocks,
                                               rules->n_widths, err);
    sterna_free(signs);
    return status;
}

sterna_status sterna_rotation_write(const sterna_hadamard_rules *rules, const sterna_text *names,
                                    size_t n_names, sterna_model_writer *writer, sterna_error *err)
{
    static const char transform[] = "normalized-sylvester-walsh-hadamard";
    if (!n_names) return STERNA_OK;
    bool prism = true;
    for (size_t i = 1; i < rules->n_widths; i++)
        prism &= rules->widths[i].block == rules->widths[0].block;
    sterna_status status = sterna_model_writer_meta_u32(
        writer, prism ? "prism.hadamard.version" : "sterna.hadamard.version", 1, err);
    if (!status)
        status =
            write_string(writer, prism ? "prism.hadamard.transform" : "sterna.hadamard.transform",
                         transform, err);
    if (!status && prism)
        status = write_string(writer, "prism.hadamard.axis", "input-last-dimension", err);
    if (!status && prism)
        status = write_string(writer, "prism.hadamard.sign_mode", "explicit", err);
    if (!status) status = write_widths(rules, prism, writer, err);
    if (!status)
        status = sterna_model_writer_meta_strings(
            writer, prism ? "prism.hadamard.weight_names" : "sterna.hadamard.weight_names", names,
            n_names, err);
    return status;
}
