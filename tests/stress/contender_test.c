/* SPDX-License-Identifier: MIT */
/*
 * contender_test.c - who is measured, who can run what, and the text for a missing peer.
 */
#include "stress/bench/contender.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/stress/files.h"

static void test_lists(void **state) {
    (void)state;
    for (size_t i = 0; i < contender_count; i++) {
        assert_ptr_equal(contender_find(contenders[i].name), &contenders[i]);
        /* What is not ours and not libc's has a package to be named. */
        assert_true(!contenders[i].is_peer || contenders[i].library == NULL || contenders[i].package != NULL);
    }
    assert_null(contender_find("nope"));
    for (size_t i = 0; i < workload_count; i++) {
        assert_ptr_equal(workload_find(workloads[i].name), &workloads[i]);
        assert_true(workloads[i].figure_count > 0);
    }
    assert_null(workload_find("nope"));
}

static void test_who_can(void **state) {
    (void)state;
    const struct workload *pair = workload_find("pair-32"), *birth = workload_find("birth");
    const struct workload *lock = workload_find("lock-pair");
    for (size_t i = 0; i < contender_count; i++) {
        assert_int_equal(contender_can_run(&contenders[i], pair), contenders[i].base == NULL);
    }
    assert_true(contender_can_run(contender_find("glibc"), birth));
    assert_false(contender_can_run(contender_find("limit-call"), birth));
    assert_false(contender_can_run(contender_find("null"), birth));
    assert_true(contender_can_run(contender_find("null"), workload_find("ring")));
    assert_false(contender_can_run(contender_find("limit-inline"), workload_find("ring")));
    assert_true(contender_can_run(contender_find("pymalloc"), lock));
    assert_false(contender_can_run(contender_find("glibc"), lock));
    assert_true(workload_is_threaded(workload_find("ring")));
    assert_false(workload_is_threaded(pair));
    assert_false(workload_is_threaded(workload_find("lock-io-4")));
}

/* A setting is measured beside the same without it, and nowhere else. */
static void test_settings(void **state) {
    (void)state;
    const struct workload *overheads = workload_find("over-jsonre");
    size_t count = 0;
    assert_int_equal(workload_trace(overheads), workload_trace(workload_find("trace-jsonre")));
    assert_int_equal(workload_trace(workload_find("over-pair")), -1);
    assert_false(contender_can_run(contender_find("glibc"), overheads));
    assert_true(contender_can_run(contender_find("null"), overheads));
    for (size_t i = 0; i < contender_count; i++) {
        const struct contender *contender = &contenders[i];
        if (contender->base == NULL) continue;
        const struct contender *base = contender_find(contender->base);
        assert_true(contender_can_run(contender, overheads));
        assert_true(contender_can_run(base, overheads));
        assert_null(base->base);
        assert_string_equal(contender->library, base->library);
        assert_int_equal(contender->abilities, base->abilities);
        assert_int_equal(contender->one_at_a_time, base->one_at_a_time);
        assert_non_null(strchr(contender->environment, '='));
        count++;
    }
    assert_int_equal(count, 12);
}

static void test_missing(void **state) {
    (void)state;
    char directory[PATH_MAX], expected[PATH_MAX + 256], problem[PATH_MAX + 256], path[PATH_MAX];
    mkdir(test_path(directory, "libraries"), 0700);
    assert_null(contender_library(contender_find("jemalloc"), directory, problem, sizeof problem));
    snprintf(expected, sizeof expected, "libjemalloc.so.2 is not in %s (Debian: apt-get install libjemalloc2)",
             directory);
    assert_string_equal(problem, expected);

    struct bytes bytes = {0};
    bytes_add(&bytes, "", 0);
    write_file(test_path(path, "libraries/libjemalloc.so.2"), &bytes);
    bytes_free(&bytes);
    char *found = contender_library(contender_find("jemalloc"), directory, problem, sizeof problem);
    assert_string_equal(found, path);
    free(found);

    char *none = contender_library(contender_find("glibc"), directory, problem, sizeof problem);
    assert_string_equal(none, "");
    free(none);
}

/* Where the loader looks, there is no library of that name. */
static void test_missing_everywhere(void **state) {
    (void)state;
    char problem[PATH_MAX];
    struct contender nobody = {.name = "nobody", .library = "libnobody.so.0", .package = "libnobody0"};
    assert_null(contender_library(&nobody, NULL, problem, sizeof problem));
    assert_string_equal(problem,
                        "libnobody.so.0 is not in the loader's directories (Debian: apt-get install libnobody0)");
    struct contender libc = {.name = "libc", .library = "libc.so.6", .package = "libc6"};
    char *found = contender_library(&libc, NULL, problem, sizeof problem);
    assert_non_null(found);
    free(found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_who_can),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_missing_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
