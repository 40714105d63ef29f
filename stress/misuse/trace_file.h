/* SPDX-License-Identifier: MIT */
/*
 * trace_file.h - traces for the main job that are wrong.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_MISUSE_TRACE_FILE_H
#define STRESS_MISUSE_TRACE_FILE_H

#include <stddef.h>

/* A file in memory that is wrong as the kind of that name says; its descriptor, to be closed, and its path.  -1: it
   cannot be made. */
int trace_file_make(const char *kind, char *path, size_t path_size);

#endif /* STRESS_MISUSE_TRACE_FILE_H */
