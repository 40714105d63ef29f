/* SPDX-License-Identifier: MIT */
/*
 * stash.c - lists of free blocks that the threads of an interpreter leave for each other.
 *   Owner   a heap group.  Locks: its shared heap's, the caller's.  Policy: stash.h.
 */
#include "lib/cache/stash.h"

#include "concurrency/check.h"

/* Of what it may hold, how much it refuses before it holds less. */
#define REFUSED_TIMES 8u

static uint32_t blocks_of(unsigned size_class, uint32_t bytes) { return bytes / (uint32_t)gi_class_size(size_class); }

static uint32_t count_of(const gi_stash_class *class) {
    return gi_load_relaxed(&class->count); /* relaxed: under the mutex */
}

static gi_link *pop(gi_stash *stash, unsigned kind, unsigned size_class, uint32_t *length) {
    gi_stash_class *class = &stash->kinds[kind].classes[size_class];
    uint32_t last = count_of(class) - 1;
    gi_store_relaxed(&class->count, last); /* relaxed: under the mutex; peeked at as a hint */
    const gi_stash_row *row = &stash->kinds[kind].rows[last];
    *length = row->lengths[size_class];
    class->blocks -= *length;
    return row->lists[size_class];
}

bool gi_stash_put(gi_stash *stash, unsigned kind, unsigned size_class, gi_link *list, uint32_t length) {
    gi_stash_class *class = &stash->kinds[kind].classes[size_class];
    uint32_t count = count_of(class), least = blocks_of(size_class, GI_STASH_BYTES_MIN);
    class->cap = class->cap < least ? least : class->cap;
    if (count == GI_STASH_LISTS || class->blocks + length > class->cap) {
        uint32_t refused = gi_load_relaxed(&class->refused) + length; /* relaxed: as in pop() */
        if (refused / REFUSED_TIMES >= class->cap) {                  /* nobody comes for them: hold less */
            class->cap = class->cap / 2 > least ? class->cap / 2 : least;
            refused = 1;
        }
        gi_store_relaxed(&class->refused, refused); /* relaxed: as in pop() */
        return false;
    }
    gi_stash_row *row = &stash->kinds[kind].rows[count];
    row->lists[size_class] = list;
    row->lengths[size_class] = length;
    class->blocks += length;
    gi_store_relaxed(&class->count, count + 1); /* relaxed: as in pop() */
    return true;
}

gi_link *gi_stash_take(gi_stash *stash, unsigned kind, unsigned size_class, uint32_t *length) {
    gi_stash_class *class = &stash->kinds[kind].classes[size_class];
    if (count_of(class) != 0) {
        return pop(stash, kind, size_class, length);
    }
    if (gi_load_relaxed(&class->refused) != 0) { /* relaxed: as in pop().  Given back too early: hold more */
        uint32_t most = blocks_of(size_class, GI_STASH_BYTES_MAX);
        gi_store_relaxed(&class->refused, 0); /* relaxed: as in pop() */
        class->cap = class->cap * 2 < most ? class->cap * 2 : most;
    }
    return NULL;
}

gi_link *gi_stash_surplus(gi_stash *stash, unsigned kind, unsigned size_class) {
    gi_stash_class *class = &stash->kinds[kind].classes[size_class];
    uint32_t length;
    return class->blocks > class->cap ? pop(stash, kind, size_class, &length) : NULL;
}

gi_link *gi_stash_empty(gi_stash *stash, unsigned kind, unsigned size_class) {
    gi_stash_class *class = &stash->kinds[kind].classes[size_class];
    uint32_t length;
    return count_of(class) != 0 ? pop(stash, kind, size_class, &length) : NULL;
}
