/* SPDX-License-Identifier: MIT */
/*
 * program_test.c - the main job as its user sees it: exit status, table, JSON
 * and texts.
 */
#define _GNU_SOURCE /* posix_openpt() */

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stress/options.h"
#include "tests/stress/outcome.h"

/* --- a run ------------------------------------------------------------------------------------ */

static char program[PATH_MAX];

#define RUN(...) outcome_run((char *[]){program, __VA_ARGS__, NULL}, NULL)

/* --- sound runs ------------------------------------------------------------------------------- */

static void test_help(void **state) {
    (void)state;
    struct outcome outcome = RUN("--help");
    assert_string_equal(outcome_text(&outcome.out), options_help);
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    outcome_free(&outcome);
}

static void test_table(void **state) {
    (void)state;
    struct outcome outcome = RUN("--threads=1,2", "--passes=3", "--trace=startup");
    assert_string_equal(outcome_text(&outcome.err), ""); /* no progress: this is no terminal */
    outcome_assert_good(&outcome);
    const char *out = outcome_text(&outcome.out);
    assert_int_equal(outcome_lines(out,
                                   "traces: startup.trc.xz (53,068 records); seed 1; 10 % of the blocks freed by "
                                   "another thread\n"),
                     1);
    assert_int_equal(outcome_lines(out,
                                   "mode  threads    M ops  M ops/s   ns/op  lock takes      waits  hand-offs  "
                                   "remote frees  peak MiB    arenas  MiB back  blocks\n"),
                     1);
    assert_int_equal(outcome_lines(out, "gil         1      0.2  "), 1);
    assert_int_equal(outcome_lines(out, "gil         2      0.2  "), 1);
    assert_int_equal(outcome_lines(out, "free        1      0.2  "), 1);
    assert_int_equal(outcome_lines(out, "free        2      0.2  "), 1);
    assert_int_equal(outcome_lines(out, "Every block was intact, and nothing leaked.\n"), 1);
    assert_int_equal(outcome_lines(out, ""), 7);
    outcome_free(&outcome);
}

/* Where stderr is a terminal, one line on it says how far it is, and is gone at the end. */
static void test_progress(void **state) {
    (void)state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    char bytes[1 << 16];
    assert_true(terminal >= 0);
    assert_int_equal(grantpt(terminal), 0);
    assert_int_equal(unlockpt(terminal), 0);
    const char *name = ptsname(terminal);
    assert_non_null(name);
    int other_end = open(name, O_RDWR | O_NOCTTY); /* keeps what is written until it is read */
    assert_true(other_end >= 0);
    struct outcome outcome = outcome_run(
        (char *[]){program, "--passes=1", "--threads=2", "--mode=free", "--json", "--trace=startup", NULL}, name);
    outcome_assert_good(&outcome);
    assert_int_equal(fcntl(terminal, F_SETFL, O_NONBLOCK), 0);
    size_t length = 0;
    ssize_t n;
    while (length + 1 < sizeof bytes && (n = read(terminal, bytes + length, sizeof bytes - 1 - length)) > 0) {
        length += (size_t)n;
    }
    assert_true(length > 4);
    bytes[length] = '\0';
    assert_int_equal(strncmp(bytes, "\rrow 1 of 1: free mode, 2 threads, ", 35), 0);
    assert_non_null(strstr(bytes, " operations; "));
    assert_string_equal(bytes + length - 4, "\r\x1b[K");
    close(other_end);
    close(terminal);
    outcome_free(&outcome);
}

/* Same seed, same operations, in JSON and whatever the mode and threads. */
static void test_json(void **state) {
    (void)state;
    struct outcome outcome = RUN("--threads=1,3", "--passes=3", "--json", "--seed=7", "--remote=25");
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    json_t *all = json_loads(outcome_text(&outcome.out), 0, NULL), *row;
    assert_non_null(all);
    assert_true(json_is_true(json_object_get(all, "ok")));
    assert_int_equal(json_integer_value(json_object_get(all, "records")), 2053068);
    assert_int_equal(json_integer_value(json_object_get(all, "seed")), 7);
    assert_int_equal(json_integer_value(json_object_get(all, "remote_percent")), 25);
    assert_int_equal(json_array_size(json_object_get(all, "traces")), 3);
    assert_int_equal(json_array_size(json_object_get(all, "rows")), 4);
    size_t i;
    json_array_foreach(json_object_get(all, "rows"), i, row) {
        assert_string_equal(json_string_value(json_object_get(row, "mode")), i < 2 ? "gil" : "free");
        assert_int_equal(json_integer_value(json_object_get(row, "threads")), i % 2 ? 3 : 1);
        assert_string_equal(json_string_value(json_object_get(row, "integrity")), "ok");
        assert_int_equal(json_integer_value(json_object_get(row, "passes")), 3);
        /* The records of three traces, and the frees of what lives at their ends. */
        assert_int_equal(json_integer_value(json_object_get(row, "operations")), 2053068 + 55633 + 25435 + 2818);
        assert_int_equal(json_integer_value(json_object_get(row, "allocated_blocks")), 0);
    }
    json_decref(all);
    outcome_free(&outcome);
}

/* --- what cannot be used ---------------------------------------------------------------------- */

static void test_bad_option(void **state) {
    (void)state;
    outcome_assert_unusable(RUN("--threads=0"),
                            "stress: --threads=0: give up to 32 numbers from 1 to 256 with commas between them\n");
    outcome_assert_unusable(RUN("--frobnicate"), "stress: --frobnicate: no such option; see --help\n");
}

static void test_no_such_trace(void **state) {
    (void)state;
    outcome_assert_unusable(
        RUN("--trace=nope"),
        "stress: --trace=nope: no such trace; there are compileall, jsonre, startup, or give a file as "
        "./nope\n");
    outcome_assert_unusable(
        RUN("--trace=./nope.trc.xz"),
        "stress: ./nope.trc.xz: cannot open: No such file or directory; --trace takes the name of a trace "
        "or a file\n");
}

/* A file is where the user is, not where `bazel run` puts the program. */
static void test_file_of_the_user(void **state) {
    (void)state;
    struct bytes bytes = {0};
    char path[PATH_MAX], directory[PATH_MAX], error[PATH_MAX + 256];
    bytes_add_header(&bytes, "GTRC", 1, 2, 1, 0);
    bytes_add_record(&bytes, 0, 2, 100, 0);
    bytes_add_record(&bytes, 3, 2, 0, 0);
    struct bytes broken = {0};
    bytes_add(&broken, bytes.at, bytes.size);
    broken.at[24] = 6; /* the first record's operation */
    bytes_pack(&bytes);
    bytes_pack(&broken);
    write_file(test_path(path, "user.trc.xz"), &bytes);
    snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
    setenv("BUILD_WORKING_DIRECTORY", directory, 1);

    struct outcome outcome = RUN("--trace=user.trc.xz", "--passes=4", "--threads=2", "--mode=free", "--json");
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    json_t *all = json_loads(outcome_text(&outcome.out), 0, NULL);
    json_t *row = json_array_get(json_object_get(all, "rows"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "operations")), 8);
    json_decref(all);
    outcome_free(&outcome);

    outcome = RUN("--trace", path, "--passes=1", "--threads=1", "--mode=gil");
    outcome_assert_good(&outcome); /* an absolute path is as it is */
    outcome_free(&outcome);

    write_file(test_path(path, "broken.trc.xz"), &broken);
    snprintf(
        error, sizeof error,
        "stress: %s/broken.trc.xz: record 0 (byte 24 unpacked): operation 6, and there are 0 (malloc) to 3 (free); "
        "the trace is corrupt: record it again or get a good copy\n",
        directory);
    outcome_assert_unusable(RUN("--trace=startup", "--trace=broken.trc.xz"), error);
    unsetenv("BUILD_WORKING_DIRECTORY");
    bytes_free(&bytes);
    bytes_free(&broken);
}

/* Away from its runfiles' directory as current one, the program finds its traces; alone it says so. */
static void test_traces_beside_the_program(void **state) {
    (void)state;
    char directory[PATH_MAX], runfiles[PATH_MAX], beside[PATH_MAX], original[PATH_MAX], here[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    struct bytes bytes = read_file(program);
    memcpy(original, program, sizeof original);
    write_file(test_path(program, "copy-of-stress"), &bytes);
    bytes_free(&bytes);
    assert_int_equal(chmod(program, 0700), 0);
    assert_int_equal(chdir(test_path(directory, ".")), 0);
    mkdir(test_path(runfiles, "copy-of-stress.runfiles"), 0700);
    unlink(test_path(beside, "copy-of-stress.runfiles/any"));
    outcome_assert_unusable(RUN("--passes=1"),
                            "stress: the traces that come with stress are not beside it; give --trace=FILE\n");
    outcome_assert_unusable(
        RUN("--trace=startup"),
        "stress: --trace=startup: the traces that come with stress are not beside it; give a file\n");

    assert_int_equal(symlink(here, beside), 0);
    struct outcome outcome = RUN("--trace=startup", "--passes=1", "--threads=1", "--mode=gil");
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    outcome_free(&outcome);
    assert_int_equal(chdir(here), 0);
    memcpy(program, original, sizeof program);
}

/* --- what breaks ------------------------------------------------------------------------------ */

/* A row that dies is told with what it died of, and the rows behind it still run. */
static void test_a_row_that_cannot_run(void **state) {
    (void)state;
    setenv("PYTHON_GIL", "perhaps", 1);
    struct outcome outcome = RUN("--trace=startup", "--passes=1", "--threads=1");
    unsetenv("PYTHON_GIL");
    assert_int_equal(outcome.status, 1);
    const char *out = outcome_text(&outcome.out);
    assert_int_equal(outcome_lines(out, "gil         1  no result: broken\n"), 1);
    assert_int_equal(outcome_lines(out, "free        1  no result: broken\n"), 1);
    assert_int_equal(outcome_lines(out, "BROKEN: gil mode, 1 threads: ended with status 1\n"), 1);
    assert_int_equal(outcome_lines(out, "BROKEN: free mode, 1 threads: ended with status 1\n"), 1);
    assert_int_equal(outcome_lines(out, "Every block was intact"), 0);
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_bad_option),
        cmocka_unit_test(test_no_such_trace),
        cmocka_unit_test(test_file_of_the_user),
        cmocka_unit_test(test_traces_beside_the_program),
        cmocka_unit_test(test_a_row_that_cannot_run),
    };
    const char *path = getenv("STRESS_PROGRAM"); /* or where Bazel puts it */
    if (realpath(path != NULL ? path : "stress/stress", program) == NULL) {
        perror("stress/stress");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
