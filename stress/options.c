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

/* --- values ----------------------------------------------------------------------------------- */

static int take_mode(void *argument, const char *value, char *error, size_t error_size) {
    struct options *options = argument;
    bool both = strcmp(value, "both") == 0;
    options->gil = both || strcmp(value, "gil") == 0;
    options->free = both || strcmp(value, "free") == 0;
    if (options->gil || options->free) return 0;
    return command_line_refuse(error, error_size, "--mode=%s: give gil, free or both", value);
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

static int take_threads(void *options, const char *value, char *error, size_t error_size) {
    if (parse_threads(options, value)) return 0;
    return command_line_refuse(error, error_size,
                               "--threads=%s: give up to %d numbers from 1 to %d with commas between them", value,
                               OPTIONS_LIST_MAX, OPTIONS_THREADS_MAX);
}

static int take_trace(void *argument, const char *value, char *error, size_t error_size) {
    struct options *options = argument;
    if (options->traces_count == OPTIONS_LIST_MAX) {
        return command_line_refuse(error, error_size, "--trace=%s: give at most %d traces", value, OPTIONS_LIST_MAX);
    }
    options->traces[options->traces_count++] = value;
    return 0;
}

static int take_remote(void *argument, const char *value, char *error, size_t error_size) {
    struct options *options = argument;
    if (command_line_number(value, 0, 100, &options->remote_percent)) return 0;
    return command_line_refuse(error, error_size, "--remote=%s: give a percentage from 0 to 100", value);
}

/* --- the command line ------------------------------------------------------------------------- */

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
    const struct command_line_option known[] = {
        {"mode", .take = take_mode},
        {"threads", .take = take_threads},
        {"seconds", .number = &options->seconds, .least = 1, .most = 1000000},
        {"passes", .number = &options->passes, .least = 1, .most = 1000000000},
        {"trace", .take = take_trace},
        {"remote", .take = take_remote},
        {"seed", .number = &options->seed, .least = 0, .most = INT64_MAX},
        {"json", .flag = &options->json},
        {"help", .flag = &options->help},
        {0},
    };
    return command_line_parse(known, options, argc, argv, error, error_size);
}
