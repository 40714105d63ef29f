/* SPDX-License-Identifier: MIT */
/*
 * world_death_test.c - the stopped world, used wrongly: the stopper attaches, detaches or ends; a start without a
 *   stop; a stop without the runtime's lock; bad values of GILLOC_STOP_DEADLINE.
 */
#include <pthread.h>
#include <stdlib.h>

#include "tests/support/death.h"
#include "tests/support/expect.h"
#include "tests/support/runtime_lock.h"
#include "tests/support/threads.h"

static PyThreadState *stop_attached(void) {
    PyGILState_Ensure();
    gilloc_stop_the_world();
    return PyThreadState_Get();
}

/* --- the stopper detaches --------------------------------------------------------------------- */

static void save(const void *unused) {
    (void)unused;
    stop_attached();
    PyEval_SaveThread();
}
static void release_thread(const void *unused) {
    (void)unused;
    PyEval_ReleaseThread(stop_attached());
}
static void release(const void *unused) {
    (void)unused;
    stop_attached();
    PyGILState_Release(PyGILState_UNLOCKED);
}
static void swap_to_none(const void *unused) {
    (void)unused;
    stop_attached();
    PyThreadState_Swap(NULL);
}
static void swap_to_another(const void *unused) {
    (void)unused;
    stop_attached();
    PyThreadState_Swap(PyThreadState_New(PyInterpreterState_Main()));
}
static void delete_current(const void *unused) {
    (void)unused;
    stop_attached();
    PyThreadState_DeleteCurrent();
}
static void save_in_a_nested_stop(const void *unused) {
    (void)unused;
    stop_attached();
    gilloc_stop_the_world();
    gilloc_start_the_world();
    PyEval_SaveThread();
}

/* --- the stopper attaches --------------------------------------------------------------------- */

static void ensure(const void *unused) {
    (void)unused;
    gilloc_stop_the_world();
    PyGILState_Ensure();
}
static void restore(const void *unused) {
    (void)unused;
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    gilloc_stop_the_world();
    PyEval_RestoreThread(state);
}
static void acquire(const void *unused) {
    (void)unused;
    gilloc_stop_the_world();
    PyEval_AcquireThread(PyThreadState_New(PyInterpreterState_Main()));
}
static void swap_from_none(const void *unused) {
    (void)unused;
    gilloc_stop_the_world();
    PyThreadState_Swap(PyThreadState_New(PyInterpreterState_Main()));
}

/* --- the stopper ends ------------------------------------------------------------------------- */

static void *end_attached(void *unused) {
    (void)unused;
    stop_attached();
    return NULL;
}
static void *end_detached(void *unused) {
    (void)unused;
    PyGILState_Release(PyGILState_Ensure());
    gilloc_stop_the_world();
    return NULL;
}
static void *end_never_attached(void *unused) {
    (void)unused;
    gilloc_stop_the_world();
    return NULL;
}
static thread_body const endings[] = {end_attached, end_detached, end_never_attached};
static void thread_ends(const void *body) { threads_run(1, *(const thread_body *)body, NULL, 0); }

static void main_ends(const void *unused) {
    (void)unused;
    gilloc_stop_the_world();
    pthread_exit(NULL);
}

/* --- start ------------------------------------------------------------------------------------ */

static void start_at_first(const void *unused) {
    (void)unused;
    gilloc_start_the_world();
}
static void start_twice(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_stop_the_world();
    gilloc_start_the_world();
    gilloc_start_the_world();
}
static void *start_in_thread(void *unused) {
    (void)unused;
    gilloc_start_the_world();
    return NULL;
}
static void another_starts(const void *unused) {
    (void)unused;
    gilloc_stop_the_world();
    threads_run(1, start_in_thread, NULL, 0);
}

/* --- the runtime's lock ----------------------------------------------------------------------- */

static struct runtime_lock lock;

static void set_lock(void) {
    runtime_lock_init(&lock);
    EXPECT_EQ(runtime_lock_set(&lock), 0);
}
static void stop_without_the_lock(const void *unused) {
    (void)unused;
    set_lock();
    gilloc_stop_the_world();
}
static void stop_after_the_lock(const void *unused) {
    (void)unused;
    set_lock();
    runtime_lock_acquire(&lock);
    PyMem_Free(PyMem_Malloc(10)); /* attaches, and stays attached */
    runtime_lock_release(&lock);
    gilloc_stop_the_world();
}
static int visit_block(void *block, size_t size, void *arg) {
    (void)block;
    (void)size;
    (void)arg;
    return 0;
}
static void visit_without_the_lock(const void *unused) {
    (void)unused;
    set_lock();
    gilloc_visit_blocks(PYMEM_DOMAIN_MEM, visit_block, NULL);
}
static void detach_under_the_lock(const void *unused) {
    (void)unused;
    set_lock();
    runtime_lock_acquire(&lock);
    gilloc_stop_the_world();
    PyEval_SaveThread();
}

/* --- GILLOC_STOP_DEADLINE --------------------------------------------------------------------- */

static void deadline(const void *value) {
    EXPECT_EQ(setenv("GILLOC_STOP_DEADLINE", value, 1), 0);
    gilloc_get_mode();
}

#define STOPPED(function)                  \
    "Fatal gilloc error: " function        \
    ": the thread has stopped the world\n" \
    "  do       call gilloc_start_the_world() first\n"

#define NOT_STOPPED                                                                      \
    "Fatal gilloc error: gilloc_start_the_world: the thread has not stopped the world\n" \
    "  do       call it once for each gilloc_stop_the_world(), in the same thread\n"

#define NO_LOCK(function)                                                         \
    "Fatal gilloc error: " function                                               \
    ": the world can only be stopped by a thread that holds the runtime's lock\n" \
    "  do       take the lock first\n"

#define BAD(value) "Fatal gilloc error: GILLOC_STOP_DEADLINE: must be a number of microseconds, not \"" value "\"\n"

#define BOTH(name, body, arg, text) \
    {name " (gil)", body, arg, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, arg, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("the stopper saves", save, NULL, STOPPED("PyEval_SaveThread")),
    BOTH("the stopper saves in a nested stop", save_in_a_nested_stop, NULL, STOPPED("PyEval_SaveThread")),
    BOTH("the stopper releases its state", release_thread, NULL, STOPPED("PyEval_ReleaseThread")),
    BOTH("the stopper releases what it ensured", release, NULL, STOPPED("PyGILState_Release")),
    BOTH("the stopper swaps to none", swap_to_none, NULL, STOPPED("PyThreadState_Swap")),
    BOTH("the stopper swaps to another", swap_to_another, NULL, STOPPED("PyThreadState_Swap")),
    BOTH("the stopper deletes its state", delete_current, NULL, STOPPED("PyThreadState_DeleteCurrent")),
    BOTH("a detached stopper ensures", ensure, NULL, STOPPED("PyGILState_Ensure")),
    BOTH("a detached stopper restores", restore, NULL, STOPPED("PyEval_RestoreThread")),
    BOTH("a detached stopper acquires", acquire, NULL, STOPPED("PyEval_AcquireThread")),
    BOTH("a detached stopper swaps", swap_from_none, NULL, STOPPED("PyThreadState_Swap")),
    BOTH("the stopper ends attached", thread_ends, &endings[0], STOPPED("thread exit")),
    BOTH("the stopper ends detached", thread_ends, &endings[1], STOPPED("thread exit")),
    BOTH("the stopper ends and was never attached", thread_ends, &endings[2], STOPPED("thread exit")),
    BOTH("the main thread ends as the stopper", main_ends, NULL, STOPPED("thread exit")),
    BOTH("start at first", start_at_first, NULL, NOT_STOPPED),
    BOTH("start twice", start_twice, NULL, NOT_STOPPED),
    BOTH("start of another thread's stop", another_starts, NULL, NOT_STOPPED),
    {"stop without the runtime's lock", stop_without_the_lock, NULL, GILLOC_MODE_GIL, 0,
     NO_LOCK("gilloc_stop_the_world")},
    {"stop after the runtime's lock", stop_after_the_lock, NULL, GILLOC_MODE_GIL, 0, NO_LOCK("gilloc_stop_the_world")},
    {"visit without the runtime's lock", visit_without_the_lock, NULL, GILLOC_MODE_GIL, 0,
     NO_LOCK("gilloc_visit_blocks")},
    {"the stopper detaches under the runtime's lock", detach_under_the_lock, NULL, GILLOC_MODE_GIL, 0,
     STOPPED("PyEval_SaveThread")},
    {"GILLOC_STOP_DEADLINE=1s", deadline, "1s", CASE_MODE_OPEN, 1, BAD("1s")},
    {"GILLOC_STOP_DEADLINE=-1", deadline, "-1", CASE_MODE_OPEN, 1, BAD("-1")},
    {"GILLOC_STOP_DEADLINE=' 1'", deadline, " 1", CASE_MODE_OPEN, 1, BAD(" 1")},
    {"GILLOC_STOP_DEADLINE=0x10", deadline, "0x10", CASE_MODE_OPEN, 1,
     "Fatal gilloc error: GILLOC_STOP_DEADLINE: must be a number of microseconds, not \"0x10\"\n"},
    {"GILLOC_STOP_DEADLINE=9223372036854775808", deadline, "9223372036854775808", CASE_MODE_OPEN, 1,
     BAD("9223372036854775808")},
};

int main(void) { return death_run_group("stopped world", cases, sizeof(cases) / sizeof(cases[0])); }
