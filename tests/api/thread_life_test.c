/* SPDX-License-Identifier: MIT */
/*
 * thread_life_test.c - threads are born, allocate, leave live blocks and end; what they leave is whole, usable and
 * freed by others, and memory is bounded by what is alive.
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define LIVES ROUNDS(50000) /* in each mode */
#define AT_ONCE 8
#define KEPT 4

/* What a thread leaves behind. */
struct legacy {
    size_t number; /* of the thread */
    struct {
        void *block;
        size_t size;
    } kept[KEPT];
};

static size_t kept_size(size_t number, size_t i) { return (number * 37 + i * 151) % 600; }

static void *live_and_leave(void *arg) {
    struct legacy *legacy = arg;
    void *blocks[60];
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < 60; i++) {
        const struct domain *domain = &domains[PYMEM_DOMAIN_MEM + i % 2];
        blocks[i] = domain->malloc(i * 13 % 520);
        EXPECT(blocks[i] != NULL);
    }
    for (size_t i = 0; i < KEPT; i++) {
        size_t size = kept_size(legacy->number, i);
        legacy->kept[i].block = PyObject_Malloc(size);
        legacy->kept[i].size = size;
        EXPECT(legacy->kept[i].block != NULL);
        pattern_fill(legacy->kept[i].block, size, (uint32_t)legacy->number);
    }
    for (size_t i = 0; i < 60; i++) {
        domains[PYMEM_DOMAIN_MEM + i % 2].free(blocks[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

static void check_and_free(struct legacy *legacy) {
    for (size_t i = 0; i < KEPT; i++) {
        pattern_check(legacy->kept[i].block, legacy->kept[i].size, (uint32_t)legacy->number);
        EXPECT(gilloc_usable_size(PYMEM_DOMAIN_OBJ, legacy->kept[i].block) >= legacy->kept[i].size);
        if (i % 2 == 0) {
            /* Usable after their thread's death: resized, too. */
            void *block = PyObject_Realloc(legacy->kept[i].block, legacy->kept[i].size + 100);
            EXPECT(block != NULL);
            pattern_check(block, legacy->kept[i].size, (uint32_t)legacy->number);
            PyObject_Free(block);
        } else {
            PyObject_Free(legacy->kept[i].block);
        }
    }
}

static void many_threads_live_and_end(void) {
    static struct legacy legacies[AT_ONCE];
    PyGILState_STATE was = PyGILState_Ensure();
    size_t early = 0;
    for (size_t life = 0; life < LIVES; life += AT_ONCE) {
        for (size_t i = 0; i < AT_ONCE; i++) {
            legacies[i].number = life + i;
        }
        Py_BEGIN_ALLOW_THREADS threads_run(AT_ONCE, live_and_leave, legacies, sizeof(legacies[0]));
        Py_END_ALLOW_THREADS for (size_t i = 0; i < AT_ONCE; i++) { check_and_free(&legacies[i]); }
        if (early == 0 && life >= LIVES / 10) {
            early = memory_resident();
        }
    }
    gilloc_stats stats = memory_stats();
    EXPECT(stats.thread_states_ever >= LIVES);
    EXPECT_EQ(stats.thread_states, 1);
    EXPECT_AT_MOST(stats.arenas_high, 64);
#if PLAIN_BUILD
    /* A sanitizer's own memory grows with each thread. */
    EXPECT_AT_MOST(memory_resident(), early + (8 << 20));
#else
    (void)early;
#endif
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* All that they leave stays alive until the last has ended. */
static void what_they_leave_outlives_them_all(void) {
    size_t lives = ROUNDS(2000) / AT_ONCE * AT_ONCE;
    struct legacy *legacies = calloc(lives, sizeof(legacies[0]));
    EXPECT(legacies != NULL);
    for (size_t life = 0; life < lives; life += AT_ONCE) {
        for (size_t i = 0; i < AT_ONCE; i++) {
            legacies[life + i].number = life + i;
        }
        threads_run(AT_ONCE, live_and_leave, &legacies[life], sizeof(legacies[0]));
    }
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_allocated_blocks(), lives * KEPT);
    /* Pools that one thread left are filled up by the next: about as much memory as if one thread had done it all. */
    gilloc_stats stats = memory_stats();
    EXPECT_AT_MOST(stats.bytes_from_system - stats.bytes_to_system, lives * KEPT * 300 * 2 + (16 << 20));
    for (size_t life = 0; life < lives; life++) {
        check_and_free(&legacies[life]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
    free(legacies);
}

/* Two threads at once: one ends while the other frees what it left and goes on allocating. */
static void *free_and_leave(void *arg) {
    struct legacy *legacy = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    check_and_free(legacy);
    PyGILState_Release(was);
    live_and_leave(arg);
    return NULL;
}

static void threads_end_while_others_free(void) {
    static struct legacy legacies[AT_ONCE];
    threads_run(AT_ONCE, live_and_leave, legacies, sizeof(legacies[0]));
    for (size_t round = 0; round < ROUNDS(300); round++) {
        threads_run(AT_ONCE, free_and_leave, legacies, sizeof(legacies[0]));
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < AT_ONCE; i++) {
        check_and_free(&legacies[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- the end of a thread ---------------------------------------------------------------------- */

static pthread_key_t early_key; /* made before the library's first call, so its destructor runs before the library's */
static pthread_key_t late_key;  /* made after it */
static void *const key_value = &early_key;
static size_t destructors_run; /* by the only thread that is alive then, or joined */

static void use_in_destructor(void *value) {
    EXPECT(value == key_value);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(was, PyGILState_UNLOCKED);
    void *block = PyMem_Malloc(50);
    EXPECT(block != NULL);
    void *large = PyObject_Malloc(1000);
    EXPECT(large != NULL);
    PyMem_Free(block);
    PyObject_Free(large);
    destructors_run++;
    PyGILState_Release(was);
}

static void *end_with_destructors(void *arg) {
    EXPECT_EQ(pthread_setspecific(early_key, key_value), 0);
    EXPECT_EQ(pthread_setspecific(late_key, key_value), 0);
    if (arg != NULL) {
        PyGILState_STATE was = PyGILState_Ensure();
        PyMem_Free(PyMem_Malloc(50));
        PyGILState_Release(was);
    }
    return NULL;
}

/* In a thread that has used the library before, and as the first use. */
static void destructors_may_attach(void) {
    EXPECT_EQ(pthread_key_create(&early_key, use_in_destructor), 0);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(pthread_key_create(&late_key, use_in_destructor), 0);
    for (int i = 0; i < 20; i++) {
        threads_run(1, end_with_destructors, i % 2 == 0 ? &early_key : NULL, 0);
    }
    EXPECT_EQ(destructors_run, 40);
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
}

#if !UNDER_TSAN
/* A destructor that sets its key again and attaches in each round of a thread's end, the last one too, before or after
   the library's own.  Not under ThreadSanitizer: in the last round the thread is gone for it. */
#define STUBBORN 50

static void attach_in_each_round(void *key) {
    EXPECT_EQ(pthread_setspecific(*(pthread_key_t *)key, key), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(was, PyGILState_UNLOCKED);
    PyMem_Free(PyMem_Malloc(16));
    destructors_run++;
    PyGILState_Release(was);
}

static void *end_stubbornly(void *key) {
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(pthread_setspecific(*(pthread_key_t *)key, key), 0);
    return NULL;
}

static void destructors_may_attach_in_each_round(void) {
    static struct legacy legacies[STUBBORN];
    EXPECT_EQ(pthread_key_create(&early_key, attach_in_each_round), 0);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(pthread_key_create(&late_key, attach_in_each_round), 0);
    /* A stack of this size is not kept for the next thread: whatever would still point into it, points nowhere. */
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_attr_init(&attributes), 0);
    EXPECT_EQ(pthread_attr_setstacksize(&attributes, (size_t)64 << 20), 0);
    for (size_t i = 0; i < STUBBORN; i++) {
        pthread_t thread;
        pthread_key_t *key = i % 2 == 0 ? &early_key : &late_key;
        EXPECT_EQ(pthread_create(&thread, &attributes, end_stubbornly, key), 0);
        thread_join(thread);
        EXPECT_EQ(memory_stats().thread_states, 0);
        legacies[i].number = i;
        threads_run(1, live_and_leave, &legacies[i], 0);
    }
    EXPECT_EQ(destructors_run, STUBBORN * PTHREAD_DESTRUCTOR_ITERATIONS);
    EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_allocated_blocks(), STUBBORN * KEPT);
    for (size_t i = 0; i < STUBBORN; i++) {
        check_and_free(&legacies[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}
#endif

#if !UNDER_TSAN
/* A destructor that comes after the library's own in the last round, too, and detaches by another mode than that by
   which it attached: nothing of its thread may be looked for when a grace period is waited for.  ThreadSanitizer: as
   above. */
static void switch_in_each_round(void *key) {
    EXPECT_EQ(pthread_setspecific(*(pthread_key_t *)key, key), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
    PyMem_Free(PyMem_Malloc(16));
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
    destructors_run++;
    PyGILState_Release(was);
}

static void destructors_may_switch_in_each_round(void) {
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(pthread_key_create(&late_key, switch_in_each_round), 0);
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_attr_init(&attributes), 0);
    EXPECT_EQ(pthread_attr_setstacksize(&attributes, (size_t)64 << 20), 0);
    for (size_t i = 0; i < STUBBORN; i++) {
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, &attributes, end_stubbornly, &late_key), 0);
        thread_join(thread);
        PyGILState_STATE was = PyGILState_Ensure();
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
        gilloc_reclaim();
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
        memory_expect_all_back();
        PyGILState_Release(was);
    }
    EXPECT_EQ(destructors_run, STUBBORN * PTHREAD_DESTRUCTOR_ITERATIONS);
    EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
}
#endif

/* A thread that ends detached, with a state of its own making: the state lives on, and another deletes it. */
static void *end_with_a_state(void *arg) {
    PyThreadState **state = arg;
    *state = PyThreadState_New(PyInterpreterState_Main());
    PyEval_RestoreThread(*state);
    PyMem_Free(PyMem_Malloc(10));
    PyEval_SaveThread();
    return NULL;
}

static void a_detached_state_outlives_its_thread(void) {
    PyThreadState *states[4];
    threads_run(4, end_with_a_state, states, sizeof(states[0]));
    EXPECT_EQ(memory_stats().thread_states, 4);
    PyEval_RestoreThread(states[0]);
    PyMem_Free(PyMem_Malloc(10));
    PyEval_SaveThread();
    for (size_t i = 0; i < 4; i++) {
        PyThreadState_Delete(states[i]);
    }
    EXPECT_EQ(memory_stats().thread_states, 0);
}

#if !UNDER_TSAN
/* exit() with other threads alive and attached.  Not under ThreadSanitizer, which reports threads alive then. */
static void *stay_attached(void *arg) {
    PyGILState_Ensure();
    shared_set(arg, 1);
    for (;;) {
        PyMem_Free(PyMem_Malloc(100));
        gilloc_safepoint();
    }
    return NULL;
}

static void start_attached(void) {
    static struct shared started[2];
    thread_start(stay_attached, &started[0]);
    thread_start(stay_attached, &started[1]);
    while (!shared_get(&started[0]) || !shared_get(&started[1])) {
        PyMem_RawFree(PyMem_RawMalloc(10));
    }
}

static void exit_with_threads_running(void) {
    start_attached();
    exit(0);
}

static void exit_at_once_with_threads_running(void) {
    start_attached();
    _exit(0);
}

static void exit_in_a_stopped_world(void) {
    start_attached();
    gilloc_stop_the_world();
    exit(0);
}

static void exit_as_the_attached_stopper(void) {
    start_attached();
    PyGILState_Ensure();
    gilloc_stop_the_world();
    PyMem_Free(PyMem_Malloc(100));
    exit(0);
}

static void *exit_in_thread(void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_stop_the_world();
    exit(0);
}

static void a_thread_exits_in_a_stopped_world(void) {
    start_attached();
    thread_join(thread_start(exit_in_thread, NULL));
}

#if !UNDER_ASAN
/* The main thread ends, its state with it, and the others go on. */
static void *outlive_the_main_thread(void *block) {
    while (memory_stats().thread_states != 2) {
        sched_yield();
    }
    PyGILState_STATE was = PyGILState_Ensure();
    pattern_check(block, 100, 1);
    gilloc_stop_the_world();
    PyMem_Free(block);
    EXPECT_EQ(gilloc_check(), 0);
    gilloc_start_the_world();
    gilloc_reclaim();
    PyGILState_Release(was);
    exit(0);
}

static void the_main_thread_ends_first(void) {
    PyGILState_Ensure();
    void *block = PyMem_Malloc(100);
    EXPECT(block != NULL);
    pattern_fill(block, 100, 1);
    PyEval_SaveThread();
    start_attached();
    thread_start(outlive_the_main_thread, block);
    pthread_exit(NULL);
}
#endif
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(many_threads_live_and_end),
        IN_BOTH_MODES(what_they_leave_outlives_them_all),
        IN_BOTH_MODES(threads_end_while_others_free),
        IN_BOTH_MODES(destructors_may_attach),
#if !UNDER_TSAN
        IN_BOTH_MODES(destructors_may_attach_in_each_round),
        IN_GIL_MODE(destructors_may_switch_in_each_round),
#endif
        IN_BOTH_MODES(a_detached_state_outlives_its_thread),
#if !UNDER_TSAN
        IN_BOTH_MODES(exit_with_threads_running),
        IN_BOTH_MODES(exit_at_once_with_threads_running),
        IN_BOTH_MODES(exit_in_a_stopped_world),
        IN_BOTH_MODES(exit_as_the_attached_stopper),
        IN_BOTH_MODES(a_thread_exits_in_a_stopped_world),
#if !UNDER_ASAN
        /* AddressSanitizer's look for leaks takes what the ended main thread's stack pointed to for lost. */
        IN_BOTH_MODES(the_main_thread_ends_first),
#endif
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
