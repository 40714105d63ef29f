/* SPDX-License-Identifier: MIT */
/*
 * pair.c - argv[1] times PyObject_Malloc(32) and PyObject_Free(), for callgrind to count.
 *   Built with -O2 -fno-plt: the loop and its two calls are six instructions a pair.
 */
#include <gilloc/gilloc.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    unsigned long pairs = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    PyGILState_STATE state = PyGILState_Ensure();
    while (pairs-- > 0) {
        PyObject_Free(PyObject_Malloc(32));
    }
    PyGILState_Release(state);
    return 0;
}
