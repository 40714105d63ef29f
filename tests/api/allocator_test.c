/* SPDX-License-Identifier: MIT */
/*
 * allocator_test.c - PyMem_GetAllocator() and PyMem_SetAllocator(): what a wrapper sees, and when.
 */
#include <sched.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/none.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

/* --- one wrapper, each domain ----------------------------------------------------------------- */

static void check_every_call_is_seen(const struct domain *domain) {
    struct spy spy;
    spy_install(&spy, domain->id);

    static const size_t sizes[] = {0, 1, 512, 513, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *block = domain->malloc(sizes[i]);
        EXPECT(block != NULL);
        EXPECT_EQ(shared_get(&spy.last_size), sizes[i]);
        spy_expect(&spy, 1, 0, 0, 0);

        void *resized = domain->realloc(block, sizes[i] + 1);
        EXPECT(resized != NULL);
        EXPECT_EQ(shared_get(&spy.last_block), (uintptr_t)block);
        EXPECT_EQ(shared_get(&spy.last_size), sizes[i] + 1);
        spy_expect(&spy, 0, 0, 1, 0);

        domain->free(resized);
        EXPECT_EQ(shared_get(&spy.last_block), (uintptr_t)resized);
        spy_expect(&spy, 0, 0, 0, 1);
    }

    /* Arguments come as they were given: not multiplied, NULL and 0 included. */
    static const size_t products[][2] = {{3, 5}, {5, 3}, {0, 7}, {7, 0}, {1, 600}, {600, 1}};
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
        void *block = domain->calloc(products[i][0], products[i][1]);
        EXPECT(block != NULL);
        EXPECT_EQ(shared_get(&spy.last_count), products[i][0]);
        EXPECT_EQ(shared_get(&spy.last_size), products[i][1]);
        spy_expect(&spy, 0, 1, 0, 0);
        domain->free(block);
        spy_expect(&spy, 0, 0, 0, 1);
    }
    void *block = domain->realloc(NULL, 10);
    EXPECT_EQ(shared_get(&spy.last_block), 0);
    spy_expect(&spy, 0, 0, 1, 0);
    block = domain->realloc(block, 0);
    EXPECT_EQ(shared_get(&spy.last_size), 0);
    spy_expect(&spy, 0, 0, 1, 0);
    domain->free(block);
    spy_expect(&spy, 0, 0, 0, 1);
    domain->free(NULL);
    EXPECT_EQ(shared_get(&spy.last_block), 0);
    spy_expect(&spy, 0, 0, 0, 1);

    spy_remove(&spy);
    domain->free(domain->malloc(10));
    domain->free(domain->malloc(1000));
    spy_expect(&spy, 0, 0, 0, 0);
}

static void a_wrapper_sees_every_call(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        check_every_call_is_seen(&domains[d]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void too_large_sizes_reach_no_wrapper(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    struct spy spies[DOMAINS];
    for (size_t d = 0; d < DOMAINS; d++) {
        spy_install(&spies[d], domains[d].id);
    }
    for (size_t d = 0; d < DOMAINS; d++) {
        void *block = domains[d].malloc(8);
        for (size_t i = 0; i < DOMAINS; i++) {
            spy_reset(&spies[i]);
        }
        EXPECT(domains[d].malloc((size_t)PY_SSIZE_T_MAX + 1) == NULL);
        EXPECT(domains[d].malloc(SIZE_MAX) == NULL);
        EXPECT(domains[d].calloc((size_t)PY_SSIZE_T_MAX, 2) == NULL);
        EXPECT(domains[d].calloc((size_t)1 << 32, (size_t)1 << 32) == NULL);
        EXPECT(domains[d].calloc(1, SIZE_MAX) == NULL);
        EXPECT(domains[d].realloc(NULL, SIZE_MAX) == NULL);
        EXPECT(domains[d].realloc(block, (size_t)PY_SSIZE_T_MAX + 1) == NULL);
        for (size_t i = 0; i < DOMAINS; i++) {
            spy_expect(&spies[i], 0, 0, 0, 0);
        }
        domains[d].free(block);
    }
    for (size_t d = 0; d < DOMAINS; d++) {
        spy_remove(&spies[d]);
    }
    PyGILState_Release(was);
}

/* --- the raw domain under mem and object ------------------------------------------------------ */

static void check_large_requests_go_through_raw(const struct domain *domain) {
    struct spy raw;
    spy_install(&raw, PYMEM_DOMAIN_RAW);
    for (size_t size = 0; size <= SMALL_LIMIT; size++) {
        void *block = domain->malloc(size);
        block = domain->realloc(block, SMALL_LIMIT - size);
        EXPECT(block != NULL);
        domain->free(block);
        domain->free(domain->calloc(1, size));
        domain->free(domain->calloc(size, 1));
    }
    domain->free(NULL);
    /* The library's own memory may come from wherever it likes, but not from here: no small request is seen. */
    spy_expect(&raw, 0, 0, 0, 0);

    void *block = domain->malloc(SMALL_LIMIT + 1);
    EXPECT_EQ(shared_get(&raw.last_size), SMALL_LIMIT + 1);
    spy_expect(&raw, 1, 0, 0, 0);
    void *resized = domain->realloc(block, 700);
    EXPECT_EQ(shared_get(&raw.last_block), (uintptr_t)block);
    EXPECT_EQ(shared_get(&raw.last_size), 700);
    spy_expect(&raw, 0, 0, 1, 0);
    domain->free(resized);
    EXPECT_EQ(shared_get(&raw.last_block), (uintptr_t)resized);
    spy_expect(&raw, 0, 0, 0, 1);
    block = domain->calloc(3, 300);
    EXPECT_EQ(shared_get(&raw.last_count), 3);
    EXPECT_EQ(shared_get(&raw.last_size), 300);
    spy_expect(&raw, 0, 1, 0, 0);
    gilloc_free_sized(domain->id, block, 900);
    spy_expect(&raw, 0, 0, 0, 1);
    block = domain->realloc(NULL, 513);
    EXPECT(block != NULL);
    /* One block came, whichever way. */
    EXPECT_EQ(shared_get(&raw.mallocs) + shared_get(&raw.reallocs), 1);
    EXPECT_EQ(shared_get(&raw.callocs) + shared_get(&raw.frees), 0);
    domain->free(block);
    spy_remove(&raw);
}

static void large_requests_go_through_raw(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    /* The first small request makes what the domain needs. */
    PyMem_Free(PyMem_Malloc(1));
    check_large_requests_go_through_raw(&domains[PYMEM_DOMAIN_MEM]);
    check_large_requests_go_through_raw(&domains[PYMEM_DOMAIN_OBJ]);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* --- get, set, restore ------------------------------------------------------------------------ */

static void expect_same(PyMemAllocatorDomain domain, const PyMemAllocatorEx *expected) {
    PyMemAllocatorEx got;
    memset(&got, 0xA5, sizeof(got));
    PyMem_GetAllocator(domain, &got);
    EXPECT(got.ctx == expected->ctx);
    EXPECT(got.malloc == expected->malloc);
    EXPECT(got.calloc == expected->calloc);
    EXPECT(got.realloc == expected->realloc);
    EXPECT(got.free == expected->free);
}

static void get_gives_what_was_set(void) {
    PyMemAllocatorEx before[DOMAINS];
    for (size_t d = 0; d < DOMAINS; d++) {
        PyMem_GetAllocator(domains[d].id, &before[d]);
        EXPECT(before[d].malloc != NULL && before[d].calloc != NULL);
        EXPECT(before[d].realloc != NULL && before[d].free != NULL);
    }
    int contexts[DOMAINS];
    for (size_t d = 0; d < DOMAINS; d++) {
        PyMemAllocatorEx words = {&contexts[d], none_malloc, none_calloc, none_realloc, none_free};
        PyMem_SetAllocator(domains[d].id, &words);
        memset(&words, 0, sizeof(words)); /* it was copied */
    }
    for (size_t d = 0; d < DOMAINS; d++) {
        PyMemAllocatorEx words = {&contexts[d], none_malloc, none_calloc, none_realloc, none_free};
        expect_same(domains[d].id, &words);
        /* A failing wrapper's NULL is the caller's. */
    }
    EXPECT(PyMem_RawMalloc(10) == NULL);
    for (size_t d = 0; d < DOMAINS; d++) {
        PyMem_SetAllocator(domains[d].id, &before[d]);
        expect_same(domains[d].id, &before[d]);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        void *block = domains[d].malloc(10);
        EXPECT(block != NULL);
        domains[d].free(block);
    }
    PyGILState_Release(was);
}

static void an_unknown_domain_is_ignored(void) {
    static const int unknown[] = {3, 4, 100, -1, INT32_MAX};
    PyMemAllocatorEx before[DOMAINS];
    for (size_t d = 0; d < DOMAINS; d++) {
        PyMem_GetAllocator(domains[d].id, &before[d]);
    }
    const PyMemAllocatorEx none = {NULL, NULL, NULL, NULL, NULL};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        PyMemAllocatorEx words = {&before, none_malloc, none_calloc, none_realloc, none_free};
        PyMem_SetAllocator((PyMemAllocatorDomain)unknown[i], &words);
        expect_same((PyMemAllocatorDomain)unknown[i], &none);
        for (size_t d = 0; d < DOMAINS; d++) {
            expect_same(domains[d].id, &before[d]);
        }
    }
}

/* The five words are a full allocator: they serve what the public functions allocated, and the reverse. */
static void the_default_words_work_by_hand(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        PyMemAllocatorEx words;
        PyMem_GetAllocator(domains[d].id, &words);
        void *block = words.malloc(words.ctx, 0);
        EXPECT(block != NULL);
        domains[d].free(block);
        block = words.realloc(words.ctx, domains[d].malloc(20), 600);
        EXPECT(block != NULL);
        words.free(words.ctx, block);
        unsigned char *zero = words.calloc(words.ctx, 10, 10);
        EXPECT(zero != NULL && zero[0] == 0 && zero[99] == 0);
        words.free(words.ctx, zero);
        words.free(words.ctx, NULL);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* Wrappers nest, and each hears of a call once. */
static void wrappers_nest(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    struct spy inner, outer;
    spy_install(&inner, PYMEM_DOMAIN_MEM);
    spy_install(&outer, PYMEM_DOMAIN_MEM);
    void *block = PyMem_Malloc(10);
    spy_expect(&outer, 1, 0, 0, 0);
    spy_expect(&inner, 1, 0, 0, 0);
    spy_remove(&outer);
    PyMem_Free(block);
    spy_expect(&outer, 0, 0, 0, 0);
    spy_expect(&inner, 0, 0, 0, 1);
    spy_remove(&inner);
    PyGILState_Release(was);
}

/* --- set while others allocate ---------------------------------------------------------------- */

/* Two wrappers whose functions know their context: a call with the other's is a torn allocator. */
struct guard {
    PyMemAllocatorEx inner;
    struct shared calls;
};
static struct guard first_guard, second_guard;

#define GUARD(name)                                                                                            \
    static void *name##_malloc(void *ctx, size_t size) {                                                       \
        EXPECT(ctx == &name##_guard);                                                                          \
        shared_add(&name##_guard.calls, 1);                                                                    \
        return name##_guard.inner.malloc(name##_guard.inner.ctx, size);                                        \
    }                                                                                                          \
    static void *name##_calloc(void *ctx, size_t count, size_t size) {                                         \
        EXPECT(ctx == &name##_guard);                                                                          \
        return name##_guard.inner.calloc(name##_guard.inner.ctx, count, size);                                 \
    }                                                                                                          \
    static void *name##_realloc(void *ctx, void *block, size_t size) {                                         \
        EXPECT(ctx == &name##_guard);                                                                          \
        return name##_guard.inner.realloc(name##_guard.inner.ctx, block, size);                                \
    }                                                                                                          \
    static void name##_free(void *ctx, void *block) {                                                          \
        EXPECT(ctx == &name##_guard);                                                                          \
        name##_guard.inner.free(name##_guard.inner.ctx, block);                                                \
    }                                                                                                          \
    static const PyMemAllocatorEx name##_words = {&name##_guard, name##_malloc, name##_calloc, name##_realloc, \
                                                  name##_free};
GUARD(first)
GUARD(second)

struct caller {
    const struct domain *domain;
    struct shared *stop;
    struct shared rounds;
};

static void *call_until_stopped(void *arg) {
    struct caller *caller = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    while (!shared_get(caller->stop)) {
        void *block = caller->domain->malloc(40);
        EXPECT(block != NULL);
        block = caller->domain->realloc(block, 700);
        EXPECT(block != NULL);
        caller->domain->free(block);
        block = caller->domain->calloc(2, 20);
        EXPECT(block != NULL);
        caller->domain->free(block);
        shared_add(&caller->rounds, 1);
        gilloc_safepoint();
    }
    PyGILState_Release(was);
    return NULL;
}

static void set_while_others_allocate(void) {
    struct shared stop = {0};
    for (size_t d = 0; d < DOMAINS; d++) {
        const struct domain *domain = &domains[d];
        shared_set(&stop, 0);
        PyMemAllocatorEx before;
        PyMem_GetAllocator(domain->id, &before);
        first_guard.inner = before;
        second_guard.inner = before;
        shared_set(&first_guard.calls, 0);
        shared_set(&second_guard.calls, 0);
        struct caller callers[4];
        pthread_t threads[4];
        for (size_t i = 0; i < 4; i++) {
            callers[i] = (struct caller){.domain = domain, .stop = &stop};
            threads[i] = thread_start(call_until_stopped, &callers[i]);
        }
        for (size_t i = 0; i < ROUNDS(500) || shared_get(&first_guard.calls) == 0 ||
                           shared_get(&second_guard.calls) == 0 || shared_get(&callers[3].rounds) == 0;
             i++) {
            PyMemAllocatorEx words = i % 3 == 0 ? first_words : i % 3 == 1 ? second_words : before;
            PyMem_SetAllocator(domain->id, &words);
            sched_yield();
        }
        PyMem_SetAllocator(domain->id, &before);
        shared_set(&stop, 1);
        for (size_t i = 0; i < 4; i++) {
            thread_join(threads[i]);
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(a_wrapper_sees_every_call),
        IN_BOTH_MODES(too_large_sizes_reach_no_wrapper),
        IN_BOTH_MODES(large_requests_go_through_raw),
        IN_OPEN_MODE(get_gives_what_was_set),
        IN_OPEN_MODE(an_unknown_domain_is_ignored),
        IN_BOTH_MODES(the_default_words_work_by_hand),
        IN_BOTH_MODES(wrappers_nest),
        IN_BOTH_MODES(set_while_others_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
