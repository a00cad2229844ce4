/* Memory of the Jinja interpreter: an arena for a program or a run, and growing text in it.
 *
 * Nothing is released before the whole arena is. What a run may use is limited by its options.
 */
#include "text/jinja_internal.h"

#include <string.h>

#include "base/memory.h"

#define CHUNK  ((size_t)64 << 10)
#define HEADER ((sizeof(jinja_chunk) + 15) & ~(size_t)15)

static char *chunk_bytes(jinja_chunk *chunk)
{
    return (char *)chunk + HEADER;
}

static bool add_chunk(jinja_arena *arena, size_t size)
{
    size_t wanted = size > CHUNK / 2 ? size : CHUNK, total;
    if (!sterna_add_size(arena->total, wanted, &total) || wanted > SIZE_MAX - HEADER) return false;
    if (arena->limit && total > arena->limit) {
        arena->past_limit = true;
        return false;
    }
    jinja_chunk *chunk = sterna_alloc(HEADER + wanted, 1);
    if (!chunk) return false;
    *chunk = (jinja_chunk){.size = wanted};
    arena->total = total;
    if (arena->chunks && size > CHUNK / 2) { /* keep filling the half-empty chunk in front */
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
        chunk->used = wanted;
    } else {
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    return true;
}

void *sterna_jinja_arena_alloc(jinja_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!sterna_mul_size(count, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    if (!bytes) bytes = 16;
    jinja_chunk *chunk = arena->chunks;
    if (!chunk || chunk->size - chunk->used < bytes) {
        if (!add_chunk(arena, bytes)) return NULL;
        chunk = arena->chunks;
        if (bytes > CHUNK / 2 && chunk->next && chunk->size - chunk->used < bytes)
            return chunk_bytes(chunk->next);
    }
    void *block = chunk_bytes(chunk) + chunk->used;
    chunk->used += bytes;
    return block;
}

void *sterna_jinja_arena_grow(jinja_arena *arena, void *block, size_t old_size, size_t new_size)
{
    jinja_chunk *chunk = arena->chunks;
    size_t old_bytes = (old_size + 15) & ~(size_t)15;
    if (block && chunk && old_bytes && new_size <= SIZE_MAX / 2) {
        size_t new_bytes = (new_size + 15) & ~(size_t)15;
        if (new_bytes <= old_bytes) return block;
        char *end = chunk_bytes(chunk) + chunk->used;
        if ((char *)block + old_bytes == end &&
            chunk->size - chunk->used >= new_bytes - old_bytes) {
            chunk->used += new_bytes - old_bytes;
            return block;
        }
    }
    void *copy = sterna_jinja_arena_alloc(arena, new_size, 1);
    if (copy && old_size) memcpy(copy, block, old_size);
    return copy;
}

void sterna_jinja_arena_free(jinja_arena *arena)
{
    while (arena->chunks) {
        jinja_chunk *next = arena->chunks->next;
        sterna_free(arena->chunks);
        arena->chunks = next;
    }
}

void *sterna_jinja_alloc(jinja_run *run, size_t count, size_t size)
{
    void *block = sterna_jinja_arena_alloc(&run->arena, count, size);
    if (block) return block;
    if (run->arena.past_limit)
        sterna_jinja_fail(run, STERNA_ERROR_LIMIT,
                          "the template needs more than %zu bytes of memory, which is the limit",
                          run->arena.limit);
    else
        sterna_jinja_fail(run, STERNA_ERROR_MEMORY, "out of memory");
    return NULL;
}

/* ---- text under construction ---- */

void sterna_jinja_text_start(jinja_text *text, jinja_run *run)
{
    *text = (jinja_text){.run = run};
}

bool sterna_jinja_text_add(jinja_text *text, const char *data, size_t size)
{
    if (text->failed) return false;
    size_t needed;
    if (!sterna_add_size(text->size, size, &needed)) needed = SIZE_MAX;
    if (text->limit && needed > text->limit) {
        text->failed = true;
        return sterna_jinja_fail(text->run, STERNA_ERROR_LIMIT,
                                 "the template writes more than %zu bytes, which is the limit",
                                 text->limit);
    }
    if (size >= 64 && !sterna_jinja_charge(text->run, size)) {
        text->failed = true;
        return false;
    }
    if (needed > text->capacity) {
        size_t capacity = text->capacity ? text->capacity : 64;
        while (capacity < needed) capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
        jinja_arena *arena = &text->run->arena;
        char *data_now = sterna_jinja_arena_grow(arena, text->data, text->size, capacity);
        if (!data_now) {
            text->failed = true;
            return sterna_jinja_alloc(text->run, capacity, 1) != NULL &&
                   false; /* for its sentence */
        }
        text->data = data_now;
        text->capacity = capacity;
    }
    if (size) memcpy(text->data + text->size, data, size);
    text->size = needed;
    return true;
}

bool sterna_jinja_text_add_string(jinja_text *text, const char *string)
{
    return sterna_jinja_text_add(text, string, strlen(string));
}

bool sterna_jinja_text_add_char(jinja_text *text, char c)
{
    return sterna_jinja_text_add(text, &c, 1);
}

bool sterna_jinja_text_add_code(jinja_text *text, uint32_t code_point)
{
    char bytes[4];
    return sterna_jinja_text_add(text, bytes, sterna_jinja_encode(code_point, bytes));
}

bool sterna_jinja_text_repeat(jinja_text *text, const char *data, size_t size, int64_t times)
{
    size_t total;
    if (times <= 0 || !size) return !text->failed;
    if (!sterna_mul_size(size, (size_t)times, &total) || total > SIZE_MAX / 4)
        return sterna_jinja_fail(text->run, STERNA_ERROR_LIMIT,
                                 "a string would be repeated %lld times", (long long)times);
    if (!sterna_jinja_charge(text->run, total) || !sterna_jinja_step(text->run, (uint64_t)times))
        return false;
    for (int64_t i = 0; i < times; i++)
        if (!sterna_jinja_text_add(text, data, size)) return false;
    return true;
}

bool sterna_jinja_text_finish(jinja_text *text, jinja_value *out)
{
    if (text->failed) return false;
    if (!sterna_jinja_borrow(text->run, text->data ? text->data : "", text->size, out))
        return false;
    jinja_storage *storage = sterna_jinja_alloc(text->run, 1, sizeof *storage);
    if (!storage) return false;
    *storage = (jinja_storage){text->data, text->size, text->capacity};
    out->as.string->storage = text->data ? storage : NULL;
    return true;
}
