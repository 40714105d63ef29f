/* SPDX-License-Identifier: MIT */
/*
 * unit.c - a child a body; stderr in a file of memory; /proc/self/task.
 */
#define _GNU_SOURCE /* memfd_create() */

#include "tests/concurrency/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/child.h"

/* --- bodies ----------------------------------------------------------------------------------- */

static void run_body(void *arg) { ((const struct unit *)arg)->body(); }

/* A sanitizer's malloc() warns of each request that it refuses. */
static void drop_warnings(char *text) {
    static const char warning[] = "Sanitizer failed to allocate ";
    for (char *line = text, *next; *line != '\0'; line = next) {
        char *end = strchr(line, '\n'), *found = strstr(line, warning);
        next = end == NULL ? line + strlen(line) : end + 1;
        if (found != NULL && found < next) {
            memmove(line, next, strlen(next) + 1);
            next = line;
        }
    }
}

void unit_run(void **state) {
    struct child_end end;
    child_run(&end, run_body, *state);
    drop_warnings(end.text);
    if (end.status != 0 || end.text[0] != '\0') {
        print_error("exit status %d, signal %d, stderr:\n%s\n", end.status, end.signal, end.text);
        child_end_fini(&end);
        fail();
    }
    child_end_fini(&end);
}

static void run_assertion(void *arg) { ((const struct unit_assertion *)arg)->body(); }

void unit_skip_without_assertions(void) {
#ifdef NDEBUG
    print_message("this build has no assertions\n");
    skip();
#endif
}

void unit_run_assertion(void **state) {
    unit_skip_without_assertions();
    const struct unit_assertion *test = *state;
    struct child_end end;
    child_run(&end, run_assertion, *state);
    char start[512];
    int length =
        snprintf(start, sizeof(start), "Fatal gilloc error: internal check: %s\n  at       ", test->expression);
    if (end.signal != SIGABRT || strncmp(end.text, start, (size_t)length) != 0) {
        print_error("exit status %d, signal %d, expected abort() and \"%s...\", stderr:\n%s\n", end.status, end.signal,
                    start, end.text);
        child_end_fini(&end);
        fail();
    }
    child_end_fini(&end);
}

/* --- what a check says ------------------------------------------------------------------------ */

static int said_file, kept_stderr;
static char said_text[4096];

void said_begin(void) {
    said_file = memfd_create("said", MFD_CLOEXEC);
    kept_stderr = dup(STDERR_FILENO);
    EXPECT(said_file >= 0 && kept_stderr >= 0);
    EXPECT_EQ(dup2(said_file, STDERR_FILENO), STDERR_FILENO);
}

const char *said_end(void) {
    EXPECT_EQ(dup2(kept_stderr, STDERR_FILENO), STDERR_FILENO);
    close(kept_stderr);
    ssize_t length = pread(said_file, said_text, sizeof(said_text) - 1, 0);
    EXPECT(length >= 0);
    said_text[length] = '\0';
    close(said_file);
    return said_text;
}

void expect_said(const char *file, int line, const char *call, long long result, const char *start, const char *text) {
    const char *found = strstr(text, start);
    if (result != -1 || found == NULL || (found != text && found[-1] != '\n')) {
        expect_failed(file, line, "%s is %lld, not -1, or does not say \"%s\":\n%s", call, result, start, text);
    }
}

/* --- a runtime's own lock --------------------------------------------------------------------- */

void unit_outer_acquire(void *ctx) {
    struct unit_outer *outer = ctx;
    EXPECT_EQ(outer->held, 0);
    outer->held = 1;
    outer->acquired++;
}

void unit_outer_release(void *ctx) {
    struct unit_outer *outer = ctx;
    EXPECT_EQ(outer->held, 1);
    outer->held = 0;
    outer->released++;
}

int unit_outer_held(void *ctx) { return ((const struct unit_outer *)ctx)->held; }

/* --- threads ---------------------------------------------------------------------------------- */

int unit_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    EXPECT(tasks != NULL);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(tasks);
    return count;
}

int unit_thread_id(void) { return (int)syscall(SYS_gettid); }

bool unit_thread_sleeps(int id) {
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT(fd >= 0);
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    EXPECT(length > 0);
    text[length] = '\0';
    const char *after_name = strrchr(text, ')'); /* the state follows the name, which may hold anything */
    EXPECT(after_name != NULL);
    return after_name[2] == 'S';
}
