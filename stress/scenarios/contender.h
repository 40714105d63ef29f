/* SPDX-License-Identifier: MIT */
/*
 * contender.h - the allocators that are looked at: gilloc, the C library's, and
 * those that Debian has.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_SCENARIOS_CONTENDER_H
#define STRESS_SCENARIOS_CONTENDER_H

#include "stress/sanitizer.h"
#include "stress/scenarios/heap.h"

/* A sanitizer's malloc() cannot be replaced. */
#if UNDER_TSAN || UNDER_ASAN
#define CONTENDER_CAN_PRELOAD 0
#else
#define CONTENDER_CAN_PRELOAD 1
#endif

struct contender {
    const char *name;
    enum heap_kind kind;
    const char *preload; /* the library that takes malloc()'s place, or NULL */
    const char *package; /* Debian's, of it */
};

extern const struct contender contenders[]; /* up to one without a name; gilloc's own come first */

/* NULL, or why it cannot run: a line for the table. */
const char *contender_missing(const struct contender *contender, char *text, size_t text_size);

/* The environment of its process, up to NULL, to be freed with free(); NULL: as ours. */
char **contender_environment(const struct contender *contender, char *preload, size_t preload_size);

#endif /* STRESS_SCENARIOS_CONTENDER_H */
