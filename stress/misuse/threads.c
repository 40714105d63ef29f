/* SPDX-License-Identifier: MIT */
/*
 * threads.c - calls without the lock, thread states, interpreters, the stopped world,
 * deferred frees.
 *   Owner   the main thread, and threads that it waits for.
 *   Locks   none.
 */
#include "stress/misuse/act.h"
#include "stress/misuse/probe.h"

/* --- detached --------------------------------------------------------------------------------- */

/* What is got in a wrong way is alive all the same. */
static void keep(struct act *act, void *block, size_t size) {
    if (block != NULL) probe_add(act->domain, block, size);
}

enum act_end act_detached_malloc(struct act *act) {
    void *state = allocator.save();
    void *block = block_malloc(act->domain, act->size);
    allocator.restore(state);
    keep(act, block, act->size);
    return ACT_DONE;
}

enum act_end act_detached_calloc(struct act *act) {
    void *state = allocator.save();
    void *block = block_calloc(act->domain, 1, act->size);
    allocator.restore(state);
    keep(act, block, act->size);
    return ACT_DONE;
}

enum act_end act_detached_realloc(struct act *act) {
    void *state = allocator.save();
    void *block = block_realloc(act->domain, act->victim, act->size * 3);
    allocator.restore(state);
    probe_forget(act->victim);
    keep(act, block, act->size * 3);
    return ACT_DONE;
}

enum act_end act_detached_free(struct act *act) {
    void *state = allocator.save();
    act_free_victim(act);
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_detached_free_null(struct act *act) {
    void *state = allocator.save();
    act_free(act, NULL);
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_detached_free_sized(struct act *act) {
    void *state = allocator.save();
    probe_forget(act->victim);
    act_free_sized(act, act->victim, act->size);
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_detached_usable_size(struct act *act) {
    void *state = allocator.save();
    act_usable_size(act, act->victim);
    allocator.restore(state);
    return ACT_DONE;
}

static void allocate_one(struct act *act, void *block) { *(void **)block = block_malloc(act->domain, act->size); }

enum act_end act_stranger_malloc(struct act *act) {
    void *block = NULL;
    act_stranger(allocate_one, act, &block);
    keep(act, block, act->size);
    return ACT_DONE;
}

static void free_victim(struct act *act, void *unused) {
    (void)unused;
    act_free_victim(act);
}

enum act_end act_stranger_free(struct act *act) {
    act_stranger(free_victim, act, NULL);
    return ACT_DONE;
}

enum act_end act_detached_safepoint(struct act *act) {
    (void)act;
    void *state = allocator.save();
    SUBJECT(gilloc_safepoint)();
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_detached_reclaim(struct act *act) {
    (void)act;
    void *state = allocator.save();
    SUBJECT(gilloc_reclaim)();
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_detached_get(struct act *act) {
    (void)act;
    void *state = allocator.save();
    SUBJECT(PyThreadState_Get)();
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_detached_save(struct act *act) {
    (void)act;
    void *state = allocator.save();
    allocator.save();
    allocator.restore(state);
    return ACT_DONE;
}

/* --- thread states ---------------------------------------------------------------------------- */

static PyThreadState *new_state(void) {
    PyThreadState *state = SUBJECT(PyThreadState_New)(SUBJECT(PyInterpreterState_Main)());
    if (state == NULL) act_not_applicable("no thread state can be made");
    return state;
}

static void release(struct act *act, void *unused) {
    (void)act, (void)unused;
    allocator.release(PyGILState_UNLOCKED);
}

/* The main thread is detached meanwhile. */
enum act_end act_release_unmatched(struct act *act) {
    void *state = allocator.save();
    act_stranger(release, act, NULL);
    allocator.restore(state);
    return ACT_DONE;
}

static void release_once_more(struct act *act, void *unused) {
    (void)act, (void)unused;
    int first = allocator.ensure(), second = allocator.ensure();
    allocator.release(second);
    allocator.release(first);
    allocator.release(first);
}

enum act_end act_release_extra(struct act *act) {
    void *state = allocator.save();
    act_stranger(release_once_more, act, NULL);
    allocator.restore(state);
    return ACT_DONE;
}

static void release_detached(struct act *act, void *unused) {
    (void)act, (void)unused;
    int state = allocator.ensure();
    allocator.save();
    allocator.release(state);
}

enum act_end act_release_detached(struct act *act) {
    void *state = allocator.save();
    act_stranger(release_detached, act, NULL);
    allocator.restore(state);
    return ACT_DONE;
}

static void ensure(struct act *act, void *unused) {
    (void)act, (void)unused;
    allocator.ensure();
}

enum act_end act_ensure_unbalanced(struct act *act) {
    void *state = allocator.save();
    act_stranger(ensure, act, NULL);
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_acquire_twice(struct act *act) {
    (void)act;
    SUBJECT(PyEval_AcquireThread)(SUBJECT(PyThreadState_Get)());
    return ACT_DONE;
}

enum act_end act_restore_another(struct act *act) {
    (void)act;
    allocator.restore(new_state());
    return ACT_DONE;
}

enum act_end act_restore_null(struct act *act) {
    (void)act;
    void *state = allocator.save();
    allocator.restore(NULL);
    allocator.restore(state);
    return ACT_DONE;
}

/* A second state, cleared and deleted as it should be. */
static PyThreadState *deleted_state(void) {
    PyThreadState *state = new_state();
    SUBJECT(PyThreadState_Clear)(state);
    SUBJECT(PyThreadState_Delete)(state);
    return state;
}

enum act_end act_restore_deleted(struct act *act) {
    (void)act;
    PyThreadState *state = deleted_state();
    void *own = allocator.save();
    allocator.restore(state);
    allocator.save();
    allocator.restore(own);
    return ACT_DONE;
}

struct holder {
    PyThreadState *state;
    void (*wrong)(PyThreadState *state);
};

static void use_taken(struct act *act, void *argument) {
    const struct holder *holder = argument;
    (void)act;
    holder->wrong(holder->state);
}

/* This thread is attached by its state, and reaches safepoints; another one misuses that. */
static enum act_end misuse_taken(struct act *act, void (*wrong)(PyThreadState *state)) {
    struct holder holder = {SUBJECT(PyThreadState_Get)(), wrong};
    act_stranger_beside(use_taken, act, &holder);
    return ACT_DONE;
}

static void restore(PyThreadState *state) { allocator.restore(state); }
enum act_end act_restore_taken(struct act *act) { return misuse_taken(act, restore); }

static void delete_it(PyThreadState *state) { SUBJECT(PyThreadState_Delete)(state); }
enum act_end act_delete_taken(struct act *act) { return misuse_taken(act, delete_it); }

enum act_end act_release_wrong_state(struct act *act) {
    (void)act;
    PyThreadState *state = new_state(), *own = SUBJECT(PyThreadState_Get)();
    SUBJECT(PyEval_ReleaseThread)(state);
    allocator.restore(own);
    return ACT_DONE;
}

enum act_end act_delete_current(struct act *act) {
    (void)act;
    SUBJECT(PyThreadState_Delete)(SUBJECT(PyThreadState_Get)());
    return ACT_DONE;
}

enum act_end act_delete_twice(struct act *act) {
    (void)act;
    SUBJECT(PyThreadState_Delete)(deleted_state());
    return ACT_DONE;
}

enum act_end act_delete_null(struct act *act) {
    (void)act;
    SUBJECT(PyThreadState_Delete)(NULL);
    return ACT_DONE;
}

enum act_end act_clear_detached(struct act *act) {
    (void)act;
    PyThreadState *state = new_state();
    void *own = allocator.save();
    SUBJECT(PyThreadState_Clear)(state);
    allocator.restore(own);
    return ACT_DONE;
}

enum act_end act_delete_current_detached(struct act *act) {
    (void)act;
    void *state = allocator.save();
    SUBJECT(PyThreadState_DeleteCurrent)();
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_new_null(struct act *act) {
    (void)act;
    SUBJECT(PyThreadState_New)(NULL);
    return ACT_DONE;
}

/* --- interpreters ----------------------------------------------------------------------------- */

enum act_end act_interpreter_delete_main(struct act *act) {
    (void)act;
    void *state = allocator.save();
    SUBJECT(PyInterpreterState_Delete)(SUBJECT(PyInterpreterState_Main)());
    allocator.restore(state);
    return ACT_DONE;
}

enum act_end act_interpreter_delete_own(struct act *act) {
    (void)act;
    PyInterpreterState *other = SUBJECT(PyInterpreterState_New)();
    PyThreadState *own = SUBJECT(PyThreadState_Swap)(SUBJECT(PyThreadState_New)(other));
    SUBJECT(PyInterpreterState_Delete)(other);
    SUBJECT(PyThreadState_Swap)(own);
    return ACT_DONE;
}

enum act_end act_interpreter_delete_twice(struct act *act) {
    (void)act;
    PyInterpreterState *other = SUBJECT(PyInterpreterState_New)();
    SUBJECT(PyInterpreterState_Delete)(other);
    SUBJECT(PyInterpreterState_Delete)(other);
    return ACT_DONE;
}

enum act_end act_interpreter_clear_other(struct act *act) {
    (void)act;
    SUBJECT(PyInterpreterState_Clear)(SUBJECT(PyInterpreterState_New)());
    return ACT_DONE;
}

/* --- the stopped world, fork, domains --------------------------------------------------------- */

enum act_end act_start_unstopped(struct act *act) {
    (void)act;
    SUBJECT(gilloc_start_the_world)();
    return ACT_DONE;
}

enum act_end act_detach_stopped(struct act *act) {
    (void)act;
    SUBJECT(gilloc_stop_the_world)();
    allocator.restore(allocator.save());
    SUBJECT(gilloc_start_the_world)();
    return ACT_DONE;
}

static int visit(void *block, size_t size, void *argument) {
    (void)block, (void)size, (void)argument;
    return 0;
}

enum act_end act_visit_raw(struct act *act) {
    (void)act;
    SUBJECT(gilloc_visit_blocks)(PYMEM_DOMAIN_RAW, visit, NULL);
    return ACT_DONE;
}

enum act_end act_domain_unknown(struct act *act) {
    (void)act;
    SUBJECT(gilloc_malloc)((PyMemAllocatorDomain)7, 48);
    return ACT_DONE;
}

enum act_end act_fork_after_only(struct act *act) {
    (void)act;
    SUBJECT(PyOS_AfterFork_Child)();
    return ACT_DONE;
}

enum act_end act_fork_before_twice(struct act *act) {
    (void)act;
    SUBJECT(PyOS_BeforeFork)();
    SUBJECT(PyOS_BeforeFork)();
    return ACT_DONE;
}

/* --- deferred frees --------------------------------------------------------------------------- */

static void retire(enum allocator_domain domain, void *block) {
    SUBJECT(gilloc_retire)(act_python_domain(domain), block);
}

/* All that is retired is freed. */
static enum act_end reclaim(void) {
    SUBJECT(gilloc_reclaim)();
    return ACT_DONE;
}

enum act_end act_retire_twice(struct act *act) {
    probe_forget(act->victim);
    retire(act->domain, act->victim);
    retire(act->domain, act->victim);
    return reclaim();
}

enum act_end act_retire_freed(struct act *act) {
    act_free_victim(act);
    retire(act->domain, act->victim);
    return reclaim();
}

enum act_end act_free_retired(struct act *act) {
    probe_forget(act->victim);
    retire(act->domain, act->victim);
    act_free(act, act->victim);
    return reclaim();
}

enum act_end act_retire_interior(struct act *act) {
    retire(act->domain, act->victim + 16);
    return reclaim();
}

enum act_end act_retire_other_domain(struct act *act) {
    retire(act->domain, block_malloc(act_other_domain(act), act->size));
    return reclaim();
}

enum act_end act_retire_detached(struct act *act) {
    void *state = allocator.save();
    retire(act->domain, act->victim);
    allocator.restore(state);
    probe_forget(act->victim);
    return reclaim();
}
