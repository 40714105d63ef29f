/* SPDX-License-Identifier: MIT */
/*
 * limit.h - how fast an allocator can be that does nothing but its work: a
 * thread-local list of free blocks for each size class, linked through the
 * blocks, and no counts.
 *   Owner   each thread its own lists; pages are taken from one counter.
 *   Locks   none.
 * It is a limit and no allocator to use: what it has it keeps, the blocks of
 * threads that end are lost, a block goes to the list of whoever frees it.
 * Used in two ways: inlined into the workloads, and behind calls of a shared
 * library (limit_library.c).
 */
#ifndef STRESS_BENCH_LIMIT_H
#define STRESS_BENCH_LIMIT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_SMALL 512 /* larger ones are malloc()'s */
#define LIMIT_STEP 16
#define LIMIT_CLASSES (LIMIT_SMALL / LIMIT_STEP + 1) /* by size rounded up; class 0 is not used */
#define LIMIT_PAGE 16384                             /* its first word is its class */
#define LIMIT_SPACE ((size_t)64 << 30)

extern __thread void *limit_lists[LIMIT_CLASSES] __attribute__((tls_model("initial-exec")));
extern char *limit_space; /* constant after limit_init() */

/* 0, or -1 with errno. */
int limit_init(void);
/* A page of blocks more; one of them. */
void *limit_refill(size_t class);

static inline size_t limit_class(size_t size) { return size == 0 ? 1 : (size + LIMIT_STEP - 1) / LIMIT_STEP; }

static inline void *limit_malloc(size_t size) {
    if (__builtin_expect(size > LIMIT_SMALL, 0)) return malloc(size);
    void **list = &limit_lists[limit_class(size)];
    __asm__("" : "+r"(list)); /* one register: what is stored through it can be loaded again at once */
    void *block = *list;
    if (__builtin_expect(block == NULL, 0)) return limit_refill(limit_class(size));
    *list = *(void **)block;
    return block;
}

/* The class of a block, or 0 if it is malloc()'s. */
static inline size_t limit_class_of(const void *block) {
    if (__builtin_expect((size_t)((const char *)block - limit_space) >= LIMIT_SPACE, 0)) return 0;
    return *(const size_t *)((uintptr_t)block & ~(uintptr_t)(LIMIT_PAGE - 1));
}

static inline void limit_free(void *block) {
    size_t class = limit_class_of(block);
    if (__builtin_expect(class == 0, 0)) {
        free(block);
        return;
    }
    void **list = &limit_lists[class];
    __asm__("" : "+r"(list));
    *(void **)block = *list;
    *list = block;
}

static inline void *limit_calloc(size_t count, size_t size) {
    if (__builtin_expect(count * size > LIMIT_SMALL, 0)) return calloc(count, size);
    void *block = limit_malloc(count * size);
    return block != NULL ? memset(block, 0, count * size) : NULL;
}

static inline void *limit_realloc(void *block, size_t size) {
    if (block == NULL) return limit_malloc(size);
    size_t class = limit_class_of(block);
    if (class == 0) return realloc(block, size);
    if (class == limit_class(size)) return block;
    void *other = limit_malloc(size);
    if (other == NULL) return NULL;
    size_t kept = class * LIMIT_STEP;
    memcpy(other, block, kept < size ? kept : size);
    limit_free(block);
    return other;
}

#endif /* STRESS_BENCH_LIMIT_H */
