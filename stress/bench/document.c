/* SPDX-License-Identifier: MIT */
/*
 * document.c - all that was measured, as JSON.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/bench/document.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "stress/bench/contender.h"
#include "stress/bench/series.h"

#define VERSION 1
#define DIGITS 6 /* of each number in the file; meter.c tells as many */

/* --- the machine ------------------------------------------------------------------------------ */

static json_t *processor(void) {
    char line[256];
    json_t *name = NULL;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && name == NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        line[strcspn(line, "\n")] = '\0';
        name = json_string(colon + 2);
    }
    if (file != NULL) fclose(file);
    return name != NULL ? name : json_string("unknown");
}

static json_t *machine(void) {
    struct utsname names;
    double load[1] = {0};
    char date[32];
    time_t now = time(NULL);
    struct tm broken_down;
    uname(&names);
    getloadavg(load, 1);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &broken_down));
    return json_pack("{so si ss ss sf ss}", "processor", processor(), "processors", (int)sysconf(_SC_NPROCESSORS_ONLN),
                     "kernel", names.release, "glibc", gnu_get_libc_version(), "load_before", load[0], "date", date);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

json_t *document_new(const struct settings *settings) {
#ifdef __OPTIMIZE__
    int optimized = 1;
#else
    int optimized = 0;
#endif
    return json_pack("{si so s{si si sb} s[] s[]}", "bench", VERSION, "machine", machine(), "settings", "rounds",
                     (int)settings->rounds, "percent", (int)settings->percent, "optimized", optimized, "contenders",
                     "workloads");
}

void document_merge(json_t *document, json_t *other) {
    json_t *all = json_object_get(document, "workloads"), *more, *known;
    size_t i, k;
    json_array_foreach(json_object_get(other, "workloads"), i, more) {
        json_array_foreach(all, k, known) {
            if (json_equal(json_object_get(known, "name"), json_object_get(more, "name"))) break;
        }
        if (k < json_array_size(all)) json_array_set(all, k, more);
        if (k == json_array_size(all)) json_array_append(all, more);
    }
}

int document_write(json_t *document, const char *path, char *error, size_t error_size) {
    if (json_dump_file(document, path, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS)) == 0) return 0;
    snprintf(error, error_size, "%s: cannot be written: %s", path, strerror(errno));
    return -1;
}

/* --- workloads and results -------------------------------------------------------------------- */

json_t *document_add_workload(json_t *document, const struct workload *workload) {
    json_t *figures = json_array();
    for (size_t i = 0; i < workload->figure_count; i++) {
        const struct figure *figure = &workload->figures[i];
        json_array_append_new(figures, json_pack("{ss ss sb}", "name", figure->name, "text", figure->text,
                                                 "high_is_good", (int)figure->high_is_good));
    }
    json_t *made = json_pack("{ss ss ss si so s[]}", "name", workload->name, "group", workload->group, "text",
                             workload->text, "threads", (int)workload->threads, "figures", figures, "results");
    json_array_append_new(json_object_get(document, "workloads"), made);
    return made;
}

json_t *document_result(json_t *workload, const char *contender) {
    size_t i;
    json_t *result;
    json_array_foreach(json_object_get(workload, "results"), i, result) {
        if (strcmp(json_string_value(json_object_get(result, "contender")), contender) == 0) return result;
    }
    return NULL;
}

json_t *document_add_result(json_t *workload, const char *contender) {
    json_t *result = document_result(workload, contender);
    if (result == NULL) {
        result = json_pack("{ss}", "contender", contender);
        json_array_append_new(json_object_get(workload, "results"), result);
    }
    return result;
}

double document_number(json_t *result, const char *array, size_t index) {
    json_t *value = json_array_get(json_object_get(result, array), index);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* --- working out ------------------------------------------------------------------------------ */

/* Figure `index` of a result over its rounds. */
static struct series series_of(json_t *result, size_t index) {
    struct series series = {.count = 0};
    size_t i;
    json_t *round;
    if (json_object_get(result, "problem") != NULL) return series;
    json_array_foreach(json_object_get(result, "rounds"), i, round) {
        if (i < SERIES_MAX) series.values[series.count++] = json_number_value(json_array_get(round, index));
    }
    return series;
}

double document_ratio(json_t *workload, const char *contender, const char *by) {
    struct series a = series_of(document_result(workload, contender), 0);
    struct series b = series_of(document_result(workload, by), 0);
    return series_ratio(&a, &b);
}

static void append(json_t *array, double value) {
    json_array_append_new(array, isnan(value) ? json_null() : json_real(value));
}

static void work_out_result(json_t *workload, json_t *result, size_t figures) {
    static const char *const modes[] = {"gilloc-gil", "gilloc-free"}, *const names[] = {"gil_by_it", "free_by_it"};
    json_t *medians = json_array(), *spreads = json_array();
    for (size_t i = 0; i < figures; i++) {
        struct series series = series_of(result, i);
        append(medians, series_median(&series));
        append(spreads, series_spread(&series));
    }
    json_object_set_new(result, "median", medians);
    json_object_set_new(result, "spread", spreads);
    for (int mode = 0; mode < 2; mode++) {
        json_t *ratios = json_array();
        for (size_t i = 0; i < figures; i++) {
            struct series series = series_of(result, i), ours = series_of(document_result(workload, modes[mode]), i);
            append(ratios, series_ratio(&ours, &series));
        }
        json_object_set_new(result, names[mode], ratios);
    }
}

void document_work_out(json_t *workload) {
    json_t *figures = json_object_get(workload, "figures"), *result;
    const char *first = json_string_value(json_object_get(json_array_get(figures, 0), "name"));
    struct series null = series_of(document_result(workload, "null"), 0);
    size_t i;
    json_array_foreach(json_object_get(workload, "results"), i, result) {
        struct series series = series_of(result, 0);
        if (series.count == 0) continue;
        work_out_result(workload, result, json_array_size(figures));
        if (null.count > 0 && strcmp(first, "ns/op") == 0) {
            json_object_set_new(result, "net", json_real(series_median(&series) - series_median(&null)));
        }
    }
}

json_t *document_read(const char *path, char *error, size_t error_size) {
    json_error_t problem;
    json_t *workload;
    size_t i;
    errno = 0;
    json_t *document = json_load_file(path, 0, &problem);
    if (document == NULL && problem.line < 0) {
        snprintf(error, error_size, "%s: cannot be read: %s", path, strerror(errno));
    } else if (document == NULL) {
        snprintf(error, error_size, "%s: line %d: %s", path, problem.line, problem.text);
    } else if (json_integer_value(json_object_get(document, "bench")) != VERSION ||
               !json_is_array(json_object_get(document, "workloads"))) {
        snprintf(error, error_size, "%s: not written by --json of this bench", path);
        json_decref(document);
        document = NULL;
    }
    /* From the rounds again: what is worked out is in the file with fewer digits than it had. */
    json_array_foreach(json_object_get(document, "workloads"), i, workload) document_work_out(workload);
    return document;
}

json_t *document_best_peer(json_t *workload) {
    json_t *figure = json_array_get(json_object_get(workload, "figures"), 0), *best = NULL;
    double sign = json_is_true(json_object_get(figure, "high_is_good")) ? -1 : 1;
    for (size_t i = 0; i < contender_count; i++) {
        json_t *result = contenders[i].is_peer ? document_result(workload, contenders[i].name) : NULL;
        double median = document_number(result, "median", 0);
        if (isnan(median) || json_is_true(json_object_get(result, "one_at_a_time"))) continue;
        if (best == NULL || sign * median < sign * document_number(best, "median", 0)) best = result;
    }
    return best;
}
