/* SPDX-License-Identifier: MIT */
/*
 * usable_size_test.c - gilloc_usable_size() and gilloc_free_sized(); every size has its say in size_test.c.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/spy.h"

static void null_has_no_size(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        EXPECT_EQ(gilloc_usable_size(domains[d].id, NULL), 0);
        gilloc_free_sized(domains[d].id, NULL, 0);
        gilloc_free_sized(domains[d].id, NULL, 100);
    }
    PyGILState_Release(was);
}

static void raw_needs_no_thread_state(void) {
    void *block = PyMem_RawMalloc(1000);
    EXPECT(gilloc_usable_size(PYMEM_DOMAIN_RAW, block) >= 1000);
    gilloc_free_sized(PYMEM_DOMAIN_RAW, block, 1000);
    EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_RAW, NULL), 0);
    gilloc_free_sized(PYMEM_DOMAIN_RAW, NULL, 1000);
    EXPECT_EQ(memory_stats().thread_states_ever, 0);
}

static void a_resize_changes_it(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *block = PyMem_Malloc(100);
    EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_MEM, block), 112 - TAIL);
    block = PyMem_Realloc(block, 112 - TAIL);
    EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_MEM, block), 112 - TAIL);
    block = PyMem_Realloc(block, 90); /* above 3/4: stays */
    EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_MEM, block), 112 - TAIL);
    block = PyMem_Realloc(block, 50);
    EXPECT_EQ(gilloc_usable_size(PYMEM_DOMAIN_MEM, block), 64 - TAIL);
    block = PyMem_Realloc(block, 5000);
    EXPECT(gilloc_usable_size(PYMEM_DOMAIN_MEM, block) >= 5000);
    PyMem_Free(block);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* Every size as requested frees its block, and the memory serves again. */
static void free_sized_is_a_free(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        for (size_t size = 0; size <= 1100; size++) {
            void *block = domains[d].malloc(size);
            EXPECT(block != NULL);
            memset(block, 0x11, size);
            gilloc_free_sized(domains[d].id, block, size);
            EXPECT_EQ(gilloc_allocated_blocks(), 0);
        }
        void *block = domains[d].calloc(10, 10);
        gilloc_free_sized(domains[d].id, block, 100);
        block = domains[d].realloc(domains[d].malloc(40), 400);
        gilloc_free_sized(domains[d].id, block, 400);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* Within a block that a resize left where it was, the size requested last counts. */
static void free_sized_after_a_resize_in_place(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *before = PyObject_Malloc(SMALL_LIMIT);
    void *after = PyObject_Realloc(before, 400); /* another class, above 3/4: stays */
    EXPECT(after == before);
    gilloc_free_sized(PYMEM_DOMAIN_OBJ, after, 400);
    before = PyObject_Malloc(600);
    after = PyObject_Realloc(before, 100); /* stays in the raw domain */
    EXPECT(after != NULL);
    gilloc_free_sized(PYMEM_DOMAIN_OBJ, after, 100);
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void hooks_see_a_plain_free(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        struct spy spy;
        void *block = domains[d].malloc(40);
        EXPECT(gilloc_usable_size(domains[d].id, block) >= 40);
        spy_install(&spy, domains[d].id);
        EXPECT_EQ(gilloc_usable_size(domains[d].id, block), 0);
        gilloc_free_sized(domains[d].id, block, 40);
        EXPECT_EQ(shared_get(&spy.last_block), (uintptr_t)block);
        spy_expect(&spy, 0, 0, 0, 1);
        gilloc_free_sized(domains[d].id, NULL, 40);
        EXPECT_EQ(shared_get(&spy.last_block), 0);
        spy_expect(&spy, 0, 0, 0, 1);
        spy_remove(&spy);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* A raw allocator whose blocks do not start where the system's do: nobody may ask the system about them. */
#define HEADER 64

static void *header_malloc(void *ctx, size_t size) {
    (void)ctx;
    char *block = malloc(size + HEADER);
    return block == NULL ? NULL : block + HEADER;
}
static void *header_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    char *block = calloc(1, count * size + HEADER);
    return block == NULL ? NULL : block + HEADER;
}
static void *header_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    char *moved = realloc(block == NULL ? NULL : (char *)block - HEADER, size + HEADER);
    return moved == NULL ? NULL : moved + HEADER;
}
static void header_free(void *ctx, void *block) {
    (void)ctx;
    free(block == NULL ? NULL : (char *)block - HEADER);
}

static void large_blocks_of_a_hooked_raw_domain(void) {
    PyMemAllocatorEx words = {NULL, header_malloc, header_calloc, header_realloc, header_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &words);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = PYMEM_DOMAIN_MEM; d <= PYMEM_DOMAIN_OBJ; d++) {
        void *block = domains[d].malloc(1000);
        EXPECT(block != NULL);
        memset(block, 0x77, 1000);
        EXPECT_EQ(gilloc_usable_size(domains[d].id, block), 0);
        block = domains[d].realloc(block, 2000);
        gilloc_free_sized(domains[d].id, block, 2000);
        block = domains[d].malloc(40);
        EXPECT_EQ(gilloc_usable_size(domains[d].id, block), 48 - TAIL);
        gilloc_free_sized(domains[d].id, block, 40);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* Blocks of the system's have its sizes; one of a hook's, which the system may not know, has none. */
static void the_system_says_its_sizes(void) {
    EXPECT_EQ(unsetenv("GILLOC_HARDEN"), 0);
    EXPECT_EQ(setenv("PYTHONMALLOC", "malloc", 1), 0);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        EXPECT_EQ(gilloc_usable_size(domains[d].id, NULL), 0);
        for (size_t size = 0; size < 1200; size += 40) {
            void *block = domains[d].malloc(size);
            EXPECT(block != NULL);
            EXPECT(gilloc_usable_size(domains[d].id, block) >= size);
            EXPECT_EQ(gilloc_usable_size(domains[d].id, block), malloc_usable_size(block));
            gilloc_free_sized(domains[d].id, block, size);
        }
        struct spy spy;
        void *block = domains[d].malloc(40);
        spy_install(&spy, domains[d].id);
        EXPECT_EQ(gilloc_usable_size(domains[d].id, block), 0);
        spy_remove(&spy);
        EXPECT(gilloc_usable_size(domains[d].id, block) >= 40);
        domains[d].free(block);
    }
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(null_has_no_size),
        IN_OPEN_MODE(raw_needs_no_thread_state),
        IN_BOTH_MODES(a_resize_changes_it),
        IN_BOTH_MODES(free_sized_is_a_free),
        IN_BOTH_MODES(free_sized_after_a_resize_in_place),
        IN_BOTH_MODES(hooks_see_a_plain_free),
        IN_BOTH_MODES(large_blocks_of_a_hooked_raw_domain),
        IN_OPEN_MODE(the_system_says_its_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
