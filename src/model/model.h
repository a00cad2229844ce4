/* The decoder: a language model's weights on a device, and its one forward pass.
 *
 * Loading is all or nothing. A loaded decoder is immutable and shared; what a forward pass writes
 * lies in a workspace and in key-value caches, both owned by the caller. Prefill, decode and
 * batches of sequences are the same call: a row of tokens, each with its cache and its position.
 * Nothing here knows of text.
 */
#ifndef STERNA_MODEL_MODEL_H
#define STERNA_MODEL_MODEL_H

#include "model/config.h"

typedef struct sterna_decoder sterna_decoder;
typedef struct sterna_workspace sterna_workspace;

typedef struct sterna_decoder_options {
    sterna_arithmetic arithmetic;
    sterna_progress progress;
    void *progress_context;
    /* Not NULL: only plan. Every tensor is looked up and its shape checked, a device opened with
     * `plan` chooses layouts and kernels, no weight is read; absent tensors are named one by one
     * instead of ending the load. Such a decoder tells its weights and cannot run. */
    void (*on_missing)(void *context, const char *name);
    void *missing_context;
} sterna_decoder_options;

/* Packs every weight of `file` on `device` (borrowed; must outlive the decoder) and gives the
 * file's pages back as it goes. The file is not needed afterwards. Fails with a sentence that names
 * the tensor when one is missing, has another shape than the configuration says, or is not part of
 * the family. `options` may be NULL. */
sterna_status sterna_decoder_load(const sterna_model_file *file, sterna_device *device,
                                  const sterna_decoder_options *options, sterna_decoder **out,
                                  sterna_error *err);
void sterna_decoder_free(sterna_decoder *decoder);

const sterna_config *sterna_decoder_config(const sterna_decoder *decoder);
sterna_device *sterna_decoder_device(const sterna_decoder *decoder);

/* One loaded matrix, for reports. */
typedef struct sterna_loaded_weight {
    const char *name; /* as the file calls it */
    sterna_type type; /* in the file */
    sterna_weight_info info;
} sterna_loaded_weight;
size_t sterna_decoder_weights(const sterna_decoder *decoder, const sterna_loaded_weight **weights);
/* Bytes of all weights on the device; and those that one decoded token reads (all matrices but an
 * untied embedding table). */
uint64_t sterna_decoder_bytes(const sterna_decoder *decoder);
uint64_t sterna_decoder_bytes_per_token(const sterna_decoder *decoder);

/* Buffers for passes of up to max_tokens tokens over caches of up to `capacity` positions. */
sterna_status sterna_workspace_new(sterna_decoder *decoder, size_t max_tokens, uint32_t capacity,
                                   sterna_workspace **out, sterna_error *err);
void sterna_workspace_free(sterna_workspace *workspace);

typedef struct sterna_forward {
    const int32_t *ids;               /* [n], in [0, vocabulary) */
    const sterna_batch_place *places; /* [n] */
    /* [n]: tokens that the place's sequence will hold once the prompt that this token belongs to is
     * in (rotations that depend on the length of the text look at it) */
    const uint32_t *lengths;
    size_t n; /* <= max_tokens */
} sterna_forward;

/* Runs the layers and keeps the hidden states in the workspace. Cannot fail: the caller checked ids
 * and positions. Allocates nothing. */
void sterna_decoder_forward(sterna_workspace *workspace, const sterna_forward *call);
/* Logits of tokens [first, first + count) of the last forward pass into host memory: `logits` is
 * [count][vocabulary], or NULL and token first + i goes to rows[i] of [vocabulary]. */
void sterna_decoder_logits(sterna_workspace *workspace, size_t first, size_t count, float *logits,
                           float *const *rows);

#endif
