/* SPDX-License-Identifier: MIT */
/*
 * kinds.c - a scenario: type-stable kinds, whose freed blocks are read without a
 * lock.
 *   Owner   the trial.
 *   Locks   none.  Each word of a block that readers look at is read and written by
 *           atomic operations: whoever gets a freed block writes it while readers
 *           of its former life may still look.
 * Whatever its life, a block of kind K and size class C has in its first k bytes
 * words whose low 32 bits say K, C and the word's place.  A reader that holds a
 * pointer since its last safepoint must find them so, although the block may have
 * been freed, be in a list, and serve somebody else of the same kind and class by
 * now: gilloc writes nothing there, and the pool keeps its kind and class.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "stress/pattern.h"
#include "stress/torture/scenario.h"

#define SLOTS 1024
#define KINDS 3
#define CLASSES 8
#define HELD 16

struct kind {
    PyMemAllocatorDomain domain;
    uint32_t words; /* that stay */
};

struct kinds {
    struct kind at[KINDS];
    uintptr_t slots[SLOTS]; /* atomic: a block, or 0; its low four bits are its class */
};

/* What a reader holds until its next safepoint. */
struct view {
    struct task *task;
    unsigned held;
    struct {
        uintptr_t slot;
        unsigned kind;
    } hold[HELD];
};

/* --- a block ---------------------------------------------------------------------------------- */

/* Whole size classes of their own, in both configurations' steps. */
static size_t size_of(unsigned class) { return 64 + (size_t) class * 48; }

static uint32_t tag_of(unsigned kind, unsigned class, uint32_t word) {
    return (uint32_t)pattern_mix(1 + kind + 16 * (uint64_t) class + 4096 * (uint64_t)word);
}

static uint64_t *words_of(uintptr_t slot) { return (uint64_t *)(slot & ~(uintptr_t)15); }

static uintptr_t make(struct kinds *kinds, unsigned kind, struct task *task) {
    unsigned class = task_below(task, CLASSES);
    uint64_t *words = gilloc_malloc(kinds->at[kind].domain, size_of(class));
    uint32_t serial = trial_serial(task->trial);
    task_worked(task, 1);
    if (words == NULL) {
        trial_bug(task->trial, "gilloc_malloc(%d, %zu) is NULL", (int)kinds->at[kind].domain, size_of(class));
        return 0;
    }
    for (uint32_t i = 0; i < kinds->at[kind].words; i++) {
        __atomic_store_n(&words[i], (uint64_t)serial << 32 | tag_of(kind, class, i), __ATOMIC_RELAXED);
    }
    return (uintptr_t)words | class;
}

/* Does the block, alive or freed, still say what it is? */
static bool check(const struct kinds *kinds, uintptr_t slot, unsigned kind, struct task *task, const char *when) {
    unsigned class = slot & 15;
    const uint64_t *words = words_of(slot);
    for (uint32_t i = 0; i < kinds->at[kind].words; i++) {
        uint64_t word = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
        if ((uint32_t)word == tag_of(kind, class, i)) continue;
        trial_bug(task->trial,
                  "thread %u, %s: word %" PRIu32 " of a block of kind %u and %zu bytes at %p is 0x%" PRIx64
                  ", not 0x...%08" PRIx32,
                  task->number, when, i, kind, size_of(class), (const void *)words, word, tag_of(kind, class, i));
        return false;
    }
    return true;
}

/* --- a thread --------------------------------------------------------------------------------- */

static void let_go(struct view *view) {
    const struct kinds *kinds = view->task->trial->shared;
    for (unsigned i = 0; i < view->held; i++) {
        if (!check(kinds, view->hold[i].slot, view->hold[i].kind, view->task, "before its safepoint")) break;
    }
    view->held = 0;
}

static void look(struct view *view) {
    struct kinds *kinds = view->task->trial->shared;
    uint32_t place = task_below(view->task, SLOTS);
    uintptr_t slot = __atomic_load_n(&kinds->slots[place], __ATOMIC_ACQUIRE);
    task_add(&view->task->reads, 1);
    if (slot == 0 || view->held == HELD) return;
    if (!check(kinds, slot, place % KINDS, view->task, "at its first look")) return;
    view->hold[view->held].slot = slot;
    view->hold[view->held++].kind = place % KINDS;
    task_linger(view->task);
}

/* Frees what is in a slot, at once: readers may hold it. */
static void empty(struct kinds *kinds, uint32_t place, struct task *task, uintptr_t next) {
    uintptr_t slot = __atomic_exchange_n(&kinds->slots[place], next, __ATOMIC_ACQ_REL);
    if (slot == 0) return;
    if (check(kinds, slot, place % KINDS, task, "before its free")) {
        gilloc_free(kinds->at[place % KINDS].domain, words_of(slot));
    }
    task_worked(task, 1);
}

/* One slot; now and then very many, so that pools become empty and are wanted for other classes. */
static void update(struct kinds *kinds, struct task *task) {
    uint32_t place = task_below(task, SLOTS), count = task_once_in(task, 128) ? SLOTS / 2 : 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (place + i) % SLOTS;
        empty(kinds, at, task, count > 1 || task_once_in(task, 8) ? 0 : make(kinds, at % KINDS, task));
    }
}

/* Wants pools for another kind, filled with what no reader may see. */
static void use_others(struct task *task) {
    void *blocks[64];
    for (uint32_t i = 0; i < 64; i++) {
        size_t size = size_of(task_below(task, CLASSES));
        blocks[i] = PyObject_Malloc(size);
        if (blocks[i] != NULL) pattern_fill(blocks[i], size, 1);
    }
    for (uint32_t i = 0; i < 64; i++) PyObject_Free(blocks[i]);
    task_worked(task, 128);
}

static void work(struct task *task) {
    struct kinds *kinds = task->trial->shared;
    struct view view = {.task = task};
    PyGILState_STATE state = PyGILState_Ensure();
    while (trial_goes_on(task->trial)) {
        for (uint32_t i = task_below(task, HELD) + 1; i > 0; i--) {
            look(&view);
            if (task->number % 2 == 0) update(kinds, task);
        }
        if (task_once_in(task, 16)) use_others(task);
        let_go(&view);
        gilloc_safepoint();
        if (task_once_in(task, 64)) {
            Py_BEGIN_ALLOW_THREADS if (task_once_in(task, 4)) gilloc_purge();
            Py_END_ALLOW_THREADS
        }
        if (task_once_in(task, 256)) gilloc_reclaim();
    }
    PyGILState_Release(state);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin(struct trial *trial) {
    static const uint32_t words[KINDS] = {1, 3, 7};
    struct kinds *kinds = calloc(1, sizeof *kinds);
    trial->shared = kinds;
    for (unsigned i = 0; kinds != NULL && i < KINDS; i++) {
        int kind = gilloc_new_kind("stable", GILLOC_KIND_TYPE_STABLE, words[i] * sizeof(uint64_t));
        if (kind < 0) trial_bug(trial, "gilloc_new_kind: errno %d", errno);
        kinds->at[i] = (struct kind){.domain = (PyMemAllocatorDomain)kind, .words = words[i]};
    }
    if (kinds == NULL) trial_bug(trial, "no memory");
    return trial_goes_on(trial);
}

static void end(struct trial *trial) {
    struct kinds *kinds = trial->shared;
    for (uint32_t place = 0; place < SLOTS; place++) empty(kinds, place, &trial->tasks[0], 0);
    free(kinds);
}

const struct scenario scenario_kinds = {
    .name = "kinds",
    .what = "lock-free readers of freed blocks of type-stable kinds",
    .modes = SCENARIO_BOTH,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};
