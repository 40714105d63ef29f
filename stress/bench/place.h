/* SPDX-License-Identifier: MIT */
/*
 * place.h - where the files of the bench are.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_BENCH_PLACE_H
#define STRESS_BENCH_PLACE_H

#include <stddef.h>

/* The path of a file that comes with the bench, from malloc; or NULL with a line
   in `error`. */
char *place_of_program(const char *name, char *error, size_t error_size);

#endif /* STRESS_BENCH_PLACE_H */
