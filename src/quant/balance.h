/* How much each calibration token counts in the second moments of matrices whose product is added
 * to the residual stream.
 *
 * The norm that reads the stream next makes an error count as a share of it. A few tokens have
 * massive activations (arXiv 2402.17762), a thousand times as long as the others: counted alike,
 * they would decide alone about the matrices that make them, and the error taken back for them
 * would drown the others.
 */
#ifndef STERNA_QUANT_BALANCE_H
#define STERNA_QUANT_BALANCE_H

#include <stddef.h>

/* factors[tokens]: 1 / the length of each token's row of stream[tokens][width], the full model's
 * residual stream behind the product. */
void sterna_balance_factors(const float *stream, size_t tokens, size_t width, float *factors);

/* x[tokens][cols], each row times its factor. */
void sterna_balance(float *x, size_t tokens, size_t cols, const float *factors);

#endif
