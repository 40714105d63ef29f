/* SPDX-License-Identifier: MIT */
/*
 * arena_source.c - arenas from mmap(2), each in a map with room to spare.
 */
#include "tests/support/arena_source.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/expect.h"
#include "tests/support/sanitizer.h"

#define PAGE ((size_t)4096)
/* A page to shift the start by, and one for `misalign`. */
#define MAP_EXTRA (2 * PAGE)

static int refuses_locked(struct arena_source *source) {
    return source->calls == source->fail_at || (source->fail_from != 0 && source->calls >= source->fail_from) ||
           (source->fail_tenths != 0 && random_below(&source->random, 10) < source->fail_tenths);
}

static void *source_alloc(void *ctx, size_t size) {
    struct arena_source *source = ctx;
    pthread_mutex_lock(&source->mutex);
    if (source->calls++ == 0) {
        source->size = size;
    }
    EXPECT_EQ(size, source->size);
    EXPECT(UNDER_HOSTILE || size == ARENA_SIZE);
    if (refuses_locked(source)) {
        pthread_mutex_unlock(&source->mutex);
        return NULL;
    }
    EXPECT(source->count < ARENA_SOURCE_MAX);
    char *map = mmap(NULL, size + MAP_EXTRA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(map != MAP_FAILED);
    char *arena = map + source->misalign;
    if ((uintptr_t)arena % size == 0) {
        arena += PAGE;
    }
    if (source->dirty) {
        memset(arena, 0xA5, size);
    }
    source->alive[source->count].map = map;
    source->alive[source->count].arena = arena;
    source->count++;
    source->given++;
    pthread_mutex_unlock(&source->mutex);
    return arena;
}

static void source_free(void *ctx, void *arena, size_t size) {
    struct arena_source *source = ctx;
    pthread_mutex_lock(&source->mutex);
    EXPECT_EQ(size, source->size);
    size_t i = 0;
    while (i < source->count && source->alive[i].arena != arena) {
        i++;
    }
    if (i == source->count) {
        expect_failed(__FILE__, __LINE__, "arena %p came back, which this source has not given or has back", arena);
    }
    if (source->dirty) {
        memset(arena, 0xDD, size);
    }
    EXPECT_EQ(munmap(source->alive[i].map, size + MAP_EXTRA), 0);
    source->alive[i] = source->alive[--source->count];
    source->returned++;
    pthread_mutex_unlock(&source->mutex);
}

void arena_source_init(struct arena_source *source) {
    memset(source, 0, sizeof(*source));
    source->random = random_seeded(1);
    EXPECT_EQ(pthread_mutex_init(&source->mutex, NULL), 0);
}

void arena_source_fini(struct arena_source *source) {
    EXPECT_EQ(arena_source_alive(source), 0);
    EXPECT_EQ(source->given, source->returned);
    EXPECT_EQ(pthread_mutex_destroy(&source->mutex), 0);
}

void arena_source_install(struct arena_source *source) {
    PyObjectArenaAllocator allocator = {source, source_alloc, source_free};
    PyObject_SetArenaAllocator(&allocator);
}

size_t arena_source_alive(struct arena_source *source) {
    pthread_mutex_lock(&source->mutex);
    size_t count = source->count;
    pthread_mutex_unlock(&source->mutex);
    return count;
}
