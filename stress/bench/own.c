/* SPDX-License-Identifier: MIT */
/*
 * own.c - what gilloc alone has: deferred frees, safepoints, the stopped world.
 *   Owner   each worker its blocks and counts.
 *   Locks   none but gilloc's.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/histogram.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

#define BUSY_UNITS 5000 /* some 10 us */

/* The library's function of that name into `*target`. */
static void find(void *target, const char *name) {
    void *function = dlsym(allocator.handle, name);
    if (function == NULL) meter_fault("the library has no %s", name);
    memcpy(target, &function, sizeof function);
}

/* A thread that is attached and reaches safepoints until `*stop`. */
static void reach_safepoints(_Atomic int *stop) {
    uint64_t value = 1;
    while (!atomic_load_explicit(stop, memory_order_relaxed)) { /* only ends the loop */
        value = team_busy(value, BUSY_UNITS);
        allocator.safepoint();
    }
    __asm__ volatile("" : : "r"(value));
}

/* --- statistics ------------------------------------------------------------------------------- */

#define STATISTICS 128 /* words, more than there are; the first one says how many bytes */

static void *read_statistics(void *often) {
    void (*get_stats)(void *stats);
    find(&get_stats, "gilloc_get_stats");
    for (;;) {
        uint64_t stats[STATISTICS] = {sizeof stats};
        get_stats(stats);
        meter_sleep_ns(1000000000 / *(const unsigned *)often);
    }
    return NULL;
}

void own_read_statistics(unsigned often) {
    static unsigned constant;
    pthread_t thread;
    constant = often > 0 ? often : 1;
    if (pthread_create(&thread, NULL, read_statistics, &constant) != 0) meter_fault("no thread");
}

/* --- retire ----------------------------------------------------------------------------------- */

#define RETIRE_BATCH 1000

struct retiring {
    uint64_t batches;
    void (*retire)(int domain, void *block);
    _Atomic int stop;
    double ns[2]; /* of a block: freed, retired */
};

static double batches(const struct retiring *job, bool retire, uint64_t count) {
    void *blocks[RETIRE_BATCH];
    size_t size = 0;
    uint64_t begin = meter_thread_ns();
    for (uint64_t i = 0; i < count; i++) {
        for (size_t k = 0; k < RETIRE_BATCH; k++) blocks[k] = object_new(sizes_mixed[size++ % SIZES], k);
        for (size_t k = 0; k < RETIRE_BATCH; k++) {
            if (retire) job->retire(DOMAIN_OBJECT, blocks[k]);
            if (!retire) object_free(blocks[k]);
        }
        allocator.safepoint();
    }
    return (double)(meter_thread_ns() - begin) / ((double)count * RETIRE_BATCH);
}

static void work_retire(struct worker *worker) {
    struct retiring *job = worker->job;
    worker_meet(worker);
    if (worker->index != 0) {
        reach_safepoints(&job->stop);
        return;
    }
    for (int retire = 0; retire < 2; retire++) {
        batches(job, retire, job->batches / 8 + 1);
        job->ns[retire] = batches(job, retire, job->batches);
    }
    atomic_store_explicit(&job->stop, 1, memory_order_relaxed);
}

void body_retire(const struct plan *plan) {
    static struct team team;
    static struct retiring job;
    find(&job.retire, "gilloc_retire");
    job.batches = plan_operations(plan, 3000);
    team_run(&team, plan->threads, true, work_retire, &job);
    meter_figure(0, job.ns[1] - job.ns[0]);
    meter_figure(1, job.ns[1]);
    meter_figure(2, job.ns[0]);
}

/* --- a safepoint ------------------------------------------------------------------------------ */

void body_safepoint(const struct plan *plan) {
    uint64_t count = plan_operations(plan, 50000000), begin = 0;
    for (uint64_t i = 0; i < count + count / 8; i++) {
        if (i == count / 8) begin = meter_thread_ns();
        allocator.safepoint();
    }
    meter_figure(0, (double)(meter_thread_ns() - begin) / (double)count);
}

/* --- the stopped world ------------------------------------------------------------------------ */

#define BETWEEN_STOPS_NS 100000

struct stopping {
    uint64_t count;
    void (*stop_the_world)(void);
    void (*start_the_world)(void);
    _Atomic int stop;
    struct histogram waits; /* ns; the stopper's */
};

static void work_stop(struct worker *worker) {
    struct stopping *job = worker->job;
    worker_meet(worker);
    if (worker->index != 0) {
        reach_safepoints(&job->stop);
        return;
    }
    for (uint64_t i = 0; i < job->count; i++) {
        thread_detach();
        meter_sleep_ns(BETWEEN_STOPS_NS);
        thread_attach();
        uint64_t begin = meter_wall_ns();
        job->stop_the_world();
        histogram_add(&job->waits, meter_wall_ns() - begin);
        job->start_the_world();
    }
    atomic_store_explicit(&job->stop, 1, memory_order_relaxed);
}

void body_stop(const struct plan *plan) {
    static struct team team;
    static struct stopping job;
    find(&job.stop_the_world, "gilloc_stop_the_world");
    find(&job.start_the_world, "gilloc_start_the_world");
    job.count = plan_operations(plan, 1000);
    team_run(&team, plan->threads, false, work_stop, &job);
    static const double shares[] = {0.99, 0.5, 0.999};
    for (unsigned i = 0; i < 3; i++) meter_figure(i, histogram_quantile(&job.waits, shares[i]) / 1000);
    meter_figure(3, (double)job.waits.worst / 1000);
}
