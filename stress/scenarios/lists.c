/* SPDX-License-Identifier: MIT */
/*
 * lists.c - large lists are replaced while threads read them, so their frees are
 * deferred (cpython#132519: 135 MB became 6.7 GB); and the same by threads that
 * live briefly (cpython#130794, #145615).
 *   Owner   the process.
 *   Locks   none; a list is published by an exchange (acq_rel), found by an
 *           acquire.
 */
#include <pthread.h>
#include <stdlib.h>

#include "stress/pattern.h"
#include "stress/scenarios/failure.h"
#include "stress/scenarios/heap.h"

#define LISTS 16 /* of 8 MB each where 128 are alive */
#define READERS 2
#define UPDATERS 2
#define PAGE 4096

struct lists {
    size_t size;
    unsigned replacements; /* of each updater */
    bool brief;            /* an updater for each replacement */
    void *at[LISTS];       /* atomic */
    uint32_t stop;         /* atomic, relaxed: it publishes nothing */
};

struct updater {
    struct lists *lists;
    unsigned number;
    unsigned count, done; /* replacements to be made, and made before */
    pthread_t thread;
};

/* --- threads ---------------------------------------------------------------------------------- */

static void *read_lists(void *argument) {
    struct lists *lists = argument;
    uint64_t turn = 0;
    heap_begin();
    while (__atomic_load_n(&lists->stop, __ATOMIC_RELAXED) == 0) {
        const unsigned char *list = __atomic_load_n(&lists->at[pattern_mix(turn++) % LISTS], __ATOMIC_ACQUIRE);
        for (size_t offset = 0; offset < lists->size; offset += PAGE) {
            if (list[offset] != 1) abort(); /* freed under a reader */
        }
        heap_safepoint();
    }
    heap_end();
    return NULL;
}

static void *update(void *argument) {
    struct updater *updater = argument;
    struct lists *lists = updater->lists;
    heap_begin();
    for (unsigned i = 0; i < updater->count; i++) {
        void **place = &lists->at[pattern_mix(updater->done + i + updater->number * 65536) % LISTS];
        void *old = __atomic_exchange_n(place, heap_malloc(lists->size), __ATOMIC_ACQ_REL);
        heap_retire(old, lists->size);
        if (!lists->brief) heap_safepoint();
    }
    heap_end();
    return NULL;
}

/* A place in which one brief updater after another lives. */
static void *update_by_brief_threads(void *argument) {
    struct updater *place = argument;
    for (unsigned done = 0; done < place->lists->replacements; done++) {
        struct updater brief = {.lists = place->lists, .number = place->number, .count = 1, .done = done};
        pthread_create(&brief.thread, NULL, update, &brief);
        pthread_join(brief.thread, NULL);
    }
    return NULL;
}

/* --- both failures ---------------------------------------------------------------------------- */

static void run_lists(const struct failure_size *size, bool brief) {
    struct lists lists = {.size = size->live / LISTS, .replacements = size->turns * LISTS / UPDATERS, .brief = brief};
    struct updater updaters[UPDATERS];
    pthread_t readers[READERS];
    heap_begin();
    for (int i = 0; i < LISTS; i++) lists.at[i] = heap_malloc(lists.size);
    heap_pause();
    for (int i = 0; i < READERS; i++) pthread_create(&readers[i], NULL, read_lists, &lists);
    for (unsigned i = 0; i < UPDATERS; i++) {
        updaters[i] = (struct updater){.lists = &lists, .number = i, .count = lists.replacements};
        pthread_create(&updaters[i].thread, NULL, brief ? update_by_brief_threads : update, &updaters[i]);
    }
    for (int i = 0; i < UPDATERS; i++) pthread_join(updaters[i].thread, NULL);
    __atomic_store_n(&lists.stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    heap_resume();
    for (int i = 0; i < LISTS; i++) heap_free(lists.at[i], lists.size);
    heap_end();
}

static void run(const struct failure_size *size) { run_lists(size, false); }
static void run_brief(const struct failure_size *size) { run_lists(size, true); }

static void describe(const struct failure_size *size, struct bound_case *bound) {
    *bound = (struct bound_case){.threads = UPDATERS, .retired = size->live / LISTS};
}

const struct failure failure_lists = {
    .name = "lists",
    .what = "large lists are replaced while others read them",
    .where = "cpython#132519",
    .defers = true,
    .run = run,
    .describe = describe,
};

const struct failure failure_brief = {
    .name = "brief",
    .what = "the same, each replaced by a thread that ends at once",
    .where = "cpython#130794",
    .defers = true,
    .run = run_brief,
    .describe = describe,
};
