/* SPDX-License-Identifier: MIT */
/*
 * main.c - torture: threads do to gilloc what threads must not be able to break.
 *   Owner   the main thread; the only one of this process.
 *   Locks   none.
 * Each row runs in a process of its own, which is this program again with "--row"
 * first: what breaks a heap may break its process, and the other rows go on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/command_line.h"
#include "stress/json_file.h"
#include "stress/mode.h"
#include "stress/self.h"
#include "stress/table.h"
#include "stress/torture/settings.h"

enum { EXIT_SOUND = 0, EXIT_BROKEN = 1 };

#define ROW "--row"
enum { ROW_SCENARIO = 2, ROW_MODE, ROW_THREADS, ROW_SECONDS, ROW_OPERATIONS, ROW_LIVES, ROW_SEED, ROW_WORDS };

struct job {
    const struct settings *settings;
    size_t row_count; /* to be run */
    json_t *rows;
    bool broken;
};

/* --- the table -------------------------------------------------------------------------------- */

static json_int_t integer(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

static void table_of_rows_head(void) {
    printf(
        "scenario      mode  threads      M ops    M reads      age 0      age 1  age 2+   lives   M retired"
        "  grace periods    stops  remote frees  peak MiB  left MiB  blocks left  check\n");
}

static void put(int width, json_int_t number) {
    char text[32];
    printf("  %*s", width, table_number((unsigned long long)number, text));
}

static void table_of_rows_row(const json_t *row) {
    const json_t *stats = json_object_get(row, "stats"), *ages = json_object_get(row, "ages");
    printf("%-12s  %-4s  %7d", json_string_value(json_object_get(row, "scenario")),
           json_string_value(json_object_get(row, "mode")), (int)integer(row, "threads"));
    if (stats == NULL) {
        printf("  no result: broken\n");
        return;
    }
    json_int_t old = 0;
    for (size_t age = TRIAL_AGE_LIMIT; age < json_array_size(ages); age++) {
        old += json_integer_value(json_array_get(ages, age));
    }
    printf("  %9.3f  %9.3f", (double)integer(row, "operations") * 1e-6, (double)integer(row, "reads") * 1e-6);
    put(9, json_integer_value(json_array_get(ages, 0)));
    put(9, json_integer_value(json_array_get(ages, 1)));
    put(6, old);
    put(6, integer(row, "lives"));
    printf("  %10.3f", (double)integer(stats, "retired_blocks") * 1e-6);
    put(13, integer(stats, "grace_periods"));
    put(7, integer(stats, "world_stops"));
    put(12, integer(stats, "remote_frees"));
    printf("  %8.1f  %8.1f", (double)integer(row, "rss_peak") / 1048576.0,
           (double)integer(row, "rss_left") / 1048576.0);
    put(11, integer(row, "blocks_left"));
    printf("  %s\n", integer(row, "check") == 0 ? "ok" : "broken");
}

/* --- rows ------------------------------------------------------------------------------------- */

static void run_process(const struct job *job, const struct scenario *scenario, gilloc_mode mode, unsigned threads,
                        struct process_end *end) {
    const struct settings *settings = job->settings;
    char numbers[5][32], label[64];
    snprintf(numbers[0], sizeof numbers[0], "%u", threads);
    snprintf(numbers[1], sizeof numbers[1], "%.3f", (double)settings->seconds / (double)job->row_count);
    snprintf(numbers[2], sizeof numbers[2], "%" PRIu64, settings->operations);
    snprintf(numbers[3], sizeof numbers[3], "%" PRIu64, scenario == &scenario_lives ? settings->lives : 0);
    snprintf(numbers[4], sizeof numbers[4], "%" PRIu64, settings->seed);
    snprintf(label, sizeof label, "row %zu of %zu: %s, %s mode", json_array_size(job->rows) + 1, job->row_count,
             scenario->name, mode_name(mode));
    const char *arguments[ROW_WORDS + 1] = {"torture",  ROW,        scenario->name, mode_name(mode), numbers[0],
                                            numbers[1], numbers[2], numbers[3],     numbers[4]};
    self_run(arguments, NULL, label, end);
}

static void run_row(struct job *job, const struct scenario *scenario, gilloc_mode mode) {
    struct process_end end;
    unsigned threads = (unsigned)job->settings->threads;
    if (threads < scenario->threads) threads = scenario->threads;
    run_process(job, scenario, mode, threads, &end);
    json_t *row = end.result != NULL ? end.result : json_object();
    json_object_set_new(row, "scenario", json_string(scenario->name));
    json_object_set_new(row, "mode", json_string(mode_name(mode)));
    json_object_set_new(row, "threads", json_integer(threads));
    json_object_set_new(row, "bug", end.problem != NULL ? json_string(end.problem) : json_null());
    table_of_rows_row(row);
    if (end.problem != NULL) printf("BUG: %s, %s mode: %s\n", scenario->name, mode_name(mode), end.problem);
    fflush(stdout);
    json_array_append_new(job->rows, row);
    job->broken = job->broken || end.problem != NULL;
    free(end.problem);
}

/* Runs each row, or counts them. */
static void for_rows(struct job *job, bool run) {
    const struct settings *settings = job->settings;
    for (size_t i = 0; scenarios[i] != NULL; i++) {
        if ((settings->scenarios >> i & 1) == 0) continue;
        for (gilloc_mode mode = GILLOC_MODE_GIL; mode <= GILLOC_MODE_FREE; mode++) {
            unsigned bit = mode == GILLOC_MODE_GIL ? SCENARIO_GIL : SCENARIO_FREE;
            if ((scenarios[i]->modes & settings->modes & bit) == 0) continue;
            if (run) run_row(job, scenarios[i], mode);
            if (!run) job->row_count++;
        }
    }
}

static int run(const struct settings *settings, FILE *json, char *error, size_t error_size) {
    struct job job = {.settings = settings, .rows = json_array()};
    int status = EXIT_SOUND;
    for_rows(&job, false);
    table_of_rows_head();
    for_rows(&job, true);
    if (!job.broken) printf("No thread saw anything that it must not.\n");
    if (job.broken) status = EXIT_BROKEN;
    json_t *all = json_pack("{sIsbsO}", "seed", (json_int_t)settings->seed, "ok", !job.broken, "rows", job.rows);
    if (json_file_close(json, settings->json, all, error, error_size) != 0) {
        fprintf(stderr, "torture: %s\n", error);
        status = EXIT_BROKEN;
    }
    json_decref(all);
    json_decref(job.rows);
    return status;
}

/* --- two programs in one ---------------------------------------------------------------------- */

static int main_of_row(int argc, char **argv) {
    const struct scenario *scenario = argc == ROW_WORDS ? scenario_find(argv[ROW_SCENARIO]) : NULL;
    if (scenario == NULL) return EXIT_UNUSABLE;
    self_begin();
    struct trial trial = {
        .scenario = scenario,
        .mode = mode_named(argv[ROW_MODE]),
        .threads = (unsigned)strtoul(argv[ROW_THREADS], NULL, 10),
        .seconds = strtod(argv[ROW_SECONDS], NULL),
        .operations = strtoull(argv[ROW_OPERATIONS], NULL, 10),
        .lives = strtoull(argv[ROW_LIVES], NULL, 10),
        .seed = strtoull(argv[ROW_SEED], NULL, 10),
    };
    return trial_run(&trial, PROCESS_PIPE) == 0 ? EXIT_SOUND : EXIT_BROKEN;
}

int main(int argc, char **argv) {
    struct settings settings;
    char error[512];
    FILE *json;
    if (argc > 1 && strcmp(argv[1], ROW) == 0) return main_of_row(argc, argv);
    if (settings_parse(&settings, argc, argv, error, sizeof error) != 0) return command_line_unusable("torture", error);
    if (settings.help) return settings_help(stdout), EXIT_SOUND;
    if (json_file_open(&json, settings.json, error, sizeof error) != 0) return command_line_unusable("torture", error);
    return run(&settings, json, error, sizeof error);
}
