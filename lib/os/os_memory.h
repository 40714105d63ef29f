/* SPDX-License-Identifier: MIT */
/*
 * os_memory.h [L2] - memory of the system: map, unmap, decommit, and the one reservation.
 *
 *   The reservation is one range of address space, taken at the first use and never given back:
 *
 *     base                                                                     base + size
 *      | page words # pool descriptors # links # marks # slot 0 | slot 1 | ...  committed | ... PROT_NONE ... |
 *        (one each per page of GI_POOL_SIZE)       an arena each                     not yet used
 *
 *   so that `p - base` and a shift tell whether an address is ours and where its page word is.  Each # is a *guard*,
 *   which nobody may touch: what runs out of one part, or of the first arena backwards, ends there and not in the next.
 *   Slots are committed in order, GI_COMMIT_STRIDE at a time, so the range has a few mappings however many arenas there
 *   are (vm.max_map_count).  A slot given back is decommitted, stays committed, and is the first to be used again.
 *
 *   Locks   os (GI_RANK_OS) for the slots.
 *   Every call into the system goes through `gi_os_calls`, which tests replace to make the k-th one fail.
 */
#ifndef GI_OS_MEMORY_H
#define GI_OS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/check.h"

typedef struct gi_os_calls {
    void *(*map)(void *address, size_t size, int protection, int flags); /* MAP_FAILED on failure */
    int (*unmap)(void *address, size_t size);
    int (*protect)(void *address, size_t size, int protection);
    int (*advise)(void *address, size_t size, int advice);
} gi_os_calls;

extern gi_os_calls gi_os GI_INTERNAL; /* constant, but for tests */

/* Zeroed memory, page-aligned, or NULL.  Any thread. */
void *gi_os_map(size_t size);
void gi_os_unmap(void *memory, size_t size);
/* Gives the pages back; true if they read as zero from now on, false if the system refused and they are unchanged. */
bool gi_os_decommit(void *memory, size_t size);

/* Zeroed memory for descriptors, aligned to a cache line, never given back; NULL when memory is out.  Any thread. */
void *gi_os_meta_alloc(size_t size);

typedef struct gi_reservation {
    char *base;           /* constant after gi_os_reserve(); NULL: none */
    size_t pages;         /* constant: pages of GI_POOL_SIZE in it, metadata included */
    char *descriptors;    /* constant: one of GI_POOL_DESCRIPTOR_SIZE a page */
    char *slots;          /* constant: the first arena */
    size_t slot_count;    /* constant */
    uint32_t *free_links; /* guarded by os: next free slot + 1, one each */
    char *marks;          /* constant: mark_size a page, of hardened mode; NULL: none */
    size_t mark_size;     /* constant after gi_os_reserve(), which is told by it; 0: none */
    /* What changes has a line of its own: all threads read what is above. */
    _Alignas(GI_CACHE_LINE) size_t fresh; /* guarded by os: slots handed out at least once are below */
    size_t committed;                     /* guarded by os: slots below are readable and writable */
    uint32_t first_free;                  /* guarded by os: + 1; 0: none */
} gi_reservation;

/* Takes the reservation, of `size` bytes or less: halved until it fits, and none below GI_RESERVE_MIN.  Once. */
void gi_os_reserve(size_t size);
/* The reservation; its constant fields may be read by anyone after gi_os_reserve(). */
extern gi_reservation gi_os_reserved GI_INTERNAL;
static inline const gi_reservation *gi_os_reservation(void) { return &gi_os_reserved; }

/* A zeroed slot of GI_ARENA_SIZE, aligned to it, or NULL.  Any thread. */
void *gi_os_slot_acquire(void);
/* Takes back a slot; false if `memory` is none. */
bool gi_os_slot_release(void *memory);

/* How many slots, from the first on, have ever been handed out. */
size_t gi_os_slots_used(void);

/* Around fork(): no other thread is inside. */
void gi_os_before_fork(void);
void gi_os_after_fork(void);

#endif /* GI_OS_MEMORY_H */
