/* SPDX-License-Identifier: MIT */
/*
 * series.c - resident memory over time.
 *   Owner   the process; one series.  Locks: `lock`, over `ending`.
 */
#include "stress/scenarios/series.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "stress/measure.h"

#define SAMPLES_MAX 65536
#define INTERVAL_NS 5000000

struct sample {
    double seconds;
    int64_t bytes;
};

static struct sample samples[SAMPLES_MAX]; /* the thread's; after series_end() anybody's */
static size_t count;
static int64_t peak;
static pthread_t thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static bool ending; /* guarded by lock */

/* When there is no room left, every other sample goes. */
static void take(void) {
    if (count == SAMPLES_MAX) {
        for (size_t i = 0; i < SAMPLES_MAX / 2; i++) samples[i] = samples[2 * i];
        count = SAMPLES_MAX / 2;
    }
    struct sample sample = {.seconds = measure_seconds(CLOCK_MONOTONIC), .bytes = measure_resident()};
    if (sample.bytes > peak) peak = sample.bytes;
    samples[count++] = sample;
}

static void *run(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    while (!ending) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += INTERVAL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&changed, &lock, &until);
        take();
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

void series_begin(void) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (size_t i = 0; i < SAMPLES_MAX; i += 64) samples[i].bytes = 1; /* resident from the start on */
    take();
    pthread_create(&thread, NULL, run, NULL);
}

void series_end(void) {
    pthread_mutex_lock(&lock);
    ending = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}

int64_t series_peak(void) { return peak - samples[0].bytes; }
int64_t series_last(void) { return samples[count - 1].bytes - samples[0].bytes; }

json_t *series_json(void) {
    json_t *series = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(series, json_pack("[fI]", samples[i].seconds - samples[0].seconds,
                                                (json_int_t)(samples[i].bytes - samples[0].bytes)));
    }
    return series;
}
