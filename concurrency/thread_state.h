/* SPDX-License-Identifier: MIT */
/*
 * thread_state.h [L1] - the registry of thread states, and how a thread attaches and detaches.
 *
 *            init             attach                     fini
 *   (none) ------> DETACHED <--------> ATTACHED        DETACHED ------> (none)
 *                            detach
 *
 *   Attached in gil mode: holds the lock (or the runtime's own one), offline for liburcu: nobody else runs, so a grace
 *   period is over at once.  Attached in GIL-free mode: online; detached is offline.
 *   A state belongs to no operating-system thread while it is detached: it may be attached by another than before.
 *
 *   The caller supplies the storage, once: it is never given back to the system (gil.h: gi_asked), but kept as spare
 *   and used again.
 *   Locks   registry.mutex (GI_RANK_REGISTRY) for the lists.
 *   Orders  attach: a state detached in one thread and attached in another (GIL-free mode; in gil mode the lock does
 *           it).
 */
#ifndef GI_THREAD_STATE_H
#define GI_THREAD_STATE_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/gil.h"
#include "concurrency/mutex.h"

enum { GI_DETACHED = 0, GI_ATTACHED = 1 };

struct gi_registry;

typedef struct gi_thread_state {
    gi_asked asked;
    gi_atomic(uint32_t) status;   /* atomic, order(attach): GI_DETACHED, GI_ATTACHED */
    bool early;                   /* owner-only: it detached of its own accord, so it goes first when it returns */
    struct gi_registry *registry; /* constant after init */
    struct gi_thread_state *next, *prev; /* guarded by registry.mutex */
    uint64_t number;                     /* constant after init: 1, 2, ... in order of birth */
} gi_thread_state;

typedef struct gi_registry {
    gi_gil gil;
    gi_mutex mutex;
    gi_thread_state *first, *spare;    /* guarded by mutex; spare ones are linked by next */
    gi_counter count, ever;            /* guarded by mutex; read by anyone */
    gi_atomic(uint32_t) free_threaded; /* relaxed: constant after the first thread state; 1: GIL-free mode */
} gi_registry;

/* A registry without states; constant, so that it is there before any code has run. */
#define GI_REGISTRY_INIT \
    { .gil = GI_GIL_INIT, .mutex = GI_MUTEX_INIT(GI_RANK_REGISTRY) }

static inline bool gi_registry_is_free(const gi_registry *registry) {
    return gi_load_relaxed(&registry->free_threaded) != 0;
}

/* A spare state, detached and in the registry again, or NULL. */
gi_thread_state *gi_thread_state_reuse(gi_registry *registry);
/* New storage, zeroed: a detached state in the registry. */
void gi_thread_state_init(gi_thread_state *state, gi_registry *registry);
/* Takes a detached state out of the registry; it is spare, or lost (`keep` false). */
void gi_thread_state_fini(gi_thread_state *state, bool keep);

/* Attaches this operating-system thread by `state`; waits for the lock in gil mode.  False, at once, if `state` is
   attached already. */
bool gi_thread_attach(gi_thread_state *state);
/* The reverse, by the thread that is attached. */
void gi_thread_detach(gi_thread_state *state);

/* The thread ends attached by `state` under a runtime's own lock: detached, and that lock is left as it is. */
void gi_thread_detach_ended(gi_thread_state *state);

/* What gi_thread_state.asked wants at a safepoint: handles GI_ASKED_DROP, announces a quiescent state in GIL-free mode,
   returns the other bits, cleared, for the caller to handle. */
uint32_t gi_thread_safepoint(gi_thread_state *state);

/* In GIL-free mode each operating-system thread is known to liburcu from its first attach until it ends. */
void gi_thread_ends(void);

/* Around fork(): takes, and lets go of, the registry's mutex and (apart: it ranks above all) the lock's. */
void gi_registry_before_fork(gi_registry *registry);
void gi_registry_after_fork(gi_registry *registry);
void gi_registry_lock_before_fork(gi_registry *registry);
void gi_registry_lock_after_fork(gi_registry *registry);
/* In the child of a fork, by its only thread, attached by `state` (NULL: detached), after after_fork: the lock is its
   own or free, nobody waits. */
void gi_registry_after_fork_child(gi_registry *registry, gi_thread_state *state);

/* Invariants R1 (the list is well linked), R2 (the count is its length), R3 (in gil mode with our own lock at most one
   state is attached).  0 or -1. */
int gi_registry_check(gi_registry *registry);

#endif /* GI_THREAD_STATE_H */
