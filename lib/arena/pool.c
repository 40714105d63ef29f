/* SPDX-License-Identifier: MIT */
/*
 * pool.c [L3] - a pool: 16 KiB cut into blocks of one size class and one kind.
 *   Owner   a heap, or the arena manager while unused.  Invariants: P1-P4 (pool.h).
 */
#include "lib/arena/pool.h"

#include "concurrency/check.h"
#include "concurrency/tool.h"
#include "lib/arena/kind.h"

/* How much is carved at a time: little enough that a class which is used once touches half a page, enough that the
   slow path is seldom taken (an eighth of a pool). */
#ifdef GI_HOSTILE
#define CARVE_BYTES ((size_t)32)
#else
#define CARVE_BYTES ((size_t)2048)
#endif

#define SIZE_OF(class) (((class) + 1) * GI_ALIGNMENT)
#define INVERSE(class) (uint32_t)((((uint64_t)1 << 32) + SIZE_OF(class) - 1) / SIZE_OF(class))
#define INVERSES(class) INVERSE(class), INVERSE((class) + 1), INVERSE((class) + 2), INVERSE((class) + 3)
const uint32_t gi_pool_inverses[GI_CLASSES] = {INVERSES(0),  INVERSES(4),  INVERSES(8),  INVERSES(12),
                                               INVERSES(16), INVERSES(20), INVERSES(24), INVERSES(28)};
_Static_assert(GI_CLASSES == 32, "each class has an inverse");
_Static_assert(CARVE_BYTES / GI_ALIGNMENT <= GI_POOL_CARVED, "so many are carved at a time");

gi_pool_carver *gi_pool_carve_otherwise;

/* --- invariant check -------------------------------------------------------------------------- */

int gi_pool_check(const gi_pool *pool) {
    if (pool->taken + pool->free_count != pool->carved || pool->carved > pool->capacity) {
        return gi_report_broken("P1", "pool %p: %u taken + %u free, %u carved of %u", (void *)pool->memory, pool->taken,
                                pool->free_count, pool->carved, pool->capacity);
    }
    unsigned length = 0;
    for (const gi_link *block = pool->free; block != NULL && length <= pool->free_count;
         block = gi_link_next(block), length++) {
        gi_block_fault fault = gi_pool_examine(pool, block, 0); /* none need be taken */
        if (fault == GI_BLOCK_INTERIOR || fault == GI_BLOCK_NOT_CARVED || (const char *)block < pool->memory ||
            (const char *)block >= pool->memory + GI_POOL_SIZE) {
            return gi_report_broken("P3", "pool %p: %p is in its free list", (void *)pool->memory, (const void *)block);
        }
    }
    if (length != pool->free_count) {
        return gi_report_broken("P2", "pool %p: %u in the free list, %u counted", (void *)pool->memory, length,
                                pool->free_count);
    }
    return 0; /* P4 follows from P1 */
}

/* --- taking and giving ------------------------------------------------------------------------ */

static gi_link *carve(gi_pool *pool, uint32_t *count) {
    size_t size = gi_class_size(pool->size_class);
    unsigned blocks = (unsigned)(CARVE_BYTES / size), left = (unsigned)(pool->capacity - pool->carved);
    blocks = blocks == 0 ? 1 : blocks;
    blocks = blocks < left ? blocks : left;
    *count = blocks;
    if (gi_unlikely(gi_pool_carve_otherwise != NULL)) {
        gi_link *carved = gi_pool_carve_otherwise(pool->kind, pool->memory + pool->carved * size, size, blocks);
        pool->carved = (uint16_t)(pool->carved + blocks);
        return carved;
    }
    char *first = pool->memory + pool->carved * size + pool->link_offset, *last = first;
    for (const char *end = first + (blocks - 1) * size; last != end; last += size) {
        gi_link_set((gi_link *)(void *)last, (gi_link *)(void *)(last + size));
    }
    gi_link_set((gi_link *)(void *)last, NULL);
    pool->carved = (uint16_t)(pool->carved + blocks);
    return (gi_link *)(void *)first;
}

gi_link *gi_pool_take(gi_pool *pool, uint32_t *count, bool *fresh) {
    gi_link *blocks = pool->free;
    if (blocks != NULL) {
        *count = pool->free_count;
        *fresh = false;
        pool->free = NULL;
        pool->free_count = 0;
    } else {
        blocks = carve(pool, count);
        *fresh = pool->zero && gi_pool_carve_otherwise == NULL;
    }
    pool->taken = (uint16_t)(pool->taken + *count);
    return blocks;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

/* All is hidden but the words by which free blocks are linked. */
static void watch(gi_pool *pool) {
    size_t size = gi_class_size(pool->size_class);
    gi_tool_hide(pool->memory, GI_POOL_SIZE);
    for (unsigned i = 0; i < pool->capacity; i++) {
        gi_tool_own(pool->memory + i * size, sizeof(gi_link));
    }
}

void gi_pool_init(gi_pool *pool, unsigned size_class, unsigned kind, bool zero) {
    pool->free = NULL;
    pool->next = pool->prev = NULL;
    pool->taken = pool->free_count = pool->carved = 0;
    pool->capacity = (uint16_t)(GI_POOL_SIZE / gi_class_size(size_class));
    pool->inverse = gi_pool_inverses[size_class];
    pool->size_class = (uint8_t)size_class;
    pool->kind = (uint8_t)kind;
    pool->link_offset = gi_kinds[kind].link_offset;
    pool->full = false;
    pool->zero = zero;
    pool->inlined = false;
    if (gi_tool_sees_blocks()) {
        watch(pool);
    }
}
