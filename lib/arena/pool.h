/* SPDX-License-Identifier: MIT */
/*
 * pool.h [L3] - a pool: 16 KiB cut into blocks of one size class and one kind.
 *
 *     memory                                    carved                      capacity
 *      | taken | free | taken | taken | free |    |  not yet carved  ...      |   tail, unused
 *
 *   Blocks are passed by their links (kind.h).  A block is *carved* once, in order, when it is first needed: memory
 *   that was never needed is never touched.  A carved block is either in the pool's free list, or *taken*: out of the
 *   pool, whether a program has it or a thread cache or a remote list does.  The pool knows nothing of these, so blocks
 *   move between threads without it.
 *
 *     P1  taken + free == carved <= capacity        P3  every free block is a carved one
 *     P2  free is the length of the free list       P4  carved == 0 implies taken == 0
 *
 *   States: unused (in the arena manager's hands) -> partial (something free or not yet carved) <-> full; a pool whose
 *   last taken block comes back is unused again.
 *   Owner   a heap (lib/cache/heap.h), or the arena manager while unused.  No locks, no atomics here.
 */
#ifndef GI_POOL_H
#define GI_POOL_H

#include <stdbool.h>

#include "concurrency/remote_list.h"
#include "lib/arena/size_class.h"
#include "lib/os/layout.h"

typedef struct gi_arena gi_arena;

typedef struct gi_pool {
    char *memory;                /* constant while the arena lives */
    gi_arena *arena;             /* constant while the arena lives */
    gi_link *free;               /* owner-only, as all below */
    struct gi_pool *next, *prev; /* in a list of the heap */
    uint16_t taken, free_count, carved, capacity;
    uint16_t link_offset; /* the kind's: where in a block its link stands */
    uint8_t size_class, kind;
    bool full; /* which list of the heap it is in */
    bool zero; /* what is not yet carved reads as zero */
} gi_pool;

_Static_assert(sizeof(gi_pool) <= GI_POOL_DESCRIPTOR_SIZE, "the reservation has room for the descriptors");

/* How a freed pointer relates to its pool. */
typedef enum { GI_BLOCK_OK, GI_BLOCK_INTERIOR, GI_BLOCK_NOT_CARVED, GI_BLOCK_NONE_TAKEN } gi_block_fault;

/* Makes an unused pool one of `size_class` and `kind`, with nothing carved. */
void gi_pool_init(gi_pool *pool, unsigned size_class, unsigned kind, bool zero);

static inline bool gi_pool_has_free(const gi_pool *pool) { return pool->free != NULL || pool->carved < pool->capacity; }

/* Takes all free blocks at once, or else carves some; NULL-terminated, in ascending order if carved.  *count gets
   their number; *fresh says that all of each but its first word is zero.  The pool has something free. */
gi_link *gi_pool_take(gi_pool *pool, uint32_t *count, bool *fresh);

/* The block of a link, which is an address in the pool. */
static inline void *gi_pool_block(const gi_pool *pool, const gi_link *link) {
    return (char *)(uintptr_t)link - pool->link_offset;
}

/* units / n == units * reciprocal(n) >> GI_RECIPROCAL_SHIFT, exactly, while units * n < 2^GI_RECIPROCAL_SHIFT: a
   multiply where a division would be the slowest instruction of a flush. */
#define GI_RECIPROCAL_SHIFT 16
extern const uint32_t gi_reciprocals[GI_CLASSES] GI_INTERNAL;

/* Whether `block`, by its link, can come back to the pool. */
static inline gi_block_fault gi_pool_examine(const gi_pool *pool, const gi_link *block) {
    uint32_t offset = (uint32_t)((const char *)block - pool->memory) - pool->link_offset, units = offset / GI_ALIGNMENT;
    uint32_t index = units * gi_reciprocals[pool->size_class] >> GI_RECIPROCAL_SHIFT;
    if (gi_unlikely(offset >= GI_POOL_SIZE || offset != index * gi_class_size(pool->size_class))) {
        return GI_BLOCK_INTERIOR;
    }
    if (gi_unlikely(index >= pool->carved)) {
        return GI_BLOCK_NOT_CARVED;
    }
    return gi_unlikely(pool->taken == 0) ? GI_BLOCK_NONE_TAKEN : GI_BLOCK_OK;
}
/* Takes back a block that gi_pool_examine() found right. */
static inline void gi_pool_give(gi_pool *pool, gi_link *block) {
    block->next = pool->free;
    pool->free = block;
    pool->free_count++;
    pool->taken--;
}

/* P1-P4.  0 or -1. */
int gi_pool_check(const gi_pool *pool);

#endif /* GI_POOL_H */
