/* SPDX-License-Identifier: MIT */
/*
 * lives.c - a scenario: threads that are born, read, allocate, retire, hand blocks
 * over and die, with retired batches pending.
 *   Owner   the trial: each of its threads is a place, detached, in which one
 *           short thread after another lives.
 *   Locks   exchange.h's; nothing of gilloc is called under them.
 * A life's thread state is made and deleted by PyGILState_Ensure() and
 * PyGILState_Release(), or by the functions of thread states, or it is left
 * detached for the place to delete.
 */
#include <stdlib.h>
#include <string.h>

#include "stress/exchange.h"
#include "stress/torture/scenario.h"
#include "stress/torture/slots.h"

#define SLOTS 256
#define BLOCKS 128
#define MAILBOX 512

struct lives {
    struct slots slots;
    struct exchange *exchange;
};

struct life {
    struct task task; /* of its own counts, added to the place's */
    struct lives *lives;
    unsigned place;
    uint32_t number;
    int way;
    PyThreadState *left; /* for the place to delete */
};

enum { BY_GILSTATE, BY_STATE, LEFT_DETACHED, WAYS };

/* --- a life ----------------------------------------------------------------------------------- */

static size_t allocate(struct life *life, struct block *blocks, size_t count) {
    struct task *task = &life->task;
    size_t made = 0;
    for (; made < count; made++) {
        PyMemAllocatorDomain domain = (PyMemAllocatorDomain)task_below(task, 3);
        uint32_t size = task_below(task, task_once_in(task, 32) ? 4000 : 513);
        if (!block_malloc(&blocks[made], domain, size, block_id(life->number, (uint32_t)made), &task->trial->faults)) {
            break;
        }
    }
    task_worked(task, made);
    return made;
}

static void free_blocks(struct life *life, struct block *blocks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!block_free(&blocks[i], life->number, &life->task.trial->faults)) return;
    }
    task_worked(&life->task, count);
}

static void free_what_others_gave(struct life *life) {
    struct block blocks[BLOCKS], *estate;
    size_t count = exchange_take(life->lives->exchange, life->place, life->number, blocks, BLOCKS);
    free_blocks(life, blocks, count);
    count = exchange_inherit(life->lives->exchange, &estate);
    free_blocks(life, estate, count);
    free(estate);
}

/* Hands on what is left in two ways; what nobody takes is freed. */
static void hand_over(struct life *life, struct block *blocks, size_t count) {
    struct exchange *exchange = life->lives->exchange;
    size_t given = exchange_give(exchange, life->place, (uint32_t)task_random(&life->task), blocks, count / 2);
    size_t rest = count - given;
    struct block *estate = malloc(rest * sizeof *estate);
    if (estate != NULL && rest > 0) {
        memcpy(estate, blocks + given, rest * sizeof *estate);
        if (exchange_bequeath(exchange, estate, rest) == 0) return;
    }
    free(estate);
    free_blocks(life, blocks + given, rest);
}

static void live(struct life *life) {
    struct task *task = &life->task;
    struct slots_view view = {.slots = &life->lives->slots, .task = task};
    struct block blocks[BLOCKS];
    size_t count = allocate(life, blocks, task_below(task, BLOCKS) + 1);
    for (uint32_t i = task_below(task, 32); i > 0; i--) {
        slots_read(&view);
        if (task_once_in(task, 4)) slots_replace(&view);
    }
    slots_let_go(&view);
    if (task_once_in(task, 2)) gilloc_safepoint();
    free_what_others_gave(life);
    size_t own = task_below(task, (uint32_t)count + 1);
    free_blocks(life, blocks + own, count - own);
    for (uint32_t i = task_below(task, 64); i > 0; i--) slots_replace(&view); /* and no safepoint after it */
    hand_over(life, blocks, own);
}

static void *life_main(void *argument) {
    struct life *life = argument;
    if (life->way == BY_GILSTATE) {
        PyGILState_STATE state = PyGILState_Ensure();
        live(life);
        PyGILState_Release(state);
        return NULL;
    }
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    if (state == NULL) {
        trial_bug(life->task.trial, "PyThreadState_New is NULL");
        return NULL;
    }
    PyEval_AcquireThread(state);
    live(life);
    if (life->way == BY_STATE) {
        PyThreadState_Clear(state);
        PyThreadState_DeleteCurrent();
    } else {
        life->left = PyEval_SaveThread();
    }
    return NULL;
}

/* --- a place ---------------------------------------------------------------------------------- */

static void add_counts(struct task *place, const struct task *life) {
    task_worked(place, life->operations);
    task_add(&place->reads, life->reads);
    for (size_t age = 0; age < TRIAL_AGES; age++) task_add(&place->ages[age], life->ages[age]);
}

static void work(struct task *task) {
    struct trial *trial = task->trial;
    struct life *life = aligned_alloc(_Alignof(struct life), sizeof *life);
    while (life != NULL && trial_goes_on(trial)) {
        *life = (struct life){.task = {.trial = trial, .number = task->number},
                              .lives = trial->shared,
                              .place = task->number,
                              .number = trial_serial(trial),
                              .way = (int)task_below(task, WAYS)};
        task_seed(&life->task, task_random(task));
        int error = pthread_create(&life->task.thread, NULL, life_main, life);
        if (error != 0) {
            trial_bug(trial, "cannot start a thread: %s", strerror(error));
            break;
        }
        pthread_join(life->task.thread, NULL);
        if (life->left != NULL) PyThreadState_Delete(life->left);
        add_counts(task, &life->task);
        __atomic_add_fetch(&trial->lived, 1, __ATOMIC_RELAXED);
    }
    free(life);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin(struct trial *trial) {
    static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM};
    struct lives *lives = calloc(1, sizeof *lives);
    trial->shared = lives;
    if (lives != NULL) lives->exchange = exchange_new(trial->threads, MAILBOX);
    if (lives == NULL || lives->exchange == NULL) {
        trial_bug(trial, "no memory for %u places", trial->threads);
        return false;
    }
    return slots_init(&lives->slots, trial, SLOTS, domains, 2, &trial->tasks[0]);
}

static void end(struct trial *trial) {
    struct lives *lives = trial->shared;
    struct life rest = {.task = {.trial = trial}, .lives = lives, .number = UINT32_MAX};
    for (rest.place = 0; rest.place < trial->threads; rest.place++) {
        for (int i = 0; i < 1 + MAILBOX / BLOCKS; i++) free_what_others_gave(&rest);
    }
    struct block *estate;
    size_t count;
    while ((count = exchange_inherit(lives->exchange, &estate)) > 0) {
        free_blocks(&rest, estate, count);
        free(estate);
    }
    slots_fini(&lives->slots);
    exchange_delete(lives->exchange);
    free(lives);
}

const struct scenario scenario_lives = {
    .name = "lives",
    .what = "threads are born, read, retire, hand over and die",
    .modes = SCENARIO_BOTH,
    .threads = 1,
    .begin = begin,
    .work = work,
    .end = end,
};
