/* SPDX-License-Identifier: MIT */
/*
 * quarantine.c [L5] - freed blocks that are not used again for a while.  Theory: quarantine.h.
 */
#include "lib/domain/quarantine.h"

#include "lib/os/os_memory.h"

/* Blocks of debug hooks have 32 bytes and more, in traced programs more than 64 on the average: so the ring seldom is
   full before the bytes are. */
enum { BYTES_AN_ENTRY = 64, ENTRIES_MIN = 16, ENTRIES_MAX = 1 << 20 };

size_t gi_quarantine_limit;

gi_quarantine *gi_quarantine_new(void) {
    uint32_t entries = ENTRIES_MIN;
    while (entries < ENTRIES_MAX && entries < gi_quarantine_limit / BYTES_AN_ENTRY) {
        entries *= 2;
    }
    gi_quarantine *made = gi_os_meta_alloc(sizeof(gi_quarantine));
    gi_quarantined *ring = made != NULL ? gi_os_map(entries * sizeof(gi_quarantined)) : NULL;
    if (ring == NULL) {
        return NULL;
    }
    made->ring = ring;
    made->mask = entries - 1;
    return made;
}
