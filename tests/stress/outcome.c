/* SPDX-License-Identifier: MIT */
/*
 * outcome.c - a run of a program, as its user sees it.
 *   Owner   the test, one thread.  Locks: none.
 */
#include "tests/stress/outcome.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct outcome outcome_run(char *const *words, const char *terminal) {
    struct outcome outcome;
    char out[PATH_MAX], err[PATH_MAX];
    int status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    unlink(test_path(out, "out"));
    unlink(test_path(err, "err"));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, terminal != NULL ? terminal : err,
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&child, words[0], &actions, NULL, words, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(child, &status, 0), child);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.out = read_file(out);
    outcome.err = terminal == NULL ? read_file(err) : (struct bytes){0};
    return outcome;
}

void outcome_free(struct outcome *outcome) {
    bytes_free(&outcome->out);
    bytes_free(&outcome->err);
}

const char *outcome_text(const struct bytes *bytes) { return (const char *)bytes->at; }

size_t outcome_lines(const char *lines, const char *begin) {
    size_t count = 0;
    for (const char *line = lines; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
        count += strncmp(line, begin, strlen(begin)) == 0;
    }
    return count;
}

void outcome_assert_good(const struct outcome *outcome) {
    const struct bytes *const said[] = {&outcome->out, &outcome->err};
    for (size_t i = 0; outcome->status != 0 && i < sizeof said / sizeof *said; i++) {
        if (said[i]->at != NULL) fputs(outcome_text(said[i]), stderr);
    }
    assert_int_equal(outcome->status, 0);
}

void outcome_assert_unusable(struct outcome outcome, const char *error) {
    assert_string_equal(outcome_text(&outcome.err), error);
    assert_string_equal(outcome_text(&outcome.out), "");
    assert_int_equal(outcome.status, 2);
    outcome_free(&outcome);
}
