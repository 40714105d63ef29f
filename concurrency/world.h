/* SPDX-License-Identifier: MIT */
/*
 * world.h [L1] - all threads together: their mode, and whether one of them has stopped all others.
 *
 *   There is one world in a process.  Its mode is that of every thread; a thread that wants to attach while the world
 *   is stopped waits here.  How the world is stopped: stop.h; how a thread learns of it: thread_state.h.
 *
 *   Owner   the stopper, while there is one; the mode is changed by it alone.
 *   Locks   world.mutex (GI_RANK_WORLD).
 */
#ifndef GI_WORLD_H
#define GI_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"

typedef struct gi_world {
    gi_atomic(uint32_t) free_threaded; /* relaxed: 1: GIL-free mode; changed in a stopped world, by whoever holds every
                                          lock, so that the orders lock and world-start publish it */
    gi_mutex mutex;
    pthread_cond_t changed;          /* with mutex: pending is 0, or the world has started */
    bool stopped;                    /* guarded by mutex: there is a stopper */
    int64_t pending;                 /* guarded by mutex: threads for which the stopper waits */
    gi_counter stops;                /* guarded by mutex; read by anyone */
    gi_atomic(uint64_t) deadline_ns; /* relaxed: an option: when a stop says who is late; 0: never */
} gi_world;

extern gi_world gi_the_world GI_INTERNAL;

/* How often this thread has stopped the world and not yet started it. */
extern __thread unsigned gi_world_stops GI_INTERNAL __attribute__((tls_model("initial-exec")));

static inline bool gi_world_is_free(void) { return gi_load_relaxed(&gi_the_world.free_threaded) != 0; }
/* Whether this thread is the stopper. */
static inline bool gi_world_is_mine(void) { return gi_world_stops != 0; }

/* Waits until the world is not stopped.  Neither attached nor online, nor the stopper. */
void gi_world_wait(void);
/* A detached thread is about to look into the caches of others: the stopper waits until gi_world_left().  False if the
   world is stopped. */
bool gi_world_enter(void);
/* A thread for which the stopper waits has left what it waits for. */
void gi_world_left(void);

/* In the child of a fork, by its only thread, after the mutex was let go of: nobody waits. */
void gi_world_after_fork_child(void);

#endif /* GI_WORLD_H */
