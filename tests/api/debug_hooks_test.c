/* SPDX-License-Identifier: MIT */
/*
 * debug_hooks_test.c - what debug hooks make of right use: CPython's layout and bytes, realloc, sizes, walks; blocks
 *   from before; hooks around them and inside them; PYTHONMALLOC.  What they make of wrong use: tests/death.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/random_work.h"
#include "tests/support/threads.h"

static const size_t sizes[] = {0,   1,   5,   15,   16,   17,   100,  487,    488,
                               489, 512, 513, 1000, 4094, 4095, 5000, 100000, 1000000};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void expect_bytes(const unsigned char *bytes, size_t size, unsigned char value) {
    for (size_t i = 0; i < size; i++) {
        EXPECT_EQ(bytes[i], value);
    }
}

/* --- layout ----------------------------------------------------------------------------------- */

/* CPython's: _PyMem_DebugRawAlloc. */
static void expect_layout(const unsigned char *p, size_t size, char id) {
    for (size_t i = 0; i < 8; i++) {
        EXPECT_EQ(p[(ptrdiff_t)i - 16], (unsigned char)(size >> 8 * (7 - i)));
    }
    EXPECT_EQ(p[-8], (unsigned char)id);
    expect_bytes(p - 7, 7, 0xFD);
    expect_bytes(p + size, 8, 0xFD);
}

static void a_block_is_as_cpythons(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        for (size_t i = 0; i < SIZES; i++) {
            unsigned char *p = domains[d].malloc(sizes[i]), *q = domains[d].calloc(1, sizes[i]);
            EXPECT((size_t)p % 16 == 0 && (size_t)q % 16 == 0);
            expect_layout(p, sizes[i], "rmo"[d]);
            expect_layout(q, sizes[i], "rmo"[d]);
            expect_bytes(p, sizes[i], 0xCD);
            expect_bytes(q, sizes[i], 0);
            EXPECT_EQ(gilloc_usable_size(domains[d].id, p), sizes[i]);
            domains[d].free(p);
            gilloc_free_sized(domains[d].id, q, sizes[i]);
        }
    }
    PyGILState_Release(was);
}

/* It waits in the quarantine, so it may be looked at. */
static void a_freed_block_is_filled(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        unsigned char *p = domains[d].malloc(100);
        memset(p, 1, 100);
        domains[d].free(p);
        expect_bytes(p - 16, 124, 0xDD);
    }
    PyGILState_Release(was);
}

static void sizes_that_cannot_be_are_refused(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        EXPECT(domains[d].malloc((size_t)PY_SSIZE_T_MAX) == NULL);
        EXPECT(domains[d].malloc((size_t)PY_SSIZE_T_MAX - 23) == NULL);
        EXPECT(domains[d].calloc((size_t)PY_SSIZE_T_MAX, 1) == NULL);
        EXPECT(domains[d].calloc(SIZE_MAX, SIZE_MAX) == NULL);
        unsigned char *p = domains[d].malloc(10);
        EXPECT(domains[d].realloc(p, (size_t)PY_SSIZE_T_MAX) == NULL);
        EXPECT(domains[d].realloc(p, (size_t)PY_SSIZE_T_MAX / 2) == NULL);
        expect_layout(p, 10, "rmo"[d]);
        expect_bytes(p, 10, 0xCD);
        domains[d].free(p);
        domains[d].free(NULL);
        /* By the table, which asks for no size first: one that would come round to a small one. */
        PyMemAllocatorEx table;
        PyMem_GetAllocator(domains[d].id, &table);
        void *other = domains[d].malloc(0); /* there are more for the next requests of that class */
        for (size_t less = 0; less < 40; less++) {
            EXPECT(table.malloc(table.ctx, SIZE_MAX - less) == NULL);
            EXPECT(table.calloc(table.ctx, 1, SIZE_MAX - less) == NULL);
        }
        domains[d].free(other);
    }
    PyGILState_Release(was);
}

/* --- realloc ---------------------------------------------------------------------------------- */

static void realloc_keeps_what_was(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        for (size_t i = 0; i < SIZES; i++) {
            for (size_t j = 0; j < SIZES; j++) {
                unsigned char *p = domains[d].realloc(NULL, sizes[i]);
                memset(p, 7, sizes[i]);
                size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
                p = domains[d].realloc(p, sizes[j]);
                expect_layout(p, sizes[j], "rmo"[d]);
                expect_bytes(p, kept, 7);
                expect_bytes(p + kept, sizes[j] - kept, 0xCD);
                EXPECT_EQ(gilloc_usable_size(domains[d].id, p), sizes[j]);
                domains[d].free(p);
            }
        }
    }
    PyGILState_Release(was);
}

/* The old block waits, and who still uses it sees so. */
static void a_block_that_is_resized_moves_or_stays(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    unsigned char *p = PyMem_Malloc(100), *q = PyMem_Realloc(p, 104);
    EXPECT(p == q);
    q = PyMem_Realloc(p, 200);
    EXPECT(p != q);
    expect_bytes(p - 16, 128, 0xDD);
    PyMem_Free(q);
    PyGILState_Release(was);
}

/* --- the heap's view -------------------------------------------------------------------------- */

struct visited {
    void *block;
    size_t size, count;
};

static int note(void *block, size_t size, void *arg) {
    struct visited *visited = arg;
    visited->count++;
    if (block == visited->block) {
        visited->size = size;
    }
    return 0;
}

static void a_walk_sees_live_blocks_as_they_are_used(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *before = PyObject_Malloc(40);
    size_t usable = gilloc_usable_size(PYMEM_DOMAIN_OBJ, before);
    PyMem_SetupDebugHooks();
    void *live = PyObject_Malloc(50), *freed = PyObject_Malloc(50);
    PyObject_Free(freed);
    struct visited visited = {.block = live};
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, note, &visited), 0);
    EXPECT_EQ(visited.count, 2);
    EXPECT_EQ(visited.size, 50);
    visited = (struct visited){.block = before};
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, note, &visited), 0);
    EXPECT_EQ(visited.size, usable);
    PyObject_Free(live);
    PyObject_Free(before);
    PyGILState_Release(was);
}

static void quarantined_blocks_are_not_allocated_ones(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (size_t i = 0; i < SIZES; i++) {
        size_t before = gilloc_allocated_blocks();
        void *p = PyMem_Malloc(sizes[i]);
        EXPECT_EQ(gilloc_allocated_blocks(), before + 1);
        PyMem_Free(p);
        EXPECT_EQ(gilloc_allocated_blocks(), before);
    }
    PyGILState_Release(was);
}

static void a_purge_empties_the_quarantine(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (int i = 0; i < 1000; i++) {
        PyMem_Free(PyMem_Malloc(100));
        PyMem_RawFree(PyMem_RawMalloc(100));
    }
    gilloc_purge();
    EXPECT_EQ(memory_stats().pools, 0);
    PyGILState_Release(was);
}

static void what_is_retired_is_freed(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        unsigned char *p = domains[d].malloc(100);
        gilloc_retire(domains[d].id, p);
        expect_bytes(p, 100, 0xCD);
        gilloc_reclaim();
        expect_bytes(p, 100, 0xDD);
    }
    PyGILState_Release(was);
}

/* --- blocks from before, hooks around --------------------------------------------------------- */

static void blocks_from_before_are_known_as_such(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *old[DOMAINS][SIZES][2];
    for (int d = 0; d < DOMAINS; d++) {
        for (size_t i = 0; i < SIZES; i++) {
            for (int k = 0; k < 2; k++) {
                old[d][i][k] = domains[d].malloc(sizes[i]);
                memset(old[d][i][k], 3, sizes[i]);
            }
        }
    }
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        for (size_t i = 0; i < SIZES; i++) {
            unsigned char *p = domains[d].realloc(old[d][i][0], sizes[i] + 600);
            expect_bytes(p, sizes[i], 3);
            domains[d].free(p);
            domains[d].free(old[d][i][1]);
        }
    }
    PyGILState_Release(was);
}

static void hooks_are_installed_once(void) {
    PyMemAllocatorEx plain, first, second;
    for (int d = 0; d < DOMAINS; d++) {
        PyMem_GetAllocator(domains[d].id, &plain);
        PyMem_SetupDebugHooks();
        PyMem_GetAllocator(domains[d].id, &first);
        PyMem_SetupDebugHooks();
        PyMem_GetAllocator(domains[d].id, &second);
        EXPECT(first.malloc != plain.malloc || d != 0);
        EXPECT(first.ctx == second.ctx && first.malloc == second.malloc && first.free == second.free);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    unsigned char *p = PyMem_Malloc(10);
    expect_layout(p, 10, 'm');
    PyMem_Free(p);
    PyGILState_Release(was);
}

/* A wrapper that counts. */
struct wrapper {
    PyMemAllocatorEx below;
    size_t calls;
};

static void *wrap_malloc(void *ctx, size_t size) {
    struct wrapper *wrapper = ctx;
    wrapper->calls++;
    return wrapper->below.malloc(wrapper->below.ctx, size);
}
static void *wrap_calloc(void *ctx, size_t count, size_t size) {
    struct wrapper *wrapper = ctx;
    wrapper->calls++;
    return wrapper->below.calloc(wrapper->below.ctx, count, size);
}
static void *wrap_realloc(void *ctx, void *p, size_t size) {
    struct wrapper *wrapper = ctx;
    wrapper->calls++;
    return wrapper->below.realloc(wrapper->below.ctx, p, size);
}
static void wrap_free(void *ctx, void *p) {
    struct wrapper *wrapper = ctx;
    wrapper->calls++;
    wrapper->below.free(wrapper->below.ctx, p);
}

static void wrap(struct wrapper *wrapper, PyMemAllocatorDomain domain) {
    PyMem_GetAllocator(domain, &wrapper->below);
    PyMem_SetAllocator(domain, &(PyMemAllocatorEx){wrapper, wrap_malloc, wrap_calloc, wrap_realloc, wrap_free});
}

static struct wrapper inner[DOMAINS], outer[DOMAINS];

static void use_all(void) {
    for (int d = 0; d < DOMAINS; d++) {
        for (size_t i = 0; i < SIZES; i++) {
            unsigned char *p = domains[d].malloc(sizes[i]);
            memset(p, 9, sizes[i]);
            p = domains[d].realloc(p, sizes[i] * 2 + 1);
            expect_bytes(p, sizes[i], 9);
            domains[d].free(p);
            domains[d].free(domains[d].calloc(3, sizes[i]));
        }
    }
}

static void wrappers_inside_and_outside_see_all(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (int d = 0; d < DOMAINS; d++) {
        wrap(&inner[d], domains[d].id);
    }
    PyMem_SetupDebugHooks();
    for (int d = 0; d < DOMAINS; d++) {
        wrap(&outer[d], domains[d].id);
    }
    PyMem_SetupDebugHooks(); /* CPython's own would call themselves for ever now */
    use_all();
    gilloc_purge();
    for (int d = 0; d < DOMAINS; d++) {
        EXPECT(inner[d].calls > 2 * SIZES);
        EXPECT(outer[d].calls > 2 * SIZES);
        unsigned char *p = domains[d].malloc(20);
        expect_layout(p, 20, "rmo"[d]);
        expect_layout(p - 16, 44, "rmo"[d]);
        domains[d].free(p);
    }
    PyGILState_Release(was);
}

/* A hook inside that keeps a list, in the raw domain, of what it has seen: the list is resized in calls for small
   blocks and for large ones. */
struct keeper {
    PyMemAllocatorEx below;
    void **seen;
    size_t count;
};

static void keep(struct keeper *keeper, void *block) {
    keeper->seen = PyMem_RawRealloc(keeper->seen, (keeper->count + 1) * sizeof(void *));
    keeper->seen[keeper->count++] = block;
}
static void *keep_malloc(void *ctx, size_t size) {
    struct keeper *keeper = ctx;
    void *block = keeper->below.malloc(keeper->below.ctx, size);
    keep(keeper, block);
    return block;
}
static void *keep_calloc(void *ctx, size_t count, size_t size) {
    struct keeper *keeper = ctx;
    keep(keeper, NULL);
    return keeper->below.calloc(keeper->below.ctx, count, size);
}
static void *keep_realloc(void *ctx, void *p, size_t size) {
    struct keeper *keeper = ctx;
    keep(keeper, p);
    return keeper->below.realloc(keeper->below.ctx, p, size);
}
static void keep_free(void *ctx, void *p) {
    struct keeper *keeper = ctx;
    keep(keeper, p);
    keeper->below.free(keeper->below.ctx, p);
}

static void a_hook_inside_uses_the_raw_domain(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    static struct keeper keepers[DOMAINS];
    for (int d = PYMEM_DOMAIN_MEM; d < DOMAINS; d++) {
        PyMem_GetAllocator(domains[d].id, &keepers[d].below);
        PyMem_SetAllocator(domains[d].id,
                           &(PyMemAllocatorEx){&keepers[d], keep_malloc, keep_calloc, keep_realloc, keep_free});
    }
    PyMem_SetupDebugHooks();
    for (int round = 0; round < 3; round++) {
        use_all();
    }
    gilloc_purge();
    for (int d = PYMEM_DOMAIN_MEM; d < DOMAINS; d++) {
        EXPECT(keepers[d].count > 6 * SIZES);
        PyMem_RawFree(keepers[d].seen);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* As a runtime does that turns them off again: the blocks of the hooks are gone by then. */
static void hooks_are_taken_off_and_put_on(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMemAllocatorEx plain[DOMAINS];
    for (int d = 0; d < DOMAINS; d++) {
        PyMem_GetAllocator(domains[d].id, &plain[d]);
    }
    void *old[2000];
    for (int round = 0; round < 3; round++) {
        PyMem_SetupDebugHooks();
        use_all();
        for (int i = 0; i < 2000; i++) {
            old[i] = PyMem_Malloc(50);
        }
        for (int i = 0; i < 2000; i++) {
            PyMem_Free(old[i]);
        }
        gilloc_purge();
        for (int d = 0; d < DOMAINS; d++) {
            PyMem_SetAllocator(domains[d].id, &plain[d]);
        }
        use_all();
        for (int i = 0; i < 2000; i++) {
            old[i] = PyMem_Malloc((size_t)(i % 8) * 16);
        }
        PyMem_SetupDebugHooks();
        for (int i = 0; i < 2000; i++) {
            PyMem_Free(old[i]);
        }
    }
    PyGILState_Release(was);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void *work(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(
        &(struct random_work){.seed = *(const uint64_t *)arg, .operations = 5000, .live = 200, .safepoint = 10});
    PyGILState_Release(was);
    return NULL;
}

static void threads_use_them(void) {
    PyMem_SetupDebugHooks();
    uint64_t seeds[4] = {1, 2, 3, 4};
    threads_run(4, work, seeds, sizeof(seeds[0]));
}

static void *install(void *unused) {
    (void)unused;
    for (int i = 0; i < 20; i++) {
        PyMem_SetupDebugHooks();
    }
    return NULL;
}

static void threads_install_them_at_once(void) {
    threads_run(4, install, NULL, 0);
    PyGILState_STATE was = PyGILState_Ensure();
    unsigned char *p = PyMem_Malloc(30);
    expect_layout(p, 30, 'm');
    EXPECT_EQ((size_t)p % 64, 16); /* one layer: it begins with the pool's block, of 64 bytes */
    PyMem_Free(p);
    PyGILState_Release(was);
}

static void *raw_only(void *unused) {
    (void)unused;
    for (size_t i = 0; i < 3000; i++) {
        unsigned char *p = PyMem_RawMalloc(i);
        memset(p, 1, i);
        PyMem_RawFree(p);
    }
    return NULL;
}

static void detached_threads_use_the_raw_domain(void) {
    PyMem_SetupDebugHooks();
    threads_run(4, raw_only, NULL, 0);
}

static pthread_barrier_t detached;

/* What it has freed waits, and it waits itself, detached. */
static void *frees_and_waits(void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < 100; i++) {
        PyMem_Free(PyMem_Malloc(100));
        PyObject_Free(PyObject_Malloc(1000));
    }
    EXPECT(memory_stats().quarantined_blocks > 0);
    PyThreadState *state = PyEval_SaveThread();
    pthread_barrier_wait(&detached);
    pthread_barrier_wait(&detached);
    PyEval_RestoreThread(state);
    PyGILState_Release(was);
    return NULL;
}

static void a_purge_empties_those_of_detached_threads(void) {
    PyMem_SetupDebugHooks();
    pthread_t thread;
    pthread_barrier_init(&detached, NULL, 2);
    EXPECT_EQ(pthread_create(&thread, NULL, frees_and_waits, NULL), 0);
    pthread_barrier_wait(&detached);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(memory_stats().quarantined_blocks, 200);
    gilloc_purge();
    EXPECT_EQ(memory_stats().quarantined_blocks, 0);
    EXPECT_EQ(memory_stats().pools, 0);
    PyGILState_Release(was);
    pthread_barrier_wait(&detached);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&detached);
}

/* A hook inside that lets go of the lock while it frees, once, and another thread purges meanwhile: it takes the
   quarantine, out of which the first thread was making room, and has it for blocks of its own then. */
static struct {
    PyMemAllocatorEx below;
    pthread_t purger;
    bool armed, purged;
} pausing;

enum { PAUSING_SIZE = 400 };

static void *purges_and_waits(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_purge();
    PyObject_Free(PyObject_Malloc(PAUSING_SIZE));
    Py_BEGIN_ALLOW_THREADS pthread_barrier_wait(&detached);
    pthread_barrier_wait(&detached);
    Py_END_ALLOW_THREADS PyGILState_Release(was);
    return arg;
}
static void *pausing_malloc(void *ctx, size_t size) {
    (void)ctx;
    return pausing.below.malloc(pausing.below.ctx, size);
}
static void *pausing_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return pausing.below.calloc(pausing.below.ctx, count, size);
}
static void *pausing_realloc(void *ctx, void *p, size_t size) {
    (void)ctx;
    return pausing.below.realloc(pausing.below.ctx, p, size);
}
static void pausing_free(void *ctx, void *p) {
    (void)ctx;
    if (pausing.armed) {
        pausing.armed = false;
        Py_BEGIN_ALLOW_THREADS pausing.purger = thread_start(purges_and_waits, NULL);
        pthread_barrier_wait(&detached);
        Py_END_ALLOW_THREADS EXPECT_EQ(memory_stats().quarantined_blocks, 1);
        pausing.purged = true;
    }
    pausing.below.free(pausing.below.ctx, p);
}

static void a_purge_takes_a_quarantine_that_makes_room(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    pthread_barrier_init(&detached, NULL, 2);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &pausing.below);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ,
                       &(PyMemAllocatorEx){NULL, pausing_malloc, pausing_calloc, pausing_realloc, pausing_free});
    PyMem_SetupDebugHooks();
    pausing.armed = true;
    while (!pausing.purged) {
        PyObject_Free(PyObject_Malloc(PAUSING_SIZE));
    }
    EXPECT_EQ(memory_stats().quarantined_blocks, 1); /* the other thread's; this one's was freed at once */
    PyObject_Free(PyObject_Malloc(PAUSING_SIZE));
    EXPECT_EQ(memory_stats().quarantined_blocks, 2);
    Py_BEGIN_ALLOW_THREADS pthread_barrier_wait(&detached);
    thread_join(pausing.purger);
    Py_END_ALLOW_THREADS gilloc_purge();
    EXPECT_EQ(memory_stats().quarantined_blocks, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(gilloc_check(), 0);
    pthread_barrier_destroy(&detached);
    PyGILState_Release(was);
}

/* Its blocks outlive a thread, and are freed by another. */
static void *make(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    void **blocks = arg;
    for (size_t i = 0; i < SIZES; i++) {
        blocks[i] = PyObject_Malloc(sizes[i]);
        PyObject_Free(PyObject_Malloc(sizes[i]));
    }
    PyGILState_Release(was);
    return NULL;
}

static void blocks_of_an_ended_thread_are_freed_by_another(void) {
    PyMem_SetupDebugHooks();
    void *blocks[SIZES];
    threads_run(1, make, blocks, 0);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < SIZES; i++) {
        PyObject_Free(blocks[i]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(a_block_is_as_cpythons),
        IN_BOTH_MODES(a_freed_block_is_filled),
        IN_BOTH_MODES(sizes_that_cannot_be_are_refused),
        IN_BOTH_MODES(realloc_keeps_what_was),
        IN_BOTH_MODES(a_block_that_is_resized_moves_or_stays),
        IN_BOTH_MODES(a_walk_sees_live_blocks_as_they_are_used),
        IN_BOTH_MODES(quarantined_blocks_are_not_allocated_ones),
        IN_BOTH_MODES(a_purge_empties_the_quarantine),
        IN_BOTH_MODES(what_is_retired_is_freed),
        IN_BOTH_MODES(blocks_from_before_are_known_as_such),
        IN_GIL_MODE(hooks_are_installed_once),
        IN_BOTH_MODES(wrappers_inside_and_outside_see_all),
        IN_BOTH_MODES(a_hook_inside_uses_the_raw_domain),
        IN_BOTH_MODES(hooks_are_taken_off_and_put_on),
        IN_BOTH_MODES(threads_use_them),
        IN_BOTH_MODES(threads_install_them_at_once),
        IN_BOTH_MODES(detached_threads_use_the_raw_domain),
        IN_BOTH_MODES(a_purge_empties_those_of_detached_threads),
        IN_BOTH_MODES(a_purge_takes_a_quarantine_that_makes_room),
        IN_BOTH_MODES(blocks_of_an_ended_thread_are_freed_by_another),
    };
    return cmocka_run_group_tests_name("debug_hooks", tests, NULL, NULL);
}
