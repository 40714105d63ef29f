/* SPDX-License-Identifier: MIT */
/*
 * death.h - tests whose body must end its process with an exact text.
 *   The whole of stderr is compared, after what differs from run to run has become an X: each hexadecimal number that
 *   starts with 0x and has more than two digits, and the number after the word "thread" that a fact line starts with.
 */
#ifndef TESTS_SUPPORT_DEATH_H
#define TESTS_SUPPORT_DEATH_H

#include <stddef.h>

#include "tests/support/case.h"

struct death_case {
    const char *name;
    void (*body)(const void *arg);
    const void *arg;
    int mode;         /* a gilloc_mode, or CASE_MODE_OPEN */
    int status;       /* exit status; 0: abort() */
    const char *text; /* all of stderr, with X */
};

/* A cmocka test function: runs the struct death_case that `*state` points to. */
void death_run(void **state);
/* Runs them as one cmocka group; what main() returns. */
int death_run_group(const char *name, struct death_case *cases, size_t count);

#endif /* TESTS_SUPPORT_DEATH_H */
