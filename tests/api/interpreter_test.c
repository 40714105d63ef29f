/* SPDX-License-Identifier: MIT */
/*
 * interpreter_test.c - several interpreters: locks and heaps of their own, one mode, one world; how they come and go.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/mailbox.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/runtime_lock.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

/* A pool is one aligned page of this size. */
#define POOL_SIZE (UNDER_HOSTILE ? (size_t)4096 : (size_t)16384)
#define MIB ((size_t)1 << 20)
#define MOST 5
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static int is_free_mode(void) { return gilloc_get_mode() == GILLOC_MODE_FREE; }

/* The main one and others. */
static PyInterpreterState *interpreters[MOST];

static void make_interpreters(void) {
    interpreters[0] = PyInterpreterState_Main();
    for (size_t i = 1; i < MOST; i++) {
        interpreters[i] = PyInterpreterState_New();
        EXPECT(interpreters[i] != NULL);
        for (size_t j = 0; j < i; j++) {
            EXPECT(interpreters[i] != interpreters[j]);
        }
    }
}

static void delete_interpreters(void) {
    for (size_t i = 1; i < MOST; i++) {
        PyInterpreterState_Delete(interpreters[i]);
    }
}

static PyThreadState *attach_new(PyInterpreterState *interpreter) {
    PyThreadState *state = PyThreadState_New(interpreter);
    EXPECT(state != NULL);
    PyEval_RestoreThread(state);
    EXPECT(PyInterpreterState_Get() == interpreter);
    EXPECT(PyThreadState_Get() == state);
    return state;
}

static void *alloc(size_t size) {
    void *block = PyObject_Malloc(size);
    EXPECT(block != NULL);
    return block;
}

static void expect_all_back(void) {
    gilloc_purge();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT_EQ(memory_stats().arenas, 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
}

/* --- they come and go ------------------------------------------------------------------------- */

static void the_main_one_is_always_there(void) {
    PyInterpreterState *main_one = PyInterpreterState_Main();
    EXPECT(main_one != NULL);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT(PyInterpreterState_Get() == main_one);
    make_interpreters(); /* attached or not */
    EXPECT(PyInterpreterState_Main() == main_one);
    EXPECT(PyInterpreterState_Get() == main_one);
    delete_interpreters();
    EXPECT(PyInterpreterState_Get() == main_one);
    PyGILState_Release(was);
}

static void a_deleted_one_is_used_again(void) {
    PyInterpreterState *made = PyInterpreterState_New();
    PyThreadState *state = attach_new(made);
    unsigned char *stays = alloc(100);
    pattern_fill(stays, 100, 7);
    PyEval_SaveThread();
    PyInterpreterState_Delete(made);
    EXPECT_EQ(memory_stats().thread_states, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 1); /* what is alive stays so */
    EXPECT(PyInterpreterState_New() == made);
    EXPECT(PyInterpreterState_New() != made);
    EXPECT(attach_new(made) == state); /* its states too */
    pattern_check(stays, 100, 7);
    PyObject_Free(stays); /* it is the same heap */
    PyInterpreterState_Clear(made);
    PyThreadState_DeleteCurrent();
    expect_all_back();
}

/* What its threads left for each other has nobody to take it. */
static void a_deleted_one_keeps_no_pool(void) {
    uint64_t pools = memory_stats().pools;
    PyInterpreterState *made = PyInterpreterState_New();
    EXPECT(made != NULL);
    attach_new(made);
    for (size_t size = 0; size <= 512; size += 16) {
        PyObject_Free(alloc(size));
    }
    PyEval_SaveThread();
    PyInterpreterState_Delete(made);
    EXPECT_EQ(memory_stats().pools, pools);
}

static void a_thousand_in_turn_use_bounded_memory(void) {
    size_t resident = 0;
    for (size_t i = 0; i < 1000; i++) {
        PyInterpreterState *made = PyInterpreterState_New();
        EXPECT(made != NULL);
        PyThreadState *others[3];
        for (size_t j = 0; j < 3; j++) {
            others[j] = attach_new(made);
            for (size_t size = 0; size < 600; size += 10) {
                gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(size));
                PyObject_Free(alloc(size));
            }
            PyEval_SaveThread();
        }
        if (i % 2 == 0) {
            PyEval_RestoreThread(others[0]);
            PyInterpreterState_Clear(made);
            EXPECT_EQ(memory_stats().retired_bytes, 0);
            EXPECT_EQ(gilloc_allocated_blocks(), 0);
            PyEval_SaveThread();
        }
        PyInterpreterState_Delete(made); /* with its states, and what waits in them */
        EXPECT_EQ(memory_stats().thread_states, 0);
        if (i == 10) {
            resident = memory_resident();
        }
    }
#if PLAIN_BUILD
    EXPECT_AT_MOST(memory_resident(), resident + MIB);
#else
    (void)resident;
#endif
    EXPECT_EQ(memory_stats().retired_lost, 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0); /* nobody was left to be asked */
    PyInterpreterState *made = PyInterpreterState_New();
    attach_new(made);
    PyInterpreterState_Clear(made);
    PyThreadState_DeleteCurrent();
    expect_all_back();
}

static void a_hundred_at_once(void) {
    enum { MANY = 100 };
    PyInterpreterState *made[MANY];
    void *blocks[MANY];
    for (size_t i = 0; i < MANY; i++) {
        made[i] = PyInterpreterState_New();
        attach_new(made[i]);
        blocks[i] = alloc(40);
        memset(blocks[i], (int)i, 40);
        PyEval_SaveThread();
    }
    EXPECT_EQ(memory_stats().thread_states, MANY);
    EXPECT_EQ(gilloc_allocated_blocks(), MANY);
    EXPECT_EQ(gilloc_check(), 0);
    for (size_t i = 0; i < MANY; i++) {
        attach_new(made[i]);
        EXPECT_EQ(*(unsigned char *)blocks[i], i);
        PyObject_Free(blocks[i]);
        PyEval_SaveThread();
        PyInterpreterState_Delete(made[i]);
    }
    expect_all_back();
}

static void there_is_none_beside_a_lock_of_the_callers(void) {
    static struct runtime_lock lock;
    runtime_lock_init(&lock);
    EXPECT_EQ(runtime_lock_set(&lock), 0);
    EXPECT(PyInterpreterState_New() == NULL);
    EXPECT_EQ(gilloc_set_lock(NULL), 0);
    EXPECT(PyInterpreterState_New() != NULL);
    errno = 0;
    EXPECT_EQ(runtime_lock_set(&lock), -1);
    EXPECT_EQ(errno, EBUSY);
}

/* --- threads and states ----------------------------------------------------------------------- */

static void a_thread_goes_from_one_to_another(void) {
    make_interpreters();
    PyThreadState *states[MOST];
    for (size_t i = 0; i < MOST; i++) {
        states[i] = PyThreadState_New(interpreters[i]);
    }
    EXPECT(PyThreadState_Swap(states[0]) == NULL);
    for (size_t turn = 1; turn < 50; turn++) {
        EXPECT(PyThreadState_Swap(states[turn % MOST]) == states[(turn - 1) % MOST]);
        EXPECT(PyInterpreterState_Get() == interpreters[turn % MOST]);
        PyObject_Free(alloc(turn));
    }
    PyThreadState *last = PyEval_SaveThread();
    EXPECT(last == states[49 % MOST]);
    for (size_t i = 0; i < MOST; i++) {
        PyThreadState_Delete(states[i]);
    }
    delete_interpreters();
    expect_all_back();
}

static void ensure_goes_to_the_main_one(void) {
    make_interpreters();
    PyThreadState *other = attach_new(interpreters[1]);
    EXPECT(PyGILState_GetThisThreadState() == NULL); /* that one is not for Ensure */
    EXPECT_EQ(PyGILState_Check(), 1);
    PyGILState_STATE inner = PyGILState_Ensure(); /* attached it is already */
    EXPECT_EQ(inner, PyGILState_LOCKED);
    EXPECT(PyThreadState_Get() == other);
    PyGILState_Release(inner);
    EXPECT(PyEval_SaveThread() == other);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(was, PyGILState_UNLOCKED);
    EXPECT(PyInterpreterState_Get() == interpreters[0]);
    PyThreadState *mine = PyThreadState_Swap(other);
    EXPECT(PyGILState_GetThisThreadState() == mine);
    EXPECT(PyThreadState_Swap(mine) == other);
    PyGILState_Release(was);
    PyThreadState_Delete(other);
    delete_interpreters();
}

/* --- locks ------------------------------------------------------------------------------------ */

struct meeting {
    PyInterpreterState *interpreter;
    struct shared *here;
    size_t all;
    struct shared *over;
};

/* Attached, with no safepoint until all are. */
static void *meet(void *arg) {
    struct meeting *meeting = arg;
    for (size_t round = 1; round <= 20; round++) {
        attach_new(meeting->interpreter);
        shared_add(meeting->here, 1);
        while (shared_get(meeting->here) < round * meeting->all) {
            sched_yield();
        }
        PyObject_Free(alloc(100));
        PyThreadState_DeleteCurrent();
        shared_add(meeting->over, 1);
        while (shared_get(meeting->over) < round * meeting->all) {
            sched_yield();
        }
    }
    return NULL;
}

static void threads_of_each_are_attached_at_once(void) {
    make_interpreters();
    static struct shared here, over;
    struct meeting meetings[MOST];
    for (size_t i = 0; i < MOST; i++) {
        meetings[i] = (struct meeting){interpreters[i], &here, MOST, &over};
    }
    threads_run(MOST, meet, meetings, sizeof(meetings[0]));
    delete_interpreters();
    expect_all_back();
}

/* In gil mode one thread of each at a time: a plain number of each suffices. */
struct counted {
    PyInterpreterState *interpreter;
    size_t *number; /* guarded by the interpreter's lock */
};

static void *count_up(void *arg) {
    struct counted *counted = arg;
    attach_new(counted->interpreter);
    for (size_t i = 0; i < ROUNDS(2000); i++) {
        size_t before = *counted->number;
        if (i % 16 == 0) {
            sched_yield();
        }
        *counted->number = before + 1;
        if (i % 8 == 0) {
            gilloc_safepoint();
        } else if (i % 50 == 1) {
            PyEval_RestoreThread(PyEval_SaveThread());
        }
    }
    PyThreadState_DeleteCurrent();
    return NULL;
}

static void one_thread_of_each_is_attached_in_gil_mode(void) {
    make_interpreters();
    gilloc_set_switch_interval(1);
    static size_t numbers[MOST];
    struct counted counted[3 * MOST];
    for (size_t i = 0; i < 3 * MOST; i++) {
        counted[i] = (struct counted){interpreters[i % MOST], &numbers[i % MOST]};
    }
    threads_run(3 * MOST, count_up, counted, sizeof(counted[0]));
    for (size_t i = 0; i < MOST; i++) {
        EXPECT_EQ(numbers[i], 3 * ROUNDS(2000));
    }
    delete_interpreters();
}

/* --- heaps ------------------------------------------------------------------------------------ */

/* Blocks of several threads of each, made and freed in turn; who has which page is compared when all stand still. */
#define WORKERS (2 * MOST)
#define LIVE 400

struct worker {
    PyInterpreterState *interpreter;
    size_t number, rounds;
    void *live[LIVE];
    int keep; /* its last blocks stay */
};

static void *work(void *arg) {
    struct worker *worker = arg;
    struct random random = random_seeded(worker->number);
    attach_new(worker->interpreter);
    for (size_t i = 0; i < worker->rounds; i++) {
        size_t at = random_below(&random, LIVE);
        if (worker->live[at] != NULL) {
            if (i % 5 == 0) {
                gilloc_retire(PYMEM_DOMAIN_OBJ, worker->live[at]);
            } else {
                PyObject_Free(worker->live[at]);
            }
        }
        worker->live[at] = alloc(1 + random_below(&random, 300));
        if (i % 32 == 0) {
            gilloc_safepoint();
        }
        if (i % 1000 == 999) {
            gilloc_purge();
            PyThreadState_DeleteCurrent(); /* its pools are handed over */
            attach_new(worker->interpreter);
        }
    }
    for (size_t at = 0; at < LIVE && !worker->keep; at++) {
        PyObject_Free(worker->live[at]);
        worker->live[at] = NULL;
    }
    PyThreadState_DeleteCurrent();
    return NULL;
}

static struct worker workers[WORKERS];

static void run_workers(int keep) {
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i].interpreter = interpreters[i % MOST];
        workers[i].number = i;
        workers[i].rounds = ROUNDS(8000);
        workers[i].keep = keep;
    }
    threads_run(WORKERS, work, workers, sizeof(workers[0]));
}

static void free_workers_blocks(void) {
    for (size_t i = 0; i < WORKERS; i++) {
        attach_new(workers[i].interpreter);
        for (size_t at = 0; at < LIVE; at++) {
            PyObject_Free(workers[i].live[at]);
            workers[i].live[at] = NULL;
        }
        gilloc_reclaim();
        PyThreadState_DeleteCurrent();
    }
}

static void heaps_share_no_pool(void) {
    make_interpreters();
    run_workers(1);
    for (size_t i = 0; i < WORKERS; i++) {
        for (size_t j = 0; j < WORKERS; j++) {
            for (size_t a = 0; i % MOST != j % MOST && a < LIVE; a++) {
                for (size_t b = 0; b < LIVE; b++) {
                    if (workers[i].live[a] != NULL && workers[j].live[b] != NULL) {
                        EXPECT((size_t)workers[i].live[a] / POOL_SIZE != (size_t)workers[j].live[b] / POOL_SIZE);
                    }
                }
            }
        }
    }
    free_workers_blocks();
    run_workers(0);
    free_workers_blocks();
    delete_interpreters();
    expect_all_back();
}

static void one_clears_what_its_detached_threads_hold(void) {
    make_interpreters();
    gilloc_set_retire_limit(10 * MIB);
    for (size_t i = 0; i < MOST; i++) {
        for (size_t t = 0; t < 3; t++) {
            attach_new(interpreters[i]);
            for (size_t j = 0; j < 1000; j++) {
                PyObject_Free(alloc(64));
                gilloc_retire(PYMEM_DOMAIN_OBJ, alloc(64));
            }
            PyEval_SaveThread();
        }
    }
    for (size_t i = 0; i < MOST; i++) {
        size_t waits = 3 * 1000 * small_block_size(64);
        EXPECT_EQ(memory_stats().retired_bytes, (MOST - i) * waits);
        attach_new(interpreters[i]);
        PyInterpreterState_Clear(interpreters[i]);
        EXPECT_EQ(memory_stats().retired_bytes, (MOST - i - 1) * waits); /* of this one alone */
        EXPECT_EQ(gilloc_allocated_blocks(), (MOST - i - 1) * 3 * 1000);
        PyEval_SaveThread();
    }
    expect_all_back();
    delete_interpreters();
}

static void statistics_are_of_all(void) {
    make_interpreters();
    EXPECT_EQ(memory_stats().thread_states, 0);
    void *small[MOST], *large[MOST];
    PyThreadState *states[MOST];
    for (size_t i = 0; i < MOST; i++) {
        states[i] = attach_new(interpreters[i]);
        small[i] = alloc(100);
        large[i] = alloc(5000);
        gilloc_retire(PYMEM_DOMAIN_RAW, PyMem_RawMalloc(100));
        PyEval_SaveThread();
        gilloc_stats stats = memory_stats();
        EXPECT_EQ(stats.thread_states, i + 1);
        EXPECT_EQ(stats.thread_states_ever, i + 1);
        EXPECT_EQ(stats.small_blocks, i + 1);
        EXPECT_EQ(stats.large_blocks, i + 1);
        EXPECT_EQ(stats.retired_blocks, i + 1);
        EXPECT_EQ(stats.pools, i + 1);
        EXPECT(is_free_mode() ? stats.lock_takes == 0 : stats.lock_takes >= i + 1);
        EXPECT_EQ(gilloc_allocated_blocks(), 2 * (i + 1));
    }
    /* Also beside one that is attached elsewhere. */
    PyEval_RestoreThread(states[MOST - 1]);
    EXPECT_EQ(gilloc_allocated_blocks(), 2 * MOST);
    PyEval_SaveThread();
    for (size_t i = 0; i < MOST; i++) {
        PyEval_RestoreThread(states[i]);
        PyObject_Free(small[i]);
        PyObject_Free(large[i]);
        gilloc_reclaim();
        PyThreadState_DeleteCurrent();
        EXPECT_EQ(memory_stats().thread_states, MOST - i - 1);
        EXPECT_EQ(gilloc_allocated_blocks(), 2 * (MOST - i - 1));
    }
    delete_interpreters();
    expect_all_back();
}

/* --- one world, one mode ---------------------------------------------------------------------- */

struct runner {
    PyInterpreterState *interpreter;
    struct shared steps;
    struct shared *over;
    void *block; /* one that is alive all the time */
};

static void *run(void *arg) {
    struct runner *runner = arg;
    attach_new(runner->interpreter);
    runner->block = alloc(48);
    memset(runner->block, 0x48, 48);
    while (!shared_get(runner->over)) {
        void *blocks[10];
        for (size_t i = 0; i < 10; i++) {
            blocks[i] = alloc(i * 60);
        }
        for (size_t i = 0; i < 10; i++) {
            if (i % 3 == 0) {
                gilloc_retire(PYMEM_DOMAIN_OBJ, blocks[i]);
            } else {
                PyObject_Free(blocks[i]);
            }
        }
        shared_add(&runner->steps, 1);
        gilloc_safepoint();
        if (shared_get(&runner->steps) % 64 == 0) {
            PyEval_RestoreThread(PyEval_SaveThread());
        }
    }
    PyObject_Free(runner->block);
    PyThreadState_DeleteCurrent();
    return NULL;
}

#define RUNNERS (2 * MOST)

static struct runner runners[RUNNERS];
static pthread_t running[RUNNERS];
static struct shared runners_over;

static void start_runners(void) {
    for (size_t i = 0; i < RUNNERS; i++) {
        runners[i].interpreter = interpreters[i % MOST];
        runners[i].over = &runners_over;
        running[i] = thread_start(run, &runners[i]);
    }
}

static void wait_for_steps(void) {
    for (size_t i = 0; i < RUNNERS; i++) {
        size_t steps = shared_get(&runners[i].steps);
        while (shared_get(&runners[i].steps) < steps + 2) {
            sched_yield();
            if (PyGILState_Check()) {
                gilloc_safepoint();
            }
        }
    }
}

static void end_runners(void) {
    shared_set(&runners_over, 1);
    for (size_t i = 0; i < RUNNERS; i++) {
        thread_join(running[i]);
    }
}

static int count_48(void *block, size_t block_size, void *arg) {
    EXPECT_EQ(block_size, small_block_size(48));
    for (size_t i = 0; i < 48; i++) {
        EXPECT_EQ(((unsigned char *)block)[i], 0x48);
    }
    ++*(size_t *)arg;
    return 0;
}

static void a_stop_stops_the_threads_of_all_and_a_walk_visits_all(void) {
    make_interpreters();
    start_runners();
    wait_for_steps();
    for (size_t round = 0; round < 20; round++) {
        size_t of = round % (MOST + 1); /* attached to each of them, or detached */
        PyThreadState *state = of < MOST ? attach_new(interpreters[of]) : NULL;
        gilloc_stop_the_world();
        size_t steps[RUNNERS];
        for (size_t i = 0; i < RUNNERS; i++) {
            steps[i] = shared_get(&runners[i].steps);
        }
        size_t count = 0;
        EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, count_48, &count), 0);
        EXPECT_EQ(count, RUNNERS);
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        EXPECT_EQ(gilloc_allocated_blocks(), RUNNERS);
        EXPECT_EQ(gilloc_check(), 0);
        for (size_t i = 0; i < 100; i++) {
            sched_yield();
        }
        for (size_t i = 0; i < RUNNERS; i++) {
            EXPECT_EQ(shared_get(&runners[i].steps), steps[i]);
        }
        gilloc_start_the_world();
        if (state != NULL) {
            PyThreadState_DeleteCurrent();
        }
        wait_for_steps();
    }
    end_runners();
    size_t count = 0;
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, count_48, &count), 0); /* which frees what ended threads left */
    EXPECT_EQ(count, 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    delete_interpreters();
    expect_all_back();
}

static void the_mode_is_that_of_all(void) {
    make_interpreters();
    start_runners();
    wait_for_steps();
    for (size_t round = 0; round < 20; round++) {
        attach_new(interpreters[round % MOST]);
        gilloc_mode mode = is_free_mode() ? GILLOC_MODE_GIL : GILLOC_MODE_FREE;
        EXPECT_EQ(gilloc_set_mode(mode), 0);
        EXPECT_EQ(gilloc_get_mode(), mode);
        PyObject_Free(alloc(100));
        PyThreadState_DeleteCurrent();
        if (round % 3 == 0) { /* one that was made in between */
            PyInterpreterState *made = PyInterpreterState_New();
            attach_new(made);
            PyObject_Free(alloc(100));
            PyThreadState_DeleteCurrent();
            PyInterpreterState_Delete(made);
        }
        wait_for_steps();
    }
    end_runners();
    size_t count = 0;
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, count_48, &count), 0);
    EXPECT_EQ(count, 0);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    delete_interpreters();
    expect_all_back();
}

/* Made, used and deleted by several threads, while others stop the world. */
static void *come_and_go(void *arg) {
    for (size_t i = 0; i < ROUNDS(100); i++) {
        PyInterpreterState *made = PyInterpreterState_New();
        EXPECT(made != NULL);
        attach_new(made);
        void *block = alloc(40 + (size_t)arg);
        gilloc_retire(PYMEM_DOMAIN_OBJ, alloc(60));
        PyObject_Free(block);
        if (i % 4 == 0) {
            gilloc_stop_the_world();
            gilloc_start_the_world();
        } else if (i % 4 == 1) {
            PyInterpreterState_Clear(made);
        } else if (i % 4 == 2) {
            PyThreadState_DeleteCurrent();
        }
        if (PyThreadState_GetUnchecked() != NULL) {
            PyEval_SaveThread();
        }
        PyInterpreterState_Delete(made);
    }
    return NULL;
}

static void several_threads_make_and_delete_them(void) {
    make_interpreters();
    start_runners();
    pthread_t threads[4];
    for (size_t i = 0; i < LENGTH(threads); i++) {
        threads[i] = thread_start(come_and_go, (void *)i);
    }
    for (size_t i = 0; i < LENGTH(threads); i++) {
        thread_join(threads[i]);
    }
    end_runners();
    gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, count_48, NULL);
    delete_interpreters();
    expect_all_back();
}

struct newcomer {
    struct mailbox states;
    struct shared taken, started;
};

static size_t done_by_stopper; /* plain: attaching is what orders it */

static void *attach_when_started(void *arg) {
    struct newcomer *newcomer = arg;
    PyThreadState *state;
    while ((state = mailbox_try_take(&newcomer->states)) == NULL) {
        sched_yield();
    }
    shared_set(&newcomer->taken, 1);
    while (!shared_get(&newcomer->started)) {
        sched_yield();
    }
    PyEval_RestoreThread(state);
    EXPECT_EQ(done_by_stopper, 1);
    PyThreadState_DeleteCurrent();
    return NULL;
}

/* In gil mode nobody has had the lock of that one yet. */
static void who_attaches_in_one_made_in_a_stopped_world_sees_what_was_done_in_it(void) {
    static struct newcomer newcomer;
    mailbox_init(&newcomer.states, 1);
    pthread_t thread = thread_start(attach_when_started, &newcomer);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stop_the_world();
    PyInterpreterState *made = PyInterpreterState_New();
    EXPECT(made != NULL);
    EXPECT(mailbox_try_put(&newcomer.states, PyThreadState_New(made)));
    while (!shared_get(&newcomer.taken)) {
        sched_yield();
    }
    done_by_stopper = 1;
    gilloc_start_the_world();
    shared_set(&newcomer.started, 1);
    PyGILState_Release(was);
    thread_join(thread);
    mailbox_fini(&newcomer.states);
    PyInterpreterState_Delete(made);
    expect_all_back();
}

/* --- deferred frees --------------------------------------------------------------------------- */

static void each_has_what_its_own_threads_left(void) {
    make_interpreters();
    gilloc_set_retire_limit(10 * MIB);
    for (size_t i = 0; i < MOST; i++) {
        attach_new(interpreters[i]);
        for (size_t j = 0; j < 100; j++) {
            gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(64));
        }
        PyThreadState_DeleteCurrent();
    }
    EXPECT_EQ(memory_stats().retired_bytes, MOST * 100 * small_block_size(64));
    for (size_t i = 0; i < MOST; i++) {
        attach_new(interpreters[i]);
        gilloc_reclaim();
        EXPECT_EQ(memory_stats().retired_bytes, (MOST - i - 1) * 100 * small_block_size(64));
        PyThreadState_DeleteCurrent();
    }
    expect_all_back();
    delete_interpreters();
}

/* --- a block that is freed under another one -------------------------------------------------- */

#ifdef NDEBUG

#define FOREIGN 4000

struct foreign {
    PyInterpreterState *interpreter;
    void *blocks[FOREIGN];
    struct shared made, freed;
    int ends;
};

static void *make_blocks(void *arg) {
    struct foreign *foreign = arg;
    attach_new(foreign->interpreter);
    for (size_t i = 0; i < FOREIGN; i++) {
        foreign->blocks[i] = alloc(1 + i % 512);
        memset(foreign->blocks[i], 0x66, 1 + i % 512);
    }
    if (foreign->ends) {
        PyThreadState *state = PyEval_SaveThread();
        shared_set(&foreign->made, 1);
        while (!shared_get(&foreign->freed)) { /* half of them, some of which wait in the other thread */
            sched_yield();
        }
        PyEval_RestoreThread(state);
        PyThreadState_DeleteCurrent();
        shared_set(&foreign->freed, 2);
        return NULL;
    }
    PyEval_SaveThread();
    shared_set(&foreign->made, 1);
    return NULL;
}

static void free_one(void *block, size_t size, size_t how) {
    switch (how) {
        case 0:
            gilloc_free_sized(PYMEM_DOMAIN_OBJ, block, size);
            break;
        case 1:
            block = PyObject_Realloc(block, size + 600);
            EXPECT(block != NULL);
            EXPECT_EQ(*(unsigned char *)block, 0x66);
            PyObject_Free(block);
            break;
        case 2:
            gilloc_retire(PYMEM_DOMAIN_OBJ, block);
            break;
        default:
            PyObject_Free(block);
    }
}

/* Others give it back: nothing is lost, and no pool changes hands. */
static void a_block_of_another_one_is_given_back(void) {
    make_interpreters();
    for (int round = 0; round < 6; round++) {
        static struct foreign foreign;
        memset(&foreign, 0, sizeof(foreign));
        foreign.interpreter = interpreters[round % 2 == 0 ? 1 : 0];
        foreign.ends = round % 3 == 2;
        pthread_t thread = thread_start(make_blocks, &foreign);
        while (!shared_get(&foreign.made)) {
            sched_yield();
        }
        if (!foreign.ends) {
            thread_join(thread);
        }
        attach_new(interpreters[2]); /* the lock orders nothing here, in GIL-free mode: a stop does */
        gilloc_stop_the_world();
        gilloc_start_the_world();
        for (size_t i = 0; i < FOREIGN; i++) {
            if (i == FOREIGN / 2) {
                shared_set(&foreign.freed, 1);
                while (foreign.ends && shared_get(&foreign.freed) != 2) {
                    sched_yield();
                }
            }
            free_one(foreign.blocks[i], 1 + i % 512, round % 2 == 0 ? i % 8 : 3);
        }
        gilloc_reclaim();
        PyThreadState_DeleteCurrent();
        if (foreign.ends) {
            thread_join(thread);
        }
        gilloc_purge(); /* lists of detached threads are drained */
        EXPECT_EQ(gilloc_check(), 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        EXPECT_EQ(memory_stats().pools, 0);
    }
    expect_all_back();
}

#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(the_main_one_is_always_there),
        IN_BOTH_MODES(a_deleted_one_is_used_again),
        IN_BOTH_MODES(a_deleted_one_keeps_no_pool),
        IN_BOTH_MODES(a_thousand_in_turn_use_bounded_memory),
        IN_BOTH_MODES(a_hundred_at_once),
        IN_GIL_MODE(there_is_none_beside_a_lock_of_the_callers),
        IN_BOTH_MODES(a_thread_goes_from_one_to_another),
        IN_BOTH_MODES(ensure_goes_to_the_main_one),
        IN_BOTH_MODES(threads_of_each_are_attached_at_once),
        IN_GIL_MODE(one_thread_of_each_is_attached_in_gil_mode),
        IN_BOTH_MODES(heaps_share_no_pool),
        IN_BOTH_MODES(one_clears_what_its_detached_threads_hold),
        IN_BOTH_MODES(statistics_are_of_all),
        IN_BOTH_MODES(a_stop_stops_the_threads_of_all_and_a_walk_visits_all),
        IN_BOTH_MODES(who_attaches_in_one_made_in_a_stopped_world_sees_what_was_done_in_it),
        IN_BOTH_MODES(the_mode_is_that_of_all),
        IN_BOTH_MODES(several_threads_make_and_delete_them),
        IN_BOTH_MODES(each_has_what_its_own_threads_left),
#ifdef NDEBUG /* with assertions a fatal error: tests/death */
        IN_BOTH_MODES(a_block_of_another_one_is_given_back),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
