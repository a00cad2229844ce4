/* A configuration from GGUF metadata: keys "<architecture>.<name>". */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"

enum { KEY_BYTES = 160 };

typedef struct reader {
    const sterna_model_file *file;
    char architecture[64];
    char key[KEY_BYTES];
} reader;

static const char *key(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->architecture, name);
    return r->key;
}

/* A number that may also be written as an array with one element per layer. Absent: *out stays. */
static sterna_status read_uniform(reader *r, const char *name, bool required, uint32_t max,
                                  uint32_t *out, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(r->file, key(r, name));
    if (!meta || meta->type != STERNA_META_ARRAY)
        return sterna_meta_u32(r->file, r->key, required, 0, max, out, err);
    if (meta->strings || meta->count == 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: '%s' is not a list of numbers",
                           r->file->path, r->key);
    double first = sterna_meta_element(meta, 0);
    for (uint64_t i = 0; i < meta->count; i++) {
        double value = sterna_meta_element(meta, i);
        if (!(value >= 0 && value <= max))
            return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: '%s' holds %g, out of range 0..%u",
                               r->file->path, r->key, value, max);
        if (value != first)
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "%s: '%s' differs between layers, which Sterna does not support",
                               r->file->path, r->key);
    }
    *out = (uint32_t)first;
    return STERNA_OK;
}

static sterna_status read_ffn_widths(reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(r->file, key(r, "feed_forward_length"));
    if (meta && meta->type == STERNA_META_ARRAY) {
        if (meta->strings || meta->count != config->n_layers)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: '%s' has %" PRIu64 " elements; expected a number for each of "
                               "the %u layers",
                               r->file->path, r->key, meta->count, config->n_layers);
        for (uint32_t l = 0; l < config->n_layers; l++) {
            double width = sterna_meta_element(meta, l);
            if (!(width >= 1 && width <= STERNA_MAX_FFN))
                return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: '%s' holds %g for layer %u",
                                   r->file->path, r->key, width, l);
            config->layers[l].ffn_width = (uint32_t)width;
        }
        return STERNA_OK;
    }
    uint32_t width = 0;
    sterna_status status = sterna_meta_u32(r->file, r->key, true, 1, STERNA_MAX_FFN, &width, err);
    for (uint32_t l = 0; !status && l < config->n_layers; l++) config->layers[l].ffn_width = width;
    return status;
}

static sterna_status read_sizes(reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_model_file *file = r->file;
    sterna_status status = sterna_meta_u32(file, key(r, "block_count"), true, 1, STERNA_MAX_LAYERS,
                                           &config->n_layers, err);
    if (!status)
        status = sterna_meta_u32(file, key(r, "embedding_length"), true, 1, STERNA_MAX_WIDTH,
                                 &config->width, err);
    if (!status)
        status = sterna_meta_u32(file, key(r, "context_length"), true, 1, STERNA_MAX_CONTEXT,
                                 &config->context, err);
    if (!status)
        status =
            read_uniform(r, "attention.head_count", true, STERNA_MAX_HEADS, &config->heads, err);
    config->kv_heads = config->heads;
    if (!status)
        status = read_uniform(r, "attention.head_count_kv", false, STERNA_MAX_HEADS,
                              &config->kv_heads, err);
    if (!status && config->heads == 0)
        status = sterna_fail(err, STERNA_ERROR_FORMAT, "%s: '%s.attention.head_count' is 0",
                             file->path, r->architecture);
    if (status) return status;

    config->head_dim = config->width / config->heads;
    status = sterna_meta_u32(file, key(r, "attention.key_length"), false, 1, STERNA_MAX_HEAD_DIM,
                             &config->head_dim, err);
    uint32_t value_dim = config->head_dim;
    if (!status)
        status = sterna_meta_u32(file, key(r, "attention.value_length"), false, 1,
                                 STERNA_MAX_HEAD_DIM, &value_dim, err);
    if (!status && value_dim != config->head_dim)
        status = sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                             "%s: keys of %u and values of %u per head; Sterna needs them equal",
                             file->path, config->head_dim, value_dim);
    uint32_t experts = 0;
    if (!status)
        status = sterna_meta_u32(file, key(r, "expert_count"), false, 0, UINT32_MAX, &experts, err);
    if (!status && experts > 0)
        status = sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                             "%s: a mixture of %u experts, which Sterna does not run", file->path,
                             experts);
    return status;
}

/* The vocabulary is what the embedding table has rows for; the metadata must agree. */
static sterna_status read_vocabulary(reader *r, sterna_config *config, sterna_error *err)
{
    const char *path = r->file->path;
    const sterna_tensor *table = sterna_model_file_find(r->file, "token_embd.weight");
    if (!table)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: no tensor 'token_embd.weight': the file holds no model (a "
                           "vocabulary-only file?)",
                           path);
    if (table->dims[1] == 0 || table->dims[1] > STERNA_MAX_VOCABULARY)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: 'token_embd.weight' has %" PRIu64 " rows, more than the limit %d",
                           path, table->dims[1], STERNA_MAX_VOCABULARY);
    config->vocabulary = (uint32_t)table->dims[1];
    uint32_t said = config->vocabulary;
    sterna_status status =
        sterna_meta_u32(r->file, key(r, "vocab_size"), false, 1, UINT32_MAX, &said, err);
    if (status) return status;
    const sterna_meta *tokens = sterna_model_file_meta(r->file, "tokenizer.ggml.tokens");
    uint64_t listed = tokens && tokens->type == STERNA_META_ARRAY ? tokens->count : 0;
    if (said != config->vocabulary || listed > config->vocabulary)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: 'token_embd.weight' has %u rows, but '%s.vocab_size' is %u and the "
                           "tokenizer lists %" PRIu64 " tokens",
                           path, config->vocabulary, r->architecture, said, listed);
    return STERNA_OK;
}

/* A tensor of divisors for every pair, "rope_freqs.weight" and its longrope kin. */
static sterna_status read_divisors(reader *r, const char *name, const sterna_rope_config *rope,
                                   float **out, sterna_error *err)
{
    const sterna_tensor *tensor = sterna_model_file_find(r->file, name);
    if (!tensor) return STERNA_OK;
    if (tensor->type != STERNA_TYPE_F32 || tensor->dims[0] != rope->dims / 2 ||
        sterna_tensor_rows(tensor) != 1)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' is %s with %" PRIu64 " columns; expected F32 with %u, "
                           "one per rotary pair",
                           r->file->path, name, sterna_type_describe(tensor->type)->name,
                           tensor->dims[0], rope->dims / 2);
    float *list = sterna_alloc(rope->dims / 2, sizeof *list);
    if (!list) return sterna_fail_memory(err, "rotary factors");
    sterna_tensor_row(tensor, 0, list);
    *out = list;
    return STERNA_OK;
}

static sterna_status read_scaling_kind(reader *r, sterna_rope_config *rope, sterna_error *err)
{
    static const struct {
        const char *name;
        sterna_rope_scaling scaling;
    } kinds[] = {{"none", STERNA_SCALING_NONE},
                 {"linear", STERNA_SCALING_LINEAR},
                 {"yarn", STERNA_SCALING_YARN},
                 {"longrope", STERNA_SCALING_LONGROPE}};
    sterna_text kind = {"linear", 6};
    sterna_status status =
        sterna_meta_string(r->file, key(r, "rope.scaling.type"), false, &kind, err);
    if (status) return status;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == kind.size && !memcmp(kinds[i].name, kind.data, kind.size)) {
            rope->scaling = kinds[i].scaling;
            return STERNA_OK;
        }
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: rotary scaling '%.*s' is unknown; Sterna knows none, linear, yarn and "
                       "longrope in GGUF files",
                       r->file->path, (int)(kind.size < 60 ? kind.size : 60), kind.data);
}

static sterna_status read_scaling(reader *r, sterna_config *config, sterna_rope_config *rope,
                                  sterna_error *err)
{
    const sterna_model_file *file = r->file;
    sterna_status status = read_scaling_kind(r, rope, err);
    if (status) return status;
    float factor = 0, log_multiplier = 0, attention = 1;
    rope->original_context = config->context;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    const struct {
        const char *name;
        float *out;
    } floats[] = {{"rope.scale_linear", &factor}, /* the old name first: the new one overrides it */
                  {"rope.scaling.factor", &factor},
                  {"rope.scaling.attn_factor", &attention},
                  {"rope.scaling.yarn_log_multiplier", &log_multiplier},
                  {"rope.scaling.yarn_beta_fast", &rope->beta_fast},
                  {"rope.scaling.yarn_beta_slow", &rope->beta_slow}};
    for (size_t i = 0; !status && i < sizeof floats / sizeof *floats; i++)
        status = sterna_meta_float(file, key(r, floats[i].name), false, floats[i].out, err);
    if (!status)
        status = sterna_meta_u32(file, key(r, "rope.scaling.original_context_length"), false, 1,
                                 STERNA_MAX_CONTEXT, &rope->original_context, err);
    if (status) return status;
    rope->factor = factor == 0 ? 1 : factor;
    if (rope->factor == 1 && rope->scaling == STERNA_SCALING_LINEAR)
        rope->scaling = STERNA_SCALING_NONE;
    rope->attention_factor = attention;
    if (rope->scaling == STERNA_SCALING_YARN) {
        rope->attention_factor *= sterna_yarn_attention(rope->factor, 1);
        if (log_multiplier != 0)
            rope->attention_factor /= sterna_yarn_attention(rope->factor, log_multiplier);
    }
    if (rope->scaling == STERNA_SCALING_LONGROPE) {
        status = read_divisors(r, "rope_factors_short.weight", rope, &rope->divisors, err);
        if (!status)
            status = read_divisors(r, "rope_factors_long.weight", rope, &rope->long_divisors, err);
        return status;
    }
    return read_divisors(r, "rope_freqs.weight", rope, &rope->divisors, err);
}

/* Soft caps, scales, epsilon. */
static sterna_status read_numbers(reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_model_file *file = r->file;
    const sterna_family *family = config->family;
    sterna_status status = sterna_meta_float(file, key(r, "attention.layer_norm_rms_epsilon"), true,
                                             &config->norm_eps, err);
    if (!status)
        status = sterna_meta_float(file, key(r, "attn_logit_softcapping"), false,
                                   &config->attention_soft_cap, err);
    if (!status)
        status = sterna_meta_float(file, key(r, "final_logit_softcapping"), false,
                                   &config->logit_soft_cap, err);
    bool by_width =
        family->layers_scaled_by_width && family->layers_scaled_by_width == config->n_layers;
    uint32_t size = by_width ? config->width / config->heads : config->head_dim;
    config->attention_scale = 1 / sqrtf((float)size);
    if (!status)
        status = sterna_meta_float(file, key(r, "attention.scale"), false, &config->attention_scale,
                                   err);
    return status;
}

static sterna_status read_rope(reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_model_file *file = r->file;
    sterna_rope_config *global = &config->rope[STERNA_ROPE_GLOBAL],
                       *local = &config->rope[STERNA_ROPE_LOCAL];
    global->base = 10000;
    global->dims = config->head_dim;
    sterna_status status =
        sterna_meta_float(file, key(r, "rope.freq_base"), false, &global->base, err);
    if (!status)
        status = sterna_meta_u32(file, key(r, "rope.dimension_count"), false, 2, config->head_dim,
                                 &global->dims, err);
    if (!status) status = read_scaling(r, config, global, err);
    local->base =
        config->family->local_rope_base > 0 ? config->family->local_rope_base : global->base;
    local->dims = global->dims;
    if (!status)
        status = sterna_meta_float(file, key(r, "rope.freq_base_swa"), false, &local->base, err);
    return status;
}

/* The window, and which layers look through it: every n-th does not, or a list says. */
static sterna_status read_layers(reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_model_file *file = r->file;
    uint32_t window = config->family->default_window, every = config->family->global_every;
    sterna_status status = sterna_meta_u32(file, key(r, "attention.sliding_window"), false, 0,
                                           UINT32_MAX, &window, err);
    if (status) return status;
    const sterna_meta *pattern =
        sterna_model_file_meta(file, key(r, "attention.sliding_window_pattern"));
    bool list = pattern && pattern->type == STERNA_META_ARRAY;
    if (pattern && !list)
        status = sterna_meta_u32(file, r->key, false, 0, STERNA_MAX_LAYERS, &every, err);
    if (!status) status = sterna_config_make_layers(config, window, every, err);
    if (status || !list || !window) return status;
    if (pattern->strings || pattern->count < config->n_layers)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: '%s' does not say for each of the %u layers whether it is local",
                           file->path, r->key, config->n_layers);
    for (uint32_t l = 0; l < config->n_layers; l++)
        sterna_config_set_window(config, l, sterna_meta_element(pattern, l) != 0 ? window : 0);
    return STERNA_OK;
}

/* BitNet's own type holds models that were trained with int8 activations, one scale per token,
 * whatever their architecture; its engine runs them so too. */
static bool holds_bitnet(const sterna_model_file *file)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        if (file->tensors[i].type == STERNA_TYPE_I2_S) return true;
    return false;
}

sterna_status sterna_config_read_gguf(const sterna_model_file *file, sterna_config *config,
                                      sterna_error *err)
{
    reader r = {.file = file};
    sterna_text architecture = {NULL, 0};
    sterna_status status =
        sterna_meta_string(file, "general.architecture", true, &architecture, err);
    if (status) return status;
    config->family = sterna_family_by_gguf(architecture.data, architecture.size);
    if (!config->family) {
        char known[400];
        sterna_family_list(STERNA_GGUF, known, sizeof known);
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the architecture '%.*s' is not one that Sterna runs; it runs %s",
                           file->path, (int)(architecture.size < 60 ? architecture.size : 60),
                           architecture.data, known);
    }
    snprintf(r.architecture, sizeof r.architecture, "%.*s", (int)architecture.size,
             architecture.data);
    config->gate = config->family->gate;
    config->rope_style = config->family->gguf_rope;
    config->activation = config->family->has & STERNA_INT8_TOKENS || holds_bitnet(file)
                             ? STERNA_ACT_INT8_TOKEN
                             : STERNA_ACT_AUTO;
    status = read_sizes(&r, config, err);
    if (!status) status = read_vocabulary(&r, config, err);
    if (!status) status = read_layers(&r, config, err);
    if (!status) status = read_ffn_widths(&r, config, err);
    if (!status) status = read_numbers(&r, config, err);
    if (!status) status = read_rope(&r, config, err);
    return status;
}
