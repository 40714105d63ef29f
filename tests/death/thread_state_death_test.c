/* SPDX-License-Identifier: MIT */
/*
 * thread_state_death_test.c - thread states, attaching and detaching, used wrongly.
 */
#include "tests/support/death.h"
#include "tests/support/expect.h"
#include "tests/support/threads.h"

/* CPython's text, from its PyEval_RestoreThread(NULL) and PyThreadState_Get(). */
#define DETACHED(function)                                                                                          \
    "Fatal gilloc error: " function                                                                                 \
    ": the function must be called with the GIL held, after Python initialization and before Python finalization, " \
    "but the GIL is released (the current Python thread state is NULL)\n"                                           \
    "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"

#define NULL_RESTORED                                                                                             \
    "Fatal gilloc error: PyEval_RestoreThread: the function must be called with the GIL held, after Python "      \
    "initialization and before Python finalization, but the GIL is released (the current Python thread state is " \
    "NULL)\n"                                                                                                     \
    "  do       pass what PyEval_SaveThread() or PyThreadState_New() returned\n"

#define OLD_STATE(function)             \
    "Fatal gilloc error: " function     \
    ": non-NULL old thread state\n"     \
    "  state    X is current already\n" \
    "  do       detach first, by PyEval_SaveThread(), or use PyThreadState_Swap()\n"

#define NULL_STATE(function)        \
    "Fatal gilloc error: " function \
    ": NULL thread state\n"         \
    "  do       pass what PyThreadState_New() or PyEval_SaveThread() returned\n"

#define ELSEWHERE(function, advice)                    \
    "Fatal gilloc error: " function                    \
    ": thread state X is attached in another thread\n" \
    "  do       " advice "\n"

/* --- detached, and must not be ---------------------------------------------------------------- */

/* Whether it was attached before makes no difference. */
static const int before = 1;
static void begin(const void *attached_before) {
    if (attached_before != NULL) {
        PyGILState_Release(PyGILState_Ensure());
    }
}
static void save_detached(const void *arg) {
    begin(arg);
    PyEval_SaveThread();
}
static void save_twice(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_SaveThread();
    PyEval_SaveThread();
}
static void get_detached(const void *arg) {
    begin(arg);
    PyThreadState_Get();
}
static void get_interpreter_detached(const void *arg) {
    begin(arg);
    PyInterpreterState_Get();
}
static void clear_detached(const void *arg) {
    begin(arg);
    PyThreadState_Clear(PyThreadState_New(PyInterpreterState_Main()));
}
static void delete_current_detached(const void *arg) {
    begin(arg);
    PyThreadState_DeleteCurrent();
}
static void release_thread_detached(const void *arg) {
    begin(arg);
    PyEval_ReleaseThread(PyThreadState_New(PyInterpreterState_Main()));
}
static void safepoint_detached(const void *arg) {
    begin(arg);
    gilloc_safepoint();
}
static void safepoint_while_saved(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_SaveThread();
    gilloc_safepoint();
}

/* --- attached, and must not be ---------------------------------------------------------------- */

static void restore_attached(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_RestoreThread(PyThreadState_Get());
}
static void restore_another_attached(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_RestoreThread(PyThreadState_New(PyInterpreterState_Main()));
}
static void acquire_attached(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_AcquireThread(PyThreadState_Get());
}
static void delete_current_state(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyThreadState_Delete(PyThreadState_Get());
}

/* --- NULL, and the wrong state ---------------------------------------------------------------- */

static void restore_null(const void *arg) {
    begin(arg);
    PyEval_RestoreThread(NULL);
}
static void acquire_null(const void *arg) {
    begin(arg);
    PyEval_AcquireThread(NULL);
}
static void delete_null(const void *arg) {
    begin(arg);
    PyThreadState_Delete(NULL);
}
static void clear_null(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyThreadState_Clear(NULL);
}
static void release_thread_null(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_ReleaseThread(NULL);
}
static void release_another_thread(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_ReleaseThread(PyThreadState_New(PyInterpreterState_Main()));
}
static void new_of_null(const void *unused) {
    (void)unused;
    PyThreadState_New(NULL);
}

/* --- a state that another thread has ---------------------------------------------------------- */

static pthread_barrier_t attached;

static void *stay_attached(void *arg) {
    PyGILState_Ensure();
    *(PyThreadState **)arg = PyThreadState_Get();
    pthread_barrier_wait(&attached);
    pthread_barrier_wait(&attached); /* never met */
    return NULL;
}
static PyThreadState *state_of_another_thread(void) {
    static PyThreadState *state;
    pthread_barrier_init(&attached, NULL, 2);
    thread_start(stay_attached, &state);
    pthread_barrier_wait(&attached);
    return state;
}
static void restore_anothers(const void *unused) {
    (void)unused;
    PyEval_RestoreThread(state_of_another_thread());
}
static void acquire_anothers(const void *unused) {
    (void)unused;
    PyEval_AcquireThread(state_of_another_thread());
}
static void swap_to_anothers(const void *unused) {
    (void)unused;
    PyThreadState_Swap(state_of_another_thread());
}
static void delete_anothers(const void *unused) {
    (void)unused;
    PyThreadState_Delete(state_of_another_thread());
}
/* Attached in GIL-free mode alone: in gil mode one of the two is. */
static void clear_anothers(const void *unused) {
    (void)unused;
    PyThreadState *state = state_of_another_thread();
    PyGILState_Ensure();
    PyThreadState_Clear(state);
}

/* --- PyGILState_Release() --------------------------------------------------------------------- */

static void release_without_ensure(const void *arg) {
    begin(arg);
    PyGILState_Release(PyGILState_UNLOCKED);
}
static void release_twice(const void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    PyGILState_Release(was);
    PyGILState_Release(was);
}
static void release_while_saved(const void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    PyEval_SaveThread();
    PyGILState_Release(was);
}
static void release_of_a_state_by_hand(const void *unused) {
    (void)unused;
    PyEval_RestoreThread(PyThreadState_New(PyInterpreterState_Main()));
    PyGILState_Release(PyGILState_LOCKED);
}

/* --- threads that end ------------------------------------------------------------------------- */

static void *end_without_release(void *arg) {
    (void)arg;
    PyGILState_Ensure();
    return NULL;
}
static void *end_with_one_release_too_few(void *arg) {
    (void)arg;
    PyGILState_Ensure();
    PyGILState_Release(PyGILState_Ensure());
    return NULL;
}
static void *end_after_restore(void *arg) {
    (void)arg;
    PyEval_RestoreThread(PyThreadState_New(PyInterpreterState_Main()));
    return NULL;
}
static thread_body const endings[] = {end_without_release, end_with_one_release_too_few, end_after_restore};
static void thread_ends(const void *body) { threads_run(1, *(const thread_body *)body, NULL, 0); }

static void *end_in_stopped_world(void *arg) {
    gilloc_stop_the_world();
    return arg;
}
static void stopper_ends(const void *unused) {
    (void)unused;
    threads_run(1, end_in_stopped_world, NULL, 0);
}

/* Its own state is attached in the main thread, which has another one of its own. */
static void *lend_and_end(void *arg) {
    PyGILState_Ensure();
    *(PyThreadState **)arg = PyEval_SaveThread();
    pthread_barrier_wait(&attached);
    pthread_barrier_wait(&attached);
    return NULL;
}
static void lender_ends(const void *unused) {
    (void)unused;
    static PyThreadState *state;
    pthread_barrier_init(&attached, NULL, 2);
    PyGILState_Ensure();
    PyEval_SaveThread();
    pthread_t thread = thread_start(lend_and_end, &state);
    pthread_barrier_wait(&attached);
    PyEval_RestoreThread(state);
    pthread_barrier_wait(&attached);
    thread_join(thread);
}

#define ENDS                                                    \
    "Fatal gilloc error: thread exit: the thread is attached\n" \
    "  state    X\n"                                            \
    "  thread   X\n"                                            \
    "  do       release what PyGILState_Ensure() or PyEval_RestoreThread() took before the thread ends\n"

#define SAFEPOINT                                                    \
    "Fatal gilloc error: gilloc_safepoint: the thread is detached\n" \
    "  do       call it between PyGILState_Ensure() and PyGILState_Release()\n"

#define NO_STATE                                                                                                 \
    "Fatal gilloc error: PyGILState_Release: auto-releasing thread-state, but no thread-state for this thread\n" \
    "  do       call it once for each PyGILState_Ensure(), in the same thread\n"

#define WRONG_STATE                                                  \
    "Fatal gilloc error: PyEval_ReleaseThread: wrong thread state\n" \
    "  state    X, but X is current\n"                               \
    "  do       release the state that was acquired\n"

#define BOTH(name, body, arg, text) \
    {name " (gil)", body, arg, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, arg, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("SaveThread at first", save_detached, NULL, DETACHED("PyEval_SaveThread")),
    BOTH("SaveThread detached", save_detached, &before, DETACHED("PyEval_SaveThread")),
    BOTH("SaveThread twice", save_twice, NULL, DETACHED("PyEval_SaveThread")),
    BOTH("PyThreadState_Get at first", get_detached, NULL, DETACHED("PyThreadState_Get")),
    BOTH("PyThreadState_Get detached", get_detached, &before, DETACHED("PyThreadState_Get")),
    BOTH("PyInterpreterState_Get at first", get_interpreter_detached, NULL, DETACHED("PyInterpreterState_Get")),
    BOTH("PyInterpreterState_Get detached", get_interpreter_detached, &before, DETACHED("PyInterpreterState_Get")),
    BOTH("PyThreadState_Clear detached", clear_detached, NULL, DETACHED("PyThreadState_Clear")),
    BOTH("PyThreadState_DeleteCurrent at first", delete_current_detached, NULL,
         DETACHED("PyThreadState_DeleteCurrent")),
    BOTH("PyThreadState_DeleteCurrent detached", delete_current_detached, &before,
         DETACHED("PyThreadState_DeleteCurrent")),
    BOTH("PyEval_ReleaseThread detached", release_thread_detached, NULL, DETACHED("PyEval_ReleaseThread")),
    BOTH("gilloc_safepoint at first", safepoint_detached, NULL, SAFEPOINT),
    BOTH("gilloc_safepoint detached", safepoint_detached, &before, SAFEPOINT),
    BOTH("gilloc_safepoint while saved", safepoint_while_saved, NULL, SAFEPOINT),

    BOTH("RestoreThread attached", restore_attached, NULL, OLD_STATE("PyEval_RestoreThread")),
    BOTH("RestoreThread of another state, attached", restore_another_attached, NULL, OLD_STATE("PyEval_RestoreThread")),
    BOTH("AcquireThread attached", acquire_attached, NULL, OLD_STATE("PyEval_AcquireThread")),
    BOTH("PyThreadState_Delete of the current state", delete_current_state, NULL,
         "Fatal gilloc error: PyThreadState_Delete: thread state X is still current\n"
         "  do       use PyThreadState_DeleteCurrent(), or detach first\n"),

    BOTH("RestoreThread(NULL) at first", restore_null, NULL, NULL_RESTORED),
    BOTH("RestoreThread(NULL)", restore_null, &before, NULL_RESTORED),
    BOTH("AcquireThread(NULL)", acquire_null, &before, NULL_STATE("PyEval_AcquireThread")),
    BOTH("PyThreadState_Delete(NULL)", delete_null, &before, NULL_STATE("PyThreadState_Delete")),
    BOTH("PyThreadState_Clear(NULL)", clear_null, NULL, NULL_STATE("PyThreadState_Clear")),
    BOTH("ReleaseThread(NULL)", release_thread_null, NULL,
         "Fatal gilloc error: PyEval_ReleaseThread: wrong thread state\n"
         "  state    (nil), but X is current\n"
         "  do       release the state that was acquired\n"),
    BOTH("ReleaseThread of another state", release_another_thread, NULL, WRONG_STATE),
    BOTH("PyThreadState_New(NULL)", new_of_null, NULL,
         "Fatal gilloc error: PyThreadState_New: (nil) is no interpreter\n"
         "  do       pass PyInterpreterState_Main(), or what PyInterpreterState_New() returned\n"),

    BOTH("RestoreThread of another thread's state", restore_anothers, NULL,
         ELSEWHERE("PyEval_RestoreThread", "give each thread a state of its own")),
    BOTH("AcquireThread of another thread's state", acquire_anothers, NULL,
         ELSEWHERE("PyEval_AcquireThread", "give each thread a state of its own")),
    BOTH("PyThreadState_Swap to another thread's state", swap_to_anothers, NULL,
         ELSEWHERE("PyThreadState_Swap", "give each thread a state of its own")),
    BOTH("PyThreadState_Delete of another thread's state", delete_anothers, NULL,
         ELSEWHERE("PyThreadState_Delete", "detach it there first")),
    {"PyThreadState_Clear of another thread's state (free)", clear_anothers, NULL, GILLOC_MODE_FREE, 0,
     ELSEWHERE("PyThreadState_Clear", "detach it there first")},

    BOTH("PyGILState_Release at first", release_without_ensure, NULL, NO_STATE),
    BOTH("PyGILState_Release without a state", release_without_ensure, &before, NO_STATE),
    BOTH("PyGILState_Release twice", release_twice, NULL, NO_STATE),
    BOTH("PyGILState_Release while saved", release_while_saved, NULL,
         "Fatal gilloc error: PyGILState_Release: thread state X must be current when releasing\n"
         "  do       attach it again, by PyEval_RestoreThread(), before the release\n"),
    BOTH("PyGILState_Release of a state made by hand", release_of_a_state_by_hand, NULL,
         "Fatal gilloc error: PyGILState_Release: no PyGILState_Ensure() to release\n"
         "  state    X\n"
         "  do       call it once for each PyGILState_Ensure(), in the same thread\n"),

    BOTH("thread exit without release", thread_ends, &endings[0], ENDS),
    BOTH("thread exit with one release too few", thread_ends, &endings[1], ENDS),
    BOTH("thread exit after RestoreThread", thread_ends, &endings[2], ENDS),
    BOTH("thread exit of the stopper of the world", stopper_ends, NULL,
         "Fatal gilloc error: thread exit: the thread has stopped the world\n"
         "  do       call gilloc_start_the_world() first\n"),
    BOTH("thread exit while its state is attached elsewhere", lender_ends, NULL,
         ELSEWHERE("thread exit", "give each thread a state of its own")),
};

int main(void) { return death_run_group("thread states", cases, sizeof(cases) / sizeof(cases[0])); }
