/* SPDX-License-Identifier: MIT */
/*
 * deferral.c - deferred frees for allocators that have none.
 *   Owner   each thread its queue.  Locks: `lock`; free() is called under none.
 */
#include "stress/scenarios/deferral.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BLOCKS 254 /* CPython's */
#define THREADS_MAX 128  /* at one time */

struct chunk {
    struct chunk *next;
    size_t first, count; /* the blocks from first on still wait */
    struct {
        void *block;
        uint64_t goal;
    } at[CHUNK_BLOCKS];
};

struct queue {
    struct chunk *oldest, *youngest;
};

struct member {
    _Alignas(64) uint64_t seen; /* atomic: the time of the last quiescent state; 0: offline */
    int used;                   /* guarded by lock */
    struct queue queue;         /* this thread only */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct member members[THREADS_MAX];
static struct queue left;     /* guarded by lock */
static uint64_t time_now = 1; /* atomic */
static __thread struct member *self;

static void *must(void *memory) {
    if (memory != NULL) return memory;
    fputs("no memory for deferred frees\n", stderr);
    abort();
}

/* --- grace periods ---------------------------------------------------------------------------- */

static uint64_t seen_by_all(void) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < THREADS_MAX; i++) {
        uint64_t seen = __atomic_load_n(&members[i].seen, __ATOMIC_SEQ_CST);
        if (seen != 0 && seen < least) least = seen;
    }
    return least;
}

void deferral_quiescent(void) {
    __atomic_store_n(&self->seen, __atomic_load_n(&time_now, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

void deferral_offline(void) { __atomic_store_n(&self->seen, 0, __ATOMIC_SEQ_CST); }

void deferral_online(void) { deferral_quiescent(); }

/* --- queues ----------------------------------------------------------------------------------- */

static void append(struct queue *queue, struct chunk *oldest, struct chunk *youngest) {
    if (queue->youngest != NULL) queue->youngest->next = oldest;
    if (queue->youngest == NULL) queue->oldest = oldest;
    queue->youngest = youngest;
}

/* Frees the oldest blocks whose time has come. */
static void look_through(struct queue *queue, uint64_t reached) {
    while (queue->oldest != NULL) {
        struct chunk *chunk = queue->oldest;
        while (chunk->first < chunk->count && chunk->at[chunk->first].goal <= reached) {
            free(chunk->at[chunk->first++].block);
        }
        if (chunk->first < chunk->count) return;
        queue->oldest = chunk->next;
        if (queue->oldest == NULL) queue->youngest = NULL;
        free(chunk);
    }
}

static struct queue take_left(void) {
    pthread_mutex_lock(&lock);
    struct queue queue = left;
    left = (struct queue){0};
    pthread_mutex_unlock(&lock);
    return queue;
}

static void leave(struct queue *queue) {
    if (queue->oldest == NULL) return;
    pthread_mutex_lock(&lock);
    append(&left, queue->oldest, queue->youngest);
    pthread_mutex_unlock(&lock);
    *queue = (struct queue){0};
}

void deferral_retire(void *block) {
    struct queue *queue = &self->queue;
    if (queue->youngest == NULL || queue->youngest->count == CHUNK_BLOCKS) {
        struct queue others = take_left();
        look_through(&others, seen_by_all());
        leave(&others);
        look_through(queue, seen_by_all());
        struct chunk *chunk = must(calloc(1, sizeof *chunk));
        append(queue, chunk, chunk);
    }
    struct chunk *chunk = queue->youngest;
    chunk->at[chunk->count].block = block;
    chunk->at[chunk->count++].goal = __atomic_add_fetch(&time_now, 1, __ATOMIC_SEQ_CST);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void deferral_begin(void) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < THREADS_MAX && self == NULL; i++) {
        if (members[i].used == 0) self = &members[i];
    }
    if (self != NULL) self->used = 1;
    pthread_mutex_unlock(&lock);
    must(self);
    deferral_online();
}

void deferral_end(void) {
    deferral_offline();
    leave(&self->queue);
    pthread_mutex_lock(&lock);
    self->used = 0;
    pthread_mutex_unlock(&lock);
    self = NULL;
}

void deferral_flush(void) {
    struct queue queue = take_left();
    look_through(&queue, UINT64_MAX);
}
