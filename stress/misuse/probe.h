/* SPDX-License-Identifier: MIT */
/*
 * probe.h - looks for silent damage: a map of all live blocks, each filled with bytes
 * of its own.
 *   Owner   the main thread.
 *   Locks   none.
 * Has no memory but its own mmap(), so that what is damaged is not the map.  Damage
 * ends the process with the word that says so (verdict.h).
 */
#ifndef STRESS_MISUSE_PROBE_H
#define STRESS_MISUSE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stress/bench/allocator.h"

void probe_init(void);

/* `size` bytes at `block` are alive from now on, of `domain`, and filled: damage, if they overlap what is alive. */
void probe_add(enum allocator_domain domain, void *block, size_t size);
/* Memory of the program that no allocation may ever return; it becomes zero and must stay so. */
void probe_add_region(void *from, size_t size);
/* The block at `block` is alive no more. */
void probe_forget(const void *block);
/* Is it alive? */
bool probe_knows(const void *block);
/* Fills all live blocks afresh: what the program itself has written over them does not count. */
void probe_fill(void);

/* `operations` allocations and frees, half of them of `domain` and `size`, each looked at; then all live blocks are
   looked at and freed. */
void probe_run(enum allocator_domain domain, size_t size, uint64_t operations);

/* How many requests were refused, NULL. */
uint64_t probe_refused(void);

#endif /* STRESS_MISUSE_PROBE_H */
