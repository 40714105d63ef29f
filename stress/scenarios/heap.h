/* SPDX-License-Identifier: MIT */
/*
 * heap.h - the allocator of this process, by one set of calls: gilloc in GIL-free
 * mode, or malloc(), which may be a peer's.  Counts the bytes that are alive.
 *   Owner   the process.  Locks: none; deferral.h's.
 */
#ifndef STRESS_SCENARIOS_HEAP_H
#define STRESS_SCENARIOS_HEAP_H

#include <stddef.h>
#include <stdint.h>

enum heap_kind { HEAP_OBJECT, HEAP_RAW, HEAP_MALLOC }; /* gilloc's object or raw domain; malloc() */

/* Before the first thread.  0, or -1 with errno. */
int heap_init(enum heap_kind kind);
/* After the last thread: frees what still waits to be freed. */
void heap_fini(void);

/* A thread comes and goes. */
void heap_begin(void);
void heap_end(void);
/* Around whatever blocks. */
void heap_pause(void);
void heap_resume(void);
void heap_safepoint(void);

/* A block that was written all over; ends the process when memory is out. */
void *heap_malloc(size_t size);
void heap_free(void *block, size_t size);
/* Frees `block` once no thread can hold it. */
void heap_retire(void *block, size_t size);

/* An array of `count` pointers for the program's own use, not from the heap but counted as alive; ends the process when
   memory is out. */
void **heap_table(size_t count);
void heap_table_free(void **table, size_t count);

/* Most bytes that were alive at one time, to some kilobytes. */
int64_t heap_live_peak(void);

#endif /* STRESS_SCENARIOS_HEAP_H */
