/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the command line of torture.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/torture/settings.h"

#include <string.h>

#include "stress/command_line.h"

/* --- help ------------------------------------------------------------------------------------- */

void settings_help(FILE *out) {
    fputs(
        "Usage: torture [OPTION]...\n"
        "Threads do to gilloc what threads must not be able to break, and look for what\n"
        "they must not see; a table says what they did, and 'BUG:' what they saw.\n"
        "\n"
        "      --scenario=LIST    scenarios with commas between them (default all)\n"
        "      --mode=MODE        gil, free or both, where a scenario has both (default\n"
        "                         both)\n"
        "      --seconds=N        all rows together (default 60)\n"
        "      --operations=N     in each row, however long it takes\n"
        "      --threads=N        of each row (default 8)\n"
        "      --lives=N          threads that live and die in 'lives', at least\n"
        "      --seed=N           what the threads choose (default 1)\n"
        "      --json=FILE        all numbers, as JSON\n"
        "      --help             this text\n"
        "\n"
        "Scenarios:\n",
        out);
    for (size_t i = 0; scenarios[i] != NULL; i++) {
        fprintf(out, "  %-12s  %-4s  %s\n", scenarios[i]->name, scenarios[i]->modes == SCENARIO_BOTH ? "both" : "free",
                scenarios[i]->what);
    }
    fputs("\nExit status: 0 nothing broke, 1 something did, 2 the command line cannot be\nused.\n", out);
}

enum {
    OPT_SCENARIO = COMMAND_LINE_FIRST,
    OPT_MODE,
    OPT_SECONDS,
    OPT_OPERATIONS,
    OPT_THREADS,
    OPT_LIVES,
    OPT_SEED,
    OPT_JSON,
    OPT_HELP
};

static const struct option known[] = {
    {"scenario", required_argument, NULL, OPT_SCENARIO},
    {"mode", required_argument, NULL, OPT_MODE},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"operations", required_argument, NULL, OPT_OPERATIONS},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"lives", required_argument, NULL, OPT_LIVES},
    {"seed", required_argument, NULL, OPT_SEED},
    {"json", required_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* --- values ----------------------------------------------------------------------------------- */

static const char *scenario_name(size_t i) { return scenarios[i] != NULL ? scenarios[i]->name : NULL; }

static int take_mode(struct settings *settings, const char *value, char *error, size_t error_size) {
    static const char *const names[] = {"", "gil", "free", "both"};
    for (unsigned modes = SCENARIO_GIL; modes <= SCENARIO_BOTH; modes++) {
        if (strcmp(value, names[modes]) != 0) continue;
        settings->modes = modes;
        return 0;
    }
    return command_line_refuse(error, error_size, "--mode=%s: give gil, free or both", value);
}

static int take_option(void *argument, int option, const char *value, char *error, size_t error_size) {
    struct settings *settings = argument;
    uint64_t number = 0;
    int result;
    switch (option) {
        case OPT_SCENARIO:
            return command_line_take_names("scenario", value, scenario_name, &settings->scenarios, error, error_size);
        case OPT_MODE:
            return take_mode(settings, value, error, error_size);
        case OPT_SECONDS:
            result = command_line_take_number("seconds", value, 1, 1000000, &number, error, error_size);
            settings->seconds = (unsigned)number;
            return result;
        case OPT_OPERATIONS:
            return command_line_take_number("operations", value, 1, 1000000000000, &settings->operations, error,
                                            error_size);
        case OPT_THREADS:
            result = command_line_take_number("threads", value, 1, TRIAL_THREADS_MAX, &number, error, error_size);
            settings->threads = (unsigned)number;
            return result;
        case OPT_LIVES:
            return command_line_take_number("lives", value, 1, 1000000000, &settings->lives, error, error_size);
        case OPT_SEED:
            return command_line_take_number("seed", value, 0, INT64_MAX, &settings->seed, error, error_size);
        case OPT_JSON:
            settings->json = value;
            return 0;
        default:
            settings->help = true;
            return 0;
    }
}

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings =
        (struct settings){.scenarios = UINT32_MAX, .modes = SCENARIO_BOTH, .seconds = 60, .threads = 8, .seed = 1};
    return command_line_parse(known, take_option, settings, argc, argv, error, error_size);
}
