/* The receipt of a conversion or quantization, as a JSON object and as a page to look at.
 *
 * Honest bits: codes, scales and padding of the ternary part; for the whole, every byte of the file
 * that was written, metadata and tokenizer too, over all weights.
 */
#ifndef STERNA_QUANT_RECEIPT_H
#define STERNA_QUANT_RECEIPT_H

#include <jansson.h>

#include "base/buffer.h"
#include "quant/stream.h"

/* `settings` is stolen, also on failure. NULL when memory ran out. The output exists. */
json_t *sterna_receipt_make(const char *in, const char *out, const sterna_model_file *file,
                            const sterna_item *items, size_t count, json_t *settings);
/* The text of a receipt (NULL: memory ran out while it was made). *json: release with sterna_free.
 */
sterna_status sterna_receipt_text(const json_t *receipt, char **json, sterna_error *err);

/* Reads the written model back and adds what stands in it: "fingerprint" (sterna_digest_file),
 * "bytes" (codes, scales, kept, metadata), and for each ternary tensor the shares of its codes. */
sterna_status sterna_receipt_measure(json_t *receipt, const char *out, int threads,
                                     sterna_error *err);

/* One HTML page without scripts that shows a receipt; any member may be missing. */
void sterna_receipt_html(const json_t *receipt, sterna_buffer *html);

/* OUT.receipt.json and OUT.receipt.html, each whole or not at all. */
sterna_status sterna_receipt_save(const json_t *receipt, const char *out, sterna_error *err);

#endif
