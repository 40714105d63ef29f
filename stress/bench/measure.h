/* SPDX-License-Identifier: MIT */
/*
 * measure.h - runs the processes that measure, in rounds that take turns.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_MEASURE_H
#define STRESS_BENCH_MEASURE_H

#include <jansson.h>
#include <stdbool.h>

#include "stress/bench/settings.h"

struct measure;

/* Finds programs, libraries and traces and tells the document of them; NULL with
   a line in `error`. */
struct measure *measure_new(const struct settings *settings, json_t *document, char *error, size_t error_size);
/* Measures the next workload, which is then in the document, borrowed; NULL if
   there is none any more. */
json_t *measure_next(struct measure *measure);
/* Could something not be measured, but for missing peers? */
bool measure_failed(const struct measure *measure);
void measure_delete(struct measure *measure);

#endif /* STRESS_BENCH_MEASURE_H */
