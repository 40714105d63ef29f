/* SPDX-License-Identifier: MIT */
/*
 * world_test.c - gilloc_stop_the_world() and gilloc_start_the_world(): while one thread has stopped the world nobody
 *   else is attached, attaching waits, and what needs no thread state goes on.
 *   Busy threads count in plain words, which the stopper reads and writes: ThreadSanitizer sees whether that is
 *   ordered.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/runtime_lock.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static struct shared running; /* others go on while it is not 0 */

static void yield_often(void) {
    for (int i = 0; i < 20; i++) {
        sched_yield();
    }
}

/* --- busy threads ----------------------------------------------------------------------------- */

#define BUSY 3
#define STOPS ROUNDS(600)

/* Plain: each is written by its thread, attached, and by who has stopped the world. */
static struct {
    size_t count;
    void *block;
    size_t size;
    char apart[128];
} busy[BUSY];

static void count_and_allocate(size_t number, size_t round) {
    size_t before = busy[number].count;
    PyObject_Free(busy[number].block);
    busy[number].size = round * 7 % 600;
    busy[number].block = PyObject_Malloc(busy[number].size);
    EXPECT(busy[number].block != NULL);
    pattern_fill(busy[number].block, busy[number].size, (uint32_t)number);
    EXPECT_EQ(busy[number].count, before);
    busy[number].count = before + 1;
}

static void *stay_busy(void *arg) {
    size_t number = (size_t)((char *)arg - (char *)busy) / sizeof(busy[0]);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; shared_get(&running) != 0; i++) {
        count_and_allocate(number, i);
        gilloc_safepoint();
        if (i % 64 == 0) {
            Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS
        }
    }
    PyObject_Free(busy[number].block);
    busy[number].block = NULL;
    PyGILState_Release(was);
    return NULL;
}

/* The states of its threads come and go. */
static void *be_born_and_die(void *arg) {
    size_t number = (size_t)((char *)arg - (char *)busy) / sizeof(busy[0]);
    for (size_t i = 0; shared_get(&running) != 0; i++) {
        PyGILState_STATE was = PyGILState_Ensure();
        count_and_allocate(number, i);
        PyGILState_Release(was);
        PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
        EXPECT(state != NULL);
        if (i % 2 == 0) {
            PyEval_RestoreThread(state);
            count_and_allocate(number, i);
            PyThreadState_DeleteCurrent();
        } else {
            PyThreadState_Delete(state);
        }
    }
    PyGILState_STATE was = PyGILState_Ensure();
    PyObject_Free(busy[number].block);
    busy[number].block = NULL;
    PyGILState_Release(was);
    return NULL;
}

static void *live_once(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    size_t number = (size_t)((char *)arg - (char *)busy) / sizeof(busy[0]);
    count_and_allocate(number, number + 3);
    PyGILState_Release(was);
    return NULL;
}

/* Whole threads come and go. */
static void *start_threads(void *arg) {
    while (shared_get(&running) != 0) {
        threads_run(1, live_once, arg, 0);
    }
    size_t number = (size_t)((char *)arg - (char *)busy) / sizeof(busy[0]);
    PyGILState_STATE was = PyGILState_Ensure();
    PyObject_Free(busy[number].block);
    busy[number].block = NULL;
    PyGILState_Release(was);
    return NULL;
}

static const thread_body bodies[BUSY] = {stay_busy, be_born_and_die, start_threads};

/* Nobody else is attached: their words stand still, and their blocks are the stopper's to read and write. */
static void look_at_all(size_t round) {
    size_t counts[BUSY];
    for (size_t i = 0; i < BUSY; i++) {
        counts[i] = busy[i].count++;
        if (busy[i].block != NULL) {
            pattern_check(busy[i].block, busy[i].size, (uint32_t)i);
            memset(busy[i].block, 0, busy[i].size);
            pattern_fill(busy[i].block, busy[i].size, (uint32_t)i);
        }
    }
    if (round % 8 == 0) {
        yield_often();
    }
    for (size_t i = 0; i < BUSY; i++) {
        EXPECT_EQ(busy[i].count, counts[i] + 1);
    }
}

static void stop_beside_others(int attached) {
    pthread_t threads[BUSY];
    shared_set(&running, 1);
    for (size_t i = 0; i < BUSY; i++) {
        threads[i] = thread_start(bodies[i], &busy[i]);
    }
    PyGILState_STATE was = PyGILState_LOCKED;
    uint64_t stops = memory_stats().world_stops;
    for (size_t i = 0; i < STOPS; i++) {
        if (attached) {
            was = PyGILState_Ensure();
        }
        gilloc_stop_the_world();
        EXPECT_EQ(PyGILState_Check(), attached);
        look_at_all(i);
        if (i % 64 == 0) {
            EXPECT_EQ(gilloc_check(), 0); /* stops the world again */
            look_at_all(i);
        }
        if (attached) {
            void *block = PyMem_Malloc(i % 513);
            EXPECT(block != NULL);
            gilloc_safepoint();
            look_at_all(i);
            PyMem_Free(block);
        }
        gilloc_start_the_world();
        if (attached) {
            PyGILState_Release(was);
        }
    }
    EXPECT_EQ(memory_stats().world_stops, stops + STOPS);
    shared_set(&running, 0);
    for (size_t i = 0; i < BUSY; i++) {
        thread_join(threads[i]);
        EXPECT(busy[i].count > STOPS);
    }
    was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void nobody_else_is_attached(void) { stop_beside_others(1); }
static void nobody_is_attached_beside_a_detached_stopper(void) { stop_beside_others(0); }

/* --- who waits -------------------------------------------------------------------------------- */

static struct shared begun, done;

static void *attach_once(void *unused) {
    (void)unused;
    shared_add(&begun, 1);
    PyGILState_STATE was = PyGILState_Ensure();
    shared_add(&done, 1);
    PyGILState_Release(was);
    return NULL;
}

static void *restore_once(void *state) {
    shared_add(&begun, 1);
    PyEval_RestoreThread(state);
    shared_add(&done, 1);
    PyMem_Free(PyMem_Malloc(100));
    PyEval_SaveThread();
    return NULL;
}

static void *delete_once(void *state) {
    shared_add(&begun, 1);
    PyThreadState_Delete(state);
    shared_add(&done, 1);
    return NULL;
}

static pthread_barrier_t in_place;

/* A thread that PyGILState_Ensure() made no state for keeps none; one that has lent its state ends with it. */
static void *end_with_a_state(void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyEval_SaveThread();
    pthread_barrier_wait(&in_place);
    pthread_barrier_wait(&in_place);
    shared_add(&begun, 1);
    return NULL; /* its end deletes the state */
}

static void attaching_deleting_and_ending_wait(void) {
    EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
    for (int attached = 0; attached < 2; attached++) {
        shared_set(&begun, 0);
        shared_set(&done, 0);
        PyThreadState *lent = PyThreadState_New(PyInterpreterState_Main());
        PyThreadState *doomed = PyThreadState_New(PyInterpreterState_Main());
        pthread_t threads[5];
        threads[4] = thread_start(end_with_a_state, NULL);
        pthread_barrier_wait(&in_place);
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        gilloc_stop_the_world();
        uint64_t states = memory_stats().thread_states;
        threads[0] = thread_start(attach_once, NULL);
        threads[1] = thread_start(restore_once, lent);
        threads[2] = thread_start(delete_once, doomed);
        PyThreadState *born = PyThreadState_New(PyInterpreterState_Main()); /* in the stopped world, which it can be */
        EXPECT(born != NULL);
        threads[3] = thread_start(restore_once, born);
        pthread_barrier_wait(&in_place);
        while (shared_get(&begun) != 5) {
            sched_yield();
        }
        yield_often();
        EXPECT_EQ(shared_get(&done), 0);
        EXPECT_AT_MOST(memory_stats().thread_states, states + 2); /* none has gone: one is born here, one in a thread */
        EXPECT(memory_stats().thread_states > states);
        gilloc_start_the_world();
        if (attached) {
            PyGILState_Release(was);
        }
        for (size_t i = 0; i < 5; i++) {
            thread_join(threads[i]);
        }
        EXPECT_EQ(shared_get(&done), 4);
        PyThreadState_Delete(lent);
        PyThreadState_Delete(born);
        EXPECT_EQ(memory_stats().thread_states, 0);
    }
}

/* The stopper makes and deletes states, attached or not. */
static void the_stopper_deletes_states(void) {
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = PyGILState_Ensure();
        PyThreadState *mine = PyThreadState_Get(), *state = PyThreadState_New(PyInterpreterState_Main());
        PyThreadState_Swap(state);
        void *block = PyMem_Malloc(100), *other = PyMem_Malloc(100);
        pattern_fill(block, 100, 1);
        PyMem_Free(other);
        PyThreadState_Swap(attached ? mine : NULL);
        gilloc_stop_the_world();
        PyThreadState_Delete(PyThreadState_New(PyInterpreterState_Main()));
        if (attached) {
            PyThreadState_Clear(state);
        }
        PyThreadState_Delete(state);
        EXPECT_EQ(memory_stats().thread_states, 1);
        EXPECT_EQ(gilloc_check(), 0);
        gilloc_start_the_world();
        PyThreadState_Swap(mine);
        pattern_check(block, 100, 1);
        PyMem_Free(block);
        memory_expect_all_back();
        PyGILState_Release(was);
    }
}

/* --- what goes on ----------------------------------------------------------------------------- */

static void *use_what_needs_no_state(void *unused) {
    (void)unused;
    for (int i = 0; i < 50; i++) {
        void *block = PyMem_RawMalloc(100);
        EXPECT(block != NULL);
        block = PyMem_RawRealloc(block, 1000);
        EXPECT(block != NULL);
        PyMem_RawFree(block);
        block = PyMem_RawCalloc(10, 10);
        EXPECT(block != NULL);
        PyMem_RawFree(block);
        memory_stats();
        gilloc_allocated_blocks();
        gilloc_purge();
        EXPECT_EQ(PyGILState_Check(), 0);
        EXPECT(PyThreadState_GetUnchecked() == NULL);
        EXPECT(PyThreadState_New(PyInterpreterState_Main()) != NULL);
        EXPECT(PyInterpreterState_Main() != NULL);
        gilloc_get_mode();
        gilloc_set_switch_interval(5000);
    }
    return NULL;
}

/* While they do, the stopper allocates and frees, and checks the heap. */
static void what_needs_no_state_goes_on(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    struct shadow shadow;
    shadow_init(&shadow, 1);
    pthread_t threads[3];
    gilloc_stop_the_world();
    for (size_t i = 0; i < 3; i++) {
        threads[i] = thread_start(use_what_needs_no_state, NULL);
    }
    for (size_t round = 0; round < 5; round++) {
        for (size_t i = 0; i < 200; i++) {
            const struct domain *domain = &domains[i % DOMAINS];
            shadow_add(&shadow, domain, domain->malloc(i * 3), i * 3);
        }
        EXPECT_EQ(gilloc_check(), 0);
        shadow_free_all(&shadow);
        gilloc_purge();
    }
    for (size_t i = 0; i < 3; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(memory_stats().thread_states, 1 + 3 * 50);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    gilloc_start_the_world();
    shadow_fini(&shadow);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* The lock is of no use to who waits for it: it could not be attached. */
static void the_stopper_keeps_the_lock_at_safepoints(void) {
    gilloc_set_switch_interval(1);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stop_the_world();
    pthread_t thread = thread_start(attach_once, NULL);
    for (size_t asked = 1; asked <= 5; asked++) {
        size_t before = memory_stats().lock_drop_requests;
        while (memory_stats().lock_drop_requests == before) {
            sched_yield();
        }
        gilloc_safepoint();
        EXPECT_EQ(memory_stats().lock_handoffs, 0);
    }
    gilloc_start_the_world();
    PyGILState_Release(was);
    thread_join(thread);
}

static void *purge_once(void *unused) {
    gilloc_purge();
    return unused;
}

/* What an idle cache holds stays there while the world is stopped, and goes back afterwards. */
static void a_purge_in_a_stopped_world_leaves_caches_alone(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *mine = PyThreadState_Get(), *idle = PyThreadState_New(PyInterpreterState_Main());
    PyThreadState_Swap(idle);
    for (size_t size = 16; size <= SMALL_LIMIT; size += 16) {
        PyObject_Free(PyObject_Malloc(size));
    }
    PyThreadState_Swap(mine);
    gilloc_stop_the_world();
    size_t pools = memory_stats().pools;
    EXPECT(pools >= SMALL_LIMIT / 16);
    thread_join(thread_start(purge_once, NULL));
    EXPECT_EQ(memory_stats().pools, pools);
    gilloc_start_the_world();
    PyEval_SaveThread();
    thread_join(thread_start(purge_once, NULL));
    EXPECT_EQ(memory_stats().pools, 0);
    PyEval_RestoreThread(mine);
    PyThreadState_Delete(idle);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* Detached threads purge and count while the heap is walked: they leave the caches alone. */
#define STATES 12

static void *purge_and_count(void *unused) {
    (void)unused;
    while (shared_get(&running) != 0) {
        gilloc_purge();
        gilloc_allocated_blocks();
    }
    return NULL;
}

static void a_walk_beside_purges(void) {
    PyThreadState *states[STATES];
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *mine = PyThreadState_Get();
    for (size_t i = 0; i < STATES; i++) {
        states[i] = PyThreadState_New(PyInterpreterState_Main());
    }
    shared_set(&running, 1);
    pthread_t threads[] = {thread_start(purge_and_count, NULL), thread_start(purge_and_count, NULL)};
    for (size_t round = 0; round < ROUNDS(60); round++) {
        for (size_t i = 0; i < STATES; i++) {
            void *blocks[64];
            PyThreadState_Swap(states[i]);
            for (size_t j = 0; j < 64; j++) {
                blocks[j] = PyObject_Malloc(j * 8);
                EXPECT(blocks[j] != NULL);
            }
            for (size_t j = 0; j < 64; j++) {
                PyObject_Free(blocks[j]);
            }
        }
        PyThreadState_Swap(mine);
        gilloc_stop_the_world();
        EXPECT_EQ(gilloc_check(), 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        gilloc_start_the_world();
        EXPECT_EQ(gilloc_check(), 0);
    }
    shared_set(&running, 0);
    thread_join(threads[0]);
    thread_join(threads[1]);
    for (size_t i = 0; i < STATES; i++) {
        PyThreadState_Delete(states[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void *stay_detached(void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *state = PyEval_SaveThread();
    pthread_barrier_wait(&in_place);
    EXPECT_EQ(PyGILState_Check(), 0);
    pthread_barrier_wait(&in_place);
    EXPECT_EQ(PyGILState_Check(), 0);
    PyEval_RestoreThread(state);
    PyGILState_Release(was);
    return NULL;
}

static void who_is_detached_stays_so(void) {
    EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    pthread_t thread = thread_start(stay_detached, NULL);
    Py_BEGIN_ALLOW_THREADS pthread_barrier_wait(&in_place);
    Py_END_ALLOW_THREADS gilloc_stop_the_world();
    pthread_barrier_wait(&in_place);
    yield_often();
    gilloc_start_the_world();
    PyGILState_Release(was);
    thread_join(thread);
}

/* --- nested, and several at once -------------------------------------------------------------- */

static void stops_nest(void) {
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        uint64_t stops = memory_stats().world_stops;
        shared_set(&done, 0);
        for (int i = 0; i < 5; i++) {
            gilloc_stop_the_world();
        }
        EXPECT_EQ(memory_stats().world_stops, stops + 1);
        pthread_t thread = thread_start(attach_once, NULL);
        for (int i = 0; i < 5; i++) {
            yield_often();
            EXPECT_EQ(shared_get(&done), 0);
            gilloc_start_the_world();
        }
        if (attached) {
            PyGILState_Release(was);
        }
        thread_join(thread);
        EXPECT_EQ(shared_get(&done), 1);
    }
}

#define STOPPERS 4
static size_t stopped_by; /* plain: by the stopper */
static size_t stops_done;

/* Odd ones are attached, even ones detached. */
static void *stop_again_and_again(void *arg) {
    size_t number = (size_t)((struct shared *)arg)->value;
    PyGILState_STATE was = number % 2 != 0 ? PyGILState_Ensure() : PyGILState_LOCKED;
    for (size_t i = 0; i < STOPS; i++) {
        gilloc_stop_the_world();
        EXPECT_EQ(stopped_by, 0);
        stopped_by = number;
        gilloc_stop_the_world();
        if (i % 16 == 0) {
            yield_often();
        }
        EXPECT_EQ(stopped_by, number);
        gilloc_start_the_world();
        stopped_by = 0;
        stops_done++;
        gilloc_start_the_world();
        if (number % 2 != 0) {
            PyMem_Free(PyMem_Malloc(i % 600));
            gilloc_safepoint();
        }
    }
    if (number % 2 != 0) {
        PyGILState_Release(was);
    }
    return NULL;
}

static void several_threads_stop(void) {
    static struct shared numbers[STOPPERS];
    for (size_t i = 0; i < STOPPERS; i++) {
        numbers[i].value = i + 1;
    }
    shared_set(&running, 1);
    pthread_t thread = thread_start(stay_busy, &busy[0]);
    threads_run(STOPPERS, stop_again_and_again, numbers, sizeof(numbers[0]));
    shared_set(&running, 0);
    thread_join(thread);
    EXPECT_EQ(stops_done, STOPPERS * STOPS);
}

/* --- several interpreters --------------------------------------------------------------------- */

static struct shared made;

static void *be_busy_elsewhere(void *arg) {
    PyInterpreterState *interpreter = arg;
    PyThreadState *state = PyThreadState_New(interpreter);
    EXPECT(state != NULL);
    PyEval_RestoreThread(state);
    shared_add(&made, 1);
    for (size_t i = 0; shared_get(&running) != 0; i++) {
        count_and_allocate(1, i);
        gilloc_safepoint();
    }
    PyObject_Free(busy[1].block);
    busy[1].block = NULL;
    PyThreadState_DeleteCurrent();
    return NULL;
}

/* An interpreter that is made in a stopped world is stopped too. */
static void a_stop_is_one_of_all_interpreters(void) {
    shared_set(&running, 1);
    PyInterpreterState *second = PyInterpreterState_New();
    pthread_t threads[2] = {thread_start(stay_busy, &busy[0]), thread_start(be_busy_elsewhere, second)};
    while (shared_get(&made) == 0) {
        sched_yield();
    }
    for (size_t i = 0; i < STOPS / 4 + 1; i++) {
        PyGILState_STATE was = i % 2 == 0 ? PyGILState_Ensure() : PyGILState_LOCKED;
        gilloc_stop_the_world();
        size_t counts[] = {busy[0].count, busy[1].count};
        yield_often();
        EXPECT_EQ(busy[0].count++, counts[0]);
        EXPECT_EQ(busy[1].count++, counts[1]);
        gilloc_start_the_world();
        if (i % 2 == 0) {
            PyGILState_Release(was);
        }
    }
    gilloc_stop_the_world();
    PyInterpreterState *third = PyInterpreterState_New();
    EXPECT(third != NULL);
    PyThreadState *state = PyThreadState_New(third);
    shared_set(&done, 0);
    shared_set(&begun, 0);
    pthread_t thread = thread_start(restore_once, state);
    while (shared_get(&begun) == 0) {
        sched_yield();
    }
    yield_often();
    EXPECT_EQ(shared_get(&done), 0);
    gilloc_start_the_world();
    thread_join(thread);
    PyInterpreterState_Delete(third);
    shared_set(&running, 0);
    thread_join(threads[0]);
    thread_join(threads[1]);
    PyInterpreterState_Delete(second);
}

/* --- grace periods ---------------------------------------------------------------------------- */

static void *retire_again_and_again(void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    while (shared_get(&running) != 0) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
        gilloc_reclaim();
        gilloc_safepoint();
    }
    PyGILState_Release(was);
    return NULL;
}

/* Whoever waits for a grace period waits for the stopper, which waits for it. */
static void a_stop_meets_grace_periods(void) {
    shared_set(&running, 1);
    pthread_t threads[2] = {thread_start(retire_again_and_again, NULL), thread_start(retire_again_and_again, NULL)};
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < STOPS; i++) {
        gilloc_stop_the_world();
        gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(40));
        if (i % 4 == 0) {
            gilloc_reclaim(); /* returns: all others are offline */
        }
        gilloc_start_the_world();
        gilloc_safepoint();
    }
    shared_set(&running, 0);
    Py_BEGIN_ALLOW_THREADS thread_join(threads[0]);
    thread_join(threads[1]);
    Py_END_ALLOW_THREADS gilloc_reclaim();
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- a runtime's own lock --------------------------------------------------------------------- */

static struct runtime_lock lock;

static void *be_busy_under_the_lock(void *arg) {
    size_t number = (size_t)((char *)arg - (char *)busy) / sizeof(busy[0]);
    for (size_t i = 0; shared_get(&running) != 0; i++) {
        runtime_lock_acquire(&lock);
        count_and_allocate(number, i); /* attaches by itself, and stays attached */
        gilloc_safepoint();
        runtime_lock_release(&lock);
        sched_yield();
    }
    runtime_lock_acquire(&lock);
    PyObject_Free(busy[number].block);
    busy[number].block = NULL;
    runtime_lock_release(&lock);
    return NULL;
}

static void *end_under_the_lock(void *unused) {
    (void)unused;
    runtime_lock_acquire(&lock);
    PyMem_Free(PyMem_Malloc(100));
    runtime_lock_release(&lock);
    pthread_barrier_wait(&in_place);
    pthread_barrier_wait(&in_place);
    return NULL; /* ends attached, without the lock: that waits for the start */
}

static void a_runtimes_own_lock(void) {
    pthread_t threads[BUSY];
    runtime_lock_init(&lock);
    EXPECT_EQ(runtime_lock_set(&lock), 0);
    shared_set(&running, 1);
    for (size_t i = 0; i < BUSY; i++) {
        threads[i] = thread_start(be_busy_under_the_lock, &busy[i]);
    }
    for (size_t i = 0; i < STOPS; i++) {
        runtime_lock_acquire(&lock);
        gilloc_stop_the_world();
        EXPECT(runtime_lock_held(&lock));
        look_at_all(i);
        gilloc_stop_the_world();
        PyMem_Free(PyMem_Malloc(i % 513));
        EXPECT_EQ(gilloc_check(), 0);
        gilloc_start_the_world();
        look_at_all(i);
        gilloc_start_the_world();
        EXPECT(runtime_lock_held(&lock));
        runtime_lock_release(&lock);
        sched_yield();
    }
    shared_set(&running, 0);
    for (size_t i = 0; i < BUSY; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
    pthread_t thread = thread_start(end_under_the_lock, NULL);
    pthread_barrier_wait(&in_place);
    runtime_lock_acquire(&lock);
    gilloc_stop_the_world();
    uint64_t states = memory_stats().thread_states;
    pthread_barrier_wait(&in_place);
    yield_often();
    EXPECT_EQ(memory_stats().thread_states, states);
    gilloc_start_the_world();
    runtime_lock_release(&lock);
    thread_join(thread);
    runtime_lock_acquire(&lock);
    EXPECT_EQ(memory_stats().thread_states, 1);
    memory_expect_all_back();
    PyEval_SaveThread();
}

/* --- errno ------------------------------------------------------------------------------------ */

static void errno_survives(void) {
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        errno = 77;
        gilloc_stop_the_world();
        EXPECT_EQ(errno, 77);
        gilloc_start_the_world();
        EXPECT_EQ(errno, 77);
        gilloc_set_stop_deadline(1000);
        EXPECT_EQ(errno, 77);
        if (attached) {
            PyGILState_Release(was);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(nobody_else_is_attached),
        IN_BOTH_MODES(nobody_is_attached_beside_a_detached_stopper),
        IN_BOTH_MODES(attaching_deleting_and_ending_wait),
        IN_BOTH_MODES(the_stopper_deletes_states),
        IN_BOTH_MODES(what_needs_no_state_goes_on),
        IN_GIL_MODE(the_stopper_keeps_the_lock_at_safepoints),
        IN_BOTH_MODES(a_purge_in_a_stopped_world_leaves_caches_alone),
        IN_BOTH_MODES(a_walk_beside_purges),
        IN_BOTH_MODES(who_is_detached_stays_so),
        IN_BOTH_MODES(stops_nest),
        IN_BOTH_MODES(several_threads_stop),
        IN_BOTH_MODES(a_stop_is_one_of_all_interpreters),
        IN_BOTH_MODES(a_stop_meets_grace_periods),
        IN_GIL_MODE(a_runtimes_own_lock),
        IN_BOTH_MODES(errno_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
