/* A map from byte strings to 32-bit values (open addressing). Keys are borrowed: they must outlive
 * the map. Values are >= 0. */
#ifndef STERNA_BASE_HASH_H
#define STERNA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct sterna_map sterna_map;

/* Room for `expected` keys (it grows). NULL when out of memory. Free accepts NULL. */
sterna_map *sterna_map_new(size_t expected);
void sterna_map_free(sterna_map *map);
/* The value of a key, or -1. */
int32_t sterna_map_get(const sterna_map *map, const void *key, size_t size);
/* Stores a key; an existing one keeps its old value. *existing (may be NULL) gets the old value or
 * -1. */
sterna_status sterna_map_put(sterna_map *map, const void *key, size_t size, int32_t value,
                             int32_t *existing, sterna_error *err);
size_t sterna_map_count(const sterna_map *map);
/* 64-bit hash with a per-process random seed, so that a hostile file cannot aim at one bucket. */
uint64_t sterna_hash(const void *bytes, size_t size);

#endif
