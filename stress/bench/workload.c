/* SPDX-License-Identifier: MIT */
/*
 * workload.c - the list of workloads as the parent reads it.
 *   Owner   constant.  Locks: none.
 */
#include "stress/bench/workload.h"

#include <string.h>

#define FIGURE(name, text, high_is_good) {name, text, high_is_good},
#define SET(set) static const struct figure figures_##set[] = {FIGURES_##set(FIGURE)};
FIGURE_SETS(SET)

#define WORKLOAD(name, group, body, argument, threads, needs, set, text) \
    {name, group, argument, threads, needs, figures_##set, sizeof figures_##set / sizeof *figures_##set, text},
const struct workload workloads[] = {WORKLOADS(WORKLOAD)};
const size_t workload_count = sizeof workloads / sizeof *workloads;

const struct workload *workload_find(const char *name) {
    for (size_t i = 0; i < workload_count; i++) {
        if (strcmp(workloads[i].name, name) == 0) return &workloads[i];
    }
    return NULL;
}

bool workload_is_threaded(const struct workload *workload) {
    return workload->threads > 1 && (workload->needs & (CAN_LOCK | CAN_STOP)) == 0;
}

uint64_t workload_heap(const struct workload *workload) {
    return strcmp(workload->group, "heap") == 0 ? (uint64_t)workload->argument : 0;
}

int workload_trace(const struct workload *workload) {
    return workload->figures == figures_TRACE ? (int)workload->argument : -1;
}
