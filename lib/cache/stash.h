/* SPDX-License-Identifier: MIT */
/*
 * stash.h [L4] - lists of free blocks that the threads of an interpreter leave for each other.
 *
 *   A list is put in and taken out whole, whatever its length: by a thread whose bin overflows or that ends, and by one
 *   that needs blocks.  Blocks in it are *taken* for their pools, as those in a bin are, and any thread of the group
 *   may hand them out, whoever's pools they are in (docs/design.md, "Who may use a block, and who counts it").
 *
 *   Each (kind, class) holds so many bytes at most: GI_STASH_BYTES_MIN, and twice as much each time when lists were
 *   refused and it is found empty afterwards, up to GI_STASH_BYTES_MAX; half as much when it refuses several times what
 *   it holds and nobody takes.
 *
 *   Lengths are what the bins know, about: nobody counts blocks as they are used.  C2 of thread_cache.h holds for its
 *   lists too.
 *   Owner   a heap group (heap.h).  Locks: the mutex of the group's shared heap, around every call that says (held).
 */
#ifndef GI_STASH_H
#define GI_STASH_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/remote_list.h"
#include "lib/arena/size_class.h"

#ifdef GI_HOSTILE
#define GI_STASH_LISTS 2u
#define GI_STASH_BYTES_MIN 1024u
#define GI_STASH_BYTES_MAX 2048u
#else
#define GI_STASH_LISTS 64u
#define GI_STASH_BYTES_MIN (8u << 10)
#define GI_STASH_BYTES_MAX (256u << 10)
#endif

typedef struct gi_stash_class {
    gi_atomic(uint32_t) count;   /* lists; guarded by the mutex, relaxed: peeked at as a hint */
    gi_atomic(uint32_t) refused; /* blocks, since it was last found empty; the same */
    uint32_t blocks, cap;        /* in all lists, and at most; guarded by the mutex.  cap 0: the least */
} gi_stash_class;

/* One list of each class. */
typedef struct gi_stash_row {
    gi_link *lists[GI_CLASSES];
    uint32_t lengths[GI_CLASSES];
} gi_stash_row;

/* By rows: most classes have a few lists, some have many, and what no class needs is never touched. */
typedef struct gi_stash {
    struct gi_stash_kind {
        gi_stash_class classes[GI_CLASSES];
        gi_stash_row rows[GI_STASH_LISTS]; /* guarded by the mutex */
    } kinds[GI_KINDS];
} gi_stash;

/* Whether there is a list, as a hint. */
static inline bool gi_stash_any(const gi_stash *stash, unsigned kind, unsigned size_class) {
    return gi_load_relaxed(&stash->kinds[kind].classes[size_class].count) != 0; /* relaxed: a hint */
}

/* Whether whoever needs blocks should ask, as a hint: there are some, or it is to hold more. */
static inline bool gi_stash_waits(const gi_stash *stash, unsigned kind, unsigned size_class) {
    const gi_stash_class *class = &stash->kinds[kind].classes[size_class];
    return gi_load_relaxed(&class->count) != 0 || gi_load_relaxed(&class->refused) != 0; /* relaxed: hints */
}

/* (held) Puts in a list of about `length` blocks.  False if that is too much: it is still the caller's, who then takes
   out what gi_stash_surplus() gives. */
bool gi_stash_put(gi_stash *stash, unsigned kind, unsigned size_class, gi_link *list, uint32_t length);
/* (held) A list that came in last, and about how long it is; NULL if there is none. */
gi_link *gi_stash_take(gi_stash *stash, unsigned kind, unsigned size_class, uint32_t *length);
/* (held) A list that is to go back to the pools, or NULL. */
gi_link *gi_stash_surplus(gi_stash *stash, unsigned kind, unsigned size_class);
/* (held) Any list of the class, to empty it; NULL if there is none. */
gi_link *gi_stash_empty(gi_stash *stash, unsigned kind, unsigned size_class);

#endif /* GI_STASH_H */
