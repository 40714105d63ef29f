/* SPDX-License-Identifier: MIT */
/*
 * quarantine.h [L5] - freed blocks that are not used again for a while, oldest first out, bounded in bytes.
 *
 *   A ring of entries; each is a block, the bytes that must stay as they are, and who had it.  What leaves it is the
 *   caller's to check and to free.
 *   Owner   who has the quarantine: a thread cache, or who holds the mutex around it.
 *   Locks   one for the spare ones (GI_RANK_SPARES).
 */
#ifndef GI_QUARANTINE_H
#define GI_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "lib/arena/kind.h"
#include "lib/arena/size_class.h"

typedef struct gi_quarantined {
    void *block;
    size_t size;           /* all of it: bytes that may not change */
    const void *layer;     /* which debug hooks have it */
    uint64_t freed;        /* what hooks say of the address afterwards: who freed it */
    const void *allocated; /* who allocated it */
} gi_quarantined;

typedef struct gi_quarantine {
    gi_quarantined *ring;
    uint32_t mask, first; /* entries but one, a power of two; where the oldest is */
    size_t bytes;
    gi_counter count, large;    /* blocks in it; the large ones of these; read by anyone */
    struct gi_quarantine *next; /* of the spare ones */
} gi_quarantine;

/* How many bytes each may hold; 0: none.  Set before there is any. */
extern size_t gi_quarantine_limit GI_INTERNAL;

/* A new, empty one, or a spare one; NULL when memory is out.  Any thread. */
gi_quarantine *gi_quarantine_new(void);
/* An empty one becomes spare. */
void gi_quarantine_spare(gi_quarantine *quarantine);

/* Whether a block of `size` bytes may wait at all: larger ones would push out all others. */
static inline bool gi_quarantine_takes(size_t size) { return size <= gi_quarantine_limit / 4; }

/* Whether a block of `size` bytes is one of the raw domain's, not of a pool: as far as its size tells. */
static inline bool gi_quarantine_is_large(size_t size) { return size + gi_kinds[GI_KIND_MEM].tail > GI_SMALL_MAX; }

/* Whether `size` bytes more may wait. */
static inline bool gi_quarantine_has_room(const gi_quarantine *quarantine, size_t size) {
    uint64_t count = gi_load_relaxed(&quarantine->count); /* relaxed: the owner's own */
    return count <= quarantine->mask && quarantine->bytes + size <= gi_quarantine_limit;
}

/* The oldest entry leaves, if more than `keep` bytes wait or nothing more may; else NULL.  It is there to be read until
   the next one comes. */
static inline const gi_quarantined *gi_quarantine_pop(gi_quarantine *quarantine, size_t keep) {
    uint64_t count = gi_load_relaxed(&quarantine->count); /* relaxed: the owner's own */
    if (gi_unlikely(quarantine->bytes <= keep && count <= quarantine->mask)) {
        return NULL;
    }
    const gi_quarantined *out = &quarantine->ring[quarantine->first];
    /* A block that has been left alone for a while is fetched before its turn. */
    __builtin_prefetch(quarantine->ring[(quarantine->first + 4) & quarantine->mask].block, 1);
    quarantine->first = (quarantine->first + 1) & quarantine->mask;
    quarantine->bytes -= out->size;
    gi_counter_sub(&quarantine->count, 1);
    if (gi_unlikely(gi_quarantine_is_large(out->size))) {
        gi_counter_sub(&quarantine->large, 1);
    }
    return out;
}

/* There is room for it. */
static inline void gi_quarantine_push(gi_quarantine *quarantine, gi_quarantined entry) {
    uint64_t count = gi_load_relaxed(&quarantine->count); /* relaxed: the owner's own */
    gi_assert(count <= quarantine->mask);
    gi_quarantined *place = &quarantine->ring[(quarantine->first + (uint32_t)count) & quarantine->mask];
    place->block = entry.block;
    place->size = entry.size;
    place->layer = entry.layer;
    place->freed = entry.freed;
    place->allocated = entry.allocated;
    quarantine->bytes += entry.size;
    gi_counter_add(&quarantine->count, 1);
    if (gi_unlikely(gi_quarantine_is_large(entry.size))) {
        gi_counter_add(&quarantine->large, 1);
    }
}

void gi_quarantine_before_fork(void);
void gi_quarantine_after_fork(void);

#endif /* GI_QUARANTINE_H */
