/* SPDX-License-Identifier: MIT */
/*
 * row.h - one row of the table: one mode, one number of threads, one process.
 *   Owner   the process that was started for it.
 *   Locks   the row's own (what is done so far), innermost but for the pipe.
 */
#ifndef STRESS_ROW_H
#define STRESS_ROW_H

#include <gilloc/gilloc.h>
#include <stdint.h>

struct row_job {
    gilloc_mode mode;
    unsigned threads;
    double seconds;  /* how long, if `passes` is 0 */
    uint64_t passes; /* how many in all threads together, or 0 */
    unsigned remote_percent;
    uint64_t seed;
    char **traces; /* paths */
    size_t trace_count;
};

/* The row in a process of its own.  It reports to `fd` (report.h).  0: all
   intact, nothing leaked; else 1. */
int row_run(const struct row_job *job, int fd);

#endif /* STRESS_ROW_H */
