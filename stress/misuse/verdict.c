/* SPDX-License-Identifier: MIT */
/*
 * verdict.c - a letter and a line, and the end of the process.
 *   Owner   whoever calls.  Locks: none.
 */
#include "stress/misuse/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void verdict_end(enum verdict verdict, const char *format, ...) {
    char line[1024];
    va_list arguments;
    line[0] = (char)verdict;
    va_start(arguments, format);
    int length = vsnprintf(line + 1, sizeof line - 1, format, arguments) + 1;
    va_end(arguments);
    if (length > (int)sizeof line - 1) length = sizeof line - 1;
    _exit(write(VERDICT_FD, line, (size_t)length) == length ? 0 : 3);
}
