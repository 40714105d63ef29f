/* SPDX-License-Identifier: MIT */
/*
 * thread_state.c [L1] - the registry of thread states, and how a thread attaches and detaches.
 *   Owner   a state belongs to the thread that is attached by it; the list to the registry.
 *   Locks   registry.mutex.
 *   Orders  attach.
 */
#include "concurrency/thread_state.h"

#include <stddef.h>

#include "concurrency/check.h"
#include "concurrency/rcu.h"

/* Whether this operating-system thread is registered with liburcu. */
static __thread bool rcu_registered __attribute__((tls_model("initial-exec")));

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
        attached += gi_load_relaxed(&state->status) == GI_ATTACHED; /* relaxed: a count of what is quiet */
    }
    if (broken == 0 && length != gi_load_relaxed(&registry->count)) {
        broken = gi_report_broken("R2", "%llu thread states are listed, %llu counted", (unsigned long long)length,
                                  (unsigned long long)gi_load_relaxed(&registry->count));
    }
    if (!gi_registry_is_free(registry) && registry->gil.outer.acquire == NULL && attached > 1) {
        broken = gi_report_broken("R3", "%llu threads are attached in gil mode", (unsigned long long)attached);
    }
    gi_mutex_unlock(&registry->mutex);
    return broken;
}

/* --- attach and detach ------------------------------------------------------------------------ */

static void go_online(void) {
    if (gi_unlikely(!rcu_registered)) {
        gi_rcu_register();
        rcu_registered = true;
    }
    gi_rcu_online();
}

void gi_thread_ends(void) {
    if (rcu_registered) {
        gi_rcu_unregister();
        rcu_registered = false;
    }
}

bool gi_thread_attach(gi_thread_state *state) {
    gi_registry *registry = state->registry;
    if (gi_registry_is_free(registry)) {
        uint32_t status = GI_DETACHED;
        /* order(attach): acquire; pairs with release in gi_thread_detach(). */
        if (!gi_cas_acquire(&state->status, &status, GI_ATTACHED)) {
            return false;
        }
        go_online();
    } else {
        if (gi_load_relaxed(&state->status) != GI_DETACHED) { /* relaxed: wrong use if it can be attached now */
            return false;
        }
        gi_gil_take(&registry->gil, &state->asked, state->early);
        if (gi_load_relaxed(&state->status) != GI_DETACHED) { /* relaxed: ordered by the lock */
            gi_gil_drop(&registry->gil);
            return false;
        }
        gi_store_relaxed(&state->status, GI_ATTACHED); /* relaxed: ordered by the lock */
    }
    return true;
}

void gi_thread_detach(gi_thread_state *state) {
    gi_registry *registry = state->registry;
    gi_assert(gi_load_relaxed(&state->status) == GI_ATTACHED); /* relaxed: only this thread changes it now */
    state->early = true;
    if (gi_registry_is_free(registry)) {
        gi_rcu_offline();
        /* order(attach): release; pairs with acquire in gi_thread_attach(). */
        gi_store_release(&state->status, GI_DETACHED);
    } else {
        gi_store_relaxed(&state->status, GI_DETACHED); /* relaxed: ordered by the lock */
        gi_gil_drop(&registry->gil);
    }
}

void gi_thread_detach_ended(gi_thread_state *state) {
    gi_assert(state->registry->gil.outer.acquire != NULL);
    gi_store_relaxed(&state->status, GI_DETACHED); /* relaxed: the state is deleted next, by this thread */
}

uint32_t gi_thread_safepoint(gi_thread_state *state) {
    uint32_t asked = gi_fetch_and_relaxed(&state->asked.bits, 0); /* relaxed: hints */
    if (gi_registry_is_free(state->registry)) {
        gi_rcu_quiescent();
    } else if ((asked & GI_ASKED_DROP) != 0) {
        gi_gil_yield(&state->registry->gil, &state->asked);
    }
    return asked & ~(uint32_t)GI_ASKED_DROP;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void list_locked(gi_thread_state *state, gi_registry *registry) {
    gi_store_relaxed(&state->asked.bits, 0);       /* relaxed: a late request is harmless, a lost one is repeated */
    gi_store_relaxed(&state->status, GI_DETACHED); /* relaxed: published by whoever hands the state on */
    state->early = false;
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

void gi_thread_state_fini(gi_thread_state *state, bool keep) {
    gi_registry *registry = state->registry;
    gi_mutex_lock(&registry->mutex);
    gi_counter_sub(&registry->count, 1);
    if (state->next != NULL) {
        state->next->prev = state->prev;
    }
    *(state->prev != NULL ? &state->prev->next : &registry->first) = state->next;
    if (keep) {
        state->next = registry->spare;
        registry->spare = state;
    }
    gi_mutex_unlock(&registry->mutex);
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_registry_before_fork(gi_registry *registry) { gi_mutex_lock(&registry->mutex); }

void gi_registry_after_fork(gi_registry *registry) { gi_mutex_unlock(&registry->mutex); }

void gi_registry_lock_before_fork(gi_registry *registry) { gi_mutex_lock(&registry->gil.queue); }

void gi_registry_lock_after_fork(gi_registry *registry) { gi_mutex_unlock(&registry->gil.queue); }

void gi_registry_after_fork_child(gi_registry *registry, gi_thread_state *state) {
    gi_rcu_after_fork_child(rcu_registered);
    if (!gi_registry_is_free(registry) && registry->gil.outer.acquire == NULL) {
        gi_gil_after_fork_child(&registry->gil, state != NULL ? &state->asked : NULL);
    }
}
