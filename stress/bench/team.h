/* SPDX-License-Identifier: MIT */
/*
 * team.h - the threads of a workload: attached while they work, detached while
 * they wait, and timed by their own processor time.
 *   Owner   the main thread starts and joins them; a worker its clock.
 *   Locks   the barrier's, detached.
 */
#ifndef STRESS_BENCH_TEAM_H
#define STRESS_BENCH_TEAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define TEAM_MAX 64

struct team;

struct worker {
    struct team *team;
    unsigned index;
    void *job;       /* the same for all */
    uint64_t cpu_ns; /* between worker_begin() and worker_end(), all such spans */
    uint64_t begun;  /* thread's clock */
    uint64_t wall_begin, wall_end;
    pthread_t thread;
};

struct team {
    unsigned count;
    bool pinned; /* worker i stays on the processor i, modulo those that there are */
    void (*body)(struct worker *worker);
    pthread_barrier_t barrier;
    struct worker workers[TEAM_MAX];
};

/* Runs `body` in `count` threads; one is the calling thread, which has no other then.  Until all have ended. */
void team_run(struct team *team, unsigned count, bool pinned, void (*body)(struct worker *), void *job);

/* Processor time of all workers' timed spans; and wall time from the first begin to the last end. */
double team_cpu_ns(const struct team *team);
double team_wall_ns(const struct team *team);

/* Waits, detached, until all workers are here. */
void worker_meet(struct worker *worker);
/* All meet, then each starts its clock. */
void worker_begin(struct worker *worker);
void worker_end(struct worker *worker);
/* The clock alone. */
void worker_resume(struct worker *worker);
void worker_pause(struct worker *worker);

/* Work without memory, some 2 ns a unit; the result makes the next one's argument. */
static inline uint64_t team_busy(uint64_t value, unsigned units) {
    for (unsigned i = 0; i < units; i++) value = value * 0x9e3779b97f4a7c15U + 1;
    return value;
}

/* Around whatever blocks, in an attached thread. */
void thread_detach(void);
void thread_attach(void);
/* The whole life of a thread that is not of a team. */
int thread_begin(void);
void thread_end(int state);

#endif /* STRESS_BENCH_TEAM_H */
