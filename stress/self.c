/* SPDX-License-Identifier: MIT */
/*
 * self.c - this program again, for one row, in a process of its own.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/self.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stress/table.h"

/* A row that makes no operation in this time hangs. */
#define HANGS_AFTER 300.0

static void show(void *argument, json_int_t operations) {
    char text[32];
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r%s: %s operations\033[K", (const char *)argument,
            table_number((unsigned long long)operations, text));
    fflush(stderr);
}

void self_run(const char *const *arguments, char *const *environment, const char *label, struct process_end *end) {
    char program[PATH_MAX] = "";
    *end = (struct process_end){0};
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) {
        end->problem = strdup("cannot start a process: /proc/self/exe cannot be read");
        return;
    }
    struct process_job job = {.program = program,
                              .arguments = arguments,
                              .environment = environment,
                              .hangs_after = HANGS_AFTER,
                              .progress = show,
                              .argument = (void *)label};
    process_run(&job, end);
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

void self_begin(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }
