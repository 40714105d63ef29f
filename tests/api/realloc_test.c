/* SPDX-License-Identifier: MIT */
/*
 * realloc_test.c - when a block stays where it is, and that a resize keeps what both sizes share.
 *   A small block stays while its size class is the same, or while the new size is above 3/4 of it; a large one stays
 *   in the raw domain; on failure the old block is whole.
 */
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/none.h"
#include "tests/support/shadow.h"
#include "tests/support/spy.h"

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* One resize of a new block, against the rule. */
static void check_small(const struct domain *domain, size_t from, size_t to) {
    size_t block_size = small_block_size(from);
    int stays = to <= SMALL_LIMIT &&
                (small_block_size(to) == block_size || (to <= block_size && 4 * (to + TAIL) > 3 * (block_size + TAIL)));
    unsigned char *before = domain->malloc(from);
    EXPECT(before != NULL);
    pattern_fill(before, from, (uint32_t)(from * 1000 + to));
    unsigned char *after = domain->realloc(before, to);
    EXPECT(after != NULL);
    if ((after == before) != stays) {
        expect_failed(__FILE__, __LINE__, "%s block of %zu for %zu bytes, resized to %zu, %s", domain->name, block_size,
                      from, to, stays ? "moved" : "stayed");
    }
    pattern_check(after, smaller(from, to), (uint32_t)(from * 1000 + to));
    size_t usable = gilloc_usable_size(domain->id, after);
    EXPECT(usable >= to);
    if (stays) {
        EXPECT_EQ(usable, block_size);
    } else if (to <= SMALL_LIMIT) {
        EXPECT_EQ(usable, small_block_size(to));
    }
    memset(after, 0xEE, usable);
    domain->free(after);
}

static void small_blocks_follow_the_rule(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = PYMEM_DOMAIN_MEM; d <= PYMEM_DOMAIN_OBJ; d++) {
        for (size_t from = 0; from <= SMALL_LIMIT; from += from < 48 || from > 480 ? 1 : 7) {
            for (size_t to = 0; to <= 600; to++) {
                check_small(&domains[d], from, to);
            }
        }
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* CPython's own figures, of blocks with their tail: the smallest size with which a block stays; one less moves.  16 and
   32 are left out: one less is of the same class, where CPython copies and gilloc does not. */
static void the_table_of_cpython_holds(void) {
    static const size_t table[][2] = {{64, 49}, {128, 97}, {256, 193}, {512, 385}};
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        size_t block = table[i][0] - TAIL, stays = table[i][1] - TAIL;
        void *before = PyObject_Malloc(block);
        void *after = PyObject_Realloc(before, stays);
        EXPECT(after == before);
        EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_OBJ, after), block);
        void *moved = PyObject_Realloc(after, stays - 1);
        EXPECT(moved != NULL && moved != before);
        PyObject_Free(moved);
    }
    /* Grows within its class, and out of it. */
    void *before = PyObject_Malloc(33 - TAIL);
    void *after = PyObject_Realloc(before, 48 - TAIL);
    EXPECT(after == before);
    void *moved = PyObject_Realloc(after, 49 - TAIL);
    EXPECT(moved != NULL && moved != before);
    PyObject_Free(moved);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* A large block never comes to the pools, also when it shrinks to a small size. */
static void large_blocks_stay_raw(void) {
    static const size_t sizes[] = {600, 100, 1, 0, 512, 513, 16, 100000, 32};
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = PYMEM_DOMAIN_MEM; d <= PYMEM_DOMAIN_OBJ; d++) {
        const struct domain *domain = &domains[d];
        struct spy raw;
        spy_install(&raw, PYMEM_DOMAIN_RAW);
        size_t size = 1000;
        unsigned char *block = domain->malloc(size);
        spy_expect(&raw, 1, 0, 0, 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            pattern_fill(block, size, (uint32_t)i);
            unsigned char *before = block;
            block = domain->realloc(block, sizes[i]);
            EXPECT(block != NULL);
            EXPECT_EQ(shared_get(&raw.last_block), (uintptr_t)before);
            EXPECT_EQ(shared_get(&raw.last_size), sizes[i]);
            spy_expect(&raw, 0, 0, 1, 0);
            EXPECT_EQ(memory_stats().large_blocks, 1);
            EXPECT_EQ(memory_stats().small_blocks, 0);
            pattern_check(block, smaller(size, sizes[i]), (uint32_t)i);
            size = sizes[i];
        }
        domain->free(block);
        spy_expect(&raw, 0, 0, 0, 1);
        spy_remove(&raw);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void a_small_block_becomes_large(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    struct spy raw;
    spy_install(&raw, PYMEM_DOMAIN_RAW);
    unsigned char *block = PyMem_Malloc(SMALL_LIMIT);
    pattern_fill(block, SMALL_LIMIT, 7);
    block = PyMem_Realloc(block, SMALL_LIMIT + 1);
    spy_expect(&raw, 1, 0, 0, 0);
    pattern_check(block, SMALL_LIMIT, 7);
    EXPECT_EQ(memory_stats().large_blocks, 1);
    EXPECT_EQ(memory_stats().small_blocks, 0);
    PyMem_Free(block);
    spy_expect(&raw, 0, 0, 0, 1);
    spy_remove(&raw);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void growing_step_by_step_keeps_the_bytes(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        struct shadow shadow;
        shadow_init(&shadow, 9);
        struct shadow_block *block = shadow_add(&shadow, &domains[d], domains[d].realloc(NULL, 1), 1);
        for (size_t size = 2; size < 2000; size++) {
            shadow_resized(&shadow, block, domains[d].realloc(block->at, size), size);
        }
        for (size_t size = 2000; size > 0; size -= 3 < size ? 3 : size) {
            shadow_resized(&shadow, block, domains[d].realloc(block->at, size), size);
        }
        shadow_free_all(&shadow);
        shadow_fini(&shadow);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* The raw domain has nothing. */
static void failure_keeps_the_old_block(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMemAllocatorEx inner;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &inner);
    PyMemAllocatorEx none = {inner.ctx, none_malloc, none_calloc, none_realloc, inner.free};
    for (size_t d = 0; d < DOMAINS; d++) {
        const struct domain *domain = &domains[d];
        static const size_t sizes[] = {1, 512, 600};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            unsigned char *block = domain->malloc(sizes[i]);
            pattern_fill(block, sizes[i], (uint32_t)i);
            PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &none);
            EXPECT(domain->realloc(block, 100000) == NULL);
            EXPECT(domain->realloc(block, 513) == NULL);
            EXPECT(domain->malloc(600) == NULL);
            EXPECT(domain->calloc(6, 100) == NULL);
            PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &inner);
            pattern_check(block, sizes[i], (uint32_t)i);
            block = domain->realloc(block, 2000);
            EXPECT(block != NULL);
            pattern_check(block, sizes[i], (uint32_t)i);
            domain->free(block);
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(small_blocks_follow_the_rule),
        IN_BOTH_MODES(the_table_of_cpython_holds),
        IN_BOTH_MODES(large_blocks_stay_raw),
        IN_BOTH_MODES(a_small_block_becomes_large),
        IN_BOTH_MODES(growing_step_by_step_keeps_the_bytes),
        IN_BOTH_MODES(failure_keeps_the_old_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
