/* SPDX-License-Identifier: MIT */
/*
 * random_test.c - random operations of all three domains against a shadow model: no overlap, every byte checked.
 */
#include <stdlib.h>

#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/random_work.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

static void one_thread(size_t operations) {
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(&(struct random_work){.seed = 1, .operations = operations, .live = 5000, .safepoint = 1000});
    memory_expect_all_back();
    /* Few blocks alive: pools and arenas come and go. */
    random_work_do(&(struct random_work){.seed = 2, .operations = operations / 4, .live = 50, .safepoint = 10});
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void random_operations(void) { one_thread(ROUNDS(1000000)); }

/* The same where the address space for arenas is not reserved at once, or runs out. */
static void random_operations_without_a_reservation(void) { one_thread(ROUNDS(200000)); }

static void *work_in_thread(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(arg);
    PyGILState_Release(was);
    return NULL;
}

static void random_operations_in_threads(void) {
    struct random_work work[4];
    for (size_t i = 0; i < 4; i++) {
        work[i] = (struct random_work){.seed = 10 + i, .operations = ROUNDS(150000), .live = 1000, .safepoint = 100};
    }
    threads_run(4, work_in_thread, work, sizeof(work[0]));
    PyGILState_STATE was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void reserve(const char *bytes) { EXPECT_EQ(setenv("GILLOC_RESERVE", bytes, 1), 0); }

static void no_reservation(void) {
    reserve("0");
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_GIL), 0);
    random_operations_without_a_reservation();
}

static void small_reservation(void) {
    reserve("1048576");
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
    random_operations_without_a_reservation();
}

static void odd_reservation(void) {
    reserve("3000001");
    EXPECT_EQ(gilloc_set_mode(GILLOC_MODE_FREE), 0);
    random_operations_without_a_reservation();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(random_operations), IN_BOTH_MODES(random_operations_in_threads),
        IN_OPEN_MODE(no_reservation),     IN_OPEN_MODE(small_reservation),
        IN_OPEN_MODE(odd_reservation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
