/* SPDX-License-Identifier: MIT */
/*
 * contender.h - who is measured, and where each one's library is.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_CONTENDER_H
#define STRESS_BENCH_CONTENDER_H

#include <stdbool.h>
#include <stddef.h>

#include "stress/bench/workload.h"

struct contender {
    const char *name;
    const char *library; /* file name; NULL: none is loaded */
    const char *package; /* Debian's, that has the library; NULL: it comes with the bench or with libc */
    bool preloaded;      /* its library replaces malloc() */
    bool is_peer;
    bool one_at_a_time; /* a lock lets one thread at a time allocate */
    unsigned abilities; /* bits of CAN_ */
    const char *text;
    /* Of one that is another with a setting, for the overheads of that: */
    const char *base;        /* the other's name; or NULL */
    const char *environment; /* "NAME=value" */
    double most;             /* what its cost may be on a trace, by its base's; 0: nothing is said */
};

extern const struct contender contenders[];
extern const size_t contender_count;

const struct contender *contender_find(const char *name);
bool contender_can_run(const struct contender *contender, const struct workload *workload);

/* The path of its library, from malloc ("" where none is loaded); or NULL with a
   line in `problem` that names the package.  `directory`: where peers are looked
   for; NULL: where the loader looks. */
char *contender_library(const struct contender *contender, const char *directory, char *problem, size_t problem_size);

#endif /* STRESS_BENCH_CONTENDER_H */
