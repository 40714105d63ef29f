/* SPDX-License-Identifier: MIT */
/*
 * check.c [L0] - assertions, and the one way to die.
 *   Locks   none; async-signal-safe but for vsnprintf, which takes no lock and no memory for %s %d %u %zu %p %x %c.
 */
#include "concurrency/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { REPORT_SIZE = 1024 }; /* bytes; the longest text is under 900, and stacks may be 64 KiB */

struct report {
    char text[REPORT_SIZE];
    size_t length;
};

__attribute__((format(printf, 2, 0))) static void report_vadd(struct report *report, const char *format, va_list args) {
    size_t room = sizeof(report->text) - 1 - report->length; /* one byte is kept for the newline */
    int written = vsnprintf(report->text + report->length, room, format, args);
    if (written > 0) {
        report->length += (size_t)written < room ? (size_t)written : room - 1;
    }
}

__attribute__((format(printf, 2, 3))) static void report_add(struct report *report, const char *format, ...) {
    va_list args;
    va_start(args, format);
    report_vadd(report, format, args);
    va_end(args);
}

static void write_all(const struct report *report) {
    size_t done = 0;
    while (done < report->length) {
        ssize_t written = write(STDERR_FILENO, report->text + done, report->length - done);
        if (written < 0 && errno == EINTR) {
            continue; /* a signal came: the text is not lost by it */
        }
        if (written <= 0) {
            break;
        }
        done += (size_t)written;
    }
}

static void report_write(struct report *report) {
    report->text[report->length++] = '\n';
    write_all(report);
}

void gi_fatal(const char *function, const char *format, ...) {
    struct report report = {.length = 0};
    va_list args;
    va_start(args, format);
    report_add(&report, "Fatal gilloc error: %s: ", function);
    report_vadd(&report, format, args);
    va_end(args);
    report_write(&report);
    abort();
}

void gi_fatal_input(const char *function, const char *format, ...) {
    struct report report = {.length = 0};
    va_list args;
    va_start(args, format);
    report_add(&report, "Fatal gilloc error: %s: ", function);
    report_vadd(&report, format, args);
    va_end(args);
    report_write(&report);
    _exit(1); /* not exit(): this may run inside a constructor or an allocation, where handlers must not run */
}

void gi_report(const char *function, const char *format, ...) {
    struct report report = {.length = 0};
    va_list args;
    va_start(args, format);
    report_add(&report, "gilloc: %s: ", function);
    report_vadd(&report, format, args);
    va_end(args);
    report_write(&report);
}

void gi_dump(const char *format, ...) {
    struct report report = {.length = 0};
    va_list args;
    va_start(args, format);
    report_vadd(&report, format, args);
    va_end(args);
    write_all(&report);
}

int gi_report_broken(const char *invariant, const char *format, ...) {
    struct report report = {.length = 0};
    va_list args;
    va_start(args, format);
    report_add(&report, "gilloc_check: %s: ", invariant);
    report_vadd(&report, format, args);
    va_end(args);
    report_write(&report);
    return -1;
}

void gi_assert_failed(const char *expression, const char *file, int line) {
    gi_fatal("internal check", "%s" GI_FACT("at      ", "%s:%d") GI_DO("report this as a defect of gilloc"), expression,
             file, line);
}
