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

#include "concurrency/check.h"
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
    uint32_t inverse;     /* of the block's size: see gi_pool_examine() */
    uint16_t link_offset; /* the kind's: where in a block its link stands */
    uint8_t size_class, kind;
    bool full;    /* which list of the heap it is in */
    bool zero;    /* what is not yet carved reads as zero */
    bool inlined; /* of a shared heap: inlined code of some thread may free to it (gi_heap_pages) */
} gi_pool;

_Static_assert(sizeof(gi_pool) <= GI_POOL_DESCRIPTOR_SIZE, "the reservation has room for the descriptors");

/* 2^32 / size of each class, rounded up: see gi_pool_examine(). */
extern const uint32_t gi_pool_inverses[GI_CLASSES] GI_INTERNAL;
/* Whether an address, less its kind's offset of links, is the start of a block in a pool with that inverse, as far as
   arithmetic tells: pools are aligned to their size. */
static inline bool gi_pool_is_start(uint32_t inverse, uintptr_t address) {
    return (uint32_t)((uint32_t)(address & (GI_POOL_SIZE - 1)) * inverse) < inverse;
}

/* How a freed pointer relates to its pool. */
typedef enum { GI_BLOCK_OK, GI_BLOCK_INTERIOR, GI_BLOCK_NOT_CARVED, GI_BLOCK_NONE_TAKEN } gi_block_fault;

/* Where a tool watches (concurrency/tool.h), the allocator keeps out of the bytes that the program asked for, so that
   the tool can have an eye on each of them, in free blocks too.  Before them stand the link and a word of
   lib/domain/watched.c; behind them is room for an overrun that must not reach the next link.  Hidden is all but what
   is live, and the links of free blocks.
     | link | word | as asked for, or freed | slack | */
#define GI_WATCHED_HEADER (2 * sizeof(uint64_t))
#define GI_WATCHED_SLACK sizeof(uint64_t)

/* Makes an unused pool one of `size_class` and `kind`, with nothing carved. */
void gi_pool_init(gi_pool *pool, unsigned size_class, unsigned kind, bool zero);

static inline bool gi_pool_has_free(const gi_pool *pool) { return pool->free != NULL || pool->carved < pool->capacity; }

/* Links `count` blocks of `size` bytes from `first` on as newly carved ones, GI_POOL_CARVED at most, and writes what it
   likes to them; in hardened mode there is one.  NULL: none.  Constant once there are pools. */
enum { GI_POOL_CARVED = 256 };
typedef gi_link *gi_pool_carver(unsigned kind, char *first, size_t size, unsigned count);
extern gi_pool_carver *gi_pool_carve_otherwise GI_INTERNAL;

/* Takes all free blocks at once, or else carves some; NULL-terminated, in ascending order if carved.  *count gets
   their number; *fresh says that all of each but its first word is zero.  The pool has something free. */
gi_link *gi_pool_take(gi_pool *pool, uint32_t *count, bool *fresh);

/* The block of a link, which is an address in the pool. */
static inline void *gi_pool_block(const gi_pool *pool, const gi_link *link) {
    return (char *)(uintptr_t)link - pool->link_offset;
}
/* Whether the block whose link is at an offset in the pool can come back to it, if `given` others have come back since
   `taken` was right.  One multiplication in place of a division: with inverse = 2^32 / size, rounded up, offset *
   inverse has the block's index above bit 32, and below it less than `inverse` exactly if nothing remains (Lemire,
   Kaser, Kurz, "Faster remainder by direct computation", 2019; exact here, since a pool has at most 2^14 bytes). */
static inline gi_block_fault gi_pool_examine_at(const gi_pool *pool, uint64_t offset, unsigned given) {
    uint64_t product = (offset - pool->link_offset) * pool->inverse;
    /* An offset below that of links makes the lower half one that is too great. */
    if (gi_unlikely((uint32_t)product >= pool->inverse)) {
        return GI_BLOCK_INTERIOR;
    }
    if (gi_unlikely(product >> 32 >= pool->carved)) {
        return GI_BLOCK_NOT_CARVED;
    }
    return gi_unlikely(pool->taken <= given) ? GI_BLOCK_NONE_TAKEN : GI_BLOCK_OK;
}

/* The same for any address of a link. */
static inline gi_block_fault gi_pool_examine(const gi_pool *pool, const gi_link *block, unsigned given) {
    uint64_t offset = (uint64_t)((const char *)block - pool->memory);
    bool inside = offset - pool->link_offset < GI_POOL_SIZE && offset < GI_POOL_SIZE;
    return gi_likely(inside) ? gi_pool_examine_at(pool, offset, given) : GI_BLOCK_INTERIOR;
}

/* Takes back a list of `count` blocks that gi_pool_examine() found right. */
static inline void gi_pool_give(gi_pool *pool, gi_link *first, gi_link *last, unsigned count) {
    gi_link_set(last, pool->free);
    pool->free = first;
    pool->free_count = (uint16_t)(pool->free_count + count);
    pool->taken = (uint16_t)(pool->taken - count);
}

/* P1-P4.  0 or -1. */
int gi_pool_check(const gi_pool *pool);

#endif /* GI_POOL_H */
