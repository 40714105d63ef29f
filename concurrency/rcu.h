/* SPDX-License-Identifier: MIT */
/*
 * rcu.h [L1] - quiescent states and grace periods, over liburcu's qsbr flavour.  The only file with <urcu/...>.
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

/* Registers this operating-system thread, offline.  Once per thread. */
void gi_rcu_register(void);
/* Undoes it; the thread is offline.  Before the thread ends. */
void gi_rcu_unregister(void);
void gi_rcu_online(void);
void gi_rcu_offline(void);
/* This thread, online, holds no reference that others may retire. */
void gi_rcu_quiescent(void);
/* Waits until every thread online at the call has been quiescent or offline.  Holding no lock; an online caller is
   quiescent by it. */
void gi_rcu_synchronize(void);

/* Around fork(): no other thread is registering. */
void gi_rcu_before_fork(void);
void gi_rcu_after_fork(void);
/* In the child, whose only thread is registered or not.  If others were at the fork, liburcu's registry is a list
   through the stacks of threads that the child lacks: from then on nothing here touches it, and there are no grace
   periods. */
void gi_rcu_after_fork_child(bool registered);

#endif /* GI_RCU_H */
