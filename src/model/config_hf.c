/* A configuration from Hugging Face's config.json: transformers 4 (rope_theta, rope_scaling) and 5
 * (rope_parameters, layer_types), language models alone or inside a "text_config". */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"

typedef struct reader {
    const char *path;
    const json_t *root;   /* config.json */
    const json_t *config; /* the part about the language model */
} reader;

static const json_t *field(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value && !json_is_null(value) ? value : NULL;
}

static sterna_status read_u32(const reader *r, const char *name, bool required, uint32_t max,
                              uint32_t *out, sterna_error *err)
{
    const json_t *value = field(r->config, name);
    if (!value && !required) return STERNA_OK;
    if (!value)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: config.json has no '%s'", r->path, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > (json_int_t)max)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: config.json: '%s' is not a whole number from 0 to %u", r->path,
                           name, max);
    *out = (uint32_t)json_integer_value(value);
    return STERNA_OK;
}

static sterna_status read_float(const reader *r, const json_t *object, const char *name,
                                bool required, float *out, sterna_error *err)
{
    const json_t *value = field(object, name);
    if (!value && !required) return STERNA_OK;
    if (!value)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: config.json has no '%s'", r->path, name);
    if (!json_is_number(value))
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: config.json: '%s' is not a number",
                           r->path, name);
    *out = (float)json_number_value(value);
    return STERNA_OK;
}

static sterna_status read_sizes(const reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_family *family = config->family;
    uint32_t ffn_width = 0;
    const struct {
        const char *name;
        uint32_t max, absent, *out; /* absent: taken where the file says nothing; 0: it must */
    } sizes[] = {
        {"num_hidden_layers", STERNA_MAX_LAYERS, 0, &config->n_layers},
        {"hidden_size", STERNA_MAX_WIDTH, 0, &config->width},
        {"num_attention_heads", STERNA_MAX_HEADS, family->hf_default.heads, &config->heads},
        {"vocab_size", STERNA_MAX_VOCABULARY, family->hf_default.vocabulary, &config->vocabulary},
        {"max_position_embeddings", STERNA_MAX_CONTEXT, family->hf_default.context,
         &config->context},
        {"intermediate_size", STERNA_MAX_FFN, 0, &ffn_width}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *sizes[i].out = sizes[i].absent;
        sterna_status status =
            read_u32(r, sizes[i].name, !sizes[i].absent, sizes[i].max, sizes[i].out, err);
        if (status) return status;
    }
    if (config->heads == 0 || config->n_layers == 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: config.json: num_attention_heads %u and num_hidden_layers %u",
                           r->path, config->heads, config->n_layers);
    config->kv_heads = family->hf_default.kv_heads ? family->hf_default.kv_heads : config->heads;
    config->head_dim =
        family->hf_default.head_dim ? family->hf_default.head_dim : config->width / config->heads;
    sterna_status status =
        read_u32(r, "num_key_value_heads", false, STERNA_MAX_HEADS, &config->kv_heads, err);
    if (!status)
        status = read_u32(r, "head_dim", false, STERNA_MAX_HEAD_DIM, &config->head_dim, err);
    config->layers = sterna_calloc(config->n_layers, sizeof *config->layers);
    if (!status && !config->layers) status = sterna_fail_memory(err, "the layer configuration");
    for (uint32_t l = 0; !status && l < config->n_layers; l++)
        config->layers[l].ffn_width = ffn_width;
    return status;
}

/* layer_types names every layer's attention. */
static sterna_status read_layer_types(const reader *r, sterna_config *config, const json_t *types,
                                      uint32_t window, sterna_error *err)
{
    if (!json_is_array(types) || json_array_size(types) != config->n_layers)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: config.json: 'layer_types' is not a list of %u names", r->path,
                           config->n_layers);
    for (uint32_t l = 0; l < config->n_layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        bool local = type && strcmp(type, "sliding_attention") == 0;
        if (!local && !(type && strcmp(type, "full_attention") == 0))
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "%s: config.json: 'layer_types' has '%.60s' for layer %u; Sterna "
                               "knows full_attention and sliding_attention",
                               r->path, type ? type : "no text", l);
        if (local && !window)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: config.json: layer %u is a sliding_attention, but "
                               "'sliding_window' is missing",
                               r->path, l);
        sterna_config_set_window(config, l, local ? window : 0);
    }
    return STERNA_OK;
}

/* Which layers are rotated: no_rope_layers (0 = not), or every n-th is not. */
static sterna_status read_unrotated(const reader *r, sterna_config *config, sterna_error *err)
{
    uint32_t every = config->family->no_rope_every;
    if (!every) return STERNA_OK;
    sterna_status status =
        read_u32(r, "no_rope_layer_interval", false, STERNA_MAX_LAYERS, &every, err);
    if (status) return status;
    const json_t *list = field(r->config, "no_rope_layers");
    if (list && (!json_is_array(list) || json_array_size(list) != config->n_layers))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: config.json: 'no_rope_layers' is not a list of %u numbers", r->path,
                           config->n_layers);
    for (uint32_t l = 0; l < config->n_layers; l++) {
        bool rotated = list ? json_integer_value(json_array_get(list, l)) != 0
                            : !every || (l + 1) % every != 0;
        if (!rotated) config->layers[l].rope = STERNA_ROPE_ABSENT;
    }
    return STERNA_OK;
}

static sterna_status read_layers(const reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_family *family = config->family;
    bool optional = family->has & STERNA_WINDOW_OPTIONAL;
    uint32_t window = 0, first = 0, every = family->global_every;
    if (!json_object_get(r->config, "sliding_window")) window = family->default_window;
    sterna_status status = read_u32(r, "sliding_window", false, STERNA_MAX_CONTEXT, &window, err);
    if (!status)
        status = read_u32(r, "sliding_window_pattern", false, STERNA_MAX_LAYERS, &every, err);
    if (optional && !json_is_true(field(r->config, "use_sliding_window"))) window = 0;
    if (!status && optional)
        status = read_u32(r, "max_window_layers", false, UINT32_MAX, &first, err);
    if (status) return status;
    for (uint32_t l = 0; l < config->n_layers; l++) {
        bool global = l < first || (every && (l + 1) % every == 0);
        sterna_config_set_window(config, l, global ? 0 : window);
    }
    status = read_unrotated(r, config, err);
    const json_t *types = field(r->config, "layer_types");
    if (!status && types) status = read_layer_types(r, config, types, window, err);
    return status;
}

/* A list of divisors for every pair (longrope). */
static sterna_status read_divisors(const reader *r, const json_t *object, const char *name,
                                   uint32_t pairs, float **out, sterna_error *err)
{
    const json_t *list = field(object, name);
    if (!json_is_array(list) || json_array_size(list) != pairs)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: config.json: longrope's '%s' is not a list of %u numbers", r->path,
                           name, pairs);
    float *values = sterna_alloc(pairs, sizeof *values);
    if (!values) return sterna_fail_memory(err, "rotary factors");
    for (uint32_t i = 0; i < pairs; i++)
        values[i] = (float)json_number_value(json_array_get(list, i));
    *out = values;
    return STERNA_OK;
}

static sterna_status read_yarn(const reader *r, const json_t *object, sterna_rope_config *rope,
                               sterna_error *err)
{
    float mscale = 0, mscale_all = 0, attention = 0;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    const struct {
        const char *name;
        float *out;
    } floats[] = {{"beta_fast", &rope->beta_fast},
                  {"beta_slow", &rope->beta_slow},
                  {"mscale", &mscale},
                  {"mscale_all_dim", &mscale_all},
                  {"attention_factor", &attention}};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        sterna_status status = read_float(r, object, floats[i].name, false, floats[i].out, err);
        if (status) return status;
    }
    rope->no_truncation = json_is_false(field(object, "truncate"));
    if (field(object, "attention_factor"))
        rope->attention_factor = attention;
    else if (mscale != 0 && mscale_all != 0)
        rope->attention_factor = sterna_yarn_attention(rope->factor, mscale) /
                                 sterna_yarn_attention(rope->factor, mscale_all);
    else
        rope->attention_factor = sterna_yarn_attention(rope->factor, 1);
    return STERNA_OK;
}

static sterna_status read_longrope(const reader *r, const json_t *object, sterna_rope_config *rope,
                                   sterna_error *err)
{
    double stretch = (double)rope->factor;
    if (field(object, "attention_factor")) {
        sterna_status status =
            read_float(r, object, "attention_factor", true, &rope->attention_factor, err);
        if (status) return status;
    } else if (stretch > 1 && rope->original_context > 1) {
        rope->attention_factor =
            (float)sqrt(1 + log(stretch) / log((double)rope->original_context));
    }
    sterna_status status =
        read_divisors(r, object, "short_factor", rope->dims / 2, &rope->divisors, err);
    if (!status)
        status = read_divisors(r, object, "long_factor", rope->dims / 2, &rope->long_divisors, err);
    return status;
}

/* `object`: rope_scaling of transformers 4, or rope_parameters (one layer type of it) of 5. */
static sterna_status read_scaling(const reader *r, const json_t *object,
                                  const sterna_config *config, sterna_rope_config *rope,
                                  sterna_error *err)
{
    static const struct {
        const char *name;
        sterna_rope_scaling scaling;
    } kinds[] = {{"default", STERNA_SCALING_NONE},    {"linear", STERNA_SCALING_LINEAR},
                 {"dynamic", STERNA_SCALING_DYNAMIC}, {"llama3", STERNA_SCALING_LLAMA3},
                 {"yarn", STERNA_SCALING_YARN},       {"longrope", STERNA_SCALING_LONGROPE}};
    const char *type = json_string_value(field(object, "rope_type"));
    if (!type) type = json_string_value(field(object, "type"));
    if (!type) return STERNA_OK;
    size_t i = 0, n = sizeof kinds / sizeof *kinds;
    while (i < n && strcmp(kinds[i].name, type) != 0) i++;
    if (i == n)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: config.json: rotary scaling '%.60s' is unknown; Sterna knows "
                           "default, linear, dynamic, llama3, yarn and longrope",
                           r->path, type);
    rope->scaling = kinds[i].scaling;
    if (rope->scaling == STERNA_SCALING_NONE) return STERNA_OK;

    /* dynamic scaling starts at the model's own length; the others name the original one */
    reader inner = {.path = r->path, .config = object};
    rope->original_context = config->context;
    sterna_status status = STERNA_OK;
    if (rope->scaling != STERNA_SCALING_DYNAMIC) {
        inner.config = field(object, "original_max_position_embeddings") ? object : r->config;
        status = read_u32(&inner, "original_max_position_embeddings", false, STERNA_MAX_CONTEXT,
                          &rope->original_context, err);
    }
    bool derived = rope->scaling == STERNA_SCALING_YARN || rope->scaling == STERNA_SCALING_LONGROPE;
    if (derived && rope->original_context)
        rope->factor = (float)config->context / (float)rope->original_context;
    if (!status) status = read_float(r, object, "factor", !derived, &rope->factor, err);
    if (!status && rope->scaling == STERNA_SCALING_LLAMA3) {
        status = read_float(r, object, "low_freq_factor", true, &rope->low_frequency, err);
        if (!status)
            status = read_float(r, object, "high_freq_factor", true, &rope->high_frequency, err);
    }
    if (!status && rope->scaling == STERNA_SCALING_YARN) status = read_yarn(r, object, rope, err);
    if (!status && rope->scaling == STERNA_SCALING_LONGROPE)
        status = read_longrope(r, object, rope, err);
    return status;
}

static sterna_status read_one_rope(const reader *r, const json_t *object,
                                   const sterna_config *config, sterna_rope_config *rope,
                                   sterna_error *err)
{
    float share = 1;
    sterna_status status = read_float(r, r->config, "partial_rotary_factor", false, &share, err);
    if (!status) status = read_float(r, object, "partial_rotary_factor", false, &share, err);
    if (!status) status = read_float(r, object, "rope_theta", false, &rope->base, err);
    if (status) return status;
    if (!(share > 0 && share <= 1))
        return sterna_fail(
            err, STERNA_ERROR_FORMAT,
            "%s: config.json: 'partial_rotary_factor' is %g; expected a number above "
            "0 and up to 1",
            r->path, (double)share);
    rope->dims = (uint32_t)((float)config->head_dim * share);
    return read_scaling(r, object, config, rope, err);
}

static sterna_status read_rope(const reader *r, sterna_config *config, sterna_error *err)
{
    const sterna_family *family = config->family;
    sterna_rope_config *global = &config->rope[STERNA_ROPE_GLOBAL],
                       *local = &config->rope[STERNA_ROPE_LOCAL];
    const json_t *parameters = field(r->config, "rope_parameters");
    const json_t *scaling = field(r->config, "rope_scaling");
    const json_t *per_type = field(parameters, "full_attention");
    global->base = family->rope_base;
    sterna_status status = read_float(r, r->config, "rope_theta", false, &global->base, err);
    if (!status)
        status = read_one_rope(r,
                               per_type     ? per_type
                               : parameters ? parameters
                                            : scaling,
                               config, global, err);
    if (status) return status;
    local->base = family->local_rope_base > 0 ? family->local_rope_base : global->base;
    local->dims = global->dims;
    status = read_float(r, r->config, "rope_local_base_freq", false, &local->base, err);
    if (!status && per_type)
        status = read_one_rope(r, field(parameters, "sliding_attention"), config, local, err);
    return status;
}

static sterna_status read_numbers(const reader *r, sterna_config *config, sterna_error *err)
{
    const json_t *json = r->config;
    config->norm_eps = config->family->hf_default.norm_eps;
    sterna_status status =
        read_float(r, json, "rms_norm_eps", config->norm_eps == 0, &config->norm_eps, err);
    /* absent: the family's default; null: none */
    if (!json_object_get(json, "attn_logit_softcapping"))
        config->attention_soft_cap = config->family->attention_soft_cap;
    if (!json_object_get(json, "final_logit_softcapping"))
        config->logit_soft_cap = config->family->logit_soft_cap;
    if (!status)
        status =
            read_float(r, json, "attn_logit_softcapping", false, &config->attention_soft_cap, err);
    if (!status)
        status =
            read_float(r, json, "final_logit_softcapping", false, &config->logit_soft_cap, err);
    float scalar = (float)config->head_dim;
    if (!status) status = read_float(r, json, "query_pre_attn_scalar", false, &scalar, err);
    config->attention_scale = 1 / sqrtf(scalar);
    if (status) return status;

    const json_t *activation = field(json, "hidden_activation");
    if (!activation) activation = field(json, "hidden_act");
    config->gate = config->family->gate;
    const char *name = activation ? json_string_value(activation) : NULL;
    if (activation && !(name && sterna_gate_by_name(name, &config->gate)))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: config.json: the activation '%.60s' is unknown; Sterna knows silu, "
                           "gelu, gelu_pytorch_tanh and relu2",
                           r->path, name ? name : "(no text)");
    const json_t *tied = field(json, "tie_word_embeddings");
    if (!tied) tied = field(r->root, "tie_word_embeddings");
    if (tied)
        config->tying = json_is_true(tied) ? STERNA_HEAD_TIED : STERNA_HEAD_OWN;
    else
        config->tying =
            config->family->has & STERNA_TIED_BY_DEFAULT ? STERNA_HEAD_TIED : STERNA_HEAD_EITHER;
    return STERNA_OK;
}

/* BitNet checkpoints run with int8 activations, one scale per token, whatever their family. Their
 * master weights (quantised while running) become ternary at load. */
static sterna_status read_quantization(const reader *r, sterna_config *config, sterna_error *err)
{
    const json_t *quantization = field(r->root, "quantization_config");
    if (!quantization) quantization = field(r->config, "quantization_config");
    config->activation =
        config->family->has & STERNA_INT8_TOKENS ? STERNA_ACT_INT8_TOKEN : STERNA_ACT_AUTO;
    if (!quantization) return STERNA_OK;
    const char *method = json_string_value(field(quantization, "quant_method"));
    if (method && strcmp(method, "sterna") == 0) return STERNA_OK; /* the tensors say it all */
    if (!method || strcmp(method, "bitnet") != 0)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: config.json: weights quantised by '%.60s', which Sterna cannot "
                           "read; take the unquantised checkpoint",
                           r->path, method ? method : "an unnamed method");
    if (json_is_true(field(quantization, "use_rms_norm")))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: config.json: BitNet layers with a norm of their own (use_rms_norm) "
                           "are not supported",
                           r->path);
    const char *mode = json_string_value(field(quantization, "quantization_mode"));
    config->ternarize = mode && strcmp(mode, "online") == 0;
    config->activation = STERNA_ACT_INT8_TOKEN;
    return STERNA_OK;
}

static sterna_status find_family(reader *r, sterna_config *config, sterna_error *err)
{
    const json_t *text = field(r->root, "text_config");
    r->config = json_is_object(text) ? text : r->root;
    const json_t *list = field(r->root, "architectures");
    const char *architecture = json_string_value(json_array_get(list, 0));
    const char *model_type = json_string_value(field(r->config, "model_type"));
    config->family = sterna_family_by_hf(architecture, model_type);
    if (config->family) return STERNA_OK;
    char known[400];
    sterna_family_list(STERNA_HF, known, sizeof known);
    const char *name = architecture ? architecture : model_type;
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: config.json: the architecture '%.60s' is not one that Sterna runs; it "
                       "runs %s",
                       r->path, name ? name : "(not given)", known);
}

sterna_status sterna_config_read_hf(const sterna_model_file *file, sterna_config *config,
                                    sterna_error *err)
{
    if (!json_is_object(file->config))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: no config.json beside the weights: Sterna cannot tell what model "
                           "they are",
                           file->path);
    reader r = {.path = file->path, .root = file->config};
    sterna_status status = find_family(&r, config, err);
    if (status) return status;
    config->rope_style = STERNA_ROPE_HALVES;
    config->norm_shift = config->family->has & STERNA_GAIN_LESS_ONE ? 1.0f : 0.0f;
    status = read_sizes(&r, config, err);
    if (!status) status = read_layers(&r, config, err);
    if (!status) status = read_numbers(&r, config, err);
    if (!status) status = read_rope(&r, config, err);
    if (!status) status = read_quantization(&r, config, err);
    return status;
}
