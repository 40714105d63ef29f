/* SPDX-License-Identifier: MIT */
/*
 * settings.h - the command line of costs.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_COSTS_SETTINGS_H
#define STRESS_COSTS_SETTINGS_H

#include <stdio.h>

#include "stress/costs/cost.h"

struct settings {
    bool help;
    uint32_t costs; /* bit i: costs[i] */
    uint64_t rounds;
    const char *json;
};

/* The text of --help. */
void settings_help(FILE *out);

/* Fills `*settings`; 0, or -1 with a line (no newline) in `error`. */
int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size);

#endif /* STRESS_COSTS_SETTINGS_H */
