/* SPDX-License-Identifier: MIT */
/*
 * bound.h - how much gilloc may hold that is not alive: what docs/design.md states
 * under "Memory comes and goes" and "Deferred frees", as a sum.
 *   Locks   none.
 */
#ifndef STRESS_SCENARIOS_BOUND_H
#define STRESS_SCENARIOS_BOUND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stress/sanitizer.h"

/* What a sanitizer keeps is its own, and a hostile build has other bounds. */
#if UNDER_TSAN || UNDER_ASAN || defined(GI_HOSTILE)
#define BOUND_IS_JUDGED 0
#else
#define BOUND_IS_JUDGED 1
#endif

struct bound_case {
    unsigned threads; /* that have a heap at one time */
    bool small;       /* blocks of all size classes, by pools; else large ones only */
    size_t retired;   /* the largest block that is retired, or 0 */
};

/* Bytes, and what they are for: {"bins": ..., ...}. */
int64_t bound_bytes(const struct bound_case *bound, int64_t live, json_t **terms);

/* Most that may be resident: 1.15 of what is alive, and the bound. */
int64_t bound_limit(int64_t live, int64_t bytes);

#endif /* STRESS_SCENARIOS_BOUND_H */
