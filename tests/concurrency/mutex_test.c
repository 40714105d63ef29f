/* SPDX-License-Identifier: MIT */
/*
 * mutex_test.c - ranks go upwards, in each thread by itself; a mutex excludes.
 *   Ranks are checked in builds with assertions alone; the tests of that are skipped under NDEBUG, where there is
 *   nothing to test.
 */
#include "concurrency/mutex.h"

#include <signal.h>
#include <stdio.h>

#include "tests/concurrency/unit.h"
#include "tests/support/child.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

#define RANK_NAME(rank, name) [rank] = name,
static const char *const rank_names[GI_RANK_COUNT] = {GI_MUTEX_RANKS(RANK_NAME)};

static gi_mutex mutexes[GI_RANK_COUNT];

static void init_all(void) {
    for (unsigned rank = 0; rank < GI_RANK_COUNT; rank++) {
        gi_mutex_init(&mutexes[rank], (gi_mutex_rank)rank);
        EXPECT_EQ(mutexes[rank].rank, rank);
    }
}

/* --- what is right ---------------------------------------------------------------------------- */

static void upwards_is_right_and_drops_come_in_any_order(void) {
    init_all();
    for (int i = 0; i < 2; i++) {
        for (unsigned rank = 0; rank < GI_RANK_COUNT; rank++) {
            gi_mutex_lock(&mutexes[rank]);
        }
        for (unsigned rank = 0; rank < GI_RANK_COUNT; rank++) {
            gi_mutex_unlock(&mutexes[i == 0 ? rank : GI_RANK_COUNT - 1 - rank]);
        }
    }
    /* What has been dropped no longer counts. */
    for (unsigned rank = GI_RANK_COUNT; rank-- > 0;) {
        gi_mutex_lock(&mutexes[rank]);
        gi_mutex_unlock(&mutexes[rank]);
    }
}

static void *lock_lowest(void *arg) {
    (void)arg;
    gi_mutex_lock(&mutexes[0]);
    gi_mutex_unlock(&mutexes[0]);
    return NULL;
}

static void ranks_are_each_threads_own(void) {
    init_all();
    gi_mutex_lock(&mutexes[GI_RANK_COUNT - 1]);
    thread_join(thread_start(lock_lowest, NULL));
    gi_mutex_unlock(&mutexes[GI_RANK_COUNT - 1]);
}

static void a_static_mutex_needs_no_init(void) {
    static gi_mutex mutex = GI_MUTEX_INIT(GI_RANK_ARENA);
    EXPECT_EQ(mutex.rank, GI_RANK_ARENA);
    gi_mutex_lock(&mutex);
    gi_mutex_unlock(&mutex);
}

/* --- exclusion -------------------------------------------------------------------------------- */

static size_t plain_counter; /* guarded by mutexes[GI_RANK_ARENA] */

static void *count(void *arg) {
    (void)arg;
    for (size_t i = 0; i < ROUNDS(20000); i++) {
        gi_mutex_lock(&mutexes[GI_RANK_ARENA]);
        plain_counter++;
        gi_mutex_unlock(&mutexes[GI_RANK_ARENA]);
    }
    return NULL;
}

static void one_thread_at_a_time(void) {
    init_all();
    threads_run(4, count, NULL, 0);
    EXPECT_EQ(plain_counter, 4 * ROUNDS(20000));
}

/* --- what is wrong ---------------------------------------------------------------------------- */

struct pair {
    unsigned first, second;
};

static void take_pair(void *arg) {
    const struct pair *pair = arg;
    init_all();
    gi_mutex_lock(&mutexes[pair->first]);
    gi_mutex_lock(&mutexes[pair->second]);
}

static void expect_inversion(struct child_end *end, const char *taking, const char *holding) {
    char text[256];
    snprintf(text, sizeof(text),
             "Fatal gilloc error: internal check: lock order: taking '%s' while holding '%s'\n"
             "  do       report this as a defect of gilloc\n",
             taking, holding);
    assert_string_equal(end->text, text);
    assert_int_equal(end->signal, SIGABRT);
    child_end_fini(end);
}

static void downwards_dies_naming_both(void **state) {
    (void)state;
    unit_skip_without_assertions();
    struct child_end end;
    for (unsigned first = 0; first < GI_RANK_COUNT; first++) {
        for (unsigned second = 0; second <= first; second++) {
            child_run(&end, take_pair, &(struct pair){first, second});
            expect_inversion(&end, rank_names[second], rank_names[first]);
        }
    }
}

static void take_between(void *arg) {
    (void)arg;
    init_all();
    gi_mutex_lock(&mutexes[GI_RANK_DOMAIN]);
    gi_mutex_lock(&mutexes[GI_RANK_ARENA]);
    gi_mutex_lock(&mutexes[GI_RANK_OS]);
    gi_mutex_lock(&mutexes[GI_RANK_SHARED_HEAP]);
}

static void the_lowest_above_is_named(void **state) {
    (void)state;
    unit_skip_without_assertions();
    struct child_end end;
    child_run(&end, take_between, NULL);
    expect_inversion(&end, rank_names[GI_RANK_SHARED_HEAP], rank_names[GI_RANK_ARENA]);
}

static void unlock_what_is_not_held(void) {
    init_all();
    gi_mutex_lock(&mutexes[GI_RANK_OS]);
    gi_mutex_unlock(&mutexes[GI_RANK_ARENA]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(upwards_is_right_and_drops_come_in_any_order),
        IN_CHILD(ranks_are_each_threads_own),
        IN_CHILD(a_static_mutex_needs_no_init),
        IN_CHILD(one_thread_at_a_time),
        cmocka_unit_test(downwards_dies_naming_both),
        cmocka_unit_test(the_lowest_above_is_named),
        FAILS_ASSERTION(unlock_what_is_not_held, "(held >> rank & 1u) != 0"),
    };
    return cmocka_run_group_tests_name("mutex", tests, NULL, NULL);
}
