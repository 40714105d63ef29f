/* SPDX-License-Identifier: MIT */
/*
 * place.h - where files are.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_PLACE_H
#define STRESS_BENCH_PLACE_H

#include <stddef.h>

/* The path of a file that comes with the bench, from malloc; or NULL with a line
   in `error`. */
char *place_of_program(const char *name, char *error, size_t error_size);
/* What the user means by `path`, who under `bazel run` is not where the program
   is; from malloc, or NULL without memory. */
char *place_of_user(const char *path);

#endif /* STRESS_BENCH_PLACE_H */
