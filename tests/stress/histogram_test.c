/* SPDX-License-Identifier: MIT */
/*
 * histogram_test.c - durations and their quantiles.
 */
#include "stress/bench/histogram.h"

#include "tests/stress/files.h"

static struct histogram histogram;

static int setup(void **state) {
    (void)state;
    histogram = (struct histogram){0};
    return 0;
}

/* A value's cell never goes down, and each cell is reached within 1/32 of the value. */
static void test_cells(void **state) {
    (void)state;
    unsigned last = 0;
    for (uint64_t value = 0; value < 100000; value++) {
        unsigned cell = histogram_cell(value);
        assert_true(cell == last || cell == last + 1);
        last = cell;
    }
    assert_true(histogram_cell(UINT64_MAX) < sizeof histogram.cells / sizeof *histogram.cells);
}

static void test_quantiles(void **state) {
    (void)state;
    for (uint64_t value = 1; value <= 1000; value++) histogram_add(&histogram, value * 1000);
    double median = histogram_quantile(&histogram, 0.5), p999 = histogram_quantile(&histogram, 0.999);
    assert_true(median <= 500000 && median > 500000 * 31.0 / 32);
    assert_true(p999 <= 999000 && p999 > 999000 * 31.0 / 32);
    assert_int_equal(histogram.worst, 1000000);
    assert_int_equal(histogram.count, 1000);
}

/* Small values are exact. */
static void test_exact(void **state) {
    (void)state;
    histogram_add(&histogram, 7);
    histogram_add(&histogram, 9);
    histogram_add(&histogram, 11);
    assert_true(histogram_quantile(&histogram, 0) == 7);
    assert_true(histogram_quantile(&histogram, 0.5) == 9);
    assert_true(histogram_quantile(&histogram, 1) == 11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_cells, setup),
        cmocka_unit_test_setup(test_quantiles, setup),
        cmocka_unit_test_setup(test_exact, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
