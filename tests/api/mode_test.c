/* SPDX-License-Identifier: MIT */
/*
 * mode_test.c - which mode a process is in: PYTHON_GIL, gilloc_set_mode(), and until when it can be chosen.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/support/case.h"
#include "tests/support/death.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/threads.h"

static void gil(const char *value) { EXPECT_EQ(setenv("PYTHON_GIL", value, 1), 0); }

/* --- PYTHON_GIL ------------------------------------------------------------------------------- */

static void unset_is_gil_mode(void) {
    EXPECT_EQ(unsetenv("PYTHON_GIL"), 0);
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

static void one_is_gil_mode(void) {
    gil("1");
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT(memory_stats().lock_takes > 0);
}

static void zero_is_free_mode(void) {
    gil("0");
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_FREE);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(memory_stats().lock_takes, 0);
}

static void zero_counts_whichever_call_is_first(void) {
    gil("0");
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_FREE);
}

/* As in CPython, where an empty variable is one that is not set. */
static void empty_is_unset(void) {
    gil("");
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

static void a_call_beats_the_environment(void) {
    gil("0");
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

static void get_mode_after(const void *value) {
    gil(value);
    gilloc_get_mode();
}

static void ensure_after(const void *value) {
    gil(value);
    PyGILState_Ensure();
}

static void new_after(const void *value) {
    gil(value);
    PyThreadState_New(PyInterpreterState_Main());
}

#define BAD(value) "Fatal gilloc error: PYTHON_GIL: must be \"0\" or \"1\", not \"" value "\"\n"

static struct death_case bad_values[] = {
    {"PYTHON_GIL=x", get_mode_after, "x", CASE_MODE_OPEN, 1, BAD("x")},
    {"PYTHON_GIL=2", get_mode_after, "2", CASE_MODE_OPEN, 1, BAD("2")},
    {"PYTHON_GIL=00", get_mode_after, "00", CASE_MODE_OPEN, 1, BAD("00")},
    {"PYTHON_GIL=01", get_mode_after, "01", CASE_MODE_OPEN, 1, BAD("01")},
    {"PYTHON_GIL=10", get_mode_after, "10", CASE_MODE_OPEN, 1, BAD("10")},
    {"PYTHON_GIL=-1", get_mode_after, "-1", CASE_MODE_OPEN, 1, BAD("-1")},
    {"PYTHON_GIL=' 0'", get_mode_after, " 0", CASE_MODE_OPEN, 1, BAD(" 0")},
    {"PYTHON_GIL=yes, Ensure first", ensure_after, "yes", CASE_MODE_OPEN, 1, BAD("yes")},
    {"PYTHON_GIL=off, New first", new_after, "off", CASE_MODE_OPEN, 1, BAD("off")},
};

/* --- gilloc_set_mode() ------------------------------------------------------------------------ */

static void expect_refused(gilloc_mode mode, int error) {
    errno = 0;
    EXPECT_EQ(gilloc_set_mode(mode), -1);
    EXPECT_EQ(errno, error);
}

static void the_last_call_counts(void) {
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
        EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_FREE);
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
        EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    }
}

static void no_such_mode(void) {
    static const int modes[] = {2, 3, -1, 100};
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
            expect_refused((gilloc_mode)modes[i], EINVAL);
            EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
        }
        if (attached) {
            PyGILState_Release(was);
        }
    }
}

static void a_detached_thread_is_too_late_after_the_first_state(void) {
    gilloc_mode mode = gilloc_get_mode();
    gilloc_mode other = mode == GILLOC_MODE_GIL ? GILLOC_MODE_FREE : GILLOC_MODE_GIL;
    /* Memory of the raw domain, hooks and options need no state and leave the choice open. */
    PyMem_RawFree(PyMem_RawMalloc(10));
    gilloc_set_switch_interval(1000);
    gilloc_purge();
    EXPECT_EQ(gilloc_set_mode(other), 0);
    EXPECT_EQ(gilloc_set_mode(mode), 0);

    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    expect_refused(other, EBUSY);
    PyEval_RestoreThread(state);
    EXPECT_EQ(gilloc_set_mode(other), 0);
    EXPECT_EQ(gilloc_get_mode(), other);
    EXPECT_EQ(gilloc_set_mode(mode), 0);
    PyEval_SaveThread();
    PyThreadState_Delete(state);
    /* None is left, but one has been made. */
    expect_refused(other, EBUSY);
    EXPECT_EQ(gilloc_get_mode(), mode);
}

static void *get_mode_in_thread(void *arg) {
    EXPECT_EQ(gilloc_get_mode(), *(gilloc_mode *)arg);
    return NULL;
}

static void every_thread_sees_the_same(void) {
    gilloc_mode mode = gilloc_get_mode();
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_get_mode(), mode);
    threads_run(4, get_mode_in_thread, &mode, 0);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_OPEN_MODE(unset_is_gil_mode),
        IN_OPEN_MODE(one_is_gil_mode),
        IN_OPEN_MODE(zero_is_free_mode),
        IN_OPEN_MODE(zero_counts_whichever_call_is_first),
        IN_OPEN_MODE(empty_is_unset),
        IN_OPEN_MODE(a_call_beats_the_environment),
        IN_OPEN_MODE(the_last_call_counts),
        IN_OPEN_MODE(no_such_mode),
        IN_BOTH_MODES(a_detached_thread_is_too_late_after_the_first_state),
        IN_BOTH_MODES(every_thread_sees_the_same),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + death_run_group("bad values", bad_values, sizeof(bad_values) / sizeof(bad_values[0]));
}
