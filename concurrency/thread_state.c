/* SPDX-License-Identifier: MIT */
/*
 * thread_state.c [L1] - the registry of thread states, and how a thread attaches and detaches.
 *   Owner   a state belongs to the thread that is attached by it; the list to the registry.
 *   Locks   registry.mutex.
 *   Orders  attach, world-start.
 */
#include "concurrency/thread_state.h"

#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "concurrency/check.h"
#include "concurrency/tool.h"

/* What this operating-system thread knows of itself: liburcu's reader, if it is registered, and the kernel's number. */
static __thread gi_rcu_reader this_reader __attribute__((tls_model("initial-exec")));
__thread int gi_thread_of_kernel;

/* --- invariant check -------------------------------------------------------------------------- */

int gi_registry_check(gi_registry *registry) {
    int broken = 0;
    uint64_t length = 0, attached = 0;
    gi_mutex_lock(&registry->mutex);
    const gi_thread_state *before = NULL;
    for (const gi_thread_state *state = registry->first; state != NULL; before = state, state = state->next) {
        if (state->prev != before || state->registry != registry) {
            broken = gi_report_broken("R1", "thread state %llu is badly linked", (unsigned long long)state->number);
            break;
        }
        length++;
        attached += gi_thread_status(state) == GI_ATTACHED;
    }
    if (broken == 0 && length != gi_load_relaxed(&registry->count)) {
        broken = gi_report_broken("R2", "%llu thread states are listed, %llu counted", (unsigned long long)length,
                                  (unsigned long long)gi_load_relaxed(&registry->count));
    }
    if (!gi_world_is_free() && registry->gil.outer.acquire == NULL && attached > 1) {
        broken = gi_report_broken("R3", "%llu threads are attached in gil mode", (unsigned long long)attached);
    }
    gi_mutex_unlock(&registry->mutex);
    return broken;
}

/* --- in and out ------------------------------------------------------------------------------- */

/* From `from` to `to`, once the world is not stopped.  False, at once, if the status is another. */
static bool enter(gi_thread_state *state, uint32_t from, uint32_t to) {
    for (;;) {
        uint32_t status = from;
        /* order(attach): acquire; pairs with release in leave(). */
        /* order(world-start): acquire; pairs with release in gi_start(). */
        if (gi_cas_acquire(&state->status, &status, to)) {
            if (gi_unlikely(gi_tool_now == GI_TOOL_TSAN)) {
                gi_tool_acquire(state);
                gi_tool_acquire(&gi_the_world);
            }
            return true;
        }
        if (status != (from | GI_STOP)) {
            return false;
        }
        gi_world_wait();
    }
}

/* ThreadSanitizer is told of what the release in leave() and liburcu do, if it does not see that. */
static inline void tell_leaving(const gi_thread_state *state) {
    if (gi_unlikely(gi_tool_now == GI_TOOL_TSAN)) {
        gi_tool_release(state);
        gi_rcu_tell();
    }
}

/* From `from`, for which a stopper waits, to `to`, for which it does not.  True if it is to be told. */
static bool leave(gi_thread_state *state, uint32_t from, uint32_t to) {
    /* order(attach): release; pairs with acquire in enter(), gi_thread_begin_end() and stop_registry(). */
    uint32_t before = gi_fetch_add_release(&state->status, to - from);
    gi_assert((before & ~(uint32_t)GI_STOP) == from);
    return (before & GI_STOP) != 0;
}

static void leave_attached(gi_thread_state *state, uint32_t to) {
    if (leave(state, GI_ATTACHED, to)) {
        gi_world_left();
    }
}

void gi_thread_online(gi_thread_state *state) {
    if (gi_unlikely(this_reader.counter == NULL)) {
        this_reader = gi_rcu_register();
    }
    state->reader = this_reader;
    gi_rcu_online(this_reader);
}

void gi_thread_offline(gi_thread_state *state) {
    tell_leaving(state);
    gi_rcu_offline(state->reader);
}

void gi_thread_ends(void) {
    if (this_reader.counter != NULL) {
        gi_rcu_unregister();
        this_reader = (gi_rcu_reader){NULL, NULL};
    }
}

/* --- attach, detach --------------------------------------------------------------------------- */

static bool come_in(gi_thread_state *state, uint32_t from, bool early) {
    for (;;) {
        if (gi_world_is_free()) {
            if (!enter(state, from, GI_ATTACHED)) {
                return false;
            }
            if (gi_likely(gi_world_is_free())) {
                gi_thread_online(state);
                return true;
            }
            leave_attached(state, from);
            continue;
        }
        gi_gil *gil = &state->registry->gil;
        if (gi_thread_status(state) != from) {
            return false;
        }
        gi_gil_take(gil, &state->asked, early);
        uint32_t status;
        if (gi_likely(gi_thread_settle(state, from, &status))) {
            return true;
        }
        gi_gil_drop(gil);
        if ((status & ~(uint32_t)GI_STOP) != from) {
            return false;
        }
        if ((status & GI_STOP) != 0) {
            gi_world_wait();
        }
    }
}

int gi_thread_number(void) {
    return gi_likely(gi_thread_of_kernel != 0) ? gi_thread_of_kernel : (int)syscall(SYS_gettid);
}

int gi_registry_holder(const gi_registry *registry) {
    _Static_assert(offsetof(gi_thread_state, asked) == 0, "who asks the holder knows its state");
    /* order(holder): acquire; pairs with release in gi_gil_take_at_once() and grant_locked(). */
    const gi_asked *holder = gi_load_acquire(&registry->gil.holder);
    const gi_thread_state *state = (const gi_thread_state *)(const void *)holder;
    return state != NULL ? gi_load_relaxed(&state->thread) : 0; /* relaxed: a statistic */
}

bool gi_thread_attach(gi_thread_state *state) {
    if (gi_unlikely(!come_in(state, GI_DETACHED, gi_load_relaxed(&state->early)))) {
        return false;
    }
    gi_thread_of_kernel = gi_thread_number();
    gi_thread_mark(state);
    return true;
}

void gi_thread_detach(gi_thread_state *state) {
    if (gi_world_is_free()) {
        gi_assert(gi_thread_status(state) == GI_ATTACHED);
        gi_store_relaxed(&state->early, true);
        tell_leaving(state);
        gi_rcu_offline(state->reader);
        leave_attached(state, GI_DETACHED);
    } else {
        gi_thread_detach_gil(state);
    }
}

void gi_thread_detach_ended(gi_thread_state *state) {
    gi_assert(state->registry->gil.outer.acquire != NULL);
    /* relaxed: the state is deleted next, by this thread */
    gi_fetch_and_relaxed(&state->status, ~(uint32_t)GI_ATTACHED);
}

/* --- safepoint -------------------------------------------------------------------------------- */

void gi_thread_yield(gi_thread_state *state) {
    gi_gil *gil = &state->registry->gil;
    gi_assert(gi_thread_status(state) == GI_ATTACHED);
    if (gil->outer.acquire != NULL) {
        return;
    }
    gi_store_relaxed(&state->status, GI_PARKED); /* relaxed: ordered by the lock */
    gi_gil_yield(gil, &state->asked);
    if (gi_likely(!gi_world_is_free())) {
        gi_store_relaxed(&state->status, GI_ATTACHED); /* relaxed: ordered by the lock */
        return;
    }
    gi_gil_drop(gil);
    bool in = come_in(state, GI_PARKED, false);
    gi_assert(in);
    (void)in;
}

void gi_thread_park(gi_thread_state *state) {
    gi_assert(gi_thread_status(state) == GI_ATTACHED);
    if (gi_world_is_free()) {
        tell_leaving(state);
        gi_rcu_offline(state->reader);
        leave_attached(state, GI_PARKED);
    } else {
        gi_store_relaxed(&state->status, GI_PARKED); /* relaxed: ordered by the lock */
        gi_gil_drop(&state->registry->gil);
    }
    gi_world_wait();
    bool in = come_in(state, GI_PARKED, true);
    gi_assert(in);
    (void)in;
}

void gi_registry_ask(gi_registry *registry, uint32_t bits) {
    gi_mutex_lock(&registry->mutex);
    for (gi_thread_state *state = registry->first; state != NULL; state = state->next) {
        if ((gi_thread_status(state) & (GI_ATTACHED | GI_PARKED)) != 0) {
            gi_fetch_or_relaxed(&state->asked.bits, bits); /* relaxed: hints */
        }
    }
    gi_mutex_unlock(&registry->mutex);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_registry_init(gi_registry *registry) {
    gi_mutex_init(&registry->gil.queue, GI_RANK_LOCK_QUEUE);
    gi_mutex_init(&registry->mutex, GI_RANK_REGISTRY);
    gi_store_relaxed(&registry->gil.ripe_at, UINT64_MAX);
    gi_store_relaxed(&registry->gil.interval_ns, GI_GIL_DEFAULT_INTERVAL_NS);
}

static void list_locked(gi_thread_state *state, gi_registry *registry) {
    gi_store_relaxed(&state->asked.bits, 0); /* relaxed: a late request is harmless, a lost one is repeated */
    /* relaxed: published by whoever hands the state on */
    gi_store_relaxed(&state->status, registry->stopped ? GI_STOP : GI_DETACHED);
    gi_store_relaxed(&state->early, false);
    gi_store_relaxed(&state->thread, 0);
    state->registry = registry;
    gi_counter_add(&registry->count, 1);
    gi_counter_add(&registry->ever, 1);
    state->number = gi_load_relaxed(&registry->ever);
    state->prev = NULL;
    state->next = registry->first;
    if (state->next != NULL) {
        state->next->prev = state;
    }
    registry->first = state;
}

gi_thread_state *gi_thread_state_reuse(gi_registry *registry) {
    gi_mutex_lock(&registry->mutex);
    gi_thread_state *state = registry->spare;
    if (state != NULL) {
        registry->spare = state->next;
        list_locked(state, registry);
    }
    gi_mutex_unlock(&registry->mutex);
    return state;
}

void gi_thread_state_init(gi_thread_state *state, gi_registry *registry) {
    gi_mutex_lock(&registry->mutex);
    list_locked(state, registry);
    gi_mutex_unlock(&registry->mutex);
}

gi_end gi_thread_begin_end(gi_thread_state *state) {
    uint32_t status = gi_world_is_mine() ? GI_STOP : GI_DETACHED;
    /* order(attach): acquire; pairs with release in leave(). */
    /* order(world-start): acquire; pairs with release in gi_start(). */
    if (gi_cas_acquire(&state->status, &status, status | GI_ENDING)) {
        return GI_END_BEGUN;
    }
    return (status & ~(uint32_t)GI_STOP) == GI_DETACHED ? GI_END_STOPPED : GI_END_ATTACHED;
}

void gi_thread_begin_end_after_fork(gi_thread_state *state) {
    /* relaxed: the child has one thread */
    gi_store_relaxed(&state->status, GI_ENDING | (gi_world_is_mine() ? GI_STOP : 0u));
}

void gi_thread_state_fini(gi_thread_state *state, bool keep) {
    gi_registry *registry = state->registry;
    gi_mutex_lock(&registry->mutex);
    gi_counter_sub(&registry->count, 1);
    if (state->next != NULL) {
        state->next->prev = state->prev;
    }
    *(state->prev != NULL ? &state->prev->next : &registry->first) = state->next;
    tell_leaving(state);
    bool awaited = leave(state, GI_ENDING, GI_DETACHED); /* under the mutex: from here it may be used again */
    if (keep) {
        state->next = registry->spare;
        registry->spare = state;
    }
    gi_mutex_unlock(&registry->mutex);
    if (awaited && !gi_world_is_mine()) {
        gi_world_left();
    }
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_registry_before_fork(gi_registry *registry) { gi_mutex_lock_each(&registry->mutex); }

void gi_registry_after_fork(gi_registry *registry) { gi_mutex_unlock_each(&registry->mutex); }

void gi_registry_lock_before_fork(gi_registry *registry) { gi_mutex_lock_each(&registry->gil.queue); }

void gi_registry_lock_after_fork(gi_registry *registry) { gi_mutex_unlock_each(&registry->gil.queue); }

void gi_registry_after_fork_child(gi_registry *registry, gi_asked *holder) {
    if (registry->gil.outer.acquire == NULL) {
        gi_gil_after_fork_child(&registry->gil, holder);
    }
}

int gi_thread_after_fork_child(void) {
    int former = gi_thread_of_kernel;
    gi_thread_of_kernel = former != 0 ? (int)syscall(SYS_gettid) : 0;
    return former;
}

bool gi_thread_is_mine_after_fork(gi_thread_state *state, int former) {
    bool mine = former != 0 && gi_load_relaxed(&state->thread) == former;
    if (mine) {
        gi_store_relaxed(&state->thread, gi_thread_of_kernel);
    }
    return mine;
}
