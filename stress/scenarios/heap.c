/* SPDX-License-Identifier: MIT */
/*
 * heap.c - the allocator of this process, by one set of calls.
 *   Owner   the process.  Locks: none; deferral.h's.
 */
#include "stress/scenarios/heap.h"

#include <gilloc/gilloc.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/scenarios/deferral.h"

#define BOOKED 4096 /* bytes that a thread may have changed before it says so */

static enum heap_kind kind;     /* constant after init */
static int64_t live, live_peak; /* atomic, relaxed: counts */
static __thread int64_t not_booked;
static __thread PyThreadState *paused;
static __thread PyGILState_STATE began;

/* --- what is alive ---------------------------------------------------------------------------- */

static void book(int64_t bytes) {
    not_booked += bytes;
    if (not_booked > -BOOKED && not_booked < BOOKED) return;
    int64_t now = __atomic_add_fetch(&live, not_booked, __ATOMIC_RELAXED);
    int64_t peak = __atomic_load_n(&live_peak, __ATOMIC_RELAXED);
    while (now > peak && !__atomic_compare_exchange_n(&live_peak, &peak, now, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        continue;
    }
    not_booked = 0;
}

int64_t heap_live_peak(void) { return __atomic_load_n(&live_peak, __ATOMIC_RELAXED); }

/* --- blocks ----------------------------------------------------------------------------------- */

static void *must(void *memory, size_t size) {
    if (memory != NULL) return memory;
    fprintf(stderr, "no memory for %zu bytes\n", size);
    abort();
}

void **heap_table(size_t count) {
    void **table = must(calloc(count, sizeof *table), count * sizeof *table);
    book((int64_t)(count * sizeof *table));
    return table;
}

void heap_table_free(void **table, size_t count) {
    free(table);
    book(-(int64_t)(count * sizeof *table));
}

void *heap_malloc(size_t size) {
    void *block = kind == HEAP_OBJECT ? PyObject_Malloc(size) : kind == HEAP_RAW ? PyMem_RawMalloc(size) : malloc(size);
    must(block, size);
    memset(block, 1, size);
    book((int64_t)size);
    return block;
}

void heap_free(void *block, size_t size) {
    if (kind == HEAP_OBJECT) PyObject_Free(block);
    if (kind == HEAP_RAW) PyMem_RawFree(block);
    if (kind == HEAP_MALLOC) free(block);
    book(-(int64_t)size);
}

void heap_retire(void *block, size_t size) {
    if (kind == HEAP_OBJECT) gilloc_retire(PYMEM_DOMAIN_OBJ, block);
    if (kind == HEAP_RAW) gilloc_retire(PYMEM_DOMAIN_RAW, block);
    if (kind == HEAP_MALLOC) deferral_retire(block);
    book(-(int64_t)size);
}

/* --- threads ---------------------------------------------------------------------------------- */

void heap_safepoint(void) {
    if (kind == HEAP_MALLOC) {
        deferral_quiescent();
    } else {
        gilloc_safepoint();
    }
}

void heap_begin(void) {
    if (kind == HEAP_MALLOC) {
        deferral_begin();
    } else {
        began = PyGILState_Ensure();
    }
}

void heap_end(void) {
    if (kind == HEAP_MALLOC) {
        deferral_end();
    } else {
        PyGILState_Release(began);
    }
    int64_t rest = not_booked;
    not_booked = 0;
    __atomic_add_fetch(&live, rest, __ATOMIC_RELAXED);
}

void heap_pause(void) {
    if (kind == HEAP_MALLOC) {
        deferral_offline();
    } else {
        paused = PyEval_SaveThread();
    }
}

void heap_resume(void) {
    if (kind == HEAP_MALLOC) {
        deferral_online();
    } else {
        PyEval_RestoreThread(paused);
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

/* The C library's malloc() stops giving large blocks back once it has seen some freed, unless it is told to; what it
   keeps is not gilloc's.  Other libraries' mallopt(), where they have one, does nothing. */
#define GIVEN_BACK (1 << 20)

int heap_init(enum heap_kind chosen) {
    kind = chosen;
    mallopt(M_MMAP_THRESHOLD, GIVEN_BACK);
    return kind == HEAP_MALLOC ? 0 : gilloc_set_mode(GILLOC_MODE_FREE);
}

void heap_fini(void) {
    if (kind == HEAP_MALLOC) {
        deferral_flush();
        return;
    }
    heap_begin();
    gilloc_reclaim();
    heap_end();
}
