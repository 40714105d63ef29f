/* SPDX-License-Identifier: MIT */
/*
 * settings.h - the command line of the table of misuse.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_MISUSE_SETTINGS_H
#define STRESS_MISUSE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SETTINGS_MAX 256 /* kinds, and contenders */

enum output { OUTPUT_TABLE, OUTPUT_TEXT, OUTPUT_EXPECTED, OUTPUT_KINDS, OUTPUT_SELFTEST };

struct settings {
    bool help;
    enum output output;
    bool kinds[SETTINGS_MAX];      /* wanted, by index into kinds[] */
    bool contenders[SETTINGS_MAX]; /* wanted, by index into columns[] */
    uint64_t operations;           /* of the probe */
    double hangs_after;            /* seconds */
    const char *json;              /* a file to write, or NULL */
    const char *document;          /* a page to write a part of, or NULL */
};

/* Fills `*settings`; 0, or -1 with a line (no newline) in `error`. */
int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size);
/* The text of --help, with all contenders and groups. */
void settings_help(FILE *out);

#endif /* STRESS_MISUSE_SETTINGS_H */
