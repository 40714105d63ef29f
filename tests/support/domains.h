/* SPDX-License-Identifier: MIT */
/*
 * domains.h - the three domains as a table, for tests that hold of each.
 */
#ifndef TESTS_SUPPORT_DOMAINS_H
#define TESTS_SUPPORT_DOMAINS_H

#include <gilloc/pymem.h>

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

/* The largest request that the pools serve, and how their classes are spaced (architecture: small is <= 512). */
#define SMALL_LIMIT 512
#define CLASS_STEP 16

/* The size of the block that serves a small request of `size` bytes. */
static inline size_t small_block_size(size_t size) {
    return size == 0 ? CLASS_STEP : (size + CLASS_STEP - 1) / CLASS_STEP * CLASS_STEP;
}

#endif /* TESTS_SUPPORT_DOMAINS_H */
