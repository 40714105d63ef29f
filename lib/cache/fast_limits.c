/* SPDX-License-Identifier: MIT */
/*
 * fast_limits.c [L4] - what the fast paths may serve.  Theory: fast_limits.h.
 *   Owner   the domain layer.  Locks none.
 */
#include "lib/cache/fast_limits.h"

#include <gilloc/inline.h>

#include "lib/arena/address_map.h"
#include "lib/cache/hardened_alloc.h"
#include "lib/cache/thread_cache.h"

/* --- state ------------------------------------------------------------------------------------ */

gi_fast_limits gi_limits[GI_KIND_OBJECT + 1] __attribute__((aligned(GI_CACHE_LINE)));
gi_fast_limits gi_open_limits __attribute__((aligned(GI_CACHE_LINE)));
gi_fast_limits gi_raw_limits __attribute__((aligned(GI_CACHE_LINE)));
uintptr_t gilloc_inline_gate_2[GI_KIND_OBJECT + 1];

/* --- opening and closing ---------------------------------------------------------------------- */

/* The greatest size of a request is PTRDIFF_MAX: CPython's PY_SSIZE_T_MAX. */
#define LARGEST ((uint64_t)PTRDIFF_MAX + 1)

static void set_limits(gi_fast_limits *limits, uint64_t pages, uint64_t sizes, bool large, bool theirs, bool sampled) {
    bool straight = large && !theirs && !sampled, counted = large && !theirs && sampled;
    gi_store_relaxed(&limits->swaps, sampled ? 0 : sizes);                       /* relaxed: see fast_limits.h */
    gi_store_relaxed(&limits->pages, pages);                                     /* relaxed: see fast_limits.h */
    gi_store_relaxed(&limits->sizes, sizes);                                     /* relaxed: see fast_limits.h */
    gi_store_relaxed(&limits->large, straight ? LARGEST : 0);                    /* relaxed: see fast_limits.h */
    gi_store_relaxed(&limits->counted, counted ? LARGEST : 0);                   /* relaxed: see fast_limits.h */
    gi_store_relaxed(&limits->asked, large && theirs && !sampled ? LARGEST : 0); /* relaxed: see fast_limits.h */
}

/* The inlined code's part of the limits: no block's address is without a bit of an open gate. */
static void set_gate(unsigned kind, uintptr_t mask) {
    gi_store_relaxed((gi_atomic(uintptr_t) *)&gilloc_inline_gate_2[kind], mask); /* relaxed: as the limits */
}

void gi_limits_ready(void) {
    if (!gi_hardened.on) {
        set_limits(&gi_open_limits, gi_address_map_pages(), GI_SMALL_MAX + 1, false, false, false);
    }
}

void gi_limits_open(unsigned kind, bool large, bool theirs, bool sampled) {
    /* Who has served the domain meanwhile may have left blocks that are none of ours: the next frees are looked at. */
    if (gi_cache_is_attached(gi_current_cache) && gi_load_relaxed(&gi_limits[kind].sizes) == 0) { /* relaxed: a hint */
        gi_cache_look_at_frees(gi_current_cache, kind);
    }
    set_limits(&gi_limits[kind], gi_address_map_pages(), GI_SMALL_MAX + 1, large, theirs, sampled);
    set_gate(kind, ~(uintptr_t)(GI_POOL_SIZE - 1));
}

void gi_limits_open_hardened(unsigned kind, bool large) {
    set_limits(&gi_limits[kind], 0, 0, large, false, false);
    gi_store_relaxed(&gi_limits[kind].hardened, GI_HARDENED_MAX + 1); /* relaxed: see fast_limits.h */
}

void gi_limits_close(unsigned kind) {
    set_gate(kind, 0);
    set_limits(&gi_limits[kind], 0, 0, false, false, false);
    gi_store_relaxed(&gi_limits[kind].hardened, 0); /* relaxed: see fast_limits.h */
}

void gi_limits_open_raw(bool open, bool sampled) { set_limits(&gi_raw_limits, 0, 0, open, false, sampled); }
