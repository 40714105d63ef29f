/* SPDX-License-Identifier: MIT */
/*
 * costs_test.c - costs as its user sees it: each cost once, its table and JSON,
 * and texts for what cannot be used.  No time is looked at.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/costs/cost.h"
#include "tests/stress/outcome.h"

static char program[PATH_MAX];

#define RUN(...) outcome_run((char *[]){program, __VA_ARGS__, NULL}, NULL)

static void test_quantiles(void **state) {
    (void)state;
    struct sample sample = {0};
    assert_true(sample_quantile(&sample, 0.5) == 0);
    for (int i = 100; i > 0; i--) sample_add(&sample, i);
    assert_true(sample_quantile(&sample, 0) == 1);
    assert_true(sample_quantile(&sample, 0.5) == 51);
    assert_true(sample_quantile(&sample, 0.99) == 100);
    assert_true(sample_quantile(&sample, 1) == 100);
    json_t *json = sample_json(&sample);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), 100);
    assert_true(json_real_value(json_object_get(json, "p10")) == 11);
    json_decref(json);
    sample_free(&sample);
}

static void test_help(void **state) {
    (void)state;
    static const char *const options[] = {"--cost=", "--rounds=", "--json=", "--help"};
    struct outcome outcome = RUN("--help");
    const char *out = outcome_text(&outcome.out);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) assert_non_null(strstr(out, options[i]));
    for (size_t i = 0; costs[i] != NULL; i++) assert_non_null(strstr(out, costs[i]->name));
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    outcome_free(&outcome);
}

/* Processes that are started for a cost. */
static size_t processes(const struct cost *cost) {
    size_t threads = 0;
    while (cost->threads[threads] != 0) threads++;
    return threads * ((size_t)cost->gil + (size_t)cost->free);
}

static void test_all_costs(void **state) {
    (void)state;
    char path[PATH_MAX], json[PATH_MAX + 16];
    snprintf(json, sizeof json, "--json=%s", test_path(path, "costs.json"));
    struct outcome outcome = RUN("--rounds=1", json);
    outcome_assert_good(&outcome);
    assert_string_equal(outcome_text(&outcome.err), "");
    json_t *all = json_load_file(path, 0, NULL), *row;
    assert_true(json_is_true(json_object_get(all, "ok")));
    assert_int_equal(json_integer_value(json_object_get(all, "rounds")), 1);
    size_t i;
    for (i = 0; costs[i] != NULL; i++) {
        size_t k, rows = 0;
        json_array_foreach(json_object_get(all, "rows"), k, row) {
            if (strcmp(json_string_value(json_object_get(row, "cost")), costs[i]->name) == 0) rows++;
        }
        assert_true(rows >= processes(costs[i]));
    }
    json_array_foreach(json_object_get(all, "rows"), i, row) {
        assert_true(json_integer_value(json_object_get(json_object_get(row, "sample"), "count")) >= 1);
    }
    json_decref(all);
    outcome_free(&outcome);
}

static void test_bad_options(void **state) {
    (void)state;
    outcome_assert_unusable(RUN("--cost=nope"), "costs: --cost=nope: there is no 'nope'; see --help\n");
    outcome_assert_unusable(RUN("--rounds=0"), "costs: --rounds=0: give a number from 1 to 1000000\n");
    outcome_assert_unusable(RUN("--json=/nowhere/x"),
                            "costs: --json=/nowhere/x: cannot write: No such file or directory\n");
    outcome_assert_unusable(RUN("x"), "costs: x: not an option; see --help\n");
}

static void test_a_row_that_cannot_run(void **state) {
    (void)state;
    setenv("PYTHON_GIL", "perhaps", 1);
    struct outcome outcome = RUN("--cost=visit", "--rounds=1");
    unsetenv("PYTHON_GIL");
    assert_int_equal(outcome.status, 1);
    assert_int_equal(
        outcome_lines(outcome_text(&outcome.out), "BROKEN: visit, gil mode, 1 threads: ended with status 1\n"), 1);
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_all_costs),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_a_row_that_cannot_run),
    };
    if (realpath("stress/costs", program) == NULL) {
        perror("stress/costs");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
