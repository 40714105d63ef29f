/* SPDX-License-Identifier: MIT */
/*
 * cpython.h [L7] - gilloc under CPython: the plug-in that serves its domains.
 *
 *   CPython's own PyMem_SetAllocator() is found at run time, since it has the name of one of gilloc's: whoever contains
 *   this module keeps gilloc's names to itself (cpython.map), so that none takes the place of CPython's.
 *
 *   early   before CPython has made a block: raw, mem and object are gilloc's.
 *   late    in a running interpreter: requests up to 512 bytes of mem and object are gilloc's from now on; what is at
 *           no address of gilloc's belongs to the allocator before, which also serves large requests and raw.
 *
 *   The lock is CPython's.  Who holds it is asked by PyGILState_Check(), at a thread's first call and on slow paths.
 *
 *   This header includes neither gilloc's nor CPython's headers, which declare the same names.
 *   Owner   the process: one installation, once.
 *   Locks   none of ours: installing is done by the only thread, or by the holder of CPython's lock.
 */
#ifndef GI_CPYTHON_H
#define GI_CPYTHON_H

#include <stdbool.h>
#include <stdio.h>

typedef enum gi_cpython_way { GI_CPYTHON_EARLY, GI_CPYTHON_LATE } gi_cpython_way;

/* Whether there is a CPython in this process that can be served, and whether it runs already. */
bool gi_cpython_is_here(void);
bool gi_cpython_is_running(void);

/* Installs gilloc.  NULL, or in plain words why not.  Again: does nothing. */
const char *gi_cpython_install(gi_cpython_way way);
/* Whether CPython's object domain is gilloc's now: CPython may have replaced it. */
bool gi_cpython_is_installed(void);

/* If CPython's own choice, which PYTHONMALLOC and its development mode make, has debug hooks: gilloc's are installed.
   To be called before gi_cpython_install(). */
void gi_cpython_take_debug_hooks(void);

/* A line on stderr, once, if CPython replaces gilloc while it starts.  After gi_cpython_install(). */
void gi_cpython_warn_if_replaced(void);

/* Statistics, gilloc's and those of the raw calls: "text" or "json".  0, or -1. */
int gi_cpython_print_stats(FILE *f, const char *format);
/* As gilloc_purge(). */
size_t gi_cpython_purge(void);

/* A frame of Python's stack; the strings are valid until the lock is dropped. */
typedef struct gi_cpython_frame {
    const char *function, *file;
    int line;
} gi_cpython_frame;
/* Fills `out` with the frames of this thread, innermost first; 0: it runs no Python, or without the lock. */
typedef int (*gi_cpython_frames)(gi_cpython_frame *out, int max);
enum { GI_CPYTHON_FRAMES = 128 };

/* Traces every block from now on, with `depth` frames each; or if that is 0 samples one in so many bytes.  NULL, or why
   not. */
const char *gi_cpython_trace(unsigned depth, size_t bytes, gi_cpython_frames frames);
/* What is alive, by call site: as gilloc_trace_write(). */
int gi_cpython_write_trace(FILE *f, const char *format);

/* Puts another table around each that is installed: `around` changes `*table`, gilloc's PyMemAllocatorEx, which this
   header's users must not know.  After gi_cpython_install(), before other threads. */
void gi_cpython_put_around(void (*around)(int domain, void *table));

#endif /* GI_CPYTHON_H */
