/* SPDX-License-Identifier: MIT */
/*
 * options.c - the command line.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char options_help[] =
    "Usage: stress [OPTION]...\n"
    "Replays allocation traces of real programs on the raw, mem and object domains,\n"
    "from several threads, checks every byte of every block, and prints a table.\n"
    "\n"
    "      --mode=MODE        gil, free or both (default both)\n"
    "      --threads=LIST     numbers of threads, one row each (default 1,2,8)\n"
    "      --seconds=N        time to replay, all rows together (default 20)\n"
    "      --passes=N         replay N traces in each row, however long it takes\n"
    "      --trace=NAME|FILE  a trace that comes with the program (startup, jsonre,\n"
    "                         compileall), or a file; repeatable (default all)\n"
    "      --remote=PERCENT   blocks that another thread frees (default 10)\n"
    "      --seed=N           which blocks those are (default 1)\n"
    "      --json             JSON on stdout and no table\n"
    "      --help             this text\n"
    "\n"
    "Exit status: 0 all blocks intact and nothing leaked, 1 not so, 2 the command\n"
    "line or a trace cannot be used.\n";

enum { OPT_MODE = 256, OPT_THREADS, OPT_SECONDS, OPT_PASSES, OPT_TRACE, OPT_REMOTE, OPT_SEED, OPT_JSON, OPT_HELP };

static const struct option known[] = {
    {"mode", required_argument, NULL, OPT_MODE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"passes", required_argument, NULL, OPT_PASSES},
    {"trace", required_argument, NULL, OPT_TRACE},
    {"remote", required_argument, NULL, OPT_REMOTE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* --- values ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int fail(char *error, size_t error_size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_size, format, arguments);
    va_end(arguments);
    return -1;
}

/* All of `text` as a decimal number from `least` to `most`?  strtoull() makes of one that is too long one that is
   above any `most` here. */
static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *value = strtoull(text, &end, 10);
    return *end == '\0' && *value >= least && *value <= most;
}

static bool parse_mode(struct options *options, const char *text) {
    bool both = strcmp(text, "both") == 0;
    options->gil = both || strcmp(text, "gil") == 0;
    options->free = both || strcmp(text, "free") == 0;
    return options->gil || options->free;
}

static bool parse_threads(struct options *options, const char *text) {
    char *list = strdup(text), *rest = list, *entry;
    bool good = list != NULL;
    options->threads_count = 0;
    while (good && (entry = strsep(&rest, ",")) != NULL) {
        uint64_t value = 0;
        good = options->threads_count < OPTIONS_LIST_MAX && number(entry, 1, OPTIONS_THREADS_MAX, &value);
        if (good) options->threads[options->threads_count++] = (unsigned)value;
    }
    free(list);
    return good;
}

/* --- the command line ------------------------------------------------------------------------- */

static int parse_option(struct options *options, int option, const char *value, char *error, size_t error_size) {
    uint64_t count;
    switch (option) {
        case OPT_MODE:
            if (parse_mode(options, value)) return 0;
            return fail(error, error_size, "--mode=%s: give gil, free or both", value);
        case OPT_THREADS:
            if (parse_threads(options, value)) return 0;
            return fail(error, error_size, "--threads=%s: give up to %d numbers from 1 to %d with commas between them",
                        value, OPTIONS_LIST_MAX, OPTIONS_THREADS_MAX);
        case OPT_SECONDS:
            if (!number(value, 1, 1000000, &count)) {
                return fail(error, error_size, "--seconds=%s: give a number from 1 to 1000000", value);
            }
            options->seconds = (unsigned)count;
            return 0;
        case OPT_PASSES:
            if (number(value, 1, 1000000000, &options->passes)) return 0;
            return fail(error, error_size, "--passes=%s: give a number from 1 to 1000000000", value);
        case OPT_TRACE:
            if (options->traces_count == OPTIONS_LIST_MAX) {
                return fail(error, error_size, "--trace=%s: give at most %d traces", value, OPTIONS_LIST_MAX);
            }
            options->traces[options->traces_count++] = value;
            return 0;
        case OPT_REMOTE:
            if (!number(value, 0, 100, &count)) {
                return fail(error, error_size, "--remote=%s: give a percentage from 0 to 100", value);
            }
            options->remote_percent = (unsigned)count;
            return 0;
        case OPT_SEED:
            if (number(value, 0, INT64_MAX, &options->seed)) return 0;
            return fail(error, error_size, "--seed=%s: give a number from 0 to %" PRId64, value, INT64_MAX);
        case OPT_JSON:
            options->json = true;
            return 0;
        default:
            options->help = true;
            return 0;
    }
}

int options_parse(struct options *options, int argc, char **argv, char *error, size_t error_size) {
    *options = (struct options){
        .gil = true,
        .free = true,
        .threads = {1, 2, 8},
        .threads_count = 3,
        .seconds = 20,
        .remote_percent = 10,
        .seed = 1,
    };
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, "+:", known, NULL)) != -1) {
        const char *word = argv[optind - 1];
        if (option == ':') return fail(error, error_size, "%s: a value is missing; see --help", word);
        if (option == '?' && optopt >= OPT_MODE) {
            return fail(error, error_size, "%s: this option takes no value; see --help", word);
        }
        if (option == '?') return fail(error, error_size, "%s: no such option; see --help", word);
        if (parse_option(options, option, optarg, error, error_size) != 0) return -1;
    }
    if (optind < argc) return fail(error, error_size, "%s: not an option; see --help", argv[optind]);
    return 0;
}
