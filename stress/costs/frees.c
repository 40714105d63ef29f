/* SPDX-License-Identifier: MIT */
/*
 * frees.c - costs: a retired block against a freed one, the same blocks in the
 * same order; a visited block.
 *   Owner   the process's main thread.  Locks: none.
 * The time of a retired block is that of gilloc_retire(), of the safepoints at
 * which grace periods are waited for and blocks are freed, and of the rest that
 * gilloc_reclaim() frees at the end.
 */
#include <stdlib.h>

#include "stress/costs/cost.h"
#include "stress/measure.h"
#include "stress/pattern.h"

#define BLOCKS 20000 /* of a round */
#define SAFEPOINT_EVERY 64
#define VISITED 500000

static void allocate(void **blocks, size_t count, bool mixed) {
    for (size_t i = 0; i < count; i++) {
        size_t size = mixed ? 16 + pattern_mix(i) % 497 : 64;
        blocks[i] = PyObject_Malloc(size);
        if (blocks[i] == NULL) abort();
        *(volatile char *)blocks[i] = 1;
    }
}

static double ns_of_free(void **blocks) {
    uint64_t begin = measure_ns(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < BLOCKS; i++) {
        PyObject_Free(blocks[i]);
        if (i % SAFEPOINT_EVERY == 0) gilloc_safepoint();
    }
    gilloc_safepoint();
    return (double)(measure_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / BLOCKS;
}

static double ns_of_retire(void **blocks) {
    uint64_t begin = measure_ns(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < BLOCKS; i++) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, blocks[i]);
        if (i % SAFEPOINT_EVERY == 0) gilloc_safepoint();
    }
    gilloc_reclaim();
    return (double)(measure_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / BLOCKS;
}

/* One round each in turn, so that both meet the same moments of the machine. */
static void compare(struct cost_job *job, bool mixed) {
    static void *blocks[BLOCKS];
    struct sample freed = {0}, retired = {0}, more = {0};
    for (unsigned i = 0; i < job->rounds; i++) {
        allocate(blocks, BLOCKS, mixed);
        double plain = ns_of_free(blocks);
        allocate(blocks, BLOCKS, mixed);
        double deferred = ns_of_retire(blocks);
        sample_add(&freed, plain);
        sample_add(&retired, deferred);
        sample_add(&more, deferred - plain);
    }
    cost_row(job, mixed ? "free, 16 to 512 bytes" : "free, 64 bytes", "ns", &freed);
    cost_row(job, mixed ? "retire, 16 to 512 bytes" : "retire, 64 bytes", "ns", &retired);
    cost_row(job, "what retire costs more", "ns", &more);
}

static void run_retire(struct cost_job *job) {
    PyGILState_STATE state = PyGILState_Ensure();
    compare(job, false);
    compare(job, true);
    PyGILState_Release(state);
}

static int count_one(void *block, size_t size, void *count) {
    (void)block;
    (void)size;
    ++*(size_t *)count;
    return 0;
}

static void visit(struct cost_job *job, const char *what) {
    struct sample visits = {0};
    for (unsigned i = 0; i < job->rounds; i++) {
        size_t count = 0;
        uint64_t begin = measure_ns(CLOCK_THREAD_CPUTIME_ID);
        gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, count_one, &count);
        sample_add(&visits, (double)(measure_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)(count > 0 ? count : 1));
    }
    cost_row(job, what, "ns", &visits);
}

static void run_visit(struct cost_job *job) {
    void **blocks = calloc(VISITED, sizeof *blocks);
    if (blocks == NULL) abort();
    PyGILState_STATE state = PyGILState_Ensure();
    allocate(blocks, VISITED, true);
    visit(job, "a visited block, full pools");
    for (size_t i = 0; i < VISITED; i += 2) {
        PyObject_Free(blocks[i]);
        blocks[i] = NULL;
    }
    visit(job, "a visited block, half of each free");
    for (size_t i = 0; i < VISITED; i++) PyObject_Free(blocks[i]);
    PyGILState_Release(state);
    free(blocks);
}

const struct cost cost_retire = {
    .name = "retire",
    .what = "a retired block against a freed one",
    .gil = true,
    .free = true,
    .threads = {1},
    .run = run_retire,
};

const struct cost cost_visit = {
    .name = "visit",
    .what = "a visited block, of 500,000 and of 250,000",
    .gil = true,
    .free = true,
    .threads = {1},
    .run = run_visit,
};
