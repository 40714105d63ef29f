/* SPDX-License-Identifier: MIT */
/*
 * stats_race_test.c - figures while threads run: none below 0, what is counted "ever" never less, sums that fit.
 */
#include <jansson.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/figures.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#define RUNNERS 4
#define LOOKS ROUNDS(300)

static size_t sizes = 700; /* below this; set before threads run */
static struct shared stop;
static struct shared exchanged[64]; /* blocks that another thread is to free */

struct runner {
    size_t number;
    struct shared rounds;
};

static void *run(void *arg) {
    struct runner *self = arg;
    uint64_t random = self->number * 2 + 1;
    void *mine[64] = {NULL};
    while (!shared_get(&stop)) {
        PyGILState_STATE was = PyGILState_Ensure();
        for (int i = 0; i < 200; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t slot = random >> 58, size = (random >> 40) % sizes;
            PyObject_Free(mine[slot]);
            mine[slot] = PyObject_Malloc(size);
            if (i % 16 == 0) {
                void *theirs =
                    (void *)__atomic_exchange_n(&exchanged[slot].value, (size_t)mine[slot], __ATOMIC_ACQ_REL);
                mine[slot] = theirs;
            }
            if (i % 50 == 0) {
                gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(size));
                gilloc_safepoint();
            }
        }
        PyGILState_Release(was);
        shared_add(&self->rounds, 1);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(mine); i++) {
        PyObject_Free(mine[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

#define SANE ((uint64_t)1 << 40) /* what went below 0 is above */

static void check_stats(const gilloc_stats *before, const gilloc_stats *now) {
#define CHECK(field) EXPECT(now->field < SANE);
    FIGURES(CHECK)
#undef CHECK
#define GROWS(field) EXPECT(now->field >= before->field);
    GROWS(arenas_high)
    GROWS(arenas_acquired)
    GROWS(arenas_released)
    GROWS(bytes_from_system)
    GROWS(bytes_to_system)
    GROWS(remote_frees)
    GROWS(remote_batches)
    GROWS(thread_states_ever)
    GROWS(lock_takes)
    GROWS(lock_waits)
    GROWS(lock_handoffs)
    GROWS(retired_blocks)
    GROWS(grace_periods)
    GROWS(pools_orphaned)
    GROWS(pools_adopted)
    GROWS(lock_wait_ns)
    GROWS(lock_wait_max_ns)
    GROWS(lock_hold_max_ns)
#undef GROWS
    EXPECT(figures_ended_waits(now) <= now->lock_waits);
    EXPECT(now->arenas_high <= now->arenas_acquired && now->arenas_released <= now->arenas_acquired);
    for (size_t i = 0; i < GILLOC_WAIT_BUCKETS; i++) {
        EXPECT(now->lock_wait_histogram[i] >= before->lock_wait_histogram[i]);
    }
}

static int check_running_thread(const gilloc_thread_stats *stats, void *arg) {
    (void)arg;
    EXPECT(stats->cached_blocks < SANE && stats->cached_bytes < SANE && stats->remote_pending < SANE);
    EXPECT(stats->remote_waiting < SANE && stats->pools < SANE && stats->pool_blocks < SANE);
    EXPECT(stats->retired_bytes < SANE && stats->interpreter == 0 && stats->thread >= 0);
    return 0;
}

static int all_have_run(const struct runner *runners) {
    size_t count = 0;
    while (count < RUNNERS && shared_get(&runners[count].rounds) >= ROUNDS(200)) {
        count++;
    }
    return count == RUNNERS;
}

static void look_while_threads_run(void) {
    pthread_t threads[RUNNERS];
    struct runner runners[RUNNERS] = {{0}};
    for (size_t i = 0; i < RUNNERS; i++) {
        runners[i].number = i;
        threads[i] = thread_start(run, &runners[i]);
    }
    gilloc_stats before = memory_stats();
    for (size_t i = 0; i < LOOKS || !all_have_run(runners); i++) {
        gilloc_stats now = memory_stats();
        check_stats(&before, &now);
        before = now;
        figures_classes();
        EXPECT(gilloc_allocated_blocks() < 1000000);
        EXPECT_EQ(gilloc_visit_threads(check_running_thread, NULL), 0);
        if (i % 4 == 0) {
            char *text = figures_printed("text");
            figures_table(text);
            free(text);
            text = figures_printed("json");
            json_t *all = json_loads(text, 0, NULL);
            EXPECT(all != NULL);
            json_decref(all);
            free(text);
        }
        sched_yield();
    }
    shared_set(&stop, 1);
    for (size_t i = 0; i < RUNNERS; i++) {
        thread_join(threads[i]);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(exchanged); i++) {
        PyObject_Free((void *)shared_get(&exchanged[i]));
    }
    gilloc_reclaim();
    gilloc_stats now = memory_stats();
    EXPECT_EQ(now.small_blocks + now.large_blocks, 0);
    EXPECT_EQ(figures_ended_waits(&now), now.lock_waits);
    EXPECT_AT_MOST(figures_classes().in_use, now.quarantined_blocks);
    PyGILState_Release(was);
}

static void figures_are_sound_while_threads_run(void) { look_while_threads_run(); }

static void figures_are_sound_beside_debug_hooks(void) {
    PyMem_SetupDebugHooks();
    sizes = 400; /* what a quarantine keeps of the system's blocks looks as if it had leaked */
    look_while_threads_run();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(figures_are_sound_while_threads_run),
        IN_BOTH_MODES(figures_are_sound_beside_debug_hooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
