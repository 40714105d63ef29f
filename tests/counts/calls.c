/* SPDX-License-Identifier: MIT */
/*
 * calls.c - argv[1] times each of some calls, or the one that argv[2] names; a function each, for callgrind to count.
 *   Built with -O2 -fno-builtin -fno-plt.  `object` is the pair of the documents: its loop and its two calls are six
 *   instructions.
 */
#include <gilloc/inline.h>
#include <stdlib.h>
#include <string.h>

#define COUNTED static __attribute__((noinline)) void

COUNTED object(unsigned long times) {
    while (times-- > 0) PyObject_Free(PyObject_Malloc(32));
}

COUNTED mem(unsigned long times) {
    while (times-- > 0) PyMem_Free(PyMem_Malloc(512));
}

COUNTED zero_bytes(unsigned long times) {
    while (times-- > 0) PyObject_Free(PyObject_Malloc(0));
}

COUNTED zeroed(unsigned long times) {
    while (times-- > 0) PyMem_Free(PyMem_Calloc(4, 16));
}

/* There and back: within a class, and to another one. */
COUNTED stays(unsigned long times) {
    void *block = PyMem_Malloc(100);
    while (times-- > 0) block = PyMem_Realloc(PyMem_Realloc(block, 110), 100);
    PyMem_Free(block);
}

COUNTED moves(unsigned long times) {
    void *block = PyMem_Malloc(100);
    while (times-- > 0) block = PyMem_Realloc(PyMem_Realloc(block, 200), 100);
    PyMem_Free(block);
}

/* A size that is known where it is compiled. */
COUNTED inlined(unsigned long times) {
    while (times-- > 0) gilloc_inline_object_free(gilloc_inline_object_malloc(32), 32);
}

/* A large block is the system's; `system_pair` is what it costs there. */
COUNTED large(unsigned long times) {
    while (times-- > 0) PyMem_Free(PyMem_Malloc(1000));
}

COUNTED system_pair(unsigned long times) {
    while (times-- > 0) free(malloc(1000));
}

COUNTED safepoint(unsigned long times) {
    while (times-- > 0) gilloc_safepoint();
}

COUNTED nested(unsigned long times) {
    while (times-- > 0) PyGILState_Release(PyGILState_Ensure());
}

COUNTED detach_attach(unsigned long times) {
    while (times-- > 0) PyEval_RestoreThread(PyEval_SaveThread());
}

/* A thread state that begins, makes a block of each of some classes, and ends; for each hundredth of `times`. */
COUNTED life(unsigned long times) {
    void *blocks[20];
    PyThreadState *mine = PyEval_SaveThread();
    for (times /= 100; times-- > 0;) {
        PyEval_RestoreThread(PyThreadState_New(PyInterpreterState_Main()));
        for (size_t i = 0; i < 20; i++) blocks[i] = PyObject_Malloc(24 * (i + 1));
        PyThreadState_DeleteCurrent();
        PyEval_RestoreThread(mine);
        for (size_t i = 0; i < 20; i++) PyObject_Free(blocks[i]);
        mine = PyEval_SaveThread();
    }
    PyEval_RestoreThread(mine);
}

#define CALL(name) \
    { #name, name }
static const struct {
    const char *name;
    void (*call)(unsigned long times);
} all[] = {CALL(object), CALL(mem),           CALL(zero_bytes), CALL(zeroed),      CALL(stays),
           CALL(moves),  CALL(inlined),       CALL(large),      CALL(system_pair), CALL(safepoint),
           CALL(nested), CALL(detach_attach), CALL(life)};

int main(int argc, char **argv) {
    unsigned long times = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    PyGILState_STATE state = PyGILState_Ensure();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (argc < 3 || strcmp(argv[2], all[i].name) == 0) all[i].call(times);
    }
    PyGILState_Release(state);
    return 0;
}
