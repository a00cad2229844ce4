/* libFuzzer target: a tokenizer.json from memory; what loads also encodes and decodes. */
#include <stdint.h>

#include "base/memory.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char text[] =
        "The tern's 12,345 \xc3\xa9 <s>\xe5\x8c\x97 \xf0\x9f\x90\xa6\xff\n  x";
    sterna_tokenizer *t = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    sterna_buffer out = {0};
    if (sterna_tokenizer_from_json("t", (const char *)bytes, size, NULL, 0, &t, NULL)) return 0;
    for (int flags = 0; flags < 4; flags++) {
        if (sterna_encode(t, text, sizeof text, flags, &ids, &count, NULL)) continue;
        for (size_t i = 0; i < count; i++)
            if (ids[i] < 0 || (size_t)ids[i] >= sterna_tokenizer_size(t)) __builtin_trap();
        if (sterna_decode(t, ids, count, 0, &out, NULL)) __builtin_trap();
        sterna_free(ids);
    }
    sterna_buffer_free(&out);
    sterna_tokenizer_free(t);
    return 0;
}
