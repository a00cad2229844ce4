/* A growable byte string. Errors stick: after a failed append every later one does nothing, and one
 * look at `failed` at the end tells. */
#ifndef STERNA_BASE_BUFFER_H
#define STERNA_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes with a length, borrowed; may hold NUL; not NUL-terminated. */
typedef struct sterna_text {
    const char *data;
    size_t size;
} sterna_text;

typedef struct sterna_buffer {
    char *data; /* NUL-terminated when not NULL */
    size_t size, capacity;
    size_t limit; /* bytes it may hold; 0 = no limit */
    bool failed;  /* out of memory, or past the limit */
} sterna_buffer;

void sterna_buffer_add(sterna_buffer *buffer, const void *bytes, size_t size);
void sterna_buffer_add_text(sterna_buffer *buffer, const char *text);
void sterna_buffer_add_char(sterna_buffer *buffer, char c);
void sterna_buffer_format(sterna_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends the UTF-8 form of a code point; surrogates and values above 10FFFF become U+FFFD. */
void sterna_buffer_add_utf8(sterna_buffer *buffer, unsigned code_point);
void sterna_buffer_clear(sterna_buffer *buffer); /* size 0, memory kept */
void sterna_buffer_free(sterna_buffer *buffer);
/* Hands the bytes to the caller (release with sterna_free); NULL if it failed. The buffer is empty
 * afterwards. */
char *sterna_buffer_take(sterna_buffer *buffer);

#endif
