/* SPDX-License-Identifier: MIT */
/*
 * calloc_test.c - zeroed memory, new and used before; products that overflow.
 */
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"

#define BLOCKS 600

static void expect_zero(const unsigned char *block, size_t size) {
    EXPECT(block != NULL);
    for (size_t i = 0; i < size; i++) {
        EXPECT_EQ(block[i], 0);
    }
}

/* Fresh blocks, then the same blocks after they were full of 0xFF: freed all at once, and one by one. */
static void check_zero(const struct domain *domain, size_t count, size_t size) {
    static unsigned char *blocks[BLOCKS];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = domain->calloc(count, size);
            expect_zero(blocks[i], count * size);
            memset(blocks[i], 0xFF, count * size);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            domain->free(blocks[i]);
        }
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        unsigned char *block = domain->malloc(count * size);
        EXPECT(block != NULL);
        memset(block, 0xFF, count * size);
        domain->free(block);
        block = domain->calloc(count, size);
        expect_zero(block, count * size);
        domain->free(block);
    }
}

static void blocks_are_zero(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        for (size_t size = 1; size <= 544; size += 15) {
            check_zero(&domains[d], 1, size);
        }
        check_zero(&domains[d], 16, 1);
        check_zero(&domains[d], 7, 11);
        check_zero(&domains[d], 512, 1);
        check_zero(&domains[d], 2, 2000);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* A pool or arena that served one size, was emptied, given back or not, and serves another. */
static void memory_of_another_size_is_zero(void) {
    static unsigned char *blocks[20000];
    const size_t count = sizeof(blocks) / sizeof(blocks[0]);
    PyGILState_STATE was = PyGILState_Ensure();
    for (int round = 0; round < 6; round++) {
        size_t size = (size_t)(round * 5 + 1) * CLASS_STEP;
        for (size_t i = 0; i < count; i++) {
            blocks[i] = PyObject_Calloc(size / 8, 8);
            expect_zero(blocks[i], size);
            memset(blocks[i], 0xFF, size);
        }
        for (size_t i = 0; i < count; i++) {
            PyObject_Free(blocks[i]);
        }
        if (round % 2 == 1) {
            gilloc_purge();
        }
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void overflowing_products_give_null(void) {
    static const size_t products[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {SIZE_MAX, SIZE_MAX},
        {(size_t)PY_SSIZE_T_MAX, 2},
        {2, (size_t)PY_SSIZE_T_MAX},
        {(size_t)PY_SSIZE_T_MAX / 2 + 1, 2}, /* 2^63: fits size_t, above PY_SSIZE_T_MAX */
        {(size_t)1 << 32, (size_t)1 << 32},  /* 2^64: wraps to 0 */
        {((size_t)1 << 32) + 1, (size_t)1 << 32},
        {(size_t)1 << 60, 16},
        {((size_t)1 << 60) + 1, 16}, /* wraps to 16 */
        {1, SIZE_MAX},
        {SIZE_MAX, 1},
    };
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
            EXPECT(domains[d].calloc(products[i][0], products[i][1]) == NULL);
        }
        /* A product of 0 is a block of 1 byte, however large the other factor. */
        void *zero[] = {domains[d].calloc(0, SIZE_MAX), domains[d].calloc(SIZE_MAX, 0)};
        expect_zero(zero[0], 1);
        expect_zero(zero[1], 1);
        EXPECT(zero[0] != zero[1]);
        domains[d].free(zero[0]);
        domains[d].free(zero[1]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(blocks_are_zero),
        IN_BOTH_MODES(memory_of_another_size_is_zero),
        IN_BOTH_MODES(overflowing_products_give_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
