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
    /* Only the embedding is loaded: layers come and go by sterna_decoder_load_layer, and there are
     * no logits. */
    bool without_layers;
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
/* Operations (two per weight) of the matrix products of a pass over so many tokens that gives so
 * many rows of logits. */
double sterna_decoder_operations(const sterna_decoder *decoder, size_t tokens, size_t logits);

/* Buffers for passes of up to max_tokens tokens over caches of up to `capacity` positions. */
sterna_status sterna_workspace_new(sterna_decoder *decoder, size_t max_tokens, uint32_t capacity,
                                   sterna_workspace **out, sterna_error *err);
void sterna_workspace_free(sterna_workspace *workspace);

/* Seconds that passes spent in matrix products, in attention, and in all. */
typedef struct sterna_pass_times {
    double matmul, attention, total;
} sterna_pass_times;
/* From now on the passes of this workspace add to *times (borrowed); NULL ends that. */
void sterna_workspace_time(sterna_workspace *workspace, sterna_pass_times *times);

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

/* ---- one layer at a time ----
 * For calibration: a decoder made without its layers gets them one by one, from the file or matrix
 * by matrix from elsewhere, and runs one stage of one layer at a time on hidden states that the
 * caller keeps. */

typedef enum sterna_stage {
    STERNA_STAGE_ATTENTION_IN,  /* leaves the input of q, k and v */
    STERNA_STAGE_ATTENTION_MIX, /* leaves the input of the output projection */
    STERNA_STAGE_ATTENTION_OUT, /* adds to the residual stream */
    STERNA_STAGE_FFN_IN,        /* leaves the input of gate and up */
    STERNA_STAGE_FFN_MIX,       /* leaves the input of the down projection */
    STERNA_STAGE_FFN_OUT,       /* adds to the residual stream */
    STERNA_STAGES
} sterna_stage;

typedef enum sterna_matrix {
    STERNA_MATRIX_Q,
    STERNA_MATRIX_K,
    STERNA_MATRIX_V,
    STERNA_MATRIX_OUT,
    STERNA_MATRIX_GATE,
    STERNA_MATRIX_UP,
    STERNA_MATRIX_DOWN,
    STERNA_MATRICES
} sterna_matrix;

/* Where a matrix of a layer stands in the file. */
typedef struct sterna_matrix_place {
    const sterna_tensor *tensor;
    uint64_t first_row, rows; /* of the tensor: all but in fused ones */
} sterna_matrix_place;

typedef enum sterna_norm {
    STERNA_NORM_ATTENTION,
    STERNA_NORM_Q, /* of each head */
    STERNA_NORM_K,
    STERNA_NORM_ATTENTION_SUB,  /* before the output projection */
    STERNA_NORM_ATTENTION_POST, /* before the residual sum */
    STERNA_NORM_FFN,
    STERNA_NORM_FFN_SUB, /* before the down projection */
    STERNA_NORM_FFN_POST,
    STERNA_NORMS
} sterna_norm;

/* Where the parts of a layer stand in the file. */
typedef struct sterna_layer_places {
    sterna_matrix_place matrices[STERNA_MATRICES];
    float factors[STERNA_MATRICES];              /* of all weights of a matrix; 1 nearly always */
    sterna_matrix_place biases[STERNA_MATRICES]; /* values, not rows; tensor NULL: there is none */
    const sterna_tensor *norms[STERNA_NORMS];    /* NULL: the family has none */
} sterna_layer_places;

/* And the parts around the layers. */
typedef struct sterna_end_places {
    const sterna_tensor *embedding, *final_norm;
    const sterna_tensor *head, *head_bias; /* NULL: tied to the embedding; none */
} sterna_end_places;

/* Norms and biases of a layer, and its matrices where asked for. `options` as for the load. Unload
 * what was loaded before it is loaded again. */
sterna_status sterna_decoder_load_layer(sterna_decoder *decoder, const sterna_model_file *file,
                                        const sterna_decoder_options *options, uint32_t layer,
                                        bool matrices, sterna_error *err);
void sterna_decoder_unload_layer(sterna_decoder *decoder, uint32_t layer);
/* Puts a matrix into a layer in place of the one that is there, if any; its shape was checked when
 * the place was found. */
sterna_status sterna_decoder_set_matrix(sterna_decoder *decoder, uint32_t layer,
                                        sterna_matrix matrix, const sterna_tensor *tensor,
                                        const sterna_weight_options *options, sterna_error *err);
sterna_status sterna_decoder_find_matrix(sterna_decoder *decoder, const sterna_model_file *file,
                                         uint32_t layer, sterna_matrix matrix,
                                         sterna_matrix_place *place, sterna_error *err);
/* All parts of a layer and of the ends, for who computes with them elsewhere; shapes are checked.
 * Works on a decoder that was only planned, too. */
sterna_status sterna_decoder_find_layer(sterna_decoder *decoder, const sterna_model_file *file,
                                        uint32_t layer, sterna_layer_places *places,
                                        sterna_error *err);
sterna_status sterna_decoder_find_ends(sterna_decoder *decoder, const sterna_model_file *file,
                                       sterna_end_places *places, sterna_error *err);
/* True when what a layer adds to the stream passes through a norm first. */
bool sterna_decoder_norms_output(const sterna_decoder *decoder);

/* Embeds the tokens and prepares their rotations, which later stages of calls with the same places
 * and lengths use. */
void sterna_decoder_begin(sterna_workspace *workspace, const sterna_forward *call);
/* One stage on what stands in the workspace (call->ids is not looked at). */
void sterna_decoder_stage(sterna_workspace *workspace, const sterna_forward *call, uint32_t layer,
                          sterna_stage stage);
/* Device memory of the workspace: the residual stream [max_tokens][width]; and the matmul input
 * that a stage leaves [max_tokens][columns of the matrix]. */
float *sterna_workspace_stream(const sterna_workspace *workspace);
float *sterna_workspace_input(const sterna_workspace *workspace, sterna_stage stage);

#endif
