/* The directory of the output: which tensors it has, under which names, and the metadata.
 *
 * GGUF to GGUF keeps both as they are. A Hugging Face folder or a llama2.c file becomes GGUF
 * through the family table: every tensor is found by its meaning and gets the name, the row order
 * and the norm convention that GGUF has for it; configuration and tokenizer become metadata.
 */
#ifndef STERNA_QUANT_EXPORT_H
#define STERNA_QUANT_EXPORT_H

#include "quant/stream.h"

typedef struct sterna_export {
    sterna_item *items; /* type = the source's, verb COPY: the caller decides */
    size_t count;
    char *names; /* the items' names, where they are not the source's */
} sterna_export;

/* Lists the items for an output of container `target` and writes the metadata, all but
 * general.file_type. */
sterna_status sterna_export_open(const sterna_model_file *file, sterna_container target,
                                 sterna_model_writer *writer, sterna_export *out,
                                 sterna_error *err);
void sterna_export_close(sterna_export *plan);

/* general.file_type, by the type that most weights have. Before the tensors are declared. */
sterna_status sterna_export_file_type(sterna_model_writer *writer, const sterna_item *items,
                                      size_t count, sterna_error *err);

#endif
