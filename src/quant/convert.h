/* A whole model moved from one container or ternary layout to another.
 *
 * Ternary tensors keep every trit and every scale; floats change only where float_type asks for it
 * or the container cannot hold their type.
 */
#ifndef STERNA_QUANT_CONVERT_H
#define STERNA_QUANT_CONVERT_H

#include "base/error.h"

/* As sterna_convert in sterna.h; `options` is never NULL. */
sterna_status sterna_convert_model(const char *in, const char *out,
                                   const sterna_convert_options *options, char **report,
                                   sterna_error *err);

#endif
