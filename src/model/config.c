/* Reading a configuration: one reader per container fills it, this file checks the result and makes
 * what all of them need. */
#include "model/config.h"

#include <math.h>

#include "base/memory.h"
#include "model/family.h"

static sterna_status check_range(const char *path, const char *what, uint32_t value, uint32_t max,
                                 sterna_error *err)
{
    if (value == 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: the model's %s is 0", path, what);
    if (value > max)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: the model's %s is %u, more than the limit %u", path, what, value,
                           max);
    return STERNA_OK;
}

static sterna_status check_sizes(const sterna_config *config, const char *path, sterna_error *err)
{
    const struct {
        const char *what;
        uint32_t value, max;
    } sizes[] = {{"number of layers", config->n_layers, STERNA_MAX_LAYERS},
                 {"width (embedding length)", config->width, STERNA_MAX_WIDTH},
                 {"number of attention heads", config->heads, STERNA_MAX_HEADS},
                 {"number of key-value heads", config->kv_heads, STERNA_MAX_HEADS},
                 {"head size", config->head_dim, STERNA_MAX_HEAD_DIM},
                 {"vocabulary size", config->vocabulary, STERNA_MAX_VOCABULARY},
                 {"context length", config->context, STERNA_MAX_CONTEXT}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sterna_status status = check_range(path, sizes[i].what, sizes[i].value, sizes[i].max, err);
        if (status) return status;
    }
    for (uint32_t l = 0; l < config->n_layers; l++) {
        sterna_status status = check_range(path, "feed-forward width", config->layers[l].ffn_width,
                                           STERNA_MAX_FFN, err);
        if (status) return status;
    }
    if (config->head_dim % 2)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the head size is %u, but rotary positions need an even one", path,
                           config->head_dim);
    if (config->heads % config->kv_heads)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %u attention heads cannot share %u key-value heads evenly", path,
                           config->heads, config->kv_heads);
    return STERNA_OK;
}

static bool positive(float value)
{
    return isfinite(value) && value > 0;
}

static sterna_status check_numbers(const sterna_config *config, const char *path, sterna_error *err)
{
    const struct {
        const char *what;
        float value;
        bool may_be_zero;
    } numbers[] = {{"norm epsilon", config->norm_eps, true},
                   {"attention scale", config->attention_scale, false},
                   {"attention soft cap", config->attention_soft_cap, true},
                   {"logit soft cap", config->logit_soft_cap, true}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        float value = numbers[i].value;
        if (positive(value) || (numbers[i].may_be_zero && value == 0)) continue;
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: the model's %s is %g, not a %s number",
                           path, numbers[i].what, (double)value,
                           numbers[i].may_be_zero ? "finite non-negative" : "finite positive");
    }
    return STERNA_OK;
}

static sterna_status check_rope(const sterna_config *config, const sterna_rope_config *rope,
                                const char *path, sterna_error *err)
{
    if (!(isfinite(rope->base) && rope->base > 1))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the rotary base is %g, not a finite number above 1", path,
                           (double)rope->base);
    if (rope->dims == 0 || rope->dims % 2 || rope->dims > config->head_dim)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %u rotary values per head; expected an even number up to the head "
                           "size %u",
                           path, rope->dims, config->head_dim);
    if (rope->scaling != STERNA_SCALING_NONE && !positive(rope->factor))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the rotary scaling factor is %g, not a finite positive number",
                           path, (double)rope->factor);
    if (!positive(rope->attention_factor))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the rotary attention factor is %g, not a finite positive number",
                           path, (double)rope->attention_factor);
    if (rope->scaling == STERNA_SCALING_DYNAMIC && rope->dims < 4)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: dynamic rotary scaling needs at least 4 rotary values per head",
                           path);
    if (rope->scaling > STERNA_SCALING_LINEAR &&
        (rope->original_context == 0 || rope->original_context > STERNA_MAX_CONTEXT))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the original context length of the rotary scaling is %u", path,
                           rope->original_context);
    if (rope->scaling == STERNA_SCALING_LLAMA3 &&
        !(positive(rope->low_frequency) && isfinite(rope->high_frequency) &&
          rope->high_frequency > rope->low_frequency))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: llama3 rotary scaling with low_freq_factor %g and high_freq_factor "
                           "%g; expected 0 < low < high",
                           path, (double)rope->low_frequency, (double)rope->high_frequency);
    if (rope->scaling == STERNA_SCALING_YARN &&
        !(positive(rope->beta_fast) && positive(rope->beta_slow)))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: yarn rotary scaling with beta_fast %g and beta_slow %g; expected "
                           "positive numbers",
                           path, (double)rope->beta_fast, (double)rope->beta_slow);
    if (rope->scaling == STERNA_SCALING_LONGROPE && (!rope->divisors || !rope->long_divisors))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: longrope scaling without its two lists of factors", path);
    const float *lists[] = {rope->divisors, rope->long_divisors};
    for (size_t k = 0; k < 2; k++)
        for (uint32_t i = 0; lists[k] && i < rope->dims / 2; i++)
            if (!positive(lists[k][i]))
                return sterna_fail(err, STERNA_ERROR_FORMAT,
                                   "%s: rotary factor %u is %g, not a finite positive number", path,
                                   i, (double)lists[k][i]);
    return STERNA_OK;
}

static sterna_status check(const sterna_config *config, const char *path, sterna_error *err)
{
    sterna_status status = check_sizes(config, path, err);
    if (!status) status = check_numbers(config, path, err);
    for (int k = 0; !status && k < STERNA_ROPE_KINDS; k++)
        status = check_rope(config, &config->rope[k], path, err);
    return status;
}

void sterna_config_set_window(sterna_config *config, uint32_t layer, uint32_t window)
{
    sterna_layer_config *l = &config->layers[layer];
    l->window = window;
    if (l->rope != STERNA_ROPE_ABSENT)
        l->rope =
            window && config->family->local_rope_base > 0 ? STERNA_ROPE_LOCAL : STERNA_ROPE_GLOBAL;
}

sterna_status sterna_config_make_layers(sterna_config *config, uint32_t window,
                                        uint32_t global_every, sterna_error *err)
{
    uint32_t no_rope_every = config->family->no_rope_every;
    config->layers = sterna_calloc(config->n_layers, sizeof *config->layers);
    if (!config->layers) return sterna_fail_memory(err, "the layer configuration");
    for (uint32_t l = 0; l < config->n_layers; l++) {
        if (no_rope_every && (l + 1) % no_rope_every == 0)
            config->layers[l].rope = STERNA_ROPE_ABSENT;
        bool global = global_every && (l + 1) % global_every == 0;
        sterna_config_set_window(config, l, global ? 0 : window);
    }
    return STERNA_OK;
}

/* llama2.c's header says all there is; its exporter fixes epsilon and base. */
static sterna_status read_llama2c(const sterna_model_file *file, sterna_config *config,
                                  sterna_error *err)
{
    const sterna_llama2c_header *header = &file->llama2c;
    config->family = sterna_family_by_gguf("llama", 5);
    if (header->dim <= 0 || header->hidden_dim <= 0 || header->n_layers <= 0 ||
        header->n_heads <= 0 || header->n_kv_heads <= 0 || header->vocab_size <= 0 ||
        header->seq_len <= 0 || header->n_layers > STERNA_MAX_LAYERS ||
        header->dim % header->n_heads)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the header's sizes make no model: dim %d, hidden_dim %d, n_layers "
                           "%d, n_heads %d, n_kv_heads %d, vocab_size %d, seq_len %d",
                           file->path, header->dim, header->hidden_dim, header->n_layers,
                           header->n_heads, header->n_kv_heads, header->vocab_size,
                           header->seq_len);
    config->n_layers = (uint32_t)header->n_layers;
    config->width = (uint32_t)header->dim;
    config->heads = (uint32_t)header->n_heads;
    config->kv_heads = (uint32_t)header->n_kv_heads;
    config->head_dim = config->width / config->heads;
    config->vocabulary = (uint32_t)header->vocab_size;
    config->context = (uint32_t)header->seq_len;
    config->norm_eps = 1e-5f;
    config->tying = header->tied ? STERNA_HEAD_TIED : STERNA_HEAD_OWN;
    config->rope_style = STERNA_ROPE_PAIRS;
    config->gate = config->family->gate;
    config->rope[STERNA_ROPE_GLOBAL].base = config->family->rope_base;
    config->rope[STERNA_ROPE_GLOBAL].dims = config->head_dim;
    config->rope[STERNA_ROPE_LOCAL] = config->rope[STERNA_ROPE_GLOBAL];
    sterna_status status = sterna_config_make_layers(config, 0, 0, err);
    if (status) return status;
    for (uint32_t l = 0; l < config->n_layers; l++)
        config->layers[l].ffn_width = (uint32_t)header->hidden_dim;
    config->attention_scale = 1 / sqrtf((float)config->head_dim);
    return STERNA_OK;
}

sterna_status sterna_config_read(const sterna_model_file *file, sterna_config *config,
                                 sterna_error *err)
{
    sterna_config read = {.container = file->container};
    for (int k = 0; k < STERNA_ROPE_KINDS; k++) read.rope[k].attention_factor = 1;
    sterna_status status = file->container == STERNA_GGUF
                               ? sterna_config_read_gguf(file, &read, err)
                           : file->container == STERNA_HF ? sterna_config_read_hf(file, &read, err)
                                                          : read_llama2c(file, &read, err);
    if (!status) status = check(&read, file->path, err);
    /* in float32, as the reference does when it computes in float32 */
    read.embedding_scale = 1;
    if (!status && read.family->has & STERNA_SCALES_EMBEDDING)
        read.embedding_scale = sqrtf((float)read.width);
    if (status) {
        sterna_config_free(&read);
        return status;
    }
    *config = read;
    return STERNA_OK;
}

void sterna_config_free(sterna_config *config)
{
    for (int k = 0; k < STERNA_ROPE_KINDS; k++) {
        sterna_free(config->rope[k].divisors);
        sterna_free(config->rope[k].long_divisors);
    }
    sterna_free(config->layers);
    *config = (sterna_config){0};
}
