/* SPDX-License-Identifier: MIT */
/*
 * rcu.c [L1] - quiescent states and grace periods, over liburcu's qsbr flavour.
 *   _LGPL_SOURCE is not defined: the library's functions are called, not inlined (a licence matter, and the inlined
 *   ones race falsely under ThreadSanitizer).  The static header is there for the layout of a reader alone.
 *   Locks   rcu.
 */
#include "concurrency/rcu.h"

#include <errno.h>
#include <urcu/static/urcu-qsbr.h>
#include <urcu/urcu-qsbr.h>

#include "concurrency/mutex.h"
#include "concurrency/probe.h"
#include "concurrency/tool.h"

/* What an online thread did happens before the return of a grace period that began after it. */
static char grace_period_tag;
#ifdef GI_TSAN
#include <sanitizer/tsan_interface.h>
#define told_release() __tsan_release(&grace_period_tag)
#define told_acquire() __tsan_acquire(&grace_period_tag)
#else
#define told_release() gi_tool_release(&grace_period_tag)
#define told_acquire() gi_tool_acquire(&grace_period_tag)
#endif

/* A registered thread, in its own thread-local storage. */
typedef struct reader {
    struct reader *next, *prev;    /* guarded by registering */
    struct urcu_qsbr_reader *urcu; /* guarded by registering */
} reader;

static __thread reader this_reader;

/* liburcu's own registry lock, held by a thread that the child of a fork lacks, would stay so for ever. */
static gi_mutex registering = GI_MUTEX_INIT(GI_RANK_RCU);
static reader *readers; /* guarded by registering: those of liburcu's readers that are ours */

const volatile unsigned long *const gi_rcu_now = &urcu_qsbr_gp.ctr;

/* --- threads ---------------------------------------------------------------------------------- */

gi_rcu_reader gi_rcu_register(void) {
    gi_mutex_lock(&registering);
    urcu_qsbr_register_thread();
    this_reader = (reader){.next = readers, .urcu = &URCU_TLS(urcu_qsbr_reader)};
    if (readers != NULL) {
        readers->prev = &this_reader;
    }
    readers = &this_reader;
    gi_mutex_unlock(&registering);
    gi_rcu_offline_slow();
    return (gi_rcu_reader){&URCU_TLS(urcu_qsbr_reader).ctr, &URCU_TLS(urcu_qsbr_reader).waiting};
}

void gi_rcu_unregister(void) {
    told_release();
    gi_mutex_lock(&registering);
    if (this_reader.next != NULL) {
        this_reader.next->prev = this_reader.prev;
    }
    *(this_reader.prev != NULL ? &this_reader.prev->next : &readers) = this_reader.next;
    urcu_qsbr_unregister_thread();
    gi_mutex_unlock(&registering);
}

void gi_rcu_online_slow(void) { urcu_qsbr_thread_online(); }

void gi_rcu_offline_slow(void) {
    int saved_errno = errno; /* it may wake somebody */
    told_release();
    urcu_qsbr_thread_offline();
    errno = saved_errno;
}

void gi_rcu_tell(void) { told_release(); }

void gi_rcu_quiescent(void) {
    told_release();
    urcu_qsbr_quiescent_state();
}

void gi_rcu_synchronize(void) {
    told_release();
    GI_PROBE0(grace_period_begin);
    int cancel = gi_no_cancel(); /* liburcu waits by poll() too, under its mutexes */
    urcu_qsbr_synchronize_rcu();
    gi_cancel_again(cancel);
    GI_PROBE0(grace_period_end);
    told_acquire();
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_rcu_before_fork(void) { gi_mutex_lock(&registering); }

void gi_rcu_after_fork(void) { gi_mutex_unlock(&registering); }

void gi_rcu_after_fork_child(void) {
    reader *mine = NULL;
    for (reader *dead = readers, *next; dead != NULL; dead = next) {
        next = dead->next;
        if (dead == &this_reader) {
            mine = dead;
        } else {
            struct cds_list_head *node = &dead->urcu->node;
            node->next->prev = node->prev;
            node->prev->next = node->next;
        }
    }
    if (mine != NULL) {
        mine->next = mine->prev = NULL;
    }
    readers = mine;
}
