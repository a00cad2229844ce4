/* The trie is built from the sorted keys, breadth first: a node is a range of keys that agree in
 * their first `depth` bytes. A node with one key left holds the rest of it as a tail, so that the
 * number of nodes is bounded by the prefixes that keys share. */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct node {
    uint32_t edges;   /* first edge */
    uint32_t n_edges; /* ordered by byte; the first node has up to 256 */
    int32_t value;    /* of the key that ends here, -1 = none */
    const char *tail; /* the rest of the only key below, or NULL */
    uint32_t tail_size;
    int32_t tail_value;
} node;

struct sterna_trie {
    node *nodes;
    size_t n_nodes, nodes_capacity;
    uint8_t *edge_bytes;
    uint32_t *edge_nodes;
    size_t n_edges, edges_capacity;
    uint32_t root[256]; /* node + 1, 0 = none */
};

static int compare(const void *left, const void *right)
{
    const sterna_trie_key *a = left, *b = right;
    int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
    if (order) return order;
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    return a->value < b->value ? -1 : a->value > b->value;
}

/* Drops empty keys and all but the last of equal ones. */
static size_t unique(sterna_trie_key *keys, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].size) continue;
        if (kept && keys[kept - 1].size == keys[i].size &&
            memcmp(keys[kept - 1].data, keys[i].data, keys[i].size) == 0)
            kept--;
        keys[kept++] = keys[i];
    }
    return kept;
}

typedef struct range {
    size_t low, high;
    uint32_t depth;
} range;

typedef struct builder {
    sterna_trie *trie;
    range *ranges; /* [nodes_capacity]: the keys of each node */
} builder;

static bool add_node(builder *b, range keys)
{
    sterna_trie *trie = b->trie;
    if (trie->n_nodes == trie->nodes_capacity) {
        size_t capacity = trie->nodes_capacity * 2 + 256;
        if (capacity > UINT32_MAX) return false;
        node *nodes = sterna_realloc(trie->nodes, capacity, sizeof *nodes);
        if (nodes) trie->nodes = nodes;
        range *ranges = nodes ? sterna_realloc(b->ranges, capacity, sizeof *ranges) : NULL;
        if (!ranges) return false;
        b->ranges = ranges;
        trie->nodes_capacity = capacity;
    }
    b->ranges[trie->n_nodes] = keys;
    trie->nodes[trie->n_nodes++] = (node){.value = -1, .tail_value = -1};
    return true;
}

static bool add_edge(sterna_trie *trie, uint8_t byte, uint32_t target)
{
    if (trie->n_edges == trie->edges_capacity) {
        size_t capacity = trie->edges_capacity * 2 + 256;
        uint8_t *bytes = sterna_realloc(trie->edge_bytes, capacity, 1);
        if (bytes) trie->edge_bytes = bytes;
        uint32_t *nodes = bytes ? sterna_realloc(trie->edge_nodes, capacity, sizeof *nodes) : NULL;
        if (!nodes) return false;
        trie->edge_nodes = nodes;
        trie->edges_capacity = capacity;
    }
    trie->edge_bytes[trie->n_edges] = byte;
    trie->edge_nodes[trie->n_edges++] = target;
    return true;
}

/* Gives node `index` its value, tail or edges, and appends its children. */
static bool expand(builder *b, size_t index, const sterna_trie_key *keys)
{
    sterna_trie *trie = b->trie;
    range r = b->ranges[index];
    if (keys[r.low].size == r.depth) trie->nodes[index].value = keys[r.low++].value;
    if (r.low == r.high) return true;
    if (r.high - r.low == 1) {
        const sterna_trie_key *key = &keys[r.low];
        trie->nodes[index].tail = key->data + r.depth;
        trie->nodes[index].tail_size = key->size - r.depth;
        trie->nodes[index].tail_value = key->value;
        return true;
    }
    trie->nodes[index].edges = (uint32_t)trie->n_edges;
    while (r.low < r.high) {
        uint8_t byte = (uint8_t)keys[r.low].data[r.depth];
        size_t end = r.low + 1;
        while (end < r.high && (uint8_t)keys[end].data[r.depth] == byte) end++;
        if (!add_edge(trie, byte, (uint32_t)trie->n_nodes) ||
            !add_node(b, (range){r.low, end, r.depth + 1}))
            return false;
        trie->nodes[index].n_edges++;
        r.low = end;
    }
    return true;
}

sterna_trie *sterna_trie_new(sterna_trie_key *keys, size_t count)
{
    sterna_trie *trie = sterna_calloc(1, sizeof *trie);
    if (!trie) return NULL;
    if (count) qsort(keys, count, sizeof *keys, compare);
    count = unique(keys, count);
    builder b = {trie, NULL};
    bool done = add_node(&b, (range){0, count, 0});
    for (size_t i = 0; done && count && i < trie->n_nodes; i++) done = expand(&b, i, keys);
    sterna_free(b.ranges);
    if (!done) {
        sterna_trie_free(trie);
        return NULL;
    }
    const node *root = trie->nodes;
    for (uint32_t i = 0; i < root->n_edges; i++)
        trie->root[trie->edge_bytes[root->edges + i]] = trie->edge_nodes[root->edges + i] + 1;
    return trie;
}

void sterna_trie_free(sterna_trie *trie)
{
    if (!trie) return;
    sterna_free(trie->nodes);
    sterna_free(trie->edge_bytes);
    sterna_free(trie->edge_nodes);
    sterna_free(trie);
}

void sterna_trie_begin(sterna_trie_walk *walk, const sterna_trie *trie, const char *text,
                       size_t size)
{
    *walk = (sterna_trie_walk){.trie = trie, .text = text, .size = size, .done = !trie};
}

/* The child of `from` under `byte`, or 0 (the first node is nobody's child). */
static uint32_t child(const sterna_trie *trie, uint32_t from, uint8_t byte)
{
    const node *n = &trie->nodes[from];
    if (from == 0) return trie->root[byte] ? trie->root[byte] - 1 : 0;
    uint32_t low = n->edges, high = n->edges + n->n_edges;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (trie->edge_bytes[middle] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n->edges + n->n_edges && trie->edge_bytes[low] == byte ? trie->edge_nodes[low] : 0;
}

bool sterna_trie_next(sterna_trie_walk *walk, int32_t *value, size_t *length)
{
    while (!walk->done) {
        const node *n = &walk->trie->nodes[walk->node];
        if (n->tail) {
            walk->done = true;
            if (walk->size - walk->at < n->tail_size ||
                memcmp(walk->text + walk->at, n->tail, n->tail_size) != 0)
                return false;
            *value = n->tail_value;
            *length = walk->at + n->tail_size;
            return true;
        }
        uint32_t next = walk->at < walk->size
                            ? child(walk->trie, walk->node, (uint8_t)walk->text[walk->at])
                            : 0;
        if (!next) {
            walk->done = true;
            return false;
        }
        walk->node = next;
        walk->at++;
        if (walk->trie->nodes[next].value >= 0) {
            *value = walk->trie->nodes[next].value;
            *length = walk->at;
            return true;
        }
    }
    return false;
}

size_t sterna_trie_longest(const sterna_trie *trie, const char *text, size_t size, int32_t *value)
{
    sterna_trie_walk walk;
    size_t longest = 0;
    sterna_trie_begin(&walk, trie, text, size);
    while (sterna_trie_next(&walk, value, &longest)) continue;
    return longest;
}
