/* SPDX-License-Identifier: MIT */
/*
 * probed.c - what probes_test.py counts: so many of each thing as the names say.
 */
#include <gilloc/gilloc.h>
#include <pthread.h>
#include <stdio.h>

enum { BLOCKS = 1000, LARGE = 10, RESIZED = 100, RAW = 50, RECLAIMS = 3 };

static void *blocks[BLOCKS];

static void mem_and_object(void) {
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = i % 2 == 0 ? PyMem_Malloc((size_t)(i % 500) + 1) : PyObject_Calloc(1, (size_t)(i % 500) + 1);
    }
    for (int i = 0; i < BLOCKS; i++) {
        (i % 2 == 0 ? PyMem_Free : PyObject_Free)(blocks[i]);
    }
    for (int i = 0; i < LARGE; i++) {
        PyMem_Free(PyMem_Malloc(1000));
    }
}

static void resized(void) {
    void *block = NULL;
    for (int i = 0; i < RESIZED; i++) {
        block = PyMem_Realloc(block, (size_t)i + 1);
    }
    PyMem_Free(block);
}

static void raw(void) {
    for (int i = 0; i < RAW; i++) {
        PyMem_RawFree(PyMem_RawMalloc(32));
    }
}

/* It waits for the lock, which the main thread has. */
static void *waits(void *arg) {
    PyGILState_Release(PyGILState_Ensure());
    *(volatile int *)arg = 1;
    return NULL;
}

int main(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    mem_and_object();
    resized();
    raw();
    for (int i = 0; i < RECLAIMS; i++) {
        gilloc_reclaim();
    }
    gilloc_purge();
    volatile int done = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, waits, (void *)(long)&done);
    while (!done) {
        gilloc_safepoint();
    }
    pthread_join(thread, NULL);
    PyGILState_Release(state);
    puts("end");
}
