/* SPDX-License-Identifier: MIT */
/*
 * limit_inline.c - in place of allocator.c in the program that has the limit
 * inlined: there is nothing to load.
 *   Owner   the main thread, before it starts others.
 *   Locks   none.
 */
#include <stdio.h>
#include <string.h>

#include "stress/bench/allocator.h"

struct allocator allocator; /* no states of threads, no safepoint */

int allocator_load(const char *contender, const char *path, char *error, size_t error_size) {
    (void)path;
    if (strcmp(contender, "limit-inline") == 0 && limit_init() == 0) return 0;
    snprintf(error, error_size, "%s cannot be set up", contender);
    return -1;
}
