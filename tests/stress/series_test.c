/* SPDX-License-Identifier: MIT */
/*
 * series_test.c - medians, spreads and ratios over rounds.
 */
#include "stress/bench/series.h"

#include <math.h>

#include "tests/stress/files.h"

#define EPSILON 1e-6F

static struct series of(size_t count, const double *values) {
    struct series series = {.count = count};
    for (size_t i = 0; i < count; i++) series.values[i] = values[i];
    return series;
}

#define OF(...) of(sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static void test_median(void **state) {
    (void)state;
    struct series one = OF(7), odd = OF(9, 1, 5), even = OF(8, 2, 4, 6), none = {.count = 0};
    assert_float_equal((float)series_median(&one), 7, EPSILON);
    assert_float_equal((float)series_median(&odd), 5, EPSILON);
    assert_float_equal((float)series_median(&even), 5, EPSILON);
    assert_true(isnan(series_median(&none)));
    assert_float_equal((float)odd.values[0], 9, EPSILON); /* the rounds stay in order */
}

static void test_spread(void **state) {
    (void)state;
    struct series same = OF(3, 3), some = OF(8, 10, 13), none = {.count = 0}, zeros = OF(0, 0);
    assert_float_equal((float)series_spread(&same), 0, EPSILON);
    assert_float_equal((float)series_spread(&some), 0.5, EPSILON);
    assert_float_equal((float)series_spread(&zeros), 0, EPSILON);
    assert_true(isnan(series_spread(&none)));
}

/* Round by round: a machine that is slow for one round does not move it. */
static void test_ratio(void **state) {
    (void)state;
    struct series a = OF(1, 10, 2), b = OF(2, 20, 4), short_one = OF(4), zeros = OF(0, 0, 0);
    assert_float_equal((float)series_ratio(&a, &b), 0.5, EPSILON);
    assert_float_equal((float)series_ratio(&a, &short_one), 0.25, EPSILON);
    assert_true(isnan(series_ratio(&a, &zeros)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_median),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_ratio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
