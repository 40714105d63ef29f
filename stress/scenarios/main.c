/* SPDX-License-Identifier: MIT */
/*
 * main.c - scenarios: published failures of allocators, beside gilloc.
 *   Owner   the main thread; the only one of this process.
 *   Locks   none.
 * Each allocator goes through each failure in a process of its own, which is this
 * program again with "--row" first, with the allocator preloaded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress/command_line.h"
#include "stress/json_file.h"
#include "stress/report.h"
#include "stress/scenarios/series.h"
#include "stress/scenarios/settings.h"
#include "stress/self.h"

enum { EXIT_KEPT = 0, EXIT_MISSED = 1 };

#define ROW "--row"
enum { ROW_FAILURE = 2, ROW_CONTENDER, ROW_LIVE, ROW_TURNS, ROW_WORDS };

#define MIB 1048576.0
#define COLUMNS 8 /* of resident memory over time */

struct job {
    const struct settings *settings;
    json_t *rows;
    bool broken;
};

static json_int_t integer(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

/* --- the table -------------------------------------------------------------------------------- */

static void table_head(const struct failure *failure) {
    printf("\n%s: %s (%s)\n", failure->name, failure->what, failure->where);
    printf("contender    live MiB  peak MiB  peak/live  end MiB  limit MiB  seconds   RSS over time, MiB\n");
}

/* The largest sample of each part of the time. */
static void put_series(const json_t *series) {
    size_t count = json_array_size(series);
    for (size_t column = 0; column < COLUMNS; column++) {
        json_int_t most = 0;
        for (size_t i = column * count / COLUMNS; i < (column + 1) * count / COLUMNS; i++) {
            json_int_t bytes = json_integer_value(json_array_get(json_array_get(series, i), 1));
            if (bytes > most) most = bytes;
        }
        printf(" %5.0f", (double)most / MIB);
    }
}

static void table_row(const json_t *row) {
    const char *missing = json_string_value(json_object_get(row, "missing"));
    const json_t *series = json_object_get(row, "series"), *limit = json_object_get(row, "limit");
    printf("%-10s", json_string_value(json_object_get(row, "contender")));
    if (missing != NULL || series == NULL) {
        printf("   %s\n", missing != NULL ? missing : "no result: broken");
        return;
    }
    double live = (double)integer(row, "live"), peak = (double)integer(row, "peak");
    printf("  %9.1f  %8.1f  %9.2f  %7.1f", live / MIB, peak / MIB, live > 0 ? peak / live : 0,
           (double)integer(row, "end") / MIB);
    if (limit != NULL) printf("  %9.1f", (double)json_integer_value(limit) / MIB);
    if (limit == NULL) printf("  %9s", "-");
    printf("  %7.2f  ", json_real_value(json_object_get(row, "seconds")));
    put_series(series);
    const char *verdict = json_string_value(json_object_get(row, "verdict"));
    printf("%s%s\n", verdict != NULL ? "  " : "", verdict != NULL ? verdict : "");
}

/* --- rows ------------------------------------------------------------------------------------- */

static void run_process(const struct job *job, const struct failure *failure, const struct contender *contender,
                        struct process_end *end) {
    char numbers[2][32], label[64], preload[256];
    snprintf(numbers[0], sizeof numbers[0], "%" PRIu64, job->settings->live_mib);
    snprintf(numbers[1], sizeof numbers[1], "%" PRIu64, job->settings->turns);
    snprintf(label, sizeof label, "%s, %s", failure->name, contender->name);
    const char *arguments[ROW_WORDS + 1] = {"scenarios", ROW, failure->name, contender->name, numbers[0], numbers[1]};
    char **environment = contender_environment(contender, preload, sizeof preload);
    self_run(arguments, environment, label, end);
    free(environment);
}

/* gilloc's rows: is the peak within the bounds? */
static bool judge(json_t *row, const struct failure *failure, const struct failure_size *size) {
    struct bound_case bound;
    json_t *terms;
    failure->describe(size, &bound);
    json_int_t live = integer(row, "live"), limit = bound_limit(live, bound_bytes(&bound, live, &terms));
    bool good = integer(row, "peak") <= limit;
    json_object_set_new(row, "bounds", terms);
    json_object_set_new(row, "limit", json_integer(limit));
    json_object_set_new(row, "verdict", json_string(!BOUND_IS_JUDGED ? "not judged" : good ? "ok" : "MISSED"));
    return good || !BOUND_IS_JUDGED;
}

static void run_row(struct job *job, const struct failure *failure, const struct contender *contender) {
    struct process_end end = {0};
    char text[256];
    struct failure_size size = {.live = job->settings->live_mib << 20, .turns = (unsigned)job->settings->turns};
    const char *missing = contender_missing(contender, text, sizeof text);
    if (missing == NULL) run_process(job, failure, contender, &end);
    json_t *row = end.result != NULL ? end.result : json_object();
    json_object_set_new(row, "scenario", json_string(failure->name));
    json_object_set_new(row, "contender", json_string(contender->name));
    if (missing != NULL) json_object_set_new(row, "missing", json_string(missing));
    bool good = end.problem == NULL;
    if (good && missing == NULL && contender->kind != HEAP_MALLOC) good = judge(row, failure, &size);
    table_row(row);
    if (end.problem != NULL) printf("BROKEN: %s, %s: %s\n", failure->name, contender->name, end.problem);
    if (end.problem == NULL && !good) {
        printf("MISSED: %s, %s: the peak is %.1f MiB, and %.1f are 1.15 times what is alive and the bounds\n",
               failure->name, contender->name, (double)integer(row, "peak") / MIB, (double)integer(row, "limit") / MIB);
    }
    fflush(stdout);
    if (end.problem != NULL) json_object_set_new(row, "problem", json_string(end.problem));
    json_array_append_new(job->rows, row);
    job->broken = job->broken || (!good && contender->kind != HEAP_MALLOC);
    free(end.problem);
}

static int run(const struct settings *settings, FILE *json, char *error, size_t error_size) {
    struct job job = {.settings = settings, .rows = json_array()};
    for (size_t i = 0; failures[i] != NULL; i++) {
        if ((settings->failures >> i & 1) == 0) continue;
        table_head(failures[i]);
        for (size_t k = 0; contenders[k].name != NULL; k++) {
            if ((settings->contenders >> k & 1) == 0) continue;
            if (contenders[k].kind == HEAP_RAW && !failures[i]->defers) continue;
            run_row(&job, failures[i], &contenders[k]);
        }
    }
    int status = job.broken ? EXIT_MISSED : EXIT_KEPT;
    if (!job.broken) printf("\ngilloc kept within its bounds.\n");
    json_t *all = json_pack("{sIsIsbsO}", "live_mib", (json_int_t)settings->live_mib, "turns",
                            (json_int_t)settings->turns, "ok", !job.broken, "rows", job.rows);
    if (json_file_close(json, settings->json, all, error, error_size) != 0) {
        fprintf(stderr, "scenarios: %s\n", error);
        status = EXIT_MISSED;
    }
    json_decref(all);
    json_decref(job.rows);
    return status;
}

/* --- two programs in one ---------------------------------------------------------------------- */

static int main_of_row(int argc, char **argv) {
    struct report report;
    size_t failure = 0, contender = 0;
    if (argc != ROW_WORDS) return EXIT_UNUSABLE;
    while (failures[failure] != NULL && strcmp(failures[failure]->name, argv[ROW_FAILURE]) != 0) failure++;
    while (contenders[contender].name != NULL && strcmp(contenders[contender].name, argv[ROW_CONTENDER]) != 0) {
        contender++;
    }
    if (failures[failure] == NULL || contenders[contender].name == NULL) return EXIT_UNUSABLE;
    self_begin();
    report_init(&report, PROCESS_PIPE);
    struct failure_size size = {.live = (size_t)strtoull(argv[ROW_LIVE], NULL, 10) << 20,
                                .turns = (unsigned)strtoul(argv[ROW_TURNS], NULL, 10)};
    if (heap_init(contenders[contender].kind) != 0) {
        report_fault(&report, strerror(errno));
        return EXIT_MISSED;
    }
    series_begin();
    failures[failure]->run(&size);
    heap_fini();
    series_end();
    json_t *series = series_json();
    double seconds = json_real_value(json_array_get(json_array_get(series, json_array_size(series) - 1), 0));
    report_line(&report, json_pack("{s{sIsIsIsfso}}", "result", "live", (json_int_t)heap_live_peak(), "peak",
                                   (json_int_t)series_peak(), "end", (json_int_t)series_last(), "seconds", seconds,
                                   "series", series));
    return EXIT_KEPT;
}

int main(int argc, char **argv) {
    struct settings settings;
    char error[512];
    FILE *json;
    if (argc > 1 && strcmp(argv[1], ROW) == 0) return main_of_row(argc, argv);
    if (settings_parse(&settings, argc, argv, error, sizeof error) != 0)
        return command_line_unusable("scenarios", error);
    if (settings.help) return settings_help(stdout), EXIT_KEPT;
    if (json_file_open(&json, settings.json, error, sizeof error) != 0)
        return command_line_unusable("scenarios", error);
    return run(&settings, json, error, sizeof error);
}
