/* SPDX-License-Identifier: MIT */
/*
 * heap.c [L4] - a heap: the pools of one owner.  Theory and invariants: heap.h.
 *   Locks   the shared heap's mutex; claim; heap numbers.
 *   Orders  heap-claim, heap-number.
 */
#include "lib/cache/heap.h"

#include <sched.h>

#include "concurrency/check.h"
#include "lib/arena/arena.h"
#include "lib/arena/kind.h"
#include "lib/cache/free_list.h"
#include "lib/os/os_memory.h"

static gi_stash main_stash __attribute__((aligned(GI_CACHE_LINE))); /* beside nothing that all threads read */
gi_heap_group gi_main_group = {
    .shared = {.number = GI_HEAP_SHARED_NUMBER,
               .group = &gi_main_group,
               .pages_known = {{[0 ... GI_KIND_OBJECT] = {[0 ... GI_CLASSES - 1] = GI_HEAP_NO_PAGE}}},
               .mutex = GI_MUTEX_INIT(GI_RANK_SHARED_HEAP)},
    .stash = &main_stash,
    .mutex = GI_MUTEX_INIT(GI_RANK_LIMBO)};

/* Held by whoever has claimed a heap.  So a fork finds none claimed, by a thread that the child lacks. */
static gi_mutex claim_mutex = GI_MUTEX_INIT(GI_RANK_CLAIM);

/* Heaps by number.  A number is never taken back from a heap, and a heap's memory is never given back. */
static gi_mutex number_mutex = GI_MUTEX_INIT(GI_RANK_HEAP_NUMBERS);
static gi_atomic(gi_heap *) heaps[GI_HEAP_NUMBERS];   /* constant after the first number; entries: order(heap-number) */
static uint32_t numbers_used = GI_HEAP_SHARED_NUMBER; /* guarded by number_mutex */

/* --- invariant check -------------------------------------------------------------------------- */

typedef struct check_sum {
    uint64_t pools[2], taken[2]; /* [0] found by walking arenas, [1] counted by heaps */
    int broken;
} check_sum;

static int check_pool(gi_pool *pool, void *arg) {
    check_sum *sum = arg;
    uint32_t word = gi_load_relaxed(gi_address_word(pool->memory)); /* relaxed: the world is quiet */
    gi_heap *heap = gi_heap_of_number(gi_word_heap(word));
    if (heap != NULL && heap->lost) {
        return 0;
    }
    sum->pools[0]++;
    sum->taken[0] += pool->taken;
    if (heap == NULL || gi_word_kind(word) != pool->kind || gi_word_class(word) != pool->size_class) {
        sum->broken = gi_report_broken("H2", "pool %p: word %x, kind %u, class %u", (void *)pool->memory, word,
                                       pool->kind, pool->size_class);
    } else if (pool->full == gi_pool_has_free(pool)) {
        sum->broken =
            gi_report_broken("H1", "pool %p: listed as %s", (void *)pool->memory, pool->full ? "full" : "partial");
    } else {
        sum->broken |= gi_pool_check(pool);
    }
    return 0;
}

/* Adds the length of a list to *pools. */
static int check_list(const gi_heap *heap, const gi_pool *pool, bool full, unsigned kind, unsigned size_class,
                      uint64_t *pools) {
    for (const gi_pool *before = NULL; pool != NULL; before = pool, pool = pool->next) {
        bool right = pool->prev == before && pool->full == full &&
                     (full || (pool->kind == kind && pool->size_class == size_class)) &&
                     gi_word_heap(gi_load_relaxed(gi_address_word(pool->memory))) == heap->number; /* relaxed: quiet */
        if (!right) {
            return gi_report_broken("H1", "heap %u: pool %p is in a list that is not its own", heap->number,
                                    (void *)pool->memory);
        }
        ++*pools;
    }
    return 0;
}

static int check_known(const gi_heap *heap) {
    uint32_t shared = heap->group->shared.number;
    int broken = 0;
    for (unsigned kind = 0; kind <= GI_KIND_OBJECT; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            uint64_t page =
                gi_load_relaxed(&heap->pages_known.last[kind][size_class]); /* relaxed: the world is quiet */
            const gi_page_word *word = gi_address_word((const void *)(uintptr_t)page);
            uint32_t found = word == NULL ? GI_WORD_NO_ARENA : gi_load_relaxed(word); /* relaxed: the world is quiet */
            bool own = !gi_heap_is_shared(heap) && found == gi_word_make(heap->number, kind, size_class);
            bool of_shared = found == gi_word_make(shared, kind, size_class) &&
                             gi_address_pool((const void *)(uintptr_t)page)->inlined && !gi_heap_is_shared(heap);
            if (page != GI_HEAP_NO_PAGE && !own && !of_shared) {
                broken = gi_report_broken("H4", "heap %u: page %llx is not of kind %u, class %u", heap->number,
                                          (unsigned long long)page, kind, size_class);
            }
        }
    }
    return broken;
}

static int check_counts(const gi_heap *heap) {
    uint64_t pools = 0, taken = 0;
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            pools += gi_load_relaxed(&heap->classes[kind][size_class].pools); /* relaxed: the world is quiet */
            taken += gi_load_relaxed(&heap->classes[kind][size_class].taken); /* relaxed: the world is quiet */
        }
    }
    uint64_t all_pools = gi_load_relaxed(&heap->pools), all_taken = gi_load_relaxed(&heap->taken); /* relaxed: quiet */
    return pools == all_pools && taken == all_taken
               ? 0
               : gi_report_broken("H3", "heap %u: %llu pools with %llu blocks taken by class, %llu and %llu in all",
                                  heap->number, (unsigned long long)pools, (unsigned long long)taken,
                                  (unsigned long long)all_pools, (unsigned long long)all_taken);
}

static int check_heap(const gi_heap *heap) {
    uint64_t listed = 0, counted = gi_load_relaxed(&heap->pools); /* relaxed: the world is quiet */
    int broken = check_list(heap, heap->full, true, 0, 0, &listed);
    for (unsigned kind = 0; kind < gi_kind_count(); kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            broken |=
                check_list(heap, gi_load_relaxed(&heap->partial[kind][size_class]), false, kind, size_class, &listed);
        }
    }
    if (broken == 0 && listed != counted) {
        broken = gi_report_broken("H1", "heap %u: %llu pools are in its lists, %llu counted", heap->number,
                                  (unsigned long long)listed, (unsigned long long)counted);
    }
    return broken;
}

int gi_heap_check_all(void) {
    check_sum sum = {.broken = 0};
    gi_arena_walk(check_pool, &sum);
    uint32_t last = gi_heap_last_number();
    for (uint32_t number = GI_HEAP_SHARED_NUMBER; number <= last; number++) {
        const gi_heap *heap = gi_heap_of_number(number);
        if (heap->lost) {
            continue;
        }
        sum.pools[1] += gi_load_relaxed(&heap->pools); /* relaxed: the world is quiet */
        sum.taken[1] += gi_load_relaxed(&heap->taken); /* relaxed: the world is quiet */
        sum.broken |= check_heap(heap) | check_counts(heap) | check_known(heap);
    }
    if (sum.pools[0] != sum.pools[1] || sum.taken[0] != sum.taken[1]) {
        sum.broken =
            gi_report_broken("H3", "%llu pools with %llu blocks taken are in arenas, heaps count %llu and %llu",
                             (unsigned long long)sum.pools[0], (unsigned long long)sum.taken[0],
                             (unsigned long long)sum.pools[1], (unsigned long long)sum.taken[1]);
    }
    return sum.broken;
}

/* --- counts ----------------------------------------------------------------------------------- */

static gi_heap_class *class_of(gi_heap *heap, const gi_pool *pool) {
    return &heap->classes[pool->kind][pool->size_class];
}

static void count_pool(gi_heap *heap, const gi_pool *pool) {
    gi_counter_add(&heap->pools, 1);
    gi_counter_add(&class_of(heap, pool)->pools, 1);
}

static void uncount_pool(gi_heap *heap, const gi_pool *pool) {
    gi_counter_sub(&heap->pools, 1);
    gi_counter_sub(&class_of(heap, pool)->pools, 1);
}

static void count_taken(gi_heap *heap, const gi_pool *pool, uint32_t blocks) {
    gi_counter_add(&heap->taken, blocks);
    gi_counter_add(&class_of(heap, pool)->taken, blocks);
}

static void uncount_taken(gi_heap *heap, const gi_pool *pool, uint32_t blocks) {
    gi_counter_sub(&heap->taken, blocks);
    gi_counter_sub(&class_of(heap, pool)->taken, blocks);
}

/* --- lists of pools --------------------------------------------------------------------------- */

static void list_add(gi_heap *heap, gi_pool *pool) {
    pool->full = !gi_pool_has_free(pool);
    gi_pool *first = pool->full ? heap->full : gi_load_relaxed(&heap->partial[pool->kind][pool->size_class]);
    pool->prev = NULL;
    pool->next = first;
    if (first != NULL) {
        first->prev = pool;
    }
    if (pool->full) {
        heap->full = pool;
    } else {
        gi_store_relaxed(&heap->partial[pool->kind][pool->size_class], pool); /* relaxed: peeked at as a hint */
    }
}

static void list_remove(gi_heap *heap, gi_pool *pool) {
    if (pool->next != NULL) {
        pool->next->prev = pool->prev;
    }
    if (pool->prev != NULL) {
        pool->prev->next = pool->next;
    } else if (pool->full) {
        heap->full = pool->next;
    } else {
        gi_store_relaxed(&heap->partial[pool->kind][pool->size_class], pool->next); /* relaxed: as in list_add() */
    }
}

/* --- take and give ---------------------------------------------------------------------------- */

gi_link *gi_heap_take(gi_heap *heap, unsigned kind, unsigned size_class, uint32_t *count, bool *fresh) {
    gi_pool *pool = gi_load_relaxed(&heap->partial[kind][size_class]); /* relaxed: owner-only */
    if (pool == NULL) {
        return NULL;
    }
    gi_link *blocks = gi_pool_take(pool, count, fresh);
    if (!gi_pool_has_free(pool)) {
        list_remove(heap, pool);
        list_add(heap, pool);
    }
    count_taken(heap, pool, *count);
    return blocks;
}

/* Before the first page word of a class names the private `heap`, others may push to it. */
static void open_list(gi_heap *heap, unsigned kind, unsigned size_class) {
    uint32_t bit = 1u << size_class;
    if (!gi_heap_is_shared(heap) && (heap->open[kind] & bit) == 0) {
        heap->open[kind] |= bit;
        gi_remote_list_open(&heap->remote[kind][size_class]);
    }
}

gi_pool *gi_heap_acquire_pool(gi_heap *heap, unsigned kind, unsigned size_class) {
    open_list(heap, kind, size_class);
    return gi_arena_acquire_pool(size_class, kind, GI_WORD_NO_POOL);
}

void gi_heap_add_pool(gi_heap *heap, gi_pool *pool) {
    uint32_t word = gi_word_make(heap->number, pool->kind, pool->size_class);
    gi_store_relaxed(gi_address_word(pool->memory), word); /* relaxed: address_map.h */
    count_pool(heap, pool);
    list_add(heap, pool);
}

static __attribute__((noinline, cold, noreturn)) void block_fault(gi_block_fault fault, const gi_pool *pool,
                                                                  const gi_link *link, const char *function) {
    const void *block = gi_pool_block(pool, link);
    const char *kind = gi_kinds[pool->kind].name;
    size_t size = gi_class_size(pool->size_class);
    if (fault == GI_BLOCK_NONE_TAKEN) {
        gi_fatal(function,
                 "double free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                     GI_FACT("found   ", "later, as free blocks went back to their pool, of which none is taken")
                         GI_DO("free each block once"),
                 kind, block, size);
    }
    gi_fatal(function,
             "invalid pointer" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, %s blocks of %zu bytes")
                 GI_FACT("found   ", "later, as free blocks went back to their pool")
                     GI_DO("free the pointer that the allocation returned"),
             kind, block, fault == GI_BLOCK_INTERIOR ? "inside one of" : "past the last one of", size);
}

void gi_heap_double_free(const gi_pool *pool, const gi_link *block, const char *function) {
    block_fault(GI_BLOCK_NONE_TAKEN, pool, block, function);
}

void gi_heap_expect_taken(gi_heap *heap, const gi_link *block, const char *function) {
    bool shared = gi_heap_is_shared(heap);
    if (shared) {
        gi_mutex_lock(&heap->mutex);
    }
    const gi_pool *pool = gi_address_pool(block);
    /* relaxed: the heap's pools come and go under the mutex, or by this thread */
    bool is_there = gi_word_heap(gi_load_relaxed(gi_address_word(block))) == heap->number;
    const gi_link *link = is_there ? pool->free : NULL;
    for (unsigned left = is_there ? pool->free_count : 0; left > 0 && link != block; left--) {
        if ((uintptr_t)link - (uintptr_t)pool->memory >= GI_POOL_SIZE) {
            break; /* a link that has been written over, for whoever uses it */
        }
        link = gi_link_next(link);
    }
    if (shared) {
        gi_mutex_unlock(&heap->mutex);
    }
    if (gi_unlikely(link == block)) {
        gi_fatal(function,
                 "double free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                     GI_FACT("found   ", "in its pool, where it is since free memory was given back")
                         GI_DO("free each block once"),
                 gi_kinds[pool->kind].name, gi_pool_block(pool, block), gi_class_size(pool->size_class));
    }
}

static void put_in_limbo(gi_heap_group *group, gi_pool *pool) {
    gi_mutex_lock(&group->mutex);
    pool->next = group->limbo;
    group->limbo = pool;
    gi_counter_add(&group->waiting, GI_POOL_SIZE);
    gi_mutex_unlock(&group->mutex);
}

gi_pool *gi_heap_take_limbo(gi_heap_group *group) {
    gi_mutex_lock(&group->mutex);
    gi_pool *limbo = group->limbo;
    group->limbo = NULL;
    for (const gi_pool *pool = limbo; pool != NULL; pool = pool->next) {
        gi_counter_sub(&group->waiting, GI_POOL_SIZE);
    }
    gi_mutex_unlock(&group->mutex);
    return limbo;
}

static void forget_page_of(gi_heap *heap, const gi_pool *pool) {
    gi_atomic(uint64_t) *last = &heap->pages_known.last[pool->kind][pool->size_class];
    if (gi_load_relaxed(last) == (uintptr_t)pool->memory) { /* relaxed: as declared */
        gi_store_relaxed(last, GI_HEAP_NO_PAGE);            /* relaxed: as declared */
    }
}

/* The pool is the heap's no more. */
static void forget_page(gi_heap *heap, gi_pool *pool) {
    if (pool->kind > GI_KIND_OBJECT) {
        return;
    }
    if (!gi_heap_is_shared(heap)) {
        forget_page_of(heap, pool);
    } else if (gi_unlikely(pool->inlined)) {
        pool->inlined = false;
        for (gi_heap *one = gi_heap_first_of(heap->group); one != NULL; one = one->next) {
            forget_page_of(one, pool);
        }
    }
}

/* A pool with nothing taken leaves its heap. */
static void leave(gi_heap *heap, gi_pool *pool, gi_pool **emptied) {
    list_remove(heap, pool);
    uncount_pool(heap, pool);
    forget_page(heap, pool);
    gi_store_relaxed(gi_address_word(pool->memory), GI_WORD_NO_POOL); /* relaxed: address_map.h */
    if (gi_unlikely(gi_kinds[pool->kind].type_stable)) {
        put_in_limbo(heap->group, pool);
    } else {
        pool->next = *emptied;
        *emptied = pool;
    }
}

/* *end gets the last block that was given: what comes behind it is not looked at. */
static gi_link *give(gi_heap *heap, gi_link *blocks, gi_pool **emptied, const gi_link **end, const char *function) {
    gi_pool *pool = gi_address_pool(blocks);
    gi_link *block = blocks, *last;
    uintptr_t offset = (uintptr_t)blocks - (uintptr_t)pool->memory;
    unsigned count = 0;
    do {
        gi_block_fault fault = gi_pool_examine_at(pool, offset, count);
        if (gi_unlikely(fault != GI_BLOCK_OK)) {
            block_fault(fault, pool, block, function);
        }
        count++;
        last = block;
        block = gi_link_next(block);
        offset = (uintptr_t)block - (uintptr_t)pool->memory;
    } while (offset < GI_POOL_SIZE);
    if (gi_unlikely(blocks == pool->free || last == pool->free)) {
        gi_free_list_double(pool->kind, pool->size_class, pool->free, function);
    }
    gi_pool_give(pool, blocks, last, count);
    uncount_taken(heap, pool, count);
    if (pool->taken == 0) {
        leave(heap, pool, emptied);
    } else if (pool->full) {
        list_remove(heap, pool);
        list_add(heap, pool);
    }
    *end = last;
    return block;
}

gi_link *gi_heap_give(gi_heap *heap, gi_link *blocks, gi_pool **emptied, const char *function) {
    const gi_link *end;
    return give(heap, blocks, emptied, &end, function);
}

gi_link *gi_heap_give_run(gi_heap *heap, unsigned kind, unsigned size_class, gi_link *blocks, gi_pool **emptied,
                          const char *function) {
    uint32_t word = gi_word_make(heap->number, kind, size_class);
    const gi_link *end = NULL;
    /* relaxed: a word that names this heap is changed by its owner alone */
    while (blocks != NULL && gi_free_list_word(blocks) == word) {
        blocks = give(heap, blocks, emptied, &end, function);
    }
    if (gi_unlikely(end != NULL && blocks != NULL && !gi_free_list_may_hold(kind, size_class, blocks))) {
        gi_free_list_broken(kind, size_class, end, blocks, function);
    }
    return blocks;
}

void gi_heap_release_pools(gi_pool *emptied) {
    while (emptied != NULL) {
        gi_pool *next = emptied->next;
        gi_arena_release_pool(emptied);
        emptied = next;
    }
}

/* --- adopt and orphan ------------------------------------------------------------------------- */

static void move_pool(gi_heap *from, gi_heap *to, gi_pool *pool) {
    list_remove(from, pool);
    uncount_pool(from, pool);
    uncount_taken(from, pool, pool->taken);
    forget_page(from, pool);
    /* order(page-word): release; pairs with acquire in gi_object_word() and give_back(). */
    gi_store_release(gi_address_word(pool->memory), gi_word_make(to->number, pool->kind, pool->size_class));
    count_pool(to, pool);
    count_taken(to, pool, pool->taken);
    list_add(to, pool);
}

bool gi_heap_adopt(gi_heap *heap, unsigned kind, unsigned size_class) {
    gi_heap *shared = &heap->group->shared;
    if (gi_load_relaxed(&shared->partial[kind][size_class]) == NULL) { /* relaxed: a peek; looked at again below */
        return false;
    }
    open_list(heap, kind, size_class);
    gi_mutex_lock(&shared->mutex);
    gi_pool *pool = gi_load_relaxed(&shared->partial[kind][size_class]); /* relaxed: under the mutex */
    if (pool != NULL) {
        move_pool(shared, heap, pool);
    }
    gi_mutex_unlock(&shared->mutex);
    if (pool != NULL) {
        gi_counter_add(&heap->adopted, 1);
    }
    return pool != NULL;
}

void gi_heap_orphan(gi_heap *heap) {
    if (gi_load_relaxed(&heap->pools) == 0) { /* relaxed: owner-only */
        return;
    }
    gi_heap *shared = &heap->group->shared;
    gi_mutex_lock(&shared->mutex);
    gi_counter_add(&heap->orphaned, gi_load_relaxed(&heap->pools));
    while (heap->full != NULL) {
        move_pool(heap, shared, heap->full);
    }
    for (unsigned kind = 0; kind < GI_KINDS; kind++) {
        for (uint32_t left = heap->open[kind]; left != 0; left &= left - 1) { /* the others have no pools */
            gi_pool *pool;
            unsigned size_class = (unsigned)__builtin_ctz(left);
            while ((pool = gi_load_relaxed(&heap->partial[kind][size_class])) != NULL) { /* relaxed: owner-only */
                move_pool(heap, shared, pool);
            }
        }
    }
    gi_mutex_unlock(&shared->mutex);
}

/* --- status ----------------------------------------------------------------------------------- */

static bool claim_locked(gi_heap *heap) {
    uint32_t status = GI_HEAP_IDLE;
    /* order(heap-claim): acquire; pairs with release in gi_heap_idle(). */
    if (gi_load_relaxed(&heap->wanted) == 0 && gi_cas_acquire(&heap->status, &status, GI_HEAP_CLAIMED)) {
        return true;
    }
    gi_mutex_unlock(&claim_mutex);
    return false;
}

bool gi_heap_try_claim(gi_heap *heap) { return gi_mutex_try_lock(&claim_mutex) && claim_locked(heap); }

bool gi_heap_claim(gi_heap *heap) {
    gi_mutex_lock(&claim_mutex);
    return claim_locked(heap);
}

void gi_heap_release_claim(gi_heap *heap) {
    /* order(heap-claim): release; pairs with acquire in gi_heap_try_activate(). */
    gi_store_release(&heap->status, GI_HEAP_IDLE);
    gi_mutex_unlock(&claim_mutex);
}

void gi_heap_claim_all(void) { gi_mutex_lock(&claim_mutex); }

void gi_heap_release_all(void) { gi_mutex_unlock(&claim_mutex); }

void gi_heap_activate_slow(gi_heap *heap) {
    do {
        gi_store_relaxed(&heap->wanted, 1);
        sched_yield(); /* claimed: for the length of one drain or walk */
    } while (!gi_heap_try_activate(heap));
    gi_store_relaxed(&heap->wanted, 0);
}

/* --- numbers, lifecycle ----------------------------------------------------------------------- */

gi_heap *gi_heap_of_number(uint32_t number) {
    if (number == GI_HEAP_SHARED_NUMBER) {
        return &gi_main_group.shared;
    }
    /* order(heap-number): acquire; pairs with release in gi_heap_number(). */
    return gi_load_acquire(&heaps[number]);
}

uint32_t gi_heap_last_number(void) {
    gi_mutex_lock(&number_mutex);
    uint32_t last = numbers_used;
    gi_mutex_unlock(&number_mutex);
    return last;
}

bool gi_heap_number(gi_heap *heap, gi_heap_group *group, gi_asked *asked) {
    gi_mutex_lock(&number_mutex);
    bool left = numbers_used < GI_HEAP_NUMBERS - 2;
    if (left) {
        gi_heap_init(heap, group, ++numbers_used, asked);
        if (!gi_heap_is_shared(heap)) {
            heap->next = gi_load_relaxed(&group->heaps); /* relaxed: under number_mutex */
            /* order(heap-number): release; pairs with acquire in gi_heap_first_of(). */
            gi_store_release(&group->heaps, heap);
        }
        /* order(heap-number): release; pairs with acquire in gi_heap_of_number(). */
        gi_store_release(&heaps[heap->number], heap);
    }
    gi_mutex_unlock(&number_mutex);
    return left;
}

void gi_heap_init(gi_heap *heap, gi_heap_group *group, uint32_t number, gi_asked *asked) {
    heap->number = number;
    heap->group = group;
    heap->asked = asked;
    gi_heap_know_no_pages(heap);
    gi_store_relaxed(&heap->status, GI_HEAP_IDLE); /* relaxed: published with its number */
}

bool gi_heap_group_init(gi_heap_group *group) {
    gi_mutex_init(&group->shared.mutex, GI_RANK_SHARED_HEAP);
    gi_mutex_init(&group->mutex, GI_RANK_LIMBO);
    group->stash = gi_os_meta_alloc(sizeof(gi_stash));
    return group->stash != NULL && gi_heap_number(&group->shared, group, NULL);
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_heap_before_fork(void) { gi_mutex_lock(&claim_mutex); }

void gi_heap_numbers_before_fork(void) { gi_mutex_lock(&number_mutex); }

void gi_heap_numbers_after_fork(void) { gi_mutex_unlock(&number_mutex); }

void gi_heap_after_fork(void) { gi_mutex_unlock(&claim_mutex); }

void gi_heap_group_before_fork(gi_heap_group *group) {
    gi_mutex_lock_each(&group->shared.mutex);
    gi_mutex_lock_each(&group->mutex);
}

void gi_heap_group_after_fork(gi_heap_group *group) {
    gi_mutex_unlock_each(&group->mutex);
    gi_mutex_unlock_each(&group->shared.mutex);
}
