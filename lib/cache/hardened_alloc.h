/* SPDX-License-Identifier: MIT */
/*
 * hardened_alloc.h [L4] - the fast path of hardened mode, for the mem and object domains.
 *   The links of these kinds stand at the start of blocks.  What is wrong, or outside the reservation, is for the slow
 *   path, which looks again and says what it is.  Marks, words and links: lib/arena/hardened.h.
 *   Owner   the attached thread.  Locks none.
 *   Orders  none: lib/arena/hardened.h.
 */
#ifndef GI_HARDENED_ALLOC_H
#define GI_HARDENED_ALLOC_H

#include "lib/arena/hardened.h"
#include "lib/cache/thread_cache.h"

#define GI_HARDENED_TAIL sizeof(uint64_t)
/* The largest small request. */
#define GI_HARDENED_MAX (GI_SMALL_MAX - GI_HARDENED_TAIL)

/* A block for a small request, or NULL. */
static inline __attribute__((always_inline)) void *gi_hardened_malloc_fast(unsigned kind, size_t size) {
    const gi_hardened_mode *mode = &gi_hardened;
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size + GI_HARDENED_TAIL);
    gi_link *link = bin->alloc;
    uintptr_t granule = gi_hardened_granule(link);
    if (gi_unlikely(granule >= mode->granules)) { /* so is NULL's */
        return NULL;
    }
    gi_mark *mark = &mode->marks[granule];
    if (gi_unlikely(gi_load_relaxed(mark) != GI_MARK_FREE)) { /* relaxed: hardened.h */
        return NULL;
    }
    size_t class_size = (size + GI_HARDENED_TAIL + GI_ALIGNMENT - 1) & ~(size_t)(GI_ALIGNMENT - 1);
    const char *end = (const char *)link + class_size;
    uint64_t word = gi_hardened_word(link);
    if (gi_unlikely(gi_hardened_load((const char *)link + sizeof(gi_link)) != word)) {
        return NULL;
    }
    if (class_size > GI_ALIGNMENT &&
        gi_unlikely(gi_hardened_load(end - 16) != word || gi_hardened_load(end - 8) != word)) {
        return NULL;
    }
    const char *next = (const char *)((uintptr_t)link->next ^ mode->key);
    __builtin_prefetch(next, 1); /* the next allocation looks at both ends */
    __builtin_prefetch(next + class_size - 8);
    bin->alloc = (gi_link *)(uintptr_t)next;
    gi_store_relaxed(mark, GI_MARK_LIVE); /* relaxed: hardened.h */
    return link;
}

/* Whether it is in the reservation, where a block could be. */
static inline bool gi_hardened_is_ours(const void *block) { return gi_hardened_granule(block) < gi_hardened.granules; }

/* Whether the block has been freed. */
static inline __attribute__((always_inline)) bool gi_hardened_free_fast(unsigned kind, void *block) {
    const gi_hardened_mode *mode = &gi_hardened;
    uintptr_t granule = gi_hardened_granule(block);
    if (gi_unlikely(granule >= mode->granules)) {
        return false;
    }
    gi_mark *mark = &mode->marks[granule];
    gi_thread_cache *cache = gi_current_cache;
    uint64_t page = granule / (GI_POOL_SIZE / GI_ALIGNMENT);
    uint32_t offset =
        gi_load_relaxed(&gi_address_words(mode->base)[page]) ^ cache->tag[kind]; /* relaxed: address_map.h */
    if (gi_unlikely(gi_load_relaxed(mark) != GI_MARK_LIVE || offset >= GI_WORD_CLASS_SPAN)) { /* relaxed: hardened.h */
        return false;
    }
    char *end = (char *)block + GI_ALIGNMENT + offset / (sizeof(gi_bin) / GI_ALIGNMENT);
    uint64_t word = gi_hardened_word(block);
    gi_bin *bin = (gi_bin *)(void *)((char *)&cache->bins[kind][1] + offset);
    __asm__("" : "+r"(bin)); /* as in gi_bin_for_size() */
    if (gi_unlikely(gi_hardened_load(end - 8) != word || --bin->room < 0)) {
        return false;
    }
    gi_store_relaxed(mark, GI_MARK_FREE); /* relaxed: hardened.h */
    /* Of a block of 16 bytes one is its last word, as before, and the other is where its link comes next. */
    gi_hardened_store((char *)block + sizeof(gi_link), word);
    gi_hardened_store(end - 16, word);
    gi_link *link = block;
    link->next = (gi_link *)((uintptr_t)bin->free ^ mode->key);
    bin->free = link;
    return true;
}

#endif /* GI_HARDENED_ALLOC_H */
