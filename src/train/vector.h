/* The operations of a decoder between its products, and their derivatives, over rows in parallel.
 *
 * Activations are [rows][n] floats. Sums over rows are taken in a fixed number of parts, so that
 * results do not depend on the number of threads.
 */
#ifndef STERNA_TRAIN_VECTOR_H
#define STERNA_TRAIN_VECTOR_H

#include "device/device.h"
#include "train/product.h"

/* out = norm(x); gain [n] may be NULL: then out = x (the norm is not there). out may be x. */
void sterna_norm_forward(const sterna_multiplier *m, const float *x, size_t rows, size_t n,
                         const float *gain, float eps, float *out);
/* dx (+)= the gradient at x from the one at the norm's output (dx may be dy where nothing is added)
 * and `log_gradient`[n], unless NULL, += the gradient of the logarithms of the gains. `parts` is
 * scratch of STERNA_SUM_PARTS * n floats. */
enum { STERNA_SUM_PARTS = 16 };
void sterna_norm_backward(const sterna_multiplier *m, const float *x, const float *dy, size_t rows,
                          size_t n, const float *gain, float eps, bool add, float *dx,
                          float *log_gradient, float *parts);

/* out = act(gate) * up; and dgate, dup from dout (dgate may be dout). */
void sterna_gate_forward(const sterna_multiplier *m, sterna_gate kind, const float *gate,
                         const float *up, size_t rows, size_t n, float *out);
void sterna_gate_backward(const sterna_multiplier *m, sterna_gate kind, const float *gate,
                          const float *up, const float *dout, size_t rows, size_t n, float *dgate,
                          float *dup);

/* Rotates every head of x[rows][heads][dim] by the angles of its row's position, row % length, or
 * back (the transpose). `turns` [length][pairs][2] as the device's rope_table. */
void sterna_rope_rotate(const sterna_multiplier *m, float *x, size_t rows, size_t heads, size_t dim,
                        const float *turns, size_t pairs, size_t length, sterna_rope_style style,
                        bool back);

/* out = Hd (signs * x) and its transpose, out = signs * (Hd x); out may be x. */
void sterna_transform_forward(const sterna_multiplier *m, const sterna_hadamard *t, const float *x,
                              size_t rows, size_t n, float *out);
void sterna_transform_backward(const sterna_multiplier *m, const sterna_hadamard *t, const float *x,
                               size_t rows, size_t n, float *out);

/* y += x; y[r] += bias. */
void sterna_add_rows(const sterna_multiplier *m, float *y, const float *x, size_t count);
void sterna_add_bias(const sterna_multiplier *m, float *y, size_t rows, size_t n,
                     const float *bias);

#endif
