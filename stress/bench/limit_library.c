/* SPDX-License-Identifier: MIT */
/*
 * limit_library.c - the limit behind calls of a shared library, as any allocator
 * is; and the null allocator, whose calls do nothing: what is left is the
 * workload's own cost.
 *   Owner   see limit.h; the null allocator's block is its thread's.
 *   Locks   none.
 */
#include "stress/bench/limit.h"

#define EXPORT __attribute__((visibility("default")))
#define NULL_BLOCK 65536 /* more than the workloads write to */

EXPORT int limit_library_init(void);
EXPORT void *limit_library_malloc(size_t size);
EXPORT void *limit_library_calloc(size_t count, size_t size);
EXPORT void *limit_library_realloc(void *block, size_t size);
EXPORT void limit_library_free(void *block);
EXPORT void *null_malloc(size_t size);
EXPORT void *null_calloc(size_t count, size_t size);
EXPORT void *null_realloc(void *block, size_t size);
EXPORT void null_free(void *block);

int limit_library_init(void) { return limit_init(); }
void *limit_library_malloc(size_t size) { return limit_malloc(size); }
void *limit_library_calloc(size_t count, size_t size) { return limit_calloc(count, size); }
void *limit_library_realloc(void *block, size_t size) { return limit_realloc(block, size); }
void limit_library_free(void *block) { limit_free(block); }

static __thread char *null_block __attribute__((tls_model("initial-exec")));

/* Apart, so that the call has nothing to save. */
static __attribute__((noinline, cold)) void *first_block(void) {
    null_block = aligned_alloc(64, NULL_BLOCK);
    return null_block;
}

static inline void *the_block(void) { return __builtin_expect(null_block != NULL, 1) ? null_block : first_block(); }

void *null_malloc(size_t size) {
    (void)size;
    return the_block();
}

void *null_calloc(size_t count, size_t size) {
    (void)count;
    (void)size;
    return the_block();
}

void *null_realloc(void *block, size_t size) {
    (void)block;
    (void)size;
    return the_block();
}

void null_free(void *block) { (void)block; }
