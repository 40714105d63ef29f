/* SPDX-License-Identifier: MIT */
/*
 * unit.h - what the tests of the internals share: bodies in a child of their own, the words of a check that finds a
 *          fault, conditions to wait for.
 *   A body is `void f(void)` and checks with tests/support/expect.h.  Nothing of the public interface is called around
 *   it, so that it may set the layers up by itself.
 */
#ifndef TESTS_CONCURRENCY_UNIT_H
#define TESTS_CONCURRENCY_UNIT_H

#include <sched.h>
#include <stdbool.h>
/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/support/death.h"
#include "tests/support/expect.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- bodies ----------------------------------------------------------------------------------- */

struct unit {
    void (*body)(void);
};

/* A cmocka test function: runs the struct unit that `*state` points to in a child, which must end well and leave
   nothing on stderr. */
void unit_run(void **state);

/* An element of a `const struct CMUnitTest tests[]` in main(). */
#define IN_CHILD(body)                                         \
    {                                                          \
#body, unit_run, NULL, NULL, &(struct unit) { (body) } \
    }

/* The same for a body that must die by abort() with `text` (death.h) as its whole stderr. */
#define DIES(body, text)                                                                                          \
    {                                                                                                             \
#body, death_run, NULL, NULL, &(struct death_case) { #body, (body), NULL, CASE_MODE_OPEN, 0, "" text "" } \
    }

struct unit_assertion {
    void (*body)(void);
    const char *expression;
};

/* The same for a body in which the library's assertion of `expression` must fail; skipped where assertions are off. */
#define FAILS_ASSERTION(body, expression)                                                        \
    {                                                                                            \
#body, unit_run_assertion, NULL, NULL, &(struct unit_assertion) { (body), (expression) } \
    }
void unit_run_assertion(void **state);
/* Ends a cmocka test as skipped in a build without assertions. */
void unit_skip_without_assertions(void);

/* --- what a check says ------------------------------------------------------------------------ */

/* Takes all that is written to stderr until said_end(), which returns it: valid until the next one.  One at a time. */
void said_begin(void);
const char *said_end(void);

/* `call`, a check, finds `invariant` broken: it returns -1 and says so, among other things. */
#define EXPECT_BROKEN(invariant, call)                                                                       \
    do {                                                                                                     \
        said_begin();                                                                                        \
        long long expect_result_ = (long long)(call);                                                        \
        expect_said(__FILE__, __LINE__, #call, expect_result_, "gilloc_check: " invariant ": ", said_end()); \
    } while (0)
void expect_said(const char *file, int line, const char *call, long long result, const char *start, const char *text);

/* --- a runtime's own lock --------------------------------------------------------------------- */

/* Held by no thread of its own: one at a time calls. */
struct unit_outer {
    int held, acquired, released;
};

/* The words of a gi_outer_lock; taking it twice, or releasing what is not held, fails the test. */
void unit_outer_acquire(void *outer);
void unit_outer_release(void *outer);
int unit_outer_held(void *outer);

/* --- threads ---------------------------------------------------------------------------------- */

/* Waits; a test whose condition never comes true does not end. */
#define WAIT_UNTIL(condition)  \
    do {                       \
        while (!(condition)) { \
            sched_yield();     \
        }                      \
    } while (0)

/* How many threads this process has. */
int unit_threads(void);
/* This thread, and whether that thread sleeps in the system (waits for a futex, say). */
int unit_thread_id(void);
bool unit_thread_sleeps(int id);

#endif /* TESTS_CONCURRENCY_UNIT_H */
