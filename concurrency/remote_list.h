/* SPDX-License-Identifier: MIT */
/*
 * remote_list.h [L1] - a list of blocks that many threads push and one takes.
 *
 *   A chain of links goes in by one compare-and-swap, however long it is; the owner takes the whole list by one
 *   exchange, without a walk.  A closed list refuses pushes, so that nothing is stranded behind an owner that ended.
 *
 *   may run at once with   push   take_all   close   open
 *   push  (any thread)     yes    yes        yes     yes
 *   take_all (owner)       yes    no         no      no
 *   close, open (owner)    yes    no         no      no
 *
 *   Pushing never reads a link that is in the list, and taking empties it, so there is no ABA.
 *   Orders  remote-free: everything done to a block before its push is seen by whoever takes it.
 *           remote-close: whoever is refused sees everything that the owner did before it closed the list.
 */
#ifndef GI_REMOTE_LIST_H
#define GI_REMOTE_LIST_H

#include <stddef.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"

/* The first word of a free block.  What is stored is the address xored with a key, which is 0 but in hardened mode;
   where it is known to be 0, links may be read and written plainly. */
typedef struct gi_link {
    struct gi_link *next;
} gi_link;

extern uintptr_t gi_link_key GI_INTERNAL; /* constant once there are links */

static inline gi_link *gi_link_next(const gi_link *link) { return (gi_link *)((uintptr_t)link->next ^ gi_link_key); }
static inline void gi_link_set(gi_link *link, const gi_link *next) {
    link->next = (gi_link *)((uintptr_t)next ^ gi_link_key);
}

typedef struct gi_remote_list {
    gi_atomic(gi_link *) head;   /* atomic, order(remote-free); GI_REMOTE_CLOSED: refuses */
    gi_atomic(uint32_t) waiting; /* relaxed: how many links were pushed since the owner last took; a hint for upkeep */
    gi_atomic(uint32_t) bound;   /* relaxed: how many may wait, as whoever does the upkeep says; a hint as well */
} gi_remote_list;

#define GI_REMOTE_CLOSED ((gi_link *)1)

/* Pushes the chain first..last of `count` links.  False if the list is closed: the chain, ended by NULL, is still the
   caller's. */
static inline bool gi_remote_list_push(gi_remote_list *list, gi_link *first, gi_link *last, uint32_t count) {
    gi_link *head = gi_load_relaxed(&list->head); /* relaxed: only compared, never followed */
    do {
        if (gi_unlikely(head == GI_REMOTE_CLOSED)) {
            /* order(remote-close): acquire; pairs with acq_rel in gi_remote_list_close(). */
            (void)gi_load_acquire(&list->head);
            gi_link_set(last, NULL); /* not what it was linked to by a lost compare-and-swap */
            return false;
        }
        gi_link_set(last, head);
        /* order(remote-free): release; pairs with acquire in gi_remote_list_take_all(). */
    } while (!gi_cas_release(&list->head, &head, first));
    gi_fetch_add_relaxed(&list->waiting, count); /* relaxed: a hint */
    return true;
}

/* True if taking may give something. */
static inline bool gi_remote_list_any(const gi_remote_list *list) {
    gi_link *head = gi_load_relaxed(&list->head); /* relaxed: a hint; take_all() synchronises */
    return head != NULL && head != GI_REMOTE_CLOSED;
}

/* All links, newest chain first, or NULL.  The owner of an open list only. */
static inline gi_link *gi_remote_list_take_all(gi_remote_list *list) {
    gi_store_relaxed(&list->waiting, 0); /* relaxed: a hint */
    /* order(remote-free): acquire; pairs with release in gi_remote_list_push(). */
    gi_link *links = gi_exchange_acquire(&list->head, NULL);
    gi_assert(links != GI_REMOTE_CLOSED);
    return links;
}

/* As take_all(), and refuses pushes from now on.  A list that is closed stays so and gives NULL.  Whoever is refused
   sees what the owner did before. */
static inline gi_link *gi_remote_list_close(gi_remote_list *list) {
    gi_store_relaxed(&list->waiting, 0); /* relaxed: a hint */
    /* order(remote-close): acq_rel; pairs with acquire in gi_remote_list_push(). */
    gi_link *links = gi_exchange_acq_rel(&list->head, GI_REMOTE_CLOSED);
    return links == GI_REMOTE_CLOSED ? NULL : links;
}

/* Accepts pushes again, or for the first time.  The owner of a closed list, or of zeroed memory to which nobody pushes
   yet, only. */
static inline void gi_remote_list_open(gi_remote_list *list) {
    gi_assert(!gi_remote_list_any(list));
    gi_store_relaxed(&list->head, NULL); /* relaxed: an empty list publishes nothing */
}

#endif /* GI_REMOTE_LIST_H */
