/* SPDX-License-Identifier: MIT */
/*
 * plan.h - what this process is to run, and the bodies of all workloads.
 *   Owner   the main thread; constant while a workload runs.
 *   Locks   none.
 * A body runs in the attached main thread, does some of its work before it looks
 * at a clock, and leaves its figures in meter.h.
 */
#ifndef STRESS_BENCH_PLAN_H
#define STRESS_BENCH_PLAN_H

#include <stdint.h>

struct plan {
    long argument; /* of the workload */
    unsigned threads;
    uint64_t percent;  /* of the usual number of operations; 0: next to none, of next to no blocks */
    const char *trace; /* a file of records, or "" */
};

/* Operations to do, of `usual`. */
static inline uint64_t plan_operations(const struct plan *plan, uint64_t usual) {
    uint64_t operations = plan->percent ? usual * plan->percent / 100 : usual / 100000;
    return operations > 8 ? operations : 8;
}

/* Blocks, of `usual`; fewer only where the bench itself is tested. */
static inline uint64_t plan_blocks(const struct plan *plan, uint64_t usual) {
    uint64_t blocks = plan->percent ? usual : usual / 1000;
    return blocks > 40 ? blocks : 40;
}

/* Nanoseconds, of `usual`. */
static inline uint64_t plan_ns(const struct plan *plan, uint64_t usual) { return plan->percent ? usual : usual / 50; }

/* A thread that reads gilloc's statistics so often a second, until the process ends. */
void own_read_statistics(unsigned often);

void body_pair(const struct plan *plan);
void body_batch(const struct plan *plan);
void body_churn(const struct plan *plan);
void body_heap(const struct plan *plan);
void body_trace(const struct plan *plan);
void body_hand_off(const struct plan *plan);
void body_ring(const struct plan *plan);
void body_queue(const struct plan *plan);
void body_replace(const struct plan *plan);
void body_larson(const struct plan *plan);
void body_birth(const struct plan *plan);
void body_short_threads(const struct plan *plan);
void body_lines(const struct plan *plan);
void body_fragment(const struct plan *plan);
void body_course(const struct plan *plan);
void body_trivial(const struct plan *plan);
void body_grow(const struct plan *plan);
void body_request(const struct plan *plan);
void body_latency(const struct plan *plan);
void body_lock_pair(const struct plan *plan);
void body_lock_nested(const struct plan *plan);
void body_lock_new(const struct plan *plan);
void body_lock_contend(const struct plan *plan);
void body_lock_io(const struct plan *plan);
void body_retire(const struct plan *plan);
void body_safepoint(const struct plan *plan);
void body_stop(const struct plan *plan);

#endif /* STRESS_BENCH_PLAN_H */
