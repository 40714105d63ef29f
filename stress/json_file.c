/* SPDX-License-Identifier: MIT */
/*
 * json_file.c - the file of --json=FILE.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/json_file.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

FILE *json_file_open(const char *name, char *error, size_t error_size) {
    char path[PATH_MAX];
    const char *user = getenv("BUILD_WORKING_DIRECTORY");
    if (name[0] == '/' || user == NULL) user = "";
    int length = snprintf(path, sizeof path, "%s%s%s", user, *user ? "/" : "", name);
    errno = ENAMETOOLONG;
    FILE *file = (size_t)length < sizeof path ? fopen(path, "we") : NULL;
    if (file == NULL) snprintf(error, error_size, "--json=%s: cannot write: %s", name, strerror(errno));
    return file;
}

int json_file_close(FILE *file, const char *name, const json_t *json, char *error, size_t error_size) {
    bool good = json_dumpf(json, file, JSON_INDENT(2)) == 0 && fputc('\n', file) != EOF;
    good = fclose(file) == 0 && good;
    if (!good) snprintf(error, error_size, "--json=%s: cannot write: %s", name, strerror(errno));
    return good ? 0 : -1;
}
