/* SPDX-License-Identifier: MIT */
/*
 * cpython_lock.c [L7] - CPython's lock, by CPython's functions.  Theory: cpython_lock.h.
 *   Owner   as in cpython_lock.h.
 *   Locks   CPython's.  Orders: none.
 */
#include "lib/embed/cpython_lock.h"

/* CPython's own functions.  Constant once found; states are CPython's. */
static struct {
    int (*check)(void);
    int (*ensure)(void);
    void (*release)(int state);
    void *(*save)(void);
    void (*restore)(void *state);
} cpython;

/* What the lock was dropped from: a thread state that is to come back, or nothing; and what the lock was taken by. */
static __thread void *saved;
static __thread bool ensured;
static __thread int state_before;

bool gi_cpython_lock_find(bool (*find)(void *function, const char *name)) {
    return find(&cpython.check, "PyGILState_Check") && find(&cpython.ensure, "PyGILState_Ensure") &&
           find(&cpython.release, "PyGILState_Release") && find(&cpython.save, "PyEval_SaveThread") &&
           find(&cpython.restore, "PyEval_RestoreThread");
}

/* A thread with a state of CPython's that dropped the lock comes back by it; any other thread gets a state. */
static void acquire(void *ctx) {
    (void)ctx;
    if (saved != NULL) {
        void *state = saved;
        saved = NULL;
        cpython.restore(state);
    } else {
        state_before = cpython.ensure();
        ensured = true;
    }
}

static void release(void *ctx) {
    (void)ctx;
    if (ensured) {
        ensured = false;
        cpython.release(state_before);
    } else {
        saved = cpython.save();
    }
}

/* Before CPython has started, after it has ended, and once it has had several interpreters, it answers yes. */
static int held(void *ctx) {
    (void)ctx;
    return cpython.check();
}

const gilloc_lock gi_cpython_lock = {NULL, acquire, release, held};
