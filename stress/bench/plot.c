/* SPDX-License-Identifier: MIT */
/*
 * plot.c - draws what was measured, by gnuplot: bars for the workloads of a group,
 * lines for what has an axis.
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* asprintf() */

#include "stress/bench/plot.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/bench/contender.h"
#include "stress/bench/document.h"

#define PROGRAM "gnuplot"

extern char **environ;

/* Of the contenders, in their order: gilloc's stand out, the limits are grey. */
static const char *const colours[] = {"#c00000", "#ff8000", "#306998", "#000000", "#2ca02c", "#9467bd",
                                      "#17becf", "#8c564b", "#808080", "#b0b0b0", "#d8d8d8"};

struct plot {
    FILE *script;
    json_t *document;
    const char *directory;
};

static json_t *workloads_of(const struct plot *plot) { return json_object_get(plot->document, "workloads"); }
static const char *text_of(json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}
static bool is_of(json_t *workload, const char *group) { return strcmp(text_of(workload, "group"), group) == 0; }

static json_t *workload_named(const struct plot *plot, const char *name) {
    size_t i;
    json_t *workload;
    json_array_foreach(workloads_of(plot), i, workload) {
        if (strcmp(text_of(workload, "name"), name) == 0) return workload;
    }
    return NULL;
}

/* --- gnuplot's language ----------------------------------------------------------------------- */

/* Once for each terminal: what follows `begin` up to `end` is drawn into the file of it. */
static const char *const terminals[] = {"svg size 960,480 dynamic font 'sans,13' background '#ffffff'",
                                        "pngcairo size 960,480 font 'sans,11'"};
static const char *const suffixes[] = {"svg", "png"};
enum { TERMINALS = 2 };

static void begin(const struct plot *plot, int terminal, const char *name, const char *title) {
    fprintf(plot->script,
            "reset\nset terminal %s\nset output '%s/%s.%s'\nset title '%s' noenhanced\n"
            "set key outside right top noenhanced\nset grid y linecolor '#d0d0d0'\nset border 3\nset tics nomirror\n",
            terminals[terminal], plot->directory, name, suffixes[terminal], title);
}

static bool was_measured(json_t *workload, const char *contender, size_t figure) {
    return !isnan(document_number(document_result(workload, contender), "median", figure));
}

/* --- bars ------------------------------------------------------------------------------------- */

/* A data block with a row for each workload of the group and a column for each contender. */
static size_t put_rows(const struct plot *plot, const char *group, size_t figure) {
    size_t rows = 0, i;
    json_t *workload;
    fprintf(plot->script, "$rows << END\n");
    json_array_foreach(workloads_of(plot), i, workload) {
        if (!is_of(workload, group)) continue;
        fprintf(plot->script, "\"%s\"", text_of(workload, "name"));
        for (size_t k = 0; k < contender_count; k++) {
            double value = document_number(document_result(workload, contenders[k].name), "median", figure);
            if (isnan(value)) fprintf(plot->script, " ?");
            if (!isnan(value)) fprintf(plot->script, " %g", value);
        }
        fputc('\n', plot->script);
        rows++;
    }
    fprintf(plot->script, "END\n");
    return rows;
}

static bool group_has(const struct plot *plot, const char *group, const char *contender, size_t figure) {
    size_t i;
    json_t *workload;
    json_array_foreach(workloads_of(plot), i, workload) {
        if (is_of(workload, group) && was_measured(workload, contender, figure)) return true;
    }
    return false;
}

static void draw_bars(const struct plot *plot, const char *name, const char *group, size_t figure, bool log_scale,
                      const char *title, const char *axis) {
    if (put_rows(plot, group, figure) == 0) return;
    for (int terminal = 0; terminal < TERMINALS; terminal++) {
        begin(plot, terminal, name, title);
        fprintf(
            plot->script,
            "set style data histograms\nset style histogram clustered gap 2\nset style fill solid\n"
            "set boxwidth 0.9\nset ylabel '%s'\nset datafile missing '?'\nset xtics noenhanced rotate by -20\n%s\nplot",
            axis, log_scale ? "set logscale y" : "set yrange [0:*]");
        bool first = true;
        for (size_t k = 0; k < contender_count; k++) {
            if (!group_has(plot, group, contenders[k].name, figure)) continue;
            fprintf(plot->script, "%s $rows using %zu:xtic(1) title '%s' linecolor '%s'", first ? "" : ",", k + 2,
                    contenders[k].name, colours[k]);
            first = false;
        }
        fprintf(plot->script, "%s\nunset output\n", first ? " 0" : "");
    }
}

/* --- lines ------------------------------------------------------------------------------------ */

struct axes {
    const char *x, *y, *settings;
};

/* Lines of the data blocks $line0 ... that `count` contenders have. */
static void draw_lines(const struct plot *plot, const char *name, const char *title, const struct axes *axes,
                       const bool *has, bool points) {
    bool any = false;
    for (size_t k = 0; k < contender_count; k++) any = any || has[k];
    for (int terminal = 0; terminal < TERMINALS && any; terminal++) {
        begin(plot, terminal, name, title);
        fprintf(plot->script, "set xlabel '%s'\nset ylabel '%s'\n%s\nplot", axes->x, axes->y, axes->settings);
        bool first = true;
        for (size_t k = 0; k < contender_count; k++) {
            if (!has[k]) continue;
            fprintf(plot->script, "%s $line%zu using 1:2 with %s linecolor '%s' linewidth %d dashtype %d title '%s'",
                    first ? "" : ",", k, points ? "linespoints pointtype 7 pointsize 0.5" : "lines", colours[k],
                    k < 2 ? 3 : 2, k == 1 ? 2 : 1, /* gilloc's two lie on each other often */ contenders[k].name);
            first = false;
        }
        fprintf(plot->script, "\nunset output\n");
    }
}

/* A line over the workloads of a group; `x` gives the place of each. */
static void draw_group(const struct plot *plot, const char *name, const char *group, const char *begins, size_t figure,
                       double (*x)(json_t *workload), const char *title, const struct axes *axes) {
    bool has[SETTINGS_MAX] = {false};
    for (size_t k = 0; k < contender_count; k++) {
        size_t i;
        json_t *workload;
        fprintf(plot->script, "$line%zu << END\n", k);
        json_array_foreach(workloads_of(plot), i, workload) {
            if (!is_of(workload, group) || strncmp(text_of(workload, "name"), begins, strlen(begins)) != 0) continue;
            if (!was_measured(workload, contenders[k].name, figure)) continue;
            fprintf(plot->script, "%g %g\n", x(workload),
                    document_number(document_result(workload, contenders[k].name), "median", figure));
            has[k] = true;
        }
        fprintf(plot->script, "END\n");
    }
    draw_lines(plot, name, title, axes, has, true);
}

/* The points of one workload. */
static void draw_points(const struct plot *plot, const char *name, const char *workload_name, const char *title,
                        const struct axes *axes) {
    bool has[SETTINGS_MAX] = {false};
    json_t *workload = workload_named(plot, workload_name);
    for (size_t k = 0; k < contender_count; k++) {
        size_t i;
        json_t *point, *points = json_object_get(document_result(workload, contenders[k].name), "points");
        fprintf(plot->script, "$line%zu << END\n", k);
        json_array_foreach(points, i, point) {
            fprintf(plot->script, "%g %g\n", json_number_value(json_array_get(point, 0)),
                    json_number_value(json_array_get(point, 1)));
            has[k] = true;
        }
        fprintf(plot->script, "END\n");
    }
    draw_lines(plot, name, title, axes, has, false);
}

static double threads_of(json_t *workload) { return json_number_value(json_object_get(workload, "threads")); }
static double busy_threads_of(json_t *workload) { return threads_of(workload) - 1; }

static double heap_of(json_t *workload) {
    const struct workload *known = workload_find(text_of(workload, "name"));
    return known != NULL ? (double)workload_heap(known) / (1 << 20) : NAN;
}

/* --- all -------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *group;
    size_t figure;
    bool log_scale;
    const char *title, *axis;
} bars[] = {
    {"pairs", "pairs", 0, false, "A malloc and its free", "ns of processor time"},
    {"batches", "batches", 0, true, "A malloc and its free, in batches of 1,000", "ns of processor time"},
    {"churn", "churn", 0, true, "Random blocks of a table replaced", "ns of processor time"},
    {"threads", "threads", 0, true, "Two threads at once, each its own work", "ns of processor time"},
    {"traces", "traces", 0, false, "Traces of real programs: a request with its free", "ns of processor time"},
    {"traces-memory", "traces", 1, false, "Traces of real programs: most resident memory", "MiB"},
    {"exchange", "exchange", 0, true, "Blocks that change hands, threads that come and go", "ns of processor time"},
    {"requests", "requests", 0, true, "realloc, calloc, sizes that are not from pools", "ns of processor time"},
};

static void draw(const struct plot *plot) {
    for (size_t i = 0; i < sizeof bars / sizeof *bars; i++) {
        draw_bars(plot, bars[i].name, bars[i].group, bars[i].figure, bars[i].log_scale, bars[i].title, bars[i].axis);
    }
    draw_group(plot, "scale", "scale", "", 1, threads_of, "All threads together, a table of 10,000 blocks each",
               &(struct axes){"threads", "million operations a second", "set logscale x 2\nset yrange [0:*]"});
    draw_group(plot, "scale-cost", "scale", "", 0, threads_of, "The same: what an operation costs, waits not included",
               &(struct axes){"threads", "ns of processor time", "set logscale x 2\nset yrange [0:*]"});
    draw_group(plot, "heap", "heap", "", 0, heap_of, "A random block replaced, by size of the heap",
               &(struct axes){"live MiB", "ns of processor time", "set logscale x 4\nset logscale y"});
    draw_group(plot, "lock-io", "lock", "lock-io-", 0, busy_threads_of,
               "A thread that sleeps 100 us and wants the lock, beside busy threads",
               &(struct axes){"busy threads", "wake-ups a second", "set logscale y\nset xtics 1"});
    draw_points(plot, "course", "course", "Filled, 95 % freed in runs, idle, refilled with larger blocks, freed",
                &(struct axes){"seconds", "resident MiB", "set yrange [0:*]"});
    draw_points(plot, "latency", "latency", "Single calls of malloc: how long the slowest of so many take",
                &(struct axes){"one of so many calls is slower", "ns by wall clock",
                               "set logscale x\nset logscale y\nset format '%.0f'"});
}

int plot_check(char *error, size_t error_size) {
    const char *given = getenv("PATH");
    char *path = strdup(given != NULL ? given : ""), *rest = path, *directory;
    bool found = false;
    while (rest != NULL && (directory = strsep(&rest, ":")) != NULL) {
        char *program;
        if (asprintf(&program, "%s/" PROGRAM, directory) < 0) break;
        found = found || access(program, X_OK) == 0;
        free(program);
    }
    free(path);
    if (found) return 0;
    snprintf(error, error_size, "--plots needs gnuplot, which is not there (Debian: apt-get install gnuplot-nox)");
    return -1;
}

/* Runs gnuplot on the script; its exit status, or -1. */
static int run(FILE *script) {
    char *arguments[] = {PROGRAM, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = -1;
    rewind(script);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
    int error = posix_spawnp(&child, PROGRAM, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int plot_all(json_t *document, const char *directory, char *error, size_t error_size) {
    if (strchr(directory, '\'') != NULL) {
        snprintf(error, error_size, "%s: gnuplot cannot have the sign ' in a path", directory);
        return -1;
    }
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        snprintf(error, error_size, "%s: cannot be made: %s", directory, strerror(errno));
        return -1;
    }
    struct plot plot = {.script = tmpfile(), .document = document, .directory = directory};
    if (plot.script == NULL) {
        snprintf(error, error_size, "no temporary file for gnuplot: %s", strerror(errno));
        return -1;
    }
    draw(&plot);
    int status = run(plot.script);
    fclose(plot.script);
    if (status == 0) return 0;
    snprintf(error, error_size, "gnuplot failed; see above");
    return -1;
}
