/* SPDX-License-Identifier: MIT */
/*
 * refuse.c - the hook that refuses.
 */
#include "tests/embed/refuse.h"

static int refuses(struct refuse *refuse) {
    size_t call = ++refuse->calls;
    return refuse->at != 0 && (call == refuse->at || (refuse->onward && call > refuse->at));
}

static void *refuse_malloc(void *ctx, size_t size) {
    struct refuse *refuse = ctx;
    return refuses(refuse) ? NULL : refuse->inner.malloc(refuse->inner.ctx, size);
}

static void *refuse_calloc(void *ctx, size_t count, size_t size) {
    struct refuse *refuse = ctx;
    return refuses(refuse) ? NULL : refuse->inner.calloc(refuse->inner.ctx, count, size);
}

static void *refuse_realloc(void *ctx, void *block, size_t size) {
    struct refuse *refuse = ctx;
    return refuses(refuse) ? NULL : refuse->inner.realloc(refuse->inner.ctx, block, size);
}

static void refuse_free(void *ctx, void *block) {
    struct refuse *refuse = ctx;
    refuse->inner.free(refuse->inner.ctx, block);
}

void refuse_install(struct refuse *refuse, PyMemAllocatorDomain domain) {
    refuse->domain = domain;
    refuse_set(refuse, 0, 0);
    PyMem_GetAllocator(domain, &refuse->inner);
    PyMemAllocatorEx hook = {refuse, refuse_malloc, refuse_calloc, refuse_realloc, refuse_free};
    PyMem_SetAllocator(domain, &hook);
}

void refuse_remove(struct refuse *refuse) { PyMem_SetAllocator(refuse->domain, &refuse->inner); }

void refuse_set(struct refuse *refuse, size_t at, int onward) {
    refuse->calls = 0;
    refuse->at = at;
    refuse->onward = onward;
}
