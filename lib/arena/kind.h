/* SPDX-License-Identifier: MIT */
/*
 * kind.h [L3] - a kind: what keeps blocks apart; mem, object, and those that a runtime makes.
 *
 *   A kind has pools, bins and lists of its own.  Its number stands in the page word; the public domain of a kind is
 *   its number plus one, since raw is none.
 *
 *     block     | untouched bytes ...      | link |           all lists hold the address of the link, not of the
 *               0                     link_offset             block; only the calls of a kind add and subtract
 *
 *   Owner   the table; an entry is constant once it is made, and kinds are never deleted.
 *   Locks   kind (GI_RANK_KIND) for making one.
 *   Orders  kind: an entry is seen whole by whoever sees the count that includes it.
 */
#ifndef GI_KIND_H
#define GI_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "concurrency/check.h"
#include "lib/arena/size_class.h"

enum { GI_KIND_NAME_SIZE = 32 };

typedef struct gi_kind {
    uint16_t link_offset; /* where the link of a free block stands */
    uint16_t least;       /* the smallest size that is served: for untouched bytes and a link, or 0 */
    uint16_t untouched;   /* bytes at the start of a freed block that stay as they were, whole words */
    bool type_stable;     /* an emptied pool waits for a grace period */
    uint8_t tail;         /* bytes at the end of a block that are not its user's: 0, or 8 in hardened mode */
    char name[GI_KIND_NAME_SIZE];
} gi_kind;

extern gi_kind gi_kinds[GI_KINDS] GI_INTERNAL;

/* How many there are; the first two are mem and object. */
unsigned gi_kind_count(void);
/* Makes one, of checked values; its number, or -1 when GI_KINDS are made.  Any thread. */
int gi_kind_make(const char *name, size_t untouched, bool type_stable);

/* From now on links stand before the blocks (pool.h, GI_WATCHED_HEADER).  Before anything is allocated. */
void gi_kind_watch(void);
/* From now on blocks have a tail, if the largest has room for it behind the link.  Before anything is allocated. */
void gi_kind_harden(void);

void gi_kind_before_fork(void);
void gi_kind_after_fork(void);

#endif /* GI_KIND_H */
