/* SPDX-License-Identifier: MIT */
/*
 * domain_test.c - what holds of each of the three domains: its four functions, one thread.
 */
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/shadow.h"

#define BLOCKS 1000

static void each_domain(void (*check)(const struct domain *domain)) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < DOMAINS; i++) {
        check(&domains[i]);
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
    }
    PyGILState_Release(was);
}

static void check_blocks_are_apart(const struct domain *domain) {
    struct shadow shadow;
    shadow_init(&shadow, 1);
    for (size_t i = 0; i < BLOCKS; i++) {
        shadow_add(&shadow, domain, domain->malloc(i % 700), i % 700);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        shadow_check(shadow.blocks[i]);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
}

static void blocks_are_apart(void) { each_domain(check_blocks_are_apart); }

static void check_zero_bytes(const struct domain *domain) {
    struct shadow shadow;
    shadow_init(&shadow, 2);
    for (size_t i = 0; i < 100; i++) {
        /* The shadow takes 0 bytes for 1, so the results are distinct. */
        shadow_add(&shadow, domain, domain->malloc(0), 0);
        shadow_add(&shadow, domain, domain->calloc(0, 0), 0);
        shadow_add(&shadow, domain, domain->calloc(0, 8), 0);
        shadow_add(&shadow, domain, domain->calloc(8, 0), 0);
        shadow_add(&shadow, domain, domain->realloc(NULL, 0), 0);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
}

static void zero_bytes_are_a_block(void) { each_domain(check_zero_bytes); }

static void check_null(const struct domain *domain) {
    domain->free(NULL);
    void *block = domain->realloc(NULL, 100);
    EXPECT(block != NULL);
    pattern_fill(block, 100, 3);
    pattern_check(block, 100, 3);
    domain->free(block);
    domain->free(NULL);
}

static void null_is_no_block(void) { each_domain(check_null); }

static void check_realloc_to_zero(const struct domain *domain) {
    static const size_t sizes[] = {1, 16, 17, 512, 513, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *block = domain->malloc(sizes[i]);
        EXPECT(block != NULL);
        block = domain->realloc(block, 0);
        EXPECT(block != NULL);
        block[0] = 0x5C;
        domain->free(block);
    }
}

static void realloc_to_zero_gives_a_block(void) { each_domain(check_realloc_to_zero); }

/* Every size is freed first to last, last to first, and odd before even; what is left stays whole. */
static void check_orders_of_free(const struct domain *domain) {
    for (int order = 0; order < 3; order++) {
        void *blocks[BLOCKS];
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = domain->malloc(i % 600 + 1);
            EXPECT(blocks[i] != NULL);
            pattern_fill(blocks[i], i % 600 + 1, (uint32_t)i);
        }
        for (size_t step = 0; step < BLOCKS; step++) {
            size_t i = step;
            if (order == 1) {
                i = BLOCKS - 1 - step;
            } else if (order == 2) {
                i = step < BLOCKS / 2 ? 2 * step + 1 : 2 * (step - BLOCKS / 2);
            }
            pattern_check(blocks[i], i % 600 + 1, (uint32_t)i);
            domain->free(blocks[i]);
        }
    }
}

static void blocks_are_freed_in_any_order(void) { each_domain(check_orders_of_free); }

static void mem_and_object_blocks_are_counted(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *raw = PyMem_RawMalloc(32);
    EXPECT(raw != NULL);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        const struct domain *domain = &domains[PYMEM_DOMAIN_MEM + i % 2];
        blocks[i] = domain->malloc(i);
        EXPECT(blocks[i] != NULL);
        EXPECT_EQ(gilloc_allocated_blocks(), i + 1);
    }
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.small_blocks, SMALL_LIMIT + 1);
    EXPECT_EQ(stats.large_blocks, BLOCKS - SMALL_LIMIT - 1);
    /* A resize is one block before and one after, within a size class, out of it, and in and out of the raw domain. */
    static const size_t sizes[] = {10, 100, 512, 513, 5000, 100};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        blocks[0] = PyMem_Realloc(blocks[0], sizes[i]);
        EXPECT(blocks[0] != NULL);
        EXPECT_EQ(gilloc_allocated_blocks(), BLOCKS);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        domains[PYMEM_DOMAIN_MEM + i % 2].free(blocks[i]);
        EXPECT_EQ(gilloc_allocated_blocks(), BLOCKS - 1 - i);
    }
    PyMem_RawFree(raw);
    memory_expect_all_back();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(blocks_are_apart),
        IN_BOTH_MODES(zero_bytes_are_a_block),
        IN_BOTH_MODES(null_is_no_block),
        IN_BOTH_MODES(realloc_to_zero_gives_a_block),
        IN_BOTH_MODES(blocks_are_freed_in_any_order),
        IN_BOTH_MODES(mem_and_object_blocks_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
