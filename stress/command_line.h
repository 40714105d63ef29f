/* SPDX-License-Identifier: MIT */
/*
 * command_line.h - what the command lines of all programs here have in common:
 * long options, and one line for what cannot be used.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_COMMAND_LINE_H
#define STRESS_COMMAND_LINE_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COMMAND_LINE_FIRST = 256 }; /* the least value of an option: above all characters */

/* Puts one option into `options`; 0, or -1 with a line (no newline) in `error`. */
typedef int command_line_take(void *options, int option, const char *value, char *error, size_t error_size);

/* Hands each option of the command line to `take`; 0, or -1 with a line (no newline) in `error`. */
int command_line_parse(const struct option *known, command_line_take *take, void *options, int argc, char **argv,
                       char *error, size_t error_size);

/* Writes the line; -1. */
__attribute__((format(printf, 3, 4))) int command_line_refuse(char *error, size_t error_size, const char *format, ...);

/* All of `text` as a decimal number from `least` to `most`? */
bool command_line_number(const char *text, uint64_t least, uint64_t most, uint64_t *value);
/* Takes the value of `--name`; 0, or -1 with the line that says which numbers it may have. */
int command_line_take_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *value,
                             char *error, size_t error_size);

/* Takes a list of names with commas between them as bits: bit i is `name_at(i)`, which is NULL after the last (at most
   32); 0, or -1 with the line that says which it is not. */
int command_line_take_names(const char *name, const char *text, const char *(*name_at)(size_t i), uint32_t *bits,
                            char *error, size_t error_size);

#endif /* STRESS_COMMAND_LINE_H */
