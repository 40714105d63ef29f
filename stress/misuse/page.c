/* SPDX-License-Identifier: MIT */
/*
 * page.c - a page of the documents, a part of which this program writes.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/misuse/page.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/command_line.h"
#include "stress/misuse/report.h"

/* The whole file, zero-terminated, from malloc; or NULL. */
static char *read_all(const char *path) {
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;
    if (file == NULL) return NULL;
    if (getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

static bool write_all(const char *path, const char *text, const char *begin, const char *end,
                      const struct document *document) {
    FILE *file = fopen(path, "we");
    if (file == NULL) return false;
    fprintf(file, "%.*s\n", (int)(begin - text), text);
    report_document(file, document);
    fprintf(file, "\n%s", end);
    return fclose(file) == 0;
}

int page_update(const char *name, const struct document *document, char *error, size_t error_size) {
    char *path = command_line_path(name), *text = path != NULL ? read_all(path) : NULL;
    char *begin = text != NULL ? strstr(text, PAGE_BEGIN) : NULL, *end = begin != NULL ? strstr(begin, PAGE_END) : NULL;
    bool good = false;
    if (text == NULL) {
        snprintf(error, error_size, "--document=%s: cannot read: %s", name, strerror(errno));
    } else if (end == NULL) {
        snprintf(error, error_size, "--document=%s: it has no part for this program", name);
    } else {
        good = write_all(path, text, begin + strlen(PAGE_BEGIN), end, document);
        if (!good) snprintf(error, error_size, "--document=%s: cannot write: %s", name, strerror(errno));
    }
    free(text);
    free(path);
    return good ? 0 : -1;
}
