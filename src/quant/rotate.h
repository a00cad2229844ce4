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
/* The metadata that tell a loader what to do: prism.hadamard.* where all widths have one block,
 * which other engines know too, else sterna.hadamard.*. Nothing when no name is given. */
sterna_status sterna_rotation_write(const sterna_hadamard_rules *rules, const sterna_text *names,
                                    size_t n_names, sterna_model_writer *writer, sterna_error *err);

#endif
