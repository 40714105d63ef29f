/* SPDX-License-Identifier: MIT */
/*
 * bin.h [L4] - the free blocks of one class in the cache of one thread.  What they are for: thread_cache.h.
 *   Owner   the thread cache's.
 */
#ifndef GI_BIN_H
#define GI_BIN_H

#include <stdbool.h>

#include "concurrency/remote_list.h"
#include "lib/arena/address_map.h"

typedef struct gi_bin {
    gi_link *alloc, *free;
    int32_t room;
    uint32_t cap;
    uint32_t length; /* how many blocks `alloc` was given, about; 0: none, or they were not counted */
    bool fresh;      /* all of each block in `alloc` but its first word is zero */
    bool flushed;    /* the last list that overflowed went to the stash or the pools; none has come from there since */
    uint16_t due;    /* when `alloc` is empty, the next allocation is a sample of this session; 0: no */
} gi_bin;

/* The fast path finds a bin by a shift: class * 32 bytes (address_map.h). */
_Static_assert(sizeof(gi_bin) == 1u << GI_WORD_CLASS_SHIFT, "a page word's class field is the offset of a bin");

/* Hardened mode: so many blocks of a bin are freed before the first of them is handed out again, as long as the pools
   have others: until then who frees a block once more is found, since it is free. */
#ifdef GI_HOSTILE
#define GI_HARDENED_DELAY 1u
#else
#define GI_HARDENED_DELAY 64u
#endif
static inline bool gi_hardened_may_reuse(const gi_bin *bin) {
    return bin->cap - (uint32_t)bin->room >= GI_HARDENED_DELAY;
}

#endif /* GI_BIN_H */
