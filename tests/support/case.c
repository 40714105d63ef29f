/* SPDX-License-Identifier: MIT */
/*
 * case.c - one test case: a child, its mode, its body, the walk of the heap at its end.
 */
#include "tests/support/case.h"

#include "tests/support/child.h"
#include "tests/support/expect.h"
#include "tests/support/sanitizer.h"

static void run_body(void *arg) {
    const struct test_case *test = arg;
    if (test->mode != CASE_MODE_OPEN) {
        EXPECT_EQ(gilloc_set_mode((gilloc_mode)test->mode), 0);
        EXPECT_EQ(gilloc_get_mode(), test->mode);
    }
    test->body();
    EXPECT_EQ(PyGILState_Check(), 0);
    EXPECT_EQ(gilloc_check(), 0);
}

void case_run(void **state) {
    struct child_end end;
    child_run(&end, run_body, *state);
    /* The sanitizers' malloc warns of each request that it refuses. */
    int may_write = UNDER_TSAN || UNDER_ASAN;
    if (end.status != 0 || (end.text[0] != '\0' && !may_write)) {
        print_error("exit status %d, signal %d, stderr:\n%s\n", end.status, end.signal, end.text);
        child_end_fini(&end);
        fail();
    }
    child_end_fini(&end);
}
