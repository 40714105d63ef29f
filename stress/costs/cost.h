/* SPDX-License-Identifier: MIT */
/*
 * cost.h - what is measured, in a process of its own.
 *   Owner   the process's main thread; it is detached when `run` is called.
 *   Locks   none.
 */
#ifndef STRESS_COSTS_COST_H
#define STRESS_COSTS_COST_H

#include <gilloc/gilloc.h>
#include <stdbool.h>

#include "stress/costs/sample.h"

struct cost_job {
    gilloc_mode mode;
    unsigned threads;
    unsigned rounds;
    json_t *rows; /* cost_row() appends */
};

struct cost {
    const char *name;
    const char *what;    /* a line of --help */
    bool gil, free;      /* modes */
    unsigned threads[4]; /* a process for each, up to 0 */
    void (*run)(struct cost_job *job);
};

extern const struct cost *const costs[]; /* up to NULL */

/* One row of the table: `what` costs so many `unit`; takes over the sample. */
void cost_row(struct cost_job *job, const char *what, const char *unit, struct sample *sample);

extern const struct cost cost_retire, cost_safepoint, cost_attach, cost_stop, cost_visit, cost_switch, cost_statistics;

#endif /* STRESS_COSTS_COST_H */
