/* SPDX-License-Identifier: MIT */
/*
 * thread_state.h [L1] - the registry of thread states, and how a thread attaches, parks and detaches.
 *
 *                attach                          park
 *        0  <-------------->  ATTACHED  <-------------------->  PARKED     STOP  set beside any of them by the stopper
 *        |      detach                          unpark                           (stop.h): nothing becomes ATTACHED or
 *        +--- begin_end --> ENDING --- fini --> 0, spare                         ENDING while it is set
 *
 *   Attached in gil mode: holds the lock (or the runtime's own one), offline for liburcu.  Attached in GIL-free mode:
 *   online; detached and parked are offline.  A parked thread is at a safepoint and comes back: it waits for the lock,
 *   or for the world to start.
 *   A state belongs to no operating-system thread while it is detached: it may be attached by another than before.
 *
 *   Each step into ATTACHED or ENDING is a compare-and-swap that expects STOP to be clear, each step out of them sees
 *   STOP if it is set; so the stopper's one read-modify-write of a status decides.  In gil mode ATTACHED and PARKED are
 *   plain stores: only the holder of the lock makes them, and a stopper holds it.  The mode may change on the way in,
 *   so it is looked at again when in; whoever is in keeps it from changing.
 *
 *   The caller supplies the storage, once: it is never given back to the system (gil.h: gi_asked), but kept as spare
 *   and used again.
 *   Locks   registry.mutex (GI_RANK_REGISTRY) for the lists.
 *   Orders  attach: what was done by way of a state, in GIL-free mode, is seen by who has it next, the stopper included
 *           (in gil mode the lock does it).  world-start: what the stopper did is seen by who gets in after it.
 */
#ifndef GI_THREAD_STATE_H
#define GI_THREAD_STATE_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/gil.h"
#include "concurrency/mutex.h"
#include "concurrency/rcu.h"
#include "concurrency/world.h"

enum { GI_DETACHED = 0, GI_ATTACHED = 1, GI_PARKED = 2, GI_ENDING = 4, GI_STOP = 8 };

struct gi_registry;

typedef struct gi_thread_state {
    gi_asked asked;                /* first: by it the holder of a lock is known */
    gi_atomic(uint32_t) status;    /* atomic, order(attach), order(world-start) */
    gi_atomic(bool) early;         /* relaxed: it detached of its own accord, so it goes first when it returns */
    struct gi_registry *registry;  /* constant after init */
    gi_rcu_reader reader;          /* owner-only: of the thread that is attached, GIL-free mode */
    gi_atomic(const void *) where; /* relaxed: the caller of its last safepoint since it attached; for reports */
    gi_atomic(int) thread;         /* relaxed: the kernel's number of the thread that attached last; 0: none has */
    struct gi_thread_state *next, *prev; /* guarded by registry.mutex */
    uint64_t number;                     /* constant after init: 1, 2, ... in order of birth */
} gi_thread_state;

typedef struct gi_registry {
    gi_gil gil;
    gi_mutex mutex;
    gi_thread_state *first, *spare; /* guarded by mutex; spare ones are linked by next */
    gi_counter count, ever;         /* guarded by mutex; read by anyone */
    bool stopped;                   /* guarded by mutex: states are born with GI_STOP */
    bool held;                      /* the stopper's: it holds the lock without being attached here */
    struct gi_registry *next;       /* constant once listed (stop.h) */
} gi_registry;

/* A registry without states; constant, so that it is there before any code has run. */
#define GI_REGISTRY_INIT \
    { .gil = GI_GIL_INIT, .mutex = GI_MUTEX_INIT(GI_RANK_REGISTRY) }
/* The same, in zeroed memory. */
void gi_registry_init(gi_registry *registry);

/* The status without the stopper's bit. */
static inline uint32_t gi_thread_status(const gi_thread_state *state) {
    return gi_load_relaxed(&state->status) & ~(uint32_t)GI_STOP; /* relaxed: the caller's own, or it is wrong use */
}

/* A spare state, detached and in the registry again, or NULL. */
gi_thread_state *gi_thread_state_reuse(gi_registry *registry);
/* New storage, zeroed: a detached state in the registry. */
void gi_thread_state_init(gi_thread_state *state, gi_registry *registry);
/* Before a detached state is deleted: from here on it cannot be attached.  At once: it has begun; or not yet, since
   another thread has stopped the world: park, or gi_world_wait(), and try again; or the state is not detached. */
typedef enum { GI_END_BEGUN, GI_END_STOPPED, GI_END_ATTACHED } gi_end;
gi_end gi_thread_begin_end(gi_thread_state *state);
/* The same in the child of a fork, for a state of a thread that the child lacks, whatever its status. */
void gi_thread_begin_end_after_fork(gi_thread_state *state);
/* Takes an ending state out of the registry; it is spare, or lost (`keep` false). */
void gi_thread_state_fini(gi_thread_state *state, bool keep);

/* Attaches this operating-system thread by `state`; waits while the world is stopped, and for the lock in gil mode.
   False, at once, if `state` is attached already. */
bool gi_thread_attach(gi_thread_state *state);
/* The reverse, by the thread that is attached. */
void gi_thread_detach(gi_thread_state *state);

/* The kernel's number of this thread; 0 before its first attach. */
extern __thread int gi_thread_of_kernel GI_INTERNAL __attribute__((tls_model("initial-exec")));

/* The same, asked of the kernel before its first attach. */
int gi_thread_number(void);

/* The kernel's number of the thread that holds the registry's lock; 0: nobody, or the lock is a runtime's own.  A
   statistic: for a moment it may be that of a thread that was attached by the same state before. */
int gi_registry_holder(const gi_registry *registry);

/* Attached: for reports. */
static inline void gi_thread_mark(gi_thread_state *state) {
    gi_store_relaxed(&state->thread, gi_thread_of_kernel);
    gi_store_relaxed(&state->where, NULL);
}

/* In gil mode, with the lock, from `from` to ATTACHED.  False if that may not be: the status, and perhaps the mode, is
   another. */
static inline bool gi_thread_settle(gi_thread_state *state, uint32_t from, uint32_t *status) {
    /* Ordered by the lock, but in an interpreter that was made in a stopped world: the stopper lacked its lock. */
    /* order(world-start): acquire; pairs with release in gi_start(). */
    *status = gi_load_acquire(&state->status);
    if (gi_unlikely(*status != from || gi_world_is_free())) {
        return false;
    }
    gi_store_relaxed(&state->status, GI_ATTACHED); /* relaxed: ordered by the lock */
    return true;
}

/* gi_thread_attach() where nothing is in the way: gil mode, our own lock, which is free, and nobody waits for it; a
   thread that has attached before; no stopped world.  False: nothing has been done. */
static inline bool gi_thread_attach_at_once(gi_thread_state *state) {
    gi_gil *gil = &state->registry->gil;
    if (gi_unlikely(gi_world_is_free() || gi_thread_of_kernel == 0 || !gi_gil_take_at_once(gil, &state->asked))) {
        return false;
    }
    uint32_t status;
    if (gi_unlikely(!gi_thread_settle(state, GI_DETACHED, &status))) {
        gi_gil_drop(gil);
        return false;
    }
    gi_thread_mark(state);
    return true;
}

/* gi_thread_detach() in gil mode. */
static inline void gi_thread_detach_gil(gi_thread_state *state) {
    gi_assert(gi_thread_status(state) == GI_ATTACHED);
    gi_assert(!gi_world_is_free());
    gi_store_relaxed(&state->early, true);
    gi_store_relaxed(&state->status, GI_DETACHED); /* relaxed: ordered by the lock */
    gi_gil_drop(&state->registry->gil);
}

/* At a safepoint, asked to: gil mode: hands the lock to a waiter, if there is one, and waits to have it again. */
void gi_thread_yield(gi_thread_state *state);
/* At a safepoint: parks until the world is not stopped.  As gi_thread_yield(), it comes back in whatever mode there is
   then. */
void gi_thread_park(gi_thread_state *state);

/* The thread ends attached by `state` under a runtime's own lock: detached, and that lock is left as it is. */
void gi_thread_detach_ended(gi_thread_state *state);

/* For a thread that stays attached while the mode changes: goes online, offline for liburcu. */
void gi_thread_online(gi_thread_state *state);
void gi_thread_offline(gi_thread_state *state);

/* What the thread is asked, cleared: for the caller to handle. */
static inline uint32_t gi_thread_take_asked(gi_thread_state *state) {
    return gi_fetch_and_relaxed(&state->asked.bits, 0); /* relaxed: hints */
}
/* Asks every thread of the registry that is attached, or parked and so comes back without attaching anew. */
void gi_registry_ask(gi_registry *registry, uint32_t bits);

/* In GIL-free mode each operating-system thread is known to liburcu from its first attach until it ends. */
void gi_thread_ends(void);

/* Around fork(): takes, and lets go of, the registry's mutex and (apart: it ranks above all) the lock's. */
void gi_registry_before_fork(gi_registry *registry);
void gi_registry_after_fork(gi_registry *registry);
void gi_registry_lock_before_fork(gi_registry *registry);
void gi_registry_lock_after_fork(gi_registry *registry);
/* In the child of a fork, by its only thread, after after_fork: nobody waits for the lock, which is held by whoever is
   asked by `holder` (NULL: nobody). */
void gi_registry_after_fork_child(gi_registry *registry, gi_asked *holder);
/* The same for what this thread knows of itself; the number that it had in the parent, 0 if it has never attached. */
int gi_thread_after_fork_child(void);
/* Then, for each state: whether this thread, whose number was `former`, was the last one to be attached by it. */
bool gi_thread_is_mine_after_fork(gi_thread_state *state, int former);

/* Invariants R1 (the list is well linked), R2 (the count is its length), R3 (in gil mode with our own lock at most one
   state is attached).  0 or -1. */
int gi_registry_check(gi_registry *registry);

#endif /* GI_THREAD_STATE_H */
