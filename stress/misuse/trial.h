/* SPDX-License-Identifier: MIT */
/*
 * trial.h - one case of one kind for one contender: a process, how it ended, and which
 * letter that is.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_MISUSE_TRIAL_H
#define STRESS_MISUSE_TRIAL_H

#include <stddef.h>
#include <stdint.h>

#include "stress/misuse/column.h"
#include "stress/misuse/verdict.h"

/* The letters of the table: name, letter, what it means. */
#define LETTERS(L)                                                                                            \
    L(CLEAR, 'C',                                                                                             \
      "stopped with a clear text: abort() or an exit status, and a line on stderr that says what happened")   \
    L(RIGHT, 'T', "the documented answer: NULL for what cannot be, nothing for what is legal; and no damage") \
    L(CHECKED, 'K', "no effect was noticed, and gilloc_check() says what is broken")                          \
    L(NONE, 'N', "no effect was noticed, and nothing was found")                                              \
    L(UNCLEAR, 'U', "a signal such as SIGSEGV, an abort() without a word, or a hang")                         \
    L(SILENT, 'S', "silent corruption: a block over a live one, a live one changed, or a wrong answer")       \
    L(NOT_APPLICABLE, '-', "there is no such call; not counted")

enum letter {
#define LETTER_NAME(name, letter, text) LETTER_##name = letter,
    LETTERS(LETTER_NAME)
};

#define TRIAL_TEXT 8192 /* bytes of stderr that are kept */

struct trial {
    char letter;           /* of LETTERS, or VERDICT_BROKEN: it could not be tried */
    char end[256];         /* how it ended: "SIGABRT", "exit status 1", "a live block ... was changed" */
    char text[TRIAL_TEXT]; /* what it wrote to stderr, zero-terminated */
};

/* Runs it; `library`: of the column, as column_library() gives it.  `hangs_after`: seconds. */
void trial_run(struct trial *trial, const struct column *column, const char *library, const struct kind *kind,
               const struct misuse_case *one, uint64_t operations, double hangs_after);

/* The line of the trial's text that names what happened; in `line`, without its newline. */
void trial_line(const struct trial *trial, char *line, size_t line_size);
/* The same with all that differs from run to run replaced: numbers in hexadecimal and long ones by X. */
void trial_mask(char *line);

#endif /* STRESS_MISUSE_TRIAL_H */
