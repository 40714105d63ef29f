/* SPDX-License-Identifier: MIT */
/*
 * spy.h - an allocator that wraps the one of a domain, counts its calls and remembers the last arguments.
 *   Any number of threads may call through it; the last arguments are then those of any one call.
 */
#ifndef TESTS_SUPPORT_SPY_H
#define TESTS_SUPPORT_SPY_H

#include <gilloc/pymem.h>

#include "tests/support/shared.h"

struct spy {
    PyMemAllocatorDomain domain;
    PyMemAllocatorEx inner; /* constant after spy_install() */
    struct shared mallocs;
    struct shared callocs;
    struct shared reallocs;
    struct shared frees;
    struct shared last_count; /* of calloc */
    struct shared last_size;
    struct shared last_block; /* of realloc and free, as a number */
    struct shared largest;    /* of all sizes seen, multiplied for calloc */
    struct shared smallest;
};

/* Wraps the present allocator of `domain`. */
void spy_install(struct spy *spy, PyMemAllocatorDomain domain);
/* Puts the wrapped one back. */
void spy_remove(struct spy *spy);
/* Forgets what it saw. */
void spy_reset(struct spy *spy);
/* Exactly these calls since the last spy_reset(); then forgets them. */
void spy_expect(struct spy *spy, size_t mallocs, size_t callocs, size_t reallocs, size_t frees);

#endif /* TESTS_SUPPORT_SPY_H */
