/* SPDX-License-Identifier: MIT */
/*
 * settings_test.c - what the bench's command line says, and each text for what it may not.
 */
#include "stress/bench/settings.h"

#include <string.h>

#include "stress/bench/contender.h"
#include "stress/bench/workload.h"
#include "tests/stress/files.h"

static char error[512];

/* argv of a command line. */
#define PARSE(settings, ...)                                                                      \
    settings_parse((settings), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)) + 1, \
                   (char *[]){"bench", __VA_ARGS__, NULL}, error, sizeof error)

static size_t wanted(const bool *marks, size_t count) {
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += marks[i];
    return sum;
}

static bool wants(const struct settings *settings, const char *workload) {
    return settings->workloads[workload_find(workload) - workloads];
}

static void test_defaults(void **state) {
    (void)state;
    struct settings settings;
    char *none[] = {"bench", NULL};
    assert_int_equal(settings_parse(&settings, 1, none, error, sizeof error), 0);
    assert_int_equal(settings.rounds, 5);
    assert_int_equal(settings.percent, 100);
    assert_int_equal(wanted(settings.contenders, contender_count), contender_count);
    assert_int_equal(wanted(settings.workloads, workload_count), workload_count - 1);
    assert_false(wants(&settings, "heap-4g"));
    assert_null(settings.libraries);
    assert_null(settings.json);
    assert_null(settings.plots);
    assert_int_equal(settings.from_count, 0);
    assert_false(settings.help);
}

static void test_lists(void **state) {
    (void)state;
    struct settings settings;
    assert_int_equal(PARSE(&settings, "--workload=pairs,churn-1k", "--workload", "ring", "--contender=glibc,null"), 0);
    assert_int_equal(wanted(settings.workloads, workload_count), 4);
    assert_true(wants(&settings, "pair-32"));
    assert_true(wants(&settings, "pair-mixed"));
    assert_true(wants(&settings, "churn-1k"));
    assert_true(wants(&settings, "ring"));
    assert_int_equal(wanted(settings.contenders, contender_count), 2);
}

static void test_numbers(void **state) {
    (void)state;
    struct settings settings;
    assert_int_equal(PARSE(&settings, "--rounds=99", "--work=1", "--heap-max=4g"), 0);
    assert_int_equal(settings.rounds, 99);
    assert_int_equal(settings.percent, 1);
    assert_true(wants(&settings, "heap-4g"));
    assert_int_equal(PARSE(&settings, "--heap-max=1m"), 0);
    assert_true(wants(&settings, "heap-1m"));
    assert_false(wants(&settings, "heap-4m"));
    assert_int_equal(PARSE(&settings, "--tiny"), 0);
    assert_int_equal(settings.rounds, 1);
    assert_int_equal(settings.percent, 0);
}

static void test_files(void **state) {
    (void)state;
    struct settings settings;
    assert_int_equal(PARSE(&settings, "--libraries=a", "--json=b", "--plots=c", "--from=d", "--from=e", "--help"), 0);
    assert_string_equal(settings.libraries, "a");
    assert_string_equal(settings.json, "b");
    assert_string_equal(settings.plots, "c");
    assert_int_equal(settings.from_count, 2);
    assert_string_equal(settings.from[0], "d");
    assert_string_equal(settings.from[1], "e");
    assert_true(settings.help);
    assert_int_equal(PARSE(&settings, "--from=1", "--from=2", "--from=3", "--from=4", "--from=5", "--from=6",
                           "--from=7", "--from=8", "--from=9"),
                     -1);
    assert_string_equal(error, "--from=9: give at most 8 files");
}

static void test_errors(void **state) {
    (void)state;
    struct settings settings;
    static const struct {
        char *word, *error;
    } cases[] = {
        {"--rounds=0", "--rounds=0: give a number from 1 to 99"},
        {"--rounds=100", "--rounds=100: give a number from 1 to 99"},
        {"--rounds=5x", "--rounds=5x: give a number from 1 to 99"},
        {"--work=0", "--work=0: give a number from 1 to 10000"},
        {"--work=-1", "--work=-1: give a number from 1 to 10000"},
        {"--work=99999999999999999999", "--work=99999999999999999999: give a number from 1 to 10000"},
        {"--heap-max=5g", "--heap-max=5g: give a size from 1m to 4g"},
        {"--heap-max=0m", "--heap-max=0m: give a size from 1m to 4g"},
        {"--heap-max=1", "--heap-max=1: give a size from 1m to 4g"},
        {"--heap-max=1mm", "--heap-max=1mm: give a size from 1m to 4g"},
        {"--workload=pairs,nope", "--workload=pairs,nope: there is no nope; see --help"},
        {"--workload=", "--workload=: there is no ''; see --help"},
        {"--contender=malloc", "--contender=malloc: there is no malloc; see --help"},
        {"--json", "--json: a value is missing; see --help"},
        {"--tiny=1", "--tiny=1: this option takes no value; see --help"},
        {"--frobnicate", "--frobnicate: no such option; see --help"},
        {"pairs", "pairs: not an option; see --help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(PARSE(&settings, cases[i].word), -1);
        assert_string_equal(error, cases[i].error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_lists),  cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_files),    cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
