/* SPDX-License-Identifier: MIT */
/*
 * object_alloc_test.c - the fast path and who may take it; what the slow path does; pymalloc's rule for realloc; and no
 *                       memory: the k-th call into the system is refused, for each k.
 */
#include "lib/cache/object_alloc.h"

#include <gilloc/gilloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena/arena.h"
#include "lib/cache/large_alloc.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/child.h"
#include "tests/support/memory.h"
#include "tests/support/random_work.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/threads.h"

enum { DOMAIN_KINDS = GI_KIND_OBJECT + 1 }; /* those with CPython's names */

/* --- the fast path ---------------------------------------------------------------------------- */

static void each_size_has_its_bin(void) {
    static gi_thread_cache cache;
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        EXPECT(gi_bin_for_size(&cache, kind, 0) == &cache.bins[kind][0]);
        for (size_t size = 1; size <= GI_SMALL_MAX; size++) {
            EXPECT(gi_bin_for_size(&cache, kind, size) == &cache.bins[kind][1 + gi_size_class(size)]);
        }
    }
}

static void expect_shut(const gi_fast_limits *limits) {
    EXPECT_EQ(gi_load_relaxed(&limits->sizes), 0);
    EXPECT_EQ(gi_load_relaxed(&limits->pages), 0);
    EXPECT_EQ(gi_load_relaxed(&limits->swaps), 0);
    EXPECT_EQ(gi_load_relaxed(&limits->large), 0);
    EXPECT_EQ(gi_load_relaxed(&limits->counted), 0);
    EXPECT_EQ(gi_load_relaxed(&limits->asked), 0);
    EXPECT_EQ(gi_load_relaxed(&limits->hardened), 0);
}

static void expect_open(const gi_fast_limits *limits, bool large) {
    EXPECT_EQ(gi_load_relaxed(&limits->sizes), GI_SMALL_MAX + 1);
    EXPECT_EQ(gi_load_relaxed(&limits->pages), gi_address_map_pages());
    EXPECT_EQ(gi_load_relaxed(&limits->large), large ? (uint64_t)PY_SSIZE_T_MAX + 1 : 0);
}

static void expect_fast_path_shut(unsigned kind, void *block) {
    gi_bin *bin = gi_bin_for_size(gi_current_cache, kind, 32);
    int32_t room = bin->room;
    for (size_t size = 0; size <= GI_SMALL_MAX + 16; size++) {
        EXPECT(gi_object_malloc_fast(kind, &gi_limits[kind], size) == NULL);
        EXPECT(gi_object_calloc_fast(kind, &gi_limits[kind], size) == NULL);
    }
    if (!gi_cache_is_attached(gi_current_cache)) { /* else by the limits */
        EXPECT(gi_large_cache() == NULL);
        EXPECT(!gi_large_free(UINT64_MAX, &bin)); /* nor is it looked at */
    }
    EXPECT(gi_object_realloc_fast(kind, &gi_limits[kind], block, 32) == NULL);
    EXPECT(gi_object_realloc_fast(kind, &gi_limits[kind], NULL, 32) == NULL);
    EXPECT(!gi_object_free_fast(kind, &gi_limits[kind], block));
    EXPECT_EQ(bin->room, room);
}

static void domains_open_and_close(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        expect_open(&gi_limits[kind], true);
        expect_open(&gi_open_limits, false);
        void *block = gi_object_malloc_slow(kind, 32), *other = gi_object_malloc_slow(kind, 32);
        EXPECT(gi_object_free_fast(kind, &gi_limits[kind], other)); /* so that both lists have something */
        gi_limits_close(kind);
        expect_shut(&gi_limits[kind]);
        expect_open(&gi_limits[!kind], true);
        expect_fast_path_shut(kind, block);
        gi_limits_open(kind, true, true, false);
        expect_open(&gi_limits[kind], false);
        EXPECT_EQ(gi_load_relaxed(&gi_limits[kind].asked), (uint64_t)PY_SSIZE_T_MAX + 1);
        gi_limits_open(kind, false, true, false);
        EXPECT_EQ(gi_load_relaxed(&gi_limits[kind].asked), 0);
        gi_limits_open(kind, true, false, false);
        expect_open(&gi_limits[kind], true);
        EXPECT_EQ(gi_load_relaxed(&gi_limits[kind].asked), 0);
        EXPECT(!gi_object_free_fast(kind, &gi_limits[kind], block)); /* the first one is looked at */
        gi_object_free_slow(kind, block);
        block = gi_object_malloc_slow(kind, 32);
        EXPECT(gi_object_free_fast(kind, &gi_limits[kind], block));
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

static void a_detached_thread_never_takes_it(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *blocks[DOMAIN_KINDS];
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        blocks[kind] = gi_object_malloc_slow(kind, 32);
    }
    PyThreadState *state = PyEval_SaveThread();
    EXPECT(gi_current_cache == &gi_empty_cache);
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        expect_fast_path_shut(kind, blocks[kind]);
    }
    PyEval_RestoreThread(state);
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        EXPECT(gi_object_free_fast(kind, &gi_limits[kind], blocks[kind]));
    }
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

/* A domain that is closed before first use stays closed; one that was never touched opens at it. */
static void domains_are_closed_before_first_use(void) {
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        expect_shut(&gi_limits[kind]);
    }
    expect_shut(&gi_open_limits);
    PyMemAllocatorEx words, others;
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &words);
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &others);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &others); /* another one */
    PyGILState_STATE was = PyGILState_Ensure();
    expect_shut(&gi_limits[GI_KIND_MEM]);
    expect_open(&gi_limits[GI_KIND_OBJECT], true);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &words);
    expect_open(&gi_limits[GI_KIND_MEM], true);
    PyGILState_Release(was);
}

static void it_pops_and_pushes_and_nothing_else(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gi_thread_cache *cache = gi_current_cache;
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            size_t size = gi_class_size(size_class);
            gi_bin *bin = gi_bin_for_size(cache, kind, size);
            EXPECT(gi_cache_refill(cache, kind, size_class, "test"));
            gi_link *first = bin->alloc, *second = first->next;
            EXPECT(gi_object_malloc_fast(kind, &gi_limits[kind], size) == first);
            EXPECT(bin->alloc == second);
            int32_t room = bin->room;
            EXPECT(gi_object_free_fast(kind, &gi_limits[kind], first));
            EXPECT(bin->free == first && first->next == NULL);
            EXPECT_EQ(bin->room, room - 1);
            /* The other kind's functions leave it alone. */
            EXPECT(!gi_object_free_fast(!kind, &gi_limits[!kind], first));
            EXPECT_EQ(bin->room, room - 1);
            EXPECT(gi_cache_count_free(cache) > 0);
        }
    }
    gi_cache_flush(cache, "test");
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

static void the_lists_change_places(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gi_thread_cache *cache = gi_current_cache;
    gi_bin *bin = gi_bin_for_size(cache, GI_KIND_OBJECT, 48);
    gi_link *one = gi_object_malloc_slow(GI_KIND_OBJECT, 48), *two = gi_object_malloc_slow(GI_KIND_OBJECT, 48);
    gi_link *rest[GI_POOL_SIZE / 48];
    size_t count = 0;
    while (bin->alloc != NULL) {
        rest[count++] = gi_object_malloc_fast(GI_KIND_OBJECT, &gi_limits[GI_KIND_OBJECT], 48);
    }
    EXPECT(gi_object_swap(GI_KIND_OBJECT, 48) == NULL); /* nothing there */
    EXPECT(gi_object_free_fast(GI_KIND_OBJECT, &gi_limits[GI_KIND_OBJECT], one));
    EXPECT(gi_object_free_fast(GI_KIND_OBJECT, &gi_limits[GI_KIND_OBJECT], two));
    EXPECT(gi_object_swap(GI_KIND_OBJECT, 48) == two);
    EXPECT(bin->alloc == one && bin->free == NULL);
    EXPECT_EQ(bin->room, bin->cap);
    EXPECT(!bin->fresh);
    EXPECT(gi_object_swap(GI_KIND_OBJECT, 48) == NULL); /* `alloc` has some */
    EXPECT(gi_object_malloc_fast(GI_KIND_OBJECT, &gi_limits[GI_KIND_OBJECT], 48) == one);
    PyObject_Free(one);
    PyObject_Free(two);
    while (count > 0) {
        PyObject_Free(rest[--count]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

static void what_is_not_mine_is_left_to_the_slow_path(void) {
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
    PyThreadState *mine = PyThreadState_New(PyInterpreterState_Main());
    PyThreadState *other = PyThreadState_New(PyInterpreterState_Main());
    PyEval_RestoreThread(other);
    void *others = PyObject_Malloc(32);
    PyThreadState_Swap(mine);
    char *large = PyObject_Malloc(GI_SMALL_MAX + 1);
    char on_stack[64];
    const gi_reservation *r = gi_os_reservation();
    void *const not_mine[] = {others, large, on_stack, NULL, r->base, r->base + r->pages * GI_POOL_SIZE, r->base - 1};
    for (size_t i = 0; i < LENGTH(not_mine); i++) {
        EXPECT(!gi_object_free_fast(GI_KIND_OBJECT, &gi_limits[GI_KIND_OBJECT], not_mine[i]));
    }
    PyObject_Free(others);
    PyObject_Free(large);
    PyThreadState_Swap(NULL);
    PyThreadState_Delete(mine);
    PyThreadState_Delete(other);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(gilloc_check(), 0);
}

/* --- the slow path ---------------------------------------------------------------------------- */

static void callocated_blocks_are_zero_in_fresh_and_in_used_memory(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (int round = 0; round < 3; round++) {
        for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
            for (size_t size = 0; size <= GI_SMALL_MAX + 32; size++) {
                char *block = size % 2 != 0 ? gi_object_calloc_slow(kind, 1, size)
                                            : gi_object_calloc_fast(kind, &gi_limits[kind], size);
                if (block == NULL) {
                    block = gi_object_calloc_slow(kind, size, 1);
                }
                EXPECT(block != NULL);
                for (size_t i = 0; i < (size == 0 ? 1 : size); i++) {
                    EXPECT_EQ(block[i], 0);
                }
                memset(block, 0xA5, gi_object_usable_size(kind, block, "test"));
                gi_object_free_slow(kind, block);
            }
        }
        if (round == 1) {
            gilloc_purge();
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

/* What the rule says, in other words than the code's: CPython's pymalloc_realloc(), and the class of a block. */
static bool expected_to_stay(size_t class_size, size_t size) {
    if (size > class_size) {
        return false;
    }
    size_t least = class_size - GI_ALIGNMENT + 1; /* of the same class */
    return (size == 0 ? 1 : size) >= least || size * 4 > class_size * 3;
}

static void a_resized_block_follows_pymallocs_rule(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
            size_t class_size = gi_class_size(size_class);
            for (size_t size = 0; size <= GI_SMALL_MAX + 40; size++) {
                char *block = gi_object_malloc_slow(kind, class_size);
                pattern_fill(block, class_size, (uint32_t)size);
                char *resized = gi_object_realloc_slow(kind, block, size);
                EXPECT(resized != NULL);
                if ((resized == block) != expected_to_stay(class_size, size)) {
                    expect_failed(__FILE__, __LINE__, "%zu bytes to %zu: %s", class_size, size,
                                  resized == block ? "stayed" : "moved");
                }
                pattern_check(resized, size < class_size ? size : class_size, (uint32_t)size);
                size_t usable = gi_object_usable_size(kind, resized, "test");
                EXPECT(usable >= size);
                if (resized != block && size <= GI_SMALL_MAX) {
                    EXPECT_EQ(usable, gi_class_size(gi_size_class(size == 0 ? 1 : size)));
                }
                EXPECT_EQ(gilloc_allocated_blocks(), 1);
                gi_object_free_sized(kind, resized, size, "test"); /* the size that it has by now */
            }
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

static int64_t large_blocks(void) {
    return (int64_t)(gi_load_relaxed(&gi_current_cache->large) - gi_load_relaxed(&gi_current_cache->large_freed));
}

static void large_blocks_are_raw_and_counted(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (unsigned kind = 0; kind < DOMAIN_KINDS; kind++) {
        char *block = gi_object_malloc_slow(kind, GI_SMALL_MAX + 1);
        EXPECT(block != NULL && gi_address_word(block) == NULL);
        EXPECT_EQ(large_blocks(), 1);
        block = gi_object_realloc_slow(kind, block, 10); /* stays raw */
        EXPECT(block != NULL && gi_address_word(block) == NULL);
        EXPECT_EQ(large_blocks(), 1);
        gi_object_free_slow(kind, block);
        block = gi_object_calloc_slow(kind, 3, GI_SMALL_MAX);
        EXPECT_EQ(large_blocks(), 1);
        gi_object_free_sized(kind, block, 3 * GI_SMALL_MAX, "test");
        block = gi_object_realloc_slow(kind, NULL, GI_SMALL_MAX + 1);
        gi_object_free_slow(kind, block);
        gi_object_free_slow(kind, NULL);
        EXPECT_EQ(gi_object_usable_size(kind, NULL, "test"), 0);
        EXPECT_EQ(large_blocks(), 0);
    }
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

/* --- the raw domain that refuses, too --------------------------------------------------------- */

static struct {
    PyMemAllocatorEx inner;
    bool refuses; /* set while no other thread calls */
} raw;

static void *raw_malloc(void *ctx, size_t size) {
    (void)ctx;
    return raw.refuses ? NULL : raw.inner.malloc(raw.inner.ctx, size);
}

static void *raw_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return raw.refuses ? NULL : raw.inner.calloc(raw.inner.ctx, count, size);
}

static void *raw_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return raw.refuses ? NULL : raw.inner.realloc(raw.inner.ctx, block, size);
}

static void raw_free(void *ctx, void *block) {
    (void)ctx;
    raw.inner.free(raw.inner.ctx, block);
}

static void hook_raw(void) {
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw.inner);
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &(PyMemAllocatorEx){NULL, raw_malloc, raw_calloc, raw_realloc, raw_free});
}

/* --- an arena allocator that allocates ---------------------------------------------------------------------------- */

static struct {
    PyObjectArenaAllocator inner;
    bool inside;
    void *kept[512];
    size_t count;
} reentrant;

/* Takes some blocks of the very bin that is being refilled, and gives others back. */
static void allocate_inside(void) {
    if (reentrant.inside || reentrant.count + 40 > LENGTH(reentrant.kept)) {
        return;
    }
    reentrant.inside = true;
    for (int i = 0; i < 19; i++) { /* an odd number, so that something is left in the bin */
        PyObject_Free(PyObject_Malloc(64));
        reentrant.kept[reentrant.count++] = PyObject_Malloc(64);
        reentrant.kept[reentrant.count++] = PyObject_Malloc(0);
    }
    EXPECT_EQ(gilloc_allocated_blocks() >= reentrant.count, 1);
    reentrant.inside = false;
}

static void *reentrant_alloc(void *ctx, size_t size) {
    EXPECT(ctx == &reentrant);
    allocate_inside();
    void *arena = reentrant.inner.alloc(reentrant.inner.ctx, size);
    allocate_inside();
    return arena;
}

static void reentrant_free(void *ctx, void *arena, size_t size) {
    EXPECT(ctx == &reentrant);
    reentrant.inner.free(reentrant.inner.ctx, arena, size);
    allocate_inside();
}

static void allocate_while_arenas_come_and_go(gilloc_mode mode) {
    EXPECT_EQ(gilloc_set_mode(mode), 0);
    PyObject_GetArenaAllocator(&reentrant.inner);
    PyObject_SetArenaAllocator(&(PyObjectArenaAllocator){&reentrant, reentrant_alloc, reentrant_free});
    PyGILState_STATE was = PyGILState_Ensure();
    static char *blocks[3 * GI_ARENA_SIZE / GI_ALIGNMENT];
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            blocks[i] = PyObject_Malloc(round % 2 == 0 ? 0 : 64);
            EXPECT(blocks[i] != NULL);
            blocks[i][0] = (char)i;
        }
        EXPECT_EQ(gilloc_allocated_blocks(), LENGTH(blocks) + reentrant.count);
        EXPECT_EQ(gilloc_check(), 0);
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            EXPECT_EQ(blocks[i][0], (char)i);
            PyObject_Free(blocks[i]);
        }
        gilloc_purge();
        EXPECT_EQ(gilloc_allocated_blocks(), reentrant.count);
        EXPECT_EQ(gilloc_check(), 0);
    }
    EXPECT(reentrant.count > 80);
    reentrant.inside = true; /* enough */
    while (reentrant.count > 0) {
        PyObject_Free(reentrant.kept[--reentrant.count]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

static void an_arena_allocator_may_allocate(void) { allocate_while_arenas_come_and_go(GILLOC_MODE_GIL); }
static void an_arena_allocator_may_allocate_in_free_mode(void) { allocate_while_arenas_come_and_go(GILLOC_MODE_FREE); }

/* --- out of memory ---------------------------------------------------------------------------- */

#define K_MAX 200u

static const bool every_call[SYSTEM_CALLS] = {[SYSTEM_MAP] = true, [SYSTEM_PROTECT] = true, [SYSTEM_ADVISE] = true};

struct out_of_memory {
    gilloc_mode mode;
    bool reserve;
    size_t k;      /* the k-th call is refused, */
    bool all_on;   /* or all from the k-th on, */
    size_t tenths; /* or so many of ten */
    bool raw_too;  /* the raw domain refuses as well, if all from the k-th on are */
};

static void begin(const struct out_of_memory *test) {
    char bytes[32];
    snprintf(bytes, sizeof(bytes), "%zu", test->reserve ? (size_t)256 * GI_ARENA_SIZE : 0);
    EXPECT_EQ(setenv("GILLOC_RESERVE", bytes, 1), 0);
    if (test->raw_too) {
        hook_raw();
    }
    system_install();
    struct system_refusals refusals = {
        .at = test->all_on ? 0 : test->k, .from = test->all_on ? test->k : 0, .tenths = test->tenths, .seed = test->k};
    memcpy(refusals.calls, every_call, sizeof(every_call));
    system_refuse(&refusals);
    EXPECT_EQ(gilloc_set_mode(test->mode), 0);
}

static bool was_refused; /* anything, before memory was back */

static bool refused(void) { return was_refused || shared_get(&system_counts.refused) > 0; }

static void memory_is_back(void) {
    was_refused = refused();
    system_refuse(NULL);
    raw.refuses = false;
}

static PyThreadState *new_state(const struct out_of_memory *test) {
    PyThreadState *state = NULL;
    for (int tries = 0; state == NULL; tries++) {
        state = PyThreadState_New(PyInterpreterState_Main());
        EXPECT(state != NULL || refused());
        if (state == NULL && test->all_on) {
            EXPECT_EQ(gilloc_check(), 0);
            memory_is_back();
        }
        EXPECT_AT_MOST(tries, 100);
    }
    return state;
}

/* Some blocks of each kind and class; few of each, for what counts is how many pools and arenas come and go. */
#define BLOCKS (DOMAIN_KINDS * (GI_CLASSES + 1) * 3)

static size_t size_of_block(size_t i) { return i % (GI_CLASSES + 1) * GI_ALIGNMENT + i % 7; }

/* The bytes of a block that are written and looked at: not all, for there are many blocks. */
static size_t written(size_t size) { return size < 40 ? size : 40; }

static size_t alloc_all(char **blocks) {
    size_t count = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        unsigned kind = i % 2 != 0 ? GI_KIND_MEM : GI_KIND_OBJECT;
        size_t size = size_of_block(i);
        blocks[i] = kind == GI_KIND_MEM ? (i % 4 == 1 ? PyMem_Calloc(1, size) : PyMem_Malloc(size))
                                        : (i % 4 == 0 ? PyObject_Calloc(size, 1) : PyObject_Malloc(size));
        EXPECT(blocks[i] != NULL || raw.refuses);
        if (blocks[i] != NULL) {
            pattern_fill(blocks[i], written(size), (uint32_t)i);
            count++;
        }
    }
    return count;
}

/* Resizes and frees; what could not be resized is as it was. */
static void free_all(char **blocks) {
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = size_of_block(i), resized = size_of_block(i * 5 + 1);
        if (blocks[i] != NULL && i % 3 == 0) {
            char *moved = i % 2 != 0 ? PyMem_Realloc(blocks[i], resized) : PyObject_Realloc(blocks[i], resized);
            EXPECT(moved != NULL || (raw.refuses && resized > size));
            blocks[i] = moved != NULL ? moved : blocks[i];
            size = moved != NULL && resized < size ? resized : size;
        }
        if (blocks[i] != NULL) {
            pattern_check(blocks[i], written(size), (uint32_t)i);
        }
        if (i % 2 != 0) {
            PyMem_Free(blocks[i]);
        } else {
            PyObject_Free(blocks[i]);
        }
        blocks[i] = NULL;
    }
}

/* So many reach the last k that is tried; after a refusal so many more are enough. */
#define CYCLES 50
#define CYCLES_AFTER 4

/* Blocks of one thread state are freed by the next one, states come and go, all memory goes back in between. */
static void use_memory(const struct out_of_memory *test) {
    static char *blocks[BLOCKS];
    PyThreadState *first = new_state(test);
    for (int cycle = 0, last = CYCLES; cycle < last; cycle++) {
        if (test->tenths == 0 && refused() && cycle + CYCLES_AFTER < last) {
            last = cycle + CYCLES_AFTER;
        }
        raw.refuses = test->raw_too && shared_get(&system_counts.refused) > 0;
        PyEval_RestoreThread(first);
        size_t alive = alloc_all(blocks);
        EXPECT_EQ(gilloc_allocated_blocks(), alive);
        PyEval_SaveThread();
        PyThreadState *second = new_state(test);
        PyEval_RestoreThread(second);
        if (cycle % 3 == 0) {
            PyThreadState_Delete(first);
            first = NULL;
        }
        free_all(blocks);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        gilloc_purge();
        PyEval_SaveThread();
        if (first != NULL) {
            PyThreadState_Delete(first);
        }
        EXPECT(cycle % 4 != 0 || gilloc_check() == 0);
        first = second;
    }
    PyThreadState_Delete(first);
}

/* Nothing was lost, and everything works again. */
static void expect_well(void) {
    memory_is_back();
    if (raw.inner.malloc != NULL) {
        PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &raw.inner);
    }
    EXPECT_EQ(gilloc_check(), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(&(struct random_work){.seed = 1, .operations = 800, .live = 200});
    memory_expect_all_back();
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

static void run_out_of_memory(void *arg) {
    const struct out_of_memory *test = arg;
    begin(test);
    use_memory(test);
    EXPECT(refused());
    expect_well();
}

/* How many calls there are to refuse. */
static void count_calls(void *arg) {
    const struct out_of_memory *test = arg;
    begin(test);
    use_memory(test);
    EXPECT_AT_MOST(K_MAX, shared_get(&system_counts.meant));
    expect_well();
}

static void run(const struct out_of_memory *test, void (*body)(void *arg)) {
    struct child_end end;
    child_run(&end, body, (void *)test);
    if (end.status != 0 || end.text[0] != '\0') {
        print_error("%s mode, %s reservation, %s %zu, %zu tenths: exit status %d, signal %d, stderr:\n%s\n",
                    test->mode == GILLOC_MODE_GIL ? "gil" : "free", test->reserve ? "with" : "without",
                    test->all_on ? "all calls from" : "call", test->k, test->tenths, end.status, end.signal, end.text);
        child_end_fini(&end);
        fail();
    }
    child_end_fini(&end);
}

/* Sanitizers take ten times as long for each process: with them not each k above 20 is tried. */
#define NEXT(k) ((UNDER_TSAN || UNDER_ASAN) && (k) >= 20 ? 20 : 1)
/* Each `step`-th k up to K_MAX. */
static void for_each_k(struct out_of_memory test, gilloc_mode mode, bool reserve, size_t step) {
    test.mode = mode;
    test.reserve = reserve;
    test.k = SIZE_MAX;
    run(&test, count_calls);
    for (test.k = 1; test.k <= K_MAX; test.k += step > NEXT(test.k) ? step : NEXT(test.k)) {
        run(&test, run_out_of_memory);
    }
}

/* Every k in one mode with a reservation and in the other without; between them some are enough. */
static void the_kth_call_into_the_system_is_refused(void **state) {
    (void)state;
    const struct out_of_memory test = {.all_on = false};
    for_each_k(test, GILLOC_MODE_GIL, true, 1);
    for_each_k(test, GILLOC_MODE_GIL, false, 7);
    for_each_k(test, GILLOC_MODE_FREE, true, 7);
    for_each_k(test, GILLOC_MODE_FREE, false, 1);
}

static void all_calls_from_the_kth_are_refused(void **state) {
    (void)state;
    const struct out_of_memory test = {.all_on = true};
    for_each_k(test, GILLOC_MODE_GIL, true, 1);
    for_each_k(test, GILLOC_MODE_FREE, false, 7);
}

static void all_calls_from_the_kth_are_refused_and_the_raw_domain_too(void **state) {
    (void)state;
    const struct out_of_memory test = {.all_on = true, .raw_too = true};
    for_each_k(test, GILLOC_MODE_GIL, false, 7);
    for_each_k(test, GILLOC_MODE_FREE, true, 1);
}

static void calls_are_refused_at_random(void **state) {
    (void)state;
    for (size_t tenths = 1; tenths <= 9; tenths += 2) {
        for (size_t seed = 2; seed < 8; seed++) {
            struct out_of_memory test = {.k = SIZE_MAX - seed,
                                         .tenths = tenths,
                                         .mode = seed % 2 == 0 ? GILLOC_MODE_GIL : GILLOC_MODE_FREE,
                                         .reserve = seed < 5};
            run(&test, run_out_of_memory);
        }
    }
}

static void *work_without_memory(void *arg) {
    const size_t seed = *(const size_t *)arg;
    for (size_t i = 0; i < 5; i++) {
        PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
        if (state != NULL) {
            PyEval_RestoreThread(state);
            random_work_do(
                &(struct random_work){.seed = seed * 5 + i, .operations = ROUNDS(4000), .live = 300, .safepoint = 16});
            PyThreadState_DeleteCurrent();
        }
    }
    return NULL;
}

static void run_threads_without_memory(void *arg) {
    static size_t seeds[4] = {1, 2, 3, 4};
    begin(arg);
    threads_run(LENGTH(seeds), work_without_memory, seeds, sizeof(seeds[0]));
    EXPECT(refused());
    expect_well();
}

static void calls_are_refused_at_random_in_many_threads(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct out_of_memory test = {
            .k = SIZE_MAX, .tenths = 4, .mode = i % 2 == 0 ? GILLOC_MODE_GIL : GILLOC_MODE_FREE, .reserve = i / 2 == 0};
        run(&test, run_threads_without_memory);
    }
}

/* --- realloc without memory ------------------------------------------------------------------- */

static void without_memory_a_block_shrinks_in_place_and_does_not_grow(void) {
    hook_raw();
    system_install();
    PyGILState_STATE was = PyGILState_Ensure();
    char *block = PyObject_Malloc(512);
    pattern_fill(block, 512, 9);
    gilloc_purge();
    system_refuse_all();
    raw.refuses = true;
    /* All that is committed is used up. */
    size_t count = 0;
    static void *used[1 << 20];
    while (count < LENGTH(used) && (used[count] = PyObject_Malloc(128)) != NULL) {
        count++;
    }
    EXPECT(count < LENGTH(used));
    EXPECT(PyObject_Realloc(block, 513) == NULL);
    EXPECT(PyObject_Realloc(block, 1 << 20) == NULL);
    EXPECT(PyObject_Realloc(block, 16) == block);
    EXPECT(PyObject_Realloc(block, 0) == block);
    EXPECT(PyObject_Realloc(block, 400) == block);
    pattern_check(block, 512, 9);
    EXPECT(PyObject_Malloc(16) == NULL);
    EXPECT(PyObject_Malloc(0) == NULL);
    EXPECT(PyObject_Calloc(1, 16) == NULL);
    EXPECT(PyObject_Realloc(NULL, 16) == NULL);
    EXPECT(PyMem_Malloc(600) == NULL);
    EXPECT_EQ(gilloc_allocated_blocks(), count + 1);
    memory_is_back();
    PyObject_Free(block);
    while (count > 0) {
        PyObject_Free(used[--count]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(each_size_has_its_bin),
        IN_CHILD(domains_open_and_close),
        IN_CHILD(a_detached_thread_never_takes_it),
        IN_CHILD(domains_are_closed_before_first_use),
        IN_CHILD(it_pops_and_pushes_and_nothing_else),
        IN_CHILD(the_lists_change_places),
        IN_CHILD(what_is_not_mine_is_left_to_the_slow_path),
        IN_CHILD(callocated_blocks_are_zero_in_fresh_and_in_used_memory),
        IN_CHILD(a_resized_block_follows_pymallocs_rule),
        IN_CHILD(large_blocks_are_raw_and_counted),
        IN_CHILD(an_arena_allocator_may_allocate),
        IN_CHILD(an_arena_allocator_may_allocate_in_free_mode),
        cmocka_unit_test(the_kth_call_into_the_system_is_refused),
        cmocka_unit_test(all_calls_from_the_kth_are_refused),
        cmocka_unit_test(all_calls_from_the_kth_are_refused_and_the_raw_domain_too),
        cmocka_unit_test(calls_are_refused_at_random),
        cmocka_unit_test(calls_are_refused_at_random_in_many_threads),
        IN_CHILD(without_memory_a_block_shrinks_in_place_and_does_not_grow),
    };
    return cmocka_run_group_tests_name("object alloc", tests, NULL, NULL);
}
