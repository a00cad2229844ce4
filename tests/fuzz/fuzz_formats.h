/* What the fuzz targets of formats/ share: open the bytes as a model file and use all that it says.
 */
#ifndef STERNA_FUZZ_FORMATS_H
#define STERNA_FUZZ_FORMATS_H

#include <string.h>

#include "../touch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Puts `magic` over the first bytes (n = 0: none), so that every input gets past the first look. */
static int open_and_use(const uint8_t *bytes, size_t size, const char *magic, size_t n)
{
    uint8_t *copy = sterna_alloc(size + n, 1);
    if (!copy) return 0;
    if (n) memcpy(copy, magic, n);
    if (size) memcpy(copy + n, bytes, size);
    sterna_error err;
    sterna_model_file *file = NULL;
    if (!sterna_model_file_open_memory("input", copy, size + n, NULL, &file, &err)) {
        if (!touch_file(file)) __builtin_trap();
        sterna_model_file_close(file);
    } else if (!memchr(err.message, 0, sizeof err.message) || file) {
        __builtin_trap();
    }
    sterna_free(copy);
    return 0;
}

#endif
