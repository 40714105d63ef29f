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

/* How far a registered thread has come: its own counter, behind liburcu's while it has a quiescent state to announce.
   Both are liburcu's, which reads and writes them as we do here. */
typedef const volatile unsigned long *gi_rcu_reader;
extern const gi_rcu_reader gi_rcu_now GI_INTERNAL;

/* Registers this operating-system thread, offline.  Once per thread. */
gi_rcu_reader gi_rcu_register(void);
/* Undoes it; the thread is offline.  Before the thread ends. */
void gi_rcu_unregister(void);
void gi_rcu_online(void);
void gi_rcu_offline(void);
/* This thread, online, holds no reference that others may retire. */
void gi_rcu_quiescent(void);
/* Whether gi_rcu_quiescent() may be left out, since nobody waits for this thread: it announced itself after the last
   grace period had begun.  ThreadSanitizer must be told of each. */
static inline bool gi_rcu_is_quiet(gi_rcu_reader reader) {
#ifdef GI_TSAN
    (void)reader;
    return false;
#else
    return *reader == *gi_rcu_now;
#endif
}
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
