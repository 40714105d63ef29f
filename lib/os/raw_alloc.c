/* SPDX-License-Identifier: MIT */
/*
 * raw_alloc.c [L2] - the raw domain: the system's allocator, with CPython's rules for 0 bytes.
 *   Source of the rules: CPython's _PyMem_RawMalloc and family (Objects/obmalloc.c).
 */
#include "lib/os/raw_alloc.h"

#include <malloc.h>
#include <stdlib.h>

void *gi_raw_malloc(void *ctx, size_t size) {
    (void)ctx;
    return malloc(size != 0 ? size : 1);
}

void *gi_raw_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return count != 0 && size != 0 ? calloc(count, size) : calloc(1, 1);
}

void *gi_raw_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return realloc(block, size != 0 ? size : 1);
}

void gi_raw_free(void *ctx, void *block) {
    (void)ctx;
    free(block);
}

size_t gi_raw_usable_size(void *block) { return malloc_usable_size(block); }
