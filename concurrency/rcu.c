/* SPDX-License-Identifier: MIT */
/*
 * rcu.c [L1] - quiescent states and grace periods, over liburcu's qsbr flavour.
 *   _LGPL_SOURCE is not defined: the library's functions are called, not inlined (a licence matter, and the inlined
 *   ones race falsely under ThreadSanitizer).
 */
#include "concurrency/rcu.h"

#include <urcu/urcu-qsbr.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"

#ifdef GI_TSAN
#include <sanitizer/tsan_interface.h>
/* What an online thread did happens before the return of a grace period that began after it. */
static char grace_period_tag;
#define told_release() __tsan_release(&grace_period_tag)
#define told_acquire() __tsan_acquire(&grace_period_tag)
#else
#define told_release() ((void)0)
#define told_acquire() ((void)0)
#endif

/* liburcu's own registry lock, held by a thread that the child of a fork lacks, would stay so for ever. */
static gi_mutex registering = GI_MUTEX_INIT(GI_RANK_RCU);
static unsigned registered_threads; /* guarded by registering */
static gi_atomic(bool) abandoned;   /* relaxed: written in the child of a fork while it has one thread */

void gi_rcu_register(void) {
    gi_mutex_lock(&registering);
    if (!gi_load_relaxed(&abandoned)) {
        urcu_qsbr_register_thread();
        registered_threads++;
    }
    gi_mutex_unlock(&registering);
    gi_rcu_offline();
}

void gi_rcu_unregister(void) {
    told_release();
    gi_mutex_lock(&registering);
    if (!gi_load_relaxed(&abandoned)) {
        urcu_qsbr_unregister_thread();
        registered_threads--;
    }
    gi_mutex_unlock(&registering);
}

void gi_rcu_online(void) {
    if (gi_likely(!gi_load_relaxed(&abandoned))) {
        urcu_qsbr_thread_online();
    }
}

void gi_rcu_offline(void) {
    told_release();
    if (gi_likely(!gi_load_relaxed(&abandoned))) {
        urcu_qsbr_thread_offline();
    }
}

void gi_rcu_quiescent(void) {
    told_release();
    if (gi_likely(!gi_load_relaxed(&abandoned))) {
        urcu_qsbr_quiescent_state();
    }
}

void gi_rcu_synchronize(void) {
    gi_assert(!gi_load_relaxed(&abandoned));
    told_release();
    urcu_qsbr_synchronize_rcu();
    told_acquire();
}

void gi_rcu_before_fork(void) { gi_mutex_lock(&registering); }

void gi_rcu_after_fork(void) { gi_mutex_unlock(&registering); }

void gi_rcu_after_fork_child(bool registered) {
    gi_mutex_lock(&registering);
    if (registered_threads > (registered ? 1u : 0u)) {
        gi_store_relaxed(&abandoned, true);
    }
    gi_mutex_unlock(&registering);
}
