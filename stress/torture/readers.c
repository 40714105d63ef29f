/* SPDX-License-Identifier: MIT */
/*
 * readers.c - scenarios: lock-free readers, and updaters that replace and retire
 * what they read.
 *   Owner   the trial.  Locks: none.
 * Where grace periods come from: gilloc_retire() and safepoints, gilloc_reclaim(),
 * a stopped world.  With a hook on the object domain (`hooked`) the free of a
 * retired block is seen as it comes: from then on its age is past the limit.
 */
#include <errno.h>
#include <stdlib.h>

#include "stress/torture/scenario.h"
#include "stress/torture/slots.h"

#define SLOTS 512
#define UPDATER_OF 4 /* every so many threads one is an updater too */

/* --- updaters --------------------------------------------------------------------------------- */

static void wait_for_grace_period(struct slots_view *view) {
    slots_let_go(view);
    if (task_once_in(view->task, 2)) {
        gilloc_reclaim();
    } else {
        gilloc_stop_the_world();
        gilloc_start_the_world();
    }
    slots_age(view);
}

static void update(struct slots_view *view) {
    struct task *task = view->task;
    for (uint32_t i = task_below(task, 8); i > 0; i--) slots_replace(view);
    if (task_once_in(task, 4)) slots_replace_and_keep(view);
    if (task_once_in(task, 64)) wait_for_grace_period(view);
    if (task_once_in(task, 4096)) gilloc_set_retire_limit(task_below(task, 1u << task_below(task, 21)));
}

/* --- a thread --------------------------------------------------------------------------------- */

static void work(struct task *task) {
    struct slots_view view = {.slots = task->trial->shared, .task = task};
    PyGILState_STATE state = PyGILState_Ensure();
    while (trial_goes_on(task->trial)) {
        for (uint32_t i = task_below(task, 16) + 1; i > 0; i--) slots_read(&view);
        if (task->number % UPDATER_OF == 0) update(&view);
        slots_let_go(&view);
        gilloc_safepoint();
        if (task_once_in(task, 64)) {
            Py_BEGIN_ALLOW_THREADS task_linger(task);
            Py_END_ALLOW_THREADS
        }
        task_worked(task, 1);
    }
    gilloc_reclaim(); /* nobody holds what is kept any more */
    slots_view_fini(&view);
    PyGILState_Release(state);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool begin_with(struct trial *trial, const PyMemAllocatorDomain *domains, unsigned count) {
    struct slots *slots = calloc(1, sizeof *slots);
    trial->shared = slots;
    if (slots == NULL) {
        trial_bug(trial, "no memory for the slots");
        return false;
    }
    return slots_init(slots, trial, SLOTS, domains, count, &trial->tasks[0]);
}

static bool begin(struct trial *trial) {
    int kind = gilloc_new_kind("read", 0, sizeof(uint64_t));
    if (kind < 0) {
        trial_bug(trial, "gilloc_new_kind: errno %d", errno);
        return false;
    }
    PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM, (PyMemAllocatorDomain)kind, PYMEM_DOMAIN_RAW};
    return begin_with(trial, domains, sizeof domains / sizeof *domains);
}

static void end(struct trial *trial) {
    slots_fini(trial->shared);
    free(trial->shared);
}

/* --- with a hook ------------------------------------------------------------------------------ */

static PyMemAllocatorEx below; /* constant after begin_hooked() */

static void *hook_malloc(void *ctx, size_t size) {
    (void)ctx;
    return below.malloc(below.ctx, size);
}

static void *hook_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return below.calloc(below.ctx, count, size);
}

static void *hook_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return below.realloc(below.ctx, block, size);
}

static void hook_free(void *ctx, void *block) {
    (void)ctx;
    slots_freed(block);
    below.free(below.ctx, block);
}

static bool begin_hooked(struct trial *trial) {
    static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_OBJ};
    PyMemAllocatorEx hook = {NULL, hook_malloc, hook_calloc, hook_realloc, hook_free};
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &below);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &hook);
    return begin_with(trial, domains, 1);
}

const struct scenario scenario_readers = {
    .name = "readers",
    .what = "lock-free readers; updaters replace, retire, reclaim",
    .modes = SCENARIO_BOTH,
    .threads = 2,
    .begin = begin,
    .work = work,
    .end = end,
};

const struct scenario scenario_hooked = {
    .name = "hooked",
    .what = "the same, with a hook that sees each retired block freed",
    .modes = SCENARIO_FREE,
    .threads = 2,
    .begin = begin_hooked,
    .work = work,
    .end = end,
};
