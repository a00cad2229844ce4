#include "base/hash.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "base/memory.h"

typedef struct slot {
    const void *key;
    uint64_t hash;
    size_t size;
    int32_t value;
    bool used;
} slot;

struct sterna_map {
    slot *slots;
    size_t capacity; /* a power of two */
    size_t count;
};

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)(uintptr_t)&seed;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

uint64_t sterna_hash(const void *bytes, size_t size)
{
    pthread_once(&seed_once, make_seed);
    const unsigned char *at = bytes;
    uint64_t hash = seed ^ mix(size + 0x9e3779b97f4a7c15u);
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = mix(hash ^ word);
    }
    uint64_t tail = 0;
    if (size) memcpy(&tail, at, size);
    return mix(hash ^ tail);
}

sterna_map *sterna_map_new(size_t expected)
{
    size_t capacity = 16;
    while (capacity < SIZE_MAX / 4 && capacity / 2 < expected) capacity *= 2;
    sterna_map *map = sterna_calloc(1, sizeof *map);
    slot *slots = sterna_calloc(capacity, sizeof *slots);
    if (!map || !slots) {
        sterna_free(map);
        sterna_free(slots);
        return NULL;
    }
    map->slots = slots;
    map->capacity = capacity;
    return map;
}

void sterna_map_free(sterna_map *map)
{
    if (!map) return;
    sterna_free(map->slots);
    sterna_free(map);
}

static slot *find(const sterna_map *map, const void *key, size_t size, uint64_t hash)
{
    for (size_t i = (size_t)hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        slot *candidate = &map->slots[i];
        if (!candidate->used) return candidate;
        if (candidate->hash == hash && candidate->size == size &&
            (!size || memcmp(candidate->key, key, size) == 0))
            return candidate;
    }
}

int32_t sterna_map_get(const sterna_map *map, const void *key, size_t size)
{
    const slot *found = find(map, key, size, sterna_hash(key, size));
    return found->used ? found->value : -1;
}

static bool grow(sterna_map *map)
{
    sterna_map bigger = {.slots = sterna_calloc(map->capacity * 2, sizeof(slot)),
                         .capacity = map->capacity * 2};
    if (!bigger.slots) return false;
    for (size_t i = 0; i < map->capacity; i++) {
        const slot *old = &map->slots[i];
        if (old->used) *find(&bigger, old->key, old->size, old->hash) = *old;
    }
    sterna_free(map->slots);
    map->slots = bigger.slots;
    map->capacity = bigger.capacity;
    return true;
}

sterna_status sterna_map_put(sterna_map *map, const void *key, size_t size, int32_t value,
                             int32_t *existing, sterna_error *err)
{
    if (map->count >= map->capacity / 2 && !grow(map))
        return sterna_fail_memory(err, "a name table");
    uint64_t hash = sterna_hash(key, size);
    slot *place = find(map, key, size, hash);
    if (existing) *existing = place->used ? place->value : -1;
    if (!place->used) {
        *place = (slot){.key = key, .hash = hash, .size = size, .value = value, .used = true};
        map->count++;
    }
    return STERNA_OK;
}

size_t sterna_map_count(const sterna_map *map)
{
    return map->count;
}
