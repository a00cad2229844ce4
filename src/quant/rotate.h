/* Signed block-Hadamard transforms of matmul inputs: they spread outliers over a block of columns,
 * so that weights and inputs fit a coarse grid better.
 *
 * With R = diag(s) Hd, Hd orthogonal and symmetric in blocks, y = W x = (W R)(R^T x): the file
 * holds W R, the runtime applies R^T = Hd diag(s) to the input (model/hadamard.h). The block of a
 * width is the largest power of two that divides it, at most 1024; widths with a block below 16 are
 * left alone.
 */
#ifndef STERNA_QUANT_ROTATE_H
#define STERNA_QUANT_ROTATE_H

#include "formats/writer.h"
#include "model/hadamard.h"

/* The block for a width; 0: none. */
uint32_t sterna_rotation_block(uint64_t width);
/* The transform of a width, made on first use with signs that depend on the width alone; owned by
 * `rules`, block 0 where the width has none. Fails when there are more than STERNA_HADAMARD_WIDTHS
 * widths. */
sterna_status sterna_rotation_of(sterna_hadamard_rules *rules, uint64_t width, sterna_hadamard *out,
                                 sterna_error *err);
/* m[rows][cols] R, in place. */
void sterna_rotate_rows(float *m, size_t rows, size_t cols, const sterna_hadamard *rotation,
                        int threads);
/* R^T m R of a symmetric m[n][n], in place. */
void sterna_rotate_square(float *m, size_t n, const sterna_hadamard *rotation, int threads);
/* ---- transforms that fold away ----
 * Orthogonal, over all n values: R = diag(s) (T x Hd), Hd the Hadamard matrix of the largest power
 * of two that divides n, T the Hartley matrix of the rest (cos + sin). Nothing of it stays in the
 * file, so that it need not be a transform that other engines know. */
typedef struct sterna_turn {
    size_t n, block;
    float *signs;   /* [n] */
    float *hartley; /* [n / block][n / block] */
} sterna_turn;

/* Does n have one? Not when its odd part makes the transform slow. */
bool sterna_turn_exists(uint64_t n);
/* Signs depend on n alone. Release with sterna_turn_free, which accepts a zeroed one. */
sterna_status sterna_turn_new(size_t n, sterna_turn *turn, sterna_error *err);
void sterna_turn_free(sterna_turn *turn);
/* m[outer][n][inner]: every vector v of n values becomes R^T v, in place. Rows of matrices: outer =
 * rows, inner = 1 (M R); columns: outer = 1, inner = columns (R^T M). */
sterna_status sterna_turn_apply(const sterna_turn *turn, float *m, size_t outer, size_t inner,
                                int threads, sterna_error *err);

/* The metadata that tell a loader what to do: prism.hadamard.* where all widths have one block,
 * which other engines know too, else sterna.hadamard.*. Nothing when no name is given. */
sterna_status sterna_rotation_write(const sterna_hadamard_rules *rules, const sterna_text *names,
                                    size_t n_names, sterna_model_writer *writer, sterna_error *err);

#endif
