/* SPDX-License-Identifier: MIT */
/*
 * locks.c - attaching and detaching: gilloc's lock and CPython's.
 *   Owner   counts are their thread's until it has ended, or guarded by the lock
 *           that is measured.
 *   Locks   the one that is measured.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "stress/bench/allocator.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

/* --- nobody waits ----------------------------------------------------------------------------- */

void body_lock_pair(const struct plan *plan) {
    uint64_t count = plan_operations(plan, 5000000), begin = 0;
    for (uint64_t i = 0; i < count + count / 8; i++) {
        if (i == count / 8) begin = meter_thread_ns();
        allocator.restore(allocator.save());
    }
    meter_figure(0, (double)(meter_thread_ns() - begin) / (double)count);
}

static double ensures(uint64_t count) {
    uint64_t begin = 0;
    for (uint64_t i = 0; i < count + count / 8; i++) {
        if (i == count / 8) begin = meter_thread_ns();
        allocator.release(allocator.ensure());
    }
    return (double)(meter_thread_ns() - begin) / (double)count;
}

void body_lock_nested(const struct plan *plan) { meter_figure(0, ensures(plan_operations(plan, 10000000))); }

static void *ensures_of_a_stranger(void *argument) {
    meter_figure(0, ensures(plan_operations(argument, 1000000)));
    return NULL;
}

void body_lock_new(const struct plan *plan) {
    pthread_t thread;
    struct plan copy = *plan;
    thread_detach();
    if (pthread_create(&thread, NULL, ensures_of_a_stranger, &copy) != 0) meter_fault("cannot start a thread");
    pthread_join(thread, NULL);
    thread_attach();
}

/* --- two threads ------------------------------------------------------------------------------ */

#define CONTEND_NS 300000000

struct contest {
    uint64_t ns;
    /* Each thread's own, a line apart; in GIL-free mode there is no lock to guard common ones. */
    struct {
        _Alignas(128) uint64_t takes, turns;
    } of[2];
    _Atomic unsigned holder; /* relaxed: the lock orders it where there is one */
};

static void work_contend(struct worker *worker) {
    struct contest *contest = worker->job;
    worker_begin(worker);
    uint64_t end = meter_wall_ns() + contest->ns;
    do {
        for (int i = 0; i < 100; i++) {
            thread_detach();
            thread_attach();
            contest->of[worker->index].takes++;
            if (atomic_load_explicit(&contest->holder, memory_order_relaxed) != worker->index) {
                atomic_store_explicit(&contest->holder, worker->index, memory_order_relaxed);
                contest->of[worker->index].turns++;
            }
        }
    } while (meter_wall_ns() < end);
    worker_end(worker);
}

void body_lock_contend(const struct plan *plan) {
    static struct team team;
    static struct contest contest;
    contest.ns = plan_ns(plan, CONTEND_NS);
    team_run(&team, 2, true, work_contend, &contest);
    double us = team_wall_ns(&team) / 1000;
    meter_figure(0, (double)(contest.of[0].takes + contest.of[1].takes) / us);
    meter_figure(1, (double)(contest.of[0].turns + contest.of[1].turns) / us * 1000);
}

/* --- an I/O thread beside busy ones ----------------------------------------------------------- */

#define ALONE_NS 200000000
#define BESIDE_NS 500000000
#define SLEEP_NS 100000
#define WORK_UNITS 1000 /* some 2 us, between two safepoints */

struct io {
    uint64_t ns;
    _Atomic int stop; /* relaxed: only ends loops; joining orders the rest */
    uint64_t wakes, waited, worst;
    uint64_t done[TEAM_MAX]; /* safepoints of each busy thread */
};

static void work_io(struct worker *worker) {
    struct io *io = worker->job;
    unsigned busy = worker->team->count - 1;
    worker_meet(worker);
    if (worker->index < busy) {
        uint64_t value = worker->index, done = 0;
        do { /* once at least, however late it comes to its turn: others are measured by it */
            value = team_busy(value, WORK_UNITS);
            done++;
            allocator.safepoint();
        } while (!atomic_load_explicit(&io->stop, memory_order_relaxed));
        io->done[worker->index] = done;
        __asm__ volatile("" : : "r"(value));
        return;
    }
    uint64_t end = meter_wall_ns() + io->ns;
    for (uint64_t now = 0; now < end;) {
        thread_detach();
        meter_sleep_ns(SLEEP_NS);
        uint64_t woken = meter_wall_ns();
        thread_attach();
        now = meter_wall_ns();
        io->wakes++;
        io->waited += now - woken;
        if (now - woken > io->worst) io->worst = now - woken;
    }
    atomic_store_explicit(&io->stop, 1, memory_order_relaxed);
}

/* The last worker only waits. */
static void work_alone(struct worker *worker) {
    struct io *io = worker->job;
    if (worker->index < worker->team->count - 1) {
        work_io(worker);
        return;
    }
    worker_meet(worker);
    thread_detach();
    meter_sleep_ns(io->ns);
    atomic_store_explicit(&io->stop, 1, memory_order_relaxed);
    thread_attach();
}

/* Safepoints of all busy threads in a nanosecond. */
static double busy_rate(const struct io *io, unsigned busy) {
    double done = 0;
    for (unsigned i = 0; i < busy; i++) done += (double)io->done[i];
    return done / (double)io->ns;
}

void body_lock_io(const struct plan *plan) {
    static struct team team;
    static struct io alone, beside;
    unsigned busy = (unsigned)plan->argument;
    alone.ns = plan_ns(plan, ALONE_NS);
    beside.ns = plan_ns(plan, BESIDE_NS);
    if (busy > 0) team_run(&team, busy + 1, false, work_alone, &alone);
    team_run(&team, busy + 1, false, work_io, &beside);
    double rate = busy_rate(&beside, busy);
    meter_figure(0, (double)beside.wakes * 1e9 / (double)beside.ns);
    meter_figure(1, busy > 0 ? 100 * rate / busy_rate(&alone, busy) : 100);
    meter_figure(2, rate * WORK_UNITS * 1000);
    meter_figure(3, (double)beside.waited / (double)beside.wakes / 1000);
    meter_figure(4, (double)beside.worst / 1000);
}
