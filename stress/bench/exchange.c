/* SPDX-License-Identifier: MIT */
/*
 * exchange.c - blocks that one thread makes and another one frees.
 *   Owner   a block whoever has it; rings and queues say how it changes hands.
 *   Locks   those of team.h and of the queue, detached.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

enum { MAKER, FREER };

/* --- hand-off: in turns ----------------------------------------------------------------------- */

#define HAND_OFF 10000

struct hand_off {
    uint64_t turns;
    void *blocks[HAND_OFF];
};

static void work_hand_off(struct worker *worker) {
    struct hand_off *job = worker->job;
    size_t size = 0;
    uint64_t warm = job->turns / 8 + 1;
    for (uint64_t turn = 0; turn < warm + job->turns; turn++) {
        for (unsigned who = MAKER; who <= FREER; who++) {
            worker_meet(worker);
            if (worker->index != who) continue;
            worker_resume(worker);
            for (size_t i = 0; i < HAND_OFF; i++) {
                if (who == MAKER) job->blocks[i] = object_new(sizes_mixed[size++ % SIZES], i);
                if (who == FREER) object_free(job->blocks[i]);
            }
            worker_pause(worker);
            if (turn < warm) worker->cpu_ns = 0;
        }
        safepoint_at(0);
    }
}

void body_hand_off(const struct plan *plan) {
    static struct team team;
    static struct hand_off job;
    job.turns = plan_operations(plan, 200);
    team_run(&team, plan->threads, true, work_hand_off, &job);
    meter_figure(0, team_cpu_ns(&team) / (double)(job.turns * HAND_OFF));
}

/* --- a ring ----------------------------------------------------------------------------------- */

#define RING 4096
#define RING_TELL 64 /* blocks; so often each side tells the other how far it is */

/* One side's place: how many blocks have gone through it. */
struct place {
    _Alignas(128) _Atomic uint64_t count; /* order: release; the other side acquires.  seq_cst beside `waits`, so
                                             that a side either sees that the other waits, or is seen by it */
    _Atomic int waits;                    /* for the other side's count; seq_cst */
};

struct ring {
    struct place places[2];
    uint64_t total;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *slots[RING];
};

static void tell_count(struct ring *ring, unsigned side, uint64_t count) {
    atomic_store(&ring->places[side].count, count);
    if (!atomic_load(&ring->places[!side].waits)) return;
    pthread_mutex_lock(&ring->lock);
    pthread_cond_broadcast(&ring->changed);
    pthread_mutex_unlock(&ring->lock);
}

/* Blocks in the ring, as the other side has told it. */
static uint64_t ring_level(struct ring *ring, unsigned side, uint64_t count) {
    uint64_t other = atomic_load(&ring->places[!side].count);
    return side == MAKER ? count - other : other - count;
}

/* Sleeps until the ring is half full, or all has been made: then the other side has told its last count. */
static void wait_for_half(struct ring *ring, unsigned side, uint64_t count) {
    tell_count(ring, side, count);
    thread_detach();
    pthread_mutex_lock(&ring->lock);
    atomic_store(&ring->places[side].waits, 1);
    for (;;) {
        uint64_t level = ring_level(ring, side, count);
        if (side == MAKER ? level <= RING / 2 : level >= RING / 2 || count + level == ring->total) break;
        pthread_cond_wait(&ring->changed, &ring->lock);
    }
    atomic_store(&ring->places[side].waits, 0);
    pthread_mutex_unlock(&ring->lock);
    thread_attach();
}

static void work_ring(struct worker *worker) {
    struct ring *ring = worker->job;
    unsigned side = worker->index;
    uint64_t sum = 0, sure = 0; /* steps that can be taken before the other side must be looked at */
    worker_begin(worker);
    for (uint64_t count = 0; count < ring->total; count++) {
        if (count == sure) {
            uint64_t level = ring_level(ring, side, count);
            if (side == MAKER ? level == RING : level == 0) {
                wait_for_half(ring, side, count);
                level = ring_level(ring, side, count);
            }
            sure = count + (side == MAKER ? RING - level : level);
        }
        void **slot = &ring->slots[count % RING];
        if (side == MAKER) {
            *slot = object_new(sizes_mixed[count % SIZES], count);
        } else {
            sum += *(uint64_t *)*slot; /* who consumes looks at it */
            object_free(*slot);
        }
        if (count % RING_TELL == RING_TELL - 1) tell_count(ring, side, count + 1);
        safepoint_at(count);
    }
    tell_count(ring, side, ring->total);
    worker_end(worker);
    __asm__ volatile("" : : "r"(sum));
}

void body_ring(const struct plan *plan) {
    static struct team team;
    static struct ring ring = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    ring.total = plan_operations(plan, 2000000);
    team_run(&team, plan->threads, true, work_ring, &ring);
    meter_figure(0, team_cpu_ns(&team) / (double)ring.total);
}

/* --- a queue of batches: xmalloc's way (Lever and Boreham) ------------------------------------ */

#define QUEUE_BATCH 256
#define QUEUE_BATCHES 16 /* at most, between maker and freer */

struct batch {
    struct batch *next;
    void *blocks[QUEUE_BATCH];
};

struct queue {
    uint64_t total; /* batches */
    const uint16_t *sizes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *full, **last; /* guarded by lock */
    struct batch *empty;        /* guarded by lock */
    struct batch batches[QUEUE_BATCHES];
};

static struct batch *take_batch(struct queue *queue, struct batch **from) {
    thread_detach();
    pthread_mutex_lock(&queue->lock);
    while (*from == NULL) pthread_cond_wait(&queue->changed, &queue->lock);
    struct batch *batch = *from;
    *from = batch->next;
    if (queue->full == NULL) queue->last = &queue->full;
    pthread_mutex_unlock(&queue->lock);
    thread_attach();
    return batch;
}

static void give_batch(struct queue *queue, struct batch *batch, bool full) {
    pthread_mutex_lock(&queue->lock);
    if (full) {
        batch->next = NULL;
        *queue->last = batch;
        queue->last = &batch->next;
    } else {
        batch->next = queue->empty;
        queue->empty = batch;
    }
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static void work_queue(struct worker *worker) {
    struct queue *queue = worker->job;
    bool maker = worker->index == MAKER;
    size_t size = 0;
    worker_begin(worker);
    for (uint64_t i = 0; i < queue->total; i++) {
        struct batch *batch = take_batch(queue, maker ? &queue->empty : &queue->full);
        for (size_t k = 0; k < QUEUE_BATCH; k++) {
            if (maker) batch->blocks[k] = object_new(queue->sizes[size++ % SIZES], k);
            if (!maker) object_free(batch->blocks[k]);
        }
        give_batch(queue, batch, maker);
    }
    worker_end(worker);
}

void body_queue(const struct plan *plan) {
    static struct team team;
    static struct queue queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    queue.last = &queue.full;
    queue.sizes = plan->argument ? sizes_steps : sizes_even;
    for (int i = 0; i < QUEUE_BATCHES; i++) give_batch(&queue, &queue.batches[i], false);
    queue.total = plan_operations(plan, 8000);
    team_run(&team, plan->threads, true, work_queue, &queue);
    meter_figure(0, team_cpu_ns(&team) / (double)(queue.total * QUEUE_BATCH));
}

/* --- lines of the cache that two threads write to (Berger's cache-scratch and cache-thrash) ---- */

#define LINE_WRITES 1000
#define LINE_BLOCK 8

struct lines {
    uint64_t count;
    void *first[TEAM_MAX]; /* made by one thread, or NULL */
};

static void write_often(void *block) {
    volatile uint64_t *at = block;
    for (int i = 0; i < LINE_WRITES; i++) *at = *at + 1;
}

static void work_lines(struct worker *worker) {
    const struct lines *job = worker->job;
    worker_begin(worker);
    for (uint64_t i = 0; i < job->count; i++) {
        void *block =
            i == 0 && job->first[worker->index] != NULL ? job->first[worker->index] : object_new(LINE_BLOCK, i);
        write_often(block);
        object_free(block);
        safepoint_at(i);
    }
    worker_end(worker);
}

void body_lines(const struct plan *plan) {
    static struct team team;
    struct lines job = {.count = plan_operations(plan, 50000)};
    for (unsigned i = 0; plan->argument && i < plan->threads; i++) job.first[i] = object_new(LINE_BLOCK, i);
    team_run(&team, plan->threads, true, work_lines, &job);
    meter_figure(0, team_cpu_ns(&team) / (double)(job.count * plan->threads));
}
