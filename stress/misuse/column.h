/* SPDX-License-Identifier: MIT */
/*
 * column.h - the contenders: each a column of the table.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_MISUSE_COLUMN_H
#define STRESS_MISUSE_COLUMN_H

#include <stdbool.h>
#include <stddef.h>

#include "stress/misuse/kind.h"

struct column {
    const char *name;
    const char *loader;      /* what the process calls it */
    const char *library;     /* file name; NULL: none is loaded */
    const char *package;     /* Debian's, that has the library; NULL: it comes with the program, or with libc */
    const char *environment; /* "NAME=value" in its processes; or NULL */
    const char *preload;     /* file name, or NULL */
    unsigned has;            /* bits of HAS_ and IS_ */
    const char *text;
};

extern const struct column columns[];
extern const size_t column_count; /* those with planted faults, which are no contenders, follow */
extern const size_t column_all;

bool column_can(const struct column *column, const struct kind *kind);
bool column_has_domains(const struct column *column);
bool column_is_ours(const struct column *column);
/* The path of its library, from malloc ("" where none is loaded); or NULL with a line in `problem`. */
char *column_library(const struct column *column, char *problem, size_t problem_size);

#endif /* STRESS_MISUSE_COLUMN_H */
