/* SPDX-License-Identifier: MIT */
/*
 * command_line.c - what the command lines of all programs here have in common.
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* asprintf() */

#include "stress/command_line.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What getopt_long() makes of the first option: above all characters. */
#define FIRST 256

int command_line_refuse(char *error, size_t error_size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_size, format, arguments);
    va_end(arguments);
    return -1;
}

int command_line_unusable(const char *program, const char *error) {
    fprintf(stderr, "%s: %s\n", program, error);
    return EXIT_UNUSABLE;
}

char *command_line_path(const char *path) {
    char *result;
    const char *user = getenv("BUILD_WORKING_DIRECTORY");
    if (path[0] == '/' || user == NULL) return strdup(path);
    return asprintf(&result, "%s/%s", user, path) < 0 ? NULL : result;
}

/* --- values ----------------------------------------------------------------------------------- */

/* strtoull() makes of one that is too long one that is above any `most` here. */
bool command_line_number(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *value = strtoull(text, &end, 10);
    return *end == '\0' && *value >= least && *value <= most;
}

static int take_number(const struct command_line_option *option, const char *text, char *error, size_t error_size) {
    uint64_t number;
    if (!command_line_number(text, option->least, option->most, &number)) {
        return command_line_refuse(error, error_size, "--%s=%s: give a number from %" PRIu64 " to %" PRIu64,
                                   option->name, text, option->least, option->most);
    }
    *option->number = number;
    return 0;
}

static int take_names(const struct command_line_option *option, const char *text, char *error, size_t error_size) {
    *option->bits = 0;
    for (const char *word = text;; word++) {
        size_t length = strcspn(word, ","), i = 0;
        const char *name;
        while ((name = option->name_at(i)) != NULL && (strlen(name) != length || memcmp(name, word, length) != 0)) i++;
        if (name == NULL) {
            return command_line_refuse(error, error_size, "--%s=%s: there is no '%.*s'; see --help", option->name, text,
                                       (int)length, word);
        }
        *option->bits |= (uint32_t)1 << i;
        word += length;
        if (*word == '\0') return 0;
    }
}

/* Marks what the word is; false if nothing is. */
static bool mark(const struct command_line_option *option, const char *word) {
    bool found = false;
    for (size_t i = 0; *word != '\0' && i < option->count; i++) {
        if (!option->is(i, word)) continue;
        option->marks[i] = true;
        found = true;
    }
    return found;
}

static int take_words(const struct command_line_option *option, const char *text, char *error, size_t error_size) {
    char *list = strdup(text), *rest = list, *word;
    int result = list != NULL ? 0 : command_line_refuse(error, error_size, "no memory");
    while (result == 0 && (word = strsep(&rest, ",")) != NULL) {
        if (mark(option, word)) continue;
        result = command_line_refuse(error, error_size, "--%s=%s: there is no %s; see --help", option->name, text,
                                     *word ? word : "''");
    }
    free(list);
    return result;
}

static void mark_all_if_none(const struct command_line_option *option) {
    for (size_t i = 0; i < option->count; i++) {
        if (option->marks[i]) return;
    }
    for (size_t i = 0; i < option->count; i++) option->marks[i] = true;
}

/* --- the command line ------------------------------------------------------------------------- */

static bool has_value(const struct command_line_option *option) {
    return option->text != NULL || option->number != NULL || option->bits != NULL || option->marks != NULL ||
           option->take != NULL;
}

static int take_option(const struct command_line_option *option, void *settings, const char *value, char *error,
                       size_t error_size) {
    if (option->flag != NULL) *option->flag = true;
    if (option->set != NULL) option->set(settings);
    if (option->text != NULL) *option->text = value;
    if (option->number != NULL) return take_number(option, value, error, error_size);
    if (option->bits != NULL) return take_names(option, value, error, error_size);
    if (option->marks != NULL) return take_words(option, value, error, error_size);
    if (option->take != NULL) return option->take(settings, value, error, error_size);
    return 0;
}

int command_line_parse(const struct command_line_option *known, void *settings, int argc, char **argv, char *error,
                       size_t error_size) {
    struct option options[COMMAND_LINE_MAX + 1] = {0};
    for (int i = 0; known[i].name != NULL; i++) {
        if (i == COMMAND_LINE_MAX) abort();
        options[i] =
            (struct option){known[i].name, has_value(&known[i]) ? required_argument : no_argument, NULL, FIRST + i};
    }
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
        const char *word = argv[optind - 1];
        if (option == ':') {
            return command_line_refuse(error, error_size, "%s: a value is missing; see --help", word);
        }
        if (option == '?' && optopt >= FIRST) {
            return command_line_refuse(error, error_size, "%s: this option takes no value; see --help", word);
        }
        if (option == '?') return command_line_refuse(error, error_size, "%s: no such option; see --help", word);
        if (take_option(&known[option - FIRST], settings, optarg, error, error_size) != 0) return -1;
    }
    if (optind < argc) {
        return command_line_refuse(error, error_size, "%s: not an option; see --help", argv[optind]);
    }
    for (size_t i = 0; known[i].name != NULL; i++) mark_all_if_none(&known[i]);
    return 0;
}
