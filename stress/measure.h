/* SPDX-License-Identifier: MIT */
/*
 * measure.h - clocks, and what the system says of this process's memory.
 *   Locks   none.
 */
#ifndef STRESS_MEASURE_H
#define STRESS_MEASURE_H

#include <stdint.h>
#include <time.h>

/* `clock` in seconds, and in nanoseconds. */
double measure_seconds(clockid_t clock);
uint64_t measure_ns(clockid_t clock);

/* The line `name` of /proc/self/status, in bytes; 0 if it cannot be read.  The
   peak of getrusage() would include what this process was before exec. */
int64_t measure_status(const char *name);

/* Bytes that are resident now; no memory is allocated for it. */
int64_t measure_resident(void);

#endif /* STRESS_MEASURE_H */
