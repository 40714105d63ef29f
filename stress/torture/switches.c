/* SPDX-License-Identifier: MIT */
/*
 * switches.c - a scenario: the mode is switched thousands of times, both ways, by
 * several threads, under load.
 *   Owner   the trial.  Locks: none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stress/torture/ledger.h"
#include "stress/torture/scenario.h"
#include "stress/torture/slots.h"
#include "stress/torture/turns.h"

#define SLOTS 256
#define SWITCHERS 3 /* at most */

struct switches {
    struct slots slots;
    struct ledgers ledgers;
    struct turns turns;
};

/* --- a thread --------------------------------------------------------------------------------- */

static void turn(struct switches *switches, struct slots_view *view) {
    struct task *task = view->task;
    gilloc_mode mode = turns_enter(&switches->turns, task);
    for (uint32_t i = task_below(task, 32); i > 0; i--) {
        ledger_turn(&switches->ledgers, &switches->ledgers.at[task->number], task);
        slots_read(view);
        if (task_once_in(task, 4)) slots_replace(view);
    }
    slots_let_go(view);
    turns_leave(&switches->turns, task, mode);
}

static void switch_mode(struct switches *switches, struct task *task) {
    gilloc_mode mode = task_once_in(task, 2) ? GILLOC_MODE_GIL : GILLOC_MODE_FREE;
    if (gilloc_set_mode(mode) != 0) trial_bug(task->trial, "gilloc_set_mode(%d): %s", (int)mode, strerror(errno));
    task_worked(task, 1);
    if (task_once_in(task, 64)) ledgers_visit(&switches->ledgers, task->trial);
    if (task_once_in(task, 16)) {
        gilloc_stop_the_world();
        if (gilloc_check() != 0) trial_bug(task->trial, "gilloc_check() after a switch: see above");
        gilloc_start_the_world();
    }
}

static void work(struct task *task) {
    struct switches *switches = task->trial->shared;
    struct slots_view view = {.slots = &switches->slots, .task = task};
    bool switcher = task->number < SWITCHERS && task->number < (task->trial->threads + 1) / 2;
    while (trial_goes_on(task->trial)) {
        PyGILState_STATE state = PyGILState_Ensure();
        for (uint32_t turns = task_below(task, 256) + 1; turns > 0 && trial_goes_on(task->trial); turns--) {
            turn(switches, &view);
            gilloc_safepoint();
            if (switcher && task_once_in(task, 4)) switch_mode(switches, task);
            if (task_once_in(task, 16)) {
                Py_BEGIN_ALLOW_THREADS task_linger(task);
                Py_END_ALLOW_THREADS
            }
        }
        PyGILState_Release(state);
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin(struct trial *trial) {
    struct switches *switches = calloc(1, sizeof *switches);
    trial->shared = switches;
    if (switches == NULL) {
        trial_bug(trial, "no memory");
        return false;
    }
    /* A visit of a ledger's domain must find the ledgers' blocks alone. */
    int kind = gilloc_new_kind("slots", 0, 0);
    const PyMemAllocatorDomain domains[] = {(PyMemAllocatorDomain)kind, PYMEM_DOMAIN_RAW};
    if (kind < 0) trial_bug(trial, "gilloc_new_kind: %s", strerror(errno));
    return kind >= 0 && slots_init(&switches->slots, trial, SLOTS, domains, 2, &trial->tasks[0]) &&
           ledgers_init(&switches->ledgers, trial);
}

static void end(struct trial *trial) {
    struct switches *switches = trial->shared;
    ledgers_visit(&switches->ledgers, trial);
    for (unsigned i = 0; i < trial->threads; i++) ledger_free_all(&switches->ledgers.at[i], trial);
    slots_fini(&switches->slots);
    ledgers_fini(&switches->ledgers);
    free(switches);
}

const struct scenario scenario_switches = {
    .name = "switches",
    .what = "several threads switch the mode, both ways, under load",
    .modes = SCENARIO_BOTH,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};
