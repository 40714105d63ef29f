/* SPDX-License-Identifier: MIT */
/*
 * stats_moment_test.c - figures that are read at different moments, while threads run: made by hand, one at a time.
 *   Each answer fits itself: blocks in pools, pools in arenas, nothing below 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/stats.h"
#include "lib/cache/thread_cache.h"
#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"

enum { BLOCK = 64, CLASS = BLOCK / 16 - 1, BLOCKS = 100 };

static void *blocks[BLOCKS];
static gi_heap *heap;        /* has them */
static gi_heap_class *class; /* its counts of them */

static void begin(void) {
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = PyMem_Malloc(BLOCK);
        EXPECT(blocks[i] != NULL);
    }
    heap = gi_current_cache->heap;
    class = &heap->classes[GI_KIND_MEM][CLASS];
}

static void end(void) {
    for (int i = 0; i < BLOCKS; i++) {
        PyMem_Free(blocks[i]);
    }
}

static int keep(const gilloc_class_stats *stats, void *arg) {
    gilloc_class_stats *kept = arg;
    EXPECT_EQ(stats->block_size, BLOCK);
    EXPECT_EQ(kept->pools, 0);
    *kept = *stats;
    return 0;
}

static gilloc_class_stats visit(void) {
    gilloc_class_stats kept = {.pools = 0};
    EXPECT_EQ(gilloc_visit_classes(keep, &kept), 0);
    EXPECT_EQ(kept.blocks_in_use + kept.blocks_cached + kept.blocks_free, kept.pools * gi_class_capacity(CLASS));
    return kept;
}

static void blocks_fit_into_pools(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    begin();
    gilloc_class_stats right = visit();
    EXPECT_EQ(right.blocks_in_use, BLOCKS);
    gi_counter_add(&class->taken, 1000000); /* pools that came meanwhile */
    gilloc_class_stats seen = visit();
    EXPECT_EQ(seen.blocks_free, 0);
    EXPECT_EQ(seen.blocks_cached, right.blocks_cached);
    gi_counter_sub(&class->taken, 1000000 + BLOCKS + right.blocks_cached); /* blocks that came back meanwhile */
    seen = visit();
    EXPECT_EQ(seen.blocks_in_use, 0);
    EXPECT_EQ(seen.blocks_cached, 0);
    gi_counter_add(&class->taken, BLOCKS + right.blocks_cached);
    EXPECT_EQ(visit().blocks_in_use, BLOCKS);
    end();
    PyGILState_Release(was);
}

static void totals_are_not_below_0(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    begin();
    uint64_t taken = gi_load_relaxed(&heap->taken);
    gi_counter_sub(&heap->taken, taken); /* counted before they were taken */
    gi_counter_add(&gi_current_cache->large_freed, 1);
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.small_blocks, 0);
    EXPECT_EQ(stats.large_blocks, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    gi_counter_sub(&gi_current_cache->large_freed, 1);
    gi_counter_add(&heap->taken, taken);
    EXPECT_EQ(gilloc_allocated_blocks(), BLOCKS);
    end();
    PyGILState_Release(was);
}

static char text[1 << 16];

/* The number before or behind some words. */
static uint64_t number_before(const char *words) {
    const char *at = strstr(text, words);
    EXPECT(at != NULL);
    while (at[-1] != '\n') {
        at--;
    }
    return strtoull(at, NULL, 10);
}

static uint64_t number_behind(const char *words) {
    const char *at = strstr(text, words);
    EXPECT(at != NULL);
    uint64_t value = 0;
    for (at = strchr(at, '='); *at != '\n'; at++) {
        value = *at >= '0' && *at <= '9' ? value * 10 + (uint64_t)(*at - '0') : value;
    }
    return value;
}

static void pools_fit_into_arenas(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    begin();
    uint64_t pools = visit().pools;
    for (uint64_t more = 0; more < 100; more += 33) { /* arenas that came meanwhile */
        gi_counter_add(&class->pools, more);
        memset(text, 0, sizeof(text));
        FILE *out = fmemopen(text, sizeof(text) - 1, "w");
        EXPECT(out != NULL);
        EXPECT_EQ(gilloc_print_stats(out, "text"), 0);
        EXPECT_EQ(fclose(out), 0);
        gi_counter_sub(&class->pools, more);
        uint64_t all = pools + more, arenas = (all + GI_ARENA_POOLS - 1) / GI_ARENA_POOLS;
        EXPECT_EQ(number_before(" arenas * "), arenas);
        EXPECT_EQ(number_before(" unused pools * "), arenas * GI_ARENA_POOLS - all);
        EXPECT_EQ(number_behind("\nTotal"), arenas * GI_ARENA_SIZE);
    }
    end();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(blocks_fit_into_pools),
        IN_BOTH_MODES(totals_are_not_below_0),
        IN_BOTH_MODES(pools_fit_into_arenas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
