/* SPDX-License-Identifier: MIT */
/*
 * expect.c - the end of a failed check.  Any thread.
 */
#include "tests/support/expect.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void expect_failed(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    dprintf(STDERR_FILENO, "%s:%d: ", file, line);
    vdprintf(STDERR_FILENO, format, arguments);
    dprintf(STDERR_FILENO, "\n");
    va_end(arguments);
    /* Not exit(): other threads may be anywhere. */
    _exit(EXPECT_FAILED);
}
