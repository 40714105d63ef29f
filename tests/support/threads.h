/* SPDX-License-Identifier: MIT */
/*
 * threads.h - starts and joins threads; a failure fails the test.
 */
#ifndef TESTS_SUPPORT_THREADS_H
#define TESTS_SUPPORT_THREADS_H

#include <pthread.h>
#include <stddef.h>

typedef void *(*thread_body)(void *arg);

pthread_t thread_start(thread_body body, void *arg);
/* Waits for its end; the caller is detached, or the thread needs no lock. */
void thread_join(pthread_t thread);
/* Starts `count` threads, thread i with `args` + i * `stride`, and joins them all; the caller is detached. */
void threads_run(size_t count, thread_body body, void *args, size_t stride);

#define THREADS_MAX 64

#endif /* TESTS_SUPPORT_THREADS_H */
