/* SPDX-License-Identifier: MIT */
/*
 * trace_foreign.h [L5] - words for blocks of other allocators: by domain and pointer, which may be any number.
 *   A table (uthash) of its own: the ledger knows addresses only.
 *   Owner   tracing.  Locks   foreign (GI_RANK_FOREIGN); under it only the system's allocator is called.
 */
#ifndef GI_TRACE_FOREIGN_H
#define GI_TRACE_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets the word, which is not 0; *before is the one it had, or 0.  False when memory is out: it is as before. */
bool gi_foreign_put(unsigned domain, uintptr_t pointer, uint64_t word, uint64_t *before);
/* The word, which it has no more; 0: none. */
uint64_t gi_foreign_take(unsigned domain, uintptr_t pointer);
/* `visit` must not call these functions. */
void gi_foreign_each(void (*visit)(const void *pointer, uint64_t word, void *arg), void *arg);
void gi_foreign_clear(void);
size_t gi_foreign_bytes(void);

void gi_foreign_before_fork(void);
void gi_foreign_after_fork(void);

#endif /* GI_TRACE_FOREIGN_H */
