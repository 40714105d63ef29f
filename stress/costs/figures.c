/* SPDX-License-Identifier: MIT */
/*
 * figures.c - costs of statistics, among many thread states that hold a million
 * blocks together.  Each state has allocated its share and freed an eighth of it,
 * so that its cache holds what caches hold.
 *   Owner   the process's main thread.  Locks: none.
 */
#include <stdio.h>
#include <stdlib.h>

#include "stress/costs/cost.h"
#include "stress/measure.h"
#include "stress/pattern.h"

#define ALL_BLOCKS 1000000
#define CALLS 10 /* of a round */

static void fill(PyThreadState *state, size_t count) {
    PyEval_RestoreThread(state);
    void **blocks = calloc(count, sizeof *blocks);
    if (blocks == NULL) abort();
    for (size_t i = 0; i < count; i++) {
        blocks[i] = PyObject_Malloc(16 + pattern_mix(i) % 497);
        if (blocks[i] == NULL) abort();
    }
    for (size_t i = 0; i < count; i += 8) PyObject_Free(blocks[i]);
    free(blocks); /* the rest stays: the process ends */
    PyEval_SaveThread();
}

static int pass_class(const gilloc_class_stats *stats, void *arg) {
    *(uint64_t *)arg += stats->pools;
    return 0;
}

static int pass_thread(const gilloc_thread_stats *stats, void *arg) {
    *(uint64_t *)arg += stats->pools;
    return 0;
}

/* Microseconds of one of the calls. */
#define US_OF(statement)                                                       \
    __extension__({                                                            \
        uint64_t begin_ = measure_ns(CLOCK_THREAD_CPUTIME_ID);                 \
        for (int call_ = 0; call_ < CALLS; call_++) statement;                 \
        (double)(measure_ns(CLOCK_THREAD_CPUTIME_ID) - begin_) * 1e-3 / CALLS; \
    })

static void run_statistics(struct cost_job *job) {
    struct sample blocks = {0}, get = {0}, classes = {0}, threads = {0}, text = {0}, json = {0};
    PyThreadState **states = calloc(job->threads, sizeof *states);
    FILE *null = fopen("/dev/null", "w");
    if (states == NULL || null == NULL) abort();
    for (unsigned i = 0; i < job->threads; i++) {
        states[i] = PyThreadState_New(PyInterpreterState_Main());
        if (states[i] == NULL) abort();
        fill(states[i], ALL_BLOCKS / job->threads);
    }
    PyEval_RestoreThread(states[0]);
    uint64_t pools = 0;
    for (unsigned i = 0; i < job->rounds; i++) {
        gilloc_stats stats = {.size = sizeof stats};
        sample_add(&blocks, US_OF(if (gilloc_allocated_blocks() == 0) abort()));
        sample_add(&get, US_OF(gilloc_get_stats(&stats)));
        sample_add(&classes, US_OF(gilloc_visit_classes(pass_class, &pools)));
        sample_add(&threads, US_OF(gilloc_visit_threads(pass_thread, &pools)));
        sample_add(&text, US_OF(if (gilloc_print_stats(null, "text") != 0) abort()));
        sample_add(&json, US_OF(if (gilloc_print_stats(null, "json") != 0) abort()));
    }
    PyEval_SaveThread();
    fclose(null);
    free(states);
    cost_row(job, "allocated blocks, of a million", "us", &blocks);
    cost_row(job, "all figures in a struct", "us", &get);
    cost_row(job, "a visit of the classes", "us", &classes);
    cost_row(job, "a visit of the threads", "us", &threads);
    cost_row(job, "print them as text", "us", &text);
    cost_row(job, "print them as JSON", "us", &json);
}

const struct cost cost_statistics = {
    .name = "statistics",
    .what = "figures, with 1 to 1,000 thread states and a million blocks",
    .gil = true,
    .free = true,
    .threads = {1, 100, 1000},
    .run = run_statistics,
};
