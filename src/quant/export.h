/* The directory of the output: which tensors it has, under which names, and the metadata.
 *
 * GGUF to GGUF keeps both as they are. A Hugging Face folder or a llama2.c file becomes GGUF
 * through the family table: every tensor is found by its meaning and gets the name, the row order
 * and the norm convention that GGUF has for it; configuration and tokenizer become metadata. What
 * GGUF cannot say is refused, never dropped.
 */
#ifndef STERNA_QUANT_EXPORT_H
#define STERNA_QUANT_EXPORT_H

#include "model/config.h"
#include "quant/stream.h"

enum { STERNA_EXPORT_NAME_BYTES = 160 };

typedef struct sterna_export {
    sterna_item *items; /* type = the source's, verb COPY: the caller decides */
    size_t count;
    /* float matrices are BitNet master weights: they stand for absmean trits, one scale per tensor
     */
    bool ternarize;
    /* what items point to where it is not the source's: names, changed and additional tensors */
    char (*names)[STERNA_EXPORT_NAME_BYTES];
    sterna_tensor *tensors;
    float *values;
    size_t n_names, n_tensors, n_values;
} sterna_export;

/* Lists the items for an output of container `target` and writes the metadata, all but
 * general.file_type. `split_scales`: the one float32 scale of a packed BitNet matrix becomes a
 * tensor of its own (".scale") where float16 cannot hold it, so that nothing is rounded. */
sterna_status sterna_export_open(const sterna_model_file *file, sterna_container target,
                                 bool split_scales, sterna_model_writer *writer, sterna_export *out,
                                 sterna_error *err);
void sterna_export_close(sterna_export *plan);

/* general.file_type, by the type that most weights have. Before the tensors are declared. */
sterna_status sterna_export_file_type(sterna_model_writer *writer, const sterna_item *items,
                                      size_t count, sterna_error *err);

/* ---- the parts of sterna_export_open, for a model that becomes GGUF ---- */

/* The items of every tensor that the family's rows name; a tensor left over is refused. */
sterna_status sterna_export_tensors(const sterna_model_file *file, const sterna_config *config,
                                    bool split_scales, sterna_export *out, sterna_error *err);
/* The keys under the architecture's name. */
sterna_status sterna_export_config(const sterna_model_file *file, const sterna_config *config,
                                   sterna_model_writer *writer, sterna_error *err);
/* tokenizer.*, if the files hold one. */
sterna_status sterna_export_tokenizer(const sterna_model_file *file, const sterna_config *config,
                                      sterna_model_writer *writer, sterna_error *err);
/* What GGUF calls the architecture. */
const char *sterna_export_architecture(const sterna_config *config);

#endif
