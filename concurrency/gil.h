/* SPDX-License-Identifier: MIT */
/*
 * gil.h [L1] - the lock: take, drop, and drop when asked.
 *
 *   state   HELD     somebody holds it
 *           WAITERS  somebody is queued (changed under `queue` only)
 *           WOKEN    a queued waiter has been woken to compete and has not decided yet (changed under `queue` only)
 *           WATCHED  a tool is told of the lock (concurrency/tool.h), for ever: so each take and drop goes the slow
 *                    way, where it is told, without an instruction for it on the fast one
 *
 *   The lock may be barged: whoever comes while it is free takes it.  Three rules keep every waiter's wait bounded:
 *     1. A waiter that has waited for the switch interval asks the holder to drop it (a bit in the holder's `asked`
 *        word, seen at its next safepoint); a drop that was asked for hands the lock to a waiter directly, so the
 *        dropper cannot be back first.
 *     2. A drop of the holder's own accord hands it over too, if the first waiter has waited for RIPE_NS and the
 *        lock has not changed hands for TENURE_NS.  The second half keeps throughput: with it, at most 2,000
 *        hand-overs a second; a strict order of arrival costs one for each take.
 *     3. A thread that gave the lock up of its own accord (to wait for something) asks at once when it returns, and
 *        goes before those that had to be asked, unless one of these came first and has waited for two intervals: no
 *        convoy.
 *        The holder that it interrupts comes back next.
 *
 *   may run at once    take   drop   yield   ask
 *   take (any thread)  yes    yes    yes     yes
 *   drop, yield        yes    no     no      yes        (only the holder)
 *
 *   What is measured, is where somebody waits anyway; a take and a drop that nobody waits beside read no clock:
 *     wait   from when a thread finds the lock taken until it runs with it
 *     hold   of holds that end while somebody waits: from when the lock was taken, if that went through `queue`, else
 *            from when the first waiter came, so it is at least as long
 *
 *   Locks   queue (GI_RANK_LOCK_QUEUE) for the lists of waiters.  Waiting is on a futex in the waiter's own frame.
 *   Orders  lock: all that a holder did is seen by the next one.  holder: who asks the holder sees its word made.
 *   A runtime's own lock (`outer`) takes the place of all this when it is set.
 */
#ifndef GI_GIL_H
#define GI_GIL_H

#include <errno.h>
#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"

/* What a thread is asked to do at its next safepoint.  Its memory is never given back, so that a late request to a
   thread that has ended is harmless. */
typedef struct gi_asked {
    gi_atomic(uint32_t) bits; /* relaxed: each bit is a hint; what it leads to synchronises by itself */
} gi_asked;

enum {
    GI_ASKED_DROP = 1u << 0,   /* drop the lock: somebody waits */
    GI_ASKED_DRAIN = 1u << 1,  /* take in what others have freed for you */
    GI_ASKED_STOP = 1u << 2,   /* park: the world is being stopped */
    GI_ASKED_RECLAIM = 1u << 3 /* more is retired than may wait: free it after a grace period */
};

/* The same shape as the public gilloc_lock. */
typedef struct gi_outer_lock {
    void *ctx;
    void (*acquire)(void *ctx);
    void (*release)(void *ctx);
    int (*held)(void *ctx);
} gi_outer_lock;

struct gi_waiter;
typedef struct gi_waiter_list {
    struct gi_waiter *first, *last;
} gi_waiter_list;

enum { GI_GIL_HELD = 1u, GI_GIL_WAITERS = 2u, GI_GIL_WOKEN = 4u, GI_GIL_WATCHED = 8u }; /* bits of `state` */

/* Waits by their length: bucket i has those of 2^i to 2^(i+1) - 1 ns, the first those below, the last those above. */
enum { GI_WAIT_BUCKETS = 40 }; /* GILLOC_WAIT_BUCKETS */

/* Written by the holder of the lock, read by anyone. */
typedef struct gi_gil_times {
    gi_counter hold_max, wait_max, wait_sum; /* ns */
    gi_counter waits[GI_WAIT_BUCKETS];
} gi_gil_times;

typedef struct gi_gil {
    _Alignas(GI_CACHE_LINE) gi_atomic(uint32_t) state; /* atomic, order(lock) */
    gi_atomic(gi_asked *) holder; /* atomic, order(holder): whom to ask; NULL while free or changing hands */
    gi_counter takes;             /* written by the holder */
    _Alignas(GI_CACHE_LINE) gi_mutex queue;
    gi_waiter_list early, late;            /* guarded by queue: gave it up themselves, had to be asked */
    uint64_t tenure_start;                 /* guarded by queue: when the lock last changed hands through it, ns */
    gi_atomic(uint64_t) ripe_at;           /* relaxed: a copy for drops: when the next one must hand over, ns */
    gi_atomic(uint64_t) interval_ns;       /* relaxed: an option */
    gi_atomic(struct gi_waiter *) spinner; /* relaxed: the waiter that spins, until it is told; only compared */
    gi_counter waits, handoffs, requests;  /* guarded by queue */
    gi_outer_lock outer;                   /* constant after the first attach; acquire NULL: none */
    uint64_t watched_since;                /* guarded by queue: when a waiter last came into an empty queue, ns */
    uint64_t hold_start, hold_take;        /* the holder's: when a hold began in the queue, and as which of `takes` */
    gi_gil_times times;
} gi_gil;

#define GI_GIL_DEFAULT_INTERVAL_NS 5000000u /* 5 ms, CPython's DEFAULT_INTERVAL */

/* A free lock; constant. */
#define GI_GIL_INIT \
    { .queue = GI_MUTEX_INIT(GI_RANK_LOCK_QUEUE), .ripe_at = UINT64_MAX, .interval_ns = GI_GIL_DEFAULT_INTERVAL_NS }
/* Whether this thread holds the runtime's own lock, which there is. */
static inline bool gi_gil_outer_held(const gi_gil *gil) {
    int saved_errno = errno;
    bool held = gil->outer.held(gil->outer.ctx) != 0;
    errno = saved_errno;
    return held;
}
/* Takes and drops the runtime's own lock, which there is. */
void gi_gil_outer_acquire(const gi_gil *gil);
void gi_gil_outer_release(const gi_gil *gil);

/* A tool is told of the lock from now on.  Before the first take. */
void gi_gil_watch(gi_gil *gil);

/* What a waiter does once, when it has waited until `at`. */
typedef struct gi_late {
    uint64_t at; /* by CLOCK_MONOTONIC, ns */
    void (*report)(void *arg);
    void *arg;
} gi_late;

/* Takes the lock.  `asked` is the word by which this thread will be asked; `early`: it gave the lock up itself. */
void gi_gil_take(gi_gil *gil, gi_asked *asked, bool early);
/* The same, for a stopped world: asks the holder at once; `late` may be NULL. */
void gi_gil_take_soon(gi_gil *gil, gi_asked *asked, const gi_late *late);
/* Takes the lock if it is free and nobody waits; never for a runtime's own lock, unless it is held already. */
bool gi_gil_try_take(gi_gil *gil, gi_asked *asked);
/* The same of our own lock alone, without a call: what taking it costs when nobody waits. */
static inline bool gi_gil_take_at_once(gi_gil *gil, gi_asked *asked) {
    uint32_t state = 0;
    /* order(lock): acquire; pairs with release in gi_gil_drop(). */
    if (gi_unlikely(gil->outer.acquire != NULL || !gi_cas_acquire(&gil->state, &state, GI_GIL_HELD))) {
        return false;
    }
    /* order(holder): release; pairs with acquire in ask_holder(). */
    gi_store_release(&gil->holder, asked);
    gi_counter_add(&gil->takes, 1);
    return true;
}
/* Drops the lock, of the holder's own accord. */
void gi_gil_drop_slow(gi_gil *gil);
static inline void gi_gil_drop(gi_gil *gil) {
    gi_store_relaxed(&gil->holder, NULL); /* relaxed: nobody to ask, so nothing to see */
    uint32_t state = GI_GIL_HELD;
    /* order(lock): release; pairs with acquire in try_take(). */
    if (gi_unlikely(!gi_cas_release(&gil->state, &state, 0))) {
        gi_gil_drop_slow(gil);
    }
}
/* The holder has been asked: hands the lock to a waiter, if there is one, and waits to have it again. */
void gi_gil_yield(gi_gil *gil, gi_asked *asked);
/* What CLOCK_MONOTONIC says, ns. */
uint64_t gi_gil_clock(void);

/* In the child of a fork: nobody waits, and the child's thread holds it, or nobody does if `asked` is NULL. */
void gi_gil_after_fork_child(gi_gil *gil, gi_asked *asked);

#endif /* GI_GIL_H */
