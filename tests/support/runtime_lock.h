/* SPDX-License-Identifier: MIT */
/*
 * runtime_lock.h - the global lock of a runtime, as gilloc_set_lock() wants it: a mutex that knows its owner.
 */
#ifndef TESTS_SUPPORT_RUNTIME_LOCK_H
#define TESTS_SUPPORT_RUNTIME_LOCK_H

#include <gilloc/gilloc.h>
#include <pthread.h>

#include "tests/support/shared.h"

struct runtime_lock {
    pthread_mutex_t mutex;
    struct shared owner; /* pthread_self() as a number; 0: nobody.  Each thread looks for itself only */
    struct shared acquired;
    struct shared released;
};

void runtime_lock_init(struct runtime_lock *lock);
/* Hands it to gilloc_set_lock() and returns its answer. */
int runtime_lock_set(struct runtime_lock *lock);
/* The three functions; taking it twice, or releasing what is not held, fails the test. */
void runtime_lock_acquire(void *lock);
void runtime_lock_release(void *lock);
int runtime_lock_held(void *lock);

#endif /* TESTS_SUPPORT_RUNTIME_LOCK_H */
