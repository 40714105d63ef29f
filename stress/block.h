/* SPDX-License-Identifier: MIT */
/*
 * block.h - a block of a domain with the pattern that it must hold.
 *   Owner   one thread at a time; exchange.h hands it on.
 *   Locks   none.
 * Each function is one call of the allocator with all checks around it.  What
 * breaks goes to `faults`, the result is then false, and a damaged block is left
 * alone: it is not freed.  Mem and object blocks: the caller is attached.
 */
#ifndef STRESS_BLOCK_H
#define STRESS_BLOCK_H

#include <gilloc/gilloc.h>
#include <stdbool.h>
#include <stdint.h>

#include "stress/fault.h"

struct block {
    void *address; /* NULL: none */
    uint64_t id;   /* which call made it: block_id() */
    uint32_t size; /* as requested */
    PyMemAllocatorDomain domain;
};

/* `thread` is the number of the pass that a thread replays, never used twice. */
static inline uint64_t block_id(uint32_t thread, uint32_t record) { return (uint64_t)thread << 32 | record; }
static inline uint32_t block_thread(const struct block *block) { return (uint32_t)(block->id >> 32); }

bool block_malloc(struct block *block, PyMemAllocatorDomain domain, uint32_t size, uint64_t id, struct faults *faults);
bool block_calloc(struct block *block, PyMemAllocatorDomain domain, uint32_t size, uint64_t id, struct faults *faults);
/* Of a block that is there. */
bool block_realloc(struct block *block, uint32_t size, uint64_t id, struct faults *faults);
/* `thread` frees it. */
bool block_free(struct block *block, uint32_t thread, struct faults *faults);

#endif /* STRESS_BLOCK_H */
