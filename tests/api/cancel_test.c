/* SPDX-License-Identifier: MIT */
/*
 * cancel_test.c - pthread_cancel() of a thread that waits inside gilloc: it ends at a cancellation point of its own.
 */
#include <pthread.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static struct shared coming, came;

static void *come_in(void *unused) {
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    shared_set(&coming, 1);
    PyEval_RestoreThread(state);
    PyEval_SaveThread();
    PyThreadState_Delete(state);
    shared_set(&came, 1);
    for (;;) {
        pause();
    }
    return unused;
}

static void a_wait_for_the_start_of_the_world_is_no_cancellation_point(void) {
    gilloc_stop_the_world();
    pthread_t thread = thread_start(come_in, NULL);
    while (!shared_get(&coming)) {
        usleep(1000);
    }
    usleep(20000); /* so that it waits, most likely; it may be cancelled before it does as well */
    EXPECT_EQ(pthread_cancel(thread), 0);
    usleep(20000);
    gilloc_start_the_world();
    thread_join(thread);
    EXPECT(shared_get(&came));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(a_wait_for_the_start_of_the_world_is_no_cancellation_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
