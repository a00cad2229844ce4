#include "base/memory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

bool sterna_mul_size(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool sterna_add_size(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

bool sterna_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool sterna_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

static atomic_long allocations;
static atomic_long fail_at = -1;

long sterna_alloc_fail_after(long n)
{
    long made = atomic_exchange(&allocations, 0);
    atomic_store(&fail_at, n);
    return made;
}

static bool must_fail(void)
{
    long number = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    long limit = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return limit >= 0 && number >= limit;
}

void *sterna_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!sterna_mul_size(count, size, &bytes) || bytes > SIZE_MAX - 63 || must_fail()) return NULL;
    return aligned_alloc(64, bytes ? (bytes + 63) & ~(size_t)63 : 64);
}

void *sterna_calloc(size_t count, size_t size)
{
    void *block = sterna_alloc(count, size);
    if (block) memset(block, 0, count * size);
    return block;
}

float *sterna_alloc_floats(size_t rows, size_t cols)
{
    size_t count;
    return sterna_mul_size(rows, cols, &count) ? sterna_alloc(count, sizeof(float)) : NULL;
}

void *sterna_alloc_streamed(size_t count, size_t size)
{
    enum { LARGE_PAGE = 2 << 20 };
    void *block = sterna_alloc(count, size);
    uintptr_t begin = ((uintptr_t)block + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    uintptr_t end = ((uintptr_t)block + count * size) / LARGE_PAGE * LARGE_PAGE;
    if (block && begin < end) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    return block;
}

void *sterna_realloc(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (!sterna_mul_size(count, size, &bytes) || must_fail()) return NULL;
    return realloc(block, bytes ? bytes : 1);
}

void sterna_free(void *block)
{
    free(block);
}

char *sterna_strndup(const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? sterna_alloc(length + 1, 1) : NULL;
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

char *sterna_strdup(const char *text)
{
    return sterna_strndup(text, strlen(text));
}

uint64_t sterna_memory_available(void)
{
    uint64_t kilobytes = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "MemAvailable:", 13) == 0) kilobytes = strtoull(line + 13, NULL, 10);
    fclose(file);
    return kilobytes * 1024;
}

void sterna_memory_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
