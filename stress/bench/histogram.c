/* SPDX-License-Identifier: MIT */
/*
 * histogram.c - how often each duration came.
 *   Owner   the caller.  Locks: none.
 */
#include "stress/bench/histogram.h"

#include <math.h>

/* The least value of a cell. */
static uint64_t value_of(unsigned cell) {
    if (cell < HISTOGRAM_STEPS) return cell;
    unsigned power = cell / HISTOGRAM_STEPS + 4;
    return (uint64_t)(HISTOGRAM_STEPS + cell % HISTOGRAM_STEPS) << (power - 5);
}

double histogram_quantile(const struct histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)ceil((double)histogram->count * share), seen = 0;
    if (wanted == 0) wanted = 1;
    for (unsigned cell = 0; cell < sizeof histogram->cells / sizeof *histogram->cells; cell++) {
        seen += histogram->cells[cell];
        if (seen >= wanted) return (double)value_of(cell);
    }
    return (double)histogram->worst;
}
