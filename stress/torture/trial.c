/* SPDX-License-Identifier: MIT */
/*
 * trial.c - one scenario in a process of its own.
 *   Owner   the process; its main thread is detached while the threads run.
 *   Locks   trial.lock; fault.h's and report.h's, innermost.
 */
#include "stress/torture/trial.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stress/measure.h"
#include "stress/pattern.h"
#include "stress/stats.h"
#include "stress/torture/scenario.h"

#define LOOK_NS 50000000 /* between two looks at the counts and the clock */

/* --- what broke ------------------------------------------------------------------------------- */

static void told(void *argument, const char *fault) {
    struct trial *trial = argument;
    __atomic_store_n(&trial->stop, 1, __ATOMIC_RELAXED);
    report_fault(&trial->report, fault);
}

void trial_bug(struct trial *trial, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    faults_add(&trial->faults, "%s", text);
}

/* --- one thread ------------------------------------------------------------------------------- */

void task_seed(struct task *task, uint64_t number) {
    task->random = pattern_mix(task->trial->seed * 0x9e3779b97f4a7c15u + number + 1);
    if (task->random == 0) task->random = 1;
}

void task_saw(struct task *task, uint32_t age, uint64_t id) {
    task_add(&task->ages[age < TRIAL_AGES ? age : TRIAL_AGES - 1], 1);
    if (age < TRIAL_AGE_LIMIT) return;
    trial_bug(task->trial,
              "thread %u sees block 0x%" PRIx64 " at age %" PRIu32 ": it has survived %" PRIu32
              " grace periods since it was unlinked, and could have been freed",
              task->number, id, age, age - 1);
}

void task_linger(struct task *task) {
    uint32_t turns = task_below(task, 64);
    if (task_once_in(task, 256)) turns = 10000;
    for (uint32_t i = 0; i < turns; i++) __asm__ volatile("");
    if (task_once_in(task, 64)) sched_yield();
}

static void *task_main(void *argument) {
    struct task *task = argument;
    struct trial *trial = task->trial;
    trial->scenario->work(task);
    pthread_mutex_lock(&trial->lock);
    trial->running--;
    pthread_cond_signal(&trial->ended);
    pthread_mutex_unlock(&trial->lock);
    return NULL;
}

/* --- all threads ------------------------------------------------------------------------------ */

static uint64_t sum(const struct trial *trial, size_t offset) {
    uint64_t total = 0;
    for (unsigned i = 0; i < trial->threads; i++) {
        total += __atomic_load_n((const uint64_t *)((const char *)&trial->tasks[i] + offset), __ATOMIC_RELAXED);
    }
    return total;
}

#define SUM(trial, field) sum((trial), offsetof(struct task, field))

static bool is_enough(const struct trial *trial, double begin) {
    if (__atomic_load_n(&trial->lived, __ATOMIC_RELAXED) < trial->lives) return false;
    if (trial->operations != 0) return SUM(trial, operations) >= trial->operations;
    return measure_seconds(CLOCK_MONOTONIC) - begin >= trial->seconds;
}

static bool make_tasks(struct trial *trial) {
    trial->tasks = aligned_alloc(_Alignof(struct task), trial->threads * sizeof *trial->tasks);
    if (trial->tasks == NULL) {
        trial_bug(trial, "no memory for %u threads", trial->threads);
        return false;
    }
    for (unsigned i = 0; i < trial->threads; i++) {
        trial->tasks[i] = (struct task){.trial = trial, .number = i};
        task_seed(&trial->tasks[i], i);
    }
    return true;
}

/* Attached: a fork, which stops the world, does not find this thread within malloc() (forks.c says why). */
static void report_progress(struct trial *trial) {
    PyGILState_STATE state = PyGILState_Ensure();
    report_line(&trial->report, json_pack("{sI}", "progress", (json_int_t)SUM(trial, operations)));
    PyGILState_Release(state);
}

/* A first thread may look at what the last one has not made yet, so all of them exist before one runs. */
static void run_threads(struct trial *trial) {
    double begin = measure_seconds(CLOCK_MONOTONIC);
    unsigned started = 0;
    pthread_mutex_lock(&trial->lock);
    for (; started < trial->threads; started++) {
        int error = pthread_create(&trial->tasks[started].thread, NULL, task_main, &trial->tasks[started]);
        if (error != 0) {
            trial_bug(trial, "cannot start thread %u: %s", started, strerror(error));
            break;
        }
        trial->running++;
    }
    while (trial->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&trial->ended, &trial->lock, &until);
        pthread_mutex_unlock(&trial->lock);
        if (is_enough(trial, begin)) __atomic_store_n(&trial->stop, 1, __ATOMIC_RELAXED);
        report_progress(trial);
        pthread_mutex_lock(&trial->lock);
    }
    pthread_mutex_unlock(&trial->lock);
    for (unsigned i = 0; i < started; i++) pthread_join(trial->tasks[i].thread, NULL);
}

/* --- what is left ----------------------------------------------------------------------------- */

/* After the last free nothing may be alive or wait, and the heap must be sound. */
static void look_at_rest(struct trial *trial, json_t *result) {
    gilloc_reclaim();
    size_t blocks = gilloc_allocated_blocks();
    int check = gilloc_check();
    gilloc_stats stats = {.size = sizeof stats};
    gilloc_get_stats(&stats);
    if (faults_count(&trial->faults) == 0) { /* damaged blocks are left alone */
        if (blocks != 0) trial_bug(trial, "gilloc_allocated_blocks() is %zu after the last free", blocks);
        if (stats.retired_bytes != 0) {
            trial_bug(trial, "%" PRIu64 " retired bytes wait after gilloc_reclaim() of the last thread",
                      stats.retired_bytes);
        }
        if (stats.retired_lost != 0) trial_bug(trial, "%" PRIu64 " retired blocks are lost", stats.retired_lost);
    }
    if (check != 0) trial_bug(trial, "gilloc_check() found a broken invariant (see above)");
    json_object_set_new(result, "blocks_left", json_integer((json_int_t)blocks));
    json_object_set_new(result, "check", json_integer(check));
    gilloc_purge();
    json_object_set_new(result, "rss_left", json_integer(measure_resident()));
}

static json_t *result_of(struct trial *trial, double seconds) {
    json_t *ages = json_array(), *result = json_object();
    for (size_t age = 0; age < TRIAL_AGES; age++) {
        json_array_append_new(ages, json_integer((json_int_t)sum(trial, offsetof(struct task, ages) + age * 8)));
    }
    json_object_set_new(result, "operations", json_integer((json_int_t)SUM(trial, operations)));
    json_object_set_new(result, "reads", json_integer((json_int_t)SUM(trial, reads)));
    json_object_set_new(result, "ages", ages);
    json_object_set_new(result, "lives", json_integer((json_int_t)trial->lived));
    json_object_set_new(result, "seconds", json_real(seconds));
    json_object_set_new(result, "rss_peak", json_integer(measure_status("VmHWM")));
    return result;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void init(struct trial *trial, int fd) {
    pthread_condattr_t monotonic;
    report_init(&trial->report, fd);
    faults_init(&trial->faults, told, trial);
    pthread_mutex_init(&trial->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&trial->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void run(struct trial *trial) {
    PyGILState_STATE state = PyGILState_Ensure();
    if (trial->scenario->begin(trial)) {
        double begin = measure_seconds(CLOCK_MONOTONIC);
        Py_BEGIN_ALLOW_THREADS run_threads(trial);
        Py_END_ALLOW_THREADS json_t *result = result_of(trial, measure_seconds(CLOCK_MONOTONIC) - begin);
        trial->scenario->end(trial);
        look_at_rest(trial, result);
        json_object_set_new(result, "faults", json_integer((json_int_t)faults_count(&trial->faults)));
        json_object_set_new(result, "stats", stats_json());
        report_line(&trial->report, json_pack("{so}", "result", result));
    }
    PyGILState_Release(state);
}

int trial_run(struct trial *trial, int fd) {
    init(trial, fd);
    if (gilloc_set_mode(trial->mode) != 0) {
        trial_bug(trial, "gilloc_set_mode: %s", strerror(errno));
    } else if (make_tasks(trial)) {
        run(trial);
    }
    free(trial->tasks);
    return faults_count(&trial->faults) == 0 ? 0 : 1;
}
