/* SPDX-License-Identifier: MIT */
/*
 * mode_test.c - which mode a process is in: PYTHON_GIL, gilloc_set_mode(), until when it can be chosen by a detached
 *   thread, and the switch while threads run: nothing is lost, and whoever waits comes in by the new mode.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/support/case.h"
#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/mailbox.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/random_work.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static void gil(const char *value) { EXPECT_EQ(setenv("PYTHON_GIL", value, 1), 0); }

/* --- PYTHON_GIL ------------------------------------------------------------------------------- */

static void unset_is_gil_mode(void) {
    EXPECT_EQ(unsetenv("PYTHON_GIL"), 0);
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

static void one_is_gil_mode(void) {
    gil("1");
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT(memory_stats().lock_takes > 0);
}

static void zero_is_free_mode(void) {
    gil("0");
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_FREE);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(memory_stats().lock_takes, 0);
}

static void zero_counts_whichever_call_is_first(void) {
    gil("0");
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_FREE);
}

/* As in CPython, where an empty variable is one that is not set. */
static void empty_is_unset(void) {
    gil("");
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

static void a_call_beats_the_environment(void) {
    gil("0");
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    PyGILState_Release(PyGILState_Ensure());
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
}

static void get_mode_after(const void *value) {
    gil(value);
    gilloc_get_mode();
}

static void ensure_after(const void *value) {
    gil(value);
    PyGILState_Ensure();
}

static void new_after(const void *value) {
    gil(value);
    PyThreadState_New(PyInterpreterState_Main());
}

#define BAD(value) "Fatal gilloc error: PYTHON_GIL: must be \"0\" or \"1\", not \"" value "\"\n"

static struct death_case bad_values[] = {
    {"PYTHON_GIL=x", get_mode_after, "x", CASE_MODE_OPEN, 1, BAD("x")},
    {"PYTHON_GIL=2", get_mode_after, "2", CASE_MODE_OPEN, 1, BAD("2")},
    {"PYTHON_GIL=00", get_mode_after, "00", CASE_MODE_OPEN, 1, BAD("00")},
    {"PYTHON_GIL=01", get_mode_after, "01", CASE_MODE_OPEN, 1, BAD("01")},
    {"PYTHON_GIL=10", get_mode_after, "10", CASE_MODE_OPEN, 1, BAD("10")},
    {"PYTHON_GIL=-1", get_mode_after, "-1", CASE_MODE_OPEN, 1, BAD("-1")},
    {"PYTHON_GIL=' 0'", get_mode_after, " 0", CASE_MODE_OPEN, 1, BAD(" 0")},
    {"PYTHON_GIL=yes, Ensure first", ensure_after, "yes", CASE_MODE_OPEN, 1, BAD("yes")},
    {"PYTHON_GIL=off, New first", new_after, "off", CASE_MODE_OPEN, 1, BAD("off")},
};

/* --- gilloc_set_mode() ------------------------------------------------------------------------ */

static void expect_refused(gilloc_mode mode, int error) {
    errno = 0;
    EXPECT_EQ(gilloc_set_mode(mode), -1);
    EXPECT_EQ(errno, error);
}

static void the_last_call_counts(void) {
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
        EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_FREE);
        EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
        EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    }
}

static void no_such_mode(void) {
    static const int modes[] = {2, 3, -1, 100};
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
            expect_refused((gilloc_mode)modes[i], EINVAL);
            EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
        }
        if (attached) {
            PyGILState_Release(was);
        }
    }
}

static void a_detached_thread_is_too_late_after_the_first_state(void) {
    gilloc_mode mode = gilloc_get_mode();
    gilloc_mode other = mode == GILLOC_MODE_GIL ? GILLOC_MODE_FREE : GILLOC_MODE_GIL;
    /* Memory of the raw domain, hooks and options need no state and leave the choice open. */
    PyMem_RawFree(PyMem_RawMalloc(10));
    gilloc_set_switch_interval(1000);
    gilloc_purge();
    EXPECT_EQ(gilloc_set_mode(other), 0);
    EXPECT_EQ(gilloc_set_mode(mode), 0);

    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    expect_refused(other, EBUSY);
    PyEval_RestoreThread(state);
    EXPECT_EQ(gilloc_set_mode(other), 0);
    EXPECT_EQ(gilloc_get_mode(), other);
    EXPECT_EQ(gilloc_set_mode(mode), 0);
    PyEval_SaveThread();
    PyThreadState_Delete(state);
    /* None is left, but one has been made. */
    expect_refused(other, EBUSY);
    EXPECT_EQ(gilloc_get_mode(), mode);
}

static void *get_mode_in_thread(void *arg) {
    EXPECT_EQ(gilloc_get_mode(), *(gilloc_mode *)arg);
    return NULL;
}

static void every_thread_sees_the_same(void) {
    gilloc_mode mode = gilloc_get_mode();
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_get_mode(), mode);
    threads_run(4, get_mode_in_thread, &mode, 0);
    PyGILState_Release(was);
}

/* --- switching while threads run -------------------------------------------------------------- */

static gilloc_mode other_mode(void) {
    return gilloc_get_mode() == GILLOC_MODE_GIL ? GILLOC_MODE_FREE : GILLOC_MODE_GIL;
}

/* A block that goes from thread to thread. */
struct letter {
    uint32_t seed;
    uint32_t size;
    const struct domain *domain;
    unsigned char bytes[];
};

static struct mailbox post;
static struct shared working; /* switchers that are not done: all others go on until then */

static void send(struct random *random) {
    const struct domain *domain = &domains[PYMEM_DOMAIN_MEM + random_below(random, 2)];
    size_t size = random_below(random, 600);
    struct letter *letter = domain->malloc(sizeof(*letter) + size);
    EXPECT(letter != NULL);
    *letter = (struct letter){(uint32_t)random_next(random), (uint32_t)size, domain};
    pattern_fill(letter->bytes, size, letter->seed);
    if (!mailbox_try_put(&post, letter)) {
        domain->free(letter);
    }
}

static void receive(struct random *random) {
    struct letter *letter = mailbox_try_take(&post);
    if (letter == NULL) {
        return;
    }
    pattern_check(letter->bytes, letter->size, letter->seed);
    if (random_below(random, 4) == 0) {
        gilloc_retire(letter->domain->id, letter);
    } else {
        letter->domain->free(letter);
    }
}

/* Plain: in gil mode it is written by whoever is attached, from one safepoint to the next. */
static size_t in_gil_mode;

static void expect_alone(void) {
    if (gilloc_get_mode() == GILLOC_MODE_GIL) {
        size_t before = in_gil_mode;
        PyMem_Free(PyMem_Malloc(30));
        EXPECT_EQ(in_gil_mode, before);
        in_gil_mode = before + 1;
        EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL);
    }
}

static void work_for_a_while(struct random *random) {
    for (int i = 0; i < 30; i++) {
        send(random);
        expect_alone();
        receive(random);
        if (i % 4 == 0) {
            gilloc_safepoint();
        }
        if (i % 16 == 0) {
            Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS
        }
    }
}

/* Stays attached. */
static void *work(void *arg) {
    struct random random = random_seeded((size_t)arg);
    PyGILState_STATE was = PyGILState_Ensure();
    while (shared_get(&working) != 0) {
        work_for_a_while(&random);
        struct random_work some = {.seed = random_next(&random), .operations = 200, .live = 60, .safepoint = 7};
        random_work_do(&some);
    }
    PyGILState_Release(was);
    return NULL;
}

/* By states that are born and die. */
static void *live_again_and_again(void *arg) {
    struct random random = random_seeded((size_t)arg);
    while (shared_get(&working) != 0) {
        PyGILState_STATE was = PyGILState_Ensure();
        work_for_a_while(&random);
        PyGILState_Release(was);
        PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
        EXPECT(state != NULL);
        PyEval_RestoreThread(state);
        work_for_a_while(&random);
        PyThreadState_DeleteCurrent();
    }
    return NULL;
}

static void *live_once(void *arg) {
    struct random random = random_seeded((size_t)arg);
    PyGILState_STATE was = PyGILState_Ensure();
    work_for_a_while(&random);
    PyGILState_Release(was);
    return NULL;
}

static void *start_threads(void *arg) {
    for (size_t i = 0; shared_get(&working) != 0; i++) {
        thread_join(thread_start(live_once, (char *)arg + i));
    }
    return NULL;
}

/* Detached: looks into the caches of others, and empties them. */
static void *look_and_purge(void *arg) {
    (void)arg;
    for (size_t i = 0; shared_get(&working) != 0; i++) {
        if (i % 8 == 0) {
            memory_stats();
        } else {
            gilloc_purge();
        }
    }
    return NULL;
}

#define SWITCHES ROUNDS(2000)

static void *switch_again_and_again(void *arg) {
    struct random random = random_seeded((size_t)arg);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < SWITCHES; i++) {
        gilloc_mode mode = other_mode();
        errno = 77;
        EXPECT_EQ(gilloc_set_mode(mode), 0);
        EXPECT_EQ(errno, 77);
        send(&random);
        expect_alone();
        receive(&random);
        if (i % 64 == 0) {
            EXPECT_EQ(gilloc_check(), 0);
        }
        if (i % 2 == 0) {
            gilloc_safepoint();
        } else {
            Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS
        }
    }
    PyGILState_Release(was);
    shared_add(&working, (size_t)-1);
    return NULL;
}

static void switch_beside(const thread_body *bodies, size_t count, size_t switchers) {
    pthread_t threads[8];
    mailbox_init(&post, 200);
    shared_set(&working, switchers);
    for (size_t i = 0; i < count; i++) {
        threads[i] = thread_start(bodies[i], (void *)(i + 1));
    }
    for (size_t i = 0; i < switchers; i++) {
        threads[count + i] = thread_start(switch_again_and_again, (void *)(count + i + 1));
    }
    for (size_t i = 0; i < count + switchers; i++) {
        thread_join(threads[i]);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    struct random random = random_seeded(1);
    while (post.count != 0) {
        receive(&random);
    }
    gilloc_reclaim();
    mailbox_fini(&post);
    EXPECT_EQ(memory_stats().thread_states, 1);
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void a_switch_beside_working_threads(void) {
    static const thread_body bodies[] = {work, live_again_and_again, start_threads};
    switch_beside(bodies, 3, 1);
}

static void several_threads_switch(void) {
    static const thread_body bodies[] = {work, live_again_and_again};
    switch_beside(bodies, 2, 3);
}

/* Attaches by many states in turn, each with a full cache. */
#define STATES 24

static void *attach_by_each(void *arg) {
    struct random random = random_seeded((size_t)arg);
    PyThreadState *states[STATES];
    for (size_t i = 0; i < STATES; i++) {
        states[i] = PyThreadState_New(PyInterpreterState_Main());
        EXPECT(states[i] != NULL);
    }
    for (size_t i = 0; shared_get(&working) != 0; i++) {
        void *blocks[32];
        PyEval_RestoreThread(states[i % STATES]);
        for (size_t j = 0; j < 32; j++) {
            blocks[j] = PyObject_Malloc(j * 16 + random_below(&random, 16));
            EXPECT(blocks[j] != NULL);
        }
        for (size_t j = 0; j < 32; j++) {
            PyObject_Free(blocks[j]);
        }
        PyEval_SaveThread();
    }
    for (size_t i = 0; i < STATES; i++) {
        PyThreadState_Delete(states[i]);
    }
    return NULL;
}

/* A purge that began in GIL-free mode claims one idle cache after the other, of which threads attach by another mode's
   rules in the end. */
static void a_switch_beside_statistics_and_purges(void) {
    static const thread_body bodies[] = {look_and_purge, attach_by_each, attach_by_each, look_and_purge};
    switch_beside(bodies, 4, 1);
}

static void a_switch_that_is_none(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    uint64_t stops = memory_stats().world_stops;
    EXPECT_EQ(gilloc_set_mode(gilloc_get_mode()), 0);
    EXPECT_AT_MOST(memory_stats().world_stops, stops + 1);
    PyGILState_Release(was);
}

/* --- switching in a stopped world ------------------------------------------------------------- */

static struct shared ready, came;
static size_t plain_word; /* by who has stopped the world, then by who is attached, one after the other */

static void *come_in(void *arg) {
    shared_add(&ready, 1);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(gilloc_get_mode(), *(gilloc_mode *)arg);
    EXPECT_EQ(plain_word, 1);
    PyMem_Free(PyMem_Malloc(100));
    shared_add(&came, 1);
    PyGILState_Release(was);
    return NULL;
}

/* Waits at a safepoint while the mode changes. */
static void *come_back(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *blocks[100];
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = PyMem_Malloc(i);
        EXPECT(blocks[i] != NULL);
    }
    gilloc_mode before = gilloc_get_mode();
    shared_add(&ready, 1);
    while (gilloc_get_mode() == before) {
        gilloc_safepoint();
    }
    EXPECT_EQ(gilloc_get_mode(), *(gilloc_mode *)arg);
    EXPECT_EQ(plain_word, 1);
    for (size_t i = 0; i < 100; i++) {
        PyMem_Free(blocks[i]);
    }
    shared_add(&came, 1);
    PyGILState_Release(was);
    return NULL;
}

static void who_waits_comes_in_by_the_new_mode(void) {
    gilloc_mode mode = other_mode();
    gilloc_set_switch_interval(100);
    for (int round = 0; round < 10; round++) {
        pthread_t threads[4];
        shared_set(&ready, 0);
        shared_set(&came, 0);
        plain_word = 0;
        threads[0] = thread_start(come_back, &mode);
        threads[1] = thread_start(come_back, &mode);
        while (shared_get(&ready) != 2) {
            sched_yield();
        }
        PyGILState_STATE was = PyGILState_Ensure();
        gilloc_stop_the_world();
        threads[2] = thread_start(come_in, &mode);
        threads[3] = thread_start(come_in, &mode);
        while (shared_get(&ready) != 4) {
            sched_yield();
        }
        /* There, back and there again. */
        EXPECT_EQ(gilloc_set_mode(mode), 0);
        EXPECT_EQ(gilloc_set_mode(other_mode()), 0);
        EXPECT_EQ(gilloc_set_mode(mode), 0);
        void *block = PyObject_Malloc(64);
        for (int i = 0; i < 100; i++) {
            EXPECT_EQ(shared_get(&came), 0);
            sched_yield();
        }
        EXPECT_EQ(gilloc_check(), 0);
        PyObject_Free(block);
        plain_word = 1;
        gilloc_start_the_world();
        Py_BEGIN_ALLOW_THREADS for (size_t i = 0; i < 4; i++) { thread_join(threads[i]); }
        Py_END_ALLOW_THREADS EXPECT_EQ(shared_get(&came), 4);
        memory_expect_all_back();
        EXPECT_EQ(gilloc_set_mode(other_mode()), 0);
        PyGILState_Release(was);
    }
}

/* --- states and blocks of the other mode ------------------------------------------------------ */

static void fill(PyThreadState *state, void **blocks, size_t count) {
    PyThreadState_Swap(state);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = PyObject_Malloc(i % 513);
        EXPECT(blocks[i] != NULL);
        pattern_fill(blocks[i], i % 513, (uint32_t)i);
    }
}

static void empty(PyThreadState *state, void **blocks, size_t count) {
    PyThreadState_Swap(state);
    for (size_t i = 0; i < count; i++) {
        pattern_check(blocks[i], i % 513, (uint32_t)i);
        PyObject_Free(blocks[i]);
    }
}

#define KEPT 1500

/* A state that was made, and filled, in one mode is used, emptied and deleted in the other. */
static void states_and_blocks_survive_a_switch(void) {
    static void *blocks[3][KEPT];
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *mine = PyThreadState_Get(), *states[2];
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < 2; i++) {
            states[i] = PyThreadState_New(PyInterpreterState_Main());
            fill(states[i], blocks[i], KEPT);
        }
        fill(mine, blocks[2], KEPT);
        EXPECT_EQ(gilloc_set_mode(other_mode()), 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 3 * KEPT);
        EXPECT_EQ(gilloc_check(), 0);
        empty(states[1], blocks[0], KEPT);
        empty(mine, blocks[1], KEPT);
        fill(states[0], blocks[1], KEPT);
        PyThreadState_Swap(mine);
        EXPECT_EQ(gilloc_set_mode(other_mode()), 0);
        empty(states[0], blocks[2], KEPT);
        fill(states[1], blocks[2], KEPT);
        PyThreadState_Swap(mine);
        EXPECT_EQ(gilloc_set_mode(other_mode()), 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 2 * KEPT);
        PyThreadState_Delete(states[0]);
        PyThreadState_Delete(states[1]);
        empty(mine, blocks[1], KEPT);
        empty(mine, blocks[2], KEPT);
        memory_expect_all_back();
    }
    PyGILState_Release(was);
}

/* What was retired in one mode is freed in the other. */
static void what_was_retired_survives_a_switch(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_set_retire_limit((size_t)1 << 30);
    PyThreadState *mine = PyThreadState_Get(), *state = PyThreadState_New(PyInterpreterState_Main());
    for (int round = 0; round < 4; round++) {
        uint64_t before = memory_stats().retired_blocks;
        for (size_t i = 0; i < 300; i++) {
            PyThreadState_Swap(i % 2 == 0 ? state : mine);
            gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(i % 600));
        }
        EXPECT_EQ(gilloc_set_mode(other_mode()), 0);
        EXPECT_EQ(gilloc_allocated_blocks(), 300);
        EXPECT_EQ(memory_stats().retired_blocks, before + 300);
        gilloc_reclaim();
        PyThreadState_Swap(state);
        gilloc_reclaim();
        PyThreadState_Swap(mine);
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        memory_expect_all_back();
    }
    PyThreadState_Delete(state);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_OPEN_MODE(unset_is_gil_mode),
        IN_OPEN_MODE(one_is_gil_mode),
        IN_OPEN_MODE(zero_is_free_mode),
        IN_OPEN_MODE(zero_counts_whichever_call_is_first),
        IN_OPEN_MODE(empty_is_unset),
        IN_OPEN_MODE(a_call_beats_the_environment),
        IN_OPEN_MODE(the_last_call_counts),
        IN_OPEN_MODE(no_such_mode),
        IN_BOTH_MODES(a_detached_thread_is_too_late_after_the_first_state),
        IN_BOTH_MODES(every_thread_sees_the_same),
        IN_BOTH_MODES(a_switch_beside_working_threads),
        IN_BOTH_MODES(several_threads_switch),
        IN_BOTH_MODES(a_switch_beside_statistics_and_purges),
        IN_BOTH_MODES(a_switch_that_is_none),
        IN_BOTH_MODES(who_waits_comes_in_by_the_new_mode),
        IN_BOTH_MODES(states_and_blocks_survive_a_switch),
        IN_BOTH_MODES(what_was_retired_survives_a_switch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + death_run_group("bad values", bad_values, sizeof(bad_values) / sizeof(bad_values[0]));
}
