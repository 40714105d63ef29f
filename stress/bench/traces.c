/* SPDX-License-Identifier: MIT */
/*
 * traces.c - a recorded program, through its three domains.
 *   Owner   each worker its blocks; the records are read-only.
 *   Locks   those of team.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stress/bench/allocator.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"
#include "stress/trace.h"

/* The classes of pymalloc, and more of each than it has free. */
enum { FILL_STEP = 16, FILL_LARGEST = 512, FILL_BYTES = 64 << 10 };

/* What is alive at the trace's end. */
struct rest {
    uint32_t slot, domain;
};

struct job {
    const struct trace_record *records;
    size_t count, slots, requests;
    struct rest *rest;
    size_t rest_count;
    uint64_t passes;
    void **tables[TEAM_MAX];
};

static void load(struct job *job, const struct plan *plan) {
    struct stat status;
    int fd = open(plan->trace, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) meter_fault("%s: %s", plan->trace, strerror(errno));
    void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED) meter_fault("%s: %s", plan->trace, strerror(errno));
    close(fd);
    job->records = bytes;
    job->count = (size_t)status.st_size / sizeof(struct trace_record);
    if (plan->percent == 0 && job->count > 2000) job->count = 2000;
    for (size_t i = 0; i < job->count; i++) {
        if (job->records[i].slot >= job->slots) job->slots = job->records[i].slot + 1;
        job->requests += trace_op(&job->records[i]) != TRACE_FREE;
    }
}

/* Which slots are filled at the end, and from which domain. */
static void find_rest(struct job *job) {
    unsigned char *filled = meter_table(job->slots);
    job->rest = meter_table(job->slots * sizeof *job->rest);
    for (size_t i = 0; i < job->count; i++) {
        const struct trace_record *record = &job->records[i];
        filled[record->slot] = trace_op(record) == TRACE_FREE ? 0 : (unsigned char)(trace_domain(record) + 1);
    }
    for (uint32_t slot = 0; slot < job->slots; slot++) {
        if (filled[slot] != 0) job->rest[job->rest_count++] = (struct rest){slot, filled[slot] - 1U};
    }
}

static inline void write_first(void *block, size_t size) {
    if (size >= sizeof(uint64_t)) {
        *(uint64_t *)block = size;
    } else if (size > 0) {
        *(unsigned char *)block = 1;
    }
}

static void replay(const struct job *job, void **table) {
    for (size_t i = 0; i < job->count; i++) {
        const struct trace_record *record = &job->records[i];
        enum allocator_domain domain = trace_domain(record);
        void **slot = &table[record->slot];
        switch (trace_op(record)) {
            case TRACE_MALLOC:
                *slot = block_malloc(domain, record->size);
                write_first(*slot, record->size);
                break;
            case TRACE_CALLOC:
                *slot = block_calloc(domain, 1, record->size);
                write_first(*slot, record->size);
                break;
            case TRACE_REALLOC:
                *slot = block_realloc(domain, *slot, record->size);
                write_first(*slot, record->size);
                break;
            default:
                block_free(domain, *slot);
                *slot = NULL;
        }
        safepoint_at(i);
    }
    for (size_t i = 0; i < job->rest_count; i++) {
        block_free(job->rest[i].domain, table[job->rest[i].slot]);
        table[job->rest[i].slot] = NULL;
    }
}

static void work(struct worker *worker) {
    const struct job *job = worker->job;
    replay(job, job->tables[worker->index]);
    worker_begin(worker);
    for (uint64_t i = 0; i < job->passes; i++) replay(job, job->tables[worker->index]);
    worker_end(worker);
}

/* Nobody begins with free memory of its own: CPython has started by now, and left pools that are partly free, which a
   trace would fill before it takes any.  These blocks fill them, and stay. */
static void fill_up(void) {
    for (size_t size = FILL_STEP; size <= FILL_LARGEST; size += FILL_STEP) {
        for (size_t bytes = 0; bytes < FILL_BYTES; bytes += size) object_new(size, size);
    }
}

void body_trace(const struct plan *plan) {
    static struct team team;
    struct job job = {0};
    load(&job, plan);
    find_rest(&job);
    for (unsigned i = 0; i < plan->threads; i++) job.tables[i] = meter_table(job.slots * sizeof(void *));
    /* At least two passes, and some five million records. */
    uint64_t usual = 5000000 / job.count + 1, passes = usual * plan->percent / 100;
    job.passes = plan->percent == 0 ? 1 : passes > 2 ? passes : 2;
    fill_up();
    uint64_t before = meter_resident();
    meter_peak_reset();
    team_run(&team, plan->threads, true, work, &job);
    meter_figure(0, team_cpu_ns(&team) / (double)(job.passes * job.requests * plan->threads));
    meter_figure(1, ((double)meter_peak() - (double)before) / (1 << 20));
}
