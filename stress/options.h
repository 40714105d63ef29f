/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_OPTIONS_H
#define STRESS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_THREADS_MAX 256 /* of one row */
#define OPTIONS_LIST_MAX 32     /* entries of --threads, and of --trace */

struct options {
    bool help;
    bool gil, free; /* modes */
    unsigned threads[OPTIONS_LIST_MAX];
    size_t threads_count;
    uint64_t seconds; /* all rows together */
    uint64_t passes;  /* each row; 0: as many as fit into the time */
    const char *traces[OPTIONS_LIST_MAX];
    size_t traces_count; /* 0: all that come with the program */
    uint64_t remote_percent;
    uint64_t seed; /* fits into a JSON integer */
    bool json;
};

extern const char options_help[];

/* Fills `*options`; 0, or -1 with a line (no newline) in `error`. */
int options_parse(struct options *options, int argc, char **argv, char *error, size_t error_size);

#endif /* STRESS_OPTIONS_H */
