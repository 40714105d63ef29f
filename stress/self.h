/* SPDX-License-Identifier: MIT */
/*
 * self.h - this program again, for one row, in a process of its own.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_SELF_H
#define STRESS_SELF_H

#include "stress/process.h"

/* Runs this program with `arguments` (argv, up to NULL) and `environment` (NULL:
   as ours).  On a terminal a line says how far `label` is. */
void self_run(const char *const *arguments, char *const *environment, const char *label, struct process_end *end);

/* In that process, first: nobody would read the result if the other one died. */
void self_begin(void);

#endif /* STRESS_SELF_H */
