/* What a language model is, apart from its weights: its family and its hyper-parameters by
 * semantic name, whatever container they were read from.
 *
 * Reading checks every number (RELIABILITY: zero heads, odd head sizes, NaN epsilons, a million
 * layers, ...): whoever holds a sterna_config may divide by its fields and multiply them.
 */
#ifndef STERNA_MODEL_CONFIG_H
#define STERNA_MODEL_CONFIG_H

#include "device/device.h"
#include "formats/model_file.h"

/* Limits; a model beyond them is refused with STERNA_ERROR_LIMIT. */
enum {
    STERNA_MAX_LAYERS = 1024,
    STERNA_MAX_WIDTH = 1 << 18,
    STERNA_MAX_FFN = 1 << 20,
    STERNA_MAX_HEADS = 4096,
    STERNA_MAX_HEAD_DIM = 4096,
    STERNA_MAX_VOCABULARY = 1 << 24,
    STERNA_MAX_CONTEXT = 1 << 28
};

typedef struct sterna_family sterna_family; /* a row of model/family.c */

typedef enum sterna_rope_scaling {
    STERNA_SCALING_NONE,
    STERNA_SCALING_LINEAR,  /* frequencies / factor */
    STERNA_SCALING_DYNAMIC, /* base grows with the length once it exceeds the trained one (NTK) */
    STERNA_SCALING_LLAMA3,  /* low frequencies / factor, smooth in between */
    STERNA_SCALING_YARN,    /* arXiv 2309.00071 */
    STERNA_SCALING_LONGROPE /* arXiv 2402.13753: a list of divisors for short and one for long text
                             */
} sterna_rope_scaling;

/* Rotary position embedding of one kind of layers. */
typedef struct sterna_rope_config {
    float base;
    uint32_t dims; /* values of a head that turn: even, at most head_dim */
    sterna_rope_scaling scaling;
    float factor;
    uint32_t original_context;           /* tokens, before scaling */
    float low_frequency, high_frequency; /* llama3 */
    float beta_fast, beta_slow;          /* yarn: rotations over original_context */
    bool no_truncation;                  /* yarn: the ramp's ends are not rounded to whole pairs */
    float attention_factor;              /* yarn, longrope: multiplies cos and sin */
    float *divisors;      /* [dims/2] or NULL: rope_freqs of GGUF, longrope's short list */
    float *long_divisors; /* [dims/2] or NULL: longrope beyond original_context */
} sterna_rope_config;

enum { STERNA_ROPE_GLOBAL, STERNA_ROPE_LOCAL, STERNA_ROPE_KINDS, STERNA_ROPE_ABSENT = 255 };

typedef struct sterna_layer_config {
    uint32_t ffn_width;
    uint32_t
        window;   /* 0 = attends everything before; else so many last positions, itself counted */
    uint8_t rope; /* which of config.rope; STERNA_ROPE_ABSENT = positions are not encoded */
} sterna_layer_config;

typedef enum sterna_head_tying {
    STERNA_HEAD_EITHER, /* its own tensor where there is one, else the embedding */
    STERNA_HEAD_TIED,
    STERNA_HEAD_OWN
} sterna_head_tying;

typedef struct sterna_config {
    const sterna_family *family;
    sterna_container container;
    uint32_t n_layers, width, heads, kv_heads, head_dim, vocabulary;
    uint32_t context;            /* tokens it was trained for */
    sterna_layer_config *layers; /* [n_layers] */
    sterna_rope_config rope[STERNA_ROPE_KINDS];
    sterna_rope_style rope_style;
    float norm_eps;
    float norm_shift; /* added to every stored norm gain (Hugging Face Gemma stores gain - 1) */
    float embedding_scale; /* of the looked-up rows */
    float attention_scale;
    float attention_soft_cap, logit_soft_cap; /* 0 = none */
    sterna_gate gate;
    sterna_activation_mode activation; /* of the layers' matrices */
    bool ternarize; /* float weights are made ternary at load, scale mean|W| (BitNet master weights)
                     */
    sterna_head_tying tying;
} sterna_config;

/* Reads and checks; release with sterna_config_free (which accepts a zeroed one). An architecture
 * that no row of the family table names is refused with the list of those that are known. */
sterna_status sterna_config_read(const sterna_model_file *file, sterna_config *config,
                                 sterna_error *err);
void sterna_config_free(sterna_config *config);
const char *sterna_family_name(const sterna_family *family);

/* The angles per position of every pair, out[dims/2], for a text of `length` tokens, and what cos
 * and sin are multiplied by. Only dynamic and longrope scaling depend on the length. */
void sterna_rope_frequencies(const sterna_rope_config *rope, uint32_t length, float *out,
                             float *scale);
/* True when the frequencies for `a` and for `b` tokens differ. */
bool sterna_rope_depends_on_length(const sterna_rope_config *rope);

#endif
