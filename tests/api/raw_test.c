/* SPDX-License-Identifier: MIT */
/*
 * raw_test.c - the raw domain asks for nothing: legal before the first attach, detached, in any thread, in the child
 * of a fork, while another thread holds the lock.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

/* With debug hooks asked for in the environment the first block of the process has their pads already. */
static void the_first_call_is_as_the_environment_says(void) {
    const char *asked = getenv("PYTHONMALLOC");
    unsigned char *block = PyMem_RawMalloc(100);
    EXPECT(block != NULL);
    if (asked != NULL && strcmp(asked, "debug") == 0) {
        EXPECT_EQ(block[-8], 'r');
        EXPECT_EQ(block[100], 0xFD);
    }
    PyMem_RawFree(block);
}

static void use_raw(void) {
    const struct domain *raw = &domains[PYMEM_DOMAIN_RAW];
    struct shadow shadow;
    shadow_init(&shadow, 1);
    for (size_t size = 0; size < 2000; size += 7) {
        shadow_add(&shadow, raw, raw->malloc(size), size);
        shadow_add(&shadow, raw, raw->calloc(size, 3), size * 3);
        struct shadow_block *block = shadow_add(&shadow, raw, raw->malloc(size), size);
        shadow_resized(&shadow, block, raw->realloc(block->at, 2 * size), 2 * size);
        shadow_resized(&shadow, block, raw->realloc(block->at, size / 2), size / 2);
        EXPECT(gilloc_usable_size(PYMEM_DOMAIN_RAW, block->at) >= size / 2);
        gilloc_free_sized(PYMEM_DOMAIN_RAW, shadow_remove(&shadow, block), size / 2);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
    raw->free(NULL);
}

static void *use_raw_in_thread(void *arg) {
    (void)arg;
    use_raw();
    return NULL;
}

static void before_the_first_attach(void) {
    use_raw();
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.thread_states_ever, 0);
    EXPECT_EQ(stats.arenas_acquired, 0);
    /* And the mode is still open. */
    EXPECT_EQ(gilloc_set_mode(gilloc_get_mode()), 0);
}

static void detached_and_in_other_threads(void) {
    PyGILState_Release(PyGILState_Ensure());
    use_raw();
    threads_run(4, use_raw_in_thread, NULL, 0);
}

static void while_another_thread_holds_the_lock(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    /* Joined while attached: a raw call that wanted the lock would wait for ever. */
    threads_run(2, use_raw_in_thread, NULL, 0);
    PyGILState_Release(was);
}

static void blocks_go_between_attached_and_detached(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *block = PyMem_RawMalloc(100);
    EXPECT(block != NULL);
    PyGILState_Release(was);
    block = PyMem_RawRealloc(block, 1000);
    EXPECT(block != NULL);
    was = PyGILState_Ensure();
    PyMem_RawFree(block);
    PyGILState_Release(was);
}

struct noise {
    struct shared stop;
    struct shared rounds;
};

static void *make_noise(void *arg) {
    struct noise *noise = arg;
    while (!shared_get(&noise->stop)) {
        PyGILState_STATE was = PyGILState_Ensure();
        void *block = PyObject_Malloc(64);
#if !UNDER_ASAN
        /* AddressSanitizer's malloc, unlike the system's, does not take its locks for a fork. */
        PyMem_RawFree(PyMem_RawMalloc(64));
#endif
        PyObject_Free(block);
        PyGILState_Release(was);
        shared_add(&noise->rounds, 1);
    }
    return NULL;
}

/* A plain fork() by a thread that the library does not know, without the functions for it, while others are busy. */
static void in_the_child_of_a_plain_fork(void) {
    struct noise noises[2] = {{.stop = {0}}, {.stop = {0}}};
    pthread_t threads[2] = {thread_start(make_noise, &noises[0]), thread_start(make_noise, &noises[1])};
    while (shared_get(&noises[0].rounds) < 10 || shared_get(&noises[1].rounds) < 10) {
        sched_yield();
    }
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            use_raw();
            _exit(0);
        }
        int status;
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT_EQ(status, 0);
    }
    for (size_t i = 0; i < 2; i++) {
        shared_set(&noises[i].stop, 1);
        thread_join(threads[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_OPEN_MODE(the_first_call_is_as_the_environment_says),
        IN_OPEN_MODE(before_the_first_attach),
        IN_BOTH_MODES(detached_and_in_other_threads),
        IN_BOTH_MODES(while_another_thread_holds_the_lock),
        IN_BOTH_MODES(blocks_go_between_attached_and_detached),
        IN_BOTH_MODES(in_the_child_of_a_plain_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
