/* SPDX-License-Identifier: MIT */
/*
 * watched.c [L5] - the default allocator where a tool watches.  Theory: watched.h.
 *   Owner   the attached thread.  Locks none of its own.
 */
#include "lib/domain/watched.h"

#include <string.h>

#include "lib/arena/kind.h"
#include "lib/cache/object_alloc.h"
#include "lib/os/raw_alloc.h"

/* --- the word before a block ------------------------------------------------------------------ */

#define NO_SIZE SIZE_MAX
#define LIVE ((uint64_t)0x6c697665 << 32)
#define LIVE_MASK ((uint64_t)UINT32_MAX << 32)

static uint64_t *word_at(const gi_link *link) { return (uint64_t *)((uintptr_t)link + sizeof(gi_link)); }

/* It is hidden from the program all the time, so from this code too. */
static uint64_t read_word(const gi_link *link) {
    const uint64_t *at = word_at(link);
    gi_tool_own(at, sizeof(*at));
    uint64_t word = *at;
    gi_tool_hide(at, sizeof(*at));
    return word;
}

static void write_word(const gi_link *link, uint64_t word) {
    uint64_t *at = word_at(link);
    gi_tool_own(at, sizeof(*at));
    *at = word;
    gi_tool_hide(at, sizeof(*at));
}

static gi_link *link_of(const void *block) { return (gi_link *)((uintptr_t)block - GI_WATCHED_HEADER); }

void *gi_watched_block(char *slot, size_t *size) {
    *size = (size_t)(read_word(link_of(slot + GI_WATCHED_HEADER)) & ~LIVE_MASK);
    return slot + GI_WATCHED_HEADER;
}

/* --- wrong pointers --------------------------------------------------------------------------- */

static __attribute__((noinline, cold, noreturn)) void die(gi_block_fault fault, const gi_pool *pool, const void *block,
                                                          const char *function) {
    const char *kind = gi_kinds[pool->kind].name;
    size_t size = gi_class_size(pool->size_class);
    if (fault == GI_BLOCK_NONE_TAKEN) {
        gi_fatal(function,
                 "double free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, in a slot of %zu bytes")
                     GI_DO("free each block once"),
                 kind, block, size);
    }
    gi_fatal(function,
             "invalid pointer" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, %s slots of %zu bytes")
                 GI_DO("free the pointer that the allocation returned"),
             kind, block, fault == GI_BLOCK_INTERIOR ? "inside one of" : "past the last one of", size);
}

/* The link of a small block, which must be live; *size gets how long it is. */
static gi_link *live_link(const void *block, size_t *size, const char *function) {
    const gi_pool *pool = gi_address_pool(block);
    gi_link *link = link_of(block);
    gi_block_fault fault = gi_pool_examine(pool, link, 0);
    uint64_t word = fault == GI_BLOCK_OK ? read_word(link) : 0;
    if (gi_unlikely((word & LIVE_MASK) != LIVE)) {
        die(fault == GI_BLOCK_OK ? GI_BLOCK_NONE_TAKEN : fault, pool, block, function);
    }
    *size = (size_t)(word & ~LIVE_MASK);
    return link;
}

/* --- who called --------------------------------------------------------------------------------- */

/* The tool is told by whom: whoever called the function of ours that calls this.  In optimised builds, where calls in
   tail position leave no frame, that is the program. */
#define BY_CALLER(call)                             \
    do {                                            \
        gi_tool_enter(__builtin_return_address(0)); \
        call;                                       \
        gi_tool_leave();                            \
    } while (0)

/* --- malloc, calloc --------------------------------------------------------------------------- */

static void *small_block(gi_thread_cache *cache, unsigned kind, size_t size, const char *function) {
    unsigned size_class = gi_size_class(GI_WATCHED_HEADER + size + GI_WATCHED_SLACK);
    gi_bin *bin = &cache->bins[kind][1 + size_class];
    if (bin->alloc == NULL && !gi_cache_refill(cache, kind, size_class, function)) {
        return NULL;
    }
    gi_link *link = bin->alloc;
    gi_assert(link != NULL);
    bin->alloc = gi_link_next(link);
    gi_tool_acquire(gi_address_pool(link)->arena);
    gi_tool_acquire(link);
    gi_tool_hide(link, gi_class_size(size_class)); /* the block before this one may have left some open */
    write_word(link, LIVE | size);
    void *block = (char *)link + GI_WATCHED_HEADER;
    gi_tool_alloc(block, size);
    return block;
}

static void *large_block(gi_thread_cache *cache, size_t size, bool zeroed) {
    void *block = zeroed ? gi_object_up.raw_calloc(1, size) : gi_object_up.raw_malloc(size);
    gi_counter_add(&cache->large, block != NULL);
    return block;
}

/* Zeroed or not. */
static void *new_block(unsigned kind, size_t size, bool zeroed, const char *function) {
    gi_thread_cache *cache = gi_object_require_attached(kind, function, size, NULL);
    if (size <= GI_SMALL_MAX - GI_WATCHED_HEADER - GI_WATCHED_SLACK) {
        void *block = small_block(cache, kind, size, function);
        if (gi_likely(block != NULL)) {
            return zeroed ? memset(block, 0, size) : block;
        }
    }
    return large_block(cache, size, zeroed);
}

void *gi_watched_malloc(unsigned kind, size_t size) { return new_block(kind, size, false, gi_calls[kind].malloc); }

void *gi_watched_calloc(unsigned kind, size_t count, size_t size) {
    void *block;
    BY_CALLER(block = new_block(kind, count * size, true, gi_calls[kind].calloc)); /* the product has been checked */
    return block;
}

/* --- free ------------------------------------------------------------------------------------- */

static void free_block(gi_thread_cache *cache, unsigned kind, void *block, const char *function, size_t claimed) {
    uint32_t word = gi_object_word(kind, block, function);
    if (word == GI_WORD_NO_ARENA) {
        if (block != NULL) {
            gi_counter_add(&cache->large_freed, 1);
            gi_object_up.raw_free(block);
        }
        return;
    }
    size_t size;
    gi_link *link = live_link(block, &size, function);
    if (gi_unlikely(claimed != NO_SIZE && claimed != size)) {
        gi_object_die_size(kind, block, size, claimed, function);
    }
    write_word(link, 0);
    gi_tool_free(block, size, gi_kinds[kind].type_stable ? size : gi_kinds[kind].untouched);
    gi_tool_own(link, sizeof(*link));
    gi_tool_release(link);
    gi_object_give(cache, kind, block, link, word, function);
}

void gi_watched_free(unsigned kind, void *block) {
    const char *function = gi_calls[kind].free;
    gi_thread_cache *cache = gi_object_require_attached(kind, function, NO_SIZE, block);
    BY_CALLER(free_block(cache, kind, block, function, NO_SIZE));
}

void gi_watched_free_sized(unsigned kind, void *block, size_t size, const char *function) {
    gi_thread_cache *cache = gi_object_require_attached(kind, function, NO_SIZE, block);
    BY_CALLER(free_block(cache, kind, block, function, size));
}

/* --- realloc, sizes --------------------------------------------------------------------------- */

void *gi_watched_realloc(unsigned kind, void *block, size_t size) {
    const char *function = gi_calls[kind].realloc;
    gi_thread_cache *cache = gi_object_require_attached(kind, function, size, block);
    if (block == NULL) {
        return new_block(kind, size, false, function);
    }
    if (gi_object_word(kind, block, function) == GI_WORD_NO_ARENA) {
        return gi_object_up.raw_realloc(block, size);
    }
    size_t before;
    live_link(block, &before, function);
    void *moved = new_block(kind, size, false, function);
    if (moved == NULL) {
        return size <= before ? block : NULL; /* shrinking cannot fail */
    }
    BY_CALLER(memcpy(moved, block, size < before ? size : before); free_block(cache, kind, block, function, NO_SIZE));
    return moved;
}

size_t gi_watched_usable_size(unsigned kind, const void *block, const char *function) {
    gi_object_require_attached(kind, function, NO_SIZE, block);
    if (block == NULL) {
        return 0;
    }
    if (gi_object_word(kind, block, function) == GI_WORD_NO_ARENA) {
        return gi_object_up.raw_usable_size(block);
    }
    size_t size;
    live_link(block, &size, function);
    return size;
}

/* --- tables ----------------------------------------------------------------------------------- */

#define WATCHED(name, kind)                                            \
    static void *name##_malloc(void *ctx, size_t size) {               \
        (void)ctx;                                                     \
        return gi_watched_malloc(kind, size);                          \
    }                                                                  \
    static void *name##_calloc(void *ctx, size_t count, size_t size) { \
        (void)ctx;                                                     \
        return gi_watched_calloc(kind, count, size);                   \
    }                                                                  \
    static void *name##_realloc(void *ctx, void *block, size_t size) { \
        (void)ctx;                                                     \
        return gi_watched_realloc(kind, block, size);                  \
    }                                                                  \
    static void name##_free(void *ctx, void *block) {                  \
        (void)ctx;                                                     \
        gi_watched_free(kind, block);                                  \
    }

WATCHED(mem, GI_KIND_MEM)
WATCHED(object, GI_KIND_OBJECT)

const gi_domain_defaults gi_watched_defaults = {
    .fast = false,
    .tables =
        {
            [PYMEM_DOMAIN_RAW] = {NULL, gi_raw_malloc, gi_raw_calloc, gi_raw_realloc, gi_raw_free},
            [PYMEM_DOMAIN_MEM] = {NULL, mem_malloc, mem_calloc, mem_realloc, mem_free},
            [PYMEM_DOMAIN_OBJ] = {NULL, object_malloc, object_calloc, object_realloc, object_free},
        },
};
