/* SPDX-License-Identifier: MIT */
/*
 * stats_test.c - figures where nothing runs: exact, in the struct and by visit.
 */
#define _GNU_SOURCE /* gettid() */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/figures.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define CLASSES FIGURES_CLASSES

static int is_free_mode(void) { return gilloc_get_mode() == GILLOC_MODE_FREE; }

/* Waits; a test whose condition never comes true does not end. */
#define WAIT_UNTIL(condition)  \
    do {                       \
        while (!(condition)) { \
            sched_yield();     \
        }                      \
    } while (0)

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- classes ---------------------------------------------------------------------------------- */

#define BLOCKS 300

static void classes_are_exact(void) {
    EXPECT_EQ(figures_classes().count, 0);
    int kind = gilloc_new_kind("made", 0, 0);
    const int domain_of[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ, kind};
    PyGILState_STATE was = PyGILState_Ensure();
    static void *blocks[LENGTH(domain_of)][CLASSES][BLOCKS];
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            for (size_t i = 0; i < BLOCKS; i++) {
                blocks[d][c][i] = gilloc_malloc((PyMemAllocatorDomain)domain_of[d], 16 * (c + 1) - TAIL);
                EXPECT(blocks[d][c][i] != NULL);
            }
        }
    }
    /* Half of each back, in another number for each. */
    uint64_t left = 0;
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            size_t freed = 4 * d + c;
            for (size_t i = 0; i < freed; i++) {
                gilloc_free((PyMemAllocatorDomain)domain_of[d], blocks[d][c][i]);
            }
            left += BLOCKS - freed;
        }
    }
    struct figures_classes all = figures_classes();
    EXPECT_EQ(all.count, LENGTH(domain_of) * CLASSES);
    EXPECT_EQ(all.in_use, left);
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            const gilloc_class_stats *class = &all.of[domain_of[d]][c];
            EXPECT_EQ(class->block_size, 16 * (c + 1));
            EXPECT_EQ(class->blocks_in_use, BLOCKS - 4 * d - c);
            EXPECT_EQ(strcmp(class->name, (const char *const[]){"mem", "object", "made"}[d]), 0);
        }
    }
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.small_blocks, left);
    EXPECT_EQ(stats.pools, all.pools);
    EXPECT_EQ(stats.cached_blocks, all.cached);
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            for (size_t i = 4 * d + c; i < BLOCKS; i++) {
                gilloc_free((PyMemAllocatorDomain)domain_of[d], blocks[d][c][i]);
            }
        }
    }
    EXPECT_EQ(figures_classes().in_use, 0);
    gilloc_purge();
    EXPECT_EQ(figures_classes().count, 0);
    PyGILState_Release(was);
}

/* Blocks of 0 bytes are of the first class; some wait in a list of their own. */
static void blocks_of_0_bytes_are_counted(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *zero = PyMem_Malloc(0), *one = PyMem_Malloc(1);
    struct figures_classes all = figures_classes();
    EXPECT_EQ(all.of[PYMEM_DOMAIN_MEM][0].blocks_in_use, 2);
    EXPECT_EQ(all.in_use, 2);
    EXPECT_EQ(gilloc_allocated_blocks(), 2);
    PyMem_Free(zero);
    PyMem_Free(one);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static int end_at_second(const gilloc_class_stats *stats, void *arg) {
    (void)stats;
    /* It may do what its caller may. */
    void *block = PyObject_Malloc(500);
    EXPECT(block != NULL);
    PyObject_Free(block);
    return ++*(int *)arg == 2 ? 77 : 0;
}

static void a_visitor_ends_the_visit(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *blocks[] = {PyMem_Malloc(1), PyMem_Malloc(100), PyObject_Malloc(1)};
    int count = 0;
    EXPECT_EQ(gilloc_visit_classes(end_at_second, &count), 77);
    EXPECT_EQ(count, 2);
    PyMem_Free(blocks[0]);
    PyMem_Free(blocks[1]);
    PyObject_Free(blocks[2]);
    PyGILState_Release(was);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void states_are_told_by_number(void) {
    EXPECT_EQ(figures_threads().count, 0);
    PyThreadState *states[3];
    PyInterpreterState *other = PyInterpreterState_New();
    for (size_t i = 0; i < 3; i++) {
        states[i] = PyThreadState_New(i < 2 ? PyInterpreterState_Main() : other);
        EXPECT(states[i] != NULL);
    }
    PyEval_RestoreThread(states[1]);
    struct figures_threads all = figures_threads();
    EXPECT_EQ(all.count, 3);
    static const int order[] = {2, 1, 0}; /* the newest first, of interpreters and of states */
    for (size_t i = 0; i < 3; i++) {
        const gilloc_thread_stats *stats = &all.of[i];
        EXPECT(stats->state == states[order[i]]);
        EXPECT_EQ(stats->interpreter, order[i] == 2);
        EXPECT_EQ(stats->number, order[i] == 1 ? 2 : 1);
        EXPECT_EQ(stats->status, order[i] == 1 ? GILLOC_THREAD_ATTACHED : GILLOC_THREAD_DETACHED);
        EXPECT_EQ(stats->thread, order[i] == 1 ? gettid() : 0);
        EXPECT_EQ(stats->cache_known, 1);
    }
    EXPECT_EQ(memory_stats().threads_attached, 1);
    PyEval_SaveThread();
    EXPECT_EQ(memory_stats().threads_attached, 0);
    all = figures_threads();
    EXPECT_EQ(all.of[1].status, GILLOC_THREAD_DETACHED);
    EXPECT_EQ(all.of[1].thread, gettid());
    PyThreadState_Delete(states[0]);
    all = figures_threads();
    EXPECT_EQ(all.count, 2);
    EXPECT(all.of[1].state == states[1]);
    PyThreadState_Delete(states[1]);
    PyThreadState_Delete(states[2]);
    EXPECT_EQ(figures_threads().count, 0);
    PyInterpreterState_Delete(other);
}

/* More states than are copied at a time. */
static int count_down(const gilloc_thread_stats *stats, void *arg) {
    uint64_t *number = arg;
    EXPECT_EQ(stats->number, *number);
    return --*number == 0 ? 5 : 0;
}

static void many_states_are_each_told_once(void) {
    static PyThreadState *states[200];
    for (size_t i = 0; i < LENGTH(states); i++) {
        states[i] = PyThreadState_New(PyInterpreterState_Main());
        EXPECT(states[i] != NULL);
    }
    uint64_t number = LENGTH(states);
    EXPECT_EQ(gilloc_visit_threads(count_down, &number), 5);
    for (size_t i = 0; i < LENGTH(states); i++) {
        PyThreadState_Delete(states[i]);
    }
}

/* What a cache holds is known while its thread is detached. */
static void caches_of_detached_threads_are_known(void) {
    PyThreadState *states[] = {PyThreadState_New(PyInterpreterState_Main()),
                               PyThreadState_New(PyInterpreterState_Main())};
    PyEval_RestoreThread(states[0]);
    void *blocks[10];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = PyMem_Malloc(64);
    }
    gilloc_thread_stats before = figures_threads().of[1];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        PyMem_Free(blocks[i]);
    }
    void *large = PyMem_Malloc(1000);
    PyEval_SaveThread();
    PyEval_RestoreThread(states[1]);
    gilloc_thread_stats after = figures_threads().of[1];
    EXPECT(after.state == states[0] && before.state == states[0]);
    if (!UNDER_HOSTILE) { /* there some go back to their pool */
        EXPECT_EQ(after.cached_blocks, before.cached_blocks + 10);
    }
    EXPECT_EQ(after.cached_bytes, after.cached_blocks * (64 + 2 * TAIL)); /* the next class */
    EXPECT_EQ(after.large_allocated, 1);
    EXPECT_EQ(after.large_freed, 0);
    PyMem_Free(large); /* by another one than has allocated it */
    struct figures_threads all = figures_threads();
    EXPECT_EQ(all.of[0].large_allocated, 0);
    EXPECT_EQ(all.of[0].large_freed, 1);
    EXPECT_EQ(memory_stats().large_blocks, 0);
    PyEval_SaveThread();
    PyThreadState_Delete(states[0]);
    PyThreadState_Delete(states[1]);
}

/* In GIL-free mode: blocks that are freed for another thread wait first here, then there. */
static void remote_frees_are_counted(void) {
    PyThreadState *states[] = {PyThreadState_New(PyInterpreterState_Main()),
                               PyThreadState_New(PyInterpreterState_Main())};
    PyEval_RestoreThread(states[0]);
    void *block = PyMem_Malloc(64);
    EXPECT(figures_threads().of[1].pools == 1 && figures_threads().of[1].pool_blocks != 0);
    PyEval_SaveThread();
    PyEval_RestoreThread(states[1]);
    PyMem_Free(block);
    struct figures_threads all = figures_threads();
    EXPECT_EQ(all.of[0].remote_pending, 1);
    EXPECT_EQ(all.of[0].cached_blocks, 1);
    EXPECT_EQ(all.of[0].remote_frees, 0);
    EXPECT_EQ(all.of[1].remote_waiting, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyEval_SaveThread(); /* hands it over */
    all = figures_threads();
    EXPECT_EQ(all.of[0].remote_pending, 0);
    EXPECT_EQ(all.of[0].remote_frees, 1);
    EXPECT_EQ(all.of[0].remote_batches, 1);
    EXPECT_EQ(all.of[1].remote_waiting, 1);
    EXPECT_EQ(memory_stats().remote_frees, 1);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyThreadState_Delete(states[0]);
    PyThreadState_Delete(states[1]);
}

static void retired_bytes_are_told(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
    gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(16));
    gilloc_thread_stats stats = figures_threads().of[0];
    EXPECT_EQ(stats.retired_blocks, 2);
    EXPECT_EQ(stats.retired_bytes, 112 + 16);
    EXPECT_EQ(figures_classes().in_use, 2);
    gilloc_reclaim();
    stats = figures_threads().of[0];
    EXPECT_EQ(stats.retired_bytes, 0);
    EXPECT_EQ(stats.grace_periods, is_free_mode());
    EXPECT_EQ(figures_classes().in_use, 0);
    PyGILState_Release(was);
}

/* --- the lock --------------------------------------------------------------------------------- */

struct waiter {
    struct shared id; /* the kernel's */
    struct shared had;
};

static void *wait_for_the_lock(void *arg) {
    struct waiter *self = arg;
    shared_set(&self->id, (size_t)gettid());
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(memory_stats().lock_holder, gettid());
    shared_set(&self->had, 1);
    PyGILState_Release(was);
    return NULL;
}

static void who_waits_and_who_holds_is_told(void) {
    const uint64_t held_for = 2000000;
    struct waiter waiter = {.had = {0}};
    EXPECT_EQ(memory_stats().lock_holder, 0);
    gilloc_set_switch_interval(60000000);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, gettid());
    EXPECT(stats.lock_waiting == 0 && stats.lock_wait_max_ns == 0 && stats.lock_hold_max_ns == 0);
    uint64_t before = now_ns();
    pthread_t thread = thread_start(wait_for_the_lock, &waiter);
    WAIT_UNTIL(memory_stats().lock_waiting == 1);
    uint64_t waits_since = now_ns();
    stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, gettid());
    EXPECT_EQ(stats.lock_waits, 1);
    EXPECT_EQ(figures_ended_waits(&stats), 0);
    WAIT_UNTIL(now_ns() >= waits_since + held_for);
    PyGILState_Release(was);
    thread_join(thread);
    uint64_t after = now_ns();
    EXPECT_EQ(shared_get(&waiter.had), 1);
    stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, 0);
    EXPECT_EQ(stats.lock_waiting, 0);
    EXPECT_EQ(stats.lock_waits, 1);
    EXPECT_EQ(figures_ended_waits(&stats), 1);
    EXPECT(held_for <= stats.lock_wait_max_ns && stats.lock_wait_max_ns <= after - before);
    EXPECT(held_for <= stats.lock_hold_max_ns && stats.lock_hold_max_ns <= after - before);
    EXPECT_EQ(stats.lock_wait_ns, stats.lock_wait_max_ns);
    EXPECT_EQ(stats.lock_wait_histogram[63 - __builtin_clzll(stats.lock_wait_max_ns)], 1);
}

/* A stopper that is not attached holds all locks. */
static void *stop_and_start(void *arg) {
    (void)arg;
    gilloc_stop_the_world();
    EXPECT_EQ(memory_stats().lock_holder, is_free_mode() ? 0 : gettid());
    gilloc_start_the_world();
    EXPECT_EQ(memory_stats().lock_holder, 0);
    return NULL;
}

static void a_stopper_holds_the_lock(void) {
    for (int i = 0; i < 2; i++) {
        thread_join(thread_start(stop_and_start, NULL));
        stop_and_start(NULL);
    }
}

static void nobody_holds_the_lock_in_free_mode(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, 0);
    EXPECT_EQ(stats.lock_takes, 0);
    EXPECT_EQ(stats.threads_attached, 1);
    PyGILState_Release(was);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* A caller that knows fewer fields gets these alone, one that knows more is told how many there are. */
static void old_and_new_callers_are_served(void) {
    struct {
        gilloc_stats known;
        uint64_t more;
    } newer;
    memset(&newer, 0xA5, sizeof(newer));
    newer.known.size = sizeof(newer);
    gilloc_get_stats(&newer.known);
    EXPECT_EQ(newer.known.size, sizeof(gilloc_stats));
    EXPECT_EQ(newer.more, 0xA5A5A5A5A5A5A5A5);
    memset(&newer, 0xA5, sizeof(newer));
    newer.known.size = offsetof(gilloc_stats, cached_blocks);
    gilloc_get_stats(&newer.known);
    EXPECT_EQ(newer.known.size, offsetof(gilloc_stats, cached_blocks));
    EXPECT_EQ(newer.known.world_stops, 0);
    EXPECT_EQ(newer.known.cached_blocks, 0xA5A5A5A5A5A5A5A5);
}

/* A block that debug hooks keep is freed for the program, and taken for its pool. */
static void quarantined_blocks_are_told(void) {
    PyMem_SetupDebugHooks();
    PyGILState_STATE was = PyGILState_Ensure();
    void *small = PyMem_Malloc(10), *large = PyMem_Malloc(1000);
    EXPECT_EQ(gilloc_allocated_blocks(), 2);
    PyMem_Free(small);
    PyMem_Free(large);
    gilloc_stats stats = memory_stats();
    EXPECT(stats.small_blocks == 0 && stats.large_blocks == 0);
    EXPECT_EQ(stats.quarantined_blocks, 2);
    EXPECT_EQ(figures_classes().in_use, 1);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(classes_are_exact),
        IN_BOTH_MODES(blocks_of_0_bytes_are_counted),
        IN_BOTH_MODES(a_visitor_ends_the_visit),
        IN_BOTH_MODES(states_are_told_by_number),
        IN_BOTH_MODES(many_states_are_each_told_once),
        IN_BOTH_MODES(caches_of_detached_threads_are_known),
        IN_FREE_MODE(remote_frees_are_counted),
        IN_BOTH_MODES(retired_bytes_are_told),
        IN_GIL_MODE(who_waits_and_who_holds_is_told),
        IN_BOTH_MODES(a_stopper_holds_the_lock),
        IN_FREE_MODE(nobody_holds_the_lock_in_free_mode),
        IN_BOTH_MODES(old_and_new_callers_are_served),
        IN_BOTH_MODES(quarantined_blocks_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
