/* SPDX-License-Identifier: MIT */
/*
 * hardened_block.h [L4] - hardened mode: a block becomes live, and free again.
 *   Everything that the mode catches at small blocks is caught here or in free_list.h, by a mark, a link or a word
 *   (lib/arena/hardened.h).
 *   Owner   the attached thread.  Locks none.
 *   Orders  none: lib/arena/hardened.h.
 */
#ifndef GI_HARDENED_BLOCK_H
#define GI_HARDENED_BLOCK_H

#include "lib/arena/hardened.h"
#include "lib/cache/free_list.h"
#include "lib/cache/thread_cache.h"

/* The words of a free block are not those that were written to it: `wrong` says where. */
_Noreturn void gi_hardened_die_written(unsigned kind, unsigned size_class, const void *block, const char *wrong,
                                       const char *function) __attribute__((cold));

/* The first block of bin->alloc, which is not empty, becomes live.  It is looked at before it is touched. */
static inline gi_link *gi_hardened_pop(gi_bin *bin, unsigned kind, unsigned size_class, const char *function) {
    gi_link *link = bin->alloc;
    gi_assert(link != NULL);
    gi_free_list_look_at_head(kind, size_class, link, function);
    char *block = (char *)link - gi_hardened_offset(kind);
    const char *wrong = gi_hardened_written(kind, block, gi_class_size(size_class));
    if (gi_unlikely(wrong != NULL)) {
        gi_hardened_die_written(kind, size_class, block, wrong, function);
    }
    bin->alloc = gi_link_next(link);
    gi_store_relaxed(gi_hardened_mark(block), GI_MARK_LIVE); /* relaxed: hardened.h */
    return link;
}

/* bin->free, which is not empty, becomes bin->alloc, which is; its first two blocks change places, or not, as chance
   will have it. */
void gi_hardened_swap(gi_bin *bin, unsigned kind, unsigned size_class);

/* A block of ours, in a pool of the kind and class and at the start of a block, is about to be freed: it must be live
   and whole.  From here it is free, but in no list; the link is the caller's to write. */
void gi_hardened_free(unsigned kind, unsigned size_class, void *block, const char *function);
/* The same, without freeing it. */
void gi_hardened_expect_live(unsigned kind, unsigned size_class, const void *block, const char *function);
/* It is retired: nobody but gi_hardened_unretire(), which makes it live again, may free it. */
void gi_hardened_retire(unsigned kind, unsigned size_class, void *block, const char *function);
void gi_hardened_unretire(void *block);

#endif /* GI_HARDENED_BLOCK_H */
