/* SPDX-License-Identifier: MIT */
/*
 * fragments.c - memory that stays, and memory that goes back.
 *   Owner   the main thread; in "replace" a block is the maker's until it is in
 *           the freer's hands.
 *   Locks   those of team.h.
 */
#include <stdlib.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

#define FILL 1500000 /* blocks: some 90 MB */
#define RUN 4000
#define KEPT_OF 20 /* one run, or one block, of so many is kept */

/* --- a heap that is filled, thinned out and filled again ------------------------------------------ */

struct heap {
    void **blocks;
    uint16_t *sizes; /* 0: no block */
    size_t count, next;
    uint64_t live; /* bytes */
    struct chance chance;
};

static void heap_init(struct heap *heap, const struct plan *plan) {
    *heap = (struct heap){.count = plan_blocks(plan, FILL), .chance = {3}};
    heap->blocks = meter_table(heap->count * sizeof *heap->blocks);
    heap->sizes = meter_table(heap->count * sizeof *heap->sizes);
}

static void put(struct heap *heap, size_t at, size_t size) {
    heap->blocks[at] = object_new(size, at);
    heap->sizes[at] = (uint16_t)size;
    heap->live += size;
}

static void take_out(struct heap *heap, size_t at) {
    if (heap->sizes[at] == 0) return;
    object_free(heap->blocks[at]);
    heap->live -= heap->sizes[at];
    heap->sizes[at] = 0;
}

/* Part `part` of `parts`. */
static void fill(struct heap *heap, size_t part, size_t parts) {
    for (size_t i = heap->count * part / parts; i < heap->count * (part + 1) / parts; i++) {
        put(heap, i, sizes_mixed[i % SIZES]);
        safepoint_at(i);
    }
}

static void thin_out(struct heap *heap, bool random, size_t part, size_t parts) {
    for (size_t i = heap->count * part / parts; i < heap->count * (part + 1) / parts; i++) {
        bool keep = random ? chance_below(&heap->chance, KEPT_OF) == 0 : i / RUN % KEPT_OF == 0;
        if (!keep) take_out(heap, i);
        safepoint_at(i);
    }
}

/* With blocks twice as large (512 bytes at most) up to `live` bytes. */
static uint64_t refill(struct heap *heap, uint64_t live) {
    uint64_t made = 0;
    for (; heap->live < live; made++) {
        while (heap->sizes[heap->next] != 0) heap->next++;
        size_t size = 2U * sizes_mixed[made % SIZES];
        put(heap, heap->next, size > 512 ? 512 : size);
        safepoint_at(made);
    }
    return made;
}

static void take_all_out(struct heap *heap) {
    for (size_t i = 0; i < heap->count; i++) {
        take_out(heap, i);
        safepoint_at(i);
    }
}

void body_fragment(const struct plan *plan) {
    struct heap heap;
    heap_init(&heap, plan);
    uint64_t before = meter_resident(), begin = meter_process_ns();
    fill(&heap, 0, 1);
    uint64_t live = heap.live, full = meter_resident() - before;
    thin_out(&heap, plan->argument != 0, 0, 1);
    uint64_t left = meter_resident() - before;
    meter_peak_reset();
    uint64_t made = refill(&heap, live), peak = meter_peak() - before;
    take_all_out(&heap);
    double time = (double)(meter_process_ns() - begin);
    meter_figure(0, 100.0 * (double)left / (double)full);
    meter_figure(1, (double)peak / (double)live);
    meter_figure(2, (double)full / (double)live);
    meter_figure(3, time / (double)(heap.count + made));
}

/* --- in time ---------------------------------------------------------------------------------- */

#define STEP_NS 50000000
#define STEPS 10 /* of filling and of each kind of frees */
#define IDLE 20  /* steps with a few allocations */
#define IDLE_BLOCKS 100

struct clock {
    uint64_t begin, steps;
};

/* Until the next step, and what is resident then, in MiB. */
static double step(struct clock *clock, const struct plan *plan) {
    uint64_t due = clock->begin + ++clock->steps * plan_ns(plan, STEP_NS), now = meter_wall_ns();
    if (now < due) {
        thread_detach();
        meter_sleep_ns(due - now);
        thread_attach();
    }
    double resident = (double)meter_resident() / (1 << 20);
    meter_point((double)(meter_wall_ns() - clock->begin) * 1e-9, resident);
    return resident;
}

static double idle(struct clock *clock, const struct plan *plan, int steps) {
    double resident = 0;
    for (int i = 0; i < steps; i++) {
        void *blocks[IDLE_BLOCKS];
        for (size_t k = 0; k < IDLE_BLOCKS; k++) blocks[k] = object_new(sizes_mixed[k], k);
        for (size_t k = 0; k < IDLE_BLOCKS; k++) object_free(blocks[k]);
        safepoint_at(0);
        resident = step(clock, plan);
    }
    return resident;
}

void body_course(const struct plan *plan) {
    struct heap heap;
    heap_init(&heap, plan);
    struct clock clock = {.begin = meter_wall_ns()};
    double full = 0, refilled = 0;
    for (size_t i = 0; i < STEPS; i++) {
        fill(&heap, i, STEPS);
        full = step(&clock, plan);
    }
    uint64_t live = heap.live;
    for (size_t i = 0; i < STEPS; i++) {
        thin_out(&heap, false, i, STEPS);
        step(&clock, plan);
    }
    meter_figure(0, idle(&clock, plan, 2));
    meter_figure(1, idle(&clock, plan, IDLE));
    uint64_t thin = heap.live;
    for (size_t i = 1; i <= STEPS; i++) {
        refill(&heap, thin + (live - thin) * i / STEPS);
        refilled = step(&clock, plan);
    }
    take_all_out(&heap);
    step(&clock, plan);
    meter_figure(2, full);
    meter_figure(3, refilled);
    meter_figure(4, idle(&clock, plan, IDLE));
}

/* --- one thread frees what another one made, and has it replaced ---------------------------------- */

#define REPLACE_LIVE 800000 /* blocks: some 50 MB */
#define REPLACE_PART 10000

enum { REPLACE_MAKER, REPLACE_FREER };

struct replace {
    void **live;
    size_t count;
    uint64_t parts;
    void *fresh[REPLACE_PART];
};

static void work_replace(struct worker *worker) {
    struct replace *job = worker->job;
    struct chance chance = {5};
    size_t size = 0;
    if (worker->index == REPLACE_MAKER) {
        for (size_t i = 0; i < job->count; i++) job->live[i] = object_new(sizes_mixed[size++ % SIZES], i);
    }
    for (uint64_t part = 0; part < job->parts; part++) {
        worker_meet(worker);
        if (worker->index == REPLACE_MAKER) {
            worker_resume(worker);
            for (size_t i = 0; i < REPLACE_PART; i++) job->fresh[i] = object_new(sizes_mixed[size++ % SIZES], i);
            worker_pause(worker);
        }
        worker_meet(worker);
        if (worker->index == REPLACE_FREER) {
            worker_resume(worker);
            for (size_t i = 0; i < REPLACE_PART; i++) {
                size_t at = chance_below(&chance, job->count);
                object_free(job->live[at]);
                job->live[at] = job->fresh[i];
            }
            worker_pause(worker);
        }
        safepoint_at(0);
    }
}

void body_replace(const struct plan *plan) {
    static struct team team;
    static struct replace job;
    job.count = plan_blocks(plan, REPLACE_LIVE);
    job.parts = plan_operations(plan, 5 * REPLACE_LIVE / REPLACE_PART);
    job.live = meter_table(job.count * sizeof(void *));
    uint64_t before = meter_resident();
    meter_peak_reset();
    team_run(&team, plan->threads, true, work_replace, &job);
    meter_figure(0, ((double)meter_peak() - (double)before) / ((double)job.count * sizes_mixed_mean));
    meter_figure(1, team_cpu_ns(&team) / (double)(job.parts * REPLACE_PART));
}

/* --- a trivial program ------------------------------------------------------------------------ */

void body_trivial(const struct plan *plan) {
    (void)plan;
    object_new(32, 1);
    meter_figure(0, (double)meter_resident() / (1 << 20));
}
