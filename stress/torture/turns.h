/* SPDX-License-Identifier: MIT */
/*
 * turns.h - who is attached, where one thread at a time may be.
 *   The mode changes only in a stopped world, so it stays what it is between two
 *   safepoints; in gil mode one thread at a time is between turns_enter() and
 *   turns_leave().
 *   Owner   whoever is attached.  Locks: gilloc's, which this is to test.
 */
#ifndef STRESS_TORTURE_TURNS_H
#define STRESS_TORTURE_TURNS_H

#include "stress/torture/trial.h"

struct turns {
    uint32_t inside; /* in gil mode guarded by the interpreter's lock: who, and 1; in GIL-free mode left alone */
};

static inline gilloc_mode turns_enter(struct turns *turns, struct task *task) {
    gilloc_mode mode = gilloc_get_mode();
    if (mode != GILLOC_MODE_GIL) return mode;
    if (turns->inside != 0) {
        trial_bug(task->trial, "threads %u and %u are both attached in gil mode", turns->inside - 1, task->number);
    }
    turns->inside = task->number + 1;
    return mode;
}

static inline void turns_leave(struct turns *turns, struct task *task, gilloc_mode mode) {
    if (gilloc_get_mode() != mode) {
        trial_bug(task->trial, "the mode has changed between two safepoints of thread %u", task->number);
    }
    if (mode != GILLOC_MODE_GIL) return;
    if (turns->inside != task->number + 1) {
        trial_bug(task->trial, "thread %u was attached in gil mode beside thread %u", turns->inside - 1, task->number);
    }
    turns->inside = 0;
}

#endif /* STRESS_TORTURE_TURNS_H */
