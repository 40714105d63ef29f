/* SPDX-License-Identifier: MIT */
/*
 * object_alloc.h [L4] - the mem and object domains: the fast path, and the way to everything else.
 *
 *   A call takes the fast path if its domain is *open* (its allocator is the default one), its thread is attached, and
 *   the bin has what it needs.  Each of these is part of a test that the fast path makes anyway:
 *     - the domain's limits (largest small size, pages in the reservation) are 0 while it is closed, so that the test
 *       of the size and the test of the address fail;
 *     - a detached thread's cache is the empty sentinel.
 *   All else falls into one slow function each, which looks at the reasons in order.
 *
 *   Owner   the limits belong to the domain layer, which opens and closes; bins to the attached thread.
 *   Orders  limits are relaxed: a call that runs while a domain is opened or closed may be served by either allocator,
 *           as if it had come earlier or later.
 */
#ifndef GI_OBJECT_ALLOC_H
#define GI_OBJECT_ALLOC_H

#include <string.h>

#include "lib/cache/free_list.h"
#include "lib/cache/hardened_block.h"
#include "lib/cache/sample.h"
#include "lib/cache/thread_cache.h"
#include "lib/os/raw_alloc.h"

/* What a domain's fast path may serve; one line, read by every call and written when a domain is opened or closed. */
typedef struct gi_fast_limits {
    _Alignas(GI_CACHE_LINE) gi_atomic(uint64_t) sizes; /* requests below are small; 0: closed.  relaxed: see above */
    gi_atomic(uint64_t) pages; /* pages of the reservation below may be ours; 0: closed.  relaxed: see above */
    gi_atomic(uint64_t)
        hardened;              /* not 0: the domain has its default allocator, in hardened mode.  relaxed: see above */
    gi_atomic(uint64_t) large; /* requests below that are not small go straight to the system's allocator; 0: the raw
                                  domain has a hook, or a runtime's own lock is to be asked.  relaxed: see above */
    gi_atomic(uint64_t) asked; /* as `large`, while a runtime's own lock is to be asked; then that is 0.
                                  relaxed: see above */
    gi_atomic(uint64_t) swaps; /* as `sizes`, but 0 while lists are to be counted for sampling as they change places.
                                  relaxed: see above */
} gi_fast_limits;

extern gi_fast_limits gi_limits[GI_KIND_OBJECT + 1] GI_INTERNAL;
/* Those of an open domain, once the library is ready: for the default allocator when it is called through a hook. */
extern gi_fast_limits gi_open_limits GI_INTERNAL;

/* The four calls of a kind, in words, for messages. */
typedef struct gi_call_names {
    const char *malloc, *calloc, *realloc, *free;
    char api; /* 'm' or 'o', CPython's id of the domain; 'k' for a kind that was made */
} gi_call_names;
extern const gi_call_names gi_calls[GI_KINDS] GI_INTERNAL;

/* While blocks are sampled: a large one that is no sample, or NULL; whether a large one was none and has been freed. */
void *gi_object_malloc_counted(size_t size);
void *gi_object_calloc_counted(size_t size);
bool gi_object_free_counted(void *block);
/* While a runtime's own lock is to be asked: a large block, or NULL; whether a large one has been freed. */
void *gi_object_malloc_asked(const gi_fast_limits *limits, size_t size);
void *gi_object_calloc_asked(const gi_fast_limits *limits, size_t size);
bool gi_object_free_asked(const gi_fast_limits *limits, void *block);
/* The fast path of realloc, for the mem and object domains; NULL for the slow path. */
void *gi_object_realloc_fast(unsigned kind, const gi_fast_limits *limits, void *block, size_t size);
/* A kind that was made, with links where its kind says: the whole calls; the sizes are at most PY_SSIZE_T_MAX. */
void *gi_object_malloc_kind(unsigned kind, size_t size);
void *gi_object_calloc_kind(unsigned kind, size_t count, size_t size);
void gi_object_free_kind(unsigned kind, void *block);

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

/* The library is ready: sets gi_open_limits. */
void gi_object_ready(void);
/* Frees a block that was requested with `size` bytes, which are at most GI_SMALL_MAX, if the limits allow it and it is
   of that class; the heap knows its page then.  False: has not been looked at. */
bool gi_object_free_known(unsigned kind, const gi_fast_limits *limits, void *block, size_t size);

/* Opens or closes the fast path of a kind, the inlined one too; `large`: that of its large blocks too, with a question
   to a runtime's own lock if it is `theirs`; `sampled`: its lists are counted. */
void gi_object_open(unsigned kind, bool large, bool theirs, bool sampled);
/* Whether large blocks that are no samples may go straight to the system's allocator and back, of all kinds. */
void gi_object_open_counted(bool open);
void gi_object_open_hardened(unsigned kind);
void gi_object_close(unsigned kind);

/* Dies unless this thread is attached (and, with a runtime's own lock, holds it); a thread of such a runtime that holds
   its lock is attached by it.  `size` SIZE_MAX: the call is about `block`. */
gi_thread_cache *gi_object_require_attached(unsigned kind, const char *function, size_t size, const void *block);

/* Set by the api layer: makes the library ready; attaches a thread under a runtime's own lock, or NULL if it must not
   be attached; whether a runtime's own lock is held (true where there is none). */
typedef struct gi_object_upcalls {
    void (*ready)(void);
    gi_thread_cache *(*attach_itself)(void);
    bool (*lock_held)(void);
    size_t (*raw_usable_size)(const void *block); /* 0: not known, another allocator made it */
    size_t (*sampled_size)(const void *block);    /* the class size of a small block that is a sample; 0: it is none */
    void *(*raw_malloc)(size_t size); /* the public functions of the raw domain, so that its hooks see large requests */
    void *(*raw_calloc)(size_t count, size_t size);
    void *(*raw_realloc)(void *block, size_t size);
    void (*raw_free)(void *block);
} gi_object_upcalls;
extern const gi_object_upcalls gi_object_up GI_INTERNAL; /* defined in lib/api/runtime.c */

/* --- fast path -------------------------------------------------------------------------------- */

/* On x86-64 any register but that of the result, which the block then comes into without a move. */
#if defined(__x86_64__)
#define GI_BIN_REGISTER(bin) "+d"(bin)
#else
#define GI_BIN_REGISTER(bin) "+r"(bin)
#endif

/* The bin for a small request: 0 for 0 bytes, 1 + class else, without a branch. */
static inline gi_bin *gi_bin_for_size(gi_thread_cache *cache, unsigned kind, size_t size) {
    size_t offset = ((size + GI_ALIGNMENT - 1) & ~(size_t)(GI_ALIGNMENT - 1)) * (sizeof(gi_bin) / GI_ALIGNMENT);
    gi_bin *bin = (gi_bin *)(void *)((char *)cache->bins[kind] + offset);
    /* Lists are addressed by a base alone: a store and the load after it then meet in the register file (1 cycle), not
       through the store buffer (7 cycles), which they do behind an index. */
    __asm__("" : GI_BIN_REGISTER(bin));
    return bin;
}

static inline bool gi_object_is_hardened(const gi_fast_limits *limits) {
    return gi_load_relaxed(&limits->hardened) != 0; /* relaxed: see its declaration */
}

/* A small block, or NULL for the slow path. */
static inline void *gi_object_malloc_fast(unsigned kind, const gi_fast_limits *limits, size_t size) {
    if (gi_unlikely(!gi_below_relaxed(size, &limits->sizes))) {
        return NULL;
    }
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

/* The second half of the fast path, for the mem and object domains: a small block after the bin's two lists have
   changed places, or NULL. */
static inline void *gi_object_malloc_swap(unsigned kind, const gi_fast_limits *limits, size_t size) {
    if (gi_unlikely(!gi_below_relaxed(size, &limits->swaps))) {
        return NULL;
    }
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size);
    /* The bin of 0 bytes has no `free`. */
    if (bin->alloc != NULL || bin->free == NULL || !gi_free_list_begins_well((size - 1) / GI_ALIGNMENT, bin->free)) {
        return NULL;
    }
    return gi_bin_swap(bin);
}
/* The same while blocks are sampled: the list is counted, and has no sample in it; else it is for the slow path. */
static inline void *gi_object_malloc_swap_counted(unsigned kind, const gi_fast_limits *limits, size_t size) {
    if (gi_unlikely(!gi_below_relaxed(size, &limits->sizes))) {
        return NULL;
    }
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size);
    size_t size_class = (size - 1) / GI_ALIGNMENT; /* the bin of 0 bytes has no `free` */
    if (bin->alloc != NULL || bin->free == NULL || bin->due != 0) {
        return NULL;
    }
    if (!gi_free_list_begins_well(size_class, bin->free)) { /* it has one block, say */
        gi_free_list_look_slow(kind, (unsigned)size_class, bin->free, gi_calls[kind].malloc);
    }
    if (gi_likely(gi_sample_is_on())) {
        gi_sample_thread *thread = &gi_sampling;
        uint64_t bytes = (uint64_t)(bin->cap - (uint32_t)bin->room) * (size_class + 1) * GI_ALIGNMENT;
        bool is_seen = thread->seen == gi_load_relaxed_u64(&gi_sample_state); /* relaxed: as declared */
        if (gi_unlikely(!is_seen || bytes > (uint64_t)thread->left)) {
            return NULL;
        }
        thread->left -= (int64_t)bytes;
    }
    return gi_bin_swap(bin);
}
/* The same where a list has to be looked at more closely. */
void *gi_object_malloc_swap_slow(unsigned kind, const gi_fast_limits *limits, size_t size);

/* The same, zeroed; the product has been checked. */
static inline void *gi_object_calloc_fast(unsigned kind, const gi_fast_limits *limits, size_t size) {
    gi_link *block = gi_object_malloc_fast(kind, limits, size);
    if (gi_likely(block != NULL)) {
        block->next = NULL; /* a request of 0 bytes has zeroed bytes too */
        if (!gi_bin_for_size(gi_current_cache, kind, size)->fresh) {
            memset(block, 0, size);
        }
    }
    return block;
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

/* Whether the block has been freed; else it is for the slow path. */
static inline bool gi_object_free_fast(unsigned kind, const gi_fast_limits *limits, void *block) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: constant while the limit below is not 0 */
    uint64_t page = gi_address_page(base, block);
    if (gi_unlikely(!gi_below_relaxed(page, &limits->pages))) {
        return false;
    }
    gi_thread_cache *cache = gi_current_cache;
    uint32_t offset = gi_load_relaxed(&gi_address_words(base)[page]) ^ cache->tag[kind]; /* relaxed: address_map.h */
    if (gi_unlikely(offset >= GI_WORD_CLASS_SPAN)) {
        return false;
    }
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

/* The same for a block of another heap in GIL-free mode: one of the shared heap's for a bin with room, or another one
   for a remote slot that has its like already. */
static inline bool gi_object_free_other(unsigned kind, const gi_fast_limits *limits, void *block) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: constant while the limit below is not 0 */
    uint64_t page = gi_address_page(base, block);
    gi_thread_cache *cache = gi_current_cache;
    if (!gi_below_relaxed(page, &limits->pages) || cache->heap != &cache->own) { /* the empty sentinel's is NULL */
        return false;
    }
    /* relaxed: address_map.h; a word that a slot has was acquired when it came there */
    uint32_t word = gi_load_relaxed(&gi_address_words(base)[page]);
    gi_link *link = block;
    if ((word ^ gi_word_make(cache->own.group->shared.number, kind, 0)) < GI_WORD_CLASS_SPAN) {
        gi_bin *bin = &cache->bins[kind][1 + gi_word_class(word)];
        if (bin->room <= 0) {
            return false;
        }
        bin->room--;
        link->next = bin->free;
        bin->free = link;
        return true;
    }
    gi_remote_slot *slot = gi_cache_remote_slot(cache, word);
    if (slot->word != word || slot->count == 0 || slot->count + 1 >= GI_REMOTE_BATCH || gi_word_kind(word) != kind) {
        return false;
    }
    link->next = slot->first;
    slot->first = link;
    slot->count++;
    return true;
}

/* --- fast path in hardened mode --------------------------------------------------------------- */

/* For the mem and object domains, whose links stand at the start of blocks.  What is wrong, or outside the reservation,
   is for the slow path, which looks again. */

#define GI_HARDENED_TAIL sizeof(uint64_t)

/* A small block, or NULL. */
static inline __attribute__((always_inline)) void *gi_object_malloc_hardened_fast(unsigned kind, size_t size) {
    const gi_hardened_mode *mode = &gi_hardened;
    if (gi_unlikely(size > GI_SMALL_MAX - GI_HARDENED_TAIL)) {
        return NULL;
    }
    size_t class_size = (size + GI_HARDENED_TAIL + GI_ALIGNMENT - 1) & ~(size_t)(GI_ALIGNMENT - 1);
    gi_bin *bin =
        (gi_bin *)(void *)((char *)gi_current_cache->bins[kind] + class_size * (sizeof(gi_bin) / GI_ALIGNMENT));
    gi_link *link = bin->alloc;
    uintptr_t offset = (uintptr_t)link - mode->base;
    if (gi_unlikely(offset >= mode->span)) { /* so is NULL */
        return NULL;
    }
    gi_mark *mark = &mode->marks[offset / GI_ALIGNMENT];
    uint64_t word = gi_hardened_word(link);
    char *end = (char *)link + class_size;
    uint64_t wrong = gi_hardened_load(end - 8) ^ ~word;
    if (class_size > GI_ALIGNMENT) {
        wrong |= (gi_hardened_load((char *)link + 8) ^ ~word) | (gi_hardened_load(end - 16) ^ ~word);
    }
    unsigned now = gi_load_relaxed(mark); /* relaxed: hardened.h */
    if (gi_unlikely(now != GI_MARK_FREE || (wrong | offset % GI_ALIGNMENT) != 0)) {
        return NULL;
    }
    const char *next = (const char *)((uintptr_t)link->next ^ mode->key);
    __builtin_prefetch(next, 1); /* the next allocation looks at both ends, and writes to them */
    __builtin_prefetch(next + class_size - 8, 1);
    bin->alloc = (gi_link *)(uintptr_t)next;
    gi_hardened_store(end - 8, word);
    gi_store_relaxed(mark, GI_MARK_LIVE); /* relaxed: hardened.h */
    return link;
}

/* Whether the block has been freed. */
static inline __attribute__((always_inline)) bool gi_object_free_hardened_fast(unsigned kind, void *block) {
    const gi_hardened_mode *mode = &gi_hardened;
    uintptr_t offset = (uintptr_t)block - mode->base;
    if (gi_unlikely(offset >= mode->span)) {
        return false;
    }
    gi_thread_cache *cache = gi_current_cache;
    /* relaxed: address_map.h */
    uint32_t class = gi_load_relaxed(&gi_address_words(mode->base)[offset >> GI_POOL_SHIFT]) ^ cache->tag[kind];
    if (gi_unlikely(class >= GI_WORD_CLASS_SPAN)) {
        return false;
    }
    gi_mark *mark = &mode->marks[offset / GI_ALIGNMENT];
    gi_bin *bin = (gi_bin *)(void *)((char *)&cache->bins[kind][1] + class);
    char *end = (char *)block + GI_ALIGNMENT + class / (sizeof(gi_bin) / GI_ALIGNMENT);
    uint64_t word = gi_hardened_word(block);
    bool right = gi_load_relaxed(mark) == GI_MARK_LIVE && offset % GI_ALIGNMENT == 0; /* relaxed: hardened.h */
    if (gi_unlikely(!right || gi_hardened_load(end - 8) != word || bin->room <= 0)) {
        return false;
    }
    gi_store_relaxed(mark, GI_MARK_FREE); /* relaxed: hardened.h */
    gi_hardened_store(end - 8, ~word);
    if (class != 0) {
        gi_hardened_store((char *)block + 8, ~word);
        gi_hardened_store(end - 16, ~word);
    }
    gi_link *link = block;
    link->next = (gi_link *)((uintptr_t)bin->free ^ mode->key);
    bin->free = link;
    bin->room--;
    return true;
}

/* --- fast path of large blocks ---------------------------------------------------------------- */

/* For the mem and object domains.  NULL or false are for the slow path, the system's refusal too. */

/* What gi_object_require_attached() asks: with these limits there is no lock but ours. */
static inline bool gi_object_is_straight(const gi_thread_cache *cache, const gi_fast_limits *limits, size_t size) {
    return gi_below_relaxed(size, &limits->large) && gi_cache_is_attached(cache);
}

/* The same where it is to be asked. */
static inline bool gi_object_is_asked(const gi_thread_cache *cache, const gi_fast_limits *limits, size_t size) {
    return gi_below_relaxed(size, &limits->asked) && gi_cache_is_attached(cache) && gi_object_up.lock_held();
}

/* Whether memory may be at an address: not in the first page (so not NULL either), nor above what a process has by
   default. */
static inline bool gi_object_may_be_mapped(const void *address) { return ((uintptr_t)address - 4096) >> 47 == 0; }

/* Whether the block is a large one, for sure: it is not in the reservation, and no arena is anywhere else.  Not by the
   limits, which may be 0 when a block is looked at and no more when the domain is. */
static inline bool gi_object_is_large(const void *block) {
    const gi_reservation *reservation = gi_os_reservation();
    return gi_address_page((uintptr_t)reservation->base, block) >= reservation->pages &&
           gi_object_may_be_mapped(block) && gi_load_relaxed(&gi_address_outside) == 0; /* relaxed: address_map.h */
}

static inline void *gi_object_malloc_large(const gi_fast_limits *limits, size_t size) {
    gi_thread_cache *cache = gi_current_cache;
    if (gi_unlikely(!gi_object_is_straight(cache, limits, size))) {
        return NULL;
    }
    void *block = gi_raw_malloc(NULL, size);
    gi_counter_add(&cache->large, block != NULL);
    return block;
}

static inline void *gi_object_calloc_large(const gi_fast_limits *limits, size_t size) {
    gi_thread_cache *cache = gi_current_cache;
    if (gi_unlikely(!gi_object_is_straight(cache, limits, size))) {
        return NULL;
    }
    void *block = gi_raw_calloc(NULL, 1, size);
    gi_counter_add(&cache->large, block != NULL);
    return block;
}

static inline bool gi_object_free_large(const gi_fast_limits *limits, void *block) {
    gi_thread_cache *cache = gi_current_cache;
    if (gi_unlikely(!gi_object_is_straight(cache, limits, 0) || !gi_object_is_large(block))) {
        return false;
    }
    gi_counter_add(&cache->large_freed, 1);
    gi_raw_free(NULL, block);
    return true;
}

#endif /* GI_OBJECT_ALLOC_H */
