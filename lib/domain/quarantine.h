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
    uint32_t mask;                   /* entries but one, a power of two */
    gi_atomic(uint32_t) first, past; /* how many have ever left and come, modulo 2^32.  relaxed: the owner's own; to
                                        others a hint */
    size_t bytes;
    gi_counter large;           /* blocks in it that are large; read by anyone */
    struct gi_quarantine *next; /* of the spare ones */
} gi_quarantine;

/* Blocks in it: for the owner; and for others, under whose eyes it changes: never more than it has places. */
static inline uint32_t gi_quarantine_count(const gi_quarantine *quarantine) {
    uint32_t first = gi_load_relaxed(&quarantine->first); /* relaxed: as declared */
    return gi_load_relaxed(&quarantine->past) - first;    /* relaxed: as declared */
}
static inline uint32_t gi_quarantine_count_seen(const gi_quarantine *quarantine) {
    uint32_t count = gi_quarantine_count(quarantine);
    return count <= quarantine->mask ? count : quarantine->mask + 1;
}
/* Whose turn it is after `index` others. */
static inline gi_quarantined *gi_quarantine_at(const gi_quarantine *quarantine, uint32_t index) {
    uint32_t first = gi_load_relaxed(&quarantine->first); /* relaxed: as declared */
    return &quarantine->ring[(first + index) & quarantine->mask];
}

/* How many bytes each may hold; 0: none.  Set before there is any. */
extern size_t gi_quarantine_limit GI_INTERNAL;

/* A new, empty one, or a spare one; NULL when memory is out.  Any thread. */
gi_quarantine *gi_quarantine_new(void);
/* An empty one becomes spare. */
void gi_quarantine_spare(gi_quarantine *quarantine);

/* Whether a block of `size` bytes may wait at all: larger ones would push out all others. */
static inline bool gi_quarantine_takes(size_t size) { return size <= gi_quarantine_limit / 4; }

/* Whether a block of `size` bytes is one of the raw domain's, not of a pool: as far as its size tells. */
static inline bool gi_quarantine_is_large(size_t size) {
    return gi_unlikely(size > GI_SMALL_MAX / 2) && size + gi_kinds[GI_KIND_MEM].tail > GI_SMALL_MAX;
}
_Static_assert(sizeof(gi_kinds[0].tail) == 1, "a tail is less than half of the largest small block");

/* Whether `size` bytes more may wait. */
static inline bool gi_quarantine_has_room(const gi_quarantine *quarantine, size_t size) {
    return quarantine->bytes + size <= gi_quarantine_limit && gi_quarantine_count(quarantine) <= quarantine->mask;
}

/* The oldest entry leaves, if more than `keep` bytes wait or nothing more may; else NULL.  It is there to be read until
   the next one comes. */
static inline const gi_quarantined *gi_quarantine_pop(gi_quarantine *quarantine, size_t keep) {
    if (gi_unlikely(quarantine->bytes <= keep && gi_quarantine_count(quarantine) <= quarantine->mask)) {
        return NULL;
    }
    const gi_quarantined *out = gi_quarantine_at(quarantine, 0);
    /* A block that has been left alone for a while is fetched before its turn. */
    __builtin_prefetch(gi_quarantine_at(quarantine, 4)->block, 1);
    uint32_t first = gi_load_relaxed(&quarantine->first); /* relaxed: as declared */
    gi_store_relaxed(&quarantine->first, first + 1);      /* relaxed: as declared */
    quarantine->bytes -= out->size;
    if (gi_quarantine_is_large(out->size)) {
        gi_counter_sub(&quarantine->large, 1);
    }
    return out;
}

/* There is room for it. */
static inline void gi_quarantine_push(gi_quarantine *quarantine, gi_quarantined entry) {
    uint32_t past = gi_load_relaxed(&quarantine->past); /* relaxed: as declared */
    gi_assert(gi_quarantine_count(quarantine) <= quarantine->mask);
    gi_quarantined *place = &quarantine->ring[past & quarantine->mask];
    place->block = entry.block;
    place->size = entry.size;
    place->layer = entry.layer;
    place->freed = entry.freed;
    place->allocated = entry.allocated;
    gi_store_relaxed(&quarantine->past, past + 1); /* relaxed: as declared */
    quarantine->bytes += entry.size;
    if (gi_quarantine_is_large(entry.size)) {
        gi_counter_add(&quarantine->large, 1);
    }
}

void gi_quarantine_before_fork(void);
void gi_quarantine_after_fork(void);

#endif /* GI_QUARANTINE_H */
