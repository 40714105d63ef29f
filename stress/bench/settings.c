/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the command line of the bench.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/bench/settings.h"

#include <stdlib.h>
#include <string.h>

#include "stress/bench/contender.h"
#include "stress/bench/workload.h"
#include "stress/command_line.h"

static const char head[] =
    "Usage: bench [OPTION]...\n"
    "Measures gilloc beside other allocators and beside what can be reached at all:\n"
    "the same work, in processes of the same layout, in rounds that take turns.\n"
    "\n"
    "      --workload=LIST     workloads or groups of them (default all)\n"
    "      --contender=LIST    contenders (default all)\n"
    "      --rounds=N          rounds, each contender once in each (default 5)\n"
    "      --work=PERCENT      of the usual number of operations (default 100)\n"
    "      --tiny              one round of a few operations on small tables: tests\n"
    "                          the bench itself, its figures mean nothing\n"
    "      --heap-max=SIZE     1m to 4g; heap workloads above it are left out\n"
    "                          (default 1g; 4g needs 6 GiB of memory)\n"
    "      --libraries=DIR     take the peers' libraries from there alone\n"
    "      --json=FILE         write all that was measured, each round of it\n"
    "      --plots=DIR         draw it, SVG and PNG (needs gnuplot)\n"
    "      --from=FILE         measure nothing: tables and plots of a --json file;\n"
    "                          repeatable, all their workloads\n"
    "      --help              this text\n"
    "\n"
    "How it measures. A contender's workload and round is one process, which loads\n"
    "the allocator from a shared library (malloc's own kind by LD_PRELOAD, as their\n"
    "users do) and calls it through one table of function pointers. The number of\n"
    "operations is the same for all. The first bytes of each block are written.\n"
    "Some of the work is done before the clock is read. ns/op is processor time,\n"
    "by CLOCK_THREAD_CPUTIME_ID of each thread, waits not included; for \"larson\",\n"
    "\"birth\", \"short-threads\" and \"fragment-...\" that of the process, with the\n"
    "births of threads and the faults of pages. Figures by wall clock say so below.\n"
    "A figure is the median of the rounds, its spread (greatest - least) / median.\n"
    "\"net\" is ns/op less that of the null allocator, whose calls do nothing; where\n"
    "processor and memory overlap the two it is rough. \"gil by it\" and \"free by it\"\n"
    "are gilloc's figure in gil mode and in GIL-free mode by the contender's: the\n"
    "median of the rounds' ratios. gilloc and pymalloc serve the three domains and\n"
    "forward what is above 512 bytes; the others have one malloc for all.\n"
    "* marks threads that a lock lets allocate one at a time; in such a row the best\n"
    "peer is one of the others.\n";

/* --- help ------------------------------------------------------------------------------------- */

static void list_workloads(FILE *out) {
    const char *group = "";
    for (size_t i = 0; i < workload_count; i++) {
        const struct workload *workload = &workloads[i];
        if (strcmp(workload->group, group) != 0) fprintf(out, "  group %s\n", workload->group);
        group = workload->group;
        fprintf(out, "    %-20s  %s\n", workload->name, workload->text);
    }
}

static void list_figures(FILE *out) {
    for (size_t i = 0; i < workload_count; i++) {
        const struct workload *workload = &workloads[i];
        bool seen = false;
        for (size_t k = 0; k < i; k++) seen = seen || workloads[k].figures == workload->figures;
        if (seen) continue;
        fprintf(out, "  %s and its like\n", workload->name);
        for (size_t k = 0; k < workload->figure_count; k++) {
            const struct figure *figure = &workload->figures[k];
            fprintf(out, "    %-20s  %s%s\n", figure->name, figure->text, figure->high_is_good ? "; high is good" : "");
        }
    }
}

void settings_help(FILE *out) {
    fputs(head, out);
    fputs("\nContenders:\n", out);
    for (size_t i = 0; i < contender_count; i++) {
        const struct contender *contender = &contenders[i];
        fprintf(out, "    %-20s  %s%s%s\n", contender->name, contender->text, contender->package ? "; Debian's " : "",
                contender->package ? contender->package : "");
    }
    fputs("\nWorkloads:\n", out);
    list_workloads(out);
    fputs("\nFigures:\n", out);
    list_figures(out);
    fputs(
        "\nExit status: 0 all was measured, 1 something could not be (the tables say\n"
        "what), 2 the command line cannot be used. A missing peer is no failure.\n",
        out);
}

/* --- values ----------------------------------------------------------------------------------- */

/* A number with m or g after it. */
static bool size(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    uint64_t read = strtoull(text, &end, 10);
    unsigned shift = *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
    if (shift == 0 || end[1] != '\0' || read > most >> shift) return false;
    *value = read << shift;
    return *value >= least;
}

static int take_heap_max(void *argument, const char *value, char *error, size_t error_size) {
    struct settings *settings = argument;
    if (size(value, 1 << 20, (uint64_t)4 << 30, &settings->heap_max)) return 0;
    return command_line_refuse(error, error_size, "--heap-max=%s: give a size from 1m to 4g", value);
}

static int take_from(void *argument, const char *value, char *error, size_t error_size) {
    struct settings *settings = argument;
    if (settings->from_count == SETTINGS_FROM) {
        return command_line_refuse(error, error_size, "--from=%s: give at most %d files", value, SETTINGS_FROM);
    }
    settings->from[settings->from_count++] = value;
    return 0;
}

static void set_tiny(void *argument) {
    struct settings *settings = argument;
    settings->percent = 0;
    settings->rounds = 1;
}

static bool workload_is(size_t i, const char *word) {
    return strcmp(workloads[i].name, word) == 0 || strcmp(workloads[i].group, word) == 0;
}

static bool contender_is(size_t i, const char *word) { return strcmp(contenders[i].name, word) == 0; }

/* --- the command line ------------------------------------------------------------------------- */

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings = (struct settings){.rounds = 5, .percent = 100, .heap_max = (uint64_t)1 << 30};
    const struct command_line_option known[] = {
        {"workload", .marks = settings->workloads, .count = workload_count, .is = workload_is},
        {"contender", .marks = settings->contenders, .count = contender_count, .is = contender_is},
        {"rounds", .number = &settings->rounds, .least = 1, .most = 99},
        {"work", .number = &settings->percent, .least = 1, .most = 10000},
        {"tiny", .set = set_tiny},
        {"heap-max", .take = take_heap_max},
        {"libraries", .text = &settings->libraries},
        {"json", .text = &settings->json},
        {"plots", .text = &settings->plots},
        {"from", .take = take_from},
        {"help", .flag = &settings->help},
        {0},
    };
    if (command_line_parse(known, settings, argc, argv, error, error_size) != 0) return -1;
    for (size_t i = 0; i < workload_count; i++) {
        if (workload_heap(&workloads[i]) > settings->heap_max) settings->workloads[i] = false;
    }
    return 0;
}
