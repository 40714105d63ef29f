/* SPDX-License-Identifier: MIT */
/*
 * preload.c [L7] - libgilloc-python.so, preloaded: gilloc is installed before main().
 *   Owner   no state.
 *   Locks   none: one thread runs.
 * In a program without a CPython, and as an extension module in one that runs, it does nothing by itself.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "lib/embed/cpython/cpython.h"

__attribute__((constructor)) static void preloaded(void) {
    bool embedded = dlsym(RTLD_DEFAULT, "gilloc_python_main") != NULL; /* gilloc-python sees to it by itself */
    if (embedded || !gi_cpython_is_here() || gi_cpython_is_running()) {
        return;
    }
    const char *problem = gi_cpython_install(GI_CPYTHON_EARLY);
    if (problem != NULL) {
        fprintf(stderr, "gilloc: CPython does without gilloc here: %s\n", problem);
    } else {
        gi_cpython_warn_if_replaced();
    }
}
