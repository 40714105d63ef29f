/* SPDX-License-Identifier: MIT */
/*
 * failure.h - a published failure of a peer, as what threads do to a heap.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_SCENARIOS_FAILURE_H
#define STRESS_SCENARIOS_FAILURE_H

#include <stddef.h>
#include <stdint.h>

#include "stress/scenarios/bound.h"

struct failure_size {
    size_t live;    /* bytes that are to be alive */
    unsigned turns; /* how often the live set is replaced */
};

struct failure {
    const char *name;
    const char *what;  /* a line of --help */
    const char *where; /* who published it */
    bool defers;       /* retires blocks: the raw domain is a row of its own */
    /* In the process of its own, detached: all threads have ended when it returns. */
    void (*run)(const struct failure_size *size);
    /* What of it decides how much may be free but held. */
    void (*describe)(const struct failure_size *size, struct bound_case *bound);
};

extern const struct failure *const failures[]; /* up to NULL */

extern const struct failure failure_producers, failure_moved, failure_lists, failure_brief, failure_idle,
    failure_exited;

#endif /* STRESS_SCENARIOS_FAILURE_H */
