/* SPDX-License-Identifier: MIT */
/*
 * document.h - all that was measured, as JSON: what tables and plots are made of,
 * at once or later from the file.
 *   Owner   the main program.  Locks: none.
 *
 *   {"bench": 1, "machine": {...}, "settings": {...},
 *    "contenders": [{"name", "library" or "missing"}],
 *    "workloads": [{"name", "group", "text", "threads",
 *        "figures": [{"name", "text", "high_is_good"}],
 *        "results": [{"contender", "one_at_a_time",
 *            "rounds": [[a number for each figure] for each round],
 *            "median", "spread", "gil_by_it", "free_by_it": [for each figure],
 *            "net": of the first figure, "points": [[x, y]]}
 *          or {"contender", "problem"} or {"contender", "missing"}]}]}
 */
#ifndef STRESS_BENCH_DOCUMENT_H
#define STRESS_BENCH_DOCUMENT_H

#include <jansson.h>

#include "stress/bench/settings.h"
#include "stress/bench/workload.h"

json_t *document_new(const struct settings *settings);
/* Of a file; NULL with a line in `error`. */
json_t *document_read(const char *path, char *error, size_t error_size);
/* Adds the workloads of `other`, in place of those of the same name. */
void document_merge(json_t *document, json_t *other);
/* 0, or -1 with a line in `error`. */
int document_write(json_t *document, const char *path, char *error, size_t error_size);

/* A workload without results, at the document's end; borrowed. */
json_t *document_add_workload(json_t *document, const struct workload *workload);
/* The contender's result in it, made at its first mention; borrowed. */
json_t *document_add_result(json_t *workload, const char *contender);
/* Medians, spreads and ratios of all results with rounds. */
void document_work_out(json_t *workload);

/* The contender's result, or NULL. */
json_t *document_result(json_t *workload, const char *contender);
/* Element `index` of an array of the result; NaN if it has none. */
double document_number(json_t *result, const char *array, size_t index);
/* The peer with the best median of the first figure, or NULL; of those whose threads may allocate at the same time. */
json_t *document_best_peer(json_t *workload);
/* The median of the rounds' ratios of the first figure; NaN where there is none. */
double document_ratio(json_t *workload, const char *contender, const char *by);

#endif /* STRESS_BENCH_DOCUMENT_H */
