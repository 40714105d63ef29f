/* SPDX-License-Identifier: MIT */
/*
 * team.c - the threads of a workload.
 *   Owner   the main thread starts and joins them; a worker its clock.
 *   Locks   the barrier's, detached.
 */
#define _GNU_SOURCE /* pthread_setaffinity_np() */

#include "stress/bench/team.h"

#include <sched.h>
#include <string.h>

#include "stress/bench/allocator.h"
#include "stress/bench/meter.h"

static __thread void *detached_state;

void thread_detach(void) {
    if (allocator.save != NULL) detached_state = allocator.save();
}

void thread_attach(void) {
    if (allocator.restore != NULL) allocator.restore(detached_state);
}

int thread_begin(void) { return allocator.ensure != NULL ? allocator.ensure() : 0; }

void thread_end(int state) {
    if (allocator.release != NULL) allocator.release(state);
}

/* --- one worker ------------------------------------------------------------------------------- */

void worker_meet(struct worker *worker) {
    if (worker->team->count == 1) return;
    thread_detach();
    pthread_barrier_wait(&worker->team->barrier);
    thread_attach();
}

void worker_resume(struct worker *worker) { worker->begun = meter_thread_ns(); }
void worker_pause(struct worker *worker) { worker->cpu_ns += meter_thread_ns() - worker->begun; }

void worker_begin(struct worker *worker) {
    worker_meet(worker);
    if (worker->wall_begin == 0) worker->wall_begin = meter_wall_ns();
    worker_resume(worker);
}

void worker_end(struct worker *worker) {
    worker_pause(worker);
    worker->wall_end = meter_wall_ns();
}

static void pin(unsigned index) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    unsigned wanted = index % (unsigned)CPU_COUNT(&allowed);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && wanted-- == 0) CPU_SET(cpu, &one);
    }
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

static void *run(void *argument) {
    struct worker *worker = argument;
    if (worker->team->pinned) pin(worker->index);
    int state = thread_begin();
    worker->team->body(worker);
    thread_end(state);
    return NULL;
}

/* --- all of them ------------------------------------------------------------------------------ */

void team_run(struct team *team, unsigned count, bool pinned, void (*body)(struct worker *), void *job) {
    *team = (struct team){.count = count, .pinned = pinned, .body = body};
    if (count > TEAM_MAX) meter_fault("%u threads, and at most %d can be had", count, TEAM_MAX);
    for (unsigned i = 0; i < count; i++) team->workers[i] = (struct worker){.team = team, .index = i, .job = job};
    if (count == 1) {
        body(&team->workers[0]);
        return;
    }
    pthread_barrier_init(&team->barrier, NULL, count);
    thread_detach();
    for (unsigned i = 0; i < count; i++) {
        int error = pthread_create(&team->workers[i].thread, NULL, run, &team->workers[i]);
        if (error != 0) meter_fault("cannot start a thread: %s", strerror(error));
    }
    for (unsigned i = 0; i < count; i++) pthread_join(team->workers[i].thread, NULL);
    thread_attach();
    pthread_barrier_destroy(&team->barrier);
}

double team_cpu_ns(const struct team *team) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < team->count; i++) sum += team->workers[i].cpu_ns;
    return (double)sum;
}

double team_wall_ns(const struct team *team) {
    uint64_t begin = UINT64_MAX, end = 0;
    for (unsigned i = 0; i < team->count; i++) {
        const struct worker *worker = &team->workers[i];
        if (worker->wall_begin < begin) begin = worker->wall_begin;
        if (worker->wall_end > end) end = worker->wall_end;
    }
    return (double)(end - begin);
}
