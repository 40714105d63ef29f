/* SPDX-License-Identifier: MIT */
/*
 * size_test.c - every size from 0 to 2048, the sizes at boundaries, and the sizes that no function serves.
 */
#include <errno.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/shadow.h"

#define SIZES 2049

static void check_every_size(const struct domain *domain) {
    static void *blocks[SIZES];
    static size_t usable[SIZES];
    struct shadow shadow;
    shadow_init(&shadow, 1);
    for (size_t size = 0; size < SIZES; size++) {
        blocks[size] = domain->malloc(size);
        EXPECT(blocks[size] != NULL);
        usable[size] = gilloc_usable_size(domain->id, blocks[size]);
        EXPECT(usable[size] >= size);
        if (domain->id != PYMEM_DOMAIN_RAW && size <= SMALL_LIMIT) {
            EXPECT_EQ(usable[size], small_block_size(size));
        }
        /* All that may be used is used: aligned, and apart from all others. */
        shadow_add(&shadow, domain, blocks[size], usable[size]);
    }
    for (size_t i = 0; i < shadow.count; i++) {
        shadow_check(shadow.blocks[i]);
        EXPECT_EQ(gilloc_usable_size(domain->id, shadow.blocks[i]->at), shadow.blocks[i]->size);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
}

static void every_size_is_aligned_and_usable(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < DOMAINS; i++) {
        check_every_size(&domains[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void check_many_of_a_size(const struct domain *domain, size_t size) {
    struct shadow shadow;
    shadow_init(&shadow, (uint32_t)size + 1);
    for (size_t i = 0; i < 3000; i++) {
        shadow_add(&shadow, domain, domain->malloc(size), size);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
}

static void boundary_sizes_fill_many_pools(void) {
    static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 495, 496, 497, 511, 512, 513};
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        check_many_of_a_size(&domains[PYMEM_DOMAIN_MEM], sizes[i]);
        check_many_of_a_size(&domains[PYMEM_DOMAIN_OBJ], sizes[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void the_small_limit_is_512_less_the_tail(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *small = PyMem_Malloc(SMALL_LIMIT);
    EXPECT_EQ(memory_stats().small_blocks, 1);
    void *large = PyMem_Malloc(SMALL_LIMIT + 1);
    EXPECT_EQ(memory_stats().small_blocks, 1);
    EXPECT_EQ(memory_stats().large_blocks, 1);
    void *zero = PyObject_Malloc(0);
    EXPECT_EQ(memory_stats().small_blocks, 2);
    PyMem_Free(small);
    PyMem_Free(large);
    PyObject_Free(zero);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* Above PY_SSIZE_T_MAX, and so large that no system has it. */
static void check_impossible_sizes(const struct domain *domain) {
    static const size_t sizes[] = {
        (size_t)PY_SSIZE_T_MAX + 1, (size_t)PY_SSIZE_T_MAX + 16, SIZE_MAX - 15, SIZE_MAX - 14, SIZE_MAX - 1, SIZE_MAX,
        (size_t)PY_SSIZE_T_MAX,     (size_t)PY_SSIZE_T_MAX - 15,
    };
    void *block = domain->malloc(100);
    EXPECT(block != NULL);
    pattern_fill(block, 100, 5);
    size_t blocks = gilloc_allocated_blocks();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        EXPECT(domain->malloc(sizes[i]) == NULL);
        EXPECT(domain->calloc(1, sizes[i]) == NULL);
        EXPECT(domain->calloc(sizes[i], 1) == NULL);
        EXPECT(domain->realloc(NULL, sizes[i]) == NULL);
        EXPECT(domain->realloc(block, sizes[i]) == NULL);
        pattern_check(block, 100, 5);
        EXPECT_EQ(gilloc_allocated_blocks(), blocks);
    }
    domain->free(block);
}

static void impossible_sizes_give_null(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < DOMAINS; i++) {
        check_impossible_sizes(&domains[i]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(every_size_is_aligned_and_usable),
        IN_BOTH_MODES(boundary_sizes_fill_many_pools),
        IN_BOTH_MODES(the_small_limit_is_512_less_the_tail),
        IN_BOTH_MODES(impossible_sizes_give_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
