/* SPDX-License-Identifier: MIT */
/*
 * arena_source.h - an arena allocator that checks how it is used: the size of every call, each arena given back once,
 * to the source that gave it.  It can refuse, and give memory that is misaligned and dirty.
 *   Any thread; a mutex of its own.
 */
#ifndef TESTS_SUPPORT_ARENA_SOURCE_H
#define TESTS_SUPPORT_ARENA_SOURCE_H

#include <gilloc/pymem.h>
#include <pthread.h>
#include <stddef.h>

#include "tests/support/random.h"

/* What each call must ask for; hostile builds have smaller arenas, of one size. */
#define ARENA_SIZE 262144

/* Arenas that may be alive at one time. */
#define ARENA_SOURCE_MAX 8192

struct arena_source {
    /* what it does: set by the test while no other thread uses it */
    size_t misalign;    /* each arena starts this many bytes after a page, and never at a multiple of its own size */
    int dirty;          /* arenas come full of 0xA5, and are overwritten when they come back */
    size_t fail_at;     /* this call (1 is the first) gives NULL; 0: none */
    size_t fail_from;   /* this call and all after it give NULL; 0: none */
    size_t fail_tenths; /* so many of ten calls, by chance, give NULL */
    /* what it saw */
    size_t size;  /* of the first call */
    size_t calls; /* of alloc */
    size_t given;
    size_t returned;
    /* private */
    pthread_mutex_t mutex;
    struct random random;
    size_t count;
    struct {
        void *map;
        void *arena;
    } alive[ARENA_SOURCE_MAX];
};

void arena_source_init(struct arena_source *source);
/* Every arena has come back. */
void arena_source_fini(struct arena_source *source);
/* Becomes the arena allocator. */
void arena_source_install(struct arena_source *source);
/* Arenas that have been given and not come back. */
size_t arena_source_alive(struct arena_source *source);

#endif /* TESTS_SUPPORT_ARENA_SOURCE_H */
