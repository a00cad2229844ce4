/* libFuzzer target: the parts of a native matrix. The first bytes say which parts a safetensors
 * file has, their shapes and the eight numbers of the layout; the rest is their content. */
#include "fuzz_formats.h"

#include "base/buffer.h"

static const struct {
    const char *suffix, *type;
    size_t size;
} parts[] = {{".layout", "I32", 4},         {".codes", "I8", 1},
             {".scales", "F16", 2},         {".shift", "F16", 2},
             {".codes2", "U8", 1},          {".scales2", "F16", 2},
             {".outliers", "I8", 1},        {".outlier_columns", "I32", 4},
             {".outlier_scales", "F16", 2}, {"", "F32", 4}};
enum { PARTS = sizeof parts / sizeof *parts };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    sterna_buffer header = {0}, data = {0};
    sterna_buffer_add_char(&header, '{');
    for (size_t i = 0, begin = 0; i < PARTS && size >= 2; i++, bytes += 2, size -= 2) {
        size_t cols = i ? bytes[0] : 8, rows = i ? bytes[1] % 8 : 1;
        size_t end = begin + cols * rows * parts[i].size;
        if (i && bytes[1] >= 250) continue; /* not there */
        sterna_buffer_format(&header, "%s\"m.0.weight%s\":{\"dtype\":\"%s\",\"shape\":[",
                             begin ? "," : "", parts[i].suffix, parts[i].type);
        if (rows > 1) sterna_buffer_format(&header, "%zu,", rows);
        sterna_buffer_format(&header, "%zu],\"data_offsets\":[%zu,%zu]}", cols, begin, end);
        begin = end;
        while (data.size < end && !data.failed) { /* the layout: one byte a number */
            size_t at = data.size;
            bool number = i == 0 && at % 4;
            sterna_buffer_add_char(
                &data, number || size <= 2 + PARTS * 2 + at ? 0 : (char)bytes[2 + PARTS * 2 + at]);
        }
    }
    sterna_buffer_add_char(&header, '}');
    sterna_buffer file = {0};
    for (int i = 0; i < 8; i++) sterna_buffer_add_char(&file, (char)(header.size >> 8 * i));
    sterna_buffer_add(&file, header.data, header.size);
    sterna_buffer_add(&file, data.data, data.size);
    if (!file.failed) open_and_use((const uint8_t *)file.data, file.size, "", 0);
    sterna_buffer_free(&header);
    sterna_buffer_free(&data);
    sterna_buffer_free(&file);
    return 0;
}
