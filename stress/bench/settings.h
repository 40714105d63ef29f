/* SPDX-License-Identifier: MIT */
/*
 * settings.h - the command line of the bench.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_SETTINGS_H
#define STRESS_BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SETTINGS_FROM 8  /* files */
#define SETTINGS_MAX 128 /* workloads, and contenders */

struct settings {
    bool help;
    bool workloads[SETTINGS_MAX];  /* wanted, by index into workloads[] */
    bool contenders[SETTINGS_MAX]; /* wanted, by index into contenders[] */
    uint64_t rounds;
    uint64_t percent;                /* of the usual number of operations; 0: next to none */
    uint64_t heap_max;               /* bytes */
    const char *libraries;           /* where the peers' libraries are, or NULL: where the loader looks */
    const char *json;                /* a file to write, or NULL */
    const char *plots;               /* a directory to write into, or NULL */
    const char *from[SETTINGS_FROM]; /* files to read in place of measuring */
    size_t from_count;
};

/* Fills `*settings`; 0, or -1 with a line (no newline) in `error`. */
int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size);
/* The text of --help, with all workloads and contenders. */
void settings_help(FILE *out);

#endif /* STRESS_BENCH_SETTINGS_H */
