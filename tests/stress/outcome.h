/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - a run of a program: what it printed and how it ended.
 *   Owner   the test, one thread.  Locks: none.
 */
#ifndef TESTS_STRESS_OUTCOME_H
#define TESTS_STRESS_OUTCOME_H

#include "tests/stress/files.h"

struct outcome {
    int status; /* exit status; -1: a signal */
    struct bytes out, err;
};

/* Runs `words` (the program's path first, NULL last); its stderr goes to
   `terminal`, or (NULL) into the outcome. */
struct outcome outcome_of(char *const *words, const char *terminal);
void outcome_free(struct outcome *outcome);

static inline const char *outcome_text(const struct bytes *bytes) { return (const char *)bytes->at; }

/* Nothing on stdout, `error` (whole) on stderr, status 2; frees it. */
void assert_unusable(struct outcome outcome, const char *error);

#endif /* TESTS_STRESS_OUTCOME_H */
