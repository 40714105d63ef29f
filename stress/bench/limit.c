/* SPDX-License-Identifier: MIT */
/*
 * limit.c - the limit's slow path: pages.
 *   Owner   the counter of pages is all threads'.
 *   Locks   none.
 */
#include "stress/bench/limit.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

__thread void *limit_lists[LIMIT_CLASSES] __attribute__((tls_model("initial-exec")));
char *limit_space;
static _Atomic size_t pages_taken;

#define HEADER 64 /* bytes of a page in front of its blocks */

void *limit_refill(size_t class) {
    size_t number = atomic_fetch_add_explicit(&pages_taken, 1, memory_order_relaxed); /* a number, no data */
    if (number >= LIMIT_SPACE / LIMIT_PAGE) return NULL;
    char *page = limit_space + number * LIMIT_PAGE;
    size_t block = class * LIMIT_STEP, count = (LIMIT_PAGE - HEADER) / block;
    *(size_t *)(void *)page = class;
    /* In order of address, the first one for the caller. */
    for (size_t i = count - 1; i >= 1; i--) {
        void **at = (void **)(void *)(page + HEADER + i * block);
        *at = limit_lists[class];
        limit_lists[class] = at;
    }
    return page + HEADER;
}

int limit_init(void) {
    char *space = mmap(NULL, LIMIT_SPACE + LIMIT_PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) return -1;
    limit_space = (char *)(((uintptr_t)space + LIMIT_PAGE - 1) & ~(uintptr_t)(LIMIT_PAGE - 1));
    return 0;
}
