/* SPDX-License-Identifier: MIT */
/*
 * settings.h - the command line of torture.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_TORTURE_SETTINGS_H
#define STRESS_TORTURE_SETTINGS_H

#include <stdio.h>

#include "stress/torture/scenario.h"

struct settings {
    bool help;
    uint32_t scenarios;  /* bit i: scenarios[i] */
    unsigned modes;      /* SCENARIO_GIL, SCENARIO_FREE or both */
    uint64_t seconds;    /* all rows together */
    uint64_t operations; /* of each row; 0: as many as fit into the time */
    uint64_t threads;
    uint64_t lives; /* at least, of the scenario of that name */
    uint64_t seed;  /* fits into a JSON integer */
    const char *json;
};

/* The text of --help. */
void settings_help(FILE *out);

/* Fills `*settings`; 0, or -1 with a line (no newline) in `error`. */
int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size);

#endif /* STRESS_TORTURE_SETTINGS_H */
