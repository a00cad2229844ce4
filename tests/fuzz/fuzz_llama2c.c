/* libFuzzer target: llama2.c's .bin from memory. */
#include "fuzz_formats.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    return open_and_use(bytes, size, "", 0);
}
