/* SPDX-License-Identifier: MIT */
/*
 * memory_test.c - memory runs out, goes back to the system, and is bounded by what is alive.
 */
#include "tests/support/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/arena_source.h"
#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/random_work.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"

#define FAILURES 200

static struct arena_source source;

/* --- out of memory ---------------------------------------------------------------------------- */

/* Blocks of 512 bytes, a tail included, linked through their first word, each with its number in the last. */
struct link {
    struct link *next;
    char rest[504 - sizeof(struct link *) - sizeof(size_t)];
    size_t number;
};

static struct link *push(struct link *first, size_t number) {
    struct link *link = PyObject_Malloc(sizeof(struct link));
    EXPECT(link != NULL);
    link->next = first;
    link->number = number;
    return link;
}

static void pop_all(struct link *first, size_t count) {
    while (first != NULL) {
        struct link *next = first->next;
        EXPECT_EQ(first->number, --count);
        PyObject_Free(first);
        first = next;
    }
    EXPECT_EQ(count, 0);
}

/* Allocates until the arena hook has been called `calls` times more, then a little further; frees all. */
static void use_arenas(size_t calls) {
    size_t last = source.calls + calls;
    struct link *first = NULL;
    size_t count = 0;
    while (source.calls < last) {
        first = push(first, count++);
    }
    for (int i = 0; i < 100; i++) {
        first = push(first, count++);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), count);
    pop_all(first, count);
    memory_expect_all_back();
    EXPECT_EQ(arena_source_alive(&source), 0);
}

/* Sanitizers pay for each page that is touched, so with them not every k starts from nothing; see the next test. */
#define NEXT(k) ((UNDER_TSAN || UNDER_ASAN) && (k) >= 20 ? 20 : 1)

/* The k-th arena is refused, for each k: the request is served from the raw domain, all others as ever. */
static void the_kth_arena_is_refused(void) {
    arena_source_init(&source);
    arena_source_install(&source);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 1; k <= FAILURES; k += NEXT(k)) {
        source.fail_at = source.calls + k;
        use_arenas(k + 1);
    }
    EXPECT_EQ(gilloc_check(), 0);
    PyGILState_Release(was);
    EXPECT(source.calls > source.given);
    arena_source_fini(&source);
}

/* With each number of arenas alive, from none to 200, the next one is refused once. */
static void each_arena_is_refused_once(void) {
    arena_source_init(&source);
    arena_source_install(&source);
    PyGILState_STATE was = PyGILState_Ensure();
    struct link *first = NULL;
    size_t count = 0;
    for (size_t k = 1; k <= FAILURES; k++) {
        source.fail_at = source.calls + 1;
        while (source.given < k) {
            first = push(first, count++);
        }
    }
    EXPECT(source.calls >= 2 * FAILURES);
    EXPECT_EQ(gilloc_check(), 0);
    pop_all(first, count);
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(&source);
}

/* All from the k-th on are refused. */
static void all_from_the_kth_arena_are_refused(void) {
    arena_source_init(&source);
    arena_source_install(&source);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 1; k <= FAILURES; k += k < 20 ? 1 : 20) {
        source.fail_from = source.calls + k;
        use_arenas(k + 2);
        source.fail_from = 0;
    }
    PyGILState_Release(was);
    arena_source_fini(&source);
}

/* The raw domain refuses its k-th call, of whatever kind. */
static struct {
    PyMemAllocatorEx inner;
    size_t calls;
    size_t fail_at;
} raw;

static int raw_refuses(void) { return ++raw.calls == raw.fail_at; }
static void *raw_malloc(void *ctx, size_t size) {
    (void)ctx;
    return raw_refuses() ? NULL : raw.inner.malloc(raw.inner.ctx, size);
}
static void *raw_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return raw_refuses() ? NULL : raw.inner.calloc(raw.inner.ctx, count, size);
}
static void *raw_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return raw_refuses() ? NULL : raw.inner.realloc(raw.inner.ctx, block, size);
}
static void raw_free(void *ctx, void *block) {
    (void)ctx;
    raw.inner.free(raw.inner.ctx, block);
}

static void the_kth_raw_call_is_refused(void) {
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw.inner);
    PyMemAllocatorEx words = {NULL, raw_malloc, raw_calloc, raw_realloc, raw_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &words);
    arena_source_init(&source);
    source.fail_from = 20; /* small requests come to the raw domain too */
    arena_source_install(&source);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 1; k <= FAILURES; k++) {
        raw.fail_at = raw.calls + k;
        random_work_do(&(struct random_work){.seed = k, .operations = 2000, .live = 500, .may_fail = 1});
        EXPECT(raw.calls >= raw.fail_at);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
    }
    raw.fail_at = 0;
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(&source);
}

#if !UNDER_ASAN && !UNDER_TSAN
/* The system itself has no more.  Not under ASan and TSan, which die of a limit on the address space. */
static void fill_the_address_space(gilloc_mode mode) {
    /* Before the library's first call, which reserves what it may. */
    const struct rlimit limit = {(rlim_t)256 << 20, (rlim_t)256 << 20};
    EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    EXPECT_EQ(gilloc_set_mode(mode), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    for (int round = 0; round < 3; round++) {
        struct link *first = NULL;
        size_t count = 0;
        for (;;) {
            struct link *link = PyObject_Malloc(sizeof(struct link));
            if (link == NULL) {
                break;
            }
            link->next = first;
            link->number = count++;
            first = link;
        }
        /* Half of the limit at least was of use, and NULL is the answer to other requests too. */
        EXPECT(count * sizeof(struct link) > (size_t)limit.rlim_cur / 2);
        EXPECT(PyMem_Malloc(100000) == NULL);
        EXPECT(PyMem_Calloc(1000, 1000) == NULL);
        EXPECT(PyObject_Realloc(first, 1 << 20) == NULL);
        EXPECT_EQ(first->number, count - 1);
        EXPECT_EQ(gilloc_allocated_blocks(), count);
        pop_all(first, count);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void the_address_space_is_full(void) { fill_the_address_space(GILLOC_MODE_GIL); }
static void the_address_space_is_full_in_free_mode(void) { fill_the_address_space(GILLOC_MODE_FREE); }
#endif

/* --- memory goes back ------------------------------------------------------------------------- */

#define BIG (20 << 20)

static void empty_arenas_go_back(void) {
    static const size_t sizes[] = {16, 48, 64, 504, 304};
    PyGILState_STATE was = PyGILState_Ensure();
    void **blocks = malloc(BIG / 16 * sizeof(void *));
    EXPECT(blocks != NULL);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t count = ROUNDS(BIG / sizes[s]);
        gilloc_stats start = memory_stats();
        for (size_t i = 0; i < count; i++) {
            blocks[i] = PyObject_Malloc(sizes[s]);
            EXPECT(blocks[i] != NULL);
        }
        gilloc_stats full = memory_stats();
        EXPECT(full.arenas > 4);
        EXPECT_EQ(full.arenas, full.arenas_acquired - full.arenas_released);
        EXPECT(full.bytes_from_system - full.bytes_to_system >= count * sizes[s]);
        for (size_t i = 0; i < count; i++) {
            PyObject_Free(blocks[i]);
        }
        /* Without being asked, all but a few go: one to spare, and what the caches of the sizes so far pin. */
        gilloc_stats empty = memory_stats();
        EXPECT_EQ(empty.small_blocks, 0);
        EXPECT_AT_MOST(empty.arenas, 4 + s);
        EXPECT(empty.arenas_released > start.arenas_released);
        EXPECT(empty.bytes_to_system > start.bytes_to_system);
    }
    /* And the rest when asked: so many bytes, and no more the second time. */
    gilloc_stats before = memory_stats();
    size_t purged = gilloc_purge();
    gilloc_stats after = memory_stats();
    EXPECT_EQ(after.bytes_to_system - before.bytes_to_system, purged);
    EXPECT_EQ(after.arenas, 0);
    EXPECT_EQ(gilloc_purge(), 0);
    memory_expect_all_back();
    free(blocks);
    PyGILState_Release(was);
}

/* Arenas that stay give back their empty pools: one block in each pins little. */
static void empty_pools_of_busy_arenas_go_back(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    size_t count = ROUNDS(BIG / 64);
    char **blocks = malloc(count * sizeof(void *));
    EXPECT(blocks != NULL);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = PyObject_Malloc(64);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], 1, 64);
    }
    gilloc_stats full = memory_stats();
    /* One block of each 256 KiB stays. */
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (i % 4096 == 0) {
            blocks[kept++] = blocks[i];
        } else {
            PyObject_Free(blocks[i]);
        }
    }
    gilloc_purge();
    gilloc_stats sparse = memory_stats();
    EXPECT_EQ(sparse.small_blocks, kept);
    EXPECT_AT_MOST(sparse.pools, kept);
    size_t committed = sparse.bytes_from_system - sparse.bytes_to_system;
    size_t all = full.bytes_from_system - full.bytes_to_system;
    EXPECT_AT_MOST(committed, all / 8 + ARENA_SIZE); /* the last arena may not have been filled */
    for (size_t i = 0; i < kept; i++) {
        EXPECT_EQ(blocks[i][63], 1);
        PyObject_Free(blocks[i]);
    }
    memory_expect_all_back();
    free(blocks);
    PyGILState_Release(was);
}

#if PLAIN_BUILD
/* What the statistics say, the system sees. */
static void the_resident_set_shrinks(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_Free(PyMem_Malloc(1));
    size_t start = memory_resident();
    struct link *first = NULL;
    size_t count = 0;
    while (count * sizeof(struct link) < 64 << 20) {
        first = push(first, count++);
    }
    EXPECT(memory_resident() > start + (60 << 20));
    pop_all(first, count);
    EXPECT_AT_MOST(memory_resident(), start + (8 << 20));
    gilloc_purge();
    EXPECT_AT_MOST(memory_resident(), start + (4 << 20));
    PyGILState_Release(was);
}
#endif

/* A load that swings by one arena, into a new one and out of it, neither takes nor gives an arena at each swing. */
static void a_small_swing_keeps_its_arena(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    struct link *base = NULL;
    size_t count = 0;
    while (memory_stats().arenas_acquired < 4) {
        base = push(base, count++);
    }
    size_t swings_by = count / 3; /* three arenas are full, the fourth has just begun */
    gilloc_stats start = memory_stats();
    for (int swing = 0; swing < 1000; swing++) {
        struct link *first = NULL;
        for (size_t i = 0; i < swings_by; i++) {
            first = push(first, i);
        }
        pop_all(first, swings_by);
    }
    EXPECT_AT_MOST(memory_stats().arenas_acquired - start.arenas_acquired, 2);
    pop_all(base, count);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- memory is bounded ------------------------------------------------------------------------ */

/* One size after the other: what one leaves, the next uses. */
static void sizes_follow_each_other(void) {
    const size_t bytes = ROUNDS(8 << 20);
    PyGILState_STATE was = PyGILState_Ensure();
    void **blocks = malloc(bytes / 16 * sizeof(void *));
    EXPECT(blocks != NULL);
    size_t most = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t size = 16; size <= SMALL_LIMIT; size += 16) {
            size_t count = bytes / (small_block_size(size) + TAIL);
            for (size_t i = 0; i < count; i++) {
                blocks[i] = PyMem_Malloc(size);
                EXPECT(blocks[i] != NULL);
            }
            gilloc_stats full = memory_stats();
            size_t committed = full.bytes_from_system - full.bytes_to_system;
            most = committed > most ? committed : most;
            for (size_t i = 0; i < count; i++) {
                PyMem_Free(blocks[i]);
            }
        }
    }
    /* Each class keeps two lists in its bin, lists in the stash, the pools that hold these, the rest of one pool. */
    EXPECT_AT_MOST(most, bytes + bytes / 4 + 32 * (64 << 10));
    memory_expect_all_back();
    free(blocks);
    PyGILState_Release(was);
}

/* A fixed number of blocks, each replaced at random by one of another size, for a long time. */
static void a_fixed_live_set_is_replaced(void) {
    enum { LIVE = 20000 };
    static void *blocks[LIVE];
    struct random random = random_seeded(8);
    PyGILState_STATE was = PyGILState_Ensure();
    size_t early = 0;
    for (size_t i = 0; i < ROUNDS(2000000); i++) {
        size_t slot = random_below(&random, LIVE);
        PyMem_Free(blocks[slot]);
        blocks[slot] = PyMem_Malloc(1 + random_below(&random, 128));
        EXPECT(blocks[slot] != NULL);
        if (i == ROUNDS(2000000) / 4) {
            early = memory_stats().arenas;
        }
    }
    EXPECT_AT_MOST(memory_stats().arenas, early + early / 4 + 2);
    for (size_t i = 0; i < LIVE; i++) {
        PyMem_Free(blocks[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(the_kth_arena_is_refused),
        IN_BOTH_MODES(each_arena_is_refused_once),
        IN_BOTH_MODES(all_from_the_kth_arena_are_refused),
        IN_BOTH_MODES(the_kth_raw_call_is_refused),
#if !UNDER_ASAN && !UNDER_TSAN
        IN_OPEN_MODE(the_address_space_is_full),
        IN_OPEN_MODE(the_address_space_is_full_in_free_mode),
#endif
        IN_BOTH_MODES(empty_arenas_go_back),
        IN_BOTH_MODES(empty_pools_of_busy_arenas_go_back),
#if PLAIN_BUILD
        IN_BOTH_MODES(the_resident_set_shrinks),
#endif
        IN_BOTH_MODES(a_small_swing_keeps_its_arena),
        IN_BOTH_MODES(sizes_follow_each_other),
        IN_BOTH_MODES(a_fixed_live_set_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
