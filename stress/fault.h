/* SPDX-License-Identifier: MIT */
/*
 * fault.h - what broke: the first thing in words, the rest as a number.
 *   Owner   the row.  Locks: its own, innermost; nothing is called under it but
 *   `told`, so that faults are told one at a time.
 */
#ifndef STRESS_FAULT_H
#define STRESS_FAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct faults {
    pthread_mutex_t lock;
    size_t count;                                    /* guarded by lock */
    void (*told)(void *argument, const char *fault); /* of the first one, at once; constant after init; or NULL */
    void *argument;                                  /* constant after init */
    char first[256];                                 /* guarded by lock */
};

void faults_init(struct faults *faults, void (*told)(void *argument, const char *fault), void *argument);
__attribute__((format(printf, 2, 3))) void faults_add(struct faults *faults, const char *format, ...);
size_t faults_count(struct faults *faults);

#endif /* STRESS_FAULT_H */
