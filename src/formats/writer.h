/* Writing GGUF v3, safetensors and Hugging Face folders, tensor by tensor, atomically.
 *
 * The directory is declared first (all names, types, dims), then the bytes follow in that order, so
 * that no more than one tensor is in memory. Nothing appears under the target name before
 * sterna_model_writer_commit.
 */
#ifndef STERNA_FORMATS_WRITER_H
#define STERNA_FORMATS_WRITER_H

#include "formats/model_file.h"

typedef struct sterna_model_writer sterna_model_writer;

/* Container by the name's end: .gguf or .safetensors (safetensors: F32, F16, BF16, integers;
 * metadata strings only). A name without a dot, or with a slash at its end, is that of a Hugging
 * Face folder, which must not be there yet (or be empty): model.safetensors, and all metadata in
 * config.json. */
sterna_status sterna_model_writer_open(const char *path, sterna_model_writer **out,
                                       sterna_error *err);
/* Metadata, before the first tensor is declared; a key set twice keeps the last value. */
sterna_status sterna_model_writer_copy_meta(sterna_model_writer *writer, const sterna_meta *meta,
                                            sterna_error *err);
sterna_status sterna_model_writer_meta_u32(sterna_model_writer *writer, const char *key,
                                           uint32_t value, sterna_error *err);
sterna_status sterna_model_writer_meta_float(sterna_model_writer *writer, const char *key,
                                             float value, sterna_error *err);
sterna_status sterna_model_writer_meta_bool(sterna_model_writer *writer, const char *key,
                                            bool value, sterna_error *err);
sterna_status sterna_model_writer_meta_string(sterna_model_writer *writer, const char *key,
                                              const char *value, size_t size, sterna_error *err);
sterna_status sterna_model_writer_meta_strings(sterna_model_writer *writer, const char *key,
                                               const sterna_text *values, size_t count,
                                               sterna_error *err);
sterna_status sterna_model_writer_meta_i32s(sterna_model_writer *writer, const char *key,
                                            const int32_t *values, size_t count, sterna_error *err);
sterna_status sterna_model_writer_meta_floats(sterna_model_writer *writer, const char *key,
                                              const float *values, size_t count, sterna_error *err);
/* Declares a tensor (name, type, n_dims and dims are read). */
sterna_status sterna_model_writer_declare(sterna_model_writer *writer, const sterna_tensor *tensor,
                                          sterna_error *err);
/* The bytes of the next declared tensor, whole or in pieces that sum to its size. */
sterna_status sterna_model_writer_data(sterna_model_writer *writer, const void *bytes, size_t size,
                                       sterna_error *err);
bool sterna_model_writer_is_folder(const sterna_model_writer *writer);
/* Whether a model can become what is being written: a folder is made of a folder. */
sterna_status sterna_model_writer_accepts(const sterna_model_writer *writer,
                                          const sterna_model_file *file, sterna_error *err);
/* Folders: writes config.json and copies what else lies beside the weights of `file` (tokenizer,
 * templates, licence). After the metadata, before the commit. Others: nothing. */
sterna_status sterna_model_writer_side_files(sterna_model_writer *writer,
                                             const sterna_model_file *file, sterna_error *err);
/* All or nothing; the writer is gone afterwards. Abort accepts NULL. */
sterna_status sterna_model_writer_commit(sterna_model_writer *writer, sterna_error *err);
void sterna_model_writer_abort(sterna_model_writer *writer);

#endif
