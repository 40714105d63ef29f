/* SPDX-License-Identifier: MIT */
/*
 * death.c - a child, its end, its last words.
 */
#include "tests/support/death.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/child.h"
#include "tests/support/expect.h"

#define THREAD_FACT "\n  thread "

/* Replaces the characters for which `is_part` holds, from `from` on, by one X. */
static void blot(char *from, int (*is_part)(int)) {
    char *end = from;
    while (is_part((unsigned char)*end)) {
        end++;
    }
    if (end != from) {
        *from = 'X';
        memmove(from + 1, end, strlen(end) + 1);
    }
}

static void normalise(char *text) {
    for (char *at = strstr(text, "0x"); at != NULL; at = strstr(at + 1, "0x")) {
        if (strspn(at + 2, "0123456789abcdef") <= 2) {
            continue; /* a byte */
        }
        memmove(at, at + 2, strlen(at + 2) + 1);
        blot(at, isxdigit);
    }
    for (char *at = strstr(text, THREAD_FACT); at != NULL; at = strstr(at + 1, THREAD_FACT)) {
        char *number = at + strlen(THREAD_FACT);
        while (*number == ' ') {
            number++;
        }
        for (; *number != '\0' && *number != '\n'; number++) {
            if (isdigit((unsigned char)*number)) {
                blot(number, isdigit);
            }
        }
    }
}

static void run_body(void *arg) {
    const struct death_case *death = arg;
    if (death->mode != CASE_MODE_OPEN) {
        EXPECT_EQ(gilloc_set_mode((gilloc_mode)death->mode), 0);
    }
    death->body(death->arg);
    expect_failed(__FILE__, __LINE__, "%s: it lives", death->name);
}

void death_run(void **state) {
    const struct death_case *death = *state;
    struct child_end end;
    child_run(&end, run_body, *state);
    normalise(end.text);
    int as_expected = death->status == 0 ? end.signal == SIGABRT : end.status == death->status;
    if (!as_expected || strcmp(end.text, death->text) != 0) {
        print_error("exit status %d, signal %d, stderr:\n%s\nexpected %s and:\n%s\n", end.status, end.signal, end.text,
                    death->status == 0 ? "abort()" : "the exit status", death->text);
        child_end_fini(&end);
        fail();
    }
    child_end_fini(&end);
}

int death_run_group(const char *name, struct death_case *cases, size_t count) {
    struct CMUnitTest *tests = calloc(count, sizeof(tests[0]));
    if (tests == NULL) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        tests[i] = (struct CMUnitTest){cases[i].name, death_run, NULL, NULL, &cases[i]};
    }
    /* The function behind cmocka_run_group_tests(), whose macro wants an array. */
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    free(tests);
    return failed;
}
