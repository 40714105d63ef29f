/* SPDX-License-Identifier: MIT */
/*
 * mixed.c - a scenario: all of it at once.
 *   Owner   the trial.
 *   Locks   exchange.h's; nothing of gilloc is called under them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stress/exchange.h"
#include "stress/sanitizer.h"
#include "stress/torture/ledger.h"
#include "stress/torture/offspring.h"
#include "stress/torture/scenario.h"
#include "stress/torture/slots.h"
#include "stress/torture/turns.h"

#define SLOTS 256
#define MAILBOX 512
#define BLOCKS 64

/* A fork needs that nobody makes a thread, or a thread state, meanwhile (forks.c). */
#if UNDER_ASAN || UNDER_TSAN
#define FORKS 0
#else
#define FORKS 1
#endif

struct mixed {
    struct slots slots;
    struct ledgers ledgers;
    struct exchange *exchange;
    struct turns turns;
};

/* --- between two safepoints ------------------------------------------------------------------- */

static void pass_blocks_on(struct mixed *mixed, struct task *task) {
    struct block blocks[BLOCKS];
    struct faults *faults = &task->trial->faults;
    uint32_t number = trial_serial(task->trial), made = 0, wanted = task_below(task, BLOCKS);
    size_t count = exchange_take(mixed->exchange, task->number, number, blocks, BLOCKS);
    for (size_t i = 0; i < count; i++) {
        if (!block_free(&blocks[i], task->number, faults)) return;
    }
    PyMemAllocatorDomain kind = mixed->slots.domains[0]; /* mem and object blocks are the ledgers' alone */
    while (made < wanted && block_malloc(&blocks[made], task_once_in(task, 32) ? PYMEM_DOMAIN_RAW : kind,
                                         task_below(task, 600), block_id(number, made), faults)) {
        made++;
    }
    size_t given = exchange_give(mixed->exchange, task->number, number, blocks, made);
    for (size_t i = given; i < made; i++) block_free(&blocks[i], task->number, faults);
    task_worked(task, count + made);
}

static void turn(struct mixed *mixed, struct slots_view *view) {
    struct task *task = view->task;
    gilloc_mode mode = turns_enter(&mixed->turns, task);
    for (uint32_t i = task_below(task, 32); i > 0; i--) {
        slots_read(view);
        ledger_turn(&mixed->ledgers, &mixed->ledgers.at[task->number], task);
        if (task_once_in(task, 4)) slots_replace(view);
        if (task_once_in(task, 32)) slots_replace_and_keep(view);
    }
    if (task_once_in(task, 4)) pass_blocks_on(mixed, task);
    slots_let_go(view);
    turns_leave(&mixed->turns, task, mode);
}

/* --- between turns, attached ------------------------------------------------------------------ */

static void visit_another_interpreter(struct task *task) {
    PyInterpreterState *interpreter = PyInterpreterState_New();
    PyThreadState *state = interpreter != NULL ? PyThreadState_New(interpreter) : NULL;
    if (state == NULL) {
        trial_bug(task->trial, "PyInterpreterState_New or PyThreadState_New is NULL");
        return;
    }
    PyThreadState *own = PyThreadState_Swap(state);
    for (int i = 0; i < BLOCKS; i++) gilloc_retire(PYMEM_DOMAIN_RAW, PyMem_RawMalloc(64));
    gilloc_safepoint();
    PyInterpreterState_Clear(interpreter);
    PyThreadState_Swap(own);
    PyInterpreterState_Delete(interpreter);
}

static void stop(struct mixed *mixed, struct task *task) {
    gilloc_stop_the_world();
    ledgers_visit(&mixed->ledgers, task->trial);
    if (gilloc_check() != 0) trial_bug(task->trial, "gilloc_check() in a stopped world: see above");
    gilloc_start_the_world();
}

static void switch_mode(struct task *task) {
    gilloc_mode mode = task_once_in(task, 2) ? GILLOC_MODE_GIL : GILLOC_MODE_FREE;
    if (gilloc_set_mode(mode) != 0) trial_bug(task->trial, "gilloc_set_mode(%d): %s", (int)mode, strerror(errno));
}

static void do_something_rare(struct mixed *mixed, struct slots_view *view) {
    struct task *task = view->task;
    switch (task_below(task, 8)) {
        case 0:
            stop(mixed, task);
            return;
        case 1:
            switch_mode(task);
            return;
        case 2:
            gilloc_reclaim();
            slots_age(view);
            return;
        case 3:
            gilloc_purge();
            return;
        case 4:
            visit_another_interpreter(task);
            return;
        case 5:
            gilloc_set_retire_limit(task_below(task, 1u << task_below(task, 21)));
            return;
        case 6:
            if (FORKS && task_once_in(task, 16))
                offspring_run(task, &mixed->ledgers, &mixed->slots, false, task_once_in(task, 2));
            return;
        default: {
            gilloc_stats stats = {.size = sizeof stats};
            gilloc_get_stats(&stats);
        }
    }
}

/* --- a thread --------------------------------------------------------------------------------- */

static void work(struct task *task) {
    struct mixed *mixed = task->trial->shared;
    struct slots_view view = {.slots = &mixed->slots, .task = task};
    while (trial_goes_on(task->trial)) {
        PyGILState_STATE state = PyGILState_Ensure();
        for (uint32_t turns = task_below(task, 256) + 1; turns > 0 && trial_goes_on(task->trial); turns--) {
            turn(mixed, &view);
            gilloc_safepoint();
            if (task_once_in(task, 32)) do_something_rare(mixed, &view);
            if (task_once_in(task, 32)) {
                Py_BEGIN_ALLOW_THREADS task_linger(task);
                Py_END_ALLOW_THREADS
            }
        }
        gilloc_reclaim();
        slots_view_fini(&view);
        PyGILState_Release(state);
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin(struct trial *trial) {
    struct mixed *mixed = calloc(1, sizeof *mixed);
    int kind = gilloc_new_kind("mixed", GILLOC_KIND_TYPE_STABLE, 16);
    const PyMemAllocatorDomain domains[] = {(PyMemAllocatorDomain)kind, PYMEM_DOMAIN_RAW};
    trial->shared = mixed;
    if (mixed != NULL) mixed->exchange = exchange_new(trial->threads, MAILBOX);
    if (mixed == NULL || mixed->exchange == NULL || kind < 0) {
        trial_bug(trial, "no memory, or no kind");
        return false;
    }
    return slots_init(&mixed->slots, trial, SLOTS, domains, 2, &trial->tasks[0]) &&
           ledgers_init(&mixed->ledgers, trial);
}

static void end(struct trial *trial) {
    struct mixed *mixed = trial->shared;
    struct block block;
    ledgers_visit(&mixed->ledgers, trial);
    for (unsigned i = 0; i < trial->threads; i++) {
        ledger_free_all(&mixed->ledgers.at[i], trial);
        while (exchange_take(mixed->exchange, i, UINT32_MAX, &block, 1) > 0) block_free(&block, 0, &trial->faults);
    }
    slots_fini(&mixed->slots);
    ledgers_fini(&mixed->ledgers);
    exchange_delete(mixed->exchange);
    free(mixed);
}

const struct scenario scenario_mixed = {
    .name = "mixed",
    .what = "all of it at once",
    .modes = SCENARIO_FREE,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};
