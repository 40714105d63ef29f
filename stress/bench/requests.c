/* SPDX-License-Identifier: MIT */
/*
 * requests.c - realloc, calloc, and sizes that are not from pools; single calls.
 *   Owner   the main thread.  Locks: none.
 */
#include <stdlib.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/histogram.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/team.h"

/* --- realloc ---------------------------------------------------------------------------------- */

#define GROWING 64 /* blocks that grow at the same time, in turns */

static size_t next_of_list(size_t size) { return size + size / 8 + 48; }
static size_t next_of_text(size_t size) { return size + 16; }

/* Number of calls of realloc. */
static uint64_t grow(uint64_t times, size_t (*next)(size_t), size_t most) {
    void *blocks[GROWING];
    uint64_t calls = 0;
    for (uint64_t i = 0; i < times; i++) {
        for (size_t k = 0; k < GROWING; k++) blocks[k] = object_new(16, k);
        for (size_t size = next(16); size <= most; size = next(size)) {
            for (size_t k = 0; k < GROWING; k++) {
                uint64_t *block = block_realloc(DOMAIN_OBJECT, blocks[k], size);
                *block = size;
                blocks[k] = block;
            }
            calls += GROWING;
        }
        for (size_t k = 0; k < GROWING; k++) object_free(blocks[k]);
        safepoint_at(0);
    }
    return calls;
}

void body_grow(const struct plan *plan) {
    size_t (*next)(size_t) = plan->argument ? next_of_text : next_of_list;
    size_t most = plan->argument ? 512 : 8192;
    uint64_t times = plan_operations(plan, 1000);
    grow(times / 8 + 1, next, most);
    uint64_t begin = meter_thread_ns(), calls = grow(times, next, most);
    meter_figure(0, (double)(meter_thread_ns() - begin) / (double)calls);
}

/* --- other requests --------------------------------------------------------------------------- */

#define REQUESTS 100

enum { CALLOC_MIXED, ZERO_MEM, ZERO_OBJECT, LARGE_MEM, LARGE_OBJECT };

static void batch(long kind, enum allocator_domain domain, size_t *next) {
    void *blocks[REQUESTS];
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t at = (*next)++ % SIZES;
        if (kind == CALLOC_MIXED) {
            blocks[i] = block_calloc(domain, 1, sizes_mixed[at]);
        } else {
            blocks[i] = block_malloc(domain, kind >= LARGE_MEM ? sizes_large[at] : 0);
        }
        if (kind == CALLOC_MIXED || kind >= LARGE_MEM) *(uint64_t *)blocks[i] = i;
    }
    for (size_t i = REQUESTS; i-- > 0;) block_free(domain, blocks[i]);
    safepoint_at(0);
}

void body_request(const struct plan *plan) {
    long kind = plan->argument;
    enum allocator_domain domain = kind == ZERO_MEM || kind == LARGE_MEM ? DOMAIN_MEM : DOMAIN_OBJECT;
    uint64_t batches = plan_operations(plan, 40000);
    size_t next = 0;
    for (uint64_t i = 0; i < batches / 16 + 1; i++) batch(kind, domain, &next);
    uint64_t begin = meter_thread_ns();
    for (uint64_t i = 0; i < batches; i++) batch(kind, domain, &next);
    meter_figure(0, (double)(meter_thread_ns() - begin) / (double)(batches * REQUESTS));
}

/* --- single calls ----------------------------------------------------------------------------- */

static void tell_histogram(const struct histogram *histogram, unsigned first) {
    meter_figure(first, histogram_quantile(histogram, 0.5));
    meter_figure(first + 1, histogram_quantile(histogram, 0.99));
    meter_figure(first + 2, histogram_quantile(histogram, 0.999));
    meter_figure(first + 3, (double)histogram->worst);
}

void body_latency(const struct plan *plan) {
    static struct histogram of_malloc, of_free;
    size_t count = plan_blocks(plan, (uint64_t)plan->argument);
    void **table = meter_table(count * sizeof(void *));
    struct chance chance = {9};
    uint64_t calls = plan_operations(plan, 1000000);
    for (size_t i = 0; i < count; i++) table[i] = object_new(sizes_mixed[i % SIZES], i);
    for (uint64_t i = 0; i < count + calls; i++) {
        size_t at = chance_below(&chance, count), size = sizes_mixed[i % SIZES];
        uint64_t begin = meter_wall_ns();
        object_free(table[at]);
        uint64_t between = meter_wall_ns();
        table[at] = object_new(size, i);
        uint64_t end = meter_wall_ns();
        if (i >= count) {
            histogram_add(&of_free, between - begin);
            histogram_add(&of_malloc, end - between);
        }
        safepoint_at(i);
    }
    tell_histogram(&of_malloc, 0);
    tell_histogram(&of_free, 4);
    static const double shares[] = {0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        meter_point(1 / (1 - shares[i]), histogram_quantile(&of_malloc, shares[i]));
    }
}
