/* SPDX-License-Identifier: MIT */
/*
 * series.c - one figure over the rounds.
 *   Owner   the caller.  Locks: none.
 */
#include "stress/bench/series.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

double series_median(const struct series *series) {
    if (series->count == 0) return NAN;
    struct series sorted = *series;
    size_t middle = sorted.count / 2;
    qsort(sorted.values, sorted.count, sizeof *sorted.values, compare);
    return sorted.count % 2 ? sorted.values[middle] : (sorted.values[middle - 1] + sorted.values[middle]) / 2;
}

double series_spread(const struct series *series) {
    if (series->count == 0) return NAN;
    double least = series->values[0], greatest = series->values[0];
    for (size_t i = 1; i < series->count; i++) {
        if (series->values[i] < least) least = series->values[i];
        if (series->values[i] > greatest) greatest = series->values[i];
    }
    return greatest > least ? (greatest - least) / series_median(series) : 0;
}

double series_ratio(const struct series *a, const struct series *b) {
    struct series ratios = {.count = 0};
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        if (b->values[i] != 0) ratios.values[ratios.count++] = a->values[i] / b->values[i];
    }
    return series_median(&ratios);
}
