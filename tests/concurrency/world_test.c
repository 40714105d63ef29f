/* SPDX-License-Identifier: MIT */
/*
 * world_test.c - who waits for the start of the world, whom the stopper waits for, and what a child of a fork has.
 */
#define _GNU_SOURCE /* _Fork() */
#include "concurrency/world.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/concurrency/unit.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define WAITERS 4

static struct shared gone_on;
static struct shared ids[WAITERS];
static size_t plain_word; /* written before the start, read after it */

static void set_stopped(bool stopped) {
    gi_mutex_lock(&gi_the_world.mutex);
    gi_the_world.stopped = stopped;
    pthread_cond_broadcast(&gi_the_world.changed);
    gi_mutex_unlock(&gi_the_world.mutex);
}

static int64_t pending(void) {
    gi_mutex_lock(&gi_the_world.mutex);
    int64_t now = gi_the_world.pending;
    gi_mutex_unlock(&gi_the_world.mutex);
    return now;
}

static void *wait_for_the_start(void *arg) {
    shared_set(arg, (size_t)unit_thread_id());
    gi_world_wait();
    EXPECT_EQ(plain_word, 1);
    shared_add(&gone_on, 1);
    return NULL;
}

static void a_world_that_runs_is_not_waited_for(void) {
    EXPECT(!gi_world_is_free());
    EXPECT(!gi_world_is_mine());
    for (int i = 0; i < 100; i++) {
        gi_world_wait();
    }
    plain_word = 1;
    threads_run(WAITERS, wait_for_the_start, ids, sizeof(ids[0]));
}

static void all_wait_for_the_start(void) {
    pthread_t threads[WAITERS];
    set_stopped(true);
    for (size_t i = 0; i < WAITERS; i++) {
        threads[i] = thread_start(wait_for_the_start, &ids[i]);
    }
    for (size_t i = 0; i < WAITERS; i++) {
        WAIT_UNTIL(shared_get(&ids[i]) != 0);
        WAIT_UNTIL(unit_thread_sleeps((int)shared_get(&ids[i])));
    }
    /* Whatever else changes meanwhile, they wait on. */
    gi_the_world.pending = 1;
    gi_world_left();
    for (int i = 0; i < 200; i++) {
        EXPECT_EQ(shared_get(&gone_on), 0);
        sched_yield();
    }
    plain_word = 1;
    set_stopped(false);
    for (size_t i = 0; i < WAITERS; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(shared_get(&gone_on), WAITERS);
}

static void *leave(void *arg) {
    (void)arg;
    gi_world_left();
    return NULL;
}

static void each_that_leaves_is_counted_once(void) {
    for (int i = 0; i < 20; i++) {
        gi_the_world.pending = WAITERS + 1;
        threads_run(WAITERS, leave, NULL, 0);
        EXPECT_EQ(pending(), 1);
    }
}

static void who_enters_is_waited_for_and_nobody_enters_a_stopped_world(void) {
    EXPECT(gi_world_enter());
    EXPECT(gi_world_enter());
    EXPECT_EQ(pending(), 2);
    set_stopped(true);
    EXPECT(!gi_world_enter());
    EXPECT_EQ(pending(), 2);
    gi_world_left();
    gi_world_left();
    EXPECT_EQ(pending(), 0);
    set_stopped(false);
    EXPECT(gi_world_enter());
    gi_world_left();
}

static void *leave_last(void *arg) {
    shared_set(arg, 1);
    plain_word = 1;
    gi_world_left();
    return NULL;
}

static void the_last_that_leaves_wakes_the_stopper(void) {
    struct shared begun = {0};
    gi_mutex_lock(&gi_the_world.mutex);
    gi_the_world.pending = 1;
    pthread_t thread = thread_start(leave_last, &begun);
    WAIT_UNTIL(shared_get(&begun) == 1);
    while (gi_the_world.pending != 0) {
        pthread_cond_wait(&gi_the_world.changed, &gi_the_world.mutex.mutex);
    }
    EXPECT_EQ(plain_word, 1);
    gi_mutex_unlock(&gi_the_world.mutex);
    thread_join(thread);
}

static void wait_as_the_stopper(void) {
    gi_world_stops = 1;
    gi_world_wait();
}

/* The parent's threads that wait are not in the child, and whoever left was of the parent. */
static void nobody_waits_in_the_child_of_a_fork(void) {
    set_stopped(true);
    pthread_t thread = thread_start(wait_for_the_start, &ids[0]);
    WAIT_UNTIL(shared_get(&ids[0]) != 0);
    WAIT_UNTIL(unit_thread_sleeps((int)shared_get(&ids[0])));
    gi_mutex_lock(&gi_the_world.mutex);
    gi_the_world.pending = 3;
    pid_t pid = _Fork(); /* without the handlers of the library, which take the mutex that is held here */
    EXPECT(pid >= 0);
    if (pid == 0) {
        gi_mutex_unlock(&gi_the_world.mutex);
        gi_world_after_fork_child();
        EXPECT_EQ(pending(), 0);
        set_stopped(false);
        gi_world_wait();
        gi_the_world.pending = 1;
        gi_world_left();
        EXPECT_EQ(pending(), 0);
        _exit(0);
    }
    gi_the_world.pending = 0;
    gi_mutex_unlock(&gi_the_world.mutex);
    int ended = 0;
    EXPECT_EQ(waitpid(pid, &ended, 0), pid);
    EXPECT_EQ(ended, 0);
    plain_word = 1;
    set_stopped(false);
    thread_join(thread);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_world_that_runs_is_not_waited_for),
        IN_CHILD(all_wait_for_the_start),
        IN_CHILD(each_that_leaves_is_counted_once),
        IN_CHILD(who_enters_is_waited_for_and_nobody_enters_a_stopped_world),
        IN_CHILD(the_last_that_leaves_wakes_the_stopper),
        FAILS_ASSERTION(wait_as_the_stopper, "!gi_world_is_mine()"),
        IN_CHILD(nobody_waits_in_the_child_of_a_fork),
    };
    return cmocka_run_group_tests_name("world", tests, NULL, NULL);
}
