/* SPDX-License-Identifier: MIT */
/*
 * pystate.c [L6] - threads and the lock under CPython's names.  Contracts: gilloc/pystate.h.
 *   No locks, no state; each function checks that it may be called, then asks the runtime.
 */
#include <errno.h>
#include <gilloc/pystate.h>

#include "lib/api/runtime.h"
#include "lib/domain/debug_hooks.h"

/* --- fatal errors ----------------------------------------------------------------------------- */

static _Noreturn __attribute__((cold)) void die_detached(const char *function) {
    gi_fatal(function,
             "the function must be called with the GIL held, after Python initialization and before Python "
             "finalization, but the GIL is released (the current Python thread state is NULL)" GI_DO(
                 "attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()"));
}

/* CPython's text, which speaks of the state that was passed. */
static _Noreturn __attribute__((cold)) void die_null_state(void) {
    gi_fatal("PyEval_RestoreThread",
             "the function must be called with the GIL held, after Python initialization and before Python "
             "finalization, but the GIL is released (the current Python thread state is NULL)" GI_DO(
                 "pass what PyEval_SaveThread() or PyThreadState_New() returned"));
}

/* Where there is no state yet, or a runtime's own lock. */
static __attribute__((noinline)) PyThreadState *require_current_slow(const char *function) {
    PyThreadState *state = gi_runtime_current_or_attach();
    if (gi_unlikely(state == NULL || (gi_runtime_has_outer_lock() && !gi_runtime_outer_held()))) {
        die_detached(function);
    }
    return state;
}

static inline PyThreadState *require_current(const char *function) {
    PyThreadState *state = gi_runtime_current();
    return gi_likely(state != NULL && !gi_runtime_has_outer_lock()) ? state : require_current_slow(function);
}

static void require_state(const PyThreadState *state, const char *function) {
    if (gi_unlikely(state == NULL)) {
        gi_fatal(function, "NULL thread state" GI_DO("pass what PyThreadState_New() or PyEval_SaveThread() returned"));
    }
}

/* `state`, which is not current here, is attached nowhere. */
static void require_detached(PyThreadState *state, const char *function) {
    if (gi_unlikely(gi_thread_status(&state->thread) != GI_DETACHED)) {
        gi_fatal(function, "thread state %p is attached in another thread" GI_DO("detach it there first"),
                 (void *)state);
    }
}

static void require_interpreter(const PyInterpreterState *interp, const char *function) {
    gi_runtime_ready();
    if (gi_unlikely(interp != &gi_main_interpreter && !gi_runtime_is_interpreter(interp))) {
        gi_fatal(
            function,
            "%p is no interpreter" GI_DO("pass PyInterpreterState_Main(), or what PyInterpreterState_New() returned"),
            (const void *)interp);
    }
}

/* --- PyGILState ------------------------------------------------------------------------------- */

/* Under a runtime's own lock a thread stays attached while the runtime drops it: the lock says who may go on. */
static __attribute__((noinline)) PyGILState_STATE ensure_outer(PyThreadState *state) {
    bool held = gi_runtime_outer_held();
    if (!held) {
        gi_gil_outer_acquire(&gi_main_interpreter.registry.gil);
    }
    state->ensured++;
    return held ? PyGILState_LOCKED : PyGILState_UNLOCKED;
}

/* Detached. */
static __attribute__((noinline)) PyGILState_STATE ensure_slow(void) {
    gi_runtime_ready();
    PyThreadState *state = gi_runtime_gilstate();
    if (state == NULL) {
        state = gi_runtime_new(&gi_main_interpreter);
        if (state == NULL) {
            gi_fatal("PyGILState_Ensure",
                     "out of memory for a new thread state" GI_DO("use PyThreadState_New(), which can say so"));
        }
        state->made_by_ensure = true;
    }
    bool held = gi_runtime_has_outer_lock() && gi_runtime_outer_held();
    gi_runtime_attach(state, "PyGILState_Ensure");
    state->ensured++;
    return held ? PyGILState_LOCKED : PyGILState_UNLOCKED;
}

PyGILState_STATE PyGILState_Ensure(void) {
    PyThreadState *state = gi_runtime_current();
    if (gi_unlikely(state == NULL)) {
        return ensure_slow();
    }
    if (gi_unlikely(gi_runtime_has_outer_lock())) {
        return ensure_outer(state);
    }
    state->ensured++;
    return PyGILState_LOCKED;
}

static _Noreturn __attribute__((cold, noinline)) void die_released(PyThreadState *state) {
    if (state != NULL) {
        gi_fatal("PyGILState_Release",
                 "no PyGILState_Ensure() to release" GI_FACT("state   ", "%p")
                     GI_DO("call it once for each PyGILState_Ensure(), in the same thread"),
                 (void *)state);
    }
    state = gi_runtime_gilstate();
    if (state == NULL) {
        gi_fatal("PyGILState_Release", "auto-releasing thread-state, but no thread-state for this thread" GI_DO(
                                           "call it once for each PyGILState_Ensure(), in the same thread"));
    }
    gi_fatal("PyGILState_Release",
             "thread state %p must be current when releasing" GI_DO(
                 "attach it again, by PyEval_RestoreThread(), before the release"),
             (void *)state);
}

/* The thread detaches, or there is a runtime's own lock, or it is wrong use. */
static __attribute__((noinline)) void release_slow(PyThreadState *state, PyGILState_STATE oldstate) {
    if (gi_unlikely(state == NULL || state->ensured == 0)) {
        die_released(state);
    }
    state->ensured--;
    if (gi_unlikely(gi_runtime_has_outer_lock())) {
        if (oldstate == PyGILState_UNLOCKED) {
            gi_gil_outer_release(&gi_main_interpreter.registry.gil);
        }
        return;
    }
    bool last = state->ensured == 0 && state->made_by_ensure;
    if (last) {
        gi_debug_flush(&state->cache, "PyGILState_Release");
    }
    if (last || oldstate == PyGILState_UNLOCKED) {
        gi_runtime_detach(state, "PyGILState_Release");
    }
    if (last) {
        gi_runtime_delete(state, "PyGILState_Release");
    }
}

void PyGILState_Release(PyGILState_STATE oldstate) {
    PyThreadState *state = gi_runtime_current();
    bool nested = state != NULL && state->ensured > 1 && oldstate != PyGILState_UNLOCKED;
    if (gi_unlikely(!nested || gi_runtime_has_outer_lock())) {
        release_slow(state, oldstate);
        return;
    }
    state->ensured--;
}

int PyGILState_Check(void) {
    if (gi_unlikely(gi_runtime_has_outer_lock())) {
        return gi_runtime_outer_held();
    }
    return gi_runtime_current() != NULL;
}

PyThreadState *PyGILState_GetThisThreadState(void) { return gi_runtime_gilstate(); }

/* --- thread states ---------------------------------------------------------------------------- */

PyThreadState *PyThreadState_New(PyInterpreterState *interp) {
    require_interpreter(interp, "PyThreadState_New");
    return gi_runtime_new(interp);
}

void PyThreadState_Clear(PyThreadState *tstate) {
    PyThreadState *current = require_current("PyThreadState_Clear");
    require_state(tstate, "PyThreadState_Clear");
    int saved_errno = errno; /* a user's arena allocator may be called */
    if (tstate == current) {
        gi_debug_flush(&tstate->cache, "PyThreadState_Clear");
        gi_cache_flush(&tstate->cache, "PyThreadState_Clear");
    } else {
        require_detached(tstate, "PyThreadState_Clear");
        gi_heap_activate(&tstate->cache.own);
        gi_cache_flush(&tstate->cache, "PyThreadState_Clear");
        gi_heap_idle(&tstate->cache.own);
    }
    errno = saved_errno;
}

void PyThreadState_Delete(PyThreadState *tstate) {
    require_state(tstate, "PyThreadState_Delete");
    if (gi_unlikely(tstate == gi_runtime_current())) {
        gi_fatal("PyThreadState_Delete",
                 "thread state %p is still current" GI_DO("use PyThreadState_DeleteCurrent(), or detach first"),
                 (void *)tstate);
    }
    require_detached(tstate, "PyThreadState_Delete");
    gi_runtime_delete(tstate, "PyThreadState_Delete");
}

void PyThreadState_DeleteCurrent(void) {
    PyThreadState *state = require_current("PyThreadState_DeleteCurrent");
    gi_debug_flush(&state->cache, "PyThreadState_DeleteCurrent");
    gi_runtime_detach(state, "PyThreadState_DeleteCurrent");
    gi_runtime_delete(state, "PyThreadState_DeleteCurrent");
}

PyThreadState *PyThreadState_Get(void) { return require_current("PyThreadState_Get"); }

PyThreadState *PyThreadState_GetUnchecked(void) { return gi_runtime_current(); }

PyThreadState *PyThreadState_Swap(PyThreadState *tstate) {
    PyThreadState *old = gi_runtime_current();
    if (old == tstate) {
        return old;
    }
    if (old != NULL) {
        require_current("PyThreadState_Swap"); /* with the runtime's lock, if it has one */
        gi_runtime_detach(old, "PyThreadState_Swap");
    }
    if (tstate != NULL) {
        gi_runtime_attach(tstate, "PyThreadState_Swap");
    }
    return old;
}

PyInterpreterState *PyInterpreterState_Main(void) {
    gi_runtime_ready();
    return &gi_main_interpreter;
}

PyInterpreterState *PyInterpreterState_New(void) { return gi_runtime_new_interpreter(); }

void PyInterpreterState_Clear(PyInterpreterState *interp) {
    PyThreadState *current = require_current("PyInterpreterState_Clear");
    require_interpreter(interp, "PyInterpreterState_Clear");
    if (gi_unlikely(current->interpreter != interp)) {
        gi_fatal("PyInterpreterState_Clear",
                 "the thread is attached to another interpreter" GI_FACT("interp  ", "%p")
                     GI_DO("attach by a thread state of the interpreter"),
                 (void *)interp);
    }
    gi_runtime_empty(interp, "PyInterpreterState_Clear");
}

void PyInterpreterState_Delete(PyInterpreterState *interp) {
    require_interpreter(interp, "PyInterpreterState_Delete");
    PyThreadState *current = gi_runtime_current();
    if (gi_unlikely(interp == &gi_main_interpreter || (current != NULL && current->interpreter == interp))) {
        gi_fatal("PyInterpreterState_Delete",
                 "interpreter %p is in use" GI_FACT("interp  ", "the %s one")
                     GI_DO("delete one that was made, detached"),
                 (void *)interp, interp == &gi_main_interpreter ? "main" : "current");
    }
    gi_runtime_delete_interpreter(interp, "PyInterpreterState_Delete");
}

PyInterpreterState *PyInterpreterState_Get(void) { return require_current("PyInterpreterState_Get")->interpreter; }

/* --- attach and detach ------------------------------------------------------------------------ */

PyThreadState *PyEval_SaveThread(void) {
    return gi_runtime_detach(require_current("PyEval_SaveThread"), "PyEval_SaveThread");
}

void PyEval_RestoreThread(PyThreadState *tstate) {
    if (gi_unlikely(tstate == NULL)) {
        die_null_state();
    }
    gi_runtime_attach(tstate, "PyEval_RestoreThread");
}

void PyEval_AcquireThread(PyThreadState *tstate) {
    require_state(tstate, "PyEval_AcquireThread");
    gi_runtime_attach(tstate, "PyEval_AcquireThread");
}

void PyEval_ReleaseThread(PyThreadState *tstate) {
    PyThreadState *state = require_current("PyEval_ReleaseThread");
    if (gi_unlikely(state != tstate)) {
        gi_fatal("PyEval_ReleaseThread",
                 "wrong thread state" GI_FACT("state   ", "%p, but %p is current")
                     GI_DO("release the state that was acquired"),
                 (void *)tstate, (void *)state);
    }
    gi_runtime_detach(state, "PyEval_ReleaseThread");
}

/* --- fork ------------------------------------------------------------------------------------- */

void PyOS_BeforeFork(void) {
    if (gi_this.forking) {
        gi_fatal("PyOS_BeforeFork",
                 "called twice" GI_DO("call PyOS_AfterFork_Parent() or PyOS_AfterFork_Child() after each fork()"));
    }
    require_current("PyOS_BeforeFork");
    gi_runtime_before_fork();
}

static void require_forking(const char *function) {
    if (!gi_this.forking) {
        require_current(function);
        gi_fatal(function, "without PyOS_BeforeFork()" GI_DO(
                               "call PyOS_BeforeFork(), then fork(), then one of the PyOS_AfterFork functions"));
    }
}

void PyOS_AfterFork_Parent(void) {
    require_forking("PyOS_AfterFork_Parent");
    gi_runtime_after_fork_parent();
}

void PyOS_AfterFork_Child(void) {
    require_forking("PyOS_AfterFork_Child");
    gi_runtime_after_fork_child();
}
