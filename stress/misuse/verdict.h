/* SPDX-License-Identifier: MIT */
/*
 * verdict.h - what the process of one case tells the main program, if it lives to: a
 * letter and a line, through a descriptor of its own.
 *   Owner   whoever calls; the process ends by it.
 *   Locks   none.
 */
#ifndef STRESS_MISUSE_VERDICT_H
#define STRESS_MISUSE_VERDICT_H

#define VERDICT_FD 3 /* where the process finds its end of the pipe */

enum verdict {
    VERDICT_NONE = 'N',           /* no effect was noticed */
    VERDICT_SILENT = 'S',         /* silent corruption */
    VERDICT_RIGHT = 'T',          /* the documented answer, and no damage */
    VERDICT_CHECKED = 'K',        /* gilloc_check() alone has found it */
    VERDICT_NOT_APPLICABLE = '-', /* the library has no such function */
    VERDICT_BROKEN = '!'          /* the program could not do it */
};

__attribute__((noreturn, format(printf, 2, 3))) void verdict_end(enum verdict verdict, const char *format, ...);

#endif /* STRESS_MISUSE_VERDICT_H */
