/* SPDX-License-Identifier: MIT */
/*
 * random_work.h - random operations of the three domains against the shadow model.
 */
#ifndef TESTS_SUPPORT_RANDOM_WORK_H
#define TESTS_SUPPORT_RANDOM_WORK_H

#include <stddef.h>
#include <stdint.h>

struct random_work {
    uint64_t seed;
    size_t operations;
    size_t live;      /* about so many blocks are alive */
    int may_fail;     /* NULL is an answer */
    size_t safepoint; /* one after so many operations; 0: none */
};

/* Does the work and frees all; the caller is attached. */
void random_work_do(const struct random_work *work);

#endif /* TESTS_SUPPORT_RANDOM_WORK_H */
