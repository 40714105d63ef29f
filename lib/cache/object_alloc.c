/* SPDX-License-Identifier: MIT */
/*
 * object_alloc.c [L4] - the mem and object domains: everything that the fast path does not do.
 *   Owner   the attached thread.  Locks none of its own.
 *   Orders  page-word.
 */
#include "lib/cache/object_alloc.h"

#include <gilloc/inline.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "concurrency/check.h"
#include "concurrency/tool.h"
#include "lib/arena/kind.h"
#include "lib/cache/free_list.h"
#include "lib/cache/hardened_alloc.h"
#include "lib/cache/hardened_block.h"
#include "lib/cache/large_alloc.h"
#include "lib/cache/sample.h"
#include "lib/os/address_kind.h"

/* --- constants and state ---------------------------------------------------------------------- */

const gi_call_names gi_calls[GI_KINDS] = {
    [GI_KIND_MEM] = {"PyMem_Malloc", "PyMem_Calloc", "PyMem_Realloc", "PyMem_Free", 'm'},
    [GI_KIND_OBJECT] = {"PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "PyObject_Free", 'o'},
    [GI_KIND_OBJECT + 1 ... GI_KINDS - 1] = {"gilloc_malloc", "gilloc_calloc", "gilloc_realloc", "gilloc_free", 'k'},
};

#define NO_SIZE SIZE_MAX
/* So many blocks at most are walked to count what inlined code has freed. */
#define COUNTED_INLINED 64

/* --- fatal errors ----------------------------------------------------------------------------- */

static __attribute__((cold, noreturn)) void die_unattached(unsigned kind, const char *function, size_t size,
                                                           const void *block) {
    int thread = (int)syscall(SYS_gettid);
    const char *how = gi_cache_is_attached(gi_current_cache) ? "without the runtime's lock" : "detached";
    if (size != NO_SIZE) {
        gi_fatal(function,
                 "Python memory allocator called without holding the GIL" GI_FACT("domain  ", "%s")
                     GI_FACT("size    ", "%zu bytes") GI_FACT("thread  ", "%d, %s")
                         GI_DO("attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()"),
                 gi_kinds[kind].name, size, thread, how);
    }
    gi_fatal(function,
             "Python memory allocator called without holding the GIL" GI_FACT("domain  ", "%s")
                 GI_FACT("block   ", "%p") GI_FACT("thread  ", "%d, %s")
                     GI_DO("attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()"),
             gi_kinds[kind].name, block, thread, how);
}

static __attribute__((cold, noreturn)) void die_wrong_domain(unsigned kind, unsigned found, const void *block,
                                                             const char *function) {
    gi_fatal(
        function,
        "bad ID: Allocated using API '%c', verified using API '%c'" GI_FACT("domain  ", "%s, but the block is of %s")
            GI_FACT("block   ", "%p") GI_DO("free a block by the family of functions that allocated it"),
        gi_calls[found].api, gi_calls[kind].api, gi_kinds[kind].name, gi_kinds[found].name, block);
}

static __attribute__((cold, noreturn)) void die_invalid(unsigned kind, const void *block, const char *what,
                                                        const char *function) {
    gi_fatal(function,
             "invalid pointer" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, %s")
                 GI_DO("free each block once, and only pointers that an allocation returned"),
             gi_kinds[kind].name, block, what);
}

static __attribute__((cold, noreturn)) void die_no_block(unsigned kind, const void *block, uint32_t word,
                                                         const char *function) {
    bool slot = (const char *)block >= gi_os_reservation()->slots;
    die_invalid(kind, block,
                word == GI_WORD_NO_POOL ? "in an arena, where no block is now"
                : slot                  ? "in gilloc's own memory, where no arena is"
                                        : "in gilloc's own memory",
                function);
}

/* An address where there seldom is memory: the system's allocator would read from it. */
static __attribute__((cold)) void expect_mapped(unsigned kind, const void *block, const char *function) {
    char where[GI_ADDRESS_KIND_SIZE];
    if (strcmp(gi_address_kind(block, where, sizeof(where)), "not mapped") == 0) {
        die_invalid(kind, block, where, function);
    }
}

/* What stands in a slot before its block: nothing, but where a tool watches. */
static inline size_t header(void) { return gi_tool_sees_blocks() ? GI_WATCHED_HEADER : 0; }

/* In a pool, but not at the start of a block. */
static __attribute__((cold, noreturn)) void die_inside(unsigned kind, const void *block, uint32_t word,
                                                       const char *function) {
    size_t size = gi_class_size(gi_word_class(word)),
           offset = (((uintptr_t)block - header()) & (GI_POOL_SIZE - 1)) % size;
    char what[80];
    snprintf(what, sizeof(what), "%zu bytes behind the start of a block of %zu bytes", offset, size);
    die_invalid(kind, block, what, function);
}

gi_thread_cache *gi_object_require_attached(unsigned kind, const char *function, size_t size, const void *block) {
    gi_object_up.ready();
    gi_thread_cache *cache = gi_current_cache;
    if (gi_unlikely(!gi_cache_is_attached(cache))) {
        cache = gi_object_up.attach_itself();
        if (cache == NULL) {
            die_unattached(kind, function, size, block);
        }
    } else if (gi_unlikely(!gi_object_up.lock_held())) {
        die_unattached(kind, function, size, block);
    }
    return cache;
}

/* --- looking at a block ----------------------------------------------------------------------- */

uint32_t gi_object_word(unsigned kind, const void *block, const char *function) {
    const gi_page_word *address = gi_address_word(block);
    if (address == NULL) {
        if (gi_unlikely(!gi_large_may_be_mapped(block) && block != NULL)) {
            expect_mapped(kind, block, function);
        }
        return GI_WORD_NO_ARENA;
    }
    /* order(page-word): acquire; pairs with release in move_pool(). */
    uint32_t word = gi_load_acquire(address);
    if (gi_unlikely(!gi_word_is_pool(word))) {
        uint64_t page = gi_address_page(gi_load_relaxed(&gi_address_base), block); /* relaxed: constant by now */
        if (word == GI_WORD_NO_ARENA && page >= gi_address_map_pages()) {
            return GI_WORD_NO_ARENA; /* near a user's arena, but in none */
        }
        die_no_block(kind, block, word, function);
    }
    if (gi_unlikely(gi_word_kind(word) != kind)) {
        die_wrong_domain(kind, gi_word_kind(word), block, function);
    }
    if (gi_unlikely(!gi_pool_is_start(gi_pool_inverses[gi_word_class(word)], (uintptr_t)block - header()))) {
        die_inside(kind, block, word, function);
    }
    return word;
}

/* Bytes that may be used in a small block with that word. */
static size_t small_size(unsigned kind, uint32_t word) {
    return gi_class_size(gi_word_class(word)) - gi_kinds[kind].tail;
}

/* Bytes that may be used in a block with that word; 0: not known. */
static size_t usable_size(unsigned kind, uint32_t word, const void *block) {
    return word != GI_WORD_NO_ARENA ? small_size(kind, word) : gi_object_up.raw_usable_size(block);
}

/* A block that is going to be used, or resized, must be live in hardened mode, and whole. */
static void expect_live(unsigned kind, uint32_t word, const void *block, const char *function) {
    if (gi_unlikely(gi_hardened.on) && word != GI_WORD_NO_ARENA) {
        gi_hardened_expect_live(kind, gi_word_class(word), block, function);
    }
}

/* --- links ------------------------------------------------------------------------------------ */

/* A block and its link; the same address but in kinds with untouched bytes. */
static inline void *block_of(unsigned kind, gi_link *link) { return (char *)link - gi_kinds[kind].link_offset; }
static inline gi_link *link_of(unsigned kind, void *block) {
    return (gi_link *)(void *)((char *)block + gi_kinds[kind].link_offset);
}

/* The size that a small request is served as: a block has room for its link behind the untouched bytes, and for its
   tail. */
static inline size_t served_as(unsigned kind, size_t size) {
    const gi_kind *of = &gi_kinds[kind];
    return (size >= of->least ? size : of->least) + of->tail;
}

/* Whether a block could not be made smaller, ever: then no size is too small for a block.
   relaxed: who frees such a block has it from its thread, or from one that has synchronised with it. */
static gi_atomic(bool) has_stayed;

static __attribute__((cold)) void *stay(void *block) {
    gi_store_relaxed(&has_stayed, true);
    return block;
}

/* pymalloc's rule (CPython's pymalloc_realloc): a block is not copied to save a quarter of it or less.  So a block may
   be of a larger class than its request, once it has been resized. */
static bool stays(unsigned kind, size_t size, uint32_t word) {
    if (size > small_size(kind, word)) {
        return false;
    }
    size = served_as(kind, size);
    return gi_size_class(size != 0 ? size : 1) == gi_word_class(word) ||
           4 * size > 3 * gi_class_size(gi_word_class(word));
}

/* --- malloc, calloc --------------------------------------------------------------------------- */

static void *pop(gi_bin *bin) {
    gi_link *block = bin->alloc;
    gi_assert(block != NULL);
    bin->alloc = gi_link_next(block);
    return block;
}

static void *large(gi_thread_cache *cache, size_t size) {
    void *block = gi_object_up.raw_malloc(size);
    if (block != NULL) {
        gi_counter_add(&cache->large, 1);
    }
    return block;
}

void *gi_object_malloc_swap_slow(unsigned kind, const gi_fast_limits *limits, size_t size) {
    if (!gi_below_relaxed(size, &limits->sizes)) {
        return NULL;
    }
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size);
    bool counted = !gi_below_relaxed(size, &limits->swaps);
    unsigned size_class = size == 0 ? 0 : gi_size_class(size);
    const char *function = gi_calls[kind].malloc;
    if (bin->alloc == NULL && bin->free == NULL && !counted && size != 0 && gi_cache_is_attached(gi_current_cache)) {
        gi_thread_cache *cache = gi_object_require_attached(kind, function, size, NULL);
        /* Nobody is asked twice; and if sampling has begun since, this is the sample, for which raw_malloc() waits. */
        return gi_likely(gi_cache_refill(cache, kind, size_class, function)) ? pop(bin) : large(cache, size);
    }
    if (bin->alloc != NULL || bin->free == NULL || bin->due != 0) {
        return NULL;
    }
    gi_free_list_look_slow(kind, size_class, bin->free, function);
    if (counted && (gi_cache_is_inlined(gi_current_cache, kind, size_class) || /* nobody has counted it */
                    !gi_sample_passes((bin->cap - (uint32_t)bin->room) * gi_class_size(size_class)))) {
        return NULL;
    }
    return gi_bin_swap(bin);
}

/* A block, by its link, for a request that is served as `size` bytes, whose bin's `alloc` may be empty; NULL when no
   arena can be had. */
static gi_link *small_link(gi_thread_cache *cache, unsigned kind, size_t size, const char *function) {
    gi_bin *bin = gi_bin_for_size(cache, kind, size);
    if (bin->alloc == NULL) {
        bool refilled = size == 0 ? gi_cache_refill_zero(cache, kind, function)
                                  : gi_cache_refill(cache, kind, gi_size_class(size), function);
        if (!refilled) {
            return NULL;
        }
    }
    return gi_unlikely(gi_hardened.on) ? gi_hardened_pop(bin, kind, gi_size_class(size), function) : pop(bin);
}

static void *small_slow(gi_thread_cache *cache, unsigned kind, size_t size, const char *function) {
    gi_link *link = small_link(cache, kind, size, function);
    return link != NULL ? block_of(kind, link) : NULL;
}

void *gi_object_malloc_slow(unsigned kind, size_t size) {
    gi_thread_cache *cache = gi_object_require_attached(kind, gi_calls[kind].malloc, size, NULL);
    size_t served = served_as(kind, size);
    if (served <= GI_SMALL_MAX) {
        void *block = small_slow(cache, kind, served, gi_calls[kind].malloc);
        if (gi_likely(block != NULL)) {
            return block;
        }
    }
    return large(cache, size);
}

void *gi_object_calloc_slow(unsigned kind, size_t count, size_t size) {
    size_t bytes = count * size; /* the caller has checked that it does not overflow */
    gi_thread_cache *cache = gi_object_require_attached(kind, gi_calls[kind].calloc, bytes, NULL);
    size_t served = served_as(kind, bytes);
    if (served <= GI_SMALL_MAX) {
        gi_link *link = small_link(cache, kind, served, gi_calls[kind].calloc);
        if (gi_likely(link != NULL)) {
            link->next = NULL; /* a request of 0 bytes has zeroed bytes too */
            void *block = block_of(kind, link);
            if (!gi_bin_for_size(cache, kind, served)->fresh) {
                memset(block, 0, bytes);
            }
            return block;
        }
    }
    void *block = gi_object_up.raw_calloc(count, size);
    if (block != NULL) {
        gi_counter_add(&cache->large, 1);
    }
    return block;
}

/* --- free ------------------------------------------------------------------------------------- */

/* A block of another interpreter: nobody's business here, in builds with assertions. */
static __attribute__((noinline, cold)) void die_foreign(unsigned kind, const void *block, const char *function) {
#ifndef NDEBUG
    gi_fatal(function,
             "the block belongs to another interpreter" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p")
                 GI_DO("free a block in a thread that is attached to the interpreter that allocated it"),
             gi_kinds[kind].name, block);
#endif
    (void)kind;
    (void)block;
    (void)function;
}

static bool is_foreign(const gi_thread_cache *cache, uint32_t word) {
    return gi_heap_of_number(gi_word_heap(word))->group != cache->own.group;
}

void gi_object_give(gi_thread_cache *cache, unsigned kind, void *block, gi_link *link, uint32_t word,
                    const char *function) {
    uint32_t number = gi_word_heap(word);
    if (gi_unlikely(gi_hardened.on)) {
        gi_hardened_free(kind, gi_word_class(word), block, function);
    }
    if (number == cache->heap->number || number == cache->own.group->shared.number) {
        gi_cache_keep(cache, kind, gi_word_class(word), link, function);
    } else if (gi_unlikely(is_foreign(cache, word))) {
        die_foreign(kind, block, function);
        gi_cache_give_foreign(cache, word, link, function);
    } else {
        gi_cache_free_remote(cache, word, link, function);
    }
}

static void free_small(gi_thread_cache *cache, unsigned kind, void *block, uint32_t word, const char *function) {
    gi_object_give(cache, kind, block, link_of(kind, block), word, function);
}

static void free_large(gi_thread_cache *cache, void *block) {
    if (block != NULL) {
        gi_counter_add(&cache->large_freed, 1);
        gi_object_up.raw_free(block);
    }
}

void gi_object_free_slow(unsigned kind, void *block) {
    const char *function = gi_calls[kind].free;
    gi_thread_cache *cache = gi_object_require_attached(kind, function, NO_SIZE, block);
    uint32_t word = gi_object_word(kind, block, function);
    if (word == GI_WORD_NO_ARENA) {
        free_large(cache, block);
        return;
    }
    free_small(cache, kind, block, word, function);
}

bool gi_object_free_full(unsigned kind, void *block, uint64_t offset) {
    const char *function = gi_calls[kind].free;
    unsigned size_class = (unsigned)offset >> GI_WORD_CLASS_SHIFT;
    if (gi_unlikely(!gi_pool_is_start(gi_pool_inverses[size_class], (uintptr_t)block))) {
        return false; /* the slow path says so */
    }
    gi_thread_cache *cache = gi_object_require_attached(kind, function, NO_SIZE, block);
    gi_cache_keep(cache, kind, size_class, block, function);
    return true;
}

void gi_object_die_size(unsigned kind, const void *block, size_t usable, size_t size, const char *function) {
    gi_fatal(function,
             "size mismatch" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                 GI_FACT("size    ", "%zu bytes") GI_DO("pass the size that the block was requested with"),
             gi_kinds[kind].name, block, usable, size);
}

void gi_object_free_sized(unsigned kind, void *block, size_t size, const char *function) {
    gi_thread_cache *cache = gi_object_require_attached(kind, function, NO_SIZE, block);
    if (block == NULL) {
        return;
    }
    uint32_t word = gi_object_word(kind, block, function);
    size_t usable = usable_size(kind, word, block);
    bool right = size <= usable || usable == 0;
    if (word != GI_WORD_NO_ARENA && !stays(kind, size, word)) {
        right = right && gi_load_relaxed(&has_stayed);
    }
    if (gi_unlikely(!right)) {
        gi_object_die_size(kind, block, usable, size, function);
    }
    if (word == GI_WORD_NO_ARENA) {
        free_large(cache, block);
    } else {
        free_small(cache, kind, block, word, function);
    }
}

/* Inlined code is going to free to another page: counts what it has freed to this one since `counted` was on top, at
   least: if the page has been forgotten meanwhile, those of all pages.  A few blocks are walked; if there are more,
   they count as many as a page has.  What is no block is for whoever takes the list. */
static void count_inlined(gi_bin *bin, const gi_link *counted, uint64_t page, unsigned size_class) {
    const gi_link *link = bin->free;
    int32_t count = 0;
    for (unsigned i = 0; i < COUNTED_INLINED && link != NULL && link != counted; i++) {
        bool is_here = ((uintptr_t)link ^ page) < GI_POOL_SIZE;
        if (!is_here && !gi_word_is_pool(gi_free_list_word(link))) {
            break;
        }
        count += is_here || page == GI_HEAP_NO_PAGE;
        link = link->next;
    }
    bool are_all = link == NULL || link == counted;
    bin->room -= are_all ? count : (int32_t)(GI_POOL_SIZE / gi_class_size(size_class));
}

/* Frees a block of the cache's own kind of pool and has inlined code free to its page from now on. */
static inline bool free_and_know(gi_thread_cache *cache, unsigned kind, unsigned size_class, void *block,
                                 uint64_t page) {
    gi_bin *bin = &cache->bins[kind][1 + size_class];
    gi_link *link = block;
    if (cache->heap != &cache->own) { /* shared */
        gi_address_pool_of_page(page)->inlined = true;
    }
    cache->inlined[kind] |= 1u << size_class;
    gi_heap_know_page(&cache->own, kind, size_class, (uintptr_t)block & ~(uintptr_t)(GI_POOL_SIZE - 1));
    cache->counted[kind][size_class] = link;
    if (gi_unlikely(--bin->room < 0)) {
        return false;
    }
    link->next = bin->free;
    bin->free = link;
    return true;
}

static __attribute__((noinline)) bool count_and_free(gi_thread_cache *cache, unsigned kind, unsigned size_class,
                                                     void *block, uint64_t page) {
    uint64_t last = gi_load_relaxed(&cache->own.pages_known.last[kind][size_class]); /* relaxed: owner-only */
    count_inlined(&cache->bins[kind][1 + size_class], cache->counted[kind][size_class], last, size_class);
    return free_and_know(cache, kind, size_class, block, page);
}

bool gi_object_free_known(unsigned kind, const gi_fast_limits *limits, void *block, size_t size) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: constant while the limit below is not 0 */
    uint64_t page = gi_address_page(base, block);
    if (!gi_below_relaxed(page, &limits->pages)) {
        return false;
    }
    gi_thread_cache *cache = gi_current_cache;
    unsigned size_class = size == 0 ? 0 : gi_size_class(size);
    uint32_t word = gi_load_relaxed(&gi_address_words(base)[page]); /* relaxed: address_map.h */
    if (gi_word_kind(word) != kind || gi_word_class(word) != size_class) {
        return false;
    }
    if (word != (cache->tag[kind] | size_class << GI_WORD_CLASS_SHIFT)) {
        uint64_t offset = word ^ cache->tag[kind];
        return gi_object_free_other(kind, block, &offset) ||
               (offset < GI_WORD_CLASS_SPAN && gi_object_free_full(kind, block, offset));
    }
    return gi_likely(cache->bins[kind][1 + size_class].free == cache->counted[kind][size_class])
               ? free_and_know(cache, kind, size_class, block, page)
               : count_and_free(cache, kind, size_class, block, page);
}

static inline void retire(gi_thread_cache *cache, unsigned domain, void *block, size_t bytes) {
    if (gi_unlikely(gi_retired_push(&cache->retired, domain, block, bytes))) {
        gi_fetch_or_relaxed(&cache->own.asked->bits, GI_ASKED_RECLAIM); /* relaxed: a word to oneself */
    }
}

void gi_object_retire(unsigned kind, void *block, size_t counted) {
    static const char function[] = "gilloc_retire";
    gi_thread_cache *cache = gi_object_require_attached(kind, function, NO_SIZE, block);
    if (block == NULL) {
        return;
    }
    size_t bytes = counted;
    if (counted == 0) {
        uint32_t word = gi_object_word(kind, block, function);
        if (gi_unlikely(word != GI_WORD_NO_ARENA && is_foreign(cache, word))) {
            die_foreign(kind, block, function);
        }
        bytes = usable_size(kind, word, block);
        bytes = bytes != 0 ? bytes : GI_UNKNOWN_BYTES;
        if (gi_unlikely(gi_hardened.on) && word != GI_WORD_NO_ARENA) {
            gi_hardened_retire(kind, gi_word_class(word), block, function);
        }
    }
    retire(cache, kind + 1, block, bytes);
}

void gi_object_retire_raw(gi_thread_cache *cache, void *block) {
    size_t bytes = gi_object_up.raw_usable_size(block);
    retire(cache, 0, block, bytes != 0 ? bytes : GI_UNKNOWN_BYTES);
}

size_t gi_object_usable_size(unsigned kind, const void *block, const char *function) {
    gi_object_require_attached(kind, function, NO_SIZE, block);
    if (block == NULL) {
        return 0;
    }
    uint32_t word = gi_object_word(kind, block, function);
    expect_live(kind, word, block, function);
    return usable_size(kind, word, block);
}

/* --- hardened mode ---------------------------------------------------------------------------- */

void *gi_object_malloc_hardened(unsigned kind, size_t size) {
    if (gi_unlikely(kind > GI_KIND_OBJECT || size > GI_HARDENED_MAX)) {
        return gi_object_malloc_slow(kind, size);
    }
    void *block = gi_hardened_malloc_fast(kind, size);
    if (gi_unlikely(block == NULL)) {
        gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, size + GI_HARDENED_TAIL);
        if (bin->alloc == NULL && bin->free != NULL && gi_hardened_may_reuse(bin)) {
            gi_hardened_swap(bin, kind, gi_size_class(size + GI_HARDENED_TAIL));
            block = gi_hardened_malloc_fast(kind, size);
        }
    }
    return gi_likely(block != NULL) ? block : gi_object_malloc_slow(kind, size);
}

void gi_object_free_hardened(unsigned kind, void *block) {
    if (gi_unlikely(kind > GI_KIND_OBJECT || !gi_hardened_free_fast(kind, block))) {
        gi_object_free_slow(kind, block);
    }
}

/* --- kinds that were made --------------------------------------------------------------------- */

void *gi_object_malloc_kind(unsigned kind, size_t size) {
    if (gi_unlikely(gi_hardened.on)) {
        return gi_object_malloc_hardened(kind, size);
    }
    gi_link *link = gi_object_malloc_fast(kind, &gi_open_limits, served_as(kind, size));
    return gi_likely(link != NULL) ? block_of(kind, link) : gi_object_malloc_slow(kind, size);
}

void *gi_object_calloc_kind(unsigned kind, size_t count, size_t size) {
    return gi_object_calloc_slow(kind, count, size);
}

void gi_object_free_kind(unsigned kind, void *block) {
    if (gi_unlikely(gi_hardened.on)) {
        gi_object_free_hardened(kind, block);
        return;
    }
    /* A pool is one page, so a block and its link have one page word. */
    if (gi_unlikely(!gi_object_free_fast(kind, &gi_open_limits, link_of(kind, block)))) {
        gi_object_free_slow(kind, block);
    }
}

/* --- realloc ---------------------------------------------------------------------------------- */

/* A large block, or NULL for the slow path. */
static __attribute__((noinline)) void *large_fast(const gi_fast_limits *limits, size_t size) {
    gi_thread_cache *cache = gi_large_cache();
    return cache != NULL && gi_large_passes(limits, NULL, size) ? gi_large_malloc(cache, size) : NULL;
}

/* A small block, whose class is at that offset of a page word, is freed, with as many of its bytes copied to `moved` as
   there is room for. */
static inline __attribute__((always_inline)) void *move_to(void *moved, unsigned kind, void *block, size_t size,
                                                           uint32_t offset) {
    gi_thread_cache *cache = gi_current_cache;
    size_t block_size = gi_class_size(offset >> GI_WORD_CLASS_SHIFT);
    memcpy(moved, block, size < block_size ? size : block_size);
    gi_bin *bin = (gi_bin *)(void *)((char *)&cache->bins[kind][1] + offset);
    gi_link *link = block;
    if (gi_unlikely(--bin->room < 0)) { /* as a free that leaves the fast path */
        gi_object_require_attached(kind, gi_calls[kind].realloc, size, block);
        gi_cache_keep(cache, kind, offset >> GI_WORD_CLASS_SHIFT, link, gi_calls[kind].realloc);
        return moved;
    }
    link->next = bin->free;
    bin->free = link;
    return moved;
}

static __attribute__((noinline)) void *move_to_large(unsigned kind, const gi_fast_limits *limits, void *block,
                                                     size_t size, uint32_t offset) {
    void *moved = large_fast(limits, size);
    return gi_likely(moved != NULL) ? move_to(moved, kind, block, size, offset) : NULL;
}

/* A small block that is not to stay. */
static __attribute__((noinline)) void *move_small(unsigned kind, const gi_fast_limits *limits, void *block, size_t size,
                                                  uint32_t offset) {
    if (gi_unlikely(!gi_pool_is_start(gi_pool_inverses[offset >> GI_WORD_CLASS_SHIFT], (uintptr_t)block))) {
        return NULL; /* no block: the slow path says so */
    }
    if (size > GI_SMALL_MAX) {
        return move_to_large(kind, limits, block, size, offset);
    }
    void *moved = gi_object_malloc_fast(kind, limits, size);
    if (gi_unlikely(moved == NULL) && gi_below_relaxed(size, &limits->sizes)) {
        bool counted = !gi_below_relaxed(size, &limits->swaps);
        moved = gi_likely(!counted) ? gi_object_swap(kind, size) : gi_object_swap_counted(kind, size);
    }
    return gi_likely(moved != NULL) ? move_to(moved, kind, block, size, offset) : NULL;
}

/* stays(), of a kind whose blocks begin with their link. */
static inline bool stays_in(size_t served, size_t block_size) {
    return served <= block_size && (block_size - served < GI_ALIGNMENT || 4 * served > 3 * block_size);
}

/* A block in that page of the reservation. */
static inline void *resize_small(unsigned kind, const gi_fast_limits *limits, void *block, size_t size, uint64_t page) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: as in gi_object_free_fast() */
    /* relaxed: address_map.h */
    uint32_t offset = gi_load_relaxed(&gi_address_words(base)[page]) ^ gi_current_cache->tag[kind];
    if (gi_unlikely(offset >= GI_WORD_CLASS_SPAN)) {
        return NULL;
    }
    bool stay_there = stays_in(size != 0 ? size : 1, gi_class_size(offset >> GI_WORD_CLASS_SHIFT));
    return stay_there ? block : move_small(kind, limits, block, size, offset);
}

static void *realloc_hardened(unsigned kind, void *block, size_t size) {
    uintptr_t granule = gi_hardened_granule(block);
    if (granule >= gi_hardened.granules ||
        gi_load_relaxed(&gi_hardened.marks[granule]) != GI_MARK_LIVE) { /* relaxed: hardened.h */
        return NULL;
    }
    /* relaxed: address_map.h */
    uint32_t word = gi_load_relaxed(&gi_address_words(gi_hardened.base)[granule / (GI_POOL_SIZE / GI_ALIGNMENT)]),
             offset = word ^ gi_current_cache->tag[kind];
    size_t block_size = gi_class_size(offset >> GI_WORD_CLASS_SHIFT), usable = block_size - GI_HARDENED_TAIL;
    if (offset >= GI_WORD_CLASS_SPAN || !gi_hardened_is_whole(kind, block, block_size)) {
        return NULL;
    }
    if (stays_in(size + GI_HARDENED_TAIL, block_size)) {
        return block;
    }
    void *moved = gi_hardened_malloc_fast(kind, size);
    if (gi_likely(moved != NULL)) {
        memcpy(moved, block, size < usable ? size : usable);
        gi_object_free_hardened(kind, block);
    }
    return moved;
}

/* A block that is in no page that the limits allow. */
static __attribute__((noinline)) void *realloc_unlisted(unsigned kind, const gi_fast_limits *limits, void *block,
                                                        size_t size, uint64_t page) {
    if (block == NULL) {
        return size > GI_SMALL_MAX ? large_fast(limits, size) : gi_object_malloc_fast(kind, limits, size);
    }
    if (gi_large_is(page, block)) {
        size_t bytes = size != 0 ? size : 1;
        return gi_large_cache() != NULL && gi_large_passes(limits, block, bytes) ? realloc(block, bytes) : NULL;
    }
    return gi_below_relaxed(size, &limits->hardened) ? realloc_hardened(kind, block, size) : NULL;
}

void *gi_object_realloc_fast(unsigned kind, const gi_fast_limits *limits, void *block, size_t size) {
    uint64_t page = gi_address_page(gi_load_relaxed_u64(&gi_address_base), block); /* relaxed: as above */
    /* As of gi_object_free_fast(): so is the rule who may call.  The empty sentinel has no blocks. */
    return gi_likely(gi_below_relaxed(page, &limits->pages)) ? resize_small(kind, limits, block, size, page)
                                                             : realloc_unlisted(kind, limits, block, size, page);
}

/* A block of the raw domain; it is a small one if it is a sample of class size `block_size`. */
static void *resize_large(gi_thread_cache *cache, unsigned kind, void *block, size_t size, size_t block_size,
                          const char *function) {
    if (block_size == 0 || size > GI_SMALL_MAX) {
        return gi_object_up.raw_realloc(block, size);
    }
    if (stays(kind, size, gi_word_make(0, kind, gi_size_class(block_size)))) {
        return block;
    }
    void *moved = small_slow(cache, kind, size, function);
    moved = moved != NULL ? moved : large(cache, size);
    if (moved == NULL) {
        return size < block_size ? block : NULL;
    }
    memcpy(moved, block, size < block_size ? size : block_size);
    free_large(cache, block);
    return moved;
}

void *gi_object_realloc_slow(unsigned kind, void *block, size_t size) {
    const char *function = gi_calls[kind].realloc;
    gi_thread_cache *cache = gi_object_require_attached(kind, function, size, block);
    size_t served = served_as(kind, size);
    if (block == NULL) {
        void *made = served <= GI_SMALL_MAX ? small_slow(cache, kind, served, function) : NULL;
        return made != NULL ? made : large(cache, size);
    }
    uint32_t word = gi_object_word(kind, block, function);
    if (word == GI_WORD_NO_ARENA) {
        return resize_large(cache, kind, block, size, gi_object_up.sampled_size(block), function);
    }
    expect_live(kind, word, block, function);
    size_t block_size = small_size(kind, word);
    if (stays(kind, size, word)) {
        return block;
    }
    void *moved = served <= GI_SMALL_MAX ? small_slow(cache, kind, served, function) : NULL;
    moved = moved != NULL ? moved : large(cache, size);
    if (moved == NULL) {
        return size < block_size ? stay(block) : NULL; /* shrinking cannot fail: the old block is large enough */
    }
    memcpy(moved, block, size < block_size ? size : block_size);
    free_small(cache, kind, block, word, function);
    return moved;
}
