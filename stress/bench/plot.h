/* SPDX-License-Identifier: MIT */
/*
 * plot.h - draws what was measured, by gnuplot.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_PLOT_H
#define STRESS_BENCH_PLOT_H

#include <jansson.h>
#include <stddef.h>

/* Is gnuplot there?  0, or -1 with a line in `error` that says what to install. */
int plot_check(char *error, size_t error_size);
/* Writes DIRECTORY/NAME.svg and .png for each plot of which something was
   measured.  0, or -1 with a line in `error`. */
int plot_all(json_t *document, const char *directory, char *error, size_t error_size);

#endif /* STRESS_BENCH_PLOT_H */
