/* SPDX-License-Identifier: MIT */
/*
 * report.c - what the process of a row says to the program that started it.
 *   Owner   the process.  Locks: report.lock, innermost.
 */
#include "stress/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void report_init(struct report *report, int pipe) {
    report->pipe = pipe;
    pthread_mutex_init(&report->lock, NULL);
}

void report_line(struct report *report, json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (text == NULL) return;
    size_t length = strlen(text);
    text[length++] = '\n';
    pthread_mutex_lock(&report->lock);
    for (size_t done = 0; done < length;) {
        ssize_t n = write(report->pipe, text + done, length - done);
        if (n < 0 && errno != EINTR) break;
        if (n > 0) done += (size_t)n;
    }
    pthread_mutex_unlock(&report->lock);
    free(text);
}

void report_fault(void *report, const char *fault) { report_line(report, json_pack("{ss}", "fault", fault)); }
