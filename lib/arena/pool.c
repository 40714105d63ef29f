/* SPDX-License-Identifier: MIT */
/*
 * pool.c [L3] - a pool: 16 KiB cut into blocks of one size class and one kind.
 *   Owner   a heap, or the arena manager while unused.  Invariants: P1-P4 (pool.h).
 */
#include "lib/arena/pool.h"

#include "concurrency/check.h"
#include "lib/arena/kind.h"

/* How much is carved at a time: little enough that a class which is used once touches half a page, enough that the
   slow path is seldom taken (an eighth of a pool). */
#ifdef GI_HOSTILE
#define CARVE_BYTES ((size_t)32)
#else
#define CARVE_BYTES ((size_t)2048)
#endif

#define R(n) (((1u << GI_RECIPROCAL_SHIFT) + (n)-1) / (n))
const uint32_t gi_reciprocals[GI_CLASSES] = {
    R(1),  R(2),  R(3),  R(4),  R(5),  R(6),  R(7),  R(8),  R(9),  R(10), R(11), R(12), R(13), R(14), R(15), R(16),
    R(17), R(18), R(19), R(20), R(21), R(22), R(23), R(24), R(25), R(26), R(27), R(28), R(29), R(30), R(31), R(32)};
#undef R
_Static_assert(GI_POOL_SIZE / GI_ALIGNMENT * GI_CLASSES <= 1u << GI_RECIPROCAL_SHIFT, "the reciprocals are exact");

/* --- invariant check -------------------------------------------------------------------------- */

int gi_pool_check(const gi_pool *pool) {
    if (pool->taken + pool->free_count != pool->carved || pool->carved > pool->capacity) {
        return gi_report_broken("P1", "pool %p: %u taken + %u free, %u carved of %u", (void *)pool->memory, pool->taken,
                                pool->free_count, pool->carved, pool->capacity);
    }
    unsigned length = 0;
    for (const gi_link *block = pool->free; block != NULL && length <= pool->free_count;
         block = block->next, length++) {
        gi_block_fault fault = gi_pool_examine(pool, block); /* none need be taken */
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
    char *first = pool->memory + pool->carved * size + pool->link_offset;
    for (unsigned i = 0; i + 1 < blocks; i++) {
        ((gi_link *)(void *)(first + i * size))->next = (gi_link *)(void *)(first + (i + 1) * size);
    }
    ((gi_link *)(void *)(first + (blocks - 1) * size))->next = NULL;
    pool->carved = (uint16_t)(pool->carved + blocks);
    *count = blocks;
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
        *fresh = pool->zero;
    }
    pool->taken = (uint16_t)(pool->taken + *count);
    return blocks;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_pool_init(gi_pool *pool, unsigned size_class, unsigned kind, bool zero) {
    pool->free = NULL;
    pool->next = pool->prev = NULL;
    pool->taken = pool->free_count = pool->carved = 0;
    pool->capacity = (uint16_t)(GI_POOL_SIZE / gi_class_size(size_class));
    pool->size_class = (uint8_t)size_class;
    pool->kind = (uint8_t)kind;
    pool->link_offset = gi_kinds[kind].link_offset;
    pool->full = false;
    pool->zero = zero;
}
