/* SPDX-License-Identifier: MIT */
/*
 * refusing.c - the system's allocator, refusing.  See refusing.h.
 */
#include "tests/domain/refusing.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static __thread unsigned long countdown, count; /* 0: nothing is refused */
static __thread bool all_after;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count_of, size_t size);
void *__real_realloc(void *block, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count_of, size_t size);
void *__wrap_realloc(void *block, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);

static void refuse(unsigned long k, bool all) {
    countdown = k;
    all_after = all;
    count = 0;
}

void refuse_at(unsigned long k) { refuse(k, false); }

void refuse_from(unsigned long k) { refuse(k, true); }

void refuse_nothing(void) { countdown = 0; }

unsigned long refused(void) { return count; }

static bool is_refused(void) {
    if (countdown == 0 || (countdown != 1 && countdown-- != 0)) {
        return false;
    }
    countdown = all_after ? 1 : 0;
    count++;
    return true;
}

void *__wrap_malloc(size_t size) { return is_refused() ? NULL : __real_malloc(size); }

void *__wrap_calloc(size_t count_of, size_t size) { return is_refused() ? NULL : __real_calloc(count_of, size); }

void *__wrap_realloc(void *block, size_t size) { return is_refused() ? NULL : __real_realloc(block, size); }

int __wrap_posix_memalign(void **block, size_t alignment, size_t size) {
    return is_refused() ? ENOMEM : __real_posix_memalign(block, alignment, size);
}
