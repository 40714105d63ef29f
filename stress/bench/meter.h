/* SPDX-License-Identifier: MIT */
/*
 * meter.h - clocks, this process's memory, and what a workload found.
 *   Owner   the main thread; the clocks are anyone's.
 *   Locks   none.
 */
#ifndef STRESS_BENCH_METER_H
#define STRESS_BENCH_METER_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds. */
uint64_t meter_thread_ns(void);  /* processor time of the calling thread */
uint64_t meter_process_ns(void); /* processor time of the process */
uint64_t meter_wall_ns(void);
void meter_sleep_ns(uint64_t ns);

/* Resident memory in bytes, exact. */
uint64_t meter_resident(void);
/* The most since meter_peak_reset(). */
void meter_peak_reset(void);
uint64_t meter_peak(void);

/* Memory for the workload's own tables: from the system, all of it resident, never given back.  Ends the process
   with a fault where there is none. */
void *meter_table(size_t bytes);

/* Ends the process; `format` says why. */
__attribute__((format(printf, 1, 2), noreturn)) void meter_fault(const char *format, ...);

#define METER_FIGURES 8

/* The workload's figure `index` (workload.h). */
void meter_figure(unsigned index, double value);
/* One more point of its curve. */
void meter_point(double x, double y);
/* Tells the parent all of them. */
void meter_tell(void);

#endif /* STRESS_BENCH_METER_H */
