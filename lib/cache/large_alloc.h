/* SPDX-License-Identifier: MIT */
/*
 * large_alloc.h [L4] - large blocks of the mem and object domains, and all of the raw domain: the fast path.
 *
 *   They are the system's allocator's.  They go there *straight* while nothing stands before it, and *counted* while
 *   nothing but the sampler does, which wants to know of those that are samples (sample.h).  The limits of their domain
 *   say which, if any.  What has no fast path is for the slow one; what the system refuses is refused.
 *   Owner   the attached thread.  Locks none.
 *   Orders  none: fast_limits.h, sample.h.
 */
#ifndef GI_LARGE_ALLOC_H
#define GI_LARGE_ALLOC_H

#include "lib/cache/fast_limits.h"
#include "lib/cache/object_up.h"
#include "lib/cache/sample.h"
#include "lib/cache/thread_cache.h"
#include "lib/os/raw_alloc.h"

/* --- which ------------------------------------------------------------------------------------ */

/* Of a request of `size` bytes; of a block alone: 0. */
static inline bool gi_large_is_straight(const gi_fast_limits *limits, size_t size) {
    return gi_below_relaxed(size, &limits->large);
}

/* Whether what does not go straight has nothing to stop for either: a runtime's own lock is held; or it is counted, and
   neither the block nor the request is a sample.  `block` NULL: a request alone; `size` 0: a block alone. */
static inline __attribute__((always_inline)) bool gi_large_passes_else(const gi_fast_limits *limits, const void *block,
                                                                       size_t size) {
    if (gi_below_relaxed(size, &limits->asked)) {
        return gi_object_up.lock_held();
    }
    return gi_below_relaxed(size, &limits->counted) && (block == NULL || !gi_sample_may_be(block)) &&
           (size == 0 || gi_sample_passes(size));
}
static inline __attribute__((always_inline)) bool gi_large_passes(const gi_fast_limits *limits, const void *block,
                                                                  size_t size) {
    return gi_likely(gi_large_is_straight(limits, size)) || gi_large_passes_else(limits, block, size);
}

/* Whether memory may be at an address: not in the first page (so not NULL either), nor above what a process has by
   default. */
static inline bool gi_large_may_be_mapped(const void *address) { return ((uintptr_t)address - 4096) >> 47 == 0; }

/* Whether the block, at that gi_address_page(), is a large one, for sure: no arena is there.  Not by the limits, which
   may be 0 when a block is looked at and no more when the domain is. */
static inline bool gi_large_is(uint64_t page, const void *block) {
    return !gi_below_relaxed(page, &gi_address_end) && gi_large_may_be_mapped(block); /* relaxed: address_map.h */
}

/* --- mem and object --------------------------------------------------------------------------- */

/* The limits have been asked, and a runtime's own lock, where there is one: so gi_object_require_attached() asks no
   more than these do. */

/* The cache of the attached thread, or NULL: the empty sentinel has no heap. */
static inline gi_thread_cache *gi_large_cache(void) {
    gi_thread_cache *cache = gi_current_cache;
    return gi_likely(cache->heap != NULL) ? cache : NULL;
}

static inline void *gi_large_note(gi_thread_cache *cache, void *block) {
    if (gi_likely(block != NULL)) {
        gi_counter_add(&cache->large, 1);
    }
    return block;
}

/* A request that is not small is not of 0 bytes. */
static inline void *gi_large_malloc(gi_thread_cache *cache, size_t size) { return gi_large_note(cache, malloc(size)); }
static inline void *gi_large_calloc(gi_thread_cache *cache, size_t size) {
    return gi_large_note(cache, calloc(1, size));
}

/* Whether the block, at that gi_address_page(), has been freed. */
static inline bool gi_large_free(uint64_t page, void *block) {
    gi_thread_cache *cache = gi_large_cache();
    if (gi_unlikely(cache == NULL || !gi_large_is(page, block))) {
        return false;
    }
    gi_counter_add(&cache->large_freed, 1);
    gi_raw_free(NULL, block);
    return true;
}

#endif /* GI_LARGE_ALLOC_H */
