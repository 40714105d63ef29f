/* SPDX-License-Identifier: MIT */
/*
 * process_test.c - whatever becomes of a row's process, it is told.  Shell
 * scripts stand for it.
 */
#include "stress/process.h"

#include <stdlib.h>
#include <string.h>

#include "tests/stress/files.h"

static json_int_t seen; /* the last progress */

static void progress(void *argument, json_int_t operations) {
    assert_ptr_equal(argument, &seen);
    seen = operations;
}

static struct process_end run(const char *program, const char *script, double hangs_after) {
    struct process_end end;
    const char *const arguments[] = {"sh", "-c", script, NULL};
    struct process_job job = {.program = program,
                              .arguments = arguments,
                              .hangs_after = hangs_after,
                              .progress = progress,
                              .argument = &seen};
    seen = -1;
    process_run(&job, &end);
    return end;
}

/* The script ends with `problem` (NULL: none) and with `result` as "n" (-1: without one). */
static void assert_end(const char *script, const char *problem, json_int_t result) {
    struct process_end end = run("/bin/sh", script, 60);
    if (problem == NULL) {
        if (end.problem != NULL) fail_msg("%s", end.problem);
    } else {
        assert_non_null(end.problem);
        assert_string_equal(end.problem, problem);
    }
    if (result < 0) {
        assert_null(end.result);
    } else {
        assert_int_equal(json_integer_value(json_object_get(end.result, "n")), result);
    }
    json_decref(end.result);
    free(end.problem);
}

static void test_result(void **state) {
    (void)state;
    assert_end("echo '{\"progress\": 5}' >&3; echo '{\"result\": {\"n\": 7}}' >&3", NULL, 7);
    assert_int_equal(seen, 5);
}

/* Lines come in pieces, and pieces hold several lines. */
static void test_lines_in_pieces(void **state) {
    (void)state;
    assert_end(
        "printf '{\"progress\": 1}\\n{\"progress\": 2}\\n{\"resu' >&3; sleep 0.1; printf 'lt\": {\"n\": 8}}\\n' >&3",
        NULL, 8);
    assert_int_equal(seen, 2);
    assert_end("printf '{\"result\": {\"n\": 9, \"x\": \"%010000d\"}}\\n' 0 >&3", NULL, 9);
}

static void test_ends_badly(void **state) {
    (void)state;
    assert_end("echo '{\"result\": {\"n\": 7}}' >&3; exit 66", "ended with status 66", 7);
    assert_end("exit 1", "ended with status 1", -1);
    assert_end("true", "ended without a result", -1);
    assert_end("echo '{\"result\": {\"n\": 7}' >&3", "ended without a result", -1);    /* no JSON */
    assert_end("printf '{\"result\": {\"n\": 7}}' >&3", "ended without a result", -1); /* not a whole line */
    assert_end("echo '{\"progress\": 5}' >&3; kill -KILL $$", "ended by signal 9 (Killed) after 5 operations", -1);
}

/* What broke first is the reason, whatever it led to. */
static void test_fault(void **state) {
    (void)state;
    assert_end("echo '{\"fault\": \"one %s\"}' >&3; echo '{\"fault\": \"two\"}' >&3; kill -KILL $$", "one %s", -1);
    assert_end("echo '{\"fault\": \"one\"}' >&3; echo '{\"result\": {\"n\": 7}}' >&3; exit 1", "one", 7);
}

/* One that never says anything, and one that repeats itself. */
static void test_hangs(void **state) {
    (void)state;
    struct process_end end = run("/bin/sh", "exec sleep 1000", 0.1);
    assert_string_equal(end.problem,
                        "hangs: no new operation for 0 s after 0 operations (sent SIGABRT, for a core file)");
    assert_null(end.result);
    free(end.problem);
    end = run("/bin/sh", "while :; do echo '{\"progress\": 3}' >&3; sleep 0.05; done", 1);
    assert_non_null(end.problem);
    assert_int_equal(strncmp(end.problem, "hangs: no new operation for 1 s after ", 38), 0);
    free(end.problem);
}

static void test_no_program(void **state) {
    (void)state;
    struct process_end end = run("/nowhere/sh", "true", 60);
    assert_string_equal(end.problem, "cannot start a process: No such file or directory");
    assert_null(end.result);
    free(end.problem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result), cmocka_unit_test(test_lines_in_pieces), cmocka_unit_test(test_ends_badly),
        cmocka_unit_test(test_fault),  cmocka_unit_test(test_hangs),           cmocka_unit_test(test_no_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
