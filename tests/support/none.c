/* SPDX-License-Identifier: MIT */
/*
 * none.c - the words of an allocator that has nothing.
 */
#include "tests/support/none.h"

void *none_malloc(void *ctx, size_t size) {
    (void)ctx, (void)size;
    return NULL;
}

void *none_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx, (void)count, (void)size;
    return NULL;
}

void *none_realloc(void *ctx, void *block, size_t size) {
    (void)ctx, (void)block, (void)size;
    return NULL;
}

void none_free(void *ctx, void *block) { (void)ctx, (void)block; }
