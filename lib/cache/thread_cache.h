/* SPDX-License-Identifier: MIT */
/*
 * thread_cache.h [L4] - the free blocks of one thread, and the blocks that it has freed for others.
 *
 *   bin (one a class and kind)                 remote slot (64, by page word)
 *     alloc -> block -> block                    word, first .. last, count
 *     free  -> block -> block -> ...             <- frees of other heaps' blocks, pushed to the owner as one chain
 *     room: how many more `free` may hold
 *
 *   Allocation pops `alloc`, a free pushes onto `free`; when `alloc` is empty the lists change places.  The two do not
 *   meet, so a malloc does not wait for the store of the free before it (measured: mixed pairs 4.8 -> 3.0 ns).  `room`
 *   bounds `free` by bytes: on overflow the list becomes `alloc` if that is empty and the thread allocates of the class
 *   too, else it goes to the stash, if it is of the shared heap, or back to the pools.
 *
 *   The bin of 0 bytes, number 0, only ever has `alloc` blocks, borrowed from class 0: so a request of 0 bytes takes
 *   the fast path without a test of its own.
 *
 *   The *empty sentinel* is what a detached thread's `gi_current_cache` points to: its lists are empty and its tag is
 *   no heap's, so every malloc and every free of such a thread leaves the fast path, where the lock is enforced,
 *   without an instruction for it.
 *
 *   Owner   the thread that is attached with it; see heap.h for who may touch an idle one.  No locks, no atomics but
 *           counters.
 *   Inlined code (<gilloc/inline.h>) frees without counting, to one page of a class; whoever has it free to another
 *   page counts what it has freed to the last one, or more (gi_object_free_known()).  So the `free` of a class that is
 *   in `inlined` may have more blocks than `room` says, but of two pools at most: those since the last count, and those
 *   below a block that was on top at the last count, of an earlier list, and has come into this one.
 *
 *   C1  `free` has cap - room blocks; of a class in `inlined` two pools' more, or any less
 *   C2  every block in a list is of its kind and class
 *   C3  a bin whose class is not in `used` is empty, with cap 0; no page of the class is known
 */
#ifndef GI_THREAD_CACHE_H
#define GI_THREAD_CACHE_H

#include <stdbool.h>

#include "concurrency/remote_list.h"
#include "lib/cache/bin.h"
#include "lib/cache/heap.h"
#include "lib/cache/retired.h"

typedef struct gi_remote_slot {
    gi_link *first, *last;
    uint32_t word;  /* whose, which kind and class */
    uint32_t count; /* 0: empty */
} gi_remote_slot;

/* Remote frees go to their owner in chains of so many: 1 costs 15.6 ns a block, 8 12.4, 32 12.7. */
#ifdef GI_HOSTILE
#define GI_REMOTE_SLOTS 4u
#define GI_REMOTE_BATCH 2u
#else
#define GI_REMOTE_SLOTS 64u
#define GI_REMOTE_BATCH 16u
#endif

struct gi_quarantine;

typedef struct gi_thread_cache {
    uint32_t tag[GI_KINDS];  /* constant while attached: the page word of class 0 of my heap */
    uint32_t used[GI_KINDS]; /* classes whose bin may hold something or has grown; the others have cap 0 */
    uint32_t remote_pending; /* remote slots that are not empty */
    uint32_t to_shared;      /* constant while attached: between `tag` and the shared heap's; 0: the same */
    gi_pool *emptied;        /* pools with nothing taken, to be released */
    bool claiming;           /* holds a claim on another cache's heap */
    uint32_t safepoints;     /* passed since the last flush of remote slots, while some are not empty */
    uint32_t inlined[GI_KIND_OBJECT + 1]; /* classes in whose `free` may be blocks that inlined code has freed */
    gi_heap *heap;                 /* where it refills from: the group's shared heap or &own; NULL: neither yet */
    gi_counter large, large_freed; /* large blocks allocated and freed here, ever */
    gi_counter remote_frees, remote_batches;
    gi_atomic(struct gi_quarantine *) quarantine; /* atomic, order(quarantine): of the debug hooks; NULL: none yet */
    gi_bin bins[GI_KINDS][1 + GI_CLASSES];
    gi_heap own;        /* its pages, which come first, at the same distance in all builds */
    gi_retired retired; /* retire.h */
    gi_remote_slot remote[GI_REMOTE_SLOTS];
    uint32_t watched[GI_KINDS];   /* classes whose next free is looked at: the bin says that it is full */
    uint32_t heir_of[GI_KINDS];   /* classes that the thread before used, until one of them is taken from the stash */
    uint32_t inherited[GI_KINDS]; /* those of which a list was taken so, and nothing has been needed since */
    uint32_t lives;               /* threads that have ended with this cache */
    const gi_link *counted[GI_KIND_OBJECT + 1][GI_CLASSES]; /* what was on top of `free` as that was last counted */
} gi_thread_cache;

/* The cache of the attached thread, or the empty sentinel.  One pointer, initial-exec: 2 instructions, and dlopen()
   needs 8 bytes of static TLS. */
extern __thread gi_thread_cache *gi_current_cache GI_INTERNAL __attribute__((tls_model("initial-exec")));
extern const gi_thread_cache gi_empty_cache GI_INTERNAL;

static inline gi_remote_slot *gi_cache_remote_slot(gi_thread_cache *cache, uint32_t word) {
    return &cache->remote[(word >> GI_WORD_CLASS_SHIFT) * 2654435761u >> 26 & (GI_REMOTE_SLOTS - 1)];
}

/* Whether the bin's lists may have more blocks, or less, than the counts say. */
static inline bool gi_cache_is_inlined(const gi_thread_cache *cache, unsigned kind, size_t size_class) {
    return kind <= GI_KIND_OBJECT && (cache->inlined[kind] >> size_class & 1) != 0;
}

/* On x86-64 any register but that of the result, which the block then comes into without a move. */
#if defined(__x86_64__)
#define GI_BIN_REGISTER(bin) "+d"(bin)
#else
#define GI_BIN_REGISTER(bin) "+r"(bin)
#endif

/* The bin for a small request: 0 for 0 bytes, 1 + class else, without a branch. */
static inline gi_bin *gi_bin_for_size(gi_thread_cache *cache, unsigned kind, size_t size) {
    size_t offset = ((size + GI_ALIGNMENT - 1) & ~(size_t)(GI_ALIGNMENT - 1)) * (sizeof(gi_bin) / GI_ALIGNMENT);
    gi_bin *bin = (gi_bin *)(void *)((char *)cache->bins[kind] + offset);
    /* Lists are addressed by a base alone: a store and the load after it then meet in the register file (1 cycle), not
       through the store buffer (7 cycles), which they do behind an index. */
    __asm__("" : GI_BIN_REGISTER(bin));
    return bin;
}

static inline bool gi_cache_is_attached(const gi_thread_cache *cache) { return cache != &gi_empty_cache; }

/* Whether the lists of all caches are short, and go back to their pools rather than to the stash: for a program of its
   own work, whose blocks are then fewer at a time and nearer to each other, so that the processor has them at hand.
   What only allocates and frees pays more for it.  Before there is a thread state. */
void gi_cache_keep_short(bool is_short);
/* Makes zeroed memory, which is never given back, an idle and empty cache of the group, for ever.  `asked`: by which
   word its thread is asked to drain.  False when there are too many caches. */
bool gi_cache_init(gi_thread_cache *cache, gi_heap_group *group, gi_asked *asked);

/* Free blocks for a class whose `alloc` is empty are put there; false when memory is out. */
bool gi_cache_refill(gi_thread_cache *cache, unsigned kind, unsigned size_class, const char *function);
/* The same for requests of 0 bytes. */
bool gi_cache_refill_zero(gi_thread_cache *cache, unsigned kind, const char *function);
/* The bin's `free` list has overflowed: makes room. */
void gi_cache_overflow(gi_thread_cache *cache, unsigned kind, unsigned size_class, const char *function);
/* The next free of each class of the kind takes the slow path, which looks whether it is of a block. */
void gi_cache_look_at_frees(gi_thread_cache *cache, unsigned kind);
/* Puts a block of the kind and class into the bin, whoever's pool it is in. */
void gi_cache_keep(gi_thread_cache *cache, unsigned kind, unsigned size_class, gi_link *block, const char *function);
/* Puts a block of another private heap into a remote slot. */
void gi_cache_free_remote(gi_thread_cache *cache, uint32_t word, gi_link *block, const char *function);

/* Gives a block of another heap, of whatever group, back to that heap: at once to a shared one, else by a remote slot.
   A shared heap has no remote lists. */
void gi_cache_give_foreign(gi_thread_cache *cache, uint32_t word, gi_link *block, const char *function);

/* Pushes all remote slots to the owners. */
void gi_cache_flush_remote(gi_thread_cache *cache, const char *function);

/* The shared heap of its group. */
static inline gi_heap *gi_cache_shared(const gi_thread_cache *cache) { return &cache->own.group->shared; }
/* It allocates from `heap` from now on. */
void gi_cache_refill_from(gi_thread_cache *cache, gi_heap *heap);
/* The thread attaches: the cache allocates from the group's shared heap (gil mode) or from its own (GIL-free mode). */
static inline void gi_cache_attach(gi_thread_cache *cache, bool free_threaded) {
    if (free_threaded) {
        gi_heap_activate(&cache->own);
    }
    gi_heap *heap = free_threaded ? &cache->own : gi_cache_shared(cache);
    if (gi_unlikely(cache->heap != heap)) { /* the first time, or in another mode than the last time */
        gi_cache_refill_from(cache, heap);
    }
    gi_current_cache = cache;
}
/* The thread detaches: in GIL-free mode remote frees are pushed to their owners. */
static inline void gi_cache_detach(gi_thread_cache *cache, bool free_threaded, const char *function) {
    gi_current_cache = (gi_thread_cache *)(uintptr_t)&gi_empty_cache;
    if (free_threaded) {
        if (gi_unlikely(cache->remote_pending != 0)) {
            gi_cache_flush_remote(cache, function);
        }
        gi_heap_idle(&cache->own);
    }
}
/* Takes in what other threads have freed for this cache's heap, into the pools. */
void gi_cache_drain(gi_thread_cache *cache, const char *function);
/* All of the cache goes back: bins and remote frees to their pools.  The cache stays usable. */
void gi_cache_flush(gi_thread_cache *cache, const char *function);
/* So does what is in the group's stash. */
void gi_cache_flush_stash(gi_thread_cache *cache, const char *function);
/* The cache of an ending state ends: its bins go to the stash or are flushed, its pools are handed to the shared heap,
   its lists closed.  It is as new, and may be attached again.  By any thread. */
void gi_cache_end(gi_thread_cache *cache, const char *function);
/* The same in the child of a fork, for the cache of a thread of the parent that was `outside` it.  False if it was not,
   or may not have been (attached, or being deleted): the cache is lost, its blocks stay usable. */
bool gi_cache_end_after_fork(gi_thread_cache *cache, bool outside, const char *function);

/* The mode is about to become gil, in a stopped world: what each cache has of its own is handed to the shared heap, and
   its lists are closed.  Bins stay as they are. */
void gi_cache_share_all(const char *function);
/* In a stopped world: flushes all caches and stashes, until every free block is in its pool. */
void gi_cache_flush_all(const char *function);
/* Whether a stash has any list, as a hint. */
bool gi_cache_any_stashed(const gi_stash *stash);

/* Flushes the cache of another, detached thread, and the group's stash, if it can be claimed; in gil mode the caller
   holds the lock.  Pools that became empty are put in front of *emptied, for gi_heap_release_pools(). */
void gi_cache_flush_idle(gi_thread_cache *cache, gi_pool **emptied, const char *function);

/* Claims the cache of another, detached thread, as gi_cache_flush_idle() does; false if it cannot be. */
bool gi_cache_claim(gi_thread_cache *cache);
void gi_cache_release_claim(gi_thread_cache *cache);

/* At a safepoint: upkeep with bounded work. */
void gi_cache_safepoint(gi_thread_cache *cache, const char *function);

/* Free blocks that the cache and its heap's remote lists hold; C1 and C2 on the way, -1 for a broken one.  By its
   owner, or by whoever has claimed it. */
int64_t gi_cache_count_free(const gi_thread_cache *cache);

/* Free blocks in the stash of a group; C2 on the way, -1 for a broken one. */
int64_t gi_cache_count_stash(gi_heap_group *group);

/* Free blocks by kind and class, and all. */
typedef struct gi_free_counts {
    uint64_t blocks[GI_KINDS][GI_CLASSES], all, bytes;
} gi_free_counts;
/* The same as the two above without the checks: adds what there is.  As fast as may be for statistics: of what a cache
   has only the blocks in `alloc` lists and in remote lists are looked at, since nobody counts these. */
void gi_cache_add_free(const gi_thread_cache *cache, gi_free_counts *counts);
void gi_cache_add_stashed(gi_heap_group *group, gi_free_counts *counts);
/* Blocks that the cache has freed for others and not handed over yet.  By whom gi_cache_count_free() says. */
uint64_t gi_cache_count_pending(const gi_thread_cache *cache);

/* The cache that a private heap is part of. */
static inline gi_thread_cache *gi_cache_of_heap(gi_heap *heap) {
    return (gi_thread_cache *)(void *)((char *)heap - offsetof(gi_thread_cache, own));
}
/* Calls `visit` for every cache that was ever made. */
void gi_cache_for_each(void (*visit)(gi_thread_cache *cache, void *arg), void *arg);

#endif /* GI_THREAD_CACHE_H */
