/* SPDX-License-Identifier: MIT */
/*
 * lock.c [L7] - CPython's lock, by CPython's functions.  Theory: lock.h.
 *   Owner   as in lock.h.
 *   Locks   CPython's.  Orders: none.
 */
#include "lib/embed/cpython/lock.h"

/* CPython's own functions.  Constant once found; states are CPython's. */
static struct {
    int (*check)(void);
    int (*ensure)(void);
    void (*release)(int state);
    void *(*save)(void);
    void (*restore)(void *state);
    void *(*current)(void); /* the state that has the lock, which is not public: or nothing is known */
} cpython;

static void *nothing_known(void) { return NULL; }

/* What the lock was dropped from: a thread state that is to come back, or nothing; and what the lock was taken by. */
#define OURS __thread __attribute__((tls_model("initial-exec"))) /* else each access is a call */
static OURS void *saved;
static OURS bool ensured;
static OURS int state_before;
static OURS void *own; /* the state by which this thread was last seen to hold the lock */

bool gi_cpython_lock_find(bool (*find)(void *function, const char *name)) {
    if (!find(&cpython.current, "_PyThreadState_UncheckedGet")) {
        cpython.current = nothing_known;
    }
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

static __attribute__((noinline)) int held_slow(void *current) {
    int yes = cpython.check();
    own = yes ? current : own;
    return yes;
}

/* Asked on slow paths, of which large blocks are one.  A thread whose state has the lock has it: CPython, which looks
   its own record of the thread up to know, is asked where that is another state than last time.  Before it has started,
   after it has ended, and once it has had several interpreters, it answers yes. */
static int held(void *ctx) {
    (void)ctx;
    void *current = cpython.current();
    return current != NULL && current == own ? 1 : held_slow(current);
}

const gilloc_lock gi_cpython_lock = {NULL, acquire, release, held};
