/* SPDX-License-Identifier: MIT */
/*
 * fork_death_test.c - the functions around fork(), used wrongly.
 */
#include <unistd.h>

#include "tests/support/death.h"
#include "tests/support/expect.h"

#define DETACHED(function)                                                                                          \
    "Fatal gilloc error: " function                                                                                 \
    ": the function must be called with the GIL held, after Python initialization and before Python finalization, " \
    "but the GIL is released (the current Python thread state is NULL)\n"                                           \
    "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"

#define WITHOUT_BEFORE(function)    \
    "Fatal gilloc error: " function \
    ": without PyOS_BeforeFork()\n" \
    "  do       call PyOS_BeforeFork(), then fork(), then one of the PyOS_AfterFork functions\n"

static void before_detached(const void *unused) {
    (void)unused;
    PyOS_BeforeFork();
}
static void parent_detached(const void *unused) {
    (void)unused;
    PyOS_AfterFork_Parent();
}
static void child_detached(const void *unused) {
    (void)unused;
    PyOS_AfterFork_Child();
}
static void before_while_saved(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_SaveThread();
    PyOS_BeforeFork();
}
static void parent_without_before(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyOS_AfterFork_Parent();
}
static void child_without_before(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyOS_AfterFork_Child();
}
static void parent_twice(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyOS_BeforeFork();
    PyOS_AfterFork_Parent();
    PyOS_AfterFork_Parent();
}
static void before_twice(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyOS_BeforeFork();
    PyOS_BeforeFork();
}

#define BOTH(name, body, text) \
    {name " (gil)", body, NULL, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, NULL, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("BeforeFork detached", before_detached, DETACHED("PyOS_BeforeFork")),
    BOTH("AfterFork_Parent detached", parent_detached, DETACHED("PyOS_AfterFork_Parent")),
    BOTH("AfterFork_Child detached", child_detached, DETACHED("PyOS_AfterFork_Child")),
    BOTH("BeforeFork while saved", before_while_saved, DETACHED("PyOS_BeforeFork")),
    BOTH("AfterFork_Parent without BeforeFork", parent_without_before, WITHOUT_BEFORE("PyOS_AfterFork_Parent")),
    BOTH("AfterFork_Child without BeforeFork", child_without_before, WITHOUT_BEFORE("PyOS_AfterFork_Child")),
    BOTH("AfterFork_Parent twice", parent_twice, WITHOUT_BEFORE("PyOS_AfterFork_Parent")),
    BOTH("BeforeFork twice", before_twice,
         "Fatal gilloc error: PyOS_BeforeFork: called twice\n"
         "  do       call PyOS_AfterFork_Parent() or PyOS_AfterFork_Child() after each fork()\n"),
};

int main(void) { return death_run_group("fork", cases, sizeof(cases) / sizeof(cases[0])); }
