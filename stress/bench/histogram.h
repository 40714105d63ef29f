/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - how often each duration came, to 1/32 of it, and the longest one
 * exactly.
 *   Owner   the caller.  Locks: none.
 */
#ifndef STRESS_BENCH_HISTOGRAM_H
#define STRESS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 32 /* of each power of two */

struct histogram {
    uint64_t count, worst;
    uint32_t cells[64 * HISTOGRAM_STEPS];
};

static inline unsigned histogram_cell(uint64_t value) {
    if (value < HISTOGRAM_STEPS) return (unsigned)value;
    unsigned power = 63 - (unsigned)__builtin_clzll(value);
    return (power - 4) * HISTOGRAM_STEPS + (unsigned)(value >> (power - 5) & (HISTOGRAM_STEPS - 1));
}

static inline void histogram_add(struct histogram *histogram, uint64_t value) {
    histogram->cells[histogram_cell(value)]++;
    histogram->count++;
    if (value > histogram->worst) histogram->worst = value;
}

/* The least value that `share` (0 to 1) of all do not exceed, rounded down to its cell. */
double histogram_quantile(const struct histogram *histogram, double share);

#endif /* STRESS_BENCH_HISTOGRAM_H */
