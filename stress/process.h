/* SPDX-License-Identifier: MIT */
/*
 * process.h - runs the process of one row and collects what it says (report.h).
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_PROCESS_H
#define STRESS_PROCESS_H

#include <jansson.h>

/* Where the row's process finds its end of the pipe. */
#define PROCESS_PIPE 3

struct process_job {
    const char *program;
    const char *const *arguments; /* argv, up to NULL */
    char *const *environment;     /* up to NULL; or NULL: as ours */
    double hangs_after;           /* seconds without any new operation */
    /* Called several times a second. */
    void (*progress)(void *argument, json_int_t operations);
    void *argument;
};

struct process_end {
    json_t *result; /* or NULL; the caller's */
    char *problem;  /* the first thing that broke, or NULL; the caller's, from malloc */
};

/* Until the process has ended. */
void process_run(const struct process_job *job, struct process_end *end);

#endif /* STRESS_PROCESS_H */
