#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static bool reserve(sterna_buffer *buffer, size_t extra)
{
    if (buffer->failed) return false;
    size_t needed;
    if (!sterna_add_size(buffer->size, extra, &needed) || needed == (size_t)-1 ||
        (buffer->limit && needed > buffer->limit)) {
        buffer->failed = true;
        return false;
    }
    if (needed + 1 <= buffer->capacity) return true;
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    while (capacity < needed + 1)
        capacity = capacity > needed / 2 ? needed + needed / 2 + 1 : capacity * 2;
    char *data = sterna_realloc(buffer->data, capacity, 1);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void sterna_buffer_add(sterna_buffer *buffer, const void *bytes, size_t size)
{
    if (!reserve(buffer, size)) return;
    if (size) memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
    buffer->data[buffer->size] = 0;
}

void sterna_buffer_add_text(sterna_buffer *buffer, const char *text)
{
    sterna_buffer_add(buffer, text, strlen(text));
}

void sterna_buffer_add_char(sterna_buffer *buffer, char c)
{
    sterna_buffer_add(buffer, &c, 1);
}

void sterna_buffer_format(sterna_buffer *buffer, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        buffer->failed = true;
    } else if (reserve(buffer, (size_t)length)) {
        vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
}

void sterna_buffer_add_utf8(sterna_buffer *buffer, unsigned c)
{
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = 0xFFFD;
    char bytes[4];
    size_t size;
    if (c < 0x80) {
        bytes[0] = (char)c;
        size = 1;
    } else if (c < 0x800) {
        bytes[0] = (char)(0xC0 | c >> 6);
        bytes[1] = (char)(0x80 | (c & 63));
        size = 2;
    } else if (c < 0x10000) {
        bytes[0] = (char)(0xE0 | c >> 12);
        bytes[1] = (char)(0x80 | (c >> 6 & 63));
        bytes[2] = (char)(0x80 | (c & 63));
        size = 3;
    } else {
        bytes[0] = (char)(0xF0 | c >> 18);
        bytes[1] = (char)(0x80 | (c >> 12 & 63));
        bytes[2] = (char)(0x80 | (c >> 6 & 63));
        bytes[3] = (char)(0x80 | (c & 63));
        size = 4;
    }
    sterna_buffer_add(buffer, bytes, size);
}

void sterna_buffer_clear(sterna_buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
    if (buffer->data) buffer->data[0] = 0;
}

void sterna_buffer_free(sterna_buffer *buffer)
{
    sterna_free(buffer->data);
    buffer->data = NULL;
    buffer->size = buffer->capacity = 0;
    buffer->failed = false;
}

char *sterna_buffer_take(sterna_buffer *buffer)
{
    if (!buffer->data) sterna_buffer_add(buffer, "", 0);
    char *data = buffer->failed ? NULL : buffer->data;
    if (data) buffer->data = NULL;
    sterna_buffer_free(buffer);
    return data;
}
