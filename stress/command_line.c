/* SPDX-License-Identifier: MIT */
/*
 * command_line.c - what the command lines of all programs here have in common.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/command_line.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- values ----------------------------------------------------------------------------------- */

int command_line_refuse(char *error, size_t error_size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_size, format, arguments);
    va_end(arguments);
    return -1;
}

/* strtoull() makes of one that is too long one that is above any `most` here. */
bool command_line_number(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *value = strtoull(text, &end, 10);
    return *end == '\0' && *value >= least && *value <= most;
}

int command_line_take_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *value,
                             char *error, size_t error_size) {
    uint64_t number;
    if (!command_line_number(text, least, most, &number)) {
        return command_line_refuse(error, error_size, "--%s=%s: give a number from %" PRIu64 " to %" PRIu64, name, text,
                                   least, most);
    }
    *value = number;
    return 0;
}

int command_line_take_names(const char *name, const char *text, const char *(*name_at)(size_t i), uint32_t *bits,
                            char *error, size_t error_size) {
    *bits = 0;
    for (const char *word = text;; word++) {
        size_t length = strcspn(word, ","), i = 0;
        while (name_at(i) != NULL && (strlen(name_at(i)) != length || memcmp(name_at(i), word, length) != 0)) i++;
        if (name_at(i) == NULL) {
            return command_line_refuse(error, error_size, "--%s=%s: there is no '%.*s'; see --help", name, text,
                                       (int)length, word);
        }
        *bits |= (uint32_t)1 << i;
        word += length;
        if (*word == '\0') return 0;
    }
}

/* --- the command line ------------------------------------------------------------------------- */

int command_line_parse(const struct option *known, command_line_take *take, void *options, int argc, char **argv,
                       char *error, size_t error_size) {
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, "+:", known, NULL)) != -1) {
        const char *word = argv[optind - 1];
        if (option == ':') {
            return command_line_refuse(error, error_size, "%s: a value is missing; see --help", word);
        }
        if (option == '?' && optopt >= COMMAND_LINE_FIRST) {
            return command_line_refuse(error, error_size, "%s: this option takes no value; see --help", word);
        }
        if (option == '?') return command_line_refuse(error, error_size, "%s: no such option; see --help", word);
        if (take(options, option, optarg, error, error_size) != 0) return -1;
    }
    if (optind < argc) {
        return command_line_refuse(error, error_size, "%s: not an option; see --help", argv[optind]);
    }
    return 0;
}
