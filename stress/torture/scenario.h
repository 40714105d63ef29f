/* SPDX-License-Identifier: MIT */
/*
 * scenario.h - what the threads of a trial do, by name.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_TORTURE_SCENARIO_H
#define STRESS_TORTURE_SCENARIO_H

#include "stress/torture/trial.h"

enum { SCENARIO_GIL = 1, SCENARIO_FREE = 2, SCENARIO_BOTH = 3 };

struct scenario {
    const char *name;
    const char *what; /* a line of --help */
    unsigned modes;   /* a row for each */
    unsigned threads; /* at least */
    int variant;      /* for functions that several scenarios share */
    /* Before the threads, by the main thread, attached; false: it has told what broke. */
    bool (*begin)(struct trial *trial);
    /* A thread's life: begins and ends detached. */
    void (*work)(struct task *task);
    /* After the threads, by the main thread, attached: frees all that is left. */
    void (*end)(struct trial *trial);
};

extern const struct scenario *const scenarios[]; /* up to NULL */

const struct scenario *scenario_find(const char *name); /* or NULL */

extern const struct scenario scenario_readers, scenario_hooked, scenario_pairs, scenario_fan_in, scenario_fan_out,
    scenario_lives, scenario_stops, scenario_kinds, scenario_switches, scenario_interpreters, scenario_forks,
    scenario_mixed;

#endif /* STRESS_TORTURE_SCENARIO_H */
