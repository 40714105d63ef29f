/* SPDX-License-Identifier: MIT */
/*
 * size_class_test.c - each small request has the least class that holds it.
 */
#include "lib/arena/size_class.h"

#include "tests/concurrency/unit.h"

static void each_request_has_the_least_class_that_holds_it(void) {
    for (size_t size = 1; size <= GI_SMALL_MAX; size++) {
        unsigned size_class = gi_size_class(size);
        EXPECT(size_class < GI_CLASSES);
        EXPECT(gi_class_size(size_class) >= size);
        EXPECT(size_class == 0 || gi_class_size(size_class - 1) < size);
    }
}

static void classes_are_sizes_of_their_own(void) {
    EXPECT_EQ(gi_class_size(GI_CLASSES - 1), GI_SMALL_MAX);
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        EXPECT_EQ(gi_size_class(gi_class_size(size_class)), size_class);
        EXPECT_EQ(gi_class_size(size_class) % GI_ALIGNMENT, 0);
    }
}

static void arenas_and_pools_fit_each_other(void) {
    EXPECT_EQ(GI_ARENA_POOLS * GI_POOL_SIZE, GI_ARENA_SIZE);
    EXPECT(GI_POOL_SIZE / GI_SMALL_MAX > 1); /* no class is alone in its pool */
#ifndef GI_HOSTILE
    EXPECT_EQ(GI_ARENA_SIZE, 262144); /* what an arena allocator is asked for: the contract of gilloc/pymem.h */
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(each_request_has_the_least_class_that_holds_it),
        IN_CHILD(classes_are_sizes_of_their_own),
        IN_CHILD(arenas_and_pools_fit_each_other),
    };
    return cmocka_run_group_tests_name("size class", tests, NULL, NULL);
}
