/* SPDX-License-Identifier: MIT */
/*
 * report.h - tables for people.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_REPORT_H
#define STRESS_BENCH_REPORT_H

#include <jansson.h>
#include <stdio.h>

/* The machine, who contends, who is missing. */
void report_head(FILE *out, json_t *document);
/* One workload: a line for each contender. */
void report_workload(FILE *out, json_t *workload);
/* One line for each workload: gilloc by the best peer, pymalloc and the limit; a table of Markdown. */
void report_summary(FILE *out, json_t *document);
/* What settings cost, where that was measured. */
void report_overheads(FILE *out, json_t *document);

#endif /* STRESS_BENCH_REPORT_H */
