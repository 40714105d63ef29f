/* SPDX-License-Identifier: MIT */
/*
 * producers.c - many threads allocate, and one that never allocates frees
 * (microsoft/mimalloc#1364: with version 3, 437 MiB became 1.8 GiB).
 *   Owner   the process.
 *   Locks   none; a ring has one producer and one consumer (release, acquire).
 */
#include <pthread.h>
#include <sched.h>

#include "stress/pattern.h"
#include "stress/scenarios/failure.h"
#include "stress/scenarios/heap.h"

#define PRODUCERS 16
#define MEAN 264 /* bytes of a block: 16 to 512 */

struct ring {
    _Alignas(64) uint64_t head; /* atomic */
    _Alignas(64) uint64_t tail; /* atomic */
    uint64_t places, blocks;    /* how many fit, how many will come */
    unsigned number;
    void **at;
    pthread_t thread;
};

static size_t size_of(const struct ring *ring, uint64_t number) {
    return 16 + pattern_mix(number * PRODUCERS + ring->number) % 497;
}

static void wait_a_moment(void) {
    heap_pause();
    sched_yield();
    heap_resume();
}

static void *produce(void *argument) {
    struct ring *ring = argument;
    heap_begin();
    for (uint64_t head = 0; head < ring->blocks; head++) {
        while (head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) == ring->places) wait_a_moment();
        ring->at[head % ring->places] = heap_malloc(size_of(ring, head));
        __atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
        if (head % 64 == 0) heap_safepoint();
    }
    heap_end();
    return NULL;
}

/* Frees half of a full ring at a time: between the two all are alive. */
static uint64_t consume(struct ring *ring) {
    uint64_t tail = ring->tail, head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE), done = 0;
    if (head - tail < ring->places && head != ring->blocks) return 0;
    for (; tail != head && done < ring->places / 2 + 1; done++, tail++) {
        heap_free(ring->at[tail % ring->places], size_of(ring, tail));
        if (tail % 64 == 0) heap_safepoint();
    }
    __atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
    return done;
}

static void *free_all(void *argument) {
    struct ring *rings = argument;
    uint64_t left = rings[0].blocks * PRODUCERS;
    heap_begin();
    while (left > 0) {
        uint64_t done = 0;
        for (int i = 0; i < PRODUCERS; i++) done += consume(&rings[i]);
        left -= done;
        if (done == 0) wait_a_moment();
    }
    heap_end();
    return NULL;
}

static void run(const struct failure_size *size) {
    static struct ring rings[PRODUCERS];
    pthread_t freer;
    uint64_t places = size->live / PRODUCERS / MEAN + 2;
    for (unsigned i = 0; i < PRODUCERS; i++) {
        rings[i] = (struct ring){.places = places, .blocks = places * size->turns, .number = i};
        rings[i].at = heap_table(places);
    }
    pthread_create(&freer, NULL, free_all, rings);
    for (int i = 0; i < PRODUCERS; i++) pthread_create(&rings[i].thread, NULL, produce, &rings[i]);
    for (int i = 0; i < PRODUCERS; i++) pthread_join(rings[i].thread, NULL);
    pthread_join(freer, NULL);
    for (int i = 0; i < PRODUCERS; i++) heap_table_free(rings[i].at, places);
}

static void describe(const struct failure_size *size, struct bound_case *bound) {
    (void)size;
    *bound = (struct bound_case){.threads = PRODUCERS + 1, .small = true};
}

const struct failure failure_producers = {
    .name = "producers",
    .what = "16 threads allocate, one that never allocates frees",
    .where = "mimalloc#1364",
    .run = run,
    .describe = describe,
};
