/* SPDX-License-Identifier: MIT */
/*
 * domains.h - the three domains as a table, for tests that hold of each.
 */
#ifndef TESTS_SUPPORT_DOMAINS_H
#define TESTS_SUPPORT_DOMAINS_H

#include <gilloc/pymem.h>
#include <stdlib.h>

struct domain {
    const char *name;
    PyMemAllocatorDomain id;
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
};

#define DOMAINS 3
/* Indexed by PyMemAllocatorDomain. */
extern const struct domain domains[DOMAINS];

/* Whether this process runs in hardened mode, in which small blocks have a tail that is not their user's. */
static inline int is_hardened(void) {
    const char *value = getenv("GILLOC_HARDEN");
    return value != NULL && value[0] == '1';
}
#define TAIL ((size_t)(is_hardened() ? 8 : 0))

/* The largest request that the pools serve, and how their classes are spaced (architecture: small is <= 512). */
#define SMALL_LIMIT (512 - TAIL)
#define CLASS_STEP 16

/* How much of the block that serves a small request of `size` bytes may be used. */
static inline size_t small_block_size(size_t size) {
    size_t served = size + TAIL;
    return (served == 0 ? CLASS_STEP : (served + CLASS_STEP - 1) / CLASS_STEP * CLASS_STEP) - TAIL;
}

#endif /* TESTS_SUPPORT_DOMAINS_H */
