/* SPDX-License-Identifier: MIT */
/*
 * series.h - resident memory over time, sampled by a thread of its own, which
 * allocates nothing while it does.
 *   Owner   the process; one series.  Locks: its own.
 */
#ifndef STRESS_SCENARIOS_SERIES_H
#define STRESS_SCENARIOS_SERIES_H

#include <jansson.h>
#include <stdint.h>

/* Begins to sample; the first sample is what all others are above. */
void series_begin(void);
/* The last sample, and the thread is gone. */
void series_end(void);

/* Bytes above the first sample. */
int64_t series_peak(void);
int64_t series_last(void);
/* [[seconds, bytes above the first sample], ...] */
json_t *series_json(void);

#endif /* STRESS_SCENARIOS_SERIES_H */
