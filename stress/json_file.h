/* SPDX-License-Identifier: MIT */
/*
 * json_file.h - the file of --json=FILE.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_JSON_FILE_H
#define STRESS_JSON_FILE_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* Opens `name` before there is anything to write: a name that cannot be is told at once.  NULL: no file is wanted.
   0, or -1 with a line (no newline) in `error`. */
int json_file_open(FILE **file, const char *name, char *error, size_t error_size);
/* Writes `json` and closes, if there is a file; 0, or -1 with a line in `error`. */
int json_file_close(FILE *file, const char *name, const json_t *json, char *error, size_t error_size);

#endif /* STRESS_JSON_FILE_H */
