/* SPDX-License-Identifier: MIT */
/*
 * heap.c - a process with a block in each state that a debugger can tell; gdb_test.py looks at it in stop(), in
 *   GIL-free mode, or as a thread waits for the lock.
 */
#include <gilloc/gilloc.h>
#include <pthread.h>
#include <sched.h>

enum { MANY = 16 }; /* remote frees that are handed on at once */

char *live, *freed, *retired, *kind, *large, *retired_large, *stashed, *theirs, *in_slot, *in_list[MANY];
PyThreadState *mine, *other;
static PyMemAllocatorDomain made;

__attribute__((noinline)) void stop(void) { __asm__ volatile(""); }

static pthread_barrier_t barrier;

/* Leaves blocks behind: of its own, for others to free; or in the stash, as it ends. */
static void *leaves(void *arg) {
    PyGILState_STATE state = PyGILState_Ensure();
    other = PyGILState_GetThisThreadState();
    theirs = PyMem_Malloc(100);
    in_slot = PyMem_Malloc(120);
    for (int i = 0; i < MANY; i++) {
        in_list[i] = PyMem_Malloc(140);
    }
    PyThreadState *detached = PyEval_SaveThread();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    PyEval_RestoreThread(detached);
    PyGILState_Release(state);
    return arg;
}

static void *stashes(void *arg) {
    PyGILState_STATE state = PyGILState_Ensure();
    stashed = PyMem_Malloc(200);
    PyMem_Free(stashed);
    PyGILState_Release(state);
    return arg;
}

/* The lock is waited for until the end. */
static void *waits(void *arg) {
    PyGILState_Release(PyGILState_Ensure());
    return arg;
}

int main(void) {
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, stashes, NULL);
    pthread_join(threads[0], NULL);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&threads[1], NULL, leaves, NULL);
    pthread_barrier_wait(&barrier);

    PyGILState_STATE state = PyGILState_Ensure();
    mine = PyGILState_GetThisThreadState();
    made = (PyMemAllocatorDomain)gilloc_new_kind("planted", 0, 0);
    live = PyMem_Malloc(40);
    freed = PyObject_Malloc(60);
    PyObject_Free(freed);
    retired = PyMem_Malloc(80);
    gilloc_retire(PYMEM_DOMAIN_MEM, retired);
    kind = gilloc_malloc(made, 160);
    large = PyMem_Malloc(2000);
    retired_large = PyMem_Malloc(3000);
    gilloc_retire(PYMEM_DOMAIN_MEM, retired_large);
    if (gilloc_get_mode() == GILLOC_MODE_FREE) {
        for (int i = 0; i < MANY; i++) {
            PyMem_Free(in_list[i]);
        }
        PyMem_Free(in_slot);
    }
    pthread_create(&threads[2], NULL, waits, NULL);
    while (gilloc_get_mode() == GILLOC_MODE_GIL) {
        sched_yield(); /* with the lock, for ever: the debugger stops the thread that waits */
    }
    stop();
    PyGILState_Release(state);
    return 0;
}
