/* SPDX-License-Identifier: MIT */
/*
 * arena.c [L3] - the shared arena manager.  Policy and invariants: arena.h.
 *   Locks   arena.
 */
#include "lib/arena/arena.h"

#include <sys/mman.h>

#include "concurrency/check.h"
#include "concurrency/mutex.h"
#include "concurrency/probe.h"
#include "concurrency/tool.h"
#include "lib/arena/address_map.h"
#include "lib/arena/hardened.h"
#include "lib/os/os_memory.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* A program's working set breathes by a few pools; 1 MiB of them may stay. */
#ifdef GI_HOSTILE
#define GI_DIRTY_POOLS_MIN 2u
#else
#define GI_DIRTY_POOLS_MIN 64u
#endif
#define GI_DIRTY_SHARE 16u

#define LISTS (GI_ARENA_POOLS + 1)

static gi_mutex arena_mutex = GI_MUTEX_INIT(GI_RANK_ARENA);
static gi_arena *lists[LISTS]; /* guarded by arena_mutex, as all below; [0] holds the full ones, for walks */
static uint64_t nonempty;      /* bit n: lists[n] is not empty; bit 0 unused */
static gi_arena *first_dirty, *last_dirty;
static gi_arena *spare_descriptors; /* linked by next */
static unsigned wholly_free;        /* arenas in lists[their pool_count] */
static gi_arena_allocator allocator_now;

void (*gi_arena_made)(void);
gi_arena_stats gi_arena_stats_now __attribute__((aligned(GI_CACHE_LINE))); /* written with each pool */

/* --- invariant check -------------------------------------------------------------------------- */

int gi_arena_check(void) {
    int broken = 0;
    uint64_t arenas = 0, pools = 0, pools_free = 0, pools_dirty = 0;
    gi_mutex_lock(&arena_mutex);
    for (unsigned n = 0; n < LISTS && broken == 0; n++) {
        if (n > 0 && ((nonempty >> n & 1u) != 0) != (lists[n] != NULL)) {
            broken = gi_report_broken("A3", "the bit for %u free pools is wrong", n);
        }
        for (const gi_arena *arena = lists[n]; arena != NULL && broken == 0; arena = arena->next) {
            arenas++;
            pools += arena->pool_count;
            pools_free += arena->free_count;
            pools_dirty += (unsigned)__builtin_popcount(arena->dirty);
            if ((unsigned)__builtin_popcount(arena->free) != arena->free_count ||
                (arena->pool_count < 32 && arena->free >> arena->pool_count != 0)) {
                broken = gi_report_broken("A1", "arena %p: free pools %x, %u counted", (void *)arena->memory,
                                          arena->free, arena->free_count);
            } else if ((arena->dirty & ~arena->free) != 0) {
                broken = gi_report_broken("A2", "arena %p: dirty %x, free %x", (void *)arena->memory, arena->dirty,
                                          arena->free);
            } else if (arena->free_count != n) {
                broken = gi_report_broken("A3", "arena %p: %u free pools, in list %u", (void *)arena->memory,
                                          arena->free_count, n);
            }
        }
    }
    if (broken == 0 && (arenas != gi_load_relaxed(&gi_arena_stats_now.arenas) || /* relaxed: under arena_mutex */
                        pools != gi_load_relaxed(&gi_arena_stats_now.pools) ||
                        pools_free != gi_load_relaxed(&gi_arena_stats_now.pools_free) ||
                        pools_dirty != gi_load_relaxed(&gi_arena_stats_now.pools_dirty))) {
        broken = gi_report_broken("A4", "%llu arenas, %llu pools free, %llu dirty are listed; counted otherwise",
                                  (unsigned long long)arenas, (unsigned long long)pools_free,
                                  (unsigned long long)pools_dirty);
    }
    gi_mutex_unlock(&arena_mutex);
    return broken;
}

/* --- lists: all under arena_mutex ------------------------------------------------------------- */

static void list_add_locked(gi_arena *arena) {
    unsigned n = arena->free_count;
    arena->prev = NULL;
    arena->next = lists[n];
    if (arena->next != NULL) {
        arena->next->prev = arena;
    }
    lists[n] = arena;
    nonempty |= n > 0 ? (uint64_t)1 << n : 0;
    wholly_free += n == arena->pool_count;
}

static void list_remove_locked(gi_arena *arena) {
    unsigned n = arena->free_count;
    if (arena->next != NULL) {
        arena->next->prev = arena->prev;
    }
    *(arena->prev != NULL ? &arena->prev->next : &lists[n]) = arena->next;
    if (lists[n] == NULL) {
        nonempty &= ~((uint64_t)1 << n);
    }
    wholly_free -= n == arena->pool_count;
}

/* Sets the arena's masks and brings lists and counts in line. */
static void set_masks_locked(gi_arena *arena, uint32_t free_mask, uint32_t dirty_mask) {
    bool was_dirty = arena->dirty != 0, is_dirty = dirty_mask != 0;
    if (was_dirty && !is_dirty) {
        *(arena->next_dirty != NULL ? &arena->next_dirty->prev_dirty : &last_dirty) = arena->prev_dirty;
        *(arena->prev_dirty != NULL ? &arena->prev_dirty->next_dirty : &first_dirty) = arena->next_dirty;
    } else if (is_dirty && !was_dirty) {
        arena->next_dirty = NULL;
        arena->prev_dirty = last_dirty;
        *(last_dirty != NULL ? &last_dirty->next_dirty : &first_dirty) = arena;
        last_dirty = arena;
    }
    gi_counter_add(&gi_arena_stats_now.pools_dirty,
                   (uint64_t)__builtin_popcount(dirty_mask) - (uint64_t)__builtin_popcount(arena->dirty));
    gi_counter_add(&gi_arena_stats_now.pools_free,
                   (uint64_t)__builtin_popcount(free_mask) - (uint64_t)__builtin_popcount(arena->free));
    list_remove_locked(arena);
    arena->free = free_mask;
    arena->dirty = dirty_mask;
    arena->free_count = (uint16_t)__builtin_popcount(free_mask);
    list_add_locked(arena);
}

static uint32_t all_pools(const gi_arena *arena) {
    return arena->pool_count == 32 ? UINT32_MAX : (1u << arena->pool_count) - 1;
}

/* --- arenas come and go ----------------------------------------------------------------------- */

/* A mapping of its own for an arena, trimmed so that no pool is lost to alignment. */
static void *map_aligned_arena(void) {
    char *memory = gi_os_map(GI_ARENA_SIZE + GI_POOL_SIZE);
    if (memory == NULL) {
        return NULL;
    }
    size_t head = (GI_POOL_SIZE - (uintptr_t)memory % GI_POOL_SIZE) % GI_POOL_SIZE;
    if (head != 0) {
        gi_os_unmap(memory, head);
    }
    gi_os_unmap(memory + head + GI_ARENA_SIZE, GI_POOL_SIZE - head);
    return memory + head;
}

static void *default_alloc(void *ctx, size_t size) {
    (void)ctx;
    if (size != GI_ARENA_SIZE) {
        return gi_os_map(size);
    }
    void *memory = gi_os_slot_acquire();
    return memory != NULL ? memory : map_aligned_arena();
}

static void default_free(void *ctx, void *memory, size_t size) {
    (void)ctx;
    if (memory != NULL && (size != GI_ARENA_SIZE || !gi_os_slot_release(memory))) {
        gi_os_unmap(memory, size);
    }
}

static gi_arena_allocator current_allocator_locked(void) {
    if (allocator_now.alloc == NULL) {
        allocator_now = (gi_arena_allocator){NULL, default_alloc, default_free};
    }
    return allocator_now;
}

/* The words of an arena's pools, which must all say `from`, say `to`.  False, with nothing changed, if one does not. */
static bool set_words(char *first, unsigned pool_count, uint32_t from, uint32_t to) {
    for (unsigned i = 0; i < pool_count; i++) {
        if (gi_load_relaxed(gi_address_word(first + i * GI_POOL_SIZE)) != from) {
            return false;
        }
    }
    for (unsigned i = 0; i < pool_count; i++) {
        gi_store_relaxed(gi_address_word(first + i * GI_POOL_SIZE), to); /* relaxed: address_map.h */
    }
    return true;
}

/* Whether an arena is not in the reservation. */
static bool is_outside(const char *memory) {
    return gi_address_page(gi_load_relaxed(&gi_address_base), memory) >= gi_address_map_pages(); /* relaxed: constant */
}

static gi_arena *descriptor_new(void) {
    gi_mutex_lock(&arena_mutex);
    gi_arena *arena = spare_descriptors;
    if (arena != NULL) {
        spare_descriptors = arena->next;
    }
    gi_mutex_unlock(&arena_mutex);
    return arena != NULL ? arena : gi_os_meta_alloc(sizeof(gi_arena));
}

static void descriptor_delete_locked(gi_arena *arena) {
    arena->next = spare_descriptors;
    spare_descriptors = arena;
}

/* Gets an arena from the arena allocator and lists it.  False when there is none to be had. */
static bool arena_new(void) {
    gi_arena *arena = descriptor_new();
    if (arena == NULL) {
        return false;
    }
    gi_mutex_lock(&arena_mutex);
    gi_arena_allocator allocator = current_allocator_locked();
    gi_mutex_unlock(&arena_mutex);
    char *memory = allocator.alloc(allocator.ctx, GI_ARENA_SIZE);
    bool usable = memory != NULL && gi_address_map_cover(memory, GI_ARENA_SIZE);
    if (!usable) {
        if (memory != NULL) {
            allocator.free(allocator.ctx, memory, GI_ARENA_SIZE);
        }
        gi_mutex_lock(&arena_mutex);
        descriptor_delete_locked(arena);
        gi_mutex_unlock(&arena_mutex);
        return false;
    }
    GI_PROBE2(arena_map, memory, GI_ARENA_SIZE);
    if (gi_tool_sees_blocks() && is_outside(memory)) {
        gi_tool_roots(memory, GI_ARENA_SIZE, true);
    }
    gi_tool_release(arena); /* the mapping, before whoever gets a block of it */
    char *first = memory + (GI_POOL_SIZE - (uintptr_t)memory % GI_POOL_SIZE) % GI_POOL_SIZE;
    unsigned pool_count = (unsigned)((size_t)(memory + GI_ARENA_SIZE - first) >> GI_POOL_SHIFT);
    *arena = (gi_arena){.memory = memory,
                        .pools = gi_address_pool(first),
                        .allocator = allocator,
                        .pool_count = (uint16_t)pool_count,
                        .ours = allocator.alloc == default_alloc};
    gi_mutex_lock(&arena_mutex);
    if (!set_words(first, pool_count, GI_WORD_NO_ARENA, GI_WORD_NO_POOL)) {
        gi_fatal("PyObjectArenaAllocator.alloc",
                 "memory that is in use already" GI_FACT("arena   ", "%p, %zu bytes")
                     GI_DO("return each arena once until it has been freed"),
                 (void *)memory, (size_t)GI_ARENA_SIZE);
    }
    for (unsigned i = 0; i < pool_count; i++) {
        gi_pool *pool = gi_address_pool(first + i * GI_POOL_SIZE);
        pool->memory = first + i * GI_POOL_SIZE;
        pool->arena = arena;
    }
    gi_tool_hide(first, (size_t)pool_count << GI_POOL_SHIFT);
    list_add_locked(arena);
    set_masks_locked(arena, all_pools(arena), 0);
    gi_counter_add(&gi_arena_stats_now.arenas, 1);
    gi_counter_add(&gi_arena_stats_now.pools, pool_count);
    gi_counter_add(&gi_arena_stats_now.acquired, 1);
    gi_counter_add(&gi_arena_stats_now.bytes_from_system, GI_ARENA_SIZE);
    uint64_t arenas = gi_load_relaxed(&gi_arena_stats_now.arenas); /* relaxed: under arena_mutex */
    if (arenas > gi_load_relaxed(&gi_arena_stats_now.arenas_high)) {
        gi_store_relaxed(&gi_arena_stats_now.arenas_high, arenas);
    }
    gi_mutex_unlock(&arena_mutex);
    if (gi_unlikely(gi_arena_made != NULL)) {
        gi_arena_made();
    }
    return true;
}

/* What of an arena has not been given back yet. */
static size_t held_bytes(const gi_arena *arena) {
    return GI_ARENA_SIZE - (size_t)__builtin_popcount(arena->returned) * GI_POOL_SIZE;
}

/* Takes a wholly free arena out of the manager; arena_return() then gives it back without the lock. */
static void arena_remove_locked(gi_arena *arena) {
    set_masks_locked(arena, arena->free, 0);
    gi_counter_sub(&gi_arena_stats_now.pools_free, arena->free_count);
    list_remove_locked(arena);
    bool right = set_words(arena->pools->memory, arena->pool_count, GI_WORD_NO_POOL, GI_WORD_NO_ARENA);
    gi_assert(right);
    (void)right;
    gi_counter_sub(&gi_arena_stats_now.arenas, 1);
    gi_counter_sub(&gi_arena_stats_now.pools, arena->pool_count);
    gi_counter_add(&gi_arena_stats_now.released, 1);
    gi_counter_add(&gi_arena_stats_now.bytes_to_system, held_bytes(arena));
}

static void arena_return(gi_arena *arena) {
    GI_PROBE2(arena_unmap, arena->memory, GI_ARENA_SIZE);
    if (gi_tool_sees_blocks() && is_outside(arena->memory)) { /* a slot stays hidden */
        gi_tool_roots(arena->memory, GI_ARENA_SIZE, false);
        gi_tool_own(arena->memory, GI_ARENA_SIZE);
    }
    arena->allocator.free(arena->allocator.ctx, arena->memory, GI_ARENA_SIZE);
    gi_mutex_lock(&arena_mutex);
    descriptor_delete_locked(arena);
    gi_mutex_unlock(&arena_mutex);
}

/* --- decommit --------------------------------------------------------------------------------- */

/* Decommits the dirty pools of `arena`; lets go of the lock on the way, during which these pools are nobody's.  Bytes
   given back. */
static size_t decommit_locked(gi_arena *arena) {
    uint32_t dirty = arena->dirty, refused = 0;
    size_t bytes = 0;
    set_masks_locked(arena, arena->free & ~dirty, 0);
    char *first = arena->pools->memory;
    gi_mutex_unlock(&arena_mutex);
    for (uint32_t left = dirty; left != 0;) { /* a run of neighbours a call */
        unsigned start = (unsigned)__builtin_ctz(left), length = 0;
        while (start + length < 32 && (left >> (start + length) & 1u) != 0) {
            length++;
        }
        uint32_t run = (length == 32 ? UINT32_MAX : (1u << length) - 1) << start;
        if (gi_os_decommit(first + start * GI_POOL_SIZE, length * GI_POOL_SIZE)) {
            bytes += length * GI_POOL_SIZE;
        } else {
            refused |= run;
        }
        left &= ~run;
    }
    gi_mutex_lock(&arena_mutex);
    set_masks_locked(arena, arena->free | dirty, arena->dirty | refused);
    arena->returned |= dirty & ~refused;
    gi_counter_add(&gi_arena_stats_now.bytes_to_system, bytes);
    return bytes;
}

/* The arena that has been dirty for longest and may be decommitted, if there are too many dirty pools. */
static gi_arena *too_dirty_locked(void) {
    uint64_t dirty = gi_load_relaxed(&gi_arena_stats_now.pools_dirty); /* relaxed: under arena_mutex */
    uint64_t pools = gi_load_relaxed(&gi_arena_stats_now.arenas) * GI_ARENA_POOLS;
    uint64_t in_use = pools - gi_load_relaxed(&gi_arena_stats_now.pools_free);
    if (dirty <= GI_DIRTY_POOLS_MIN + in_use / GI_DIRTY_SHARE) {
        return NULL;
    }
    return first_dirty;
}

/* --- pools ------------------------------------------------------------------------------------ */

gi_pool *gi_arena_acquire_pool(unsigned size_class, unsigned kind, uint32_t word) {
    gi_mutex_lock(&arena_mutex);
    while (nonempty == 0) {
        gi_mutex_unlock(&arena_mutex);
        if (!arena_new()) {
            return NULL;
        }
        gi_mutex_lock(&arena_mutex);
    }
    /* A dirty pool first: its memory is there already, and may be in the processor's cache. */
    gi_arena *arena = lists[__builtin_ctzll(nonempty)];
    if (arena->dirty == 0 && last_dirty != NULL) {
        arena = last_dirty;
    }
    uint32_t choice = arena->dirty != 0 ? arena->dirty : arena->free;
    uint32_t bit = choice & (0u - choice);
    bool zero = arena->ours && (arena->dirty & bit) == 0;
    set_masks_locked(arena, arena->free & ~bit, arena->dirty & ~bit);
    if ((arena->returned & bit) != 0) {
        arena->returned &= ~bit;
        gi_counter_add(&gi_arena_stats_now.bytes_from_system, GI_POOL_SIZE);
    }
    gi_mutex_unlock(&arena_mutex);
    gi_pool *pool = gi_address_pool(arena->pools->memory + (size_t)__builtin_ctz(bit) * GI_POOL_SIZE);
    gi_pool_init(pool, size_class, kind, zero);
    if (gi_unlikely(gi_hardened.on)) {
        gi_hardened_clear(pool->memory);
    }
    gi_store_relaxed(gi_address_word(pool->memory), word); /* relaxed: address_map.h */
    return pool;
}

/* Takes `arena` out if it is wholly free and one more than may stay. */
static gi_arena *take_surplus_locked(gi_arena *arena) {
    if (arena->free_count != arena->pool_count || wholly_free <= 1) {
        return NULL;
    }
    arena_remove_locked(arena);
    return arena;
}

void gi_arena_release_pool(gi_pool *pool) {
    gi_assert(pool->taken == 0);
    gi_arena *arena = pool->arena, *gone[2] = {NULL, NULL};
    uint32_t bit = 1u << ((size_t)(pool->memory - arena->pools->memory) >> GI_POOL_SHIFT);
    gi_tool_hide(pool->memory, GI_POOL_SIZE);
    gi_store_relaxed(gi_address_word(pool->memory), GI_WORD_NO_POOL); /* relaxed: address_map.h */
    gi_mutex_lock(&arena_mutex);
    set_masks_locked(arena, arena->free | bit, arena->dirty | (arena->ours ? bit : 0));
    gone[0] = take_surplus_locked(arena);
    gi_arena *dirty = too_dirty_locked();
    if (dirty != NULL) {
        decommit_locked(dirty); /* others may have freed the rest of it meanwhile */
        gone[1] = take_surplus_locked(dirty);
    }
    gi_mutex_unlock(&arena_mutex);
    for (int i = 0; i < 2; i++) {
        if (gone[i] != NULL) {
            arena_return(gone[i]);
        }
    }
}

size_t gi_arena_purge(void) {
    size_t bytes = 0;
    gi_mutex_lock(&arena_mutex);
    for (;;) {
        gi_arena *arena = NULL;
        for (unsigned n = GI_ARENA_POOLS; n > 0 && arena == NULL; n--) {
            for (arena = lists[n]; arena != NULL && arena->pool_count != n; arena = arena->next) {
            }
        }
        if (arena == NULL) {
            break;
        }
        bytes += held_bytes(arena);
        arena_remove_locked(arena);
        gi_mutex_unlock(&arena_mutex);
        arena_return(arena);
        gi_mutex_lock(&arena_mutex);
    }
    /* As many as there are, so that it ends though the system refuses and pools stay dirty. */
    for (uint64_t left = gi_load_relaxed(&gi_arena_stats_now.arenas); left > 0 && first_dirty != NULL; left--) {
        bytes += decommit_locked(first_dirty);
    }
    gi_mutex_unlock(&arena_mutex);
    return bytes;
}

/* --- allocator, walk, fork -------------------------------------------------------------------- */

void gi_arena_get_allocator(gi_arena_allocator *allocator) {
    gi_mutex_lock(&arena_mutex);
    *allocator = current_allocator_locked();
    gi_mutex_unlock(&arena_mutex);
}

void gi_arena_set_allocator(const gi_arena_allocator *allocator) {
    gi_mutex_lock(&arena_mutex);
    allocator_now = *allocator;
    gi_mutex_unlock(&arena_mutex);
}

int gi_arena_walk(int (*visit)(gi_pool *pool, void *arg), void *arg) {
    int result = 0;
    gi_mutex_lock(&arena_mutex);
    for (unsigned n = 0; n < LISTS; n++) {
        for (const gi_arena *arena = lists[n]; arena != NULL && result == 0; arena = arena->next) {
            for (unsigned i = 0; i < arena->pool_count && result == 0; i++) {
                char *memory = arena->pools->memory + i * GI_POOL_SIZE;
                if (gi_word_is_pool(gi_load_relaxed(gi_address_word(memory)))) { /* relaxed: address_map.h */
                    result = visit(gi_address_pool(memory), arg);
                }
            }
        }
    }
    gi_mutex_unlock(&arena_mutex);
    return result;
}

void gi_arena_before_fork(void) { gi_mutex_lock(&arena_mutex); }

void gi_arena_after_fork(void) { gi_mutex_unlock(&arena_mutex); }
