/* SPDX-License-Identifier: MIT */
/*
 * case.h - cmocka tests whose bodies run in a child, in a mode.
 *   A body is `void f(void)`, checks with expect.h, and leaves its thread detached.  After it gilloc_check() must find
 *   the heap whole, and nothing may have been written to stderr.
 */
#ifndef TESTS_SUPPORT_CASE_H
#define TESTS_SUPPORT_CASE_H

#include <gilloc/gilloc.h>
/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

/* Instead of a gilloc_mode: the body chooses, or not. */
#define CASE_MODE_OPEN (-1)

struct test_case {
    void (*body)(void);
    int mode; /* a gilloc_mode, or CASE_MODE_OPEN */
};

/* A cmocka test function: runs the struct test_case that `*state` points to. */
void case_run(void **state);

#define CASE_(name, body, mode)                                            \
    {                                                                      \
        name, case_run, NULL, NULL, &(struct test_case) { (body), (mode) } \
    }

/* Elements of a `const struct CMUnitTest tests[]` in main(). */
#define IN_GIL_MODE(body) CASE_(#body " (gil)", body, GILLOC_MODE_GIL)
#define IN_FREE_MODE(body) CASE_(#body " (free)", body, GILLOC_MODE_FREE)
#define IN_BOTH_MODES(body) IN_GIL_MODE(body), IN_FREE_MODE(body)
#define IN_OPEN_MODE(body) CASE_(#body, body, CASE_MODE_OPEN)

#endif /* TESTS_SUPPORT_CASE_H */
