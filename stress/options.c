/* SPDX-License-Identifier: MIT */
/*
 * options.c - the command line.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/options.h"

#include <stdlib.h>
#include <string.h>

#include "stress/command_line.h"

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

enum {
    OPT_MODE = COMMAND_LINE_FIRST,
    OPT_THREADS,
    OPT_SECONDS,
    OPT_PASSES,
    OPT_TRACE,
    OPT_REMOTE,
    OPT_SEED,
    OPT_JSON,
    OPT_HELP
};

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
        good = options->threads_count < OPTIONS_LIST_MAX && command_line_number(entry, 1, OPTIONS_THREADS_MAX, &value);
        if (good) options->threads[options->threads_count++] = (unsigned)value;
    }
    free(list);
    return good;
}

/* --- the command line ------------------------------------------------------------------------- */

static int take_option(void *argument, int option, const char *value, char *error, size_t error_size) {
    struct options *options = argument;
    uint64_t count = 0;
    int result;
    switch (option) {
        case OPT_MODE:
            if (parse_mode(options, value)) return 0;
            return command_line_refuse(error, error_size, "--mode=%s: give gil, free or both", value);
        case OPT_THREADS:
            if (parse_threads(options, value)) return 0;
            return command_line_refuse(error, error_size,
                                       "--threads=%s: give up to %d numbers from 1 to %d with commas between them",
                                       value, OPTIONS_LIST_MAX, OPTIONS_THREADS_MAX);
        case OPT_SECONDS:
            result = command_line_take_number("seconds", value, 1, 1000000, &count, error, error_size);
            options->seconds = (unsigned)count;
            return result;
        case OPT_PASSES:
            return command_line_take_number("passes", value, 1, 1000000000, &options->passes, error, error_size);
        case OPT_TRACE:
            if (options->traces_count == OPTIONS_LIST_MAX) {
                return command_line_refuse(error, error_size, "--trace=%s: give at most %d traces", value,
                                           OPTIONS_LIST_MAX);
            }
            options->traces[options->traces_count++] = value;
            return 0;
        case OPT_REMOTE:
            if (!command_line_number(value, 0, 100, &count)) {
                return command_line_refuse(error, error_size, "--remote=%s: give a percentage from 0 to 100", value);
            }
            options->remote_percent = (unsigned)count;
            return 0;
        case OPT_SEED:
            return command_line_take_number("seed", value, 0, INT64_MAX, &options->seed, error, error_size);
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
    return command_line_parse(known, take_option, options, argc, argv, error, error_size);
}
