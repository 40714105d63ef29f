/* SPDX-License-Identifier: MIT */
/*
 * gilstate_test.c - PyGILState_*: one call in, one call out, in any thread, nested with everything else.
 */
#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/threads.h"

static void expect_detached(void) {
    EXPECT_EQ(PyGILState_Check(), 0);
    EXPECT(PyThreadState_GetUnchecked() == NULL);
}

static void expect_attached_by(const PyThreadState *state) {
    EXPECT_EQ(PyGILState_Check(), 1);
    EXPECT(PyThreadState_GetUnchecked() == state);
    EXPECT(PyThreadState_Get() == state);
    EXPECT(PyInterpreterState_Get() == PyInterpreterState_Main());
}

static void nothing_is_attached_at_first(void) {
    expect_detached();
    EXPECT(PyGILState_GetThisThreadState() == NULL);
    EXPECT(PyInterpreterState_Main() != NULL);
    EXPECT_EQ(memory_stats().thread_states_ever, 0);
}

static void ensure_makes_a_state_and_release_deletes_it(void) {
    for (size_t i = 1; i <= 3; i++) {
        EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
        PyThreadState *state = PyGILState_GetThisThreadState();
        EXPECT(state != NULL);
        expect_attached_by(state);
        EXPECT_EQ(memory_stats().thread_states, 1);
        EXPECT_EQ(memory_stats().thread_states_ever, i);
        PyGILState_Release(PyGILState_UNLOCKED);
        expect_detached();
        EXPECT(PyGILState_GetThisThreadState() == NULL);
        EXPECT_EQ(memory_stats().thread_states, 0);
    }
}

static void ensure_nests(void) {
    enum { DEPTH = 1000 };
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
    PyThreadState *state = PyThreadState_Get();
    for (int i = 0; i < DEPTH; i++) {
        EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
        expect_attached_by(state);
    }
    for (int i = 0; i < DEPTH; i++) {
        PyGILState_Release(PyGILState_LOCKED);
        expect_attached_by(state);
    }
    PyGILState_Release(PyGILState_UNLOCKED);
    expect_detached();
    EXPECT_EQ(memory_stats().thread_states_ever, 1);
}

/* Ensure inside of a region that is detached attaches by the same state; its release detaches and keeps the state. */
static void ensure_nests_with_save_and_restore(void) {
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
    PyThreadState *state = PyThreadState_Get();
    void *block = PyMem_Malloc(10);

    EXPECT(PyEval_SaveThread() == state);
    expect_detached();
    EXPECT(PyGILState_GetThisThreadState() == state);

    EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
    expect_attached_by(state);
    block = PyMem_Realloc(block, 100);
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
    Py_BEGIN_ALLOW_THREADS expect_detached();
    Py_END_ALLOW_THREADS expect_attached_by(state);
    PyGILState_Release(PyGILState_LOCKED);
    expect_attached_by(state);
    PyGILState_Release(PyGILState_UNLOCKED);
    expect_detached();
    EXPECT(PyGILState_GetThisThreadState() == state);

    PyEval_RestoreThread(state);
    expect_attached_by(state);
    PyMem_Free(block);
    PyGILState_Release(PyGILState_UNLOCKED);
    expect_detached();
    EXPECT(PyGILState_GetThisThreadState() == NULL);
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(memory_stats().thread_states_ever, 1);
}

/* A thread that attached by a state of its own making: Ensure uses that one, and Release does not delete it. */
static void ensure_uses_the_state_that_the_thread_has(void) {
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    EXPECT(state != NULL);
    EXPECT(PyGILState_GetThisThreadState() == NULL);
    PyEval_RestoreThread(state);
    EXPECT(PyGILState_GetThisThreadState() == state);
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
    expect_attached_by(state);
    PyGILState_Release(PyGILState_LOCKED);
    expect_attached_by(state);
    EXPECT(PyEval_SaveThread() == state);

    EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
    expect_attached_by(state);
    PyGILState_Release(PyGILState_UNLOCKED);
    expect_detached();
    EXPECT_EQ(memory_stats().thread_states, 1);
    EXPECT_EQ(memory_stats().thread_states_ever, 1);

    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    expect_detached();
    EXPECT(PyGILState_GetThisThreadState() == NULL);
    EXPECT_EQ(memory_stats().thread_states, 0);
}

static void *ensure_in_thread(void *arg) {
    PyThreadState **seen = arg;
    expect_detached();
    EXPECT(PyGILState_GetThisThreadState() == NULL);
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
        *seen = PyThreadState_Get();
        expect_attached_by(*seen);
        EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
        PyMem_Free(PyMem_Malloc(10));
        PyGILState_Release(PyGILState_LOCKED);
        PyGILState_Release(PyGILState_UNLOCKED);
        expect_detached();
    }
    return NULL;
}

static void each_thread_has_its_own(void) {
    PyThreadState *seen[8];
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
    PyThreadState *state = PyThreadState_Get();
    Py_BEGIN_ALLOW_THREADS threads_run(8, ensure_in_thread, seen, sizeof(seen[0]));
    Py_END_ALLOW_THREADS expect_attached_by(state);
    for (size_t i = 0; i < 8; i++) {
        EXPECT(seen[i] != state);
    }
    EXPECT_EQ(memory_stats().thread_states, 1);
    EXPECT_EQ(memory_stats().thread_states_ever, 81);
    PyGILState_Release(PyGILState_UNLOCKED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(nothing_is_attached_at_first),
        IN_BOTH_MODES(ensure_makes_a_state_and_release_deletes_it),
        IN_BOTH_MODES(ensure_nests),
        IN_BOTH_MODES(ensure_nests_with_save_and_restore),
        IN_BOTH_MODES(ensure_uses_the_state_that_the_thread_has),
        IN_BOTH_MODES(each_thread_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
