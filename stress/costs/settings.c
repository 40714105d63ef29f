/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the command line of costs.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/costs/settings.h"

#include "stress/command_line.h"

void settings_help(FILE *out) {
    fputs(
        "Usage: costs [OPTION]...\n"
        "What calls cost that CPython has no like of: deferred frees, safepoints, the\n"
        "stopped world, the walk, mode switches, statistics.\n"
        "\n"
        "      --cost=LIST    costs with commas between them (default all)\n"
        "      --rounds=N     of each (default 50)\n"
        "      --json=FILE    all numbers, as JSON\n"
        "      --help         this text\n"
        "\n"
        "Costs:\n",
        out);
    for (size_t i = 0; costs[i] != NULL; i++) fprintf(out, "  %-10s  %s\n", costs[i]->name, costs[i]->what);
    fputs("\nExit status: 0 all was measured, 1 not so, 2 the command line cannot be used.\n", out);
}

enum { OPT_COST = COMMAND_LINE_FIRST, OPT_ROUNDS, OPT_JSON, OPT_HELP };

static const struct option known[] = {
    {"cost", required_argument, NULL, OPT_COST},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"json", required_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static const char *cost_name(size_t i) { return costs[i] != NULL ? costs[i]->name : NULL; }

static int take_option(void *argument, int option, const char *value, char *error, size_t error_size) {
    struct settings *settings = argument;
    switch (option) {
        case OPT_COST:
            return command_line_take_names("cost", value, cost_name, &settings->costs, error, error_size);
        case OPT_ROUNDS:
            return command_line_take_number("rounds", value, 1, 1000000, &settings->rounds, error, error_size);
        case OPT_JSON:
            settings->json = value;
            return 0;
        default:
            settings->help = true;
            return 0;
    }
}

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings = (struct settings){.costs = UINT32_MAX, .rounds = 50};
    return command_line_parse(known, take_option, settings, argc, argv, error, error_size);
}
