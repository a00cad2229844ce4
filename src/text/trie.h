/* A read-only trie over byte strings: all keys that begin a text, shortest first, in time
 * proportional to the length of the longest. */
#ifndef STERNA_TEXT_TRIE_H
#define STERNA_TEXT_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sterna_trie sterna_trie;

typedef struct sterna_trie_key {
    const char *data; /* borrowed: must outlive the trie */
    uint32_t size;
    int32_t value;
} sterna_trie_key;

/* Sorts `keys` in place; of equal ones the last given wins. Empty keys are left out. NULL when out
 * of memory. */
sterna_trie *sterna_trie_new(sterna_trie_key *keys, size_t count);
void sterna_trie_free(sterna_trie *trie);

/* A walk over the keys that are prefixes of a text. */
typedef struct sterna_trie_walk {
    const sterna_trie *trie;
    const char *text;
    size_t size, at; /* at: bytes matched */
    uint32_t node;
    bool done;
} sterna_trie_walk;

void sterna_trie_begin(sterna_trie_walk *walk, const sterna_trie *trie, const char *text,
                       size_t size);
/* The next longer key: its value, and *length its size. False when there are no more. */
bool sterna_trie_next(sterna_trie_walk *walk, int32_t *value, size_t *length);
/* The longest key that begins the text: its length, 0 = none. */
size_t sterna_trie_longest(const sterna_trie *trie, const char *text, size_t size, int32_t *value);

#endif
