/* SPDX-License-Identifier: MIT */
/*
 * fault.c - what broke.  A broken heap may kill the process soon after, so the
 * first fault is told at once.
 *   Owner   the row.  Locks: faults.lock, innermost.
 */
#include "stress/fault.h"

#include <stdarg.h>
#include <stdio.h>

void faults_init(struct faults *faults, void (*told)(void *argument, const char *fault), void *argument) {
    *faults = (struct faults){.told = told, .argument = argument};
    pthread_mutex_init(&faults->lock, NULL);
}

void faults_add(struct faults *faults, const char *format, ...) {
    pthread_mutex_lock(&faults->lock);
    if (faults->count++ == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(faults->first, sizeof faults->first, format, arguments);
        va_end(arguments);
        if (faults->told != NULL) faults->told(faults->argument, faults->first);
    }
    pthread_mutex_unlock(&faults->lock);
}

size_t faults_count(struct faults *faults) {
    pthread_mutex_lock(&faults->lock);
    size_t count = faults->count;
    pthread_mutex_unlock(&faults->lock);
    return count;
}
