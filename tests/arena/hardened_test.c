/* SPDX-License-Identifier: MIT */
/*
 * hardened_test.c - hardened mode: marks say where free and live blocks start, words stand in their ends, blocks are
 *                   carved in no order.
 */
#include "lib/arena/hardened.h"

#include <stdlib.h>
#include <string.h>

#include "lib/arena/arena.h"
#include "lib/arena/pool.h"
#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"

#define HEAP 1u

static void start(void) {
    gi_hardened_use();
    gi_address_map_init((size_t)64 << 20);
    gi_hardened_ready();
    EXPECT(gi_link_key != 0 && gi_hardened.key == gi_link_key);
    EXPECT(gi_hardened.base == (uintptr_t)gi_os_reservation()->base);
}

static gi_pool *make_pool(unsigned kind, unsigned size_class) {
    gi_pool *pool = gi_arena_acquire_pool(size_class, kind, gi_word_make(HEAP, kind, size_class));
    EXPECT(pool != NULL);
    return pool;
}

static unsigned mark_of(const void *address) { return gi_load_relaxed(gi_hardened_mark(address)); }

/* Carves the whole pool; the blocks in their order. */
static size_t carve_all(gi_pool *pool, char **blocks) {
    size_t count = 0;
    while (gi_pool_has_free(pool)) {
        uint32_t carved;
        bool fresh;
        const gi_link *link = gi_pool_take(pool, &carved, &fresh);
        EXPECT(!fresh); /* there are words in it */
        for (; link != NULL; link = gi_link_next(link), carved--) {
            EXPECT(carved > 0);
            blocks[count++] = gi_pool_block(pool, link);
        }
        EXPECT_EQ(carved, 0);
    }
    EXPECT_EQ(count, pool->capacity);
    return count;
}

static void expect_carved(unsigned kind, unsigned size_class) {
    char *blocks[GI_POOL_SIZE / GI_ALIGNMENT];
    gi_pool *pool = make_pool(kind, size_class);
    size_t size = gi_class_size(size_class), before = 0, count;
    for (size_t offset = 0; offset < GI_POOL_SIZE; offset += GI_ALIGNMENT) {
        EXPECT_EQ(mark_of(pool->memory + offset), GI_MARK_NONE);
    }
    count = carve_all(pool, blocks);
    for (size_t i = 0; i < count; i++) {
        EXPECT_EQ((size_t)(blocks[i] - pool->memory) % size, 0);
        EXPECT_EQ(mark_of(blocks[i]), GI_MARK_FREE);
        gi_store_relaxed(gi_hardened_mark(blocks[i]), GI_MARK_LIVE); /* so each comes once */
        before += i > 0 && blocks[i] < blocks[i - 1];
    }
    /* Hostile builds carve a block at a time, or two. */
    EXPECT(before > count / 8 || size > 128 || UNDER_HOSTILE);
    for (size_t offset = 0; offset < count * size; offset += GI_ALIGNMENT) {
        EXPECT_EQ(mark_of(pool->memory + offset), offset % size == 0 ? GI_MARK_LIVE : GI_MARK_NONE);
    }
    gi_hardened_clear(pool->memory);
    EXPECT_EQ(mark_of(pool->memory), GI_MARK_NONE);
}

static void a_pool_is_carved_in_no_order(void) {
    start();
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        expect_carved(GI_KIND_MEM, size_class);
    }
}

static void two_pools_have_two_orders(void) {
    start();
    gi_pool *pools[2] = {make_pool(GI_KIND_MEM, 1), make_pool(GI_KIND_MEM, 1)};
    char *blocks[2][GI_POOL_SIZE / GI_ALIGNMENT];
    size_t count = carve_all(pools[0], blocks[0]), same = 0;
    carve_all(pools[1], blocks[1]);
    for (size_t i = 0; i < count; i++) {
        same += blocks[0][i] - pools[0]->memory == blocks[1][i] - pools[1]->memory;
    }
    EXPECT(same < count || UNDER_HOSTILE);
}

/* Each byte of the words counts, and no other. */
static void expect_ends(unsigned kind, size_t size) {
    size_t offset = gi_hardened_offset(kind);
    _Alignas(16) char block[512], copy[512];
    memset(block, 0x5A, sizeof(block));
    gi_hardened_fill(kind, block, size);
    for (size_t i = 0; i < size; i++) {
        memcpy(copy, block, sizeof(copy)); /* the words are of the address, so it is block that is changed */
        block[i] ^= 1;
        bool in_word =
            gi_hardened_has_word(kind) &&
            (i >= size - 8 || (offset + 8 + 16 <= size && (i >= size - 16 || (i >= offset + 8 && i < offset + 16))));
        const char *wrong = gi_hardened_written(kind, block, size);
        EXPECT_EQ(wrong != NULL, in_word);
        EXPECT(!in_word || (wrong <= block + i && block + i < wrong + 8));
        memcpy(block, copy, sizeof(copy));
    }
    EXPECT(memcmp(block, copy, offset) == 0);
    EXPECT(gi_hardened_written(kind, block, size) == NULL);
    EXPECT(gi_hardened_is_whole(kind, block, size));
    for (size_t i = 0; i < size; i++) {
        block[i] ^= 1;
        EXPECT_EQ(!gi_hardened_is_whole(kind, block, size), gi_hardened_has_word(kind) && i >= size - 8);
        block[i] ^= 1;
    }
    EXPECT(!gi_hardened_has_word(kind) || block[size - 8] != 0); /* a null byte shows */
    for (size_t i = size; i < sizeof(block); i++) {
        EXPECT_EQ(block[i], 0x5A);
    }
}

static void words_stand_in_the_ends(void) {
    start();
    for (size_t size = 16; size <= 512; size += 16) {
        expect_ends(GI_KIND_OBJECT, size);
    }
    static const size_t untouched[] = {1, 20, 400, 496, 497, 504};
    for (size_t i = 0; i < LENGTH(untouched); i++) {
        unsigned kind = (unsigned)gi_kind_make("made", untouched[i], false);
        EXPECT_EQ(gi_hardened_has_word(kind), untouched[i] <= 496);
        for (size_t size = 16; size <= 512; size += 16) {
            if (size >= gi_kinds[kind].least + (size_t)gi_kinds[kind].tail) {
                expect_ends(kind, size);
            }
        }
    }
}

static void kinds_from_before_have_a_tail_too(void) {
    int kind = gi_kind_make("before", 8, false);
    EXPECT_EQ(gi_kinds[kind].tail, 0);
    start();
    EXPECT_EQ(gi_kinds[kind].tail, 8);
    EXPECT_EQ(gi_kinds[GI_KIND_MEM].tail, 8);
}

/* An arena from a user's allocator. */
static void *arena; /* the last one */

static void *map_arena(void *ctx, size_t size) {
    (void)ctx;
    return arena = aligned_alloc(GI_POOL_SIZE, size);
}
static void free_arena(void *ctx, void *memory, size_t size) {
    (void)ctx;
    (void)size;
    free(memory);
}

static void arenas_elsewhere_have_marks(void) {
    start();
    gi_arena_set_allocator(&(gi_arena_allocator){NULL, map_arena, free_arena});
    gi_pool *pool = make_pool(GI_KIND_MEM, 3);
    EXPECT(gi_hardened_granule(pool->memory) >= gi_hardened.granules);
    expect_carved(GI_KIND_MEM, 3);
    free(arena); /* the process ends */
}

/* What a slot had, the next one who gets it does not see. */
static void marks_go_back_with_their_arena(void) {
    start();
    gi_pool *pool = make_pool(GI_KIND_MEM, 0);
    const char *memory = pool->memory;
    uint32_t count;
    bool fresh;
    gi_link *first = gi_pool_take(pool, &count, &fresh), *last = first;
    EXPECT_EQ(mark_of(first), GI_MARK_FREE);
    while (gi_link_next(last) != NULL) {
        last = gi_link_next(last);
    }
    gi_pool_give(pool, first, last, count);
    gi_arena_release_pool(pool);
    gi_arena_purge();
    EXPECT(gi_os_slots_used() == 1);
    for (size_t offset = 0; offset < GI_POOL_SIZE; offset += GI_ALIGNMENT) {
        EXPECT_EQ(mark_of(memory + offset), GI_MARK_NONE);
    }
}

static void without_the_mode_nothing_is_there(void) {
    gi_address_map_init((size_t)64 << 20);
    gi_hardened_ready();
    EXPECT(!gi_hardened.on && gi_link_key == 0);
    EXPECT(gi_os_reservation()->marks == NULL);
    EXPECT_EQ(gi_kinds[GI_KIND_MEM].tail, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_pool_is_carved_in_no_order),      IN_CHILD(two_pools_have_two_orders),
        IN_CHILD(words_stand_in_the_ends),           IN_CHILD(kinds_from_before_have_a_tail_too),
        IN_CHILD(arenas_elsewhere_have_marks),       IN_CHILD(marks_go_back_with_their_arena),
        IN_CHILD(without_the_mode_nothing_is_there),
    };
    return cmocka_run_group_tests_name("hardened", tests, NULL, NULL);
}
