/* SPDX-License-Identifier: MIT */
/*
 * quarantine.c [L5] - freed blocks that are not used again for a while.  Theory: quarantine.h.
 */
#include "lib/domain/quarantine.h"

#include "concurrency/check.h"
#include "lib/arena/address_map.h"
#include "lib/os/os_memory.h"

/* Blocks of debug hooks have 32 bytes and more, in traced programs more than 64 on the average: so the ring seldom is full
   before the bytes are. */
enum { BYTES_AN_ENTRY = 64, ENTRIES_MIN = 16, ENTRIES_MAX = 1 << 20 };

size_t gi_quarantine_limit;

gi_quarantine *gi_quarantine_new(void) {
    size_t capacity = gi_quarantine_limit / BYTES_AN_ENTRY;
    capacity = capacity < ENTRIES_MIN ? ENTRIES_MIN : capacity > ENTRIES_MAX ? ENTRIES_MAX : capacity;
    gi_quarantine *made = gi_os_meta_alloc(sizeof(gi_quarantine));
    gi_quarantined *ring = made != NULL ? gi_os_map(capacity * sizeof(gi_quarantined)) : NULL;
    if (ring == NULL) {
        return NULL;
    }
    made->ring = ring;
    made->capacity = (uint32_t)capacity;
    return made;
}

static gi_counter *counter_of(gi_quarantine *quarantine, const void *block) {
    const gi_page_word *word = gi_address_word(block);
    /* relaxed: the block keeps its pool */
    bool small = word != NULL && gi_word_is_pool(gi_load_relaxed(word));
    return small ? &quarantine->small : &quarantine->large;
}

bool gi_quarantine_pop(gi_quarantine *quarantine, size_t size, gi_quarantined *out) {
    bool room =
        size != SIZE_MAX && quarantine->count < quarantine->capacity && quarantine->bytes + size <= gi_quarantine_limit;
    if (room || quarantine->count == 0) {
        return false;
    }
    *out = quarantine->ring[quarantine->first];
    quarantine->first = quarantine->first + 1 < quarantine->capacity ? quarantine->first + 1 : 0;
    quarantine->count--;
    quarantine->bytes -= out->size;
    gi_counter_sub(counter_of(quarantine, out->block), 1);
    return true;
}

void gi_quarantine_push(gi_quarantine *quarantine, const gi_quarantined *entry) {
    gi_assert(quarantine->count < quarantine->capacity);
    uint32_t last = quarantine->first + quarantine->count;
    quarantine->ring[last < quarantine->capacity ? last : last - quarantine->capacity] = *entry;
    quarantine->count++;
    quarantine->bytes += entry->size;
    gi_counter_add(counter_of(quarantine, entry->block), 1);
}
