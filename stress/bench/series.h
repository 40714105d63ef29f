/* SPDX-License-Identifier: MIT */
/*
 * series.h - one figure over the rounds.
 *   Owner   the caller.  Locks: none.
 */
#ifndef STRESS_BENCH_SERIES_H
#define STRESS_BENCH_SERIES_H

#include <stddef.h>

#define SERIES_MAX 99 /* rounds */

struct series {
    double values[SERIES_MAX];
    size_t count;
};

/* The middle one, or the mean of the two in the middle; NaN of none. */
double series_median(const struct series *series);
/* (greatest - least) / median; NaN of none, 0 if all are the same. */
double series_spread(const struct series *series);
/* The median of a/b, round by round; NaN if they have no round in common. */
double series_ratio(const struct series *a, const struct series *b);

#endif /* STRESS_BENCH_SERIES_H */
