/* A whole model made ternary, from file to file.
 *
 * The matrices inside the numbered layers become trits and scales; embeddings and head are kept in
 * Q8_0 or F16, vectors in F32. Where the layout's blocks do not divide a matrix's width, the layout
 * with smaller blocks takes its place, and the receipt says so.
 */
#ifndef STERNA_QUANT_QUANTIZE_H
#define STERNA_QUANT_QUANTIZE_H

#include "base/error.h"

/* As sterna_quantize in sterna.h; `options` is never NULL. */
sterna_status sterna_quantize_model(const char *in, const char *out,
                                    const sterna_quantize_options *options, char **receipt,
                                    sterna_error *err);

#endif
