/* SPDX-License-Identifier: MIT */
/*
 * stop.h [L1] - stop-the-world: one thread keeps all others from being attached.
 *
 *   Stopping: 1. become the stopper; 2. gil mode: take the lock of every registry; 3. set GI_STOP on every state, and
 *   count those in which a thread is that must leave: ending, or attached (in gil mode by mistake, for a moment);
 *   4. wait until they have.
 *   From then on no state but the stopper's own is ATTACHED or ENDING, and every other thread is offline.
 *
 *   may run at once       stop   start   attach, detach, park, end   new state, new registry
 *   stop  (any thread)    one    no      yes                         yes
 *   start (the stopper)   no     no      yes                         yes
 *
 *   Owner   the list of registries, which grows only.
 *   Locks   world (GI_RANK_WORLD), then registry.mutex.
 *   Orders  attach, world-start (thread_state.h).
 */
#ifndef GI_STOP_H
#define GI_STOP_H

#include <stdbool.h>

#include "concurrency/thread_state.h"

/* Lists a registry, for ever.  Any thread; in a stopped world it is stopped too. */
void gi_registry_list(gi_registry *registry);
/* The listed registries, by `next`. */
gi_registry *gi_registry_first(void);
/* The same, between gi_stop_before_fork() and after. */
gi_registry *gi_registry_first_locked(void);

/* Stops the world; `self` is the state by which this thread is attached, or NULL.  Nests.  False if another thread has
   stopped the world or is about to: park, or gi_world_wait(), and try again.  `function` stands in a report of who is
   late. */
bool gi_try_stop(gi_thread_state *self, const char *function);
/* Undoes one gi_try_stop(); false if this thread has not stopped the world. */
bool gi_start(void);

/* By the stopper, attached by `self`: changes the mode.  Takes the locks that the new mode wants, and drops those that
   it does not. */
void gi_stop_set_mode(gi_thread_state *self, bool free_threaded);

/* Around fork(), which the stopper does, or a thread under a runtime's own lock: the world's mutex. */
void gi_stop_before_fork(void);
void gi_stop_after_fork(void);
/* In the child, after after_fork; `self` as above. */
void gi_stop_after_fork_child(const gi_thread_state *self);

#endif /* GI_STOP_H */
