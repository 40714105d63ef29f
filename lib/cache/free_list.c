/* SPDX-License-Identifier: MIT */
/*
 * free_list.c [L4] - lists of free blocks, followed with care.
 *   Owner   the list's.  Locks none.  Theory: free_list.h.
 */
#include "lib/cache/free_list.h"

#include <stdio.h>

#include "concurrency/check.h"
#include "lib/os/address_kind.h"

/* --- fatal errors ----------------------------------------------------------------------------- */

#define FOUND_LATER GI_FACT("found   ", "later, in a list of free blocks")

static const void *block_of(unsigned kind, const gi_link *link) {
    return (const char *)link - gi_kinds[kind].link_offset;
}

void gi_free_list_double(unsigned kind, unsigned size_class, const gi_link *link, const char *function) {
    gi_fatal(function,
             "double free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                 FOUND_LATER GI_DO("free each block once"),
             gi_kinds[kind].name, block_of(kind, link), gi_class_size(size_class));
}

/* An address in a pool that is right, but not at the start of a block. */
static __attribute__((cold, noreturn)) void die_inside(unsigned kind, unsigned size_class, const gi_link *link,
                                                       const char *function) {
    const char *block = block_of(kind, link);
    size_t size = gi_class_size(size_class), offset = ((uintptr_t)block & (GI_POOL_SIZE - 1)) % size;
    gi_fatal(function,
             "invalid pointer" GI_FACT("domain  ", "%s")
                 GI_FACT("block   ", "%p, %zu bytes behind the start of one of %zu bytes")
                     FOUND_LATER GI_DO("free the pointer that the allocation returned"),
             gi_kinds[kind].name, (const void *)block, offset, size);
}

void gi_free_list_broken(unsigned kind, unsigned size_class, const gi_link *before, const gi_link *link,
                         const char *function) {
    uint32_t word = gi_free_list_word(link);
    bool fits = gi_word_is_pool(word) && gi_word_kind(word) == kind && gi_word_class(word) == size_class;
    if (!gi_hardened.on && word == GI_WORD_NO_POOL &&
        (uintptr_t)link % GI_ALIGNMENT == gi_kinds[kind].link_offset % GI_ALIGNMENT) {
        gi_free_list_double(kind, size_class, link, function); /* its pool has gone since: it was free */
    }
    if (!gi_hardened.on && fits) {
        die_inside(kind, size_class, link, function);
    }
    char where[GI_ADDRESS_KIND_SIZE], block[64];
    if (before != NULL) {
        snprintf(block, sizeof(block), "%p, of %zu bytes", block_of(kind, before), gi_class_size(size_class));
    } else { /* the fast path followed it */
        snprintf(block, sizeof(block), "one of %zu bytes that has been used since", gi_class_size(size_class));
    }
    gi_fatal(function,
             "corrupted free list" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%s") GI_FACT("link    ", "%p, %s")
                 GI_DO("look for a write to the block while it was free, or past the end of the one before it"),
             gi_kinds[kind].name, block, (const void *)link,
             fits ? "no free block" : gi_address_kind(link, where, sizeof(where)));
}

/* --- looking ---------------------------------------------------------------------------------- */

void gi_free_list_follow(unsigned kind, unsigned size_class, const gi_link *before, const gi_link *link,
                         const char *function) {
    if (gi_unlikely(link == before)) {
        gi_free_list_double(kind, size_class, link, function);
    }
    if (gi_unlikely(!gi_free_list_may_hold(kind, size_class, link))) {
        gi_free_list_broken(kind, size_class, before, link, function);
    }
}

void gi_free_list_look_slow(unsigned kind, unsigned size_class, const gi_link *list, const char *function) {
    uintptr_t block = (uintptr_t)list - gi_kinds[kind].link_offset;
    if (gi_unlikely(gi_hardened.on ? !gi_free_list_may_hold(kind, size_class, list)
                                   : !gi_pool_is_start(gi_pool_inverses[size_class], block))) {
        gi_free_list_broken(kind, size_class, NULL, list, function);
    }
    const gi_link *second = gi_free_list_next(kind, size_class, list, function);
    if (gi_unlikely(second != NULL && gi_link_next(second) == list)) {
        gi_free_list_double(kind, size_class, list, function);
    }
}

void gi_free_list_look_at_all(unsigned kind, unsigned size_class, const gi_link *first, const gi_link *last,
                              uint32_t count, const char *function) {
    const gi_link *before = NULL, *block = first;
    for (uint32_t i = 0; i < count; i++) {
        if (gi_unlikely(block == NULL || !gi_free_list_may_hold(kind, size_class, block))) {
            gi_free_list_broken(kind, size_class, before, block, function);
        }
        before = block;
        block = gi_link_next(block);
    }
    if (gi_unlikely(before != last)) {
        gi_free_list_double(kind, size_class, before, function);
    }
}
