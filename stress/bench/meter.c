/* SPDX-License-Identifier: MIT */
/*
 * meter.c - clocks, this process's memory, and what a workload found.
 *   Owner   the main thread; the clocks are anyone's.
 *   Locks   none.
 * Nothing here calls malloc() but stdio, and that after the workload.
 */
#include "stress/bench/meter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define POINTS 512
#define METER_PIPE 3 /* PROCESS_PIPE of ../process.h, which needs a JSON library */

static double figures[METER_FIGURES];
static unsigned figure_count;
static double points[POINTS][2];
static size_t point_count;

/* --- clocks ----------------------------------------------------------------------------------- */

static uint64_t ns_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t meter_thread_ns(void) { return ns_of(CLOCK_THREAD_CPUTIME_ID); }
uint64_t meter_process_ns(void) { return ns_of(CLOCK_PROCESS_CPUTIME_ID); }
uint64_t meter_wall_ns(void) { return ns_of(CLOCK_MONOTONIC); }

void meter_sleep_ns(uint64_t ns) {
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) continue;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* The number of kilobytes after `name` in a file of /proc, in bytes. */
static uint64_t proc_bytes(const char *path, const char *name) {
    char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t n = 1;
    while (fd >= 0 && n > 0 && length < sizeof text - 1) {
        n = read(fd, text + length, sizeof text - 1 - length);
        if (n > 0) length += (size_t)n;
    }
    if (fd >= 0) close(fd);
    text[length] = '\0';
    const char *at = strstr(text, name);
    if (at == NULL) meter_fault("%s has no %s", path, name);
    return strtoull(at + strlen(name), NULL, 10) * 1024;
}

/* The kernel counts VmRSS in lots of pages for each processor; the sum over the mappings is exact. */
uint64_t meter_resident(void) { return proc_bytes("/proc/self/smaps_rollup", "\nRss:"); }

void meter_peak_reset(void) {
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1) meter_fault("the peak of memory cannot be reset: %s", strerror(errno));
    close(fd);
}

uint64_t meter_peak(void) { return proc_bytes("/proc/self/status", "\nVmHWM:"); }

void *meter_table(size_t bytes) {
    void *table =
        mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (table == MAP_FAILED) meter_fault("no memory for a table of %zu bytes", bytes);
    return table;
}

/* --- telling the parent ------------------------------------------------------------------------- */

/* One line through the pipe. */
__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
    static char line[POINTS * 64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (ssize_t done = 0, n = 1; done < length && n > 0; done += n) {
        n = write(METER_PIPE, line + done, (size_t)(length - done));
    }
}

/* --- what was found --------------------------------------------------------------------------- */

void meter_figure(unsigned index, double value) {
    figures[index] = value;
    if (index >= figure_count) figure_count = index + 1;
}

void meter_point(double x, double y) {
    if (point_count == POINTS) return;
    points[point_count][0] = x;
    points[point_count][1] = y;
    point_count++;
}

void meter_tell(void) {
    static char text[POINTS * 48];
    size_t length = 0;
    for (unsigned i = 0; i < figure_count; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%.6g", i ? "," : "", figures[i]);
    }
    length += (size_t)snprintf(text + length, sizeof text - length, "],\"points\":[");
    for (size_t i = 0; i < point_count; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%s[%.6g,%.6g]", i ? "," : "", points[i][0],
                                   points[i][1]);
    }
    tell("{\"result\":{\"figures\":[%s]}}\n", text);
}

void meter_fault(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ') *at = '\'';
    }
    tell("{\"fault\":\"%s\"}\n", text);
    _exit(1);
}
