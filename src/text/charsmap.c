/* SentencePiece's precompiled character map: little-endian u32 size of the trie in bytes, the trie,
 * the replacements. The trie is a darts-clone double array (S. Yata): a unit holds the label in its
 * low 8 bits (bit 31 set: it holds a value instead), bit 8 tells that the unit's first child is a
 * value, bits 10..30 (shifted left by 8 more when bit 9 is set) are the offset to the children. */
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"

static uint32_t little_endian(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

sterna_status sterna_charsmap_load(sterna_charsmap *map, const void *bytes, size_t size,
                                   const char *name, sterna_error *err)
{
    const uint8_t *at = bytes;
    if (!size) return STERNA_OK;
    size_t trie = size >= 4 ? little_endian(at) : 0;
    if (size < 4 || trie > size - 4 || trie % 4 != 0 || trie < 4)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the precompiled character map of %zu bytes is cut off or corrupt",
                           name, size);
    size_t pool = size - 4 - trie;
    if (!pool || at[size - 1] != 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the replacements of the precompiled character map do not end",
                           name);
    map->units = sterna_alloc(trie / 4, sizeof *map->units);
    map->pool = sterna_alloc(pool, 1);
    if (!map->units || !map->pool) return sterna_fail_memory(err, "a character map");
    map->n_units = trie / 4;
    for (size_t i = 0; i < map->n_units; i++) map->units[i] = little_endian(at + 4 + 4 * i);
    map->pool_size = pool;
    memcpy(map->pool, at + 4 + trie, pool);
    return STERNA_OK;
}

void sterna_charsmap_free(sterna_charsmap *map)
{
    sterna_free(map->units);
    sterna_free(map->pool);
    *map = (sterna_charsmap){0};
}

static size_t children(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

size_t sterna_charsmap_match(const sterna_charsmap *map, const char *text, size_t size,
                             bool shortest, sterna_text *replacement)
{
    size_t matched = 0, node = 0;
    if (!map->n_units) return 0;
    node ^= children(map->units[0]);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        node ^= byte;
        if (!byte || node >= map->n_units) break;
        uint32_t unit = map->units[node];
        if ((unit & (1u << 31 | 0xffu)) != byte) break;
        node ^= children(unit);
        if (node >= map->n_units) break;
        if (!(unit >> 8 & 1)) continue;
        size_t at = map->units[node] & ~(1u << 31);
        if (at >= map->pool_size) break;
        *replacement = (sterna_text){map->pool + at, strlen(map->pool + at)};
        matched = i + 1;
        if (shortest) break;
    }
    return matched;
}
