/* SPDX-License-Identifier: MIT */
/*
 * large_alloc.h [L4] - large blocks of the mem and object domains, and all of the raw domain: the fast path.
 *
 *   They are the system's allocator's.  They go there *straight* while nothing stands before it, and *counted* while
 *   nothing but the sampler does, which wants to know of those that are samples (sample.h).  The limits of their domain
 *   say which, if any.  NULL or false are for the slow path, the system's refusal too.
 *   Owner   the attached thread.  Locks none.
 *   Orders  none: fast_limits.h, sample.h.
 */
#ifndef GI_LARGE_ALLOC_H
#define GI_LARGE_ALLOC_H

#include "lib/cache/fast_limits.h"
#include "lib/cache/sample.h"
#include "lib/cache/thread_cache.h"
#include "lib/os/raw_alloc.h"

/* --- which ------------------------------------------------------------------------------------ */

/* Of a request, or of a block (size 0). */
static inline bool gi_large_is_straight(const gi_fast_limits *limits, size_t size) {
    return gi_below_relaxed(size, &limits->large);
}
static inline bool gi_large_is_counted(const gi_fast_limits *limits, size_t size) {
    return gi_below_relaxed(size, &limits->counted);
}
static inline bool gi_large_is_asked(const gi_fast_limits *limits, size_t size) {
    return gi_below_relaxed(size, &limits->asked);
}

/* Whether memory may be at an address: not in the first page (so not NULL either), nor above what a process has by
   default. */
static inline bool gi_large_may_be_mapped(const void *address) { return ((uintptr_t)address - 4096) >> 47 == 0; }

/* Whether the block is a large one, for sure: it is not in the reservation, and no arena is anywhere else.  Not by the
   limits, which may be 0 when a block is looked at and no more when the domain is. */
static inline bool gi_large_is(const void *block) {
    const gi_reservation *reservation = gi_os_reservation();
    return gi_address_page((uintptr_t)reservation->base, block) >= reservation->pages &&
           gi_large_may_be_mapped(block) && gi_load_relaxed(&gi_address_outside) == 0; /* relaxed: address_map.h */
}

/* --- mem and object --------------------------------------------------------------------------- */

/* The limits have been asked, and a runtime's own lock, where there is one: so gi_object_require_attached() asks no
   more than these do. */

static inline void *gi_large_note(gi_thread_cache *cache, void *block) {
    gi_counter_add(&cache->large, block != NULL);
    return block;
}

static inline void *gi_large_malloc(size_t size) {
    gi_thread_cache *cache = gi_current_cache;
    return gi_likely(gi_cache_is_attached(cache)) ? gi_large_note(cache, gi_raw_malloc(NULL, size)) : NULL;
}

static inline void *gi_large_calloc(size_t size) {
    gi_thread_cache *cache = gi_current_cache;
    return gi_likely(gi_cache_is_attached(cache)) ? gi_large_note(cache, gi_raw_calloc(NULL, 1, size)) : NULL;
}

/* Whether the block has been freed. */
static inline bool gi_large_free(void *block) {
    gi_thread_cache *cache = gi_current_cache;
    if (gi_unlikely(!gi_cache_is_attached(cache) || !gi_large_is(block))) {
        return false;
    }
    gi_counter_add(&cache->large_freed, 1);
    gi_raw_free(NULL, block);
    return true;
}

#endif /* GI_LARGE_ALLOC_H */
