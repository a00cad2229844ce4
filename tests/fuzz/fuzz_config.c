/* libFuzzer target: config.json as a model's configuration; one that is accepted must be usable. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void use(const sterna_config *config)
{
    static float frequencies[STERNA_MAX_HEAD_DIM / 2];
    float scale;
    for (int kind = 0; kind < STERNA_ROPE_KINDS; kind++)
        for (uint32_t length = 1; length < STERNA_MAX_CONTEXT; length *= 64) {
            const sterna_rope_config *rope = &config->rope[kind];
            sterna_rope_frequencies(rope, length, frequencies, &scale);
            for (uint32_t i = 0; i < rope->dims / 2; i++)
                if (!isfinite(frequencies[i])) __builtin_trap();
        }
    if (config->heads % config->kv_heads || config->head_dim % 2) __builtin_trap();
    for (uint32_t l = 0; l < config->n_layers; l++)
        if (config->layers[l].ffn_width == 0) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    json_t *json = json_loadb((const char *)bytes, size, 0, NULL);
    char path[] = "fuzz";
    const sterna_model_file file = {.container = STERNA_HF, .path = path, .config = json};
    sterna_config config = {0};
    sterna_error err = {0};
    if (sterna_config_read(&file, &config, &err) == STERNA_OK)
        use(&config);
    else if (strlen(err.message) < 10)
        __builtin_trap();
    sterna_config_free(&config);
    json_decref(json);
    return 0;
}
