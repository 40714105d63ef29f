/* SPDX-License-Identifier: MIT */
/*
 * forks.c - a scenario: forks under load, by attached and detached threads.
 *   Owner   the trial.  Locks: none.
 *
 *   threads 0, 4, 8 ...   attached, fork now and then
 *           1, 5, 9 ...   always attached, always allocating
 *           2, 6, 10 ...  come and go, by thread states that come and go
 *           3, 7, 11 ...  detached with blocks alive, fork plainly now and then
 */
#include <sched.h>
#include <stdlib.h>

#include "stress/sanitizer.h"
#include "stress/torture/offspring.h"
#include "stress/torture/scenario.h"

#define SLOTS 128

/* AddressSanitizer's malloc, unlike the system's, does not take its locks for a fork: nobody may use it meanwhile while
   detached.  Threads that start or end do, and who makes a thread state. */
#if UNDER_ASAN
#define MALLOC_KNOWS_FORKS 0
#else
#define MALLOC_KNOWS_FORKS 1
#endif

struct forks {
    struct ledgers ledgers;
    struct slots slots;
    uint32_t begun, done; /* threads; atomic, relaxed: they order nothing of gilloc's */
};

/* --- threads ---------------------------------------------------------------------------------- */

static void turn(struct forks *forks, struct slots_view *view) {
    struct task *task = view->task;
    for (uint32_t i = task_below(task, 64); i > 0; i--) {
        ledger_turn(&forks->ledgers, &forks->ledgers.at[task->number], task);
        slots_read(view);
        if (task_once_in(task, 4)) slots_replace(view);
    }
    slots_let_go(view);
    gilloc_safepoint();
}

/* Attached; where it is needed, goes on when all threads are here. */
static void meet(struct task *task, uint32_t *here) {
    if (MALLOC_KNOWS_FORKS) return;
    struct trial *trial = task->trial;
    __atomic_add_fetch(here, 1, __ATOMIC_RELAXED);
    Py_BEGIN_ALLOW_THREADS while (__atomic_load_n(here, __ATOMIC_RELAXED) < trial->threads &&
                                  faults_count(&trial->faults) == 0) {
        sched_yield();
    }
    Py_END_ALLOW_THREADS
}

static PyGILState_STATE begin_work(struct task *task) {
    struct forks *forks = task->trial->shared;
    PyGILState_STATE state = PyGILState_Ensure();
    meet(task, &forks->begun);
    return state;
}

static void end_work(struct task *task, PyGILState_STATE state) {
    struct forks *forks = task->trial->shared;
    meet(task, &forks->done);
    PyGILState_Release(state);
}

static void stay(struct task *task, bool come_and_go) {
    struct forks *forks = task->trial->shared;
    struct slots_view view = {.slots = &forks->slots, .task = task};
    PyGILState_STATE state = begin_work(task);
    while (trial_goes_on(task->trial)) {
        turn(forks, &view);
        if (!come_and_go) continue;
        if (MALLOC_KNOWS_FORKS) {
            PyGILState_Release(state);
            task_linger(task);
            state = PyGILState_Ensure();
        } else {
            Py_BEGIN_ALLOW_THREADS task_linger(task);
            Py_END_ALLOW_THREADS
        }
    }
    end_work(task, state);
}

static void fork_attached(struct task *task) {
    struct forks *forks = task->trial->shared;
    struct slots_view view = {.slots = &forks->slots, .task = task};
    PyGILState_STATE state = begin_work(task);
    while (trial_goes_on(task->trial)) {
        for (int i = 0; i < 4; i++) turn(forks, &view);
        offspring_run(task, &forks->ledgers, &forks->slots, true, task_once_in(task, 2));
    }
    end_work(task, state);
}

static void fork_detached(struct task *task) {
    struct forks *forks = task->trial->shared;
    struct slots_view view = {.slots = &forks->slots, .task = task};
    PyGILState_STATE state = begin_work(task);
    while (trial_goes_on(task->trial)) {
        for (int i = 0; i < 4; i++) turn(forks, &view);
        Py_BEGIN_ALLOW_THREADS offspring_run(task, &forks->ledgers, &forks->slots, true, true);
        Py_END_ALLOW_THREADS
    }
    end_work(task, state);
}

static void work(struct task *task) {
    switch (task->number % 4) {
        case 0:
            fork_attached(task);
            return;
        case 3:
            fork_detached(task);
            return;
        default:
            stay(task, task->number % 4 == 2);
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin(struct trial *trial) {
    static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_RAW};
    struct forks *forks = calloc(1, sizeof *forks);
    trial->shared = forks;
    if (forks == NULL) {
        trial_bug(trial, "no memory");
        return false;
    }
    return slots_init(&forks->slots, trial, SLOTS, domains, 3, &trial->tasks[0]) &&
           ledgers_init(&forks->ledgers, trial);
}

static void end(struct trial *trial) {
    struct forks *forks = trial->shared;
    for (unsigned i = 0; i < trial->threads; i++) ledger_free_all(&forks->ledgers.at[i], trial);
    slots_fini(&forks->slots);
    ledgers_fini(&forks->ledgers);
    free(forks);
}

const struct scenario scenario_forks = {
    .name = "forks",
    .what = "forks under load, by attached and detached threads",
    .modes = SCENARIO_BOTH,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};
