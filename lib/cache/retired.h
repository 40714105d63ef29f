/* SPDX-License-Identifier: MIT */
/*
 * retired.h [L4] - deferred frees: blocks that are freed after a grace period.
 *
 *   retire: block, domain -> one word in the thread's batch        batch:  chunk -> chunk -> ...   newest first
 *   due at more than the limit in bytes -> at the next safepoint or detach:
 *     take the batch, what ended threads left, and the limbo -> wait for a grace period -> free each
 *
 *   Nothing is written to a retired block: readers may be at it.  A domain fits into the low bits of a block's address.
 *   The first chunk is part of the batch, others are mapped and some kept spare, so that a refused one does no harm as
 *   long as a safepoint comes before the last one is full.
 *
 *   In gil mode no grace period is waited for: whoever frees holds the lock at a safepoint, and all other threads of
 *   the group are detached or parked at one.
 *   Owner   a batch: its thread, or the stopper of the world; what is left and the limbo: the group, under its mutex.
 *   Locks   group.mutex (GI_RANK_LIMBO); none while waiting or freeing.
 */
#ifndef GI_RETIRED_H
#define GI_RETIRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/atomic.h"
#include "lib/cache/heap.h"

#ifdef GI_HOSTILE
enum { GI_RETIRED_FIRST = 4 };
#else
enum { GI_RETIRED_FIRST = 62 };
#endif

typedef struct gi_retired_chunk {
    struct gi_retired_chunk *next;
    size_t bytes; /* once left to the group, in the first chunk of the batch: of all its blocks */
    uint32_t count, capacity;
} gi_retired_chunk;

/* The words of a chunk, which stand behind it: a block each, and its domain in the low bits. */
static inline uintptr_t *gi_retired_words(gi_retired_chunk *chunk) { return (uintptr_t *)(void *)(chunk + 1); }

typedef struct gi_retired {
    gi_retired_chunk *chunks; /* owner-only, as all but the counters: the newest one is filled */
    gi_retired_chunk *spare;  /* mapped and empty, linked by next */
    uint32_t spares;
    uint64_t freeing; /* bytes that are being freed, still part of `bytes`: hooks may reclaim meanwhile */
    gi_counter bytes, blocks, lost, grace_periods; /* owner-only; read by anyone: waiting now; ever */
    struct {
        gi_retired_chunk chunk;
        uintptr_t words[GI_RETIRED_FIRST];
    } first;
} gi_retired;

/* A block and its domain in one word. */
#define GI_RETIRED_DOMAIN ((uintptr_t)GI_ALIGNMENT - 1)

/* Frees the blocks of words. */
typedef void (*gi_retired_free)(const uintptr_t *words, uint32_t count);

/* Bytes that may wait in each batch, and in each group.  relaxed: an option. */
extern gi_atomic(uint64_t) gi_retired_limit GI_INTERNAL;

/* Whether what waits in the batch is above the limit. */
static inline bool gi_retired_batch_is_due(const gi_retired *retired) {
    return gi_load_relaxed(&retired->bytes) > gi_load_relaxed(&gi_retired_limit); /* relaxed: statistics and options */
}

/* Puts a block into a chunk of the batch that has room.  True if the batch is due now. */
static inline bool gi_retired_put(gi_retired *retired, gi_retired_chunk *chunk, unsigned domain, void *block,
                                  size_t bytes) {
    gi_retired_words(chunk)[chunk->count++] = (uintptr_t)block | domain;
    gi_counter_add(&retired->blocks, 1);
    bytes += gi_load_relaxed(&retired->bytes); /* relaxed: owner-only, as the next, and an option */
    gi_store_relaxed(&retired->bytes, bytes);
    return bytes > gi_load_relaxed(&gi_retired_limit);
}

/* The same in any chunk.  True if the batch is due now. */
bool gi_retired_push(gi_retired *retired, unsigned domain, void *block, size_t bytes);

/* Steps 1 to 3: frees the batch, what was left to the group, and its limbo; `wait` for a grace period before it.  At a
   safepoint of the caller, or detached; nothing locked. */
void gi_retired_reclaim(gi_retired *retired, gi_heap_group *group, bool wait, gi_retired_free free_blocks);

/* The batch of a thread that ends is left to its group; spare chunks are given back. */
void gi_retired_leave(gi_retired *retired, gi_heap_group *group);
/* Whether either is. */
static inline bool gi_retired_any_is_due(const gi_retired *retired, const gi_heap_group *group) {
    /* relaxed: statistics and options, as below */
    uint64_t limit = gi_load_relaxed(&gi_retired_limit);
    return gi_load_relaxed(&group->waiting) > limit || gi_load_relaxed(&retired->bytes) > limit; /* relaxed: as above */
}
/* Whether what is left and in limbo is above the limit. */
static inline bool gi_retired_is_due(const gi_heap_group *group) {
    return gi_load_relaxed(&group->waiting) > gi_load_relaxed(&gi_retired_limit); /* relaxed: statistics and options */
}

#endif /* GI_RETIRED_H */
