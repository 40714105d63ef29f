/* SPDX-License-Identifier: MIT */
/*
 * shared.h - a number that threads of a test share.
 *   Relaxed on purpose: it orders nothing, so a test does not lend the library an order that the library lacks, and
 *   ThreadSanitizer sees what is missing.  Whatever hands memory over uses a mutex (mailbox.h) or the library's lock.
 */
#ifndef TESTS_SUPPORT_SHARED_H
#define TESTS_SUPPORT_SHARED_H

#include <stddef.h>

struct shared {
    size_t value; /* only through the functions below */
};

static inline size_t shared_get(const struct shared *number) {
    return __atomic_load_n(&number->value, __ATOMIC_RELAXED);
}

static inline void shared_set(struct shared *number, size_t value) {
    __atomic_store_n(&number->value, value, __ATOMIC_RELAXED);
}

/* Adds `n` and returns the value before. */
static inline size_t shared_add(struct shared *number, size_t n) {
    return __atomic_fetch_add(&number->value, n, __ATOMIC_RELAXED);
}

#endif /* TESTS_SUPPORT_SHARED_H */
