/* SPDX-License-Identifier: MIT */
/*
 * measure.c - runs the processes that measure: for each workload, round after
 * round, each contender once in each, another one first each time.
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* memfd_create() */

#include "stress/bench/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stress/bench/contender.h"
#include "stress/bench/document.h"
#include "stress/bench/place.h"
#include "stress/catalog.h"
#include "stress/command_line.h"
#include "stress/process.h"
#include "stress/trace.h"

/* A process that has not ended by then hangs. */
#define HANGS_AFTER 900.0

#define TRACES 3

/* By workload_trace(). */
static const char *const trace_names[TRACES] = {"startup", "jsonre", "compileall"};

struct measure {
    const struct settings *settings;
    json_t *document;
    char *child, *child_inline;
    char *libraries[SETTINGS_MAX];    /* by contender; NULL: missing */
    int traces[TRACES];               /* files of records; -1: none of its workloads is wanted */
    size_t next, done, wanted;        /* workloads */
    const char *contender, *workload; /* that run */
    unsigned round;
    double begin;
    bool terminal, failed;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* --- progress --------------------------------------------------------------------------------- */

static void show_progress(void *argument, json_int_t operations) {
    const struct measure *measure = argument;
    (void)operations;
    if (!measure->terminal) return;
    fprintf(stderr, "\rworkload %zu of %zu: %s, round %u of %" PRIu64 ", %s; %.0f s\033[K", measure->done + 1,
            measure->wanted, measure->workload, measure->round + 1, measure->settings->rounds, measure->contender,
            now() - measure->begin);
    fflush(stderr);
}

static void clear_progress(const struct measure *measure) {
    if (measure->terminal) fputs("\r\033[K", stderr);
}

/* --- one process ------------------------------------------------------------------------------ */

/* Takes over `end`. */
static void take_result(struct measure *measure, json_t *result, struct process_end *end, size_t figures) {
    json_t *found = json_object_get(end->result, "figures"), *points = json_object_get(end->result, "points");
    if (end->problem == NULL && json_array_size(found) < figures) end->problem = strdup("ended without all figures");
    if (end->problem != NULL) {
        measure->failed = true;
        if (json_object_get(result, "problem") == NULL) {
            json_object_set_new(result, "problem", json_string(end->problem));
        }
    } else {
        json_t *rounds = json_object_get(result, "rounds");
        if (rounds == NULL) json_object_set_new(result, "rounds", rounds = json_array());
        while (json_array_size(found) > figures) json_array_remove(found, figures);
        json_array_append(rounds, found);
        if (json_array_size(points) > 0 && json_object_get(result, "points") == NULL) {
            json_object_set(result, "points", points);
        }
    }
    json_decref(end->result);
    free(end->problem);
}

/* Puts the contender's "NAME=value" into the environment, or takes it out. */
static void set(const struct contender *contender, bool in) {
    char name[64];
    if (contender->environment == NULL) return;
    size_t length = strcspn(contender->environment, "=");
    snprintf(name, sizeof name, "%.*s", (int)length, contender->environment);
    if (in) setenv(name, contender->environment + length + 1, 1);
    if (!in) unsetenv(name);
}

static void run(struct measure *measure, const struct contender *contender, const struct workload *workload,
                json_t *result) {
    char percent[24], trace[64] = "";
    const char *library = measure->libraries[contender - contenders];
    struct process_end end;
    int number = workload_trace(workload);
    if (number >= 0) snprintf(trace, sizeof trace, "/proc/%d/fd/%d", (int)getpid(), measure->traces[number]);
    snprintf(percent, sizeof percent, "%" PRIu64, measure->settings->percent);
    const char *program = strcmp(contender->name, "limit-inline") == 0 ? measure->child_inline : measure->child;
    const char *name = contender->base != NULL ? contender->base : contender->name;
    const char *arguments[] = {program, name, library, workload->name, percent, trace, NULL};
    struct process_job job = {.program = program,
                              .arguments = arguments,
                              .hangs_after = HANGS_AFTER,
                              .progress = show_progress,
                              .argument = measure};
    measure->contender = contender->name;
    show_progress(measure, 0);
    if (contender->preloaded) setenv("LD_PRELOAD", library, 1);
    set(contender, true);
    process_run(&job, &end);
    unsetenv("LD_PRELOAD");
    set(contender, false);
    take_result(measure, result, &end, workload->figure_count);
}

/* --- one workload ----------------------------------------------------------------------------- */

static void run_round(struct measure *measure, const struct workload *workload, json_t *made) {
    for (size_t i = 0; i < contender_count; i++) {
        size_t index = (i + measure->round) % contender_count;
        const struct contender *contender = &contenders[index];
        if (!measure->settings->contenders[index] || !contender_can_run(contender, workload)) continue;
        json_t *result = document_result(made, contender->name);
        if (measure->libraries[index] == NULL || json_object_get(result, "problem") != NULL) continue;
        run(measure, contender, workload, result);
    }
}

/* In the table's order, whoever runs first. */
static void add_results(const struct measure *measure, const struct workload *workload, json_t *made) {
    for (size_t i = 0; i < contender_count; i++) {
        if (!measure->settings->contenders[i] || !contender_can_run(&contenders[i], workload)) continue;
        json_t *result = document_add_result(made, contenders[i].name);
        if (measure->libraries[i] == NULL) json_object_set_new(result, "missing", json_true());
        bool one = contenders[i].one_at_a_time && workload_is_threaded(workload);
        json_object_set_new(result, "one_at_a_time", json_boolean(one));
    }
}

json_t *measure_next(struct measure *measure) {
    while (measure->next < workload_count && !measure->settings->workloads[measure->next]) measure->next++;
    if (measure->next == workload_count) return NULL;
    const struct workload *workload = &workloads[measure->next++];
    json_t *made = document_add_workload(measure->document, workload);
    add_results(measure, workload, made);
    measure->workload = workload->name;
    for (measure->round = 0; measure->round < measure->settings->rounds; measure->round++) {
        run_round(measure, workload, made);
    }
    measure->done++;
    clear_progress(measure);
    document_work_out(made);
    return made;
}

bool measure_failed(const struct measure *measure) { return measure->failed; }

/* --- lifecycle -------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The libraries; a missing peer is told of, anything else missing is an error. */
static int find_libraries(struct measure *measure, const char *directory, char *error, size_t error_size) {
    json_t *list = json_object_get(measure->document, "contenders");
    for (size_t i = 0; i < contender_count; i++) {
        char problem[1024];
        if (!measure->settings->contenders[i]) continue;
        char *path = contender_library(&contenders[i], directory, problem, sizeof problem);
        if (path == NULL && contenders[i].package == NULL) {
            snprintf(error, error_size, "%s", problem);
            return -1;
        }
        measure->libraries[i] = path;
        if (path == NULL) {
            json_array_append_new(list, json_pack("{ss ss}", "name", contenders[i].name, "missing", problem));
            continue;
        }
        /* The name behind the links has the version. */
        char *real = path[0] != '\0' ? realpath(path, NULL) : NULL;
        json_array_append_new(
            list, json_pack("{ss ss}", "name", contenders[i].name, "library", real != NULL ? base_name(real) : ""));
        free(real);
    }
    return 0;
}

/* A file in memory with the trace's records and nothing else. */
static int open_records(const char *name, char *error, size_t error_size) {
    struct catalog catalog;
    struct trace trace;
    if (catalog_find(&catalog, &name, 1, error, error_size) != 0) return -1;
    int loaded = trace_load(&trace, catalog.paths[0], error, error_size);
    catalog_free(&catalog);
    if (loaded != 0) return -1;
    size_t size = trace.count * sizeof *trace.records, written = 0;
    int fd = memfd_create(name, MFD_CLOEXEC);
    while (fd >= 0 && written < size) {
        ssize_t n = write(fd, (const char *)trace.records + written, size - written);
        if (n <= 0) break;
        written += (size_t)n;
    }
    trace_unload(&trace);
    if (written == size) return fd;
    snprintf(error, error_size, "no memory for the trace %s: %s", name, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

static int open_traces(struct measure *measure, char *error, size_t error_size) {
    for (size_t i = 0; i < workload_count; i++) {
        int number = workload_trace(&workloads[i]);
        if (number < 0 || measure->traces[number] >= 0 || !measure->settings->workloads[i]) continue;
        measure->traces[number] = open_records(trace_names[number], error, error_size);
        if (measure->traces[number] < 0) return -1;
    }
    return 0;
}

static int set_up(struct measure *measure, char *error, size_t error_size) {
    const char *given = measure->settings->libraries;
    char *directory = given != NULL ? command_line_path(given) : NULL;
    int result = find_libraries(measure, directory, error, error_size);
    free(directory);
    if (result != 0) return result;
    measure->child = place_of_program("child", error, error_size);
    measure->child_inline = place_of_program("child_inline", error, error_size);
    if (measure->child == NULL || measure->child_inline == NULL) return -1;
    return open_traces(measure, error, error_size);
}

struct measure *measure_new(const struct settings *settings, json_t *document, char *error, size_t error_size) {
    struct measure *measure = calloc(1, sizeof *measure);
    if (measure == NULL) return NULL;
    *measure = (struct measure){.settings = settings, .document = document, .begin = now()};
    measure->terminal = isatty(STDERR_FILENO);
    for (int i = 0; i < TRACES; i++) measure->traces[i] = -1;
    for (size_t i = 0; i < workload_count; i++) measure->wanted += settings->workloads[i];
    /* What would change a contender. */
    unsetenv("LD_PRELOAD");
    unsetenv("PYTHON_GIL");
    for (size_t i = 0; i < contender_count; i++) set(&contenders[i], false);
    if (set_up(measure, error, error_size) == 0) return measure;
    measure_delete(measure);
    return NULL;
}

void measure_delete(struct measure *measure) {
    for (size_t i = 0; i < contender_count; i++) free(measure->libraries[i]);
    for (int i = 0; i < TRACES; i++) {
        if (measure->traces[i] >= 0) close(measure->traces[i]);
    }
    free(measure->child);
    free(measure->child_inline);
    free(measure);
}
