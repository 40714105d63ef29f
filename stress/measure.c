/* SPDX-License-Identifier: MIT */
/*
 * measure.c - clocks, and what the system says of this process's memory.
 *   Locks   none.
 */
#include "stress/measure.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- clocks ----------------------------------------------------------------------------------- */

uint64_t measure_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

double measure_seconds(clockid_t clock) { return (double)measure_ns(clock) * 1e-9; }

/* --- memory ----------------------------------------------------------------------------------- */

int64_t measure_status(const char *name) {
    unsigned long long kilobytes = 0;
    char line[128];
    size_t length = strlen(name);
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) return 0;
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') kilobytes = strtoull(line + length + 1, NULL, 10);
    }
    fclose(status);
    return (int64_t)kilobytes * 1024;
}

int64_t measure_resident(void) {
    char text[128] = "";
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    const char *second = n > 0 ? strchr(text, ' ') : NULL;
    return second != NULL ? strtoll(second, NULL, 10) * sysconf(_SC_PAGESIZE) : 0;
}
