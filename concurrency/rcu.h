/* SPDX-License-Identifier: MIT */
/*
 * rcu.h [L1] - quiescent states and grace periods, over liburcu's qsbr flavour.  The only module with <urcu/...>.
 *
 *   In GIL-free mode an attached thread is online: what it reads stays valid until it passes a quiescent state
 *   (a safepoint) or goes offline (detaches).  gi_rcu_synchronize() waits until every online thread has done so.
 *   No thread is started: neither call_rcu nor defer_rcu is used.
 *   Locks   rcu (GI_RANK_RCU) around registering.
 *   Owner   liburcu's registry; each operating-system thread registers itself once and unregisters before it ends.
 *   Orders  grace-period: ThreadSanitizer cannot see into liburcu, so the release and acquire that it performs are
 *           told to it on one tag for the whole program (rcu.c).
 */
#ifndef GI_RCU_H
#define GI_RCU_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"

/* What liburcu knows of a registered thread.  All of it is liburcu's, which reads and writes it as we do here. */
typedef struct gi_rcu_reader {
    volatile unsigned long *counter; /* behind liburcu's while it has a quiescent state to announce; 0: offline */
    const volatile int *waiting;     /* not 0: who waits for a grace period sleeps until it has been quiescent */
} gi_rcu_reader;
extern const volatile unsigned long *const gi_rcu_now GI_INTERNAL;

/* Registers this operating-system thread, offline.  Once per thread. */
gi_rcu_reader gi_rcu_register(void);
/* Undoes it; the thread is offline.  Before the thread ends. */
void gi_rcu_unregister(void);
/* This thread, whose reader it is. */
static inline void gi_rcu_online(gi_rcu_reader reader);
static inline void gi_rcu_offline(gi_rcu_reader reader);
/* The same by liburcu's functions. */
void gi_rcu_online_slow(void);
void gi_rcu_offline_slow(void);
/* Before gi_rcu_offline(), where ThreadSanitizer watches and does not see it (concurrency/tool.h). */
void gi_rcu_tell(void);
/* This thread, online, holds no reference that others may retire. */
void gi_rcu_quiescent(void);
/* Whether gi_rcu_quiescent() may be left out, since nobody waits for this thread: it announced itself after the last
   grace period had begun.  ThreadSanitizer must be told of each. */
static inline bool gi_rcu_is_quiet(gi_rcu_reader reader) {
#ifdef GI_TSAN
    (void)reader;
    return false;
#else
    return *reader.counter == *gi_rcu_now;
#endif
}

/* liburcu's functions store the counter between full barriers.  On x86-64 one exchange is all of that (a store after
   what comes before it, and a full barrier), for a third of the time; ThreadSanitizer must be told of each. */
#if defined(__x86_64__) && !defined(GI_TSAN)
static inline void gi_rcu_exchange(gi_rcu_reader reader, unsigned long value) {
    __asm__ volatile("xchgq %0, %1" : "+r"(value), "+m"(*reader.counter) : : "memory");
}
static inline void gi_rcu_online(gi_rcu_reader reader) { gi_rcu_exchange(reader, *gi_rcu_now); }
static inline void gi_rcu_offline(gi_rcu_reader reader) {
    gi_rcu_exchange(reader, 0);
    if (gi_unlikely(*reader.waiting != 0)) {
        gi_rcu_offline_slow(); /* once more, and wakes who waits */
    }
}
#else
static inline void gi_rcu_online(gi_rcu_reader reader) {
    (void)reader;
    gi_rcu_online_slow();
}
static inline void gi_rcu_offline(gi_rcu_reader reader) {
    (void)reader;
    gi_rcu_offline_slow();
}
#endif

/* Waits until every thread online at the call has been quiescent or offline.  Holding no lock; an online caller is
   quiescent by it. */
void gi_rcu_synchronize(void);

/* Around fork(): no other thread is registering, nor waiting for a grace period. */
void gi_rcu_before_fork(void);
void gi_rcu_after_fork(void);
/* In the child, before any thread is started there: takes the parent's other threads out of liburcu's registry, a list
   through their thread-local storage, which later threads will get. */
void gi_rcu_after_fork_child(void);

#endif /* GI_RCU_H */
