/* SPDX-License-Identifier: MIT */
/*
 * object_alloc.h [L4] - the mem and object domains: the fast path, and the way to everything else.
 *
 *   A call takes the fast path if its domain is *open* (its allocator is the default one), its thread is attached, and
 *   the bin has what it needs.  Each of these is part of a test that the fast path makes anyway:
 *     - the domain's limits (fast_limits.h) are 0 while it is closed, so that the test of the size and the test of the
 *       address fail;
 *     - a detached thread's cache is the empty sentinel.
 *   All else falls into one slow function each, which looks at the reasons in order.
 *
 *   Owner   the attached thread.
 *   Orders  none: fast_limits.h.
 */
#ifndef GI_OBJECT_ALLOC_H
#define GI_OBJECT_ALLOC_H

#include <string.h>

#include "lib/cache/fast_limits.h"
#include "lib/cache/free_list.h"
#include "lib/cache/hardened_block.h"
#include "lib/cache/object_up.h"
#include "lib/cache/sample.h"
#include "lib/cache/thread_cache.h"

/* The four calls of a kind, in words, for messages. */
typedef struct gi_call_names {
    const char *malloc, *calloc, *realloc, *free;
    char api; /* 'm' or 'o', CPython's id of the domain; 'k' for a kind that was made */
} gi_call_names;
extern const gi_call_names gi_calls[GI_KINDS] GI_INTERNAL;

/* The fast path of realloc, for the mem and object domains; NULL for the slow path. */
void *gi_object_realloc_fast(unsigned kind, const gi_fast_limits *limits, void *block, size_t size);
/* A kind that was made, with links where its kind says: the whole calls; the sizes are at most PY_SSIZE_T_MAX. */
void *gi_object_malloc_kind(unsigned kind, size_t size);
void *gi_object_calloc_kind(unsigned kind, size_t count, size_t size);
void gi_object_free_kind(unsigned kind, void *block);

/* A block of the mem or the object domain, for a full bin at that offset of a page word; false if it is none. */
bool gi_object_free_full(unsigned kind, void *block, uint64_t offset);

/* The same for any kind in hardened mode. */
void *gi_object_malloc_hardened(unsigned kind, size_t size);
void gi_object_free_hardened(unsigned kind, void *block);

/* What a kind's default allocator does when the fast path cannot; the sizes are at most PY_SSIZE_T_MAX. */
void *gi_object_malloc_slow(unsigned kind, size_t size);
void *gi_object_calloc_slow(unsigned kind, size_t count, size_t size);
void *gi_object_realloc_slow(unsigned kind, void *block, size_t size);
void gi_object_free_slow(unsigned kind, void *block);

/* Bytes that may be used in a block of the kind; dies as free does if it is none. */
size_t gi_object_usable_size(unsigned kind, const void *block, const char *function);
/* Frees a block that was requested with `size` bytes; dies if its class is another. */
void gi_object_free_sized(unsigned kind, void *block, size_t size, const char *function);

/* Parts of the calls, for lib/domain/watched.c.  The page word of a block of the kind, or GI_WORD_NO_ARENA if it is
   none of ours (a large one); dies if it is neither. */
uint32_t gi_object_word(unsigned kind, const void *block, const char *function);
/* Frees a block of ours, with its link and the page's word. */
void gi_object_give(gi_thread_cache *cache, unsigned kind, void *block, gi_link *link, uint32_t word,
                    const char *function);
/* The size passed is not that of the block. */
_Noreturn void gi_object_die_size(unsigned kind, const void *block, size_t usable, size_t size, const char *function)
    __attribute__((cold));

/* Blocks whose size is not known count as much as a sixteenth of the default limit. */
#define GI_UNKNOWN_BYTES ((size_t)64 << 10)

/* Retires a block of the kind; dies as free does if it is none.  `counted`: as how many bytes it counts, and it is not
   looked at, since the domain has a hook, to which it may belong; 0: as many as it has. */
void gi_object_retire(unsigned kind, void *block, size_t counted);
/* The same for the raw domain. */
void gi_object_retire_raw(gi_thread_cache *cache, void *block);

/* Frees a block that was requested with `size` bytes, which are at most GI_SMALL_MAX, if the limits allow it and it is
   of that class; the heap knows its page then.  False: has not been looked at. */
bool gi_object_free_known(unsigned kind, const gi_fast_limits *limits, void *block, size_t size);

/* Dies unless this thread is attached (and, with a runtime's own lock, holds it); a thread of such a runtime that holds
   its lock is attached by it.  `size` SIZE_MAX: the call is about `block`. */
gi_thread_cache *gi_object_require_attached(unsigned kind, const char *function, size_t size, const void *block);

/* --- fast path -------------------------------------------------------------------------------- */

/* A small block for a request below the limit, or NULL: its list is empty. */
static inline void *gi_object_pop(unsigned kind, size_t size) {
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size);
    gi_link *block = bin->alloc;
    if (gi_unlikely(block == NULL)) {
        return NULL;
    }
    gi_link *next = block->next;
    __builtin_prefetch(next, 1); /* the next allocation writes it: -22 % in producer/consumer for one instruction */
    bin->alloc = next;
    return block;
}

/* A small block, or NULL for the slow path. */
static inline void *gi_object_malloc_fast(unsigned kind, const gi_fast_limits *limits, size_t size) {
    return gi_likely(gi_below_relaxed(size, &limits->sizes)) ? gi_object_pop(kind, size) : NULL;
}

/* `free`, which is not empty, becomes `alloc`, which is; its first block. */
static inline void *gi_bin_swap(gi_bin *bin) {
    gi_link *block = bin->free;
    bin->free = NULL;
    bin->length = bin->cap - (uint32_t)bin->room;
    bin->room = (int32_t)bin->cap;
    bin->fresh = false;
    bin->alloc = block->next;
    return block;
}

/* The second half of the fast path, for the mem and object domains: a small block for a request below the limit, after
   the bin's two lists have changed places, or NULL. */
static inline void *gi_object_swap(unsigned kind, size_t size) {
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size);
    /* The bin of 0 bytes has no `free`. */
    if (bin->alloc != NULL || bin->free == NULL || !gi_free_list_begins_well((size - 1) / GI_ALIGNMENT, bin->free)) {
        return NULL;
    }
    return gi_bin_swap(bin);
}
/* The same while blocks are sampled: the list is counted, and has no sample in it; else it is for the slow path. */
static inline void *gi_object_swap_counted(unsigned kind, size_t size) {
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size);
    size_t size_class = (size - 1) / GI_ALIGNMENT;
    if (bin->alloc != NULL || bin->free == NULL || bin->due != 0 || !gi_free_list_begins_well(size_class, bin->free) ||
        gi_cache_is_inlined(gi_current_cache, kind, size_class) || /* nobody has counted it */
        !gi_sample_passes((uint64_t)(bin->cap - (uint32_t)bin->room) * (size_class + 1) * GI_ALIGNMENT)) {
        return NULL;
    }
    return gi_bin_swap(bin);
}
/* Both where a list has to be looked at more closely. */
void *gi_object_malloc_swap_slow(unsigned kind, const gi_fast_limits *limits, size_t size);

/* gi_object_pop() and gi_object_malloc_fast(), zeroed; the product has been checked. */
static inline void *gi_object_pop_zeroed(unsigned kind, size_t size) {
    gi_link *block = gi_object_pop(kind, size);
    if (gi_likely(block != NULL)) {
        block->next = NULL; /* a request of 0 bytes has zeroed bytes too */
        if (!gi_bin_for_size(gi_current_cache, kind, size)->fresh) {
            memset(block, 0, size);
        }
    }
    return block;
}
static inline void *gi_object_calloc_fast(unsigned kind, const gi_fast_limits *limits, size_t size) {
    return gi_likely(gi_below_relaxed(size, &limits->sizes)) ? gi_object_pop_zeroed(kind, size) : NULL;
}

/* Whether the block, a small one of the kind, has been retired; else it is for the slow path. */
static inline bool gi_object_retire_fast(unsigned kind, const gi_fast_limits *limits, void *block) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: constant while the limit below is not 0 */
    uint64_t page = gi_address_page(base, block);
    if (gi_unlikely(!gi_below_relaxed(page, &limits->pages))) {
        return false;
    }
    gi_thread_cache *cache = gi_current_cache;
    uint32_t word = gi_load_relaxed(&gi_address_words(base)[page]); /* relaxed: address_map.h */
    gi_retired_chunk *chunk = cache->retired.chunks;                /* the empty sentinel has none */
    if (gi_unlikely(!gi_word_is_pool(word) || gi_word_kind(word) != kind || chunk == NULL ||
                    chunk->count == chunk->capacity)) {
        return false;
    }
    if (gi_unlikely(gi_retired_put(&cache->retired, chunk, kind + 1, block, gi_class_size(gi_word_class(word))))) {
        gi_fetch_or_relaxed(&cache->own.asked->bits, GI_ASKED_RECLAIM); /* relaxed: a word to oneself */
    }
    return true;
}

/* Pushes a block on the `free` of its bin, at that offset of a page word; false if that is full. */
static inline bool gi_object_push_at(gi_thread_cache *cache, unsigned kind, uint64_t offset, void *block) {
    gi_bin *bin = (gi_bin *)(void *)((char *)&cache->bins[kind][1] + offset);
    __asm__("" : "+r"(bin)); /* as in gi_bin_for_size() */
    if (gi_unlikely(--bin->room < 0)) {
        return false;
    }
    gi_link *link = block;
    gi_assert(link != NULL); /* page 0 is not in the reservation */
    link->next = bin->free;
    bin->free = link;
    return true;
}

/* Whether the block, which is in that page of the reservation, has been freed; else *offset is that of its bin, which
   is full, or it is for gi_object_free_other(). */
static inline bool gi_object_push(unsigned kind, uintptr_t base, uint64_t page, void *block, uint64_t *offset) {
    gi_thread_cache *cache = gi_current_cache;
    *offset = gi_load_relaxed(&gi_address_words(base)[page]) ^ cache->tag[kind]; /* relaxed: address_map.h */
    return gi_likely(*offset < GI_WORD_CLASS_SPAN) && gi_object_push_at(cache, kind, *offset, block);
}

/* Whether the block has been freed; else it is for the slow path. */
static inline bool gi_object_free_fast(unsigned kind, const gi_fast_limits *limits, void *block) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: constant while the limit below is not 0 */
    uint64_t page = gi_address_page(base, block);
    uint64_t offset;
    return gi_likely(gi_below_relaxed(page, &limits->pages)) && gi_object_push(kind, base, page, block, &offset);
}

/* The same for a block that was requested with `size` bytes, if these are of its class and it is the start of a block;
   else the slow path looks. */
static inline bool gi_object_free_sized_fast(unsigned kind, const gi_fast_limits *limits, void *block, size_t size) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: constant while the limit below is not 0 */
    uint64_t page = gi_address_page(base, block);
    if (gi_unlikely(!gi_below_relaxed(page, &limits->pages))) {
        return false;
    }
    uint32_t word = gi_load_relaxed(&gi_address_words(base)[page]); /* relaxed: address_map.h */
    size_t size_class = (size - 1) / GI_ALIGNMENT; /* of 0 bytes none; a word that is no pool's is not of this heap */
    return size_class == gi_word_class(word) && gi_pool_is_start(gi_pool_inverses[size_class], (uintptr_t)block) &&
           gi_object_free_fast(kind, limits, block);
}

/* The same for a block of another heap in GIL-free mode, whose page word is so far from the cache's tag: one of the
   shared heap's, for a bin with room, or another one for a remote slot that has its like already.  If not, *offset is
   that of the bin, if it is full. */
static inline bool gi_object_free_other(unsigned kind, void *block, uint64_t *offset) {
    gi_thread_cache *cache = gi_current_cache;
    uint64_t from_tag = *offset, from_shared = from_tag ^ cache->to_shared;
    if (gi_likely(from_shared < GI_WORD_CLASS_SPAN)) {
        *offset = from_shared;
        return gi_object_push_at(cache, kind, from_shared, block);
    }
    /* A word that a slot has was acquired when it came there.  The empty sentinel's have none. */
    uint32_t word = (uint32_t)from_tag ^ cache->tag[kind];
    gi_remote_slot *slot = gi_cache_remote_slot(cache, word);
    if (slot->word != word || slot->count == 0 || slot->count + 1 >= GI_REMOTE_BATCH || gi_word_kind(word) != kind) {
        return false;
    }
    gi_link *link = block;
    link->next = slot->first;
    slot->first = link;
    slot->count++;
    return true;
}

#endif /* GI_OBJECT_ALLOC_H */
