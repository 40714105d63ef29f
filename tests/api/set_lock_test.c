/* SPDX-License-Identifier: MIT */
/*
 * set_lock_test.c - gilloc_set_lock(): a runtime takes and drops a lock of its own, gilloc asks it and uses it.
 *   The bodies work in threads that end: a thread that attached by itself stays attached until then.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/random_work.h"
#include "tests/support/runtime_lock.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/threads.h"

static struct runtime_lock lock;

static void use_lock(void) {
    runtime_lock_init(&lock);
    EXPECT_EQ(runtime_lock_set(&lock), 0);
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

/* Everything has been given back, as a thread that holds the lock sees it. */
static void *expect_all_back(void *arg) {
    (void)arg;
    runtime_lock_acquire(&lock);
    void *block = PyMem_Malloc(1);
    EXPECT(block != NULL);
    PyMem_Free(block);
    memory_expect_all_back();
    runtime_lock_release(&lock);
    return NULL;
}

/* --- threads attach by themselves ------------------------------------------------------------- */

static void *allocate_with_the_lock_held(void *arg) {
    (void)arg;
    for (size_t i = 0; i < 20; i++) {
        runtime_lock_acquire(&lock);
        random_work_do(&(struct random_work){.seed = i, .operations = 500, .live = 200});
        EXPECT(runtime_lock_held(&lock));
        EXPECT_EQ(PyGILState_Check(), 1);
        runtime_lock_release(&lock);
    }
    return NULL;
}

static void a_thread_attaches_by_itself(void) {
    use_lock();
    threads_run(1, allocate_with_the_lock_held, NULL, 0);
    EXPECT_EQ(memory_stats().thread_states_ever, 1);
    EXPECT_EQ(memory_stats().thread_states, 0);
    threads_run(8, allocate_with_the_lock_held, NULL, 0);
    EXPECT_EQ(memory_stats().thread_states_ever, 9);
    EXPECT_EQ(memory_stats().thread_states, 0);
    threads_run(1, expect_all_back, NULL, 0);
}

/* Whichever function comes first. */
static void *first_call(void *arg) {
    void *blocks[2];
    runtime_lock_acquire(&lock);
    blocks[0] = PyMem_Malloc(10);
    blocks[1] = PyMem_Malloc(600);
    runtime_lock_release(&lock);
    memcpy(arg, blocks, sizeof(blocks));
    return NULL;
}

static void *first_free(void *arg) {
    runtime_lock_acquire(&lock);
    PyMem_Free(((void **)arg)[0]);
    PyMem_Free(((void **)arg)[1]);
    runtime_lock_release(&lock);
    return NULL;
}

static void *first_realloc(void *arg) {
    runtime_lock_acquire(&lock);
    PyMem_Free(PyMem_Realloc(((void **)arg)[0], 100));
    PyMem_Free(PyMem_Realloc(((void **)arg)[1], 100));
    runtime_lock_release(&lock);
    return NULL;
}

static void *first_calloc(void *arg) {
    (void)arg;
    runtime_lock_acquire(&lock);
    char *block = PyObject_Calloc(1, 100);
    EXPECT(block != NULL && block[99] == 0);
    PyObject_Free(block);
    runtime_lock_release(&lock);
    return NULL;
}

static void *first_usable_size(void *arg) {
    runtime_lock_acquire(&lock);
    EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_MEM, ((void **)arg)[0]), small_block_size(10));
    gilloc_free_sized(PYMEM_DOMAIN_MEM, ((void **)arg)[0], 10);
    gilloc_free_sized(PYMEM_DOMAIN_MEM, ((void **)arg)[1], 600);
    runtime_lock_release(&lock);
    return NULL;
}

static void any_function_may_come_first(void) {
    use_lock();
    void *blocks[2];
    threads_run(1, first_call, blocks, 0);
    threads_run(1, first_free, blocks, 0);
    threads_run(1, first_call, blocks, 0);
    threads_run(1, first_realloc, blocks, 0);
    threads_run(1, first_calloc, NULL, 0);
    threads_run(1, first_call, blocks, 0);
    threads_run(1, first_usable_size, blocks, 0);
    threads_run(1, expect_all_back, NULL, 0);
}

/* --- the lock is the runtime's ---------------------------------------------------------------- */

static size_t plain_counter; /* guarded by the runtime's lock */

static void *count_by_either(void *arg) {
    int by_gilloc = (int)*(size_t *)arg;
    for (size_t i = 0; i < ROUNDS(20000); i++) {
        PyGILState_STATE was = PyGILState_LOCKED;
        if (by_gilloc) {
            was = PyGILState_Ensure();
        } else {
            runtime_lock_acquire(&lock);
        }
        EXPECT(runtime_lock_held(&lock));
        PyMem_Free(PyMem_Malloc(plain_counter++ % 600));
        if (by_gilloc) {
            PyGILState_Release(was);
        } else {
            runtime_lock_release(&lock);
        }
    }
    return NULL;
}

static void gilloc_and_the_runtime_exclude_each_other(void) {
    use_lock();
    size_t by_gilloc[4] = {0, 1, 0, 1};
    threads_run(4, count_by_either, by_gilloc, sizeof(by_gilloc[0]));
    EXPECT_EQ(plain_counter, 4 * ROUNDS(20000));
    EXPECT_EQ(shared_get(&lock.acquired), shared_get(&lock.released));
    threads_run(1, expect_all_back, NULL, 0);
}

static void *ensure_and_release(void *arg) {
    (void)arg;
    /* Detached: Ensure takes it, Release drops it. */
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(PyGILState_Check(), 0);
        EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
        EXPECT(runtime_lock_held(&lock));
        EXPECT_EQ(PyGILState_Check(), 1);
        EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
        PyMem_Free(PyMem_Malloc(10));
        gilloc_safepoint();
        EXPECT(runtime_lock_held(&lock));
        PyGILState_Release(PyGILState_LOCKED);
        EXPECT(runtime_lock_held(&lock));
        Py_BEGIN_ALLOW_THREADS EXPECT(!runtime_lock_held(&lock));
        Py_END_ALLOW_THREADS EXPECT(runtime_lock_held(&lock));
        PyGILState_Release(PyGILState_UNLOCKED);
        EXPECT(!runtime_lock_held(&lock));
    }
    return NULL;
}

static void ensure_takes_the_runtimes_lock(void) {
    use_lock();
    threads_run(1, ensure_and_release, NULL, 0);
    EXPECT_EQ(shared_get(&lock.acquired), shared_get(&lock.released));
    threads_run(4, ensure_and_release, NULL, 0);
    EXPECT_EQ(memory_stats().thread_states, 0);
}

/* Ensure and Release by a thread that holds the lock already, before and after its first call: they leave it held. */
static void *ensure_while_held(void *arg) {
    (void)arg;
    for (int i = 0; i < 3; i++) {
        runtime_lock_acquire(&lock);
        PyGILState_STATE was = PyGILState_Ensure();
        EXPECT_EQ(was, PyGILState_LOCKED);
        PyMem_Free(PyMem_Malloc(1000));
        PyGILState_Release(was);
        EXPECT(runtime_lock_held(&lock));
        PyMem_Free(PyMem_Malloc(1000));
        runtime_lock_release(&lock);
    }
    return NULL;
}

static void ensure_leaves_a_held_lock_held(void) {
    use_lock();
    threads_run(1, ensure_while_held, NULL, 0);
    EXPECT_EQ(memory_stats().thread_states, 0);
}

/* Ensure by a thread that has attached by itself and has dropped the lock since: it takes it. */
static void *ensure_after_a_drop(void *arg) {
    (void)arg;
    for (int i = 0; i < 3; i++) {
        runtime_lock_acquire(&lock);
        PyMem_Free(PyMem_Malloc(10));
        runtime_lock_release(&lock);
        PyGILState_STATE was = PyGILState_Ensure();
        EXPECT_EQ(was, PyGILState_UNLOCKED);
        EXPECT(runtime_lock_held(&lock));
        PyMem_Free(PyMem_Malloc(1000));
        PyGILState_Release(was);
        EXPECT(!runtime_lock_held(&lock));
    }
    return NULL;
}

static void ensure_takes_a_lock_that_was_dropped(void) {
    use_lock();
    threads_run(1, ensure_after_a_drop, NULL, 0);
    threads_run(4, ensure_after_a_drop, NULL, 0);
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(shared_get(&lock.acquired), shared_get(&lock.released));
}

/* A thread that attached by itself lets others in by gilloc's own words. */
static void *allow_threads(void *arg) {
    (void)arg;
    runtime_lock_acquire(&lock);
    void *block = PyMem_Malloc(10);
    Py_BEGIN_ALLOW_THREADS EXPECT(!runtime_lock_held(&lock));
    Py_END_ALLOW_THREADS EXPECT(runtime_lock_held(&lock));
    PyMem_Free(block);
    runtime_lock_release(&lock);
    return NULL;
}

static void allow_threads_drops_the_runtimes_lock(void) {
    use_lock();
    threads_run(4, allow_threads, NULL, 0);
    EXPECT_EQ(shared_get(&lock.acquired), shared_get(&lock.released));
    threads_run(1, expect_all_back, NULL, 0);
}

/* A thread that stays attached without the lock purges and counts, while others work, purge and count with it. */
#define TRADED 512
static void *traded[TRADED]; /* guarded by the runtime's lock */

static void purge_or_count(size_t what) {
    if (what == 0) {
        gilloc_purge();
    } else if (what == 1) {
        (void)memory_stats();
    } else if (what == 2) {
        (void)gilloc_allocated_blocks();
    }
}

static void *trade(void *arg) {
    struct random random = random_seeded(*(size_t *)arg);
    for (size_t i = 0; i < 100; i++) {
        runtime_lock_acquire(&lock);
        for (size_t j = 0; j < 20; j++) {
            size_t at = random_below(&random, TRADED);
            if (traded[at] != NULL) {
                PyMem_Free(traded[at]);
                traded[at] = NULL;
            } else {
                traded[at] = PyMem_Malloc(random_below(&random, 600));
                EXPECT(traded[at] != NULL);
            }
        }
        purge_or_count(random_below(&random, 20));
        runtime_lock_release(&lock);
        purge_or_count(random_below(&random, 6));
        if (i % 8 == 0) {
            PyGILState_STATE was = PyGILState_Ensure();
            PyMem_Free(PyMem_Malloc(30));
            PyGILState_Release(was);
        }
    }
    return NULL;
}

static void *free_what_was_traded(void *unused) {
    (void)unused;
    runtime_lock_acquire(&lock);
    for (size_t i = 0; i < TRADED; i++) {
        PyMem_Free(traded[i]);
    }
    EXPECT_EQ(gilloc_check(), 0);
    memory_expect_all_back();
    runtime_lock_release(&lock);
    return NULL;
}

static void purging_without_the_lock_loses_nothing(void) {
    use_lock();
    for (size_t i = 0; i < ROUNDS(100); i++) {
        size_t seeds[4] = {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3};
        threads_run(4, trade, seeds, sizeof(seeds[0]));
    }
    EXPECT_EQ(memory_stats().thread_states, 0);
    threads_run(1, free_what_was_traded, NULL, 0);
}

/* --- errno ------------------------------------------------------------------------------------ */

static void rude_acquire(void *ctx) {
    runtime_lock_acquire(ctx);
    errno = EDEADLK;
}
static void rude_release(void *ctx) {
    runtime_lock_release(ctx);
    errno = EPERM;
}
static int rude_held(void *ctx) {
    errno = EBADF;
    return runtime_lock_held(ctx);
}

#define KEEPS_ERRNO(call)          \
    do {                           \
        errno = ENOTTY;            \
        call;                      \
        int after_ = errno;        \
        EXPECT_EQ(after_, ENOTTY); \
    } while (0)

static void *use_with_errno(void *unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        PyGILState_STATE was, inner;
        PyThreadState *state;
        KEEPS_ERRNO(was = PyGILState_Ensure());
        KEEPS_ERRNO(inner = PyGILState_Ensure());
        KEEPS_ERRNO(PyGILState_Release(inner));
        KEEPS_ERRNO(state = PyEval_SaveThread());
        KEEPS_ERRNO(PyEval_RestoreThread(state));
        KEEPS_ERRNO(gilloc_safepoint());
        KEEPS_ERRNO(PyGILState_Release(was));
    }
    return NULL;
}

static void errno_survives_the_runtimes_lock(void) {
    runtime_lock_init(&lock);
    const gilloc_lock words = {&lock, rude_acquire, rude_release, rude_held};
    EXPECT_EQ(gilloc_set_lock(&words), 0);
    threads_run(1, use_with_errno, NULL, 0);
    threads_run(4, use_with_errno, NULL, 0);
    EXPECT_EQ(memory_stats().thread_states, 0);
}

/* --- threads end ------------------------------------------------------------------------------ */

static struct shadow left; /* guarded by the runtime's lock */

static void *leave_blocks(void *arg) {
    (void)arg;
    runtime_lock_acquire(&lock);
    for (size_t i = 0; i < 20; i++) {
        shadow_add(&left, &domains[PYMEM_DOMAIN_OBJ], PyObject_Malloc(i * 17), i * 17);
    }
    for (size_t i = 0; i < 15; i++) {
        PyObject_Free(shadow_remove(&left, left.blocks[(i * 31) % left.count]));
    }
    runtime_lock_release(&lock);
    return NULL;
}

static void *free_what_is_left(void *arg) {
    (void)arg;
    runtime_lock_acquire(&lock);
    shadow_free_all(&left);
    shadow_fini(&left);
    memory_expect_all_back();
    runtime_lock_release(&lock);
    return NULL;
}

static void blocks_outlive_threads_that_end(void) {
    use_lock();
    shadow_init(&left, 1);
    for (size_t i = 0; i < ROUNDS(200); i++) {
        threads_run(4, leave_blocks, NULL, 0);
    }
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(memory_stats().thread_states_ever, 4 * ROUNDS(200));
    threads_run(1, free_what_is_left, NULL, 0);
}

/* --- the stopped world ------------------------------------------------------------------------- */

static struct shared steps;

static void wait_for_step(size_t step) {
    while (shared_get(&steps) != step) {
        usleep(1000);
    }
}

/* Attached all the time, but without the lock when it deletes. */
static void *delete_without_the_lock(void *arg) {
    runtime_lock_acquire(&lock);
    PyMem_Free(PyMem_Malloc(1));
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    runtime_lock_release(&lock);
    shared_set(&steps, 1);
    wait_for_step(2);
    shared_set(&steps, 3);
    PyThreadState_Delete(state);
    return arg;
}

static void *stop_the_world(void *arg) {
    wait_for_step(1);
    runtime_lock_acquire(&lock);
    gilloc_stop_the_world();
    shared_set(&steps, 2);
    wait_for_step(3);
    usleep(20000); /* so that it waits, most likely */
    size_t released = shared_get(&lock.released);
    EXPECT_EQ(released, 1);
    gilloc_start_the_world();
    runtime_lock_release(&lock);
    return arg;
}

static void a_deletion_that_waits_for_the_world_leaves_the_lock_alone(void) {
    use_lock();
    pthread_t stopper = thread_start(stop_the_world, NULL);
    threads_run(1, delete_without_the_lock, NULL, 0);
    thread_join(stopper);
    EXPECT_EQ(memory_stats().thread_states, 0);
}

/* --- when it may be set ----------------------------------------------------------------------- */

static void expect_refused(const gilloc_lock *words, int error) {
    errno = 0;
    EXPECT_EQ(gilloc_set_lock(words), -1);
    EXPECT_EQ(errno, error);
}

static void all_three_functions_are_needed(void) {
    const gilloc_lock whole = {&lock, runtime_lock_acquire, runtime_lock_release, runtime_lock_held};
    gilloc_lock words = whole;
    words.acquire = NULL;
    expect_refused(&words, EINVAL);
    words = whole;
    words.release = NULL;
    expect_refused(&words, EINVAL);
    words = whole;
    words.held = NULL;
    expect_refused(&words, EINVAL);
    /* None of these is in use now. */
    PyGILState_Release(PyGILState_Ensure());
    EXPECT(memory_stats().lock_takes > 0);
}

static void too_late(void) {
    runtime_lock_init(&lock);
    const gilloc_lock words = {&lock, runtime_lock_acquire, runtime_lock_release, runtime_lock_held};
    PyGILState_STATE was = PyGILState_Ensure();
    expect_refused(&words, EBUSY);
    PyGILState_Release(was);
    expect_refused(&words, EBUSY);
    EXPECT_EQ(shared_get(&lock.acquired), 0);
}

static void not_in_free_mode(void) {
    runtime_lock_init(&lock);
    const gilloc_lock words = {&lock, runtime_lock_acquire, runtime_lock_release, runtime_lock_held};
    expect_refused(&words, EBUSY);
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
    EXPECT_EQ(gilloc_set_lock(&words), 0);
    errno = 0;
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), -1);
    EXPECT_EQ(errno, EBUSY);
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
}

static void null_is_our_own_again(void) {
    use_lock();
    EXPECT_EQ(gilloc_set_lock(NULL), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_Free(PyMem_Malloc(10));
    PyGILState_Release(was);
    EXPECT_EQ(shared_get(&lock.acquired), 0);
    EXPECT(memory_stats().lock_takes > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_OPEN_MODE(a_thread_attaches_by_itself),
        IN_OPEN_MODE(any_function_may_come_first),
        IN_OPEN_MODE(gilloc_and_the_runtime_exclude_each_other),
        IN_OPEN_MODE(ensure_takes_the_runtimes_lock),
        IN_OPEN_MODE(ensure_leaves_a_held_lock_held),
        IN_OPEN_MODE(ensure_takes_a_lock_that_was_dropped),
        IN_OPEN_MODE(allow_threads_drops_the_runtimes_lock),
        IN_OPEN_MODE(purging_without_the_lock_loses_nothing),
        IN_OPEN_MODE(errno_survives_the_runtimes_lock),
        IN_OPEN_MODE(blocks_outlive_threads_that_end),
        IN_OPEN_MODE(a_deletion_that_waits_for_the_world_leaves_the_lock_alone),
        IN_OPEN_MODE(all_three_functions_are_needed),
        IN_OPEN_MODE(too_late),
        IN_FREE_MODE(not_in_free_mode),
        IN_OPEN_MODE(null_is_our_own_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
