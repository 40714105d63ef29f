/* SPDX-License-Identifier: MIT */
/*
 * runtime_lock.c - a mutex and its owner.
 */
#include "tests/support/runtime_lock.h"

#include <string.h>

#include "tests/support/expect.h"

void runtime_lock_init(struct runtime_lock *lock) {
    memset(lock, 0, sizeof(*lock));
    EXPECT_EQ(pthread_mutex_init(&lock->mutex, NULL), 0);
}

int runtime_lock_set(struct runtime_lock *lock) {
    gilloc_lock words = {lock, runtime_lock_acquire, runtime_lock_release, runtime_lock_held};
    return gilloc_set_lock(&words);
}

void runtime_lock_acquire(void *ctx) {
    struct runtime_lock *lock = ctx;
    EXPECT(!runtime_lock_held(lock));
    pthread_mutex_lock(&lock->mutex);
    shared_set(&lock->owner, (size_t)pthread_self());
    shared_add(&lock->acquired, 1);
}

void runtime_lock_release(void *ctx) {
    struct runtime_lock *lock = ctx;
    EXPECT(runtime_lock_held(lock));
    shared_add(&lock->released, 1);
    shared_set(&lock->owner, 0);
    pthread_mutex_unlock(&lock->mutex);
}

int runtime_lock_held(void *ctx) {
    struct runtime_lock *lock = ctx;
    return shared_get(&lock->owner) == (size_t)pthread_self();
}
