/* SPDX-License-Identifier: MIT */
/*
 * pairs.c - a malloc and its free; batches; random replacement in a table.
 *   Owner   each worker its blocks.
 *   Locks   those of team.h.
 */
#include <stdlib.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

struct job {
    const struct plan *plan;
    uint64_t operations; /* of each worker */
    void **tables[TEAM_MAX];
    size_t blocks; /* of each table */
};

/* The figures of a team that did `operations` in all. */
static void tell_speed(const struct team *team, uint64_t operations) {
    meter_figure(0, team_cpu_ns(team) / (double)operations);
    meter_figure(1, (double)operations * 1e3 / team_wall_ns(team));
}

/* --- pairs ------------------------------------------------------------------------------------ */

static void pairs_of_one_size(uint64_t count, size_t size) {
    for (uint64_t i = 0; i < count; i++) {
        object_free(object_new(size, i));
        safepoint_at(i);
    }
}

static void pairs_of_mixed_sizes(uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        object_free(object_new(sizes_mixed[i % SIZES], i));
        safepoint_at(i);
    }
}

static void work_pairs(struct worker *worker) {
    const struct job *job = worker->job;
    size_t size = (size_t)job->plan->argument;
    for (int timed = 0; timed < 2; timed++) {
        uint64_t count = timed ? job->operations : job->operations / 16;
        if (timed) worker_begin(worker);
        if (size != 0) pairs_of_one_size(count, size);
        if (size == 0) pairs_of_mixed_sizes(count);
        if (timed) worker_end(worker);
    }
}

void body_pair(const struct plan *plan) {
    static struct team team;
    struct job job = {.plan = plan, .operations = plan_operations(plan, 20000000)};
    team_run(&team, plan->threads, true, work_pairs, &job);
    tell_speed(&team, job.operations * plan->threads);
}

/* --- batches ---------------------------------------------------------------------------------- */

#define BATCH 1000
#define ORDERS 16 /* random ones */

static uint16_t orders[ORDERS][BATCH];

static void shuffle(uint16_t *order, struct chance *chance) {
    for (size_t i = 0; i < BATCH; i++) order[i] = (uint16_t)i;
    for (size_t i = BATCH - 1; i > 0; i--) {
        size_t other = chance_below(chance, i + 1);
        uint16_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static void batches(uint64_t count, long order, void **blocks) {
    size_t size = 0;
    for (uint64_t i = 0; i < count; i++) {
        for (size_t k = 0; k < BATCH; k++) blocks[k] = object_new(sizes_even[size++ % SIZES], k);
        if (order == 0) {
            for (size_t k = BATCH; k-- > 0;) object_free(blocks[k]);
        } else if (order == 1) {
            for (size_t k = 0; k < BATCH; k++) object_free(blocks[k]);
        } else {
            const uint16_t *at = orders[i % ORDERS];
            for (size_t k = 0; k < BATCH; k++) object_free(blocks[at[k]]);
        }
        safepoint_at(0);
    }
}

static void work_batches(struct worker *worker) {
    const struct job *job = worker->job;
    void *blocks[BATCH];
    batches(job->operations / 16 + 1, job->plan->argument, blocks);
    worker_begin(worker);
    batches(job->operations, job->plan->argument, blocks);
    worker_end(worker);
}

void body_batch(const struct plan *plan) {
    static struct team team;
    struct job job = {.plan = plan, .operations = plan_operations(plan, 8000)};
    struct chance chance = {7};
    for (int i = 0; i < ORDERS; i++) shuffle(orders[i], &chance);
    team_run(&team, plan->threads, true, work_batches, &job);
    tell_speed(&team, job.operations * plan->threads * BATCH);
}

/* --- churn ------------------------------------------------------------------------------------ */

#define CHURN_WARM 8000000 /* at most */

static void replace_random(void **table, size_t blocks, uint64_t count, struct chance *chance) {
    for (uint64_t i = 0; i < count; i++) {
        size_t at = chance_below(chance, blocks);
        object_free(table[at]);
        table[at] = object_new(sizes_mixed[i % SIZES], i);
        safepoint_at(i);
    }
}

static void work_churn(struct worker *worker) {
    const struct job *job = worker->job;
    void **table = job->tables[worker->index];
    struct chance chance = {worker->index + 1};
    for (size_t i = 0; i < job->blocks; i++) table[i] = object_new(sizes_mixed[i % SIZES], i);
    uint64_t warm = job->blocks + job->operations / 4; /* most blocks are no longer in order of address then */
    replace_random(table, job->blocks, warm < CHURN_WARM ? warm : CHURN_WARM, &chance);
    worker_begin(worker);
    replace_random(table, job->blocks, job->operations, &chance);
    worker_end(worker);
    worker_meet(worker); /* nobody frees while others are timed */
    for (size_t i = 0; i < job->blocks; i++) object_free(table[i]);
}

static void churn(const struct plan *plan, uint64_t blocks, uint64_t operations) {
    static struct team team;
    struct job job = {.plan = plan, .blocks = plan_blocks(plan, blocks)};
    job.operations = plan_operations(plan, operations);
    for (unsigned i = 0; i < plan->threads; i++) job.tables[i] = meter_table(job.blocks * sizeof(void *));
    team_run(&team, plan->threads, true, work_churn, &job);
    tell_speed(&team, job.operations * plan->threads);
}

void body_churn(const struct plan *plan) {
    uint64_t blocks = (uint64_t)plan->argument;
    churn(plan, blocks, blocks <= 10000 ? 8000000 : blocks <= 100000 ? 4000000 : 2000000);
}

void body_heap(const struct plan *plan) { churn(plan, (uint64_t)((double)plan->argument / sizes_mixed_mean), 2000000); }
