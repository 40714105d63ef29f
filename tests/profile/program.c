/* SPDX-License-Identifier: MIT */
/*
 * program.c - a program whose profile is known: profile_test.py says in its environment what is to be written.
 *   One raw block of 1,000 bytes is made before main(), 10 small ones of 100 and a large one of 5,000 by inner(); half
 *   of the small ones are freed.  It prints the figures of tracing.
 */
#include <gilloc/gilloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 10 };

static void *volatile early, *volatile blocks[BLOCKS], *volatile large; /* alive at exit, and known to be */
static volatile int after_call;                                         /* so that calls before it are no jumps */

__attribute__((constructor)) static void before_main(void) { early = PyMem_RawMalloc(1000); }

__attribute__((noinline)) static void *inner(size_t size) {
    void *block = PyMem_Malloc(size);
    after_call = 1;
    return block;
}

__attribute__((noinline)) static void *outer(size_t size) {
    void *block = inner(size);
    after_call = 2;
    return block;
}

int main(int argc, char **argv) {
    size_t current, peak;
    PyGILState_STATE state = PyGILState_Ensure();
    for (volatile int i = 0; i < BLOCKS; i = i + 1) {
        blocks[i] = outer(100);
    }
    large = outer(5000);
    for (int i = 0; i < BLOCKS; i += 2) {
        PyMem_Free(blocks[i]);
    }
    PyGILState_Release(state);
    gilloc_trace_get_memory(&current, &peak);
    printf("frames %u mean %zu current %zu peak %zu\n", gilloc_trace_is_on(), gilloc_sample_is_on(), current, peak);
    fflush(stdout);
    if (argc > 1 && strcmp(argv[1], "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            exit(0); /* it writes no profile */
        }
        int status = -1;
        waitpid(child, &status, 0);
        if (status != 0 || access(getenv("GILLOC_PROFILE"), F_OK) == 0) {
            return 1;
        }
    }
    return 0;
}
