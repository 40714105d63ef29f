/* SPDX-License-Identifier: MIT */
/*
 * trial.h - one scenario in a process of its own: its threads, when they stop,
 * what they counted, and what broke.
 *   Owner   the process; its main thread is detached while the threads run.
 *   Locks   trial.lock guards the threads' ends; fault.h's and report.h's,
 *           innermost.  Nothing of gilloc is called under any of them.
 */
#ifndef STRESS_TORTURE_TRIAL_H
#define STRESS_TORTURE_TRIAL_H

#include <gilloc/gilloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "stress/fault.h"
#include "stress/report.h"

enum {
    TRIAL_AGES = 11,     /* entries of a histogram; the last one counts all above */
    TRIAL_AGE_LIMIT = 2, /* an age that no reader may see */
    TRIAL_THREADS_MAX = 1024
};

struct trial;
struct scenario;

/* A thread of the scenario, from the start to the end of the trial. */
struct task {
    _Alignas(128) struct trial *trial;
    unsigned number;
    uint64_t random;           /* this thread only */
    uint64_t operations;       /* calls of the allocator; written by this thread only, atomic, relaxed: a count */
    uint64_t reads;            /* looks at blocks without a lock; the same */
    uint64_t ages[TRIAL_AGES]; /* the ages that were seen; the same */
    void *own;                 /* the scenario's, for this thread */
    pthread_t thread;
};

struct trial {
    const struct scenario *scenario;
    gilloc_mode mode;
    unsigned threads;
    double seconds;      /* if `operations` is 0 */
    uint64_t operations; /* or 0 */
    uint64_t lives;      /* threads that must at least have lived (where the scenario has short ones) */
    uint64_t seed;
    struct task *tasks;
    void *shared;    /* the scenario's */
    uint64_t lived;  /* short threads so far; atomic, relaxed: a count */
    uint32_t stop;   /* atomic, relaxed: it publishes nothing */
    uint32_t serial; /* of trial_serial(); atomic, relaxed: a count */
    struct faults faults;
    struct report report;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running; /* guarded by lock */
};

/* Runs `trial` (scenario to seed are set) and reports to `fd`; 0: nothing broke, else 1. */
int trial_run(struct trial *trial, int fd);

/* --- for the threads -------------------------------------------------------------------------- */

/* Shall the threads go on? */
static inline bool trial_goes_on(const struct trial *trial) {
    return __atomic_load_n(&trial->stop, __ATOMIC_RELAXED) == 0;
}

/* Something broke: it is told at once, and all threads stop. */
__attribute__((format(printf, 2, 3))) void trial_bug(struct trial *trial, const char *format, ...);

/* A number that no other call gives, above 0. */
static inline uint32_t trial_serial(struct trial *trial) {
    return __atomic_add_fetch(&trial->serial, 1, __ATOMIC_RELAXED);
}

/* --- for one thread --------------------------------------------------------------------------- */

/* Scatters the seed and the thread's number, and is never 0. */
void task_seed(struct task *task, uint64_t number);

static inline uint64_t task_random(struct task *task) {
    uint64_t x = task->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return task->random = x;
}

/* Below `limit`, which is below 2^32. */
static inline uint32_t task_below(struct task *task, uint32_t limit) {
    return (uint32_t)((task_random(task) >> 32) * limit >> 32);
}

/* One of `n` times. */
static inline bool task_once_in(struct task *task, uint32_t n) { return task_below(task, n) == 0; }

static inline void task_add(uint64_t *count, uint64_t n) {
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void task_worked(struct task *task, uint64_t operations) { task_add(&task->operations, operations); }

/* Books the age of a block that a reader has looked at; one past the limit is a bug. */
void task_saw(struct task *task, uint32_t age, uint64_t id);

/* A short pause: some turns of an empty loop, now and then the processor to somebody else. */
void task_linger(struct task *task);

#endif /* STRESS_TORTURE_TRIAL_H */
