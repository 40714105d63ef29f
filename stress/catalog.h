/* SPDX-License-Identifier: MIT */
/*
 * catalog.h - which files the traces are in.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_CATALOG_H
#define STRESS_CATALOG_H

#include <stddef.h>

struct catalog {
    char **paths;
    size_t count;
};

/* Finds the files of `count` names or files, or (0) of all traces that come with
   the program.  A word without '/' and '.' is a name; a file is relative to where
   the user is, under `bazel run` too.  0, or -1 with a line (no newline) in
   `error`. */
int catalog_find(struct catalog *catalog, const char *const *wanted, size_t count, char *error, size_t error_size);
void catalog_free(struct catalog *catalog);

#endif /* STRESS_CATALOG_H */
