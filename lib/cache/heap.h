/* SPDX-License-Identifier: MIT */
/*
 * heap.h [L4] - a heap: the pools of one owner, and the lists by which others give blocks back to it.
 *
 *   A *heap group* is the memory of an interpreter: one *shared heap*, in GIL-free mode a *private heap* for each
 *   thread cache, a *stash* of free blocks that caches leave for each other (stash.h), and what waits for a grace
 *   period without a thread: emptied pools of type-stable kinds, in *limbo*, and what ended threads had retired
 *   (retired.h).  The main interpreter's shared heap has number 1.
 *
 *                      gil mode                          GIL-free mode
 *     shared heap      all pools                         orphans: pools of threads that ended
 *     private heap     empty                             the pools from which its thread allocates
 *
 *   A pool's page word names its heap.  The same blocks and pools serve both modes, so nothing is moved or copied when
 *   threads end or the mode changes: a thread that ends hands its pools to the shared heap, and a thread that needs a
 *   pool of some class adopts one from there before it asks the arena manager.
 *
 *   Which blocks a thread may hand out does not depend on whose pool they are in: any free block in its cache is its
 *   own to use.  The owner is only the one who *counts*: a block goes back to its pool by the pool's heap alone.
 *
 *   Each (kind, class) has a list of partial pools; full pools are in one list.  H1: a pool is in the partial list of
 *   its kind and class exactly if it has something free.  H2: its page word names the heap.  H3: pools and taken blocks
 *   add up to the heap's counts, those of the classes to those of the heap.  H4: a page that is known to inlined code
 *   (gi_heap_pages) is of a pool of the heap or of its group's shared one, which says so, of that kind and class.
 *
 *   status of a private heap   ACTIVE   its thread is attached: only that thread touches pools and counts
 *   (GIL-free mode)            IDLE     its thread is detached: whoever claims it may
 *                              CLAIMED  another thread does the upkeep; attaching waits for that, which is bounded
 *   A heap belongs to one group for ever, so a number in a page word always names the same one.
 *   Locks   heap.mutex (GI_RANK_SHARED_HEAP) of a shared heap, around every call below that says (held); group.mutex
 *           (GI_RANK_LIMBO).
 *   Orders  heap-claim: who worked on the heap before -> who does next.  remote-free: remote_list.h.
 */
#ifndef GI_HEAP_H
#define GI_HEAP_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/gil.h"
#include "concurrency/mutex.h"
#include "concurrency/remote_list.h"
#include "lib/arena/address_map.h"
#include "lib/arena/pool.h"
#include "lib/cache/stash.h"

enum { GI_HEAP_ACTIVE = 0, GI_HEAP_IDLE = 1, GI_HEAP_CLAIMED = 2 };
#define GI_HEAP_SHARED_NUMBER 1u
#define GI_HEAP_FIRST_PRIVATE_NUMBER 2u

/* Of one kind and class: pools, and blocks that are out of them. */
typedef struct gi_heap_class {
    gi_counter pools, taken;
} gi_heap_class;

/* By kind and class: the last page of which the heap's thread has freed a block by a size known beforehand
   (<gilloc/inline.h>), or GI_HEAP_NO_PAGE.  It is of a pool of the heap that the thread allocates from: in gil mode of
   the shared one.  The block was live then, and so its pool is forgotten here before it is another's: whoever finds a
   block's page here knows kind and class without its page word.  A shared heap has none of its own: as one of its pools
   leaves it that inlined code knows, all private heaps of the group forget it.  relaxed: as page words
   (address_map.h). */
#define GI_HEAP_NO_PAGE 1u /* no page has this address */
typedef struct gi_heap_pages {
    gi_atomic(uint64_t) last[GI_KIND_OBJECT + 1][GI_CLASSES];
} gi_heap_pages;

typedef struct gi_heap {
    gi_heap_pages pages_known;   /* owner-only; forgotten by whoever takes the pool.  First, for gi_thread_cache */
    uint32_t number;             /* constant after init */
    struct gi_heap_group *group; /* constant after init */
    gi_atomic(uint32_t) status;  /* atomic, order(heap-claim) */
    gi_atomic(uint32_t) wanted;  /* relaxed: its thread waits for a claim to end, so that no other begins */
    gi_asked *asked;             /* constant after init: how its thread is asked to drain; NULL: shared */
    struct gi_heap *next;        /* constant once listed: of the private heaps of its group */
    gi_atomic(gi_pool *) partial[GI_KINDS][GI_CLASSES]; /* owner-only; relaxed: peeked at for orphans */
    uint32_t open[GI_KINDS];                            /* owner-only: classes whose remote list is open */
    gi_pool *full;                                      /* owner-only */
    gi_counter pools, taken;                            /* owner-only; read by anyone */
    gi_heap_class classes[GI_KINDS][GI_CLASSES];        /* owner-only; read by anyone: of which these */
    gi_counter orphaned, adopted;                       /* owner-only; read by anyone */
    bool lost;      /* its thread was inside it when its process was forked: left alone */
    gi_mutex mutex; /* a shared heap's */
    _Alignas(GI_CACHE_LINE) gi_remote_list remote[GI_KINDS][GI_CLASSES]; /* pushed by anyone to open ones; only an open
                                                                                class has pools that name this heap */
} gi_heap;

struct gi_retired_chunk;

typedef struct gi_heap_group {
    gi_heap shared;
    gi_stash *stash;               /* guarded by shared.mutex */
    gi_atomic(gi_heap *) heaps;    /* atomic, order(heap-number): its private ones, newest first; none leaves */
    gi_mutex mutex;                /* of what follows */
    gi_pool *limbo;                /* guarded by mutex, linked by next */
    struct gi_retired_chunk *left; /* guarded by mutex: what ended threads had retired */
    gi_counter waiting;            /* guarded by mutex; read by anyone: bytes in both */
} gi_heap_group;

extern gi_heap_group gi_main_group GI_INTERNAL;

/* Whether `heap` is its group's shared one. */
static inline bool gi_heap_is_shared(const gi_heap *heap) { return heap == &heap->group->shared; }

/* A private heap, empty, with no list open. */
void gi_heap_init(gi_heap *heap, gi_heap_group *group, uint32_t number, gi_asked *asked);
/* Makes zeroed memory a group; false when memory is out or there is no number left. */
bool gi_heap_group_init(gi_heap_group *group);
/* The heap of a number that stands in a page word. */
gi_heap *gi_heap_of_number(uint32_t number);
/* The newest private heap of the group, from which `next` leads to all others; NULL: none. */
static inline gi_heap *gi_heap_first_of(const gi_heap_group *group) {
    /* order(heap-number): acquire; pairs with release in gi_heap_number(). */
    return gi_load_acquire(&group->heaps);
}
/* The highest number given out. */
uint32_t gi_heap_last_number(void);
/* Gives `heap` a number of its own; false when there is none left. */
bool gi_heap_number(gi_heap *heap, gi_heap_group *group, gi_asked *asked);

/* (held) Free blocks of a kind and class from a partial pool: its whole free list, or newly carved ones; NULL when
   there is no such pool.  *count, *fresh: see gi_pool_take(). */
gi_link *gi_heap_take(gi_heap *heap, unsigned kind, unsigned size_class, uint32_t *count, bool *fresh);
/* A new pool for `heap` from the arena manager, or NULL; its page word says so when it is added.  Not held: the arena
   allocator may be a user's. */
gi_pool *gi_heap_acquire_pool(gi_heap *heap, unsigned kind, unsigned size_class);
/* (held) Puts it into the heap's lists. */
void gi_heap_add_pool(gi_heap *heap, gi_pool *pool);
/* (held) Gives the first block of a list back to its pool, which belongs to `heap`, and with it those behind it that
   are in the same pool: as they hang together, so that only the last one is written.  Returns the rest.  A pool with
   nothing taken leaves the heap and is put in front of *emptied, or of the group's limbo if its kind is type-stable.
   `function` is named if a block turns out to be none. */
gi_link *gi_heap_give(gi_heap *heap, gi_link *blocks, gi_pool **emptied, const char *function);
/* (held) The same for the blocks of a list up to the first whose page word is not `heap`'s, of that kind and class; it
   and the rest are returned. */
gi_link *gi_heap_give_run(gi_heap *heap, unsigned kind, unsigned size_class, gi_link *blocks, gi_pool **emptied,
                          const char *function);
/* Gives emptied pools, or those of a limbo after a grace period, to the arena manager.  Not held. */
void gi_heap_release_pools(gi_pool *emptied);
/* The block is free already: found as it went back to its pool. */
_Noreturn void gi_heap_double_free(const gi_pool *pool, const gi_link *block, const char *function)
    __attribute__((cold));

/* Inlined code of the private heap's thread may free to the page of the block, a live one of the heap that it allocates
   from; to no page of that class; to no page at all. */
static inline void gi_heap_know_page(gi_heap *heap, unsigned kind, unsigned size_class, uint64_t page) {
    gi_store_relaxed(&heap->pages_known.last[kind][size_class], page); /* relaxed: as declared */
}
static inline void gi_heap_know_no_pages(gi_heap *heap) {
    for (unsigned i = 0; i < (GI_KIND_OBJECT + 1) * GI_CLASSES; i++) {
        gi_heap_know_page(heap, i / GI_CLASSES, i % GI_CLASSES, GI_HEAP_NO_PAGE);
    }
}

/* Dies if the block is free in its pool, if that belongs to `heap`: a pool of the shared one may have been adopted
   meanwhile.  Walks the pool's list. */
void gi_heap_expect_taken(gi_heap *heap, const gi_link *block, const char *function);

/* The group's limbo, emptied. */
gi_pool *gi_heap_take_limbo(gi_heap_group *group);

/* Takes one partial pool from its group's shared heap into the private `heap`.  False if there is none. */
bool gi_heap_adopt(gi_heap *heap, unsigned kind, unsigned size_class);
/* Hands all pools of the private `heap` to its group's shared heap. */
void gi_heap_orphan(gi_heap *heap);

/* By a thread that is not the owner: true if `heap` was idle and now is the caller's, to be released again.  One heap
   is claimed at a time: the first gives up at once if one is, the second waits. */
bool gi_heap_try_claim(gi_heap *heap);
bool gi_heap_claim(gi_heap *heap);
void gi_heap_release_claim(gi_heap *heap);
/* In a stopped world, by the stopper: claims all that are idle, as one claim. */
void gi_heap_claim_all(void);
void gi_heap_release_all(void);
/* By the thread that attaches and detaches, GIL-free mode. */
static inline bool gi_heap_try_activate(gi_heap *heap) {
    uint32_t status = GI_HEAP_IDLE;
    /* order(heap-claim): acquire; pairs with release in gi_heap_release_claim(). */
    return gi_cas_acquire(&heap->status, &status, GI_HEAP_ACTIVE);
}
void gi_heap_activate_slow(gi_heap *heap);
static inline void gi_heap_activate(gi_heap *heap) {
    if (gi_unlikely(!gi_heap_try_activate(heap))) {
        gi_heap_activate_slow(heap);
    }
}
static inline void gi_heap_idle(gi_heap *heap) {
    /* order(heap-claim): release; pairs with acquire in claim_locked(). */
    gi_store_release(&heap->status, GI_HEAP_IDLE);
}

/* H1-H4 and each pool's own invariants, for all heaps.  The world is stopped, or quiet.  0 or -1. */
int gi_heap_check_all(void);

/* Around fork(): the mutex of claims, those of each group, and, taken after those of the arenas, that of the
   numbers. */
void gi_heap_before_fork(void);
void gi_heap_after_fork(void);
void gi_heap_group_before_fork(gi_heap_group *group);
void gi_heap_group_after_fork(gi_heap_group *group);
void gi_heap_numbers_before_fork(void);
void gi_heap_numbers_after_fork(void);

#endif /* GI_HEAP_H */
