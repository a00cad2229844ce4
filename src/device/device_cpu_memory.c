/* Memory of packed matrices: pieces of large blocks, so that matrices of a few megabytes share
 * large pages, which cost fewer faults when they are packed. Blocks grow with what is held already:
 * a small model takes little, a large one has few ends that nobody fills. A block goes when its
 * last piece does; pieces that were freed at its end are handed out again.
 *
 * Not for several threads at once.
 */
#include "base/memory.h"
#include "device/device_cpu.h"

enum { LEAST = 256 << 10, MOST = 256 << 20, LINE = 64 };

struct sterna_cpu_block {
    sterna_cpu_block *next;
    sterna_cpu_block **blocks; /* the list that it is in */
    uint8_t *data;
    size_t size, used;
    struct piece *last; /* in `data`; NULL: none is held */
};

/* Stands a line before what the caller gets. */
typedef struct piece {
    sterna_cpu_block *block;
    struct piece *before;
    bool held;
} piece;

static piece *cut(sterna_cpu_block *block, size_t size)
{
    piece *new = (piece *)(void *)(block->data + block->used);
    *new = (piece){block, block->last, true};
    block->last = new;
    block->used += size;
    return new;
}

static sterna_cpu_block *add_block(sterna_cpu_block **blocks, size_t size)
{
    size_t held = 0;
    for (sterna_cpu_block *block = *blocks; block; block = block->next) held += block->size;
    if (held > MOST) held = MOST;
    if (held < LEAST) held = LEAST;
    if (size < held) size = held;
    sterna_cpu_block *block = sterna_alloc(1, sizeof *block);
    uint8_t *data = sterna_alloc_streamed(size, 1);
    if (!block || !data) {
        sterna_free(block);
        sterna_free(data);
        return NULL;
    }
    *block = (sterna_cpu_block){.next = *blocks, .blocks = blocks, .data = data, .size = size};
    *blocks = block;
    return block;
}

void *sterna_cpu_piece(sterna_cpu_block **blocks, size_t count, size_t size)
{
    size_t bytes;
    if (!sterna_mul_size(count, size, &bytes) || bytes > SIZE_MAX - 2 * LINE) return NULL;
    bytes = LINE + (bytes + LINE - 1) / LINE * LINE;
    sterna_cpu_block *block = *blocks;
    while (block && block->size - block->used < bytes) block = block->next;
    if (!block) block = add_block(blocks, bytes);
    return block ? (uint8_t *)cut(block, bytes) + LINE : NULL;
}

void sterna_cpu_piece_free(void *memory)
{
    if (!memory) return;
    piece *gone = (piece *)(void *)((uint8_t *)memory - LINE);
    sterna_cpu_block *block = gone->block;
    gone->held = false;
    while (block->last && !block->last->held) {
        block->used = (size_t)((uint8_t *)block->last - block->data);
        block->last = block->last->before;
    }
    if (block->last) return;
    sterna_cpu_block **link = block->blocks;
    while (*link != block) link = &(*link)->next;
    *link = block->next;
    sterna_free(block->data);
    sterna_free(block);
}
