/* SPDX-License-Identifier: MIT */
/*
 * moved.c - one live set goes round the threads: each, in its turn, frees the
 * blocks that the one before it allocated, and allocates others in their place
 * (mimalloc 3: 6.3 times what is alive).
 *   Owner   the thread whose turn it is.
 *   Locks   `lock` guards whose turn it is; nothing is allocated under it.
 */
#include <pthread.h>
#include <stdbool.h>

#include "stress/pattern.h"
#include "stress/scenarios/failure.h"
#include "stress/scenarios/heap.h"

#define THREADS 8
#define MEAN 264 /* bytes of a block: 16 to 512 */

struct set {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned turn, turns; /* guarded by lock; constant */
    size_t count;         /* constant */
    void **at;            /* of the thread whose turn it is */
};

struct member {
    struct set *set;
    unsigned number;
    pthread_t thread;
};

static size_t size_of(size_t place, unsigned turn) { return 16 + pattern_mix(place * 4096 + turn) % 497; }

static void replace(struct set *set, unsigned turn) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->at[i] != NULL) heap_free(set->at[i], size_of(i, turn - 1));
        set->at[i] = turn + 1 < set->turns ? heap_malloc(size_of(i, turn)) : NULL;
        if (i % 64 == 0) heap_safepoint();
    }
}

/* False: there are no more turns. */
static bool wait_for_turn(struct member *member) {
    struct set *set = member->set;
    heap_pause();
    pthread_mutex_lock(&set->lock);
    while (set->turn < set->turns && set->turn % THREADS != member->number) {
        pthread_cond_wait(&set->changed, &set->lock);
    }
    bool more = set->turn < set->turns;
    pthread_mutex_unlock(&set->lock);
    heap_resume();
    return more;
}

static void *work(void *argument) {
    struct member *member = argument;
    struct set *set = member->set;
    heap_begin();
    while (wait_for_turn(member)) {
        replace(set, set->turn);
        pthread_mutex_lock(&set->lock);
        set->turn++;
        pthread_cond_broadcast(&set->changed);
        pthread_mutex_unlock(&set->lock);
    }
    heap_end();
    return NULL;
}

static void run(const struct failure_size *size) {
    struct set set = {.turns = size->turns + 2, .count = size->live / MEAN + 1};
    struct member members[THREADS];
    set.at = heap_table(set.count);
    pthread_mutex_init(&set.lock, NULL);
    pthread_cond_init(&set.changed, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        members[i] = (struct member){.set = &set, .number = i};
        pthread_create(&members[i].thread, NULL, work, &members[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(members[i].thread, NULL);
    heap_table_free(set.at, set.count);
}

static void describe(const struct failure_size *size, struct bound_case *bound) {
    (void)size;
    *bound = (struct bound_case){.threads = THREADS, .small = true};
}

const struct failure failure_moved = {
    .name = "moved",
    .what = "one live set goes round: the next thread frees and replaces",
    .where = "mimalloc 3",
    .run = run,
    .describe = describe,
};
