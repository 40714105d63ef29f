/* SPDX-License-Identifier: MIT */
/*
 * main.c - the main job: replays traces of real programs and prints a table.
 *   Owner   the main thread; the only one of this process.
 *   Locks   none.
 * A mode is for the life of a process, and so is a peak of memory: each row runs
 * in a process of its own, which is this program again with "--row" first.
 */
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stress/catalog.h"
#include "stress/command_line.h"
#include "stress/measure.h"
#include "stress/mode.h"
#include "stress/options.h"
#include "stress/process.h"
#include "stress/row.h"
#include "stress/table.h"
#include "stress/trace.h"

enum { EXIT_INTACT = 0, EXIT_BROKEN = 1 };

#define ROW "--row"
enum { ROW_MODE = 2, ROW_THREADS, ROW_SECONDS, ROW_PASSES, ROW_REMOTE, ROW_SEED, ROW_TRACES };

/* A row that does not replay one part of a trace in this time hangs. */
#define HANGS_AFTER 120.0

struct job {
    const struct options *options;
    struct catalog catalog;
    uint64_t records; /* of all traces */
    json_t *rows;
    size_t row_count; /* to be run */
    double begin;
    gilloc_mode mode; /* of the row that runs */
    unsigned threads; /* of it */
    bool terminal;    /* stderr */
    bool broken;
};

static double now(void) { return measure_seconds(CLOCK_MONOTONIC); }

/* --- progress --------------------------------------------------------------------------------- */

static void clear_progress(const struct job *job) {
    if (job->terminal) fputs("\r\033[K", stderr);
}

static void show_progress(void *argument, json_int_t operations) {
    const struct job *job = argument;
    char text[32];
    if (!job->terminal) return;
    fprintf(stderr, "\rrow %zu of %zu: %s mode, %u threads, %s operations; %.0f s", json_array_size(job->rows) + 1,
            job->row_count, mode_name(job->mode), job->threads, table_number((unsigned long long)operations, text),
            now() - job->begin);
    if (job->options->passes == 0) fprintf(stderr, " of %" PRIu64, job->options->seconds);
    fputs("\033[K", stderr);
    fflush(stderr);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* Seconds for a row, unpacking the traces not counted. */
static double share(const struct job *job) { return (double)job->options->seconds / (double)job->row_count; }

/* Runs this program again for the row; what it made of it is in `end`. */
static void run_process(struct job *job, struct process_end *end) {
    char program[PATH_MAX] = "", numbers[5][32];
    const struct options *options = job->options;
    const char **arguments = calloc(ROW_TRACES + job->catalog.count + 1, sizeof *arguments);
    *end = (struct process_end){0};
    if (arguments == NULL || readlink("/proc/self/exe", program, sizeof program - 1) < 0) {
        end->problem = strdup("cannot start a process: /proc/self/exe cannot be read, or no memory");
        free(arguments);
        return;
    }
    snprintf(numbers[0], sizeof numbers[0], "%u", job->threads);
    snprintf(numbers[1], sizeof numbers[1], "%.3f", share(job));
    snprintf(numbers[2], sizeof numbers[2], "%" PRIu64, options->passes);
    snprintf(numbers[3], sizeof numbers[3], "%" PRIu64, options->remote_percent);
    snprintf(numbers[4], sizeof numbers[4], "%" PRIu64, options->seed);
    arguments[0] = "stress";
    arguments[1] = ROW;
    arguments[ROW_MODE] = mode_name(job->mode);
    for (int i = 0; i < 5; i++) arguments[ROW_THREADS + i] = numbers[i];
    for (size_t i = 0; i < job->catalog.count; i++) arguments[ROW_TRACES + i] = job->catalog.paths[i];
    struct process_job process = {.program = program,
                                  .arguments = arguments,
                                  .hangs_after = HANGS_AFTER,
                                  .progress = show_progress,
                                  .argument = job};
    process_run(&process, end);
    free(arguments);
}

static void run_row(struct job *job) {
    struct process_end end;
    run_process(job, &end);
    json_t *row = end.result != NULL ? end.result : json_object();
    json_object_set_new(row, "mode", json_string(mode_name(job->mode)));
    json_object_set_new(row, "threads", json_integer(job->threads));
    json_object_set_new(row, "integrity", json_string(end.problem != NULL ? end.problem : "ok"));
    clear_progress(job);
    if (!job->options->json) {
        if (json_array_size(job->rows) == 0) table_head(stdout);
        table_row(stdout, row);
        fflush(stdout);
    }
    json_array_append_new(job->rows, row);
    job->broken = job->broken || end.problem != NULL;
    free(end.problem);
}

static void run_rows(struct job *job) {
    const struct options *options = job->options;
    job->row_count = options->threads_count * ((size_t)options->gil + (size_t)options->free);
    for (gilloc_mode mode = GILLOC_MODE_GIL; mode <= GILLOC_MODE_FREE; mode++) {
        if (!(mode == GILLOC_MODE_GIL ? options->gil : options->free)) continue;
        for (size_t i = 0; i < options->threads_count; i++) {
            job->mode = mode;
            job->threads = options->threads[i];
            run_row(job);
        }
    }
}

/* Can all traces be replayed? */
static int check_traces(struct job *job, char *error, size_t error_size) {
    for (size_t i = 0; i < job->catalog.count; i++) {
        struct trace trace;
        if (trace_load(&trace, job->catalog.paths[i], error, error_size) != 0) return -1;
        job->records += trace.count;
        trace_unload(&trace);
    }
    return 0;
}

/* --- output ----------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static void print_heading(const struct job *job) {
    char text[32];
    const struct options *options = job->options;
    printf("traces:");
    for (size_t i = 0; i < job->catalog.count; i++) printf("%s %s", i ? "," : "", base_name(job->catalog.paths[i]));
    printf(" (%s records); seed %" PRIu64 "; %" PRIu64 " %% of the blocks freed by another thread\n",
           table_number(job->records, text), options->seed, options->remote_percent);
    fflush(stdout);
}

static void print_verdict(const struct job *job) {
    size_t i;
    json_t *row;
    if (!job->broken) printf("Every block was intact, and nothing leaked.\n");
    json_array_foreach(job->rows, i, row) {
        const char *integrity = json_string_value(json_object_get(row, "integrity"));
        if (strcmp(integrity, "ok") == 0) continue;
        printf("BROKEN: %s mode, %d threads: %s\n", json_string_value(json_object_get(row, "mode")),
               (int)json_integer_value(json_object_get(row, "threads")), integrity);
    }
}

static void print_json(const struct job *job) {
    json_t *traces = json_array();
    for (size_t i = 0; i < job->catalog.count; i++) {
        json_array_append_new(traces, json_string(base_name(job->catalog.paths[i])));
    }
    json_t *all = json_pack("{sosIsIsisbsO}", "traces", traces, "records", (json_int_t)job->records, "seed",
                            (json_int_t)job->options->seed, "remote_percent", (int)job->options->remote_percent, "ok",
                            !job->broken, "rows", job->rows);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

/* --- two programs in one ---------------------------------------------------------------------- */

static int main_of_row(int argc, char **argv) {
    if (argc <= ROW_TRACES) return EXIT_UNUSABLE;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would read the result */
    struct row_job job = {
        .mode = mode_named(argv[ROW_MODE]),
        .threads = (unsigned)strtoul(argv[ROW_THREADS], NULL, 10),
        .seconds = strtod(argv[ROW_SECONDS], NULL),
        .passes = strtoull(argv[ROW_PASSES], NULL, 10),
        .remote_percent = (unsigned)strtoul(argv[ROW_REMOTE], NULL, 10),
        .seed = strtoull(argv[ROW_SEED], NULL, 10),
        .traces = argv + ROW_TRACES,
        .trace_count = (size_t)argc - ROW_TRACES,
    };
    return row_run(&job, PROCESS_PIPE) == 0 ? EXIT_INTACT : EXIT_BROKEN;
}

static int unusable(const char *error) { return command_line_unusable("stress", error); }

int main(int argc, char **argv) {
    struct options options;
    char error[PATH_MAX + 256];
    if (argc > 1 && strcmp(argv[1], ROW) == 0) return main_of_row(argc, argv);
    if (options_parse(&options, argc, argv, error, sizeof error) != 0) return unusable(error);
    if (options.help) return fputs(options_help, stdout) < 0 ? EXIT_BROKEN : EXIT_INTACT;
    struct job job = {.options = &options, .rows = json_array(), .begin = now(), .terminal = isatty(STDERR_FILENO)};
    int status = EXIT_UNUSABLE;
    if (catalog_find(&job.catalog, options.traces, options.traces_count, error, sizeof error) != 0 ||
        check_traces(&job, error, sizeof error) != 0) {
        unusable(error);
    } else {
        if (!options.json) print_heading(&job);
        run_rows(&job);
        if (options.json) print_json(&job);
        if (!options.json) print_verdict(&job);
        status = job.broken ? EXIT_BROKEN : EXIT_INTACT;
    }
    json_decref(job.rows);
    catalog_free(&job.catalog);
    return status;
}
