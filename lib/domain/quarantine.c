/* SPDX-License-Identifier: MIT */
/*
 * quarantine.c [L5] - freed blocks that are not used again for a while.  Theory: quarantine.h.
 *   Locks   spares (GI_RANK_SPARES): the list of spare ones.
 */
#include "lib/domain/quarantine.h"

#include "concurrency/mutex.h"
#include "concurrency/tool.h"
#include "lib/os/os_memory.h"

/* Blocks of debug hooks have 32 bytes and more, in traced programs more than 64 on the average: so the ring seldom is
   full before the bytes are. */
enum { BYTES_AN_ENTRY = 64, ENTRIES_MIN = 16, ENTRIES_MAX = 1 << 20 };

size_t gi_quarantine_limit;
static gi_mutex spares_mutex = GI_MUTEX_INIT(GI_RANK_SPARES);
static gi_quarantine *spares; /* guarded by spares_mutex */

static gi_quarantine *take_spare(void) {
    gi_mutex_lock(&spares_mutex);
    gi_quarantine *spare = spares;
    if (spare != NULL) {
        spares = spare->next;
    }
    gi_mutex_unlock(&spares_mutex);
    return spare;
}

void gi_quarantine_spare(gi_quarantine *quarantine) {
    gi_assert(gi_quarantine_count(quarantine) == 0);
    gi_mutex_lock(&spares_mutex);
    quarantine->next = spares;
    spares = quarantine;
    gi_mutex_unlock(&spares_mutex);
}

gi_quarantine *gi_quarantine_new(void) {
    gi_quarantine *spare = take_spare();
    if (spare != NULL) {
        return spare;
    }
    uint32_t entries = ENTRIES_MIN;
    while (entries < ENTRIES_MAX && entries < gi_quarantine_limit / BYTES_AN_ENTRY) {
        entries *= 2;
    }
    gi_quarantine *made = gi_os_meta_alloc(sizeof(gi_quarantine));
    gi_quarantined *ring = made != NULL ? gi_os_map(entries * sizeof(gi_quarantined)) : NULL;
    if (ring == NULL) {
        return NULL;
    }
    gi_tool_root_for_ever(ring, entries * sizeof(gi_quarantined));
    made->ring = ring;
    made->mask = entries - 1;
    return made;
}

void gi_quarantine_before_fork(void) { gi_mutex_lock(&spares_mutex); }

void gi_quarantine_after_fork(void) { gi_mutex_unlock(&spares_mutex); }
