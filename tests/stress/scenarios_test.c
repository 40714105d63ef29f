/* SPDX-License-Identifier: MIT */
/*
 * scenarios_test.c - scenarios as its user sees it: each scenario with each
 * contender, very short, its table and JSON, and texts for what cannot be used.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/scenarios/contender.h"
#include "stress/scenarios/failure.h"
#include "tests/stress/outcome.h"

static char program[PATH_MAX];

#define RUN(...) outcome_run((char *[]){program, __VA_ARGS__, NULL}, NULL)

/* --- the parts -------------------------------------------------------------------------------- */

static void test_bounds(void **state) {
    (void)state;
    json_t *terms, *term;
    const char *name;
    struct bound_case bound = {.threads = 2, .retired = 8 << 20};
    int64_t bytes = bound_bytes(&bound, 128 << 20, &terms), sum = 0;
    json_object_foreach(terms, name, term) sum += json_integer_value(term);
    assert_int_equal(bytes, sum);
    assert_int_equal(json_integer_value(json_object_get(terms, "bins")), 0); /* no small blocks */
    /* The limit and one block for each thread, and once for what ended threads left. */
    assert_int_equal(json_integer_value(json_object_get(terms, "retired")), 3 * (9 << 20));
    assert_int_equal(bound_limit(100, bytes), 115 + bytes);
    json_decref(terms);
    bound = (struct bound_case){.threads = 1, .small = true};
    bound_bytes(&bound, 0, &terms);
    assert_int_equal(json_integer_value(json_object_get(terms, "retired")), 0);
    /* Twice 4 KiB up to 256 bytes, twice 16 blocks above. */
    assert_int_equal(json_integer_value(json_object_get(terms, "bins")), 16 * 8192 + 2 * 16 * 16 * (33 * 16 - 136));
    json_decref(terms);
}

static void test_missing_contender(void **state) {
    (void)state;
    struct contender nowhere = {"nowhere", HEAP_MALLOC, "libnowhere.so.9", "libnowhere9"};
    char text[256];
    const char *missing = contender_missing(&nowhere, text, sizeof text);
    assert_non_null(missing);
    if (!CONTENDER_CAN_PRELOAD) {
        assert_string_equal(missing, "not under a sanitizer, which has a malloc() of its own");
    } else {
        assert_string_equal(missing, "missing: libnowhere.so.9 (Debian: apt-get install libnowhere9)");
    }
    assert_null(contender_missing(&contenders[0], text, sizeof text));
}

/* --- sound runs ------------------------------------------------------------------------------- */

static void test_help(void **state) {
    (void)state;
    static const char *const options[] = {"--scenario=", "--contender=", "--live=", "--turns=", "--json=", "--help"};
    struct outcome outcome = RUN("--help");
    const char *out = outcome_text(&outcome.out);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) assert_non_null(strstr(out, options[i]));
    for (size_t i = 0; failures[i] != NULL; i++) assert_non_null(strstr(out, failures[i]->name));
    for (size_t i = 0; contenders[i].name != NULL; i++) assert_non_null(strstr(out, contenders[i].name));
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    outcome_free(&outcome);
}

static void assert_row(json_t *row) {
    const char *name = json_string_value(json_object_get(row, "contender"));
    const char *verdict = json_string_value(json_object_get(row, "verdict"));
    assert_non_null(name);
    assert_null(json_object_get(row, "problem"));
    if (json_object_get(row, "missing") != NULL) {
        assert_int_not_equal(strncmp(name, "gilloc", 6), 0);
        return;
    }
    assert_true(json_integer_value(json_object_get(row, "live")) >
                0); /* at one moment: how much is up to the threads */
    assert_true(json_array_size(json_object_get(row, "series")) >= 2);
    if (strncmp(name, "gilloc", 6) == 0) {
        assert_string_equal(verdict, BOUND_IS_JUDGED ? "ok" : "not judged");
    } else {
        assert_null(verdict);
    }
}

static void test_all_scenarios(void **state) {
    (void)state;
    char path[PATH_MAX], json[PATH_MAX + 16];
    snprintf(json, sizeof json, "--json=%s", test_path(path, "scenarios.json"));
    struct outcome outcome = RUN("--live=1", "--turns=2", json);
    outcome_assert_good(&outcome);
    assert_string_equal(outcome_text(&outcome.err), "");
    assert_int_equal(outcome_lines(outcome_text(&outcome.out), "gilloc kept within its bounds.\n"), 1);
    json_t *all = json_load_file(path, 0, NULL), *row;
    size_t i, rows = 0;
    for (i = 0; failures[i] != NULL; i++) rows += failures[i]->defers ? 7 : 6;
    assert_true(json_is_true(json_object_get(all, "ok")));
    assert_int_equal(json_array_size(json_object_get(all, "rows")), rows);
    json_array_foreach(json_object_get(all, "rows"), i, row) assert_row(row);
    json_decref(all);
    outcome_free(&outcome);
}

/* --- what cannot be used, what breaks --------------------------------------------------------- */

static void test_bad_options(void **state) {
    (void)state;
    outcome_assert_unusable(RUN("--scenario=nope"), "scenarios: --scenario=nope: there is no 'nope'; see --help\n");
    outcome_assert_unusable(RUN("--contender=gilloc,x"),
                            "scenarios: --contender=gilloc,x: there is no 'x'; see --help\n");
    outcome_assert_unusable(RUN("--live=0"), "scenarios: --live=0: give a number from 1 to 65536\n");
    outcome_assert_unusable(RUN("--turns=0"), "scenarios: --turns=0: give a number from 1 to 1000000\n");
    outcome_assert_unusable(RUN("--json=/nowhere/x"),
                            "scenarios: --json=/nowhere/x: cannot write: No such file or directory\n");
    outcome_assert_unusable(RUN("--help=1"), "scenarios: --help=1: this option takes no value; see --help\n");
}

static void test_a_row_that_cannot_run(void **state) {
    (void)state;
    setenv("PYTHON_GIL", "perhaps", 1);
    struct outcome outcome = RUN("--scenario=moved", "--contender=gilloc", "--live=1", "--turns=1");
    unsetenv("PYTHON_GIL");
    assert_int_equal(outcome.status, 1);
    const char *out = outcome_text(&outcome.out);
    assert_int_equal(outcome_lines(out, "gilloc       no result: broken\n"), 1);
    assert_int_equal(outcome_lines(out, "BROKEN: moved, gilloc: ended with status 1\n"), 1);
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_missing_contender),
        cmocka_unit_test(test_help),        cmocka_unit_test(test_all_scenarios),
        cmocka_unit_test(test_bad_options), cmocka_unit_test(test_a_row_that_cannot_run),
    };
    if (realpath("stress/scenarios", program) == NULL) {
        perror("stress/scenarios");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
