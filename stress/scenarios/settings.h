/* SPDX-License-Identifier: MIT */
/*
 * settings.h - the command line of scenarios.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_SCENARIOS_SETTINGS_H
#define STRESS_SCENARIOS_SETTINGS_H

#include <stdbool.h>
#include <stdio.h>

#include "stress/scenarios/contender.h"
#include "stress/scenarios/failure.h"

struct settings {
    bool help;
    uint32_t failures;   /* bit i: failures[i] */
    uint32_t contenders; /* bit i: contenders[i] */
    uint64_t live_mib;
    uint64_t turns;
    const char *json;
};

/* The text of --help. */
void settings_help(FILE *out);

/* Fills `*settings`; 0, or -1 with a line (no newline) in `error`. */
int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size);

#endif /* STRESS_SCENARIOS_SETTINGS_H */
