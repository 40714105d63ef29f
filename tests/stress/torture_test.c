/* SPDX-License-Identifier: MIT */
/*
 * torture_test.c - torture as its user sees it: each scenario, very short, its
 * table and JSON, and texts for what cannot be used.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/torture/scenario.h"
#include "tests/stress/outcome.h"

static char program[PATH_MAX];

#define RUN(...) outcome_run((char *[]){program, __VA_ARGS__, NULL}, NULL)

/* --- sound runs ------------------------------------------------------------------------------- */

static void test_help(void **state) {
    (void)state;
    static const char *const options[] = {"--scenario=", "--mode=", "--seconds=", "--operations=", "--threads=",
                                          "--lives=",    "--seed=", "--json=",    "--help"};
    struct outcome outcome = RUN("--help");
    const char *out = outcome_text(&outcome.out);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) assert_non_null(strstr(out, options[i]));
    for (size_t i = 0; scenarios[i] != NULL; i++) assert_non_null(strstr(out, scenarios[i]->name));
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    outcome_free(&outcome);
}

static void assert_sound(json_t *row) {
    const json_t *ages = json_object_get(row, "ages");
    assert_true(json_is_null(json_object_get(row, "bug")));
    assert_int_equal(json_integer_value(json_object_get(row, "blocks_left")), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "check")), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "faults")), 0);
    assert_true(json_integer_value(json_object_get(row, "operations")) > 0);
    assert_int_equal(json_array_size(ages), TRIAL_AGES);
    for (size_t age = TRIAL_AGE_LIMIT; age < TRIAL_AGES; age++) {
        assert_int_equal(json_integer_value(json_array_get(ages, age)), 0);
    }
}

/* All scenarios in all their modes; a sanitizer's report is an exit status, and so a bug. */
static void test_all_scenarios(void **state) {
    (void)state;
    char path[PATH_MAX], json[PATH_MAX + 16];
    snprintf(json, sizeof json, "--json=%s", test_path(path, "torture.json"));
    struct outcome outcome = RUN("--operations=3000", "--threads=4", "--seed=3", json);
    outcome_assert_good(&outcome);
    assert_string_equal(outcome_text(&outcome.err), "");
    assert_int_equal(outcome_lines(outcome_text(&outcome.out), "No thread saw anything that it must not.\n"), 1);
    json_t *all = json_load_file(path, 0, NULL), *row;
    size_t i, rows = 0;
    for (i = 0; scenarios[i] != NULL; i++) rows += scenarios[i]->modes == SCENARIO_BOTH ? 2 : 1;
    assert_true(json_is_true(json_object_get(all, "ok")));
    assert_int_equal(json_integer_value(json_object_get(all, "seed")), 3);
    assert_int_equal(json_array_size(json_object_get(all, "rows")), rows);
    json_array_foreach(json_object_get(all, "rows"), i, row) assert_sound(row);
    json_decref(all);
    outcome_free(&outcome);
}

/* Far more threads than processors; as many lives as were asked for. */
static void test_lives(void **state) {
    (void)state;
    char path[PATH_MAX], json[PATH_MAX + 16];
    snprintf(json, sizeof json, "--json=%s", test_path(path, "lives.json"));
    struct outcome outcome =
        RUN("--scenario=lives", "--mode=free", "--operations=1", "--lives=100", "--threads=32", json);
    outcome_assert_good(&outcome);
    json_t *all = json_load_file(path, 0, NULL), *row = json_array_get(json_object_get(all, "rows"), 0);
    assert_sound(row);
    assert_true(json_integer_value(json_object_get(row, "lives")) >= 100);
    assert_int_equal(json_integer_value(json_object_get(row, "threads")), 32);
    json_decref(all);
    outcome_free(&outcome);
}

/* --- what cannot be used ---------------------------------------------------------------------- */

static void test_bad_options(void **state) {
    (void)state;
    outcome_assert_unusable(RUN("--scenario=readers,nope"),
                            "torture: --scenario=readers,nope: there is no 'nope'; see --help\n");
    outcome_assert_unusable(RUN("--scenario="), "torture: --scenario=: there is no ''; see --help\n");
    outcome_assert_unusable(RUN("--mode=gli"), "torture: --mode=gli: give gil, free or both\n");
    outcome_assert_unusable(RUN("--seconds=0"), "torture: --seconds=0: give a number from 1 to 1000000\n");
    outcome_assert_unusable(RUN("--operations=x"), "torture: --operations=x: give a number from 1 to 1000000000000\n");
    outcome_assert_unusable(RUN("--threads=1025"), "torture: --threads=1025: give a number from 1 to 1024\n");
    outcome_assert_unusable(RUN("--lives=-1"), "torture: --lives=-1: give a number from 1 to 1000000000\n");
    outcome_assert_unusable(RUN("--seed=9223372036854775808"),
                            "torture: --seed=9223372036854775808: give a number from 0 to 9223372036854775807\n");
    outcome_assert_unusable(RUN("--json=/nowhere/x"),
                            "torture: --json=/nowhere/x: cannot write: No such file or directory\n");
    outcome_assert_unusable(RUN("--frobnicate"), "torture: --frobnicate: no such option; see --help\n");
    outcome_assert_unusable(RUN("--json"), "torture: --json: a value is missing; see --help\n");
    outcome_assert_unusable(RUN("readers"), "torture: readers: not an option; see --help\n");
}

/* --- what breaks ------------------------------------------------------------------------------ */

static void test_a_row_that_cannot_run(void **state) {
    (void)state;
    setenv("PYTHON_GIL", "perhaps", 1);
    struct outcome outcome = RUN("--scenario=pairs", "--operations=1");
    unsetenv("PYTHON_GIL");
    assert_int_equal(outcome.status, 1);
    const char *out = outcome_text(&outcome.out);
    assert_int_equal(outcome_lines(out, "pairs         free        8  no result: broken\n"), 1);
    assert_int_equal(outcome_lines(out, "BUG: pairs, free mode: ended with status 1\n"), 1);
    assert_int_equal(outcome_lines(out, "No thread saw"), 0);
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),        cmocka_unit_test(test_all_scenarios),         cmocka_unit_test(test_lives),
        cmocka_unit_test(test_bad_options), cmocka_unit_test(test_a_row_that_cannot_run),
    };
    if (realpath("stress/torture", program) == NULL) {
        perror("stress/torture");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
