/* SPDX-License-Identifier: MIT */
/*
 * rings.c - scenarios: blocks that one thread allocates and another one frees,
 * handed on through rings: one to one, many to one, one to many.
 *   Owner   the trial.
 *   Locks   none.  A ring has one producer, who writes `head`, and one consumer,
 *           who writes `tail`; each reads the other's (release, acquire), which
 *           orders the stores into a block before the looks at it, too.
 * The blocks of a ring are numbered: each must arrive once, in order, whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

#include "stress/block.h"
#include "stress/torture/scenario.h"

#define PLACES 256
#define BATCH 64

enum { PAIRS, FAN_IN, FAN_OUT };

struct ring {
    _Alignas(64) uint64_t head; /* atomic */
    _Alignas(64) uint64_t tail; /* atomic */
    unsigned number, producer, consumer;
    struct block at[PLACES]; /* from tail to head the consumer's, the others the producer's */
};

struct rings {
    PyMemAllocatorDomain kind;
    unsigned count;
    struct ring *at;
};

/* --- a block ---------------------------------------------------------------------------------- */

static bool produce(struct rings *rings, struct ring *ring, struct task *task, uint64_t number) {
    PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM, rings->kind, PYMEM_DOMAIN_OBJ};
    uint32_t size = task_once_in(task, 64) ? task_below(task, 5000) : task_below(task, 513);
    PyMemAllocatorDomain domain = task_once_in(task, 64) ? PYMEM_DOMAIN_RAW : domains[task_below(task, 4)];
    task_worked(task, 1);
    return block_malloc(&ring->at[number % PLACES], domain, size, block_id(ring->number + 1, (uint32_t)number),
                        &task->trial->faults);
}

static bool consume(struct ring *ring, struct task *task, uint64_t number) {
    struct block *block = &ring->at[number % PLACES];
    uint64_t id = block_id(ring->number + 1, (uint32_t)number);
    if (block->id != id) {
        trial_bug(task->trial, "ring %u: block 0x%" PRIx64 " arrives in place of 0x%" PRIx64, ring->number, block->id,
                  id);
        return false;
    }
    task_worked(task, 1);
    return block_free(block, task->number, &task->trial->faults);
}

/* --- a thread --------------------------------------------------------------------------------- */

static unsigned fill(struct rings *rings, struct ring *ring, struct task *task) {
    uint64_t head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    unsigned done = 0;
    while (head - tail < PLACES && done < BATCH && produce(rings, ring, task, head)) {
        __atomic_store_n(&ring->head, ++head, __ATOMIC_RELEASE);
        done++;
    }
    return done;
}

static unsigned drain(struct ring *ring, struct task *task) {
    uint64_t tail = ring->tail, head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    unsigned done = 0;
    while (tail != head && done < BATCH && consume(ring, task, tail)) {
        __atomic_store_n(&ring->tail, ++tail, __ATOMIC_RELEASE);
        done++;
    }
    return done;
}

static void work(struct task *task) {
    struct rings *rings = task->trial->shared;
    PyGILState_STATE state = PyGILState_Ensure();
    while (trial_goes_on(task->trial)) {
        unsigned done = 0;
        for (unsigned i = 0; i < rings->count; i++) {
            if (rings->at[i].producer == task->number) done += fill(rings, &rings->at[i], task);
            if (rings->at[i].consumer == task->number) done += drain(&rings->at[i], task);
        }
        gilloc_safepoint();
        if (done == 0 || task_once_in(task, 256)) {
            Py_BEGIN_ALLOW_THREADS sched_yield();
            Py_END_ALLOW_THREADS
        }
    }
    PyGILState_Release(state);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void connect(struct rings *rings, unsigned threads, int shape) {
    for (unsigned i = 0; i < rings->count; i++) {
        struct ring *ring = &rings->at[i];
        ring->number = i;
        ring->producer = shape == PAIRS ? 2 * i : shape == FAN_IN ? i + 1 : 0;
        ring->consumer = shape == PAIRS ? (2 * i + 1) % threads : shape == FAN_IN ? 0 : i + 1;
    }
}

static bool begin(struct trial *trial) {
    int shape = trial->scenario->variant, kind = gilloc_new_kind("ring", 0, 0);
    unsigned count = shape == PAIRS ? (trial->threads + 1) / 2 : trial->threads - 1;
    struct rings *rings = calloc(1, sizeof *rings);
    struct ring *at = aligned_alloc(_Alignof(struct ring), count * sizeof *at);
    if (rings == NULL || at == NULL || kind < 0) {
        trial_bug(trial, "no memory for %u rings, or no kind", count);
        free(rings);
        free(at);
        return false;
    }
    for (unsigned i = 0; i < count; i++) at[i] = (struct ring){0};
    *rings = (struct rings){.kind = (PyMemAllocatorDomain)kind, .count = count, .at = at};
    connect(rings, trial->threads, shape);
    trial->shared = rings;
    return true;
}

static void end(struct trial *trial) {
    struct rings *rings = trial->shared;
    for (unsigned i = 0; i < rings->count; i++) {
        while (drain(&rings->at[i], &trial->tasks[0]) > 0) continue;
    }
    free(rings->at);
    free(rings);
}

const struct scenario scenario_pairs = {
    .name = "pairs",
    .what = "producers and consumers by rings, one to one",
    .modes = SCENARIO_FREE,
    .threads = 2,
    .variant = PAIRS,
    .begin = begin,
    .work = work,
    .end = end,
};

const struct scenario scenario_fan_in = {
    .name = "fan-in",
    .what = "many producers, one consumer, who never allocates",
    .modes = SCENARIO_FREE,
    .threads = 2,
    .variant = FAN_IN,
    .begin = begin,
    .work = work,
    .end = end,
};

const struct scenario scenario_fan_out = {
    .name = "fan-out",
    .what = "one producer, many consumers",
    .modes = SCENARIO_FREE,
    .threads = 2,
    .variant = FAN_OUT,
    .begin = begin,
    .work = work,
    .end = end,
};
