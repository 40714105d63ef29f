/* SPDX-License-Identifier: MIT */
/*
 * quarantine.h [L5] - freed blocks that are not used again for a while, oldest first out, bounded in bytes.
 *
 *   A ring of entries; each is a block, the bytes that must stay as they are, and who had it.  What leaves it is the
 *   caller's to check and to free.
 *   Owner   who has the quarantine: a thread cache, or who holds the mutex around it.  No locks, no atomics but counters.
 */
#ifndef GI_QUARANTINE_H
#define GI_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"

typedef struct gi_quarantined {
    void *block;
    size_t size;       /* all of it: bytes that may not change */
    const void *layer; /* which debug hooks have it */
} gi_quarantined;

typedef struct gi_quarantine {
    gi_quarantined *ring;
    uint32_t capacity, first, count;
    size_t bytes;
    gi_counter small, large; /* blocks in it, of pools and others; read by anyone */
} gi_quarantine;

/* How many bytes each may hold; 0: none.  Set before there is any. */
extern size_t gi_quarantine_limit GI_INTERNAL;

/* A new, empty one; NULL when memory is out.  It is never given back. */
gi_quarantine *gi_quarantine_new(void);

/* Whether a block of `size` bytes may wait at all: larger ones would push out all others. */
static inline bool gi_quarantine_takes(size_t size) { return size <= gi_quarantine_limit / 4; }

/* The oldest entry leaves, if there must be room for `size` bytes more; with SIZE_MAX in any case.  False: there is room
   (or it is empty). */
bool gi_quarantine_pop(gi_quarantine *quarantine, size_t size, gi_quarantined *out);
/* There is room for it. */
void gi_quarantine_push(gi_quarantine *quarantine, const gi_quarantined *entry);

#endif /* GI_QUARANTINE_H */
