/* SPDX-License-Identifier: MIT */
/*
 * lock_test.c - the lock as its users see it: one thread at a time in gil mode, everyone's turn comes, errno survives.
 *   No test here measures time: where the lock fails, a test does not end.
 */
#include <errno.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define THREADS 6

/* --- one at a time ---------------------------------------------------------------------------- */

static size_t plain_counter;   /* guarded by the lock, which is what is tested */
static struct shared attached; /* how many threads are, in gil mode */

static void critical(void) {
    EXPECT_EQ(shared_add(&attached, 1), 0);
    size_t before = plain_counter;
    PyMem_Free(PyMem_Malloc(before % 600));
    plain_counter = before + 1;
    EXPECT_EQ(shared_add(&attached, (size_t)-1), 1);
}

static void *count_by_ensure(void *arg) {
    (void)arg;
    for (size_t i = 0; i < ROUNDS(50000); i++) {
        PyGILState_STATE was = PyGILState_Ensure();
        critical();
        PyGILState_Release(was);
    }
    return NULL;
}

static void *count_by_save_and_restore(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < ROUNDS(50000); i++) {
        critical();
        Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS
    }
    PyGILState_Release(was);
    return NULL;
}

static void *count_by_safepoint(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < ROUNDS(50000); i++) {
        critical();
        gilloc_safepoint();
    }
    PyGILState_Release(was);
    return NULL;
}

static void *count_by_swap(void *arg) {
    (void)arg;
    PyThreadState *states[2] = {PyThreadState_New(PyInterpreterState_Main()),
                                PyThreadState_New(PyInterpreterState_Main())};
    PyEval_AcquireThread(states[0]);
    for (size_t i = 0; i < ROUNDS(50000); i++) {
        critical();
        PyThreadState_Swap(states[(i + 1) % 2]);
    }
    PyThreadState_Swap(NULL);
    PyThreadState_Delete(states[0]);
    PyThreadState_Delete(states[1]);
    return NULL;
}

static void one_thread_at_a_time(void) {
    static const thread_body bodies[] = {count_by_ensure, count_by_save_and_restore, count_by_safepoint, count_by_swap};
    for (size_t b = 0; b < 4; b++) {
        plain_counter = 0;
        threads_run(THREADS, bodies[b], NULL, 0);
        EXPECT_EQ(plain_counter, THREADS * ROUNDS(50000));
    }
    /* All kinds at once. */
    plain_counter = 0;
    pthread_t threads[4];
    for (size_t b = 0; b < 4; b++) {
        threads[b] = thread_start(bodies[b], NULL);
    }
    for (size_t b = 0; b < 4; b++) {
        thread_join(threads[b]);
    }
    EXPECT_EQ(plain_counter, 4 * ROUNDS(50000));
    gilloc_stats stats = memory_stats();
    EXPECT(stats.lock_takes >= 4 * ROUNDS(50000));
    EXPECT(stats.lock_waits <= stats.lock_takes);
}

/* --- in GIL-free mode all at once ------------------------------------------------------------- */

static void *wait_for_the_others(void *arg) {
    struct shared *arrived = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    shared_add(arrived, 1);
    while (shared_get(arrived) < THREADS) {
        PyMem_Free(PyMem_Malloc(10));
    }
    PyGILState_Release(was);
    return NULL;
}

static void all_are_attached_at_once(void) {
    struct shared arrived = {0};
    threads_run(THREADS, wait_for_the_others, &arrived, 0);
    EXPECT_EQ(memory_stats().lock_takes, 0);
}

/* --- everyone's turn comes -------------------------------------------------------------------- */

/* A holder that offers the lock at safepoints only, until the other thread has had it. */
static struct shared visited;

static void *visit(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    shared_set(&visited, 1);
    PyGILState_Release(was);
    return NULL;
}

static void a_safepoint_lets_a_waiter_in(void) {
    for (int i = 0; i < 20; i++) {
        shared_set(&visited, 0);
        PyGILState_STATE was = PyGILState_Ensure();
        PyThreadState *state = PyThreadState_Get();
        pthread_t thread = thread_start(visit, NULL);
        while (!shared_get(&visited)) {
            gilloc_safepoint();
        }
        EXPECT(PyThreadState_Get() == state);
        PyGILState_Release(was);
        thread_join(thread);
    }
    EXPECT(memory_stats().lock_waits >= 1);
}

/* Busy threads that offer the lock at safepoints and one that comes and goes: each has so many turns. */
static struct shared turns[THREADS];
#define TURNS 30

static int all_had_their_turns(void) {
    for (size_t i = 0; i < THREADS; i++) {
        if (shared_get(&turns[i]) < TURNS) {
            return 0;
        }
    }
    return 1;
}

static size_t last_holder; /* guarded by the lock */

static void *take_turns(void *arg) {
    size_t self = (size_t)((struct shared *)arg - turns);
    PyGILState_STATE was = PyGILState_Ensure();
    while (!all_had_their_turns()) {
        if (last_holder != self + 1) {
            last_holder = self + 1;
            shared_add(&turns[self], 1);
        }
        if (self == 0) {
            Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS
        } else {
            gilloc_safepoint();
        }
    }
    PyGILState_Release(was);
    return NULL;
}

static void nobody_starves(void) {
    static const unsigned long intervals[] = {5000, 1, 0};
    for (size_t i = 0; i < sizeof(intervals) / sizeof(intervals[0]); i++) {
        gilloc_set_switch_interval(intervals[i]);
        last_holder = 0;
        for (size_t t = 0; t < THREADS; t++) {
            shared_set(&turns[t], 0);
        }
        threads_run(THREADS, take_turns, turns, sizeof(turns[0]));
    }
    EXPECT(memory_stats().lock_drop_requests > 0);
}

/* With a long interval nobody asks the holder, however many safepoints it passes; a detach still lets the waiter in. */
static void *visit_and_tell(void *arg) {
    shared_set(arg, 1);
    return visit(NULL);
}

static void the_interval_is_obeyed(void) {
    gilloc_set_switch_interval(1000000000ul); /* 1,000 s */
    shared_set(&visited, 0);
    struct shared started = {0};
    PyGILState_STATE was = PyGILState_Ensure();
    pthread_t thread = thread_start(visit_and_tell, &started);
    while (!shared_get(&started) || memory_stats().lock_waits == 0) {
        gilloc_safepoint();
    }
    for (size_t i = 0; i < ROUNDS(1000000); i++) {
        gilloc_safepoint();
    }
    EXPECT_EQ(shared_get(&visited), 0);
    EXPECT_EQ(memory_stats().lock_drop_requests, 0);
    PyThreadState *state = PyEval_SaveThread();
    thread_join(thread);
    EXPECT_EQ(shared_get(&visited), 1);
    PyEval_RestoreThread(state);
    PyGILState_Release(was);
}

/* --- errno ------------------------------------------------------------------------------------ */

static void expect_errno(void) { EXPECT_EQ(errno, ENOTTY); }

static void errno_survives(void) {
    PyThreadState *other = PyThreadState_New(PyInterpreterState_Main());
    for (int i = 0; i < 3; i++) {
        errno = ENOTTY;
        PyGILState_STATE was = PyGILState_Ensure();
        expect_errno();
        PyGILState_STATE inner = PyGILState_Ensure();
        PyGILState_Release(inner);
        expect_errno();
        PyThreadState *state = PyEval_SaveThread();
        expect_errno();
        PyEval_RestoreThread(state);
        expect_errno();
        PyEval_ReleaseThread(state);
        expect_errno();
        PyEval_AcquireThread(state);
        expect_errno();
        PyThreadState_Swap(other);
        expect_errno();
        PyThreadState_Swap(state);
        expect_errno();
        gilloc_safepoint();
        expect_errno();
        PyThreadState *third = PyThreadState_New(PyInterpreterState_Get());
        expect_errno();
        PyThreadState_Clear(third);
        expect_errno();
        PyThreadState_Delete(third);
        expect_errno();
        PyMem_Free(PyMem_Malloc(10));
        gilloc_set_switch_interval(5000);
        PyGILState_Release(was);
        expect_errno();
    }
    PyEval_RestoreThread(other);
    errno = ENOTTY;
    PyThreadState_DeleteCurrent();
    expect_errno();
}

static void *errno_in_thread(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < ROUNDS(3000); i++) {
        errno = ENOTTY;
        Py_BEGIN_ALLOW_THREADS expect_errno();
        Py_END_ALLOW_THREADS expect_errno();
        gilloc_safepoint();
        expect_errno();
        PyGILState_STATE inner = PyGILState_Ensure();
        PyGILState_Release(inner);
        expect_errno();
    }
    PyGILState_Release(was);
    return NULL;
}

static void errno_survives_waiting(void) {
    gilloc_set_switch_interval(1);
    threads_run(THREADS, errno_in_thread, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_GIL_MODE(one_thread_at_a_time),         IN_FREE_MODE(all_are_attached_at_once),
        IN_GIL_MODE(a_safepoint_lets_a_waiter_in), IN_GIL_MODE(nobody_starves),
        IN_GIL_MODE(the_interval_is_obeyed),       IN_BOTH_MODES(errno_survives),
        IN_BOTH_MODES(errno_survives_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
