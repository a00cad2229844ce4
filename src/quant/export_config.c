/* A model's configuration as GGUF metadata. The keys are llama.cpp's; what they leave out is what
 * its readers (and model/config_gguf.c) take for granted of the architecture. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/family.h"
#include "quant/export.h"

typedef struct keys {
    const sterna_model_file *file;
    const sterna_config *config;
    sterna_model_writer *writer;
    sterna_error *err;
    sterna_status status; /* sticks */
    char key[128];
} keys;

const char *sterna_export_architecture(const sterna_config *config)
{
    return config->family->gguf[0] ? config->family->gguf[0] : "llama";
}

static const char *key(keys *k, const char *name)
{
    snprintf(k->key, sizeof k->key, "%s.%s", sterna_export_architecture(k->config), name);
    return k->key;
}

static void put_u32(keys *k, const char *name, uint32_t value)
{
    if (!k->status)
        k->status = sterna_model_writer_meta_u32(k->writer, key(k, name), value, k->err);
}

static void put_float(keys *k, const char *name, float value)
{
    if (!k->status)
        k->status = sterna_model_writer_meta_float(k->writer, key(k, name), value, k->err);
}

static void put_string(keys *k, const char *full_key, const char *value)
{
    if (!k->status)
        k->status =
            sterna_model_writer_meta_string(k->writer, full_key, value, strlen(value), k->err);
}

static void refuse(keys *k, const char *what)
{
    if (!k->status)
        k->status = sterna_fail(k->err, STERNA_ERROR_UNSUPPORTED,
                                "%s: the model has %s, which GGUF cannot say; run it as it is",
                                k->file->path, what);
}

static void put_ffn_widths(keys *k)
{
    const sterna_config *config = k->config;
    bool uniform = true;
    for (uint32_t l = 1; l < config->n_layers; l++)
        uniform &= config->layers[l].ffn_width == config->layers[0].ffn_width;
    if (uniform) {
        put_u32(k, "feed_forward_length", config->layers[0].ffn_width);
        return;
    }
    int32_t *widths = sterna_alloc(config->n_layers, sizeof *widths);
    for (uint32_t l = 0; widths && l < config->n_layers; l++)
        widths[l] = (int32_t)config->layers[l].ffn_width;
    if (!k->status)
        k->status = widths ? sterna_model_writer_meta_i32s(k->writer, key(k, "feed_forward_length"),
                                                           widths, config->n_layers, k->err)
                           : sterna_fail_memory(k->err, "metadata");
    sterna_free(widths);
}

static void put_sizes(keys *k)
{
    const sterna_config *config = k->config;
    put_u32(k, "block_count", config->n_layers);
    put_u32(k, "context_length", config->context);
    put_u32(k, "embedding_length", config->width);
    put_ffn_widths(k);
    put_u32(k, "attention.head_count", config->heads);
    put_u32(k, "attention.head_count_kv", config->kv_heads);
    put_u32(k, "attention.key_length", config->head_dim);
    put_u32(k, "attention.value_length", config->head_dim);
    put_float(k, "attention.layer_norm_rms_epsilon", config->norm_eps);
    put_u32(k, "vocab_size", config->vocabulary);
}

/* Layers without rotation come at the family's interval or not at all. */
static void check_unrotated(keys *k)
{
    uint32_t every = k->config->family->no_rope_every;
    for (uint32_t l = 0; l < k->config->n_layers; l++) {
        bool absent = k->config->layers[l].rope == STERNA_ROPE_ABSENT;
        if (absent != (every && (l + 1) % every == 0)) refuse(k, "layers without positions");
    }
}

/* The window, and where the layers' pattern is not the family's, which layers look through it. */
static void put_windows(keys *k)
{
    const sterna_config *config = k->config;
    uint32_t window = 0, every = config->family->global_every;
    for (uint32_t l = 0; l < config->n_layers; l++)
        if (config->layers[l].window) window = config->layers[l].window;
    if (window == 0 && config->family->default_window == 0) return;
    put_u32(k, "attention.sliding_window", window);
    bool usual = true;
    for (uint32_t l = 0; l < config->n_layers; l++) {
        bool global = window == 0 || (every && (l + 1) % every == 0);
        usual &= (config->layers[l].window == 0) == global;
    }
    if (usual) return;
    int32_t *local = sterna_alloc(config->n_layers, sizeof *local);
    for (uint32_t l = 0; local && l < config->n_layers; l++)
        local[l] = config->layers[l].window != 0;
    if (!k->status)
        k->status = local
                        ? sterna_model_writer_meta_i32s(k->writer,
                                                        key(k, "attention.sliding_window_pattern"),
                                                        local, config->n_layers, k->err)
                        : sterna_fail_memory(k->err, "metadata");
    sterna_free(local);
}

static void put_scaling(keys *k, const sterna_rope_config *rope)
{
    float attention = rope->attention_factor;
    switch (rope->scaling) {
    case STERNA_SCALING_NONE: break;
    case STERNA_SCALING_LLAMA3: break; /* rope_freqs.weight says it */
    case STERNA_SCALING_DYNAMIC: refuse(k, "dynamic rotary scaling"); break;
    case STERNA_SCALING_LINEAR: put_string(k, key(k, "rope.scaling.type"), "linear"); break;
    case STERNA_SCALING_YARN:
        if (rope->no_truncation) refuse(k, "yarn scaling without truncation");
        put_string(k, key(k, "rope.scaling.type"), "yarn");
        put_float(k, "rope.scaling.yarn_beta_fast", rope->beta_fast);
        put_float(k, "rope.scaling.yarn_beta_slow", rope->beta_slow);
        attention /= sterna_yarn_attention(rope->factor, 1); /* the reader multiplies by it */
        break;
    case STERNA_SCALING_LONGROPE: put_string(k, key(k, "rope.scaling.type"), "longrope"); break;
    }
    if (rope->scaling == STERNA_SCALING_NONE || rope->scaling == STERNA_SCALING_LLAMA3) return;
    put_float(k, "rope.scaling.factor", rope->factor);
    if (rope->scaling != STERNA_SCALING_LINEAR)
        put_u32(k, "rope.scaling.original_context_length", rope->original_context);
    if (fabsf(attention - 1) > 1e-6f) put_float(k, "rope.scaling.attn_factor", attention);
}

static void put_rope(keys *k)
{
    const sterna_rope_config *global = &k->config->rope[STERNA_ROPE_GLOBAL];
    const sterna_rope_config *local = &k->config->rope[STERNA_ROPE_LOCAL];
    const sterna_family *family = k->config->family;
    bool paired =
        k->config->rope_style == STERNA_ROPE_HALVES && family->gguf_rope == STERNA_ROPE_PAIRS;
    if (paired && global->dims != k->config->head_dim)
        refuse(k, "heads that turn only in part, in an order of their own");
    put_u32(k, "rope.dimension_count", global->dims);
    put_float(k, "rope.freq_base", global->base);
    float usual = family->local_rope_base != 0 ? family->local_rope_base : global->base;
    if (local->base != usual) put_float(k, "rope.freq_base_swa", local->base);
    if (local->scaling != STERNA_SCALING_NONE && family->local_rope_base != 0)
        refuse(k, "rotary scaling in its local layers");
    put_scaling(k, global);
}

static void put_numbers(keys *k)
{
    const sterna_config *config = k->config;
    const sterna_family *family = config->family;
    bool by_width =
        family->layers_scaled_by_width && family->layers_scaled_by_width == config->n_layers;
    uint32_t size = by_width ? config->width / config->heads : config->head_dim;
    float usual = 1 / sqrtf((float)size);
    if (config->attention_soft_cap != 0)
        put_float(k, "attn_logit_softcapping", config->attention_soft_cap);
    if (config->logit_soft_cap != 0)
        put_float(k, "final_logit_softcapping", config->logit_soft_cap);
    if (fabsf(config->attention_scale - usual) > 1e-6f * usual)
        put_float(k, "attention.scale", config->attention_scale);
    if (config->gate != family->gate) refuse(k, "another activation than its architecture");
}

sterna_status sterna_export_config(const sterna_model_file *file, const sterna_config *config,
                                   sterna_model_writer *writer, sterna_error *err)
{
    keys k = {.file = file, .config = config, .writer = writer, .err = err};
    put_string(&k, "general.architecture", sterna_export_architecture(config));
    put_string(&k, "general.name", sterna_path_name(file->path));
    if (!k.status)
        k.status = sterna_model_writer_meta_u32(writer, "general.quantization_version", 2, err);
    put_sizes(&k);
    put_numbers(&k);
    put_rope(&k);
    check_unrotated(&k);
    put_windows(&k);
    return k.status;
}
