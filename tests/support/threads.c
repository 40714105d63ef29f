/* SPDX-License-Identifier: MIT */
/*
 * threads.c - pthread_create and pthread_join, checked.
 */
#include "tests/support/threads.h"

#include "tests/support/expect.h"

pthread_t thread_start(thread_body body, void *arg) {
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

void thread_join(pthread_t thread) { EXPECT_EQ(pthread_join(thread, NULL), 0); }

void threads_run(size_t count, thread_body body, void *args, size_t stride) {
    pthread_t threads[THREADS_MAX];
    EXPECT(count <= THREADS_MAX);
    for (size_t i = 0; i < count; i++) {
        threads[i] = thread_start(body, (char *)args + i * stride);
    }
    for (size_t i = 0; i < count; i++) {
        thread_join(threads[i]);
    }
}
