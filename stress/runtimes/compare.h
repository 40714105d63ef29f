/* SPDX-License-Identifier: MIT */
/*
 * compare.h - a runtime on gilloc beside the same runtime on other allocators: CPU time and peak memory.
 *   Each row is a process of its own: this program again, in which the runtime's memory comes from gilloc, or from
 *   malloc(), which is the C library's or that of a preloaded library.  Rounds take all allocators in turn.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_RUNTIMES_COMPARE_H
#define STRESS_RUNTIMES_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

struct compare {
    const char *name;         /* of the target: //stress:NAME */
    const char *const *loads; /* names */
    size_t load_count;
    /* In the row's process: runs a load on so many threads and checks what comes of it; 0, or -1 with a line on stderr.
     */
    int (*run)(size_t load, size_t threads, bool on_gilloc);
};

/* The whole program: what its main() returns. */
int compare_main(const struct compare *compare, int argc, char **argv);

/* For run(): calls `body` in so many threads, attached in GIL-free mode if `on_gilloc`; 0, or -1 if one said so. */
int compare_in_threads(size_t threads, bool on_gilloc, int (*body)(void *arg), void *arg);

#endif /* STRESS_RUNTIMES_COMPARE_H */
