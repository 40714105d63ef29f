/* SPDX-License-Identifier: MIT */
/*
 * main.c - the bench: measures gilloc beside other allocators, prints tables,
 * writes JSON, draws plots.
 *   Owner   the main thread; the only one of this process.
 *   Locks   none.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "stress/bench/document.h"
#include "stress/bench/measure.h"
#include "stress/bench/plot.h"
#include "stress/bench/report.h"
#include "stress/bench/settings.h"
#include "stress/command_line.h"

enum { EXIT_MEASURED = 0, EXIT_INCOMPLETE = 1 };

static int unusable(const char *error) { return command_line_unusable("bench", error); }

static int measure(const struct settings *settings, json_t *document, char *error, size_t error_size) {
    struct measure *measure = measure_new(settings, document, error, error_size);
    json_t *workload;
    if (measure == NULL) return unusable(error);
    report_head(stdout, document);
    fflush(stdout);
    while ((workload = measure_next(measure)) != NULL) {
        report_workload(stdout, workload);
        fflush(stdout);
    }
    int status = measure_failed(measure) ? EXIT_INCOMPLETE : EXIT_MEASURED;
    measure_delete(measure);
    return status;
}

/* All files of --from in one; NULL with a line in `error`. */
static json_t *read_all(const struct settings *settings, char *error, size_t error_size) {
    json_t *all = NULL;
    for (size_t i = 0; i < settings->from_count; i++) {
        char *path = command_line_path(settings->from[i]);
        json_t *document = document_read(path != NULL ? path : "", error, error_size);
        free(path);
        if (document == NULL) {
            json_decref(all);
            return NULL;
        }
        if (all != NULL) document_merge(all, document);
        if (all != NULL) json_decref(document);
        if (all == NULL) all = document;
    }
    return all;
}

static void report_again(json_t *document) {
    size_t i;
    json_t *workload;
    report_head(stdout, document);
    json_array_foreach(json_object_get(document, "workloads"), i, workload) report_workload(stdout, workload);
}

/* The file and the plots that are asked for; a status. */
static int keep(const struct settings *settings, json_t *document, char *error, size_t error_size) {
    char *json = settings->json != NULL ? command_line_path(settings->json) : NULL;
    char *plots = settings->plots != NULL ? command_line_path(settings->plots) : NULL;
    int status = EXIT_MEASURED;
    if (json != NULL && document_write(document, json, error, error_size) != 0) status = unusable(error);
    if (plots != NULL && plot_all(document, plots, error, error_size) != 0) status = unusable(error);
    free(json);
    free(plots);
    return status;
}

int main(int argc, char **argv) {
    struct settings settings;
    char error[PATH_MAX + 512];
    int status = EXIT_MEASURED;
    if (settings_parse(&settings, argc, argv, error, sizeof error) != 0) return unusable(error);
    if (settings.help) {
        settings_help(stdout);
        return EXIT_MEASURED;
    }
    /* Before minutes are spent on figures that cannot be drawn. */
    if (settings.plots != NULL && plot_check(error, sizeof error) != 0) return unusable(error);
    json_t *document;
    if (settings.from_count > 0) {
        document = read_all(&settings, error, sizeof error);
        if (document == NULL) return unusable(error);
        report_again(document);
    } else {
        document = document_new(&settings);
        status = measure(&settings, document, error, sizeof error);
    }
    if (status != EXIT_UNUSABLE) {
        report_summary(stdout, document);
        report_overheads(stdout, document);
        int kept = keep(&settings, document, error, sizeof error);
        if (kept != EXIT_MEASURED) status = kept;
    }
    json_decref(document);
    return status;
}
