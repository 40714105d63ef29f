/* SPDX-License-Identifier: MIT */
/*
 * world.c [L1] - all threads together: their mode, and whether one of them has stopped all others.
 *   Locks   world.
 */
#include "concurrency/world.h"

gi_world gi_the_world = {.mutex = GI_MUTEX_INIT(GI_RANK_WORLD), .changed = PTHREAD_COND_INITIALIZER};
__thread unsigned gi_world_stops;

void gi_world_wait(void) {
    gi_assert(!gi_world_is_mine());
    int cancel = gi_no_cancel();
    gi_mutex_lock(&gi_the_world.mutex);
    while (gi_the_world.stopped) {
        pthread_cond_wait(&gi_the_world.changed, &gi_the_world.mutex.mutex);
    }
    gi_mutex_unlock(&gi_the_world.mutex);
    gi_cancel_again(cancel);
}

bool gi_world_enter(void) {
    gi_mutex_lock(&gi_the_world.mutex);
    bool in = !gi_the_world.stopped;
    gi_the_world.pending += in ? 1 : 0;
    gi_mutex_unlock(&gi_the_world.mutex);
    return in;
}

void gi_world_left(void) {
    gi_mutex_lock(&gi_the_world.mutex);
    if (--gi_the_world.pending == 0) {
        pthread_cond_broadcast(&gi_the_world.changed);
    }
    gi_mutex_unlock(&gi_the_world.mutex);
}

void gi_world_after_fork_child(void) {
    gi_the_world.changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    gi_the_world.pending = 0;
}
