/* SPDX-License-Identifier: MIT */
/*
 * mutex.h [L1] - a mutex with a rank.  The enum below IS the lock order: a thread takes ranks upwards only.
 *   Owner   whoever embeds it.
 *   Orders  those of pthread_mutex_t, which every sanitizer knows.
 *   Checked in builds with assertions: taking a rank at or below one that is held dies naming both.
 */
#ifndef GI_MUTEX_H
#define GI_MUTEX_H

#include <pthread.h>
#include <stdbool.h>

/* X(rank, name): lowest first. */
#define GI_MUTEX_RANKS(X)                                                                 \
    X(GI_RANK_RECORD, "record")               /* lib/embed/cpython: what is recorded */   \
    X(GI_RANK_RUNTIME, "runtime")             /* first use, mode, the caller's lock */    \
    X(GI_RANK_HOOKS, "hooks")                 /* installing debug hooks */                \
    X(GI_RANK_TRACE, "trace")                 /* starting and stopping a watcher */       \
    X(GI_RANK_DOMAIN, "domain")               /* publishing an allocator */               \
    X(GI_RANK_WORLD, "world")                 /* who has stopped it, and who waits */     \
    X(GI_RANK_REGISTRY, "registry")           /* the list of thread states */             \
    X(GI_RANK_KIND, "kind")                   /* making a kind */                         \
    X(GI_RANK_CLAIM, "claim")                 /* upkeep of an idle heap, one at a time */ \
    X(GI_RANK_SHARED_HEAP, "shared heap")     /* pools without an owning thread */        \
    X(GI_RANK_LIMBO, "limbo")                 /* what waits for a grace period */         \
    X(GI_RANK_ARENA, "arena")                 /* the shared arena manager */              \
    X(GI_RANK_ADDRESS_MAP, "address map")     /* windows for arenas from a hook */        \
    X(GI_RANK_HEAP_NUMBERS, "heap numbers")   /* heaps by number */                       \
    X(GI_RANK_QUARANTINE, "quarantine")       /* freed raw blocks */                      \
    X(GI_RANK_SPARES, "spares")               /* spare quarantines */                     \
    X(GI_RANK_TRACE_THREADS, "trace threads") /* the accounts of all threads */           \
    X(GI_RANK_SAMPLES, "samples")             /* live blocks that are samples */          \
    X(GI_RANK_WALK, "walk")                   /* walking a stack */                       \
    X(GI_RANK_SITES, "sites")                 /* a shard of them */                       \
    X(GI_RANK_FOREIGN, "foreign")             /* traced blocks of other allocators */     \
    X(GI_RANK_OS, "os memory")                /* the reservation */                       \
    X(GI_RANK_RCU, "rcu")                     /* liburcu's registry, around fork */       \
    X(GI_RANK_LEDGERS, "ledgers")             /* opening one */                           \
    X(GI_RANK_LEDGER, "ledger")               /* a shard of one */                        \
    X(GI_RANK_LOCK_QUEUE, "lock queue")       /* waiters for the lock */

#define GI_RANK_ENUM(rank, name) rank,
typedef enum { GI_MUTEX_RANKS(GI_RANK_ENUM) GI_RANK_COUNT } gi_mutex_rank;
#undef GI_RANK_ENUM

typedef struct gi_mutex {
    pthread_mutex_t mutex;
    gi_mutex_rank rank; /* constant after init */
} gi_mutex;

#define GI_MUTEX_INIT(rank_) \
    { .mutex = PTHREAD_MUTEX_INITIALIZER, .rank = (rank_) }

/* Around a wait that pthread_cancel() could end with a mutex locked.  The first gives what the second takes. */
static inline int gi_no_cancel(void) {
    int before = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}
static inline void gi_cancel_again(int before) { pthread_setcancelstate(before, NULL); }

void gi_mutex_init(gi_mutex *mutex, gi_mutex_rank rank);
void gi_mutex_lock(gi_mutex *mutex);
/* Takes it if it is free. */
bool gi_mutex_try_lock(gi_mutex *mutex);
void gi_mutex_unlock(gi_mutex *mutex);
/* Around a fork, where one thread takes all there are: those that each interpreter has one of, in the order of the
   interpreters, not counted. */
void gi_mutex_lock_each(gi_mutex *mutex);
void gi_mutex_unlock_each(gi_mutex *mutex);

#endif /* GI_MUTEX_H */
