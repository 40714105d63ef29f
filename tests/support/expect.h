/* SPDX-License-Identifier: MIT */
/*
 * expect.h - checks that may fail in any thread of a test's child process.
 *   cmocka's asserts jump back into its runner, which only the runner's own thread and process may do.  A body under
 *   test runs in a child (child.h); a check that fails there writes one line to stderr and ends the child.
 */
#ifndef TESTS_SUPPORT_EXPECT_H
#define TESTS_SUPPORT_EXPECT_H

/* The child's exit status after a failed check; no library and no sanitizer uses it. */
#define EXPECT_FAILED 111

void expect_failed(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

/* `condition` holds. */
#define EXPECT(condition)                                                \
    do {                                                                 \
        if (!(condition)) {                                              \
            expect_failed(__FILE__, __LINE__, "not so: %s", #condition); \
        }                                                                \
    } while (0)

/* Two integers are the same; both are shown when they are not. */
#define EXPECT_EQ(actual, expected)                                                                               \
    do {                                                                                                          \
        long long expect_actual_ = (long long)(actual);                                                           \
        long long expect_expected_ = (long long)(expected);                                                       \
        if (expect_actual_ != expect_expected_) {                                                                 \
            expect_failed(__FILE__, __LINE__, "%s is %lld, not %lld", #actual, expect_actual_, expect_expected_); \
        }                                                                                                         \
    } while (0)

/* `actual` <= `limit`; both are shown when it is not. */
#define EXPECT_AT_MOST(actual, limit)                                                                            \
    do {                                                                                                         \
        long long expect_actual_ = (long long)(actual);                                                          \
        long long expect_limit_ = (long long)(limit);                                                            \
        if (expect_actual_ > expect_limit_) {                                                                    \
            expect_failed(__FILE__, __LINE__, "%s is %lld, above %lld", #actual, expect_actual_, expect_limit_); \
        }                                                                                                        \
    } while (0)

#endif /* TESTS_SUPPORT_EXPECT_H */
