/* SPDX-License-Identifier: MIT */
/*
 * leftovers.c - threads allocate much, free most of it, and stay idle, or exit;
 * then another thread needs that memory for blocks of other sizes
 * (cpython#145615: pages full of free blocks that nobody could use).
 *   Owner   the process.
 *   Locks   none; barriers.
 * What stays alive is each thread's last blocks, in one piece: what is around
 * them is wholly free.
 */
#include <pthread.h>
#include <stdbool.h>

#include "stress/scenarios/failure.h"
#include "stress/scenarios/heap.h"

#define THREADS 8
#define KEPT_OF 20      /* one of so many blocks stays alive */
#define FIRST_SIZES 16  /* blocks of 16, 32 ... 256 bytes */
#define SECOND_SIZE 400 /* another class */
#define MEAN 136

struct leftovers {
    size_t count;              /* of each thread */
    bool exit;                 /* before the second half */
    pthread_barrier_t barrier; /* of the threads and the main one; only if they stay */
};

struct owner {
    struct leftovers *leftovers;
    void **blocks; /* those that stay alive are the last ones */
    pthread_t thread;
};

static size_t size_of(size_t number) { return (number / 64 % FIRST_SIZES + 1) * 16; }

static void fill_and_free(struct owner *owner) {
    size_t count = owner->leftovers->count, kept = count / KEPT_OF;
    for (size_t i = 0; i < count; i++) {
        if (owner->blocks[i] == NULL) owner->blocks[i] = heap_malloc(size_of(i));
        if (i % 64 == 0) heap_safepoint();
    }
    for (size_t i = 0; i < count - kept; i++) {
        heap_free(owner->blocks[i], size_of(i));
        owner->blocks[i] = NULL;
        if (i % 64 == 0) heap_safepoint();
    }
}

static void *own(void *argument) {
    struct owner *owner = argument;
    heap_begin();
    fill_and_free(owner);
    if (!owner->leftovers->exit) {
        heap_pause();
        pthread_barrier_wait(&owner->leftovers->barrier); /* it has freed */
        pthread_barrier_wait(&owner->leftovers->barrier); /* the other thread is done */
        heap_resume();
    }
    heap_end();
    return NULL;
}

/* As much again as was freed, of another size. */
static void use_again(size_t bytes) {
    void *newest = NULL;
    heap_begin();
    for (size_t i = 0; i < bytes / SECOND_SIZE; i++) {
        void **block = heap_malloc(SECOND_SIZE);
        *block = newest;
        newest = block;
    }
    while (newest != NULL) {
        void *block = newest;
        newest = *(void **)block;
        heap_free(block, SECOND_SIZE);
    }
    heap_end();
}

static void one_turn(struct leftovers *leftovers, struct owner *owners, size_t bytes) {
    for (int i = 0; i < THREADS; i++) pthread_create(&owners[i].thread, NULL, own, &owners[i]);
    if (leftovers->exit) {
        for (int i = 0; i < THREADS; i++) pthread_join(owners[i].thread, NULL);
    } else {
        pthread_barrier_wait(&leftovers->barrier);
    }
    use_again(bytes);
    if (!leftovers->exit) {
        pthread_barrier_wait(&leftovers->barrier);
        for (int i = 0; i < THREADS; i++) pthread_join(owners[i].thread, NULL);
    }
}

static void run_leftovers(const struct failure_size *size, bool exit) {
    struct leftovers leftovers = {.count = size->live / THREADS / MEAN + KEPT_OF, .exit = exit};
    struct owner owners[THREADS];
    pthread_barrier_init(&leftovers.barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        owners[i] = (struct owner){.leftovers = &leftovers, .blocks = heap_table(leftovers.count)};
    }
    for (unsigned turn = 0; turn < (size->turns + 3) / 4; turn++) {
        one_turn(&leftovers, owners, size->live / KEPT_OF * (KEPT_OF - 1));
    }
    heap_begin();
    for (int i = 0; i < THREADS; i++) {
        for (size_t at = 0; at < leftovers.count; at++) {
            if (owners[i].blocks[at] != NULL) heap_free(owners[i].blocks[at], size_of(at));
        }
        heap_table_free(owners[i].blocks, leftovers.count);
    }
    heap_end();
    pthread_barrier_destroy(&leftovers.barrier);
}

static void run_idle(const struct failure_size *size) { run_leftovers(size, false); }
static void run_exited(const struct failure_size *size) { run_leftovers(size, true); }

static void describe(const struct failure_size *size, struct bound_case *bound) {
    (void)size;
    *bound = (struct bound_case){.threads = THREADS + 1, .small = true};
}

const struct failure failure_idle = {
    .name = "idle",
    .what = "threads free most and stay idle; another needs the memory",
    .where = "cpython#145615",
    .run = run_idle,
    .describe = describe,
};

const struct failure failure_exited = {
    .name = "exited",
    .what = "threads free most and exit; another needs the memory",
    .where = "cpython#145615",
    .run = run_exited,
    .describe = describe,
};
