/* SPDX-License-Identifier: MIT */
/*
 * main.c - costs: what calls cost that CPython has no like of.
 *   Owner   the main thread; the only one of this process.
 *   Locks   none.
 * Each cost is measured in a process of its own for each mode and number of
 * threads, which is this program again with "--row" first.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/command_line.h"
#include "stress/costs/settings.h"
#include "stress/json_file.h"
#include "stress/mode.h"
#include "stress/report.h"
#include "stress/self.h"

enum { EXIT_MEASURED = 0, EXIT_BROKEN = 1 };

#define ROW "--row"
enum { ROW_COST = 2, ROW_MODE, ROW_THREADS, ROW_ROUNDS, ROW_WORDS };

struct job {
    const struct settings *settings;
    json_t *rows;
    bool broken;
};

/* --- the table -------------------------------------------------------------------------------- */

static void table_head(void) {
    printf(
        "what                                mode  threads  unit     median         p10 to p90          p99"
        "      worst       n\n");
}

static double real(const json_t *object, const char *name) { return json_real_value(json_object_get(object, name)); }

static void table_row(const json_t *row) {
    const json_t *sample = json_object_get(row, "sample");
    printf("%-34s  %-4s  %7d  %-4s %10.2f %10.2f %10.2f %10.2f %10.2f %7d\n",
           json_string_value(json_object_get(row, "what")), json_string_value(json_object_get(row, "mode")),
           (int)json_integer_value(json_object_get(row, "threads")), json_string_value(json_object_get(row, "unit")),
           real(sample, "median"), real(sample, "p10"), real(sample, "p90"), real(sample, "p99"), real(sample, "worst"),
           (int)json_integer_value(json_object_get(sample, "count")));
}

/* --- rows ------------------------------------------------------------------------------------- */

static void run_process(struct job *job, const struct cost *cost, gilloc_mode mode, unsigned threads) {
    struct process_end end;
    char numbers[2][32], label[64];
    snprintf(numbers[0], sizeof numbers[0], "%u", threads);
    snprintf(numbers[1], sizeof numbers[1], "%" PRIu64, job->settings->rounds);
    snprintf(label, sizeof label, "%s, %s mode, %u threads", cost->name, mode_name(mode), threads);
    const char *arguments[ROW_WORDS + 1] = {"costs", ROW, cost->name, mode_name(mode), numbers[0], numbers[1]};
    self_run(arguments, NULL, label, &end);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(end.result, "rows"), i, row) {
        json_object_set_new(row, "cost", json_string(cost->name));
        json_object_set_new(row, "mode", json_string(mode_name(mode)));
        json_object_set_new(row, "threads", json_integer(threads));
        table_row(row);
        json_array_append(job->rows, row);
    }
    if (end.problem != NULL) printf("BROKEN: %s: %s\n", label, end.problem);
    fflush(stdout);
    job->broken = job->broken || end.problem != NULL;
    json_decref(end.result);
    free(end.problem);
}

static int run(const struct settings *settings, FILE *json, char *error, size_t error_size) {
    struct job job = {.settings = settings, .rows = json_array()};
    table_head();
    for (size_t i = 0; costs[i] != NULL; i++) {
        if ((settings->costs >> i & 1) == 0) continue;
        for (gilloc_mode mode = GILLOC_MODE_GIL; mode <= GILLOC_MODE_FREE; mode++) {
            if (!(mode == GILLOC_MODE_GIL ? costs[i]->gil : costs[i]->free)) continue;
            for (size_t k = 0; costs[i]->threads[k] != 0; k++) run_process(&job, costs[i], mode, costs[i]->threads[k]);
        }
    }
    int status = job.broken ? EXIT_BROKEN : EXIT_MEASURED;
    json_t *all = json_pack("{sIsbsO}", "rounds", (json_int_t)settings->rounds, "ok", !job.broken, "rows", job.rows);
    if (json_file_close(json, settings->json, all, error, error_size) != 0) {
        fprintf(stderr, "costs: %s\n", error);
        status = EXIT_BROKEN;
    }
    json_decref(all);
    json_decref(job.rows);
    return status;
}

/* --- two programs in one ---------------------------------------------------------------------- */

static int main_of_row(int argc, char **argv) {
    struct report report;
    size_t i = 0;
    if (argc != ROW_WORDS) return EXIT_UNUSABLE;
    while (costs[i] != NULL && strcmp(costs[i]->name, argv[ROW_COST]) != 0) i++;
    if (costs[i] == NULL) return EXIT_UNUSABLE;
    self_begin();
    report_init(&report, PROCESS_PIPE);
    struct cost_job job = {.mode = mode_named(argv[ROW_MODE]),
                           .threads = (unsigned)strtoul(argv[ROW_THREADS], NULL, 10),
                           .rounds = (unsigned)strtoul(argv[ROW_ROUNDS], NULL, 10),
                           .rows = json_array()};
    if (gilloc_set_mode(job.mode) != 0) {
        report_fault(&report, strerror(errno));
        return EXIT_BROKEN;
    }
    costs[i]->run(&job);
    report_line(&report, json_pack("{s{so}}", "result", "rows", job.rows));
    return EXIT_MEASURED;
}

int main(int argc, char **argv) {
    struct settings settings;
    char error[512];
    FILE *json;
    if (argc > 1 && strcmp(argv[1], ROW) == 0) return main_of_row(argc, argv);
    if (settings_parse(&settings, argc, argv, error, sizeof error) != 0) return command_line_unusable("costs", error);
    if (settings.help) return settings_help(stdout), EXIT_MEASURED;
    if (json_file_open(&json, settings.json, error, sizeof error) != 0) return command_line_unusable("costs", error);
    return run(&settings, json, error, sizeof error);
}
