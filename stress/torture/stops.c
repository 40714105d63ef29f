/* SPDX-License-Identifier: MIT */
/*
 * stops.c - a scenario: several threads stop the world at once, attached and not,
 * and each visit of the blocks must find what the ledgers say, once each.
 *   Owner   the trial.  Locks: none but the stopped world.
 * The others allocate, free, retire, detach, and delete their thread states with
 * blocks alive.
 */
#include <stdlib.h>

#include "stress/torture/ledger.h"
#include "stress/torture/scenario.h"

#define STOPPERS 4 /* at most */

struct stops {
    struct ledgers ledgers;
    uint32_t inside; /* who has stopped the world, and 1; plain: only a stopper looks */
};

/* --- a stop ----------------------------------------------------------------------------------- */

static void look(struct task *task, struct stops *stops) {
    if (stops->inside != 0) {
        trial_bug(task->trial, "threads %u and %u have both stopped the world", stops->inside - 1, task->number);
    }
    stops->inside = task->number + 1;
    ledgers_visit(&stops->ledgers, task->trial);
    if (task_once_in(task, 8)) {
        gilloc_stop_the_world(); /* nested */
        if (gilloc_check() != 0) trial_bug(task->trial, "gilloc_check() in a stopped world: see above");
        gilloc_start_the_world();
    }
    if (task_once_in(task, 16)) gilloc_purge();
    void *raw = PyMem_RawMalloc(100);
    PyMem_RawFree(raw);
    if (stops->inside != task->number + 1) {
        trial_bug(task->trial, "another thread has stopped the world that thread %u had stopped", task->number);
    }
    stops->inside = 0;
}

static void stop_once(struct task *task) {
    struct stops *stops = task->trial->shared;
    gilloc_stop_the_world();
    look(task, stops);
    gilloc_start_the_world();
    task_worked(task, 1);
}

/* --- a thread --------------------------------------------------------------------------------- */

/* Returns as it was called: attached or not. */
static void be_a_stopper(struct task *task, uint32_t one_of) {
    struct stops *stops = task->trial->shared;
    if (task->number >= STOPPERS || task->number >= (task->trial->threads + 1) / 2) return;
    if (task_once_in(task, one_of)) stop_once(task);
    if (task_once_in(task, one_of * 8)) ledgers_visit(&stops->ledgers, task->trial);
}

static void turn(struct task *task) {
    struct stops *stops = task->trial->shared;
    for (uint32_t i = task_below(task, 64); i > 0; i--) {
        ledger_turn(&stops->ledgers, &stops->ledgers.at[task->number], task);
    }
    gilloc_safepoint();
}

static void work(struct task *task) {
    while (trial_goes_on(task->trial)) {
        PyGILState_STATE state = PyGILState_Ensure();
        for (uint32_t turns = task_below(task, 256) + 1; turns > 0 && trial_goes_on(task->trial); turns--) {
            turn(task);
            if (task_once_in(task, 64)) {
                Py_BEGIN_ALLOW_THREADS task_linger(task);
                be_a_stopper(task, 1);
                Py_END_ALLOW_THREADS
            }
            be_a_stopper(task, 32);
        }
        PyGILState_Release(state); /* the state is deleted; its blocks live on */
        be_a_stopper(task, 4);
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin(struct trial *trial) {
    struct stops *stops = calloc(1, sizeof *stops);
    trial->shared = stops;
    if (stops == NULL) {
        trial_bug(trial, "no memory");
        return false;
    }
    return ledgers_init(&stops->ledgers, trial);
}

static void end(struct trial *trial) {
    struct stops *stops = trial->shared;
    ledgers_visit(&stops->ledgers, trial);
    for (unsigned i = 0; i < trial->threads; i++) ledger_free_all(&stops->ledgers.at[i], trial);
    ledgers_fini(&stops->ledgers);
    free(stops);
}

const struct scenario scenario_stops = {
    .name = "stops",
    .what = "several threads stop the world and visit all blocks",
    .modes = SCENARIO_BOTH,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};
