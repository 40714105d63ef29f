/* SPDX-License-Identifier: MIT */
/*
 * row.c - one row of the table: starts threads, replaces each that ends, stops
 * them, and looks at what is left.
 *   Owner   the process that was started for the row; its main thread is
 *           attached only at the very end.
 *   Locks   row.lock guards the counts and the threads' ends; fault.h's; the
 *           report's, innermost.
 */
#include "stress/row.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stress/measure.h"
#include "stress/replay.h"
#include "stress/report.h"
#include "stress/stats.h"

#define PROGRESS_NS 200000000 /* between two lines of progress */

struct worker {
    struct row *row;
    struct replay replay;
    pthread_t thread;
    bool running; /* main thread only */
    bool ended;   /* guarded by row.lock */
};

struct row {
    const struct row_job *job;
    struct trace *traces;
    uint64_t *replayed; /* records of each trace, in passes that were started; main thread only */
    struct exchange *exchange;
    struct faults faults;
    struct worker *workers; /* one per place */
    uint64_t started;       /* passes; main thread only */
    uint32_t attached;      /* guarded by gilloc's lock, in gil mode */
    struct timespec deadline;
    pthread_mutex_t lock;
    pthread_cond_t changed;      /* a worker has ended */
    struct replay_counts counts; /* guarded by lock */
    bool stop;                   /* guarded by lock */
    struct report report;
};

/* --- time -------------------------------------------------------------------------------------- */

static struct timespec later(struct timespec time, int64_t ns) {
    ns += time.tv_nsec;
    return (struct timespec){.tv_sec = time.tv_sec + ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static bool is_before(struct timespec a, struct timespec b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* --- threads ---------------------------------------------------------------------------------- */

static bool go_on(void *argument, const struct replay_counts *done) {
    struct row *row = argument;
    bool broken = faults_count(&row->faults) > 0;
    pthread_mutex_lock(&row->lock);
    row->counts.operations += done->operations;
    row->counts.allocated += done->allocated;
    row->counts.freed += done->freed;
    row->counts.remote_frees += done->remote_frees;
    bool stop = row->stop;
    pthread_mutex_unlock(&row->lock);
    return !stop && !broken;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    replay_pass(&worker->replay);
    pthread_mutex_lock(&worker->row->lock);
    worker->ended = true;
    pthread_cond_signal(&worker->row->changed);
    pthread_mutex_unlock(&worker->row->lock);
    return NULL;
}

/* The trace of which least has been replayed: the shorter a trace, the more threads live and die on it. */
static struct trace *next_trace(struct row *row) {
    size_t next = 0;
    for (size_t i = 1; i < row->job->trace_count; i++) {
        if (row->replayed[i] < row->replayed[next]) next = i;
    }
    row->replayed[next] += row->traces[next].count;
    return &row->traces[next];
}

/* Starts the next pass in `worker`'s place, unless the row is over. */
static void start(struct row *row, struct worker *worker) {
    const struct row_job *job = row->job;
    if (job->passes != 0 && row->started == job->passes) return;
    worker->row = row;
    worker->ended = false;
    worker->replay = (struct replay){
        .trace = next_trace(row),
        .exchange = row->exchange,
        .faults = &row->faults,
        .seed = job->seed,
        .remote_percent = job->remote_percent,
        .thread = (uint32_t)++row->started,
        .place = (unsigned)(worker - row->workers),
        .attached = job->mode == GILLOC_MODE_GIL ? &row->attached : NULL,
        .go_on = go_on,
        .argument = row,
    };
    int error = pthread_create(&worker->thread, NULL, work, worker);
    if (error != 0) faults_add(&row->faults, "cannot start thread %" PRIu64 ": %s", row->started, strerror(error));
    worker->running = error == 0;
}

/* Joins who has ended and starts successors; how many run.  Called and left with the lock. */
static unsigned replace_ended_locked(struct row *row) {
    unsigned running = 0;
    for (unsigned i = 0; i < row->job->threads; i++) {
        struct worker *worker = &row->workers[i];
        if (worker->running && worker->ended) {
            bool more = !row->stop;
            pthread_mutex_unlock(&row->lock);
            pthread_join(worker->thread, NULL);
            worker->running = false;
            if (more && faults_count(&row->faults) == 0) start(row, worker);
            pthread_mutex_lock(&row->lock);
        }
        running += worker->running;
    }
    return running;
}

/* Until the time is up or the passes are done. */
static void run_threads(struct row *row) {
    for (unsigned i = 0; i < row->job->threads; i++) start(row, &row->workers[i]);
    struct timespec now, progress;
    clock_gettime(CLOCK_MONOTONIC, &progress);
    pthread_mutex_lock(&row->lock);
    while (replace_ended_locked(row) > 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (row->job->passes == 0 && !is_before(now, row->deadline)) row->stop = true;
        if (!is_before(now, progress)) {
            json_int_t operations = (json_int_t)row->counts.operations;
            progress = later(now, PROGRESS_NS);
            pthread_mutex_unlock(&row->lock);
            report_line(&row->report, json_pack("{sI}", "progress", operations));
            pthread_mutex_lock(&row->lock);
            continue; /* somebody may have ended meanwhile */
        }
        bool deadline_first = row->job->passes == 0 && !row->stop && is_before(row->deadline, progress);
        pthread_cond_timedwait(&row->changed, &row->lock, deadline_first ? &row->deadline : &progress);
    }
    pthread_mutex_unlock(&row->lock);
}

/* --- what is left ----------------------------------------------------------------------------- */

/* After the last thread: nothing may be alive, and the heap must be sound. */
static void look_at_rest(struct row *row, json_t *result) {
    struct replay_counts rest = {0};
    replay_free_rest(row->exchange, row->job->threads, 0, &row->faults, &rest);
    go_on(row, &rest);
    size_t blocks = gilloc_allocated_blocks();
    int check = gilloc_check();
    size_t purged = gilloc_purge();
    /* After a fault damaged blocks are left alone, so what is left says nothing. */
    if (faults_count(&row->faults) == 0) {
        if (row->counts.allocated != row->counts.freed) {
            faults_add(&row->faults, "%" PRIu64 " blocks allocated and %" PRIu64 " freed", row->counts.allocated,
                       row->counts.freed);
        }
        if (blocks != 0) faults_add(&row->faults, "gilloc_allocated_blocks() is %zu after the last free", blocks);
    }
    if (check != 0) faults_add(&row->faults, "gilloc_check() found a broken invariant (see above)");
    json_object_set_new(result, "allocated_blocks", json_integer((json_int_t)blocks));
    json_object_set_new(result, "check", json_integer(check));
    json_object_set_new(result, "bytes_purged", json_integer((json_int_t)purged));
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool init(struct row *row) {
    const struct row_job *job = row->job;
    char error[512];
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&row->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&row->lock, NULL);
    faults_init(&row->faults, report_fault, &row->report);
    row->workers = calloc(job->threads, sizeof *row->workers);
    row->traces = calloc(job->trace_count, sizeof *row->traces);
    row->replayed = calloc(job->trace_count, sizeof *row->replayed);
    row->exchange = exchange_new(job->threads, REPLAY_MAILBOX);
    if (row->workers == NULL || row->traces == NULL || row->replayed == NULL || row->exchange == NULL) {
        faults_add(&row->faults, "no memory for %u threads", job->threads);
        return false;
    }
    for (size_t i = 0; i < job->trace_count; i++) {
        if (trace_load(&row->traces[i], job->traces[i], error, sizeof error) != 0) {
            faults_add(&row->faults, "%s", error);
            return false;
        }
    }
    if (gilloc_set_mode(job->mode) != 0) {
        faults_add(&row->faults, "gilloc_set_mode: %s", strerror(errno));
        return false;
    }
    return true;
}

static void fini(struct row *row) {
    for (size_t i = 0; row->traces != NULL && i < row->job->trace_count; i++) trace_unload(&row->traces[i]);
    if (row->exchange != NULL) exchange_delete(row->exchange);
    free(row->replayed);
    free(row->traces);
    free(row->workers);
}

static json_t *run(struct row *row) {
    json_t *result = json_object();
    json_int_t rss_start = measure_status("VmRSS");
    clock_gettime(CLOCK_MONOTONIC, &row->deadline); /* from here on: unpacking the traces is not work */
    row->deadline = later(row->deadline, (int64_t)(row->job->seconds * 1e9));
    double wall = measure_seconds(CLOCK_MONOTONIC), cpu = measure_seconds(CLOCK_PROCESS_CPUTIME_ID);
    run_threads(row);
    wall = measure_seconds(CLOCK_MONOTONIC) - wall;
    cpu = measure_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double operations = (double)row->counts.operations;
    json_object_set_new(result, "seconds", json_real(wall));
    json_object_set_new(result, "operations_per_second", json_real(wall > 0 ? operations / wall : 0));
    json_object_set_new(result, "cpu_ns_per_operation", json_real(operations > 0 ? cpu * 1e9 / operations : 0));
    look_at_rest(row, result);
    json_object_set_new(result, "passes", json_integer((json_int_t)row->started));
    json_object_set_new(result, "operations", json_integer((json_int_t)row->counts.operations));
    json_object_set_new(result, "remote_frees", json_integer((json_int_t)row->counts.remote_frees));
    json_object_set_new(result, "rss_start", json_integer(rss_start));
    json_object_set_new(result, "rss_peak", json_integer(measure_status("VmHWM")));
    json_object_set_new(result, "stats", stats_json());
    return result;
}

int row_run(const struct row_job *job, int fd) {
    struct row row = {.job = job};
    report_init(&row.report, fd);
    if (init(&row)) report_line(&row.report, json_pack("{so}", "result", run(&row)));
    fini(&row);
    return faults_count(&row.faults) == 0 ? 0 : 1;
}
