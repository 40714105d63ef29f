/* SPDX-License-Identifier: MIT */
/*
 * raw_alloc.h [L2] - the raw domain: the system's allocator, with CPython's rules for 0 bytes.
 *   Owner   the C library.  No lock, no thread state and no initialisation of ours.
 *   The signatures are those of PyMemAllocatorEx; the caller has checked sizes against PY_SSIZE_T_MAX.  Here, so that a
 *   large request costs what malloc() costs (stress/bench, large-mem).
 *   Source of the rules: CPython's _PyMem_RawMalloc and family (Objects/obmalloc.c).
 */
#ifndef GI_RAW_ALLOC_H
#define GI_RAW_ALLOC_H

#include <malloc.h>
#include <stdlib.h>

static inline void *gi_raw_malloc(void *ctx, size_t size) {
    (void)ctx;
    return malloc(size != 0 ? size : 1);
}

/* At a multiple of `alignment`, a power of two. */
static inline void *gi_raw_malloc_aligned(size_t alignment, size_t size) {
    void *block;
    return posix_memalign(&block, alignment, size != 0 ? size : 1) == 0 ? block : NULL;
}

static inline void *gi_raw_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return count != 0 && size != 0 ? calloc(count, size) : calloc(1, 1);
}

static inline void *gi_raw_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return realloc(block, size != 0 ? size : 1);
}

static inline void gi_raw_free(void *ctx, void *block) {
    (void)ctx;
    free(block);
}

/* Bytes that may be used in `block`. */
static inline size_t gi_raw_usable_size(void *block) { return malloc_usable_size(block); }

#endif /* GI_RAW_ALLOC_H */
