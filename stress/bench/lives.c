/* SPDX-License-Identifier: MIT */
/*
 * lives.c - threads that are born, make blocks, and end before their blocks do.
 *   Owner   a table of blocks one thread at a time.
 *   Locks   none; pthread_join() and a semaphore order one life after the other.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

struct life {
    void **blocks;
    size_t count;
    uint64_t number; /* of this life */
};

static void start(pthread_t *thread, void *(*body)(void *), void *argument) {
    int error = pthread_create(thread, NULL, body, argument);
    if (error != 0) meter_fault("cannot start a thread: %s", strerror(error));
}

/* --- one after the other ---------------------------------------------------------------------- */

static void *make_and_end(void *argument) {
    struct life *life = argument;
    int state = thread_begin();
    for (size_t i = 0; i < life->count; i++) life->blocks[i] = object_new(sizes_mixed[(i + life->number) % SIZES], i);
    thread_end(state);
    return NULL;
}

/* The main thread frees what each has made. */
static void live(struct life *life, uint64_t lives) {
    for (uint64_t i = 0; i < lives; i++) {
        pthread_t thread;
        life->number = i;
        thread_detach();
        start(&thread, make_and_end, life);
        pthread_join(thread, NULL);
        thread_attach();
        for (size_t k = 0; k < life->count; k++) object_free(life->blocks[k]);
        safepoint_at(0);
    }
}

void body_birth(const struct plan *plan) {
    struct life life = {.count = (size_t)plan->argument};
    uint64_t lives = plan_operations(plan, 1000);
    life.blocks = meter_table(life.count * sizeof(void *));
    live(&life, lives / 10 + 1);
    uint64_t begin = meter_process_ns();
    live(&life, lives);
    meter_figure(0, (double)(meter_process_ns() - begin) / (double)(lives * life.count));
}

void body_short_threads(const struct plan *plan) {
    struct life life = {.count = plan_blocks(plan, 20000)};
    uint64_t lives = plan_operations(plan, 200);
    life.blocks = meter_table(life.count * sizeof(void *));
    uint64_t before = meter_resident();
    meter_peak_reset();
    uint64_t begin = meter_process_ns();
    live(&life, lives);
    double time = (double)(meter_process_ns() - begin);
    meter_figure(0, ((double)meter_peak() - (double)before) / ((double)life.count * sizes_mixed_mean));
    meter_figure(1, time / (double)(lives * life.count));
}

/* --- chains of threads that hand their table on: larson's way (Larson and Krishnan) ------------ */

#define LARSON_BLOCKS 1000
#define LARSON_LIFE 10000 /* replacements */

struct chain {
    void *blocks[LARSON_BLOCKS];
    const uint16_t *sizes;
    uint64_t lives; /* to come */
    struct chance chance;
    sem_t *ended;
};

static void *live_and_hand_on(void *argument) {
    struct chain *chain = argument;
    int state = thread_begin();
    for (int i = 0; i < LARSON_LIFE; i++) {
        size_t at = chance_below(&chain->chance, LARSON_BLOCKS);
        object_free(chain->blocks[at]);
        chain->blocks[at] = object_new(chain->sizes[chance_next(&chain->chance) % SIZES], (uint64_t)i);
        safepoint_at((uint64_t)i);
    }
    thread_end(state);
    if (--chain->lives == 0) {
        sem_post(chain->ended);
    } else {
        pthread_t next;
        start(&next, live_and_hand_on, chain);
        pthread_detach(next);
    }
    return NULL;
}

static void run_chains(struct chain *chains, unsigned count, uint64_t lives) {
    sem_t ended;
    sem_init(&ended, 0, 0);
    thread_detach();
    for (unsigned i = 0; i < count; i++) {
        pthread_t thread;
        chains[i].lives = lives;
        chains[i].ended = &ended;
        start(&thread, live_and_hand_on, &chains[i]);
        pthread_detach(thread);
    }
    for (unsigned i = 0; i < count; i++) {
        while (sem_wait(&ended) != 0 && errno == EINTR) continue;
    }
    thread_attach();
    /* Not destroyed: the last to post may still look at it. */
}

void body_larson(const struct plan *plan) {
    static struct chain chains[TEAM_MAX];
    uint64_t lives = plan_operations(plan, 200);
    for (unsigned i = 0; i < plan->threads; i++) {
        chains[i].sizes = plan->argument ? sizes_larson : sizes_even;
        chains[i].chance.state = i;
        for (size_t k = 0; k < LARSON_BLOCKS; k++) chains[i].blocks[k] = object_new(chains[i].sizes[k], k);
    }
    run_chains(chains, plan->threads, lives / 8 + 1);
    uint64_t begin = meter_process_ns();
    run_chains(chains, plan->threads, lives);
    meter_figure(0, (double)(meter_process_ns() - begin) / (double)(lives * LARSON_LIFE * plan->threads));
}
