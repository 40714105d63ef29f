/* SPDX-License-Identifier: MIT */
/*
 * stops.c - costs of stopping the world and of switching the mode, among threads
 * that reach safepoints about every 10 us.
 *   Owner   the process's main thread.  Locks: none but the stopped world.
 */
#include <stdlib.h>

#include "stress/costs/beat.h"
#include "stress/costs/cost.h"
#include "stress/measure.h"

#define STOPS_OF_A_ROUND 20

static double since(uint64_t begin) { return (double)(measure_ns(CLOCK_MONOTONIC) - begin) * 1e-3; }

/* Some work between two stops, at safepoints as the others do. */
static void go_on(void) {
    for (int i = 0; i < 10; i++) {
        beat_work();
        gilloc_safepoint();
    }
}

static void run_stop(struct cost_job *job) {
    struct sample stop = {0}, start = {0};
    struct beat *beat = beat_start(job->threads - 1);
    PyGILState_STATE state = PyGILState_Ensure();
    for (unsigned i = 0; i < job->rounds * STOPS_OF_A_ROUND; i++) {
        uint64_t begin = measure_ns(CLOCK_MONOTONIC);
        gilloc_stop_the_world();
        sample_add(&stop, since(begin));
        begin = measure_ns(CLOCK_MONOTONIC);
        gilloc_start_the_world();
        sample_add(&start, since(begin));
        go_on();
    }
    PyGILState_Release(state);
    beat_stop(beat);
    cost_row(job, "stop the world, until it stands", "us", &stop);
    cost_row(job, "start it again", "us", &start);
}

static void run_switch(struct cost_job *job) {
    struct sample to_gil = {0}, to_free = {0};
    struct beat *beat = beat_start(job->threads - 1);
    PyGILState_STATE state = PyGILState_Ensure();
    for (unsigned i = 0; i < job->rounds * STOPS_OF_A_ROUND; i++) {
        gilloc_mode mode = i % 2 == 0 ? GILLOC_MODE_GIL : GILLOC_MODE_FREE;
        uint64_t begin = measure_ns(CLOCK_MONOTONIC);
        if (gilloc_set_mode(mode) != 0) abort();
        sample_add(mode == GILLOC_MODE_GIL ? &to_gil : &to_free, since(begin));
        go_on();
    }
    PyGILState_Release(state);
    beat_stop(beat);
    cost_row(job, "switch to gil mode", "us", &to_gil);
    cost_row(job, "switch to GIL-free mode", "us", &to_free);
}

const struct cost cost_stop = {
    .name = "stop",
    .what = "stop the world: threads reach safepoints every 10 us",
    .free = true,
    .threads = {2, 8, 64},
    .run = run_stop,
};

const struct cost cost_switch = {
    .name = "switch",
    .what = "a mode switch among such threads",
    .free = true,
    .threads = {2, 8},
    .run = run_switch,
};
