/* SPDX-License-Identifier: MIT */
/*
 * spy.c - the five words of the wrapper.
 */
#include "tests/support/spy.h"

#include <stdint.h>
#include <string.h>

#include "tests/support/expect.h"

static void saw_size(struct spy *spy, size_t size) {
    if (size > shared_get(&spy->largest)) {
        shared_set(&spy->largest, size);
    }
    if (size < shared_get(&spy->smallest)) {
        shared_set(&spy->smallest, size);
    }
}

static void *spy_malloc(void *ctx, size_t size) {
    struct spy *spy = ctx;
    shared_add(&spy->mallocs, 1);
    shared_set(&spy->last_size, size);
    saw_size(spy, size);
    return spy->inner.malloc(spy->inner.ctx, size);
}

static void *spy_calloc(void *ctx, size_t count, size_t size) {
    struct spy *spy = ctx;
    shared_add(&spy->callocs, 1);
    shared_set(&spy->last_count, count);
    shared_set(&spy->last_size, size);
    saw_size(spy, count * size);
    return spy->inner.calloc(spy->inner.ctx, count, size);
}

static void *spy_realloc(void *ctx, void *block, size_t size) {
    struct spy *spy = ctx;
    shared_add(&spy->reallocs, 1);
    shared_set(&spy->last_block, (uintptr_t)block);
    shared_set(&spy->last_size, size);
    saw_size(spy, size);
    return spy->inner.realloc(spy->inner.ctx, block, size);
}

static void spy_free(void *ctx, void *block) {
    struct spy *spy = ctx;
    shared_add(&spy->frees, 1);
    shared_set(&spy->last_block, (uintptr_t)block);
    spy->inner.free(spy->inner.ctx, block);
}

void spy_install(struct spy *spy, PyMemAllocatorDomain domain) {
    memset(spy, 0, sizeof(*spy));
    spy->domain = domain;
    spy_reset(spy);
    PyMem_GetAllocator(domain, &spy->inner);
    PyMemAllocatorEx wrapper = {spy, spy_malloc, spy_calloc, spy_realloc, spy_free};
    PyMem_SetAllocator(domain, &wrapper);
}

void spy_remove(struct spy *spy) { PyMem_SetAllocator(spy->domain, &spy->inner); }

void spy_reset(struct spy *spy) {
    shared_set(&spy->mallocs, 0);
    shared_set(&spy->callocs, 0);
    shared_set(&spy->reallocs, 0);
    shared_set(&spy->frees, 0);
    shared_set(&spy->last_count, SIZE_MAX);
    shared_set(&spy->last_size, SIZE_MAX);
    shared_set(&spy->last_block, SIZE_MAX);
    shared_set(&spy->largest, 0);
    shared_set(&spy->smallest, SIZE_MAX);
}

void spy_expect(struct spy *spy, size_t mallocs, size_t callocs, size_t reallocs, size_t frees) {
    size_t saw[4] = {shared_get(&spy->mallocs), shared_get(&spy->callocs), shared_get(&spy->reallocs),
                     shared_get(&spy->frees)};
    if (saw[0] != mallocs || saw[1] != callocs || saw[2] != reallocs || saw[3] != frees) {
        expect_failed(__FILE__, __LINE__,
                      "domain %d saw %zu malloc, %zu calloc, %zu realloc, %zu free; expected %zu, %zu, %zu, %zu",
                      (int)spy->domain, saw[0], saw[1], saw[2], saw[3], mallocs, callocs, reallocs, frees);
    }
    spy_reset(spy);
}
