/* SPDX-License-Identifier: MIT */
/*
 * refuse.h - an allocator around the one of a domain that refuses requests: one of them, or all from one on.
 *   One thread at a time.
 */
#ifndef TESTS_EMBED_REFUSE_H
#define TESTS_EMBED_REFUSE_H

#include <gilloc/pymem.h>

struct refuse {
    size_t calls; /* of malloc, calloc and realloc since refuse_set() */
    size_t at;    /* this call (1 is the first) gives NULL; 0: none */
    int onward;   /* and so do all after it */
    PyMemAllocatorDomain domain;
    PyMemAllocatorEx inner;
};

/* Wraps the present allocator of `domain`, and refuses nothing. */
void refuse_install(struct refuse *refuse, PyMemAllocatorDomain domain);
void refuse_remove(struct refuse *refuse);
/* Counts anew. */
void refuse_set(struct refuse *refuse, size_t at, int onward);

#endif /* TESTS_EMBED_REFUSE_H */
