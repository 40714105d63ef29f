/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the command line of scenarios.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/scenarios/settings.h"

#include "stress/command_line.h"

/* --- help ------------------------------------------------------------------------------------- */

void settings_help(FILE *out) {
    fputs(
        "Usage: scenarios [OPTION]...\n"
        "Published failures of allocators: what each one's resident memory does over\n"
        "time, beside gilloc's, which must stay below 1.15 times what is alive and the\n"
        "bounds of docs/design.md.\n"
        "\n"
        "      --scenario=LIST    scenarios with commas between them (default all)\n"
        "      --contender=LIST   allocators with commas between them (default all)\n"
        "      --live=MIB         what is alive at one time (default 128)\n"
        "      --turns=N          how often that is replaced (default 20)\n"
        "      --json=FILE        all numbers, as JSON, all samples among them\n"
        "      --help             this text\n"
        "\n"
        "Scenarios:\n",
        out);
    for (size_t i = 0; failures[i] != NULL; i++) {
        fprintf(out, "  %-9s  %-62s %s\n", failures[i]->name, failures[i]->what, failures[i]->where);
    }
    fputs("\nContenders:\n", out);
    for (size_t i = 0; contenders[i].name != NULL; i++) {
        fprintf(out, "  %-10s  %s\n", contenders[i].name,
                contenders[i].preload != NULL       ? contenders[i].preload
                : contenders[i].kind == HEAP_OBJECT ? "the object domain, GIL-free mode"
                : contenders[i].kind == HEAP_RAW    ? "gilloc_retire() in the raw domain"
                                                    : "the C library's malloc()");
    }
    fputs("\nExit status: 0 gilloc within its bounds, 1 not so, 2 the command line cannot be\nused.\n", out);
}

/* --- the command line ------------------------------------------------------------------------- */

static const char *failure_name(size_t i) { return failures[i] != NULL ? failures[i]->name : NULL; }
static const char *contender_name(size_t i) { return contenders[i].name; }

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings = (struct settings){.failures = UINT32_MAX, .contenders = UINT32_MAX, .live_mib = 128, .turns = 20};
    const struct command_line_option known[] = {
        {"scenario", .bits = &settings->failures, .name_at = failure_name},
        {"contender", .bits = &settings->contenders, .name_at = contender_name},
        {"live", .number = &settings->live_mib, .least = 1, .most = 65536},
        {"turns", .number = &settings->turns, .least = 1, .most = 1000000},
        {"json", .text = &settings->json},
        {"help", .flag = &settings->help},
        {0},
    };
    return command_line_parse(known, settings, argc, argv, error, error_size);
}
