/* SPDX-License-Identifier: MIT */
/*
 * place.c - where the files of the bench are: in its runfiles tree, the current
 * directory under `bazel run`, or beside the program.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/bench/place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Folders of what comes with the bench, from the root of the tree. */
static const char *const folders[] = {"stress/bench", "stress/misuse", "stress", "lib"};

char *place_of_program(const char *name, char *error, size_t error_size) {
    char program[PATH_MAX] = "", path[3 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    char *tail = length > 0 ? strrchr(program, '/') : NULL;
    if (tail != NULL) *tail = '\0';
    for (int beside = 0; beside < 2; beside++) {
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
            snprintf(path, sizeof path, "%s%s%s/%s", beside ? program : "", beside ? "/../../" : "", folders[i], name);
            if (access(path, R_OK) == 0) return realpath(path, NULL);
        }
    }
    snprintf(error, error_size, "%s, which comes with the bench, is not beside it; run it by bazel run", name);
    return NULL;
}
