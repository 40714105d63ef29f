/* SPDX-License-Identifier: MIT */
/*
 * raw_alloc.h [L2] - the raw domain: the system's allocator, with CPython's rules for 0 bytes.
 *   Owner   the C library.  No lock, no thread state and no initialisation of ours.
 *   The signatures are those of PyMemAllocatorEx; the caller has checked sizes against PY_SSIZE_T_MAX.
 */
#ifndef GI_RAW_ALLOC_H
#define GI_RAW_ALLOC_H

#include <stddef.h>

void *gi_raw_malloc(void *ctx, size_t size);
void *gi_raw_calloc(void *ctx, size_t count, size_t size);
void *gi_raw_realloc(void *ctx, void *block, size_t size);
void gi_raw_free(void *ctx, void *block);
/* Bytes that may be used in `block`. */
size_t gi_raw_usable_size(void *block);

#endif /* GI_RAW_ALLOC_H */
