/* SPDX-License-Identifier: MIT */
/*
 * interpreters.c - a scenario: several interpreters, each with its own lock and
 * heap, made and deleted while others run; threads go from one to another.
 *   Owner   the trial.
 *   Locks   place.life: a thread that uses the interpreter of a place reads, one
 *           that replaces it writes; taken by detached threads only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stress/exchange.h"
#include "stress/torture/scenario.h"
#include "stress/torture/slots.h"
#include "stress/torture/turns.h"

#define PLACES 4
#define SLOTS 64
#define MAILBOX 256
#define BLOCKS 32

struct place {
    _Alignas(64) pthread_rwlock_t life;
    PyInterpreterState *interpreter; /* guarded by life */
    struct slots slots;              /* blocks of it */
    struct exchange *exchange;       /* the same */
    struct turns turns;
};

/* --- in an interpreter ------------------------------------------------------------------------ */

static void free_given(struct place *place, struct task *task, uint32_t number) {
    struct block blocks[BLOCKS];
    size_t count = exchange_take(place->exchange, 0, number, blocks, BLOCKS);
    for (size_t i = 0; i < count; i++) {
        if (!block_free(&blocks[i], task->number, &task->trial->faults)) return;
    }
    task_worked(task, count);
}

/* Some blocks for whoever comes next, of this interpreter. */
static void give(struct place *place, struct task *task, uint32_t number) {
    struct block blocks[BLOCKS] = {{0}};
    uint32_t count = 0, wanted = task_below(task, BLOCKS);
    for (; count < wanted; count++) {
        PyMemAllocatorDomain domain = (PyMemAllocatorDomain)task_below(task, 3);
        if (!block_malloc(&blocks[count], domain, task_below(task, 600), block_id(number, count),
                          &task->trial->faults)) {
            break;
        }
    }
    size_t given = exchange_give(place->exchange, 0, 0, blocks, count);
    for (size_t i = given; i < count; i++) block_free(&blocks[i], task->number, &task->trial->faults);
    task_worked(task, count);
}

static void turn(struct place *place, struct task *task, struct slots_view *view) {
    uint32_t number = trial_serial(task->trial);
    gilloc_mode mode = turns_enter(&place->turns, task);
    for (uint32_t i = task_below(task, 16); i > 0; i--) {
        slots_read(view);
        if (task_once_in(task, 3)) slots_replace(view);
    }
    free_given(place, task, number);
    give(place, task, number);
    if (PyInterpreterState_Get() != place->interpreter) {
        trial_bug(task->trial, "thread %u is attached to another interpreter than it should", task->number);
    }
    slots_let_go(view);
    turns_leave(&place->turns, task, mode);
}

static PyThreadState *state_of(struct place *place, struct task *task) {
    PyThreadState *state = PyThreadState_New(place->interpreter);
    if (state == NULL) trial_bug(task->trial, "PyThreadState_New is NULL");
    return state;
}

/* --- from one to another ---------------------------------------------------------------------- */

/* The caller reads both places' lives; they may be one. */
static void visit_two(struct place *first, struct place *second, struct task *task) {
    struct slots_view views[2] = {{.slots = &first->slots, .task = task}, {.slots = &second->slots, .task = task}};
    PyThreadState *states[2] = {state_of(first, task), state_of(second, task)};
    if (states[0] == NULL || states[1] == NULL) return;
    PyEval_AcquireThread(states[0]);
    for (uint32_t i = task_below(task, 16) + 1; i > 0; i--) {
        turn(first, task, &views[0]);
        gilloc_safepoint();
        PyThreadState_Swap(states[1]);
        turn(second, task, &views[1]);
        if (task_once_in(task, 8)) gilloc_reclaim();
        PyThreadState_Swap(states[0]);
    }
    PyThreadState_Clear(states[0]);
    PyThreadState_DeleteCurrent();
    PyThreadState_Delete(states[1]);
}

/* --- the life of an interpreter --------------------------------------------------------------- */

/* Attached to it, with nobody else there. */
static void empty(struct place *place, struct task *task) {
    for (int i = 0; i <= MAILBOX / BLOCKS; i++) free_given(place, task, UINT32_MAX);
    slots_fini(&place->slots);
}

static bool fill(struct place *place, struct trial *trial, struct task *task) {
    static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM};
    return slots_init(&place->slots, trial, SLOTS, domains, 2, task);
}

static void replace(struct place *place, struct task *task) {
    PyThreadState *state = state_of(place, task);
    if (state == NULL) return;
    PyEval_AcquireThread(state);
    empty(place, task);
    PyInterpreterState_Clear(place->interpreter);
    PyEval_ReleaseThread(state); /* the state goes with its interpreter */
    PyInterpreterState_Delete(place->interpreter);
    place->interpreter = PyInterpreterState_New();
    if (place->interpreter == NULL) {
        trial_bug(task->trial, "PyInterpreterState_New is NULL");
        return;
    }
    state = state_of(place, task);
    if (state == NULL) return;
    PyEval_AcquireThread(state);
    fill(place, task->trial, task);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    task_worked(task, 1);
}

/* --- a thread --------------------------------------------------------------------------------- */

static void work(struct task *task) {
    struct place *places = task->trial->shared;
    while (trial_goes_on(task->trial)) {
        uint32_t a = task_below(task, PLACES), b = task_below(task, PLACES);
        if (a > b) { /* the order of the locks */
            uint32_t c = a;
            a = b;
            b = c;
        }
        if (a > 0 && task_once_in(task, 16)) {
            pthread_rwlock_wrlock(&places[a].life);
            if (places[a].interpreter != NULL) replace(&places[a], task);
            pthread_rwlock_unlock(&places[a].life);
            continue;
        }
        pthread_rwlock_rdlock(&places[a].life);
        if (b != a) pthread_rwlock_rdlock(&places[b].life);
        if (places[a].interpreter != NULL && places[b].interpreter != NULL) visit_two(&places[a], &places[b], task);
        if (b != a) pthread_rwlock_unlock(&places[b].life);
        pthread_rwlock_unlock(&places[a].life);
        if (task->number == 0 && task_once_in(task, 64)) {
            PyGILState_STATE state = PyGILState_Ensure();
            gilloc_stop_the_world();
            if (gilloc_check() != 0) trial_bug(task->trial, "gilloc_check() in a stopped world: see above");
            gilloc_start_the_world();
            PyGILState_Release(state);
        }
    }
}

/* --- lifecycle -------------------------------------------------------------------------------- */

/* By the main thread, attached to the main interpreter: to that of `place` instead, and back. */
static bool inside(struct place *place, struct trial *trial, bool begins) {
    PyThreadState *state = state_of(place, &trial->tasks[0]);
    if (state == NULL) return false;
    PyThreadState *main_state = PyThreadState_Swap(state);
    bool good = true;
    if (begins) {
        good = fill(place, trial, &trial->tasks[0]);
    } else {
        empty(place, &trial->tasks[0]);
        gilloc_reclaim();
    }
    PyThreadState_Swap(main_state);
    PyThreadState_Delete(state);
    return good;
}

static bool begin(struct trial *trial) {
    struct place *places = aligned_alloc(_Alignof(struct place), PLACES * sizeof *places);
    trial->shared = places;
    for (int i = 0; places != NULL && i < PLACES; i++) {
        places[i] = (struct place){.interpreter = i == 0 ? PyInterpreterState_Main() : PyInterpreterState_New(),
                                   .exchange = exchange_new(1, MAILBOX)};
        pthread_rwlock_init(&places[i].life, NULL);
        if (places[i].interpreter == NULL || places[i].exchange == NULL) {
            trial_bug(trial, "PyInterpreterState_New is NULL, or no memory");
            return false;
        }
        if (!inside(&places[i], trial, true)) return false;
    }
    return places != NULL;
}

static void end(struct trial *trial) {
    struct place *places = trial->shared;
    for (int i = 0; i < PLACES; i++) {
        if (places[i].interpreter == NULL) continue; /* told */
        inside(&places[i], trial, false);
        if (i > 0) PyInterpreterState_Delete(places[i].interpreter);
        exchange_delete(places[i].exchange);
        pthread_rwlock_destroy(&places[i].life);
    }
    free(places);
}

const struct scenario scenario_interpreters = {
    .name = "interpreters",
    .what = "interpreters come and go, threads go from one to another",
    .modes = SCENARIO_BOTH,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};
