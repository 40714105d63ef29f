/* SPDX-License-Identifier: MIT */
/*
 * command_line.h - what the command lines of all programs here have in common:
 * long options, and one line for what cannot be used.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_COMMAND_LINE_H
#define STRESS_COMMAND_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMAND_LINE_MAX 15 /* options of one program */

/* An option, and where it goes. */
struct command_line_option {
    const char *name;

    /* No value, where it has none of those below. */
    bool *flag;                  /* true */
    void (*set)(void *settings); /* called */

    /* Any text. */
    const char **text;

    /* A decimal number. */
    uint64_t *number;
    uint64_t least, most;

    /* Names with commas between them: bit i is name_at(i), which is NULL after the last (at most 32). */
    uint32_t *bits;
    const char *(*name_at)(size_t i);

    /* Words with commas between them: each marks all i below `count` that it `is`, and must mark one.  Where the
       option is not given, all are marked. */
    bool *marks;
    size_t count;
    bool (*is)(size_t i, const char *word);

    /* Anything else; 0, or -1 with a line (no newline) in `error`. */
    int (*take)(void *settings, const char *value, char *error, size_t error_size);
};

/* Takes each option of the command line; `known` ends with one without a name, `settings` is for its functions.  0, or
   -1 with a line (no newline) in `error`. */
int command_line_parse(const struct command_line_option *known, void *settings, int argc, char **argv, char *error,
                       size_t error_size);

/* For `take`.  Writes the line; -1. */
__attribute__((format(printf, 3, 4))) int command_line_refuse(char *error, size_t error_size, const char *format, ...);
/* The same.  All of `text` as a decimal number from `least` to `most`? */
bool command_line_number(const char *text, uint64_t least, uint64_t most, uint64_t *value);

/* The exit status of all programs for what cannot be used. */
#define EXIT_UNUSABLE 2
/* Tells the user the line; that exit status. */
int command_line_unusable(const char *program, const char *error);

/* What the user means by `path`, who under `bazel run` is not where the program is; from malloc, or NULL without
   memory. */
char *command_line_path(const char *path);

#endif /* STRESS_COMMAND_LINE_H */
