/* SPDX-License-Identifier: MIT */
/*
 * reclaim_test.c - gilloc_reclaim() waits for a grace period, also where nothing has been retired: what its caller
 * unlinked before it can be freed after it.
 */
#include <sched.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static struct shared reading, unlinked, passed;

/* Attached all the time; has what is unlinked in its hands until its safepoint. */
static void *read_long(void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    shared_set(&reading, 1);
    while (!shared_get(&unlinked)) {
        sched_yield();
    }
    for (int i = 0; i < 1000; i++) {
        sched_yield();
    }
    shared_set(&passed, 1);
    gilloc_safepoint();
    PyGILState_Release(was);
    return NULL;
}

static void a_reader_has_passed_a_safepoint(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    pthread_t thread = thread_start(read_long, NULL);
    Py_BEGIN_ALLOW_THREADS while (!shared_get(&reading)) { sched_yield(); }
    Py_END_ALLOW_THREADS shared_set(&unlinked, 1);
    gilloc_reclaim();
    EXPECT_EQ(shared_get(&passed), 1);
    EXPECT_EQ(memory_stats().grace_periods, 1);
    Py_BEGIN_ALLOW_THREADS thread_join(thread);
    Py_END_ALLOW_THREADS PyGILState_Release(was);
}

/* Who is attached alone has nobody to wait for. */
static void in_gil_mode_nobody_reads(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_reclaim();
    EXPECT_EQ(memory_stats().grace_periods, 0);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FREE_MODE(a_reader_has_passed_a_safepoint),
        IN_GIL_MODE(in_gil_mode_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
