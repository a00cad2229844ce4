/* The table of model families. Internal to model/.
 *
 * A family is a row of data: what its files call things, which optional parts its layers have, and
 * what its configuration leaves unsaid. To add one, add a row (and a name table if its tensors have
 * new names); the decoder asks only for what the row says.
 */
#ifndef STERNA_MODEL_FAMILY_H
#define STERNA_MODEL_FAMILY_H

#include "model/config.h"

/* The tensors that a decoder may have. The name of a matrix is followed by ".weight" and, for its
 * bias, by ".bias". */
typedef enum sterna_slot {
    STERNA_SLOT_EMBEDDING,
    STERNA_SLOT_FINAL_NORM,
    STERNA_SLOT_HEAD,
    STERNA_SLOT_ROPE_DIVISORS,
    STERNA_SLOT_ROPE_LONG,
    STERNA_SLOT_ROPE_SHORT,
    STERNA_SLOT_LAYERED, /* those from here on exist once per layer */
    STERNA_SLOT_ATTN_NORM = STERNA_SLOT_LAYERED,
    STERNA_SLOT_Q,
    STERNA_SLOT_K,
    STERNA_SLOT_V,
    STERNA_SLOT_QKV, /* q, k, v below each other in one matrix */
    STERNA_SLOT_Q_NORM,
    STERNA_SLOT_K_NORM,
    STERNA_SLOT_ATTN_SUB_NORM, /* before the output projection */
    STERNA_SLOT_OUT,
    STERNA_SLOT_ATTN_POST_NORM, /* before the residual sum */
    STERNA_SLOT_FFN_NORM,
    STERNA_SLOT_GATE,
    STERNA_SLOT_UP,
    STERNA_SLOT_GATE_UP,      /* gate above up in one matrix */
    STERNA_SLOT_FFN_SUB_NORM, /* before the down projection */
    STERNA_SLOT_DOWN,
    STERNA_SLOT_FFN_POST_NORM,
    STERNA_SLOTS
} sterna_slot;

typedef struct sterna_tensor_names {
    /* Everything but the head may stand behind one of these (NULL ends the list). */
    const char *prefixes[4];
    const char *layers;             /* "blk." + layer number + "." + name */
    const char *name[STERNA_SLOTS]; /* NULL: files of this kind have no such tensor */
    /* Tensors that start with, or end in, one of these are no part of the decoder. */
    const char *ignored_prefixes[4], *ignored_suffixes[4];
} sterna_tensor_names;

enum {
    STERNA_HAS_QKV_BIAS = 1 << 0, /* required (any other bias is used where there is one) */
    STERNA_HAS_QK_NORM = 1 << 1,  /* per head, before the rotation */
    STERNA_HAS_POST_NORMS = 1 << 2,
    STERNA_HAS_SUB_NORMS = 1 << 3,
    STERNA_SCALES_EMBEDDING = 1 << 4,
    STERNA_GAIN_LESS_ONE = 1 << 5,   /* Hugging Face files store norm gains minus one */
    STERNA_INT8_TOKENS = 1 << 6,     /* trained with int8 activations, one scale per token */
    STERNA_WINDOW_OPTIONAL = 1 << 7, /* Hugging Face: sliding_window counts only when
                                        use_sliding_window says so, from max_window_layers on */
    STERNA_TIED_BY_DEFAULT = 1 << 8
};

struct sterna_family {
    const char *name;
    const char *gguf[4];       /* general.architecture */
    const char *hf[3];         /* config.json: architectures */
    const char *model_type[3]; /* config.json: model_type, where architectures says nothing */
    const sterna_tensor_names *gguf_names, *hf_names;
    unsigned has;
    sterna_gate gate;            /* where the file does not say */
    sterna_rope_style gguf_rope; /* Hugging Face files always hold halves */
    uint32_t default_window;     /* where the file does not say; 0 = none */
    uint32_t global_every;  /* every n-th layer attends everything; 0 = the window holds for all */
    uint32_t no_rope_every; /* every n-th layer has no rotation; 0 = all have it */
    float rope_base, local_rope_base; /* where the file does not say; local 0 = as the global one */
    float attention_soft_cap, logit_soft_cap; /* Hugging Face: where the file does not say */
    /* Hugging Face: what config.json may leave out (0 = it may not). */
    struct {
        uint32_t heads, kv_heads, head_dim, vocabulary, context;
        float norm_eps;
    } hf_default;
    /* GGUF does not store the attention scale of the one size that has its own: a model of so many
     * layers takes 1 / sqrt(width / heads) instead of 1 / sqrt(head_dim). */
    uint32_t layers_scaled_by_width;
};

/* What can move into neighbouring matrices without a change of what the model computes. All rows
 * have norms without a mean; what else a layer has may stand between. */
enum {
    STERNA_FOLD_GAINS = 1 << 0,    /* of the input norms, into the matrices behind them */
    STERNA_FOLD_RESIDUAL = 1 << 1, /* an orthogonal transform of the residual stream; needs GAINS */
    STERNA_FOLD_HEADS = 1 << 2     /* one of every head's values, between v and output */
};
unsigned sterna_family_folds(const sterna_family *family);

/* NULL when no row has the name. */
const sterna_family *sterna_family_by_gguf(const char *architecture, size_t size);
const sterna_family *sterna_family_by_hf(const char *architecture, const char *model_type);
/* "llama, qwen2, ..." of the container, for error sentences. */
void sterna_family_list(sterna_container container, char *text, size_t size);
const sterna_tensor_names *sterna_family_names(const sterna_family *family,
                                               sterna_container container);

/* Gate functions by the name that config.json uses; false when unknown. */
bool sterna_gate_by_name(const char *name, sterna_gate *gate);

/* ---- the readers, one per container, and what they share ---- */

sterna_status sterna_config_read_gguf(const sterna_model_file *file, sterna_config *config,
                                      sterna_error *err);
sterna_status sterna_config_read_hf(const sterna_model_file *file, sterna_config *config,
                                    sterna_error *err);
/* Allocates the layers: every `global_every`-th attends everything (0: none does), the others
 * through the window (0: none). */
sterna_status sterna_config_make_layers(sterna_config *config, uint32_t window,
                                        uint32_t global_every, sterna_error *err);
/* Gives a layer another window and the rotation that goes with it. */
void sterna_config_set_window(sterna_config *config, uint32_t layer, uint32_t window);
/* 0.1 ln(factor) + 1 and 1 below: yarn's factor on cos and sin. */
float sterna_yarn_attention(float factor, float multiplier);

#endif
