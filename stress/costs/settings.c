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

static const char *cost_name(size_t i) { return costs[i] != NULL ? costs[i]->name : NULL; }

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings = (struct settings){.costs = UINT32_MAX, .rounds = 50};
    const struct command_line_option known[] = {
        {"cost", .bits = &settings->costs, .name_at = cost_name},
        {"rounds", .number = &settings->rounds, .least = 1, .most = 1000000},
        {"json", .text = &settings->json},
        {"help", .flag = &settings->help},
        {0},
    };
    return command_line_parse(known, settings, argc, argv, error, error_size);
}
