/* SPDX-License-Identifier: MIT */
/*
 * json_file.c - the file of --json=FILE.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/json_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "stress/command_line.h"

int json_file_open(FILE **file, const char *name, char *error, size_t error_size) {
    *file = NULL;
    if (name == NULL) return 0;
    char *path = command_line_path(name);
    if (path != NULL) *file = fopen(path, "we");
    if (*file == NULL) snprintf(error, error_size, "--json=%s: cannot write: %s", name, strerror(errno));
    free(path);
    return *file != NULL ? 0 : -1;
}

int json_file_close(FILE *file, const char *name, const json_t *json, char *error, size_t error_size) {
    if (file == NULL) return 0;
    bool good = json_dumpf(json, file, JSON_INDENT(2)) == 0 && fputc('\n', file) != EOF;
    good = fclose(file) == 0 && good;
    if (!good) snprintf(error, error_size, "--json=%s: cannot write: %s", name, strerror(errno));
    return good ? 0 : -1;
}
