/* libFuzzer target: GGUF (what follows the magic number) from memory. */
#include "fuzz_formats.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    return open_and_use(bytes, size, "GGUF", 4);
}
