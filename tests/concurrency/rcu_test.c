/* SPDX-License-Identifier: MIT */
/*
 * rcu_test.c - a grace period waits for whoever is online, and for nobody else; and starts no thread.
 *   "It waits" is shown in two ways: a thread in gi_rcu_synchronize() is seen asleep and not back, and the plain words
 *   that it writes afterwards are read before by the online thread (ThreadSanitizer sees whether that is ordered).
 */
#define _GNU_SOURCE /* _Fork() */
#include "concurrency/rcu.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concurrency/atomic.h"
#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static __thread gi_rcu_reader mine;

static void here(void) { mine = gi_rcu_register(); }

/* --- one thread that waits -------------------------------------------------------------------- */

static struct shared waiter_id, waiter_done;

static void *synchronize(void *arg) {
    (void)arg;
    here();
    shared_set(&waiter_id, (size_t)unit_thread_id());
    gi_rcu_synchronize();
    shared_set(&waiter_done, 1);
    gi_rcu_unregister();
    return NULL;
}

/* Starts a grace period in another thread, which waits for this one, who is online.  It sleeps only in the end, so that
   it is seen asleep again and again before it is believed. */
static pthread_t start_waiter(void) {
    shared_set(&waiter_id, 0);
    shared_set(&waiter_done, 0);
    pthread_t thread = thread_start(synchronize, NULL);
    WAIT_UNTIL(shared_get(&waiter_id) != 0);
    for (int seen = 0; seen < 20; sched_yield()) {
        EXPECT_EQ(shared_get(&waiter_done), 0);
        seen += unit_thread_sleeps((int)shared_get(&waiter_id));
    }
    EXPECT_EQ(shared_get(&waiter_done), 0);
    return thread;
}

static void finish_waiter(pthread_t thread) {
    thread_join(thread);
    EXPECT_EQ(shared_get(&waiter_done), 1);
}

static void a_grace_period_waits_until_the_online_thread_is_quiescent(void) {
    here();
    gi_rcu_online(mine);
    for (size_t i = 0; i < 20; i++) {
        pthread_t thread = start_waiter();
        gi_rcu_quiescent();
        finish_waiter(thread);
    }
    gi_rcu_offline(mine);
    gi_rcu_unregister();
}

static void a_grace_period_waits_until_the_online_thread_is_offline(void) {
    here();
    for (size_t i = 0; i < 20; i++) {
        gi_rcu_online(mine);
        pthread_t thread = start_waiter();
        gi_rcu_offline(mine);
        finish_waiter(thread);
    }
    gi_rcu_unregister();
}

static void a_grace_period_waits_until_the_online_thread_unregisters(void) {
    here();
    gi_rcu_online(mine);
    pthread_t thread = start_waiter();
    gi_rcu_unregister();
    finish_waiter(thread);
}

/* A quiescent state may be left out exactly if nobody waits for it. */
static void who_is_waited_for_is_not_quiet(void) {
    here();
    gi_rcu_reader reader = mine;
    for (size_t i = 0; i < 20; i++) {
        gi_rcu_online(mine);
        EXPECT(gi_rcu_is_quiet(reader) == !UNDER_TSAN); /* which must be told of each */
        pthread_t thread = start_waiter();
        EXPECT(!gi_rcu_is_quiet(reader));
        gi_rcu_quiescent();
        finish_waiter(thread);
        EXPECT(gi_rcu_is_quiet(reader) == !UNDER_TSAN);
        gi_rcu_offline(mine);
        EXPECT(!gi_rcu_is_quiet(reader));
    }
    gi_rcu_unregister();
}

/* --- threads that do not delay it ------------------------------------------------------------- */

static void offline_threads_do_not_delay(void) {
    here(); /* and is offline by that */
    for (size_t i = 0; i < ROUNDS(1000); i++) {
        gi_rcu_synchronize();
    }
    thread_join(thread_start(synchronize, NULL)); /* this thread does nothing for it */
    EXPECT_EQ(shared_get(&waiter_done), 1);
    gi_rcu_online(mine);
    gi_rcu_offline(mine);
    thread_join(thread_start(synchronize, NULL));
    gi_rcu_unregister();
    thread_join(thread_start(synchronize, NULL));
}

static void an_online_caller_is_quiescent_by_it(void) {
    here();
    gi_rcu_online(mine);
    for (size_t i = 0; i < ROUNDS(1000); i++) {
        gi_rcu_synchronize();
    }
    /* And online afterwards: others wait for it. */
    pthread_t thread = start_waiter();
    gi_rcu_quiescent();
    finish_waiter(thread);
    gi_rcu_offline(mine);
    gi_rcu_unregister();
}

/* --- what it is for --------------------------------------------------------------------------- */

#define READERS 3
#define GRACE_PERIODS ROUNDS(2000)

typedef struct node {
    size_t alive; /* plain: 1, and 0 only after a grace period without it */
} node;

static gi_atomic(node *) current;
static struct shared writing;

static void *read_nodes(void *arg) {
    size_t *reads = arg;
    here();
    while (shared_get(&writing) != 0) {
        gi_rcu_online(mine);
        for (int i = 0; i < 50; i++) {
            /* order(test): acquire; pairs with release in replace_nodes(). */
            const node *at = gi_load_acquire(&current);
            for (int j = 0; j < 3; j++) {
                EXPECT_EQ(at->alive, 1);
            }
            (*reads)++;
            if (i % 8 == 0) {
                sched_yield();
            }
            EXPECT_EQ(at->alive, 1);
            gi_rcu_quiescent();
        }
        gi_rcu_offline(mine);
    }
    gi_rcu_unregister();
    return NULL;
}

static node *new_node(void) {
    node *made = malloc(sizeof(node));
    EXPECT(made != NULL);
    made->alive = 1;
    return made;
}

static void *replace_nodes(void *arg) {
    (void)arg;
    here();
    for (size_t i = 0; i < GRACE_PERIODS; i++) {
        node *old = gi_load_relaxed(&current);
        /* order(test): release; pairs with acquire in read_nodes(). */
        gi_store_release(&current, new_node());
        gi_rcu_synchronize();
        old->alive = 0;
        free(old);
    }
    shared_set(&writing, 0);
    gi_rcu_unregister();
    return NULL;
}

static void what_readers_see_stays_valid(void) {
    size_t reads[READERS][8] = {{0}}; /* a cache line each */
    pthread_t readers[READERS];
    gi_store_relaxed(&current, new_node());
    shared_set(&writing, 1);
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = thread_start(read_nodes, reads[i]);
    }
    thread_join(thread_start(replace_nodes, NULL));
    for (size_t i = 0; i < READERS; i++) {
        thread_join(readers[i]);
    }
    free(gi_load_relaxed(&current));
}

/* --- threads, fork ---------------------------------------------------------------------------- */

static struct shared stay;

static void *stay_online(void *arg) {
    (void)arg;
    here();
    gi_rcu_online(mine);
    shared_set(&stay, 1);
    while (shared_get(&stay) == 1) {
        gi_rcu_quiescent();
        sched_yield();
    }
    gi_rcu_unregister();
    return NULL;
}

static void no_thread_is_started(void) {
    pthread_t other = thread_start(stay_online, NULL); /* a sanitizer may start one of its own with the first */
    WAIT_UNTIL(shared_get(&stay) == 1);
    int before = unit_threads();
    here();
    gi_rcu_online(mine);
    for (int i = 0; i < 100; i++) {
        gi_rcu_quiescent();
        gi_rcu_synchronize();
    }
    gi_rcu_offline(mine);
    gi_rcu_synchronize();
    gi_rcu_unregister();
    EXPECT_EQ(unit_threads(), before);
    shared_set(&stay, 2);
    thread_join(other);
}

static void *register_and_unregister(void *arg) {
    struct shared *registered = arg;
    here();
    shared_set(registered, 1);
    gi_rcu_unregister();
    return NULL;
}

static void nobody_registers_around_a_fork(void) {
    struct shared registered = {0};
    gi_rcu_before_fork();
    pthread_t thread = thread_start(register_and_unregister, &registered);
    for (int i = 0; i < 1000; i++) {
        EXPECT_EQ(shared_get(&registered), 0);
        sched_yield();
    }
    gi_rcu_after_fork();
    thread_join(thread);
    EXPECT_EQ(shared_get(&registered), 1);
}

/* True in the child.  Without the handlers of the library, whose locks rank below that held here. */
static bool in_child(pid_t *pid) {
    gi_rcu_before_fork();
    *pid = _Fork();
    gi_rcu_after_fork();
    return *pid == 0;
}

static void expect_child_well(pid_t pid) {
    int ended = 0;
    EXPECT(pid > 0);
    EXPECT_EQ(waitpid(pid, &ended, 0), pid);
    EXPECT_EQ(ended, 0);
}

static void a_child_whose_parent_was_alone_has_grace_periods(void) {
    pid_t pid;
    here();
    gi_rcu_online(mine);
    if (in_child(&pid)) {
        gi_rcu_after_fork_child();
        gi_rcu_synchronize();
        gi_rcu_quiescent();
        gi_rcu_offline(mine);
        gi_rcu_synchronize();
        gi_rcu_unregister();
        _exit(0);
    }
    expect_child_well(pid);
    gi_rcu_unregister();
    if (in_child(&pid)) {
        gi_rcu_after_fork_child();
        here();
        gi_rcu_synchronize();
        gi_rcu_unregister();
        _exit(0);
    }
    expect_child_well(pid);
}

/* Others are online for ever in the child: nothing waits for them. */
static void a_child_without_the_other_threads_has_grace_periods(void) {
    for (int registered = 0; registered < 2; registered++) {
        shared_set(&stay, 0);
        pthread_t other = thread_start(stay_online, NULL);
        WAIT_UNTIL(shared_get(&stay) == 1);
        if (registered != 0) {
            here();
            gi_rcu_online(mine);
        }
        pid_t pid;
        if (in_child(&pid)) {
            gi_rcu_after_fork_child();
            if (registered == 0) {
                here();
                gi_rcu_online(mine);
            }
            gi_rcu_quiescent();
            gi_rcu_synchronize();
            gi_rcu_offline(mine);
            gi_rcu_online(mine);
            gi_rcu_synchronize();
            gi_rcu_unregister();
            _exit(0);
        }
        expect_child_well(pid);
        if (registered != 0) {
            gi_rcu_unregister();
        }
        shared_set(&stay, 2);
        thread_join(other);
    }
}

/* The parent's other threads are in the registry, and the child lacks them. */
#define OTHERS 8
static struct shared registered_others;
static pthread_barrier_t may_end;

static void *stay_registered(void *unused) {
    (void)unused;
    here();
    gi_rcu_online(mine);
    gi_rcu_offline(mine);
    shared_add(&registered_others, 1);
    pthread_barrier_wait(&may_end);
    gi_rcu_unregister();
    return NULL;
}

static void go_through_all_states(void) {
    gi_rcu_online(mine);
    gi_rcu_quiescent();
    gi_rcu_synchronize();
    gi_rcu_offline(mine);
    gi_rcu_synchronize();
}

#if !UNDER_TSAN
/* ThreadSanitizer ends a process that starts a thread after the fork of one that had threads. */
static pthread_barrier_t all_alive;

static void *register_in_the_child(void *unused) {
    (void)unused;
    here();
    go_through_all_states();
    pthread_barrier_wait(&all_alive);
    gi_rcu_online(mine);
    gi_rcu_unregister();
    return NULL;
}

static void start_threads_in_the_child(void) {
    EXPECT_EQ(pthread_barrier_init(&all_alive, NULL, OTHERS), 0);
    for (int i = 0; i < 10; i++) {
        threads_run(OTHERS, register_in_the_child, NULL, 0);
    }
}
#else
static void start_threads_in_the_child(void) {}
#endif

static void fork_registered(bool registered) {
    pid_t pid = fork(); /* the library's handlers are around it */
    EXPECT(pid >= 0);
    if (pid == 0) {
        gi_rcu_after_fork_child();
        if (!registered) {
            here();
        }
        go_through_all_states();
        start_threads_in_the_child();
        go_through_all_states();
        gi_rcu_unregister();
        here();
        start_threads_in_the_child();
        gi_rcu_unregister();
        _exit(0);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

static void the_child_of_a_fork_lacks_the_others(void) {
    pthread_t threads[OTHERS];
    EXPECT_EQ(pthread_barrier_init(&may_end, NULL, OTHERS + 1), 0);
    for (size_t i = 0; i < OTHERS; i++) {
        threads[i] = thread_start(stay_registered, NULL);
    }
    WAIT_UNTIL(shared_get(&registered_others) == OTHERS);
    fork_registered(false);
    here();
    fork_registered(true);
    gi_rcu_unregister();
    pthread_barrier_wait(&may_end);
    for (size_t i = 0; i < OTHERS; i++) {
        thread_join(threads[i]);
    }
    /* The parent goes on: it has grace periods. */
    thread_join(thread_start(synchronize, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_grace_period_waits_until_the_online_thread_is_quiescent),
        IN_CHILD(a_grace_period_waits_until_the_online_thread_is_offline),
        IN_CHILD(a_grace_period_waits_until_the_online_thread_unregisters),
        IN_CHILD(who_is_waited_for_is_not_quiet),
        IN_CHILD(offline_threads_do_not_delay),
        IN_CHILD(an_online_caller_is_quiescent_by_it),
        IN_CHILD(what_readers_see_stays_valid),
        IN_CHILD(no_thread_is_started),
        IN_CHILD(nobody_registers_around_a_fork),
        IN_CHILD(the_child_of_a_fork_lacks_the_others),
        IN_CHILD(a_child_whose_parent_was_alone_has_grace_periods),
        IN_CHILD(a_child_without_the_other_threads_has_grace_periods),
    };
    return cmocka_run_group_tests_name("rcu", tests, NULL, NULL);
}
