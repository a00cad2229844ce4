/* libFuzzer target: a chat template from memory, rendered over a fixed conversation with small
 * budgets. Any outcome but a crash, a leak or a hang is fine. */
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *conversation(void)
{
    static const char text[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"},"
        "{\"role\": \"user\", \"content\": \"Hé 世界 <b>\"},"
        "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": "
        "\"f\","
        "\"arguments\": {\"x\": [1, 2.5, true]}}}]}],"
        "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": "
        "\"d\"}}],"
        "\"add_generation_prompt\": true, \"bos_token\": \"<s>\", \"n\": 3, \"s\": \"some text\"}";
    return json_loads(text, 0, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tm now = {.tm_year = 124, .tm_mday = 1};
    static json_t *variables;
    const sterna_jinja_options options = {
        .max_steps = 20000, .max_output = 1u << 16, .max_memory = 1u << 22, .now = &now};
    if (!variables) variables = conversation();
    sterna_jinja_program *program = NULL;
    sterna_error err;
    if (sterna_jinja_compile((const char *)data, size, &program, &err) != STERNA_OK) return 0;
    sterna_buffer out = {0};
    sterna_jinja_render(program, variables, &options, &out, &err);
    sterna_buffer_free(&out);
    sterna_jinja_free(program);
    return 0;
}
