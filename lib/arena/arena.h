/* SPDX-License-Identifier: MIT */
/*
 * arena.h [L3] - the shared arena manager: arenas of 256 KiB from the arena allocator, cut into pools.
 *
 *   A pool is served from the fullest arena that has one free, so that the others empty and go back (CPython keeps
 *   usable_arenas sorted for the same reason); a list per number of free pools makes that O(1).  If none of its free
 *   pools has been used (*dirty*), one is served of the arena that became dirty last: memory that is there already is
 *   used up before more is touched.
 *
 *     free pools   0: in no list     1 | 2 | ... | 16 (wholly free)     <- lists; `nonempty` has a bit each
 *
 *   Memory goes back in two steps.  A wholly free arena is returned, but for one that is kept (bpo-37257: an arena that
 *   came and went at each call).  Dirty pools of busy arenas are decommitted when there are more of them than
 *   GI_DIRTY_POOLS_MIN plus a sixteenth of the pools in use, the arena that has been dirty for longest first.
 *
 *   Each arena goes back to the arena allocator that gave it.  A user's arena may lie anywhere, is aligned to pools
 *   inside (so it may hold one pool less), is never trusted to be zero and never decommitted.
 *
 *     A1  `free` has free_count bits, within its pools        A3  an arena is in the list of its free_count
 *     A2  `dirty` is a subset of `free`                       A4  the counts of arenas, free and dirty pools add up
 *
 *   Locks   arena (GI_RANK_ARENA) for everything; not held around the arena allocator, nor around decommits.
 */
#ifndef GI_ARENA_H
#define GI_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/atomic.h"
#include "lib/arena/pool.h"

/* The same shape as the public PyObjectArenaAllocator. */
typedef struct gi_arena_allocator {
    void *ctx;
    void *(*alloc)(void *ctx, size_t size);
    void (*free)(void *ctx, void *memory, size_t size);
} gi_arena_allocator;

struct gi_arena {
    gi_arena *next, *prev;             /* guarded by arena: list by free_count */
    gi_arena *next_dirty, *prev_dirty; /* guarded by arena: list of arenas with dirty pools */
    char *memory;                      /* constant: as the allocator gave it */
    gi_pool *pools;                    /* constant: the first one's descriptor */
    gi_arena_allocator allocator;      /* constant: where it goes back to */
    uint32_t free, dirty, returned;    /* guarded by arena: a bit a pool; returned: decommitted, and not used since */
    uint16_t free_count, pool_count;   /* guarded by arena; pool_count constant */
    bool ours;                         /* constant: from the default allocator: zero at first, may be decommitted */
};

/* Statistics: what gilloc_get_stats() tells of arenas. */
typedef struct gi_arena_stats {
    gi_counter arenas, arenas_high, acquired, released; /* guarded by arena; read by anyone */
    gi_counter pools, pools_free, pools_dirty;          /* the same: in all arenas; of which free, and of which dirty */
    gi_counter bytes_from_system, bytes_to_system;
} gi_arena_stats;
extern gi_arena_stats gi_arena_stats_now GI_INTERNAL;

/* A pool, made one of `size_class` and `kind`, whose page word is `word`; NULL when no arena can be had. */
gi_pool *gi_arena_acquire_pool(unsigned size_class, unsigned kind, uint32_t word);
/* Takes back a pool that has nothing taken and is in no list. */
void gi_arena_release_pool(gi_pool *pool);
/* Gives back every free pool and every free arena.  Bytes given back. */
size_t gi_arena_purge(void);

/* Called each time when an arena has been made, with no lock of the manager's held, by the thread that needs it; NULL:
   not.  Constant once the library is ready. */
extern void (*gi_arena_made)(void) GI_INTERNAL;

void gi_arena_get_allocator(gi_arena_allocator *allocator);
void gi_arena_set_allocator(const gi_arena_allocator *allocator);

/* Calls `visit` for each pool in use (its word names a heap); non-zero ends the walk and is returned. */
int gi_arena_walk(int (*visit)(gi_pool *pool, void *arg), void *arg);
/* A1-A4.  0 or -1. */
int gi_arena_check(void);

void gi_arena_before_fork(void);
void gi_arena_after_fork(void);

#endif /* GI_ARENA_H */
