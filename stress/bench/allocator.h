/* SPDX-License-Identifier: MIT */
/*
 * allocator.h - the allocator that this process measures: one table of function
 * pointers, filled from a shared library, whichever allocator it is.
 *   Owner   the main thread fills it; constant afterwards.
 *   Locks   none; attaching takes the allocator's own lock where it has one.
 * Under BENCH_INLINE the calls are the limit's, inlined.
 */
#ifndef STRESS_BENCH_ALLOCATOR_H
#define STRESS_BENCH_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef BENCH_INLINE
#include "stress/bench/limit.h"
#endif

enum allocator_domain { DOMAIN_RAW, DOMAIN_MEM, DOMAIN_OBJECT, DOMAINS };

struct allocator_family {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
};

struct allocator {
    struct allocator_family domains[DOMAINS]; /* all the same where there is one family */
    /* Threads; NULL where the allocator has no states of them. */
    int (*ensure)(void);
    void (*release)(int state);
    void *(*save)(void);
    void (*restore)(void *state);
    void (*safepoint)(void);
    void *handle; /* of the library, for what only some have */
};

extern struct allocator allocator;

/* Fills the table for `contender` (contender.h) from the library at `path`; the
   calling thread is attached afterwards.  0, or -1 with a line in `error`. */
int allocator_load(const char *contender, const char *path, char *error, size_t error_size);

#ifdef BENCH_INLINE
static inline void *block_malloc(enum allocator_domain domain, size_t size) { return (void)domain, limit_malloc(size); }
static inline void *block_calloc(enum allocator_domain domain, size_t count, size_t size) {
    return (void)domain, limit_calloc(count, size);
}
static inline void *block_realloc(enum allocator_domain domain, void *block, size_t size) {
    return (void)domain, limit_realloc(block, size);
}
static inline void block_free(enum allocator_domain domain, void *block) { (void)domain, limit_free(block); }
#else
static inline void *block_malloc(enum allocator_domain domain, size_t size) {
    return allocator.domains[domain].malloc(size);
}
static inline void *block_calloc(enum allocator_domain domain, size_t count, size_t size) {
    return allocator.domains[domain].calloc(count, size);
}
static inline void *block_realloc(enum allocator_domain domain, void *block, size_t size) {
    return allocator.domains[domain].realloc(block, size);
}
static inline void block_free(enum allocator_domain domain, void *block) { allocator.domains[domain].free(block); }
#endif

/* A block of at least 8 bytes whose first 8 are written, as all programs do. */
static inline void *object_new(size_t size, uint64_t value) {
    uint64_t *block = block_malloc(DOMAIN_OBJECT, size);
    *block = value;
    return block;
}

static inline void object_free(void *block) { block_free(DOMAIN_OBJECT, block); }

/* Each so many operations an attached thread offers its lock, and says that it holds nothing half done. */
#define SAFEPOINT_EVERY 1024

static inline void safepoint_at(uint64_t operation) {
    if (operation % SAFEPOINT_EVERY == 0 && allocator.safepoint != NULL) allocator.safepoint();
}

#endif /* STRESS_BENCH_ALLOCATOR_H */
