/* SPDX-License-Identifier: MIT */
/*
 * beat.c - threads that are attached and reach a safepoint about every 10 us.
 *   Owner   who has started them.  Locks: none.
 */
#include "stress/costs/beat.h"

#include <gilloc/gilloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "stress/measure.h"

#define BEAT_NS 10000

struct beat {
    unsigned threads;
    uint32_t there; /* atomic, relaxed: a count */
    uint32_t stop;  /* atomic, relaxed: it publishes nothing */
    pthread_t *at;
};

/* By the clock: a processor that is shared may pause us, as it may any thread. */
void beat_work(void) {
    uint64_t until = measure_ns(CLOCK_MONOTONIC) + BEAT_NS;
    while (measure_ns(CLOCK_MONOTONIC) < until) continue;
}

static void *run(void *argument) {
    struct beat *beat = argument;
    PyGILState_STATE state = PyGILState_Ensure();
    __atomic_add_fetch(&beat->there, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&beat->stop, __ATOMIC_RELAXED) == 0) {
        PyObject_Free(PyObject_Malloc(64));
        beat_work();
        gilloc_safepoint();
    }
    PyGILState_Release(state);
    return NULL;
}

struct beat *beat_start(unsigned threads) {
    struct beat *beat = calloc(1, sizeof *beat);
    if (beat != NULL) beat->at = calloc(threads, sizeof *beat->at);
    if (beat == NULL || beat->at == NULL) abort();
    for (; beat->threads < threads; beat->threads++) {
        if (pthread_create(&beat->at[beat->threads], NULL, run, beat) != 0) {
            fprintf(stderr, "cannot start %u threads\n", threads);
            abort();
        }
    }
    while (__atomic_load_n(&beat->there, __ATOMIC_RELAXED) < threads) sched_yield();
    return beat;
}

void beat_stop(struct beat *beat) {
    __atomic_store_n(&beat->stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < beat->threads; i++) pthread_join(beat->at[i], NULL);
    free(beat->at);
    free(beat);
}
