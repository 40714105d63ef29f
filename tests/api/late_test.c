/* SPDX-License-Identifier: MIT */
/*
 * late_test.c - what a stop of the world says of threads that are late.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

enum { LATE = 3 };

static struct shared attached;
static int to_late[2], from_stop[2]; /* pipes: the second one is stderr for a while */
static char said[16384];             /* by the stop */
static size_t length;

/* Attached, and at no safepoint before it is let go. */
static void *be_late(void *unused) {
    PyGILState_STATE state = PyGILState_Ensure();
    shared_add(&attached, 1);
    char byte;
    EXPECT_EQ(read(to_late[0], &byte, 1), 1);
    PyGILState_Release(state);
    return unused;
}

static void read_more(void) {
    ssize_t more = read(from_stop[0], said + length, sizeof(said) - 1 - length);
    length += more > 0 ? (size_t)more : 0;
}

static int reports(void) {
    int count = 0;
    for (const char *text = said; (text = strstr(text, "a thread is late")) != NULL; text++) {
        count++;
    }
    return count;
}

/* Lets them go once all have been reported. */
static void *let_go(void *unused) {
    while (reports() < LATE) {
        read_more();
    }
    EXPECT_EQ(write(to_late[1], "abc", LATE), LATE);
    return unused;
}

static void each_late_thread_is_named_once_and_the_stopper_is_not(void) {
    gilloc_set_stop_deadline(1);
    EXPECT(pipe(to_late) == 0 && pipe(from_stop) == 0);
    int saved_stderr = dup(STDERR_FILENO);
    PyGILState_STATE state = PyGILState_Ensure();
    pthread_t threads[LATE + 1];
    for (size_t i = 0; i < LATE; i++) {
        threads[i] = thread_start(be_late, NULL);
    }
    while (shared_get(&attached) != LATE) {
        usleep(1000);
    }
    threads[LATE] = thread_start(let_go, NULL);
    EXPECT_EQ(dup2(from_stop[1], STDERR_FILENO), STDERR_FILENO);
    gilloc_stop_the_world();
    EXPECT_EQ(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
    gilloc_start_the_world();
    PyGILState_Release(state);
    for (size_t i = 0; i <= LATE; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(fcntl(from_stop[0], F_SETFL, O_NONBLOCK), 0);
    read_more();
    EXPECT_EQ(reports(), LATE);
    gilloc_set_stop_deadline(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FREE_MODE(each_late_thread_is_named_once_and_the_stopper_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
