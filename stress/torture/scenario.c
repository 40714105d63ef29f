/* SPDX-License-Identifier: MIT */
/*
 * scenario.c - what the threads of a trial do, by name.
 *   Owner   constant.  Locks: none.
 */
#include "stress/torture/scenario.h"

#include <string.h>

const struct scenario *const scenarios[] = {
    &scenario_readers,
    &scenario_hooked,
    &scenario_pairs,
    &scenario_fan_in,
    &scenario_fan_out,
    &scenario_lives,
    &scenario_stops,
    &scenario_kinds,
    &scenario_switches,
    &scenario_interpreters,
    &scenario_forks,
    &scenario_mixed,
    NULL,
};

const struct scenario *scenario_find(const char *name) {
    for (size_t i = 0; scenarios[i] != NULL; i++) {
        if (strcmp(scenarios[i]->name, name) == 0) return scenarios[i];
    }
    return NULL;
}
