/* SPDX-License-Identifier: MIT */
/*
 * replay.h - one thread's life: one pass over one trace.
 *   Owner   the calling thread; what it shares is in exchange.h and fault.h.
 *   Locks   gilloc's (attached most of the time) and, while detached, those of
 *           the exchange.
 */
#ifndef STRESS_REPLAY_H
#define STRESS_REPLAY_H

#include "stress/exchange.h"
#include "stress/trace.h"

/* The exchange's mailboxes need not hold more than this. */
#define REPLAY_MAILBOX 8192

struct replay_counts {
    uint64_t operations;   /* calls of the allocator on blocks */
    uint64_t allocated;    /* blocks */
    uint64_t freed;        /* blocks */
    uint64_t remote_frees; /* of which another thread had made the block */
};

struct replay {
    const struct trace *trace;
    struct exchange *exchange;
    struct faults *faults;
    uint64_t seed;           /* decides which blocks change hands */
    unsigned remote_percent; /* how many do */
    uint32_t thread;         /* number of the pass, never used twice */
    unsigned place;          /* in the exchange */
    uint32_t *attached;      /* gil mode: which thread is attached, guarded by gilloc's lock alone; else NULL */
    /* Called now and then, detached: what was done since the last time; false ends the pass. */
    bool (*go_on)(void *argument, const struct replay_counts *done);
    void *argument;
};

/* Attaches, replays, checks and frees, but for a share of the live blocks, which
   is left to others, and detaches.  The same seed, trace and thread number make
   the same calls; who does the frees handed on is up to the threads. */
void replay_pass(const struct replay *job);

/* Frees all that is left in the exchange; no other thread uses it any more. */
void replay_free_rest(struct exchange *exchange, unsigned places, uint32_t thread, struct faults *faults,
                      struct replay_counts *counts);

#endif /* STRESS_REPLAY_H */
