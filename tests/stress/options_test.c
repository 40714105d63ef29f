/* SPDX-License-Identifier: MIT */
/*
 * options_test.c - what the command line says, and each text for what it may not.
 */
#include "stress/options.h"

#include <stdio.h>
#include <string.h>

#include "tests/stress/files.h"

/* argv of a command line of up to 7 words. */
#define PARSE(options, error, ...)                                                              \
    options_parse((options), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)) + 1, \
                  (char *[]){"stress", __VA_ARGS__, NULL}, (error), sizeof(error))

static void test_defaults(void **state) {
    (void)state;
    struct options options;
    char error[256] = "";
    assert_int_equal(options_parse(&options, 1, (char *[]){"stress", NULL}, error, sizeof error), 0);
    assert_true(options.gil && options.free && !options.json && !options.help);
    assert_int_equal(options.threads_count, 3);
    assert_int_equal(options.threads[0], 1);
    assert_int_equal(options.threads[1], 2);
    assert_int_equal(options.threads[2], 8);
    assert_int_equal(options.seconds, 20);
    assert_int_equal(options.passes, 0);
    assert_int_equal(options.traces_count, 0);
    assert_int_equal(options.remote_percent, 10);
    assert_int_equal(options.seed, 1);
}

static void test_all_options(void **state) {
    (void)state;
    struct options options;
    char error[256] = "";
    assert_int_equal(PARSE(&options, error, "--mode=free", "--threads", "3,256", "--seconds=1", "--passes=9", "--json",
                           "--remote=0", "--seed=9223372036854775807", "--trace=startup", "--trace=./x.trc.xz"),
                     0);
    assert_true(!options.gil && options.free && options.json);
    assert_int_equal(options.threads_count, 2);
    assert_int_equal(options.threads[0], 3);
    assert_int_equal(options.threads[1], 256);
    assert_int_equal(options.seconds, 1);
    assert_int_equal(options.passes, 9);
    assert_int_equal(options.remote_percent, 0);
    assert_true(options.seed == INT64_MAX);
    assert_int_equal(options.traces_count, 2);
    assert_string_equal(options.traces[0], "startup");
    assert_string_equal(options.traces[1], "./x.trc.xz");
    assert_int_equal(PARSE(&options, error, "--mode=gil"), 0);
    assert_true(options.gil && !options.free);
    assert_int_equal(PARSE(&options, error, "--mode=both", "--help"), 0);
    assert_true(options.gil && options.free && options.help);
}

static void assert_refused(const char *word, const char *text) {
    struct options options;
    char error[256] = "";
    assert_int_equal(PARSE(&options, error, (char *)word), -1);
    assert_string_equal(error, text);
}

static void test_bad_options(void **state) {
    (void)state;
    assert_refused("--mode=gli", "--mode=gli: give gil, free or both");
    assert_refused("--mode=", "--mode=: give gil, free or both");
    assert_refused("--mode", "--mode: a value is missing; see --help");
    static const char *const threads[] = {"", "0", "257", "1,", ",1", "1,,2", "x", "-1", "+1", " 1", "1.5", "1;2"};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        char word[64], text[256];
        snprintf(word, sizeof word, "--threads=%s", threads[i]);
        snprintf(text, sizeof text, "%s: give up to 32 numbers from 1 to 256 with commas between them", word);
        assert_refused(word, text);
    }
    assert_refused("--seconds=0", "--seconds=0: give a number from 1 to 1000000");
    assert_refused("--seconds=2m", "--seconds=2m: give a number from 1 to 1000000");
    assert_refused("--seconds=99999999999999999999", "--seconds=99999999999999999999: give a number from 1 to 1000000");
    assert_refused("--passes=0", "--passes=0: give a number from 1 to 1000000000");
    assert_refused("--remote=101", "--remote=101: give a percentage from 0 to 100");
    assert_refused("--remote=10%", "--remote=10%: give a percentage from 0 to 100");
    assert_refused("--seed=-1", "--seed=-1: give a number from 0 to 9223372036854775807");
    assert_refused("--seed=9223372036854775808",
                   "--seed=9223372036854775808: give a number from 0 to 9223372036854775807");
    assert_refused("--json=yes", "--json=yes: this option takes no value; see --help");
    assert_refused("--no-verify", "--no-verify: no such option; see --help");
    assert_refused("--se=1", "--se=1: no such option; see --help");
    assert_refused("-x", "-x: no such option; see --help");
    assert_refused("startup", "startup: not an option; see --help");
}

static void test_too_many(void **state) {
    (void)state;
    struct options options;
    char error[256] = "", *words[OPTIONS_LIST_MAX + 3] = {"stress"};
    for (int i = 1; i <= OPTIONS_LIST_MAX + 1; i++) words[i] = "--trace=a";
    assert_int_equal(options_parse(&options, OPTIONS_LIST_MAX + 1, words, error, sizeof error), 0);
    assert_int_equal(options_parse(&options, OPTIONS_LIST_MAX + 2, words, error, sizeof error), -1);
    assert_string_equal(error, "--trace=a: give at most 32 traces");
    assert_refused("--threads=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
                   "--threads=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1: give up to 32 numbers "
                   "from 1 to 256 with commas between them");
}

/* Each option that is known is in the help text. */
static void test_help_names_all(void **state) {
    (void)state;
    static const char *const names[] = {
        "--mode=", "--threads=", "--seconds=", "--passes=", "--trace=", "--remote=", "--seed=", "--json", "--help"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_non_null(strstr(options_help, names[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_all_options),    cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_help_names_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
