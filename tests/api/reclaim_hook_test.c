/* SPDX-License-Identifier: MIT */
/*
 * reclaim_hook_test.c - hooks of domains that free what has been retired: what they may call meanwhile.
 */
#include <pthread.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(the_last_release_frees_through_hooks_that_ensure),
        IN_FREE_MODE(a_state_that_ends_frees_through_hooks_that_ensure),
        IN_BOTH_MODES(what_waits_is_counted_once_if_a_hook_reclaims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
