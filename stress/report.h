/* SPDX-License-Identifier: MIT */
/*
 * report.h - what the process of a row says to the program that started it
 * (process.h): lines of JSON,
 *     {"progress": OPERATIONS}   now and then
 *     {"fault": TEXT}            at once when something breaks
 *     {"result": {...}}          at the end
 *   Owner   the process.  Locks: its own, innermost: lines come whole.
 */
#ifndef STRESS_REPORT_H
#define STRESS_REPORT_H

#include <jansson.h>
#include <pthread.h>

struct report {
    pthread_mutex_t lock;
    int pipe; /* constant after init */
};

void report_init(struct report *report, int pipe);
/* One line; takes over `line`. */
void report_line(struct report *report, json_t *line);
/* What faults_init() wants for `told`. */
void report_fault(void *report, const char *fault);

#endif /* STRESS_REPORT_H */
