/* SPDX-License-Identifier: MIT */
/*
 * process.c - runs the process of one row and collects what it says.
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* vasprintf() */

#include "stress/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/measure.h"

#define PROGRESS_MS 300 /* at most, between two calls of `progress` */

extern char **environ;

struct process {
    pid_t pid;
    int pipe;
    char *line; /* what has come of the next line */
    size_t length;
    json_int_t operations;
    double changed; /* when operations did */
    struct process_end *end;
};

static double now(void) { return measure_seconds(CLOCK_MONOTONIC); }

/* --- what it says ----------------------------------------------------------------------------- */

/* The first thing that broke counts. */
__attribute__((format(printf, 2, 3))) static void set_problem(struct process *process, const char *format, ...) {
    if (process->end->problem != NULL) return;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&process->end->problem, format, arguments) < 0) process->end->problem = NULL;
    va_end(arguments);
}

static void take_line(struct process *process, const char *text, size_t length) {
    json_t *line = json_loadb(text, length, 0, NULL);
    const json_t *progress = json_object_get(line, "progress"), *fault = json_object_get(line, "fault");
    json_t *result = json_object_get(line, "result");
    if (progress != NULL && json_integer_value(progress) != process->operations) {
        process->operations = json_integer_value(progress);
        process->changed = now();
    }
    if (fault != NULL) set_problem(process, "%s", json_string_value(fault));
    if (result != NULL) {
        json_decref(process->end->result);
        process->end->result = json_incref(result);
    }
    json_decref(line);
}

/* What has come through the pipe; false at its end. */
static bool read_lines(struct process *process) {
    char bytes[4096];
    ssize_t n = read(process->pipe, bytes, sizeof bytes);
    if (n < 0) return errno == EINTR;
    char *grown = n > 0 ? realloc(process->line, process->length + (size_t)n) : NULL;
    if (grown == NULL) return false;
    process->line = grown;
    memcpy(grown + process->length, bytes, (size_t)n);
    process->length += (size_t)n;
    const char *end;
    while ((end = memchr(process->line, '\n', process->length)) != NULL) {
        size_t length = (size_t)(end - process->line);
        take_line(process, process->line, length);
        process->length -= length + 1;
        memmove(process->line, end + 1, process->length);
    }
    return true;
}

/* --- its life --------------------------------------------------------------------------------- */

/* 0, or an errno. */
static int start(struct process *process, const struct process_job *job) {
    int ends[2];
    if (pipe(ends) != 0) return errno;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (ends[0] != PROCESS_PIPE) posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_adddup2(&actions, ends[1], PROCESS_PIPE);
    if (ends[1] != PROCESS_PIPE) posix_spawn_file_actions_addclose(&actions, ends[1]);
    int error = posix_spawn(&process->pid, job->program, &actions, NULL, (char **)job->arguments,
                            job->environment != NULL ? (char **)job->environment : environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    process->pipe = ends[0];
    if (error != 0) close(ends[0]);
    return error;
}

/* Until it closes the pipe, by its end at the latest. */
static void attend(struct process *process, const struct process_job *job) {
    bool open = true;
    while (open) {
        struct pollfd wait = {.fd = process->pipe, .events = POLLIN};
        if (poll(&wait, 1, PROGRESS_MS) > 0) open = read_lines(process);
        job->progress(job->argument, process->operations);
        if (now() - process->changed > job->hangs_after) {
            set_problem(process,
                        "hangs: no new operation for %.0f s after %" JSON_INTEGER_FORMAT
                        " operations (sent SIGABRT, for a core file)",
                        job->hangs_after, process->operations);
            kill(process->pid, SIGABRT);
            process->changed = now();
        }
    }
}

static void wait_for(struct process *process) {
    int status = 0;
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFSIGNALED(status)) {
        set_problem(process, "ended by signal %d (%s) after %" JSON_INTEGER_FORMAT " operations", WTERMSIG(status),
                    strsignal(WTERMSIG(status)), process->operations);
    } else if (WEXITSTATUS(status) != 0) {
        set_problem(process, "ended with status %d", WEXITSTATUS(status));
    } else if (process->end->result == NULL) {
        set_problem(process, "ended without a result");
    }
}

void process_run(const struct process_job *job, struct process_end *end) {
    struct process process = {.changed = now(), .end = end};
    *end = (struct process_end){0};
    int error = start(&process, job);
    if (error != 0) {
        set_problem(&process, "cannot start a process: %s", strerror(error));
        return;
    }
    attend(&process, job);
    close(process.pipe);
    free(process.line);
    wait_for(&process);
}
