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

/* --- the command line ------------------------------------------------------------------------- */

static const char *scenario_name(size_t i) { return scenarios[i] != NULL ? scenarios[i]->name : NULL; }

static int take_mode(void *argument, const char *value, char *error, size_t error_size) {
    static const char *const names[] = {"", "gil", "free", "both"};
    struct settings *settings = argument;
    for (unsigned modes = SCENARIO_GIL; modes <= SCENARIO_BOTH; modes++) {
        if (strcmp(value, names[modes]) != 0) continue;
        settings->modes = modes;
        return 0;
    }
    return command_line_refuse(error, error_size, "--mode=%s: give gil, free or both", value);
}

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings =
        (struct settings){.scenarios = UINT32_MAX, .modes = SCENARIO_BOTH, .seconds = 60, .threads = 8, .seed = 1};
    const struct command_line_option known[] = {
        {"scenario", .bits = &settings->scenarios, .name_at = scenario_name},
        {"mode", .take = take_mode},
        {"seconds", .number = &settings->seconds, .least = 1, .most = 1000000},
        {"operations", .number = &settings->operations, .least = 1, .most = 1000000000000},
        {"threads", .number = &settings->threads, .least = 1, .most = TRIAL_THREADS_MAX},
        {"lives", .number = &settings->lives, .least = 1, .most = 1000000000},
        {"seed", .number = &settings->seed, .least = 0, .most = INT64_MAX},
        {"json", .text = &settings->json},
        {"help", .flag = &settings->help},
        {0},
    };
    return command_line_parse(known, settings, argc, argv, error, error_size);
}
