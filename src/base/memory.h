/* Memory: checked sizes, one place where every allocation goes, so that tests can make the Nth one
 * fail. */
#ifndef STERNA_BASE_MEMORY_H
#define STERNA_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sterna.h"

/* a * b and a + b into *out; false (and *out untouched) when the result does not fit. */
bool sterna_mul_size(size_t a, size_t b, size_t *out);
bool sterna_add_size(size_t a, size_t b, size_t *out);
bool sterna_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool sterna_add_u64(uint64_t a, uint64_t b, uint64_t *out);

/* All return NULL on overflow or exhaustion, never for a zero size (one byte is given). Release
 * each with sterna_free, which accepts NULL. sterna_alloc leaves the bytes undefined, sterna_calloc
 * zeroes them; both align to 64 bytes. sterna_realloc keeps the old block when it fails; its blocks
 * are 16-byte aligned and must come from sterna_realloc (or be NULL). */
void *sterna_alloc(size_t count, size_t size);
void *sterna_calloc(size_t count, size_t size);
void *sterna_realloc(void *block, size_t count, size_t size);
/* As sterna_alloc, for memory that is read as a stream: large pages cost fewer faults at first and
 * fewer address misses later. A kernel without them loses nothing. */
void *sterna_alloc_streamed(size_t count, size_t size);
/* float[rows][cols], as sterna_alloc. */
float *sterna_alloc_floats(size_t rows, size_t cols);
/* void sterna_free(void *block) is public: sterna.h */
char *sterna_strdup(const char *text);
char *sterna_strndup(const char *text, size_t length);

/* Bytes that this machine can still give to programs (Linux: MemAvailable); 0 when it does not say.
 */
uint64_t sterna_memory_available(void);

/* Gives freed memory back to the system where the C library keeps it: after a job, such as loading,
 * that allocated much more than it leaves. */
void sterna_memory_trim(void);

/* Tests only: the allocation `n` calls from now fails (0 = the next), and all after it; -1 turns
 * this off. Returns how many allocations had been made since the last call. */
long sterna_alloc_fail_after(long n);

#endif
