/* SPDX-License-Identifier: MIT */
/*
 * reclaim_hook_test.c - hooks of domains that free what has been retired: what they may call meanwhile.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

enum { LARGE = 1000, BLOCKS = 4, COUNTED_AS = 65536 /* a large block, while the raw domain has a hook */ };

/* The allocator under the hook; what the hook does before it frees; how many blocks it saw. */
static PyMemAllocatorEx under;
static void (*during_free)(void);
static int hooked;

static void *hook_malloc(void *ctx, size_t size) {
    (void)ctx;
    return under.malloc(under.ctx, size);
}

static void *hook_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return under.calloc(under.ctx, count, size);
}

static void *hook_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return under.realloc(under.ctx, block, size);
}

static void hook_free(void *ctx, void *block) {
    (void)ctx;
    if (block != NULL) {
        hooked++;
        during_free();
    }
    under.free(under.ctx, block);
}

static void hook(PyMemAllocatorDomain domain, void (*during)(void)) {
    during_free = during;
    PyMem_GetAllocator(domain, &under);
    PyMem_SetAllocator(domain, &(PyMemAllocatorEx){NULL, hook_malloc, hook_calloc, hook_realloc, hook_free});
}

/* --- Ensure and Release ------------------------------------------------------------------------ */

/* As a hook of the raw domain does that does not know who calls it. */
static void ensure_and_release(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT_EQ(state, PyGILState_LOCKED);
    PyGILState_Release(state);
}

static void the_last_release_frees_through_hooks_that_ensure(void) {
    hook(PYMEM_DOMAIN_RAW, ensure_and_release);
    gilloc_set_retire_limit(0);
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < BLOCKS; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(LARGE));
    }
    PyGILState_Release(state);
    EXPECT_EQ(hooked, BLOCKS);
    EXPECT(PyGILState_GetThisThreadState() == NULL);
}

static void *retire_one(void *unused) {
    PyGILState_STATE state = PyGILState_Ensure();
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(LARGE));
    PyGILState_Release(state);
    return unused;
}

static void a_state_that_ends_frees_through_hooks_that_ensure(void) {
    hook(PYMEM_DOMAIN_RAW, ensure_and_release);
    gilloc_set_retire_limit(BLOCKS * COUNTED_AS - 1); /* so that the last thread frees what all have left */
    for (int i = 0; i < BLOCKS; i++) {
        EXPECT_EQ(hooked, 0);
        thread_join(thread_start(retire_one, NULL));
    }
    EXPECT_EQ(hooked, BLOCKS);
}

/* --- reclaim ---------------------------------------------------------------------------------- */

static uint64_t waiting(void) {
    gilloc_stats stats = {.size = sizeof(stats)};
    gilloc_get_stats(&stats);
    return stats.retired_bytes;
}

static void retire_and_reclaim(void) {
    if (hooked == 1) {
        gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(40));
        gilloc_reclaim();
    }
}

static void what_waits_is_counted_once_if_a_hook_reclaims(void) {
    hook(PYMEM_DOMAIN_OBJ, retire_and_reclaim);
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < BLOCKS; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
    }
    gilloc_reclaim();
    EXPECT_EQ(hooked, BLOCKS);
    EXPECT_EQ(waiting(), 0);
    PyGILState_Release(state);
}

/* --- detached meanwhile ------------------------------------------------------------------------ */

static void *switch_mode(void *unused) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT_EQ(gilloc_set_mode(gilloc_get_mode() == GILLOC_MODE_GIL ? GILLOC_MODE_FREE : GILLOC_MODE_GIL), 0);
    PyGILState_Release(state);
    return unused;
}

static void detach_beside_a_switch(void) {
    PyThreadState *state = PyEval_SaveThread();
    thread_join(thread_start(switch_mode, NULL));
    PyEval_RestoreThread(state);
}

static void the_mode_changes_while_a_detaching_thread_frees(void) {
    hook(PYMEM_DOMAIN_OBJ, detach_beside_a_switch);
    gilloc_set_retire_limit(0);
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    PyEval_RestoreThread(state);
    for (int i = 1; i <= BLOCKS; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
        PyEval_SaveThread();
        EXPECT_EQ(hooked, i);
        PyEval_RestoreThread(state);
    }
    PyThreadState_DeleteCurrent();
}

/* --- a state that is made meanwhile ------------------------------------------------------------ */

static struct shared retired, go_on, is_freeing, is_made;

/* Leaves a batch, and a spare state that is older than the walker's. */
static void *retire_and_end(void *unused) {
    PyGILState_STATE state = PyGILState_Ensure();
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
    PyThreadState *mine = PyEval_SaveThread();
    shared_set(&retired, 1);
    while (!shared_get(&go_on)) {
        sched_yield();
    }
    PyEval_RestoreThread(mine);
    PyGILState_Release(state);
    return unused;
}

static void *make_a_state(void *unused) {
    while (!shared_get(&is_freeing)) {
        sched_yield();
    }
    PyThreadState *made = PyThreadState_New(PyInterpreterState_Main());
    EXPECT(made != NULL);
    shared_set(&is_made, 1);
    PyEval_RestoreThread(made); /* once the walk is over */
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
    PyGILState_Release(PyGILState_LOCKED);
    EXPECT(PyThreadState_GetUnchecked() == made);
    PyThreadState_DeleteCurrent();
    return unused;
}

static void wait_until_it_is_made(void) {
    shared_set(&is_freeing, 1);
    while (!shared_get(&is_made)) {
        sched_yield();
    }
}

static int visit_nothing(void *block, size_t size, void *arg) {
    (void)block;
    (void)size;
    (void)arg;
    return 0;
}

/* A walk frees what ended threads left by the first state that there is, though that is spare, and is taken again. */
static void a_spare_state_is_taken_while_a_walk_frees_by_it(void) {
    hook(PYMEM_DOMAIN_OBJ, wait_until_it_is_made);
    pthread_t older = thread_start(retire_and_end, NULL), maker = thread_start(make_a_state, NULL);
    while (!shared_get(&retired)) {
        sched_yield();
    }
    PyGILState_STATE state = PyGILState_Ensure();
    PyThreadState *mine = PyEval_SaveThread();
    shared_set(&go_on, 1);
    thread_join(older);
    PyEval_RestoreThread(mine);
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, visit_nothing, NULL), 0);
    EXPECT_EQ(hooked, 1);
    PyGILState_Release(state);
    thread_join(maker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(the_last_release_frees_through_hooks_that_ensure),
        IN_FREE_MODE(a_state_that_ends_frees_through_hooks_that_ensure),
        IN_BOTH_MODES(what_waits_is_counted_once_if_a_hook_reclaims),
        IN_BOTH_MODES(the_mode_changes_while_a_detaching_thread_frees),
        IN_BOTH_MODES(a_spare_state_is_taken_while_a_walk_frees_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
