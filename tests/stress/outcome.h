/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - a run of a program, as its user sees it.
 *   Owner   the test, one thread.  Locks: none.
 */
#ifndef TESTS_STRESS_OUTCOME_H
#define TESTS_STRESS_OUTCOME_H

#include "tests/stress/files.h"

struct outcome {
    int status; /* exit status; -1: a signal */
    struct bytes out, err;
};

/* Runs `words[0]` with `words`; its stderr goes to `terminal`, or (NULL) into the outcome. */
struct outcome outcome_run(char *const *words, const char *terminal);
void outcome_free(struct outcome *outcome);

const char *outcome_text(const struct bytes *bytes);
/* Lines of `lines` that begin with `begin`. */
size_t outcome_lines(const char *lines, const char *begin);
/* Status 0; else it is shown what the program said. */
void outcome_assert_good(const struct outcome *outcome);
/* Nothing on stdout, `error` (whole) on stderr, status 2; frees the outcome. */
void outcome_assert_unusable(struct outcome outcome, const char *error);

#endif /* TESTS_STRESS_OUTCOME_H */
