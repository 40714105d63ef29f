/* SPDX-License-Identifier: MIT */
/*
 * thread_state_test.c - PyThreadState_*, PyInterpreterState_*, PyEval_*: states by hand, moved between threads.
 */
#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/shadow.h"
#include "tests/support/threads.h"

static void new_clear_delete(void) {
    PyInterpreterState *main_interpreter = PyInterpreterState_Main();
    PyThreadState *states[100];
    for (size_t i = 0; i < 100; i++) {
        states[i] = PyThreadState_New(main_interpreter);
        EXPECT(states[i] != NULL);
        for (size_t other = 0; other < i; other++) {
            EXPECT(states[other] != states[i]);
        }
        EXPECT_EQ(PyGILState_Check(), 0);
    }
    EXPECT_EQ(memory_stats().thread_states, 100);
    PyEval_RestoreThread(states[0]);
    /* New, clear and delete of others by an attached thread. */
    for (size_t i = 1; i < 50; i++) {
        PyThreadState_Clear(states[i]);
        PyThreadState_Delete(states[i]);
    }
    states[1] = PyThreadState_New(main_interpreter);
    EXPECT(states[1] != NULL);
    EXPECT(PyThreadState_Get() == states[0]);
    EXPECT(PyEval_SaveThread() == states[0]);
    /* And delete by a detached one. */
    for (size_t i = 50; i < 100; i++) {
        PyThreadState_Delete(states[i]);
    }
    PyThreadState_Delete(states[0]);
    PyThreadState_Delete(states[1]);
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(memory_stats().thread_states_ever, 101);
}

static void there_is_one_interpreter(void) {
    PyInterpreterState *main_interpreter = PyInterpreterState_Main();
    EXPECT(main_interpreter != NULL);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT(PyInterpreterState_Get() == main_interpreter);
    EXPECT(PyInterpreterState_Main() == main_interpreter);
    PyGILState_Release(was);
    EXPECT(PyInterpreterState_Main() == main_interpreter);
}

static void swap_changes_the_state(void) {
    PyThreadState *first = PyThreadState_New(PyInterpreterState_Main());
    PyThreadState *second = PyThreadState_New(PyInterpreterState_Main());
    EXPECT(PyThreadState_Swap(NULL) == NULL);
    EXPECT(PyThreadState_Swap(first) == NULL);
    EXPECT(PyThreadState_Get() == first);
    void *of_first = PyMem_Malloc(64);
    EXPECT(PyThreadState_Swap(second) == first);
    EXPECT(PyThreadState_Get() == second);
    void *of_second = PyMem_Malloc(64);
    EXPECT(of_first != of_second);
    PyMem_Free(of_first);
    EXPECT(PyThreadState_Swap(second) == second);
    EXPECT(PyThreadState_Get() == second);
    EXPECT(PyThreadState_Swap(first) == second);
    PyMem_Free(of_second);
    EXPECT(PyThreadState_Swap(NULL) == first);
    EXPECT_EQ(PyGILState_Check(), 0);
    EXPECT(PyThreadState_Swap(NULL) == NULL);
    PyThreadState_Delete(first);
    PyThreadState_Delete(second);
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
}

static void acquire_and_release(void) {
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    for (int i = 0; i < 3; i++) {
        PyEval_AcquireThread(state);
        EXPECT(PyThreadState_Get() == state);
        PyEval_ReleaseThread(state);
        EXPECT_EQ(PyGILState_Check(), 0);
    }
    PyEval_AcquireThread(state);
    PyThreadState_DeleteCurrent();
    EXPECT_EQ(PyGILState_Check(), 0);
    EXPECT_EQ(memory_stats().thread_states, 0);
}

static void block_and_unblock(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *state = PyThreadState_Get();
    for (int i = 0; i < 3; i++) {
        Py_BEGIN_ALLOW_THREADS EXPECT_EQ(PyGILState_Check(), 0);
        Py_BLOCK_THREADS EXPECT(PyThreadState_Get() == state);
        PyMem_Free(PyMem_Malloc(8));
        Py_UNBLOCK_THREADS EXPECT_EQ(PyGILState_Check(), 0);
        Py_END_ALLOW_THREADS EXPECT(PyThreadState_Get() == state);
    }
    PyGILState_Release(was);
}

/* A state goes from thread to thread, with blocks alive and freed in its cache. */
struct traveller {
    PyThreadState *state;
    struct shadow shadow;
};

static void *travel(void *arg) {
    struct traveller *traveller = arg;
    PyEval_RestoreThread(traveller->state);
    EXPECT(PyThreadState_Get() == traveller->state);
    struct shadow *shadow = &traveller->shadow;
    for (size_t i = 0; i < 500; i++) {
        shadow_add(shadow, &domains[PYMEM_DOMAIN_OBJ], PyObject_Malloc(i), i);
    }
    for (size_t i = 0; i < 400; i++) {
        PyObject_Free(shadow_remove(shadow, shadow->blocks[i * 7 % shadow->count]));
    }
    EXPECT(PyEval_SaveThread() == traveller->state);
    return NULL;
}

static void a_state_moves_between_threads(void) {
    struct traveller traveller = {.state = PyThreadState_New(PyInterpreterState_Main())};
    shadow_init(&traveller.shadow, 1);
    for (int i = 0; i < 10; i++) {
        threads_run(1, travel, &traveller, 0);
        travel(&traveller);
    }
    EXPECT_EQ(memory_stats().thread_states_ever, 1);
    PyEval_RestoreThread(traveller.state);
    shadow_free_all(&traveller.shadow);
    shadow_fini(&traveller.shadow);
    memory_expect_all_back();
    PyThreadState_Clear(traveller.state);
    PyThreadState_DeleteCurrent();
}

/* Several states at once, each in whatever thread picks it up. */
static void states_are_passed_round(void) {
    enum { STATES = 4 };
    struct traveller travellers[STATES];
    for (size_t i = 0; i < STATES; i++) {
        travellers[i].state = PyThreadState_New(PyInterpreterState_Main());
        shadow_init(&travellers[i].shadow, (uint32_t)i);
    }
    for (int round = 0; round < 10; round++) {
        threads_run(STATES, travel, travellers, sizeof(travellers[0]));
    }
    for (size_t i = 0; i < STATES; i++) {
        PyEval_RestoreThread(travellers[i].state);
        shadow_free_all(&travellers[i].shadow);
        shadow_fini(&travellers[i].shadow);
        if (i == STATES - 1) {
            memory_expect_all_back();
        }
        PyThreadState_DeleteCurrent();
    }
    EXPECT_EQ(memory_stats().thread_states, 0);
}

/* What a deleted state allocated stays usable; any thread frees it. */
static void blocks_outlive_their_state(void) {
    struct shadow shadow;
    shadow_init(&shadow, 1);
    for (int round = 0; round < 20; round++) {
        PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
        PyEval_RestoreThread(state);
        for (size_t i = 0; i < 200; i++) {
            shadow_add(&shadow, &domains[PYMEM_DOMAIN_MEM], PyMem_Malloc(i * 3), i * 3);
        }
        for (size_t i = 0; i < 100; i++) {
            PyMem_Free(shadow_remove(&shadow, shadow.blocks[i * 5 % shadow.count]));
        }
        if (round % 2 == 0) {
            PyThreadState_Clear(state);
        }
        if (round % 3 == 0) {
            PyEval_SaveThread();
            PyThreadState_Delete(state);
        } else {
            PyThreadState_DeleteCurrent();
        }
        EXPECT_EQ(PyGILState_Check(), 0);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_allocated_blocks(), shadow.count);
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void safepoint_keeps_the_state(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *state = PyThreadState_Get();
    for (int i = 0; i < 1000; i++) {
        gilloc_safepoint();
        EXPECT(PyThreadState_Get() == state);
    }
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(new_clear_delete),          IN_BOTH_MODES(there_is_one_interpreter),
        IN_BOTH_MODES(swap_changes_the_state),    IN_BOTH_MODES(acquire_and_release),
        IN_BOTH_MODES(block_and_unblock),         IN_BOTH_MODES(a_state_moves_between_threads),
        IN_BOTH_MODES(states_are_passed_round),   IN_BOTH_MODES(blocks_outlive_their_state),
        IN_BOTH_MODES(safepoint_keeps_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
