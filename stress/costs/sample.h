/* SPDX-License-Identifier: MIT */
/*
 * sample.h - numbers that were measured, and what is said of them.
 *   Owner   one thread.  Locks: none.
 */
#ifndef STRESS_COSTS_SAMPLE_H
#define STRESS_COSTS_SAMPLE_H

#include <jansson.h>
#include <stddef.h>

struct sample {
    double *at;
    size_t count, room;
};

void sample_add(struct sample *sample, double number);
void sample_free(struct sample *sample);

/* The number below which `part` (0 to 1) of all are; 0 if there is none.  Sorts. */
double sample_quantile(struct sample *sample, double part);

/* {"count", "least", "p10", "median", "p90", "p99", "worst"} */
json_t *sample_json(struct sample *sample);

#endif /* STRESS_COSTS_SAMPLE_H */
