/* SPDX-License-Identifier: MIT */
/*
 * system.h - the system as lib/os sees it (gi_os), with refusals: it counts the calls and refuses those that it is told
 *            to, without making them.
 *   Installed before other threads start; the numbers are shared (any thread); refusals are set while nobody calls.
 */
#ifndef TESTS_OS_SYSTEM_H
#define TESTS_OS_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/support/random.h"
#include "tests/support/shared.h"

/* Which calls; unmap is never refused, for nobody can do anything about it. */
enum { SYSTEM_MAP, SYSTEM_PROTECT, SYSTEM_ADVISE, SYSTEM_UNMAP, SYSTEM_CALLS };

struct system_refusals {
    bool calls[SYSTEM_CALLS]; /* those meant: true */
    size_t at;                /* the k-th of those meant (1 is the first) */
    size_t from;              /* the k-th and all after it */
    size_t tenths;            /* so many of ten, by chance; needs a seed */
    size_t above;             /* whatever is larger; 0: none */
    uint64_t seed;
};

struct system_counts {
    struct shared made[SYSTEM_CALLS];
    struct shared meant;   /* calls that may be refused, since the last system_refuse() */
    struct shared refused; /* since the last system_refuse() */
    struct shared mapped;  /* bytes mapped minus bytes unmapped, from then on */
};
extern struct system_counts system_counts;

/* Puts it between lib/os and the system. */
void system_install(void);
/* What it refuses from now on; NULL: nothing. */
void system_refuse(const struct system_refusals *refusals);

/* From now on what is mapped readable has been written to (as zero) by who mapped it: for ThreadSanitizer, which does
   not see the system do it, a thread then may not read it before it has been published. */
void system_write_new_memory(void);

/* Refuses every map, protect and advise. */
void system_refuse_all(void);

#endif /* TESTS_OS_SYSTEM_H */
