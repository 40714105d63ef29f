/* SPDX-License-Identifier: MIT */
/*
 * free_list.h [L4] - lists of free blocks, followed with care.
 *
 *   A link stands in memory that a program has freed, and may still write to, or run into from the block before; and a
 *   block may come into a list twice, or be none.  The fast path follows links as they are.  What is slow looks first:
 *
 *     whoever takes a list from one place to another   at its first blocks          gi_free_list_look()
 *     whoever walks one                                at each link before it       gi_free_list_next()
 *     whoever gives blocks back to their pools         at each block as well        gi_heap_give()
 *
 *   A block that may be in a list is in a pool of the list's kind and class, at the start of a block; in hardened mode
 *   it has the mark of a free one.
 *   Owner   the list's.  Locks none.
 *   Orders  page words are read relaxed: a pool with a block in a list stays one of its kind and class.
 */
#ifndef GI_FREE_LIST_H
#define GI_FREE_LIST_H

#include <stdbool.h>

#include "concurrency/remote_list.h"
#include "lib/arena/address_map.h"
#include "lib/arena/hardened.h"
#include "lib/arena/kind.h"
#include "lib/arena/pool.h"

/* The page word of any address; GI_WORD_NO_ARENA where no arena can be. */
static inline uint32_t gi_free_list_word(const void *address) {
    const gi_page_word *word = gi_address_word(address);
    return gi_likely(word != NULL) ? gi_load_relaxed(word) : GI_WORD_NO_ARENA; /* relaxed: see above */
}

/* Whether an address may be the link of a block of the kind and class. */
static inline bool gi_free_list_may_hold(unsigned kind, unsigned size_class, const gi_link *link) {
    uint32_t word = gi_free_list_word(link);
    if (!gi_word_is_pool(word) || ((word ^ gi_word_make(0, kind, size_class)) << (32 - GI_WORD_HEAP_SHIFT)) != 0) {
        return false;
    }
    uintptr_t block = (uintptr_t)link - gi_hardened_offset(kind);
    return gi_unlikely(gi_hardened.on)
               ? block % GI_ALIGNMENT == 0 && gi_load_relaxed(gi_hardened_mark((const void *)block)) == GI_MARK_FREE
               : gi_pool_is_start(gi_pool_inverses[size_class], block);
}

/* The link of `before` (NULL: the head of a list) leads to `link`, which no list of the kind and class may hold. */
_Noreturn void gi_free_list_broken(unsigned kind, unsigned size_class, const gi_link *before, const gi_link *link,
                                   const char *function) __attribute__((cold));
/* Dies unless `link`, which `before` leads to, is another block that the list may hold. */
void gi_free_list_follow(unsigned kind, unsigned size_class, const gi_link *before, const gi_link *link,
                         const char *function);
/* A block is in a list twice. */
_Noreturn void gi_free_list_double(unsigned kind, unsigned size_class, const gi_link *link, const char *function)
    __attribute__((cold));

/* Whether two addresses are different ones of one pool, and apart by a multiple of the alignment: in one compare. */
static inline bool gi_free_list_are_near(uintptr_t first, uintptr_t second) {
    uint64_t difference = first ^ second;
    return (difference >> 4 | difference << 60) - 1 < GI_POOL_SIZE / GI_ALIGNMENT - 1;
}

/* What the link of `block` leads to: NULL, or another block that the list may hold (one in the same pool may be none,
   which shows as it goes back); dies if it is neither. */
static inline gi_link *gi_free_list_next(unsigned kind, unsigned size_class, const gi_link *block,
                                         const char *function) {
    gi_link *next = gi_link_next(block);
    if (gi_unlikely(!gi_free_list_are_near((uintptr_t)block, (uintptr_t)next) && next != NULL)) {
        gi_free_list_follow(kind, size_class, block, next, function);
    }
    return next;
}

/* Whether all is well with the first two blocks of a list, whose first is in a pool that is right, as far as a few
   instructions tell: they are blocks of one pool, and their offsets in it, added, are a multiple of their size.  If
   not, gi_free_list_look_slow() will tell. */
static inline bool gi_free_list_pair_is_right(size_t size_class, uintptr_t first, uintptr_t second) {
    uint32_t offsets = (uint32_t)((first + second) & (2 * GI_POOL_SIZE - 1)), inverse = gi_pool_inverses[size_class];
    return gi_free_list_are_near(first, second) && offsets * inverse < inverse;
}
/* The same in the swap of the fast path, where links are plain. */
static inline bool gi_free_list_begins_well(size_t size_class, const gi_link *first) {
    const gi_link *second = first->next;
    return gi_likely(gi_free_list_pair_is_right(size_class, (uintptr_t)first, (uintptr_t)second) &&
                     second->next != first);
}

/* Looks at the head of a list that the fast path has shortened: it may be anything. */
static inline void gi_free_list_look_at_head(unsigned kind, unsigned size_class, const gi_link *list,
                                             const char *function) {
    if (gi_unlikely(!gi_free_list_may_hold(kind, size_class, list))) {
        gi_free_list_broken(kind, size_class, NULL, list, function);
    }
}
/* Looks at the first blocks of a list, whose head is in a pool that is right. */
void gi_free_list_look_slow(unsigned kind, unsigned size_class, const gi_link *list, const char *function);
static inline void gi_free_list_look(unsigned kind, unsigned size_class, const gi_link *list, const char *function) {
    const gi_link *second = gi_link_next(list);
    uintptr_t offset = gi_kinds[kind].link_offset;
    if (gi_unlikely(gi_hardened.on ||
                    !gi_free_list_pair_is_right(size_class, (uintptr_t)list - offset, (uintptr_t)second - offset) ||
                    gi_link_next(second) == list)) {
        gi_free_list_look_slow(kind, size_class, list, function);
    }
}
/* Looks at a list that has `count` blocks, from `first` to `last`. */
void gi_free_list_look_at_all(unsigned kind, unsigned size_class, const gi_link *first, const gi_link *last,
                              uint32_t count, const char *function);

#endif /* GI_FREE_LIST_H */
