/* The receipt of a conversion or quantization, as a JSON object.
 *
 * Honest bits: codes, scales and padding of the ternary part; for the whole, every byte of the file
 * that was written, metadata and tokenizer too, over all weights.
 */
#ifndef STERNA_QUANT_RECEIPT_H
#define STERNA_QUANT_RECEIPT_H

#include <jansson.h>

#include "quant/stream.h"

/* `settings` is stolen, also on failure. NULL when memory ran out. The output exists. */
json_t *sterna_receipt_make(const char *in, const char *out, const sterna_model_file *file,
                            const sterna_item *items, size_t count, json_t *settings);
/* The text of a receipt, which is stolen and may be NULL (memory ran out). *json: release with
 * sterna_free. */
sterna_status sterna_receipt_text(json_t *receipt, char **json, sterna_error *err);

#endif
