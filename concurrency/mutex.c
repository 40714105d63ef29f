/* SPDX-License-Identifier: MIT */
/*
 * mutex.c [L1] - a mutex with a rank.
 *   Owner   `held` belongs to its thread.
 */
#include "concurrency/mutex.h"

#include "concurrency/check.h"

#ifndef NDEBUG
/* The ranks that this thread holds, a bit each.  Thread-local in checked builds alone. */
static _Thread_local unsigned held;

#define RANK_NAME(rank, name) [rank] = name,
static const char *const rank_names[GI_RANK_COUNT] = {GI_MUTEX_RANKS(RANK_NAME)};
#undef RANK_NAME

static void rank_take(gi_mutex_rank rank) {
    unsigned at_or_above = held >> rank;
    if (at_or_above != 0) {
        gi_fatal("internal check",
                 "lock order: taking '%s' while holding '%s'" GI_DO("report this as a defect of gilloc"),
                 rank_names[rank], rank_names[rank + (unsigned)__builtin_ctz(at_or_above)]);
    }
    held |= 1u << rank;
}

static void rank_drop(gi_mutex_rank rank) {
    gi_assert((held >> rank & 1u) != 0);
    held &= ~(1u << rank);
}
#else
#define rank_take(rank) ((void)(rank))
#define rank_drop(rank) ((void)(rank))
#endif

void gi_mutex_init(gi_mutex *mutex, gi_mutex_rank rank) {
    mutex->rank = rank;
    int failed = pthread_mutex_init(&mutex->mutex, NULL);
    gi_assert(failed == 0);
    (void)failed;
}

void gi_mutex_lock(gi_mutex *mutex) {
    rank_take(mutex->rank);
    int failed = pthread_mutex_lock(&mutex->mutex);
    gi_assert(failed == 0);
    (void)failed;
}

bool gi_mutex_try_lock(gi_mutex *mutex) {
    if (pthread_mutex_trylock(&mutex->mutex) != 0) {
        return false;
    }
    rank_take(mutex->rank);
    return true;
}

void gi_mutex_lock_each(gi_mutex *mutex) {
    int failed = pthread_mutex_lock(&mutex->mutex);
    gi_assert(failed == 0);
    (void)failed;
}

void gi_mutex_unlock_each(gi_mutex *mutex) {
    int failed = pthread_mutex_unlock(&mutex->mutex);
    gi_assert(failed == 0);
    (void)failed;
}

void gi_mutex_unlock(gi_mutex *mutex) {
    rank_drop(mutex->rank);
    int failed = pthread_mutex_unlock(&mutex->mutex);
    gi_assert(failed == 0);
    (void)failed;
}
