/* SPDX-License-Identifier: MIT */
/*
 * pool_test.c - blocks are carved once, in order; come back; what is no block is told apart, for each class and each
 *               offset; the check finds each fault that is planted.
 */
#include "lib/arena/pool.h"

#include <stdlib.h>
#include <string.h>

#include "tests/concurrency/unit.h"

static _Alignas(GI_POOL_SIZE) char memory[GI_POOL_SIZE];

static gi_pool new_pool(unsigned size_class, bool zero) {
    gi_pool pool;
    memset(&pool, 0xA5, sizeof(pool)); /* a descriptor that has been used before */
    memset(memory, zero ? 0 : 0xA5, sizeof(memory));
    pool.memory = memory;
    gi_pool_init(&pool, size_class, GI_KIND_OBJECT, zero);
    EXPECT_EQ(gi_pool_check(&pool), 0);
    return pool;
}

static size_t offset_of(const void *block) { return (size_t)((const char *)block - memory); }

/* Takes; counts; checks what *count says. */
static gi_link *take(gi_pool *pool, uint32_t *count, bool *fresh) {
    EXPECT(gi_pool_has_free(pool));
    uint16_t taken = pool->taken;
    gi_link *blocks = gi_pool_take(pool, count, fresh);
    uint32_t length = 0;
    for (const gi_link *block = blocks; block != NULL; block = block->next) {
        length++;
    }
    EXPECT(length > 0);
    EXPECT_EQ(length, *count);
    EXPECT_EQ(pool->taken, taken + length);
    EXPECT_EQ(gi_pool_check(pool), 0);
    return blocks;
}

static void give(gi_pool *pool, gi_link *block) { gi_pool_give(pool, block, block, 1); }

/* --- carving ---------------------------------------------------------------------------------- */

static void blocks_are_carved_once_and_in_order(void) {
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        for (int zero = 0; zero < 2; zero++) {
            gi_pool pool = new_pool(size_class, zero != 0);
            size_t size = gi_class_size(size_class), next = 0;
            EXPECT_EQ(pool.capacity, GI_POOL_SIZE / size);
            EXPECT_EQ(pool.size_class, size_class);
            EXPECT_EQ(pool.kind, GI_KIND_OBJECT);
            EXPECT(!pool.full && pool.next == NULL && pool.prev == NULL);
            while (gi_pool_has_free(&pool)) {
                uint32_t count;
                bool fresh;
                uint16_t carved = pool.carved;
                gi_link *blocks = take(&pool, &count, &fresh);
                EXPECT_EQ(fresh, zero);
                EXPECT_EQ(pool.carved, carved + count);
                for (gi_link *block = blocks, *after; block != NULL; block = after, next++) {
                    after = block->next;
                    EXPECT_EQ(offset_of(block), next * size);
                    for (size_t i = sizeof(gi_link); fresh && i < size; i++) {
                        EXPECT_EQ(((const char *)block)[i], 0);
                    }
                    memset(block, 0x77, size); /* nobody else's memory */
                }
                /* What has not been carved has not been touched. */
                for (size_t i = next * size; i < GI_POOL_SIZE; i++) {
                    EXPECT_EQ((unsigned char)memory[i], zero ? 0 : 0xA5);
                }
            }
            EXPECT_EQ(next, pool.capacity);
            EXPECT_EQ(pool.taken, pool.capacity);
            EXPECT(GI_POOL_SIZE - next * size < size);
        }
    }
}

static void a_first_take_touches_part_of_a_pool_only(void) {
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        gi_pool pool = new_pool(size_class, false);
        uint32_t count;
        bool fresh;
        take(&pool, &count, &fresh);
        EXPECT_AT_MOST(count * gi_class_size(size_class),
                       gi_class_size(size_class) > GI_POOL_SIZE / 8 ? gi_class_size(size_class) : GI_POOL_SIZE / 8);
    }
}

/* --- take and give ---------------------------------------------------------------------------- */

static void what_came_back_is_taken_whole_and_newest_first(void) {
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        gi_pool pool = new_pool(size_class, true);
        gi_link *blocks[GI_POOL_SIZE / GI_ALIGNMENT];
        size_t taken = 0;
        uint32_t count;
        bool fresh;
        while (gi_pool_has_free(&pool) && taken < 8) {
            for (gi_link *block = take(&pool, &count, &fresh); block != NULL; block = block->next) {
                blocks[taken++] = block;
            }
        }
        size_t given = taken / 2;
        for (size_t i = 0; i < given; i++) {
            EXPECT_EQ(gi_pool_examine(&pool, blocks[2 * i], 0), GI_BLOCK_OK);
            give(&pool, blocks[2 * i]);
            EXPECT_EQ(pool.taken, taken - i - 1);
            EXPECT_EQ(pool.free_count, i + 1);
            EXPECT_EQ(gi_pool_check(&pool), 0);
        }
        /* Before anything more is carved. */
        uint16_t carved = pool.carved;
        gi_link *block = take(&pool, &count, &fresh);
        EXPECT_EQ(count, given);
        EXPECT(!fresh);
        EXPECT_EQ(pool.carved, carved);
        EXPECT_EQ(pool.free_count, 0);
        for (size_t i = given; i-- > 0; block = block->next) {
            EXPECT(block == blocks[2 * i]);
        }
        EXPECT_EQ(pool.taken, taken);
    }
}

static void a_full_pool_empties_and_fills_again(void) {
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        gi_pool pool = new_pool(size_class, true);
        static gi_link *blocks[GI_POOL_SIZE / GI_ALIGNMENT];
        for (int round = 0; round < 3; round++) {
            size_t taken = 0;
            uint32_t count;
            bool fresh;
            while (gi_pool_has_free(&pool)) {
                for (gi_link *block = take(&pool, &count, &fresh), *next; block != NULL; block = next) {
                    next = block->next;
                    blocks[taken++] = block;
                    memset(block, round, gi_class_size(size_class));
                }
            }
            EXPECT_EQ(taken, pool.capacity);
            for (size_t i = 0; i < taken; i++) {
                give(&pool, blocks[round == 1 ? taken - 1 - i : i]);
            }
            EXPECT_EQ(pool.taken, 0);
            EXPECT_EQ(pool.free_count, pool.capacity);
            EXPECT_EQ(gi_pool_check(&pool), 0);
        }
    }
}

/* --- what is no block ------------------------------------------------------------------------- */

/* Compares each offset with what plain division says, after so many blocks of a list. */
static void expect_examined_after(const gi_pool *pool, unsigned given) {
    size_t size = gi_class_size(pool->size_class);
    for (size_t offset = 0; offset < GI_POOL_SIZE; offset++) {
        gi_block_fault expected = offset % size != 0              ? GI_BLOCK_INTERIOR
                                  : offset / size >= pool->carved ? GI_BLOCK_NOT_CARVED
                                  : pool->taken <= given          ? GI_BLOCK_NONE_TAKEN
                                                                  : GI_BLOCK_OK;
        gi_block_fault found = gi_pool_examine(pool, (const gi_link *)(const void *)(memory + offset), given);
        if (found != expected) {
            expect_failed(__FILE__, __LINE__, "class %u, %u carved, %u taken, offset %zu: %d, not %d", pool->size_class,
                          pool->carved, pool->taken, offset, (int)found, (int)expected);
        }
    }
}

static void expect_examined(const gi_pool *pool) {
    expect_examined_after(pool, 0);
    expect_examined_after(pool, 1);
    expect_examined_after(pool, pool->taken);
}

static void every_offset_of_every_class_is_told_apart(void) {
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        gi_pool pool = new_pool(size_class, true);
        uint32_t count;
        bool fresh;
        expect_examined(&pool); /* nothing carved */
        gi_link *some = take(&pool, &count, &fresh);
        expect_examined(&pool);
        for (gi_link *next; some != NULL; some = next) {
            next = some->next;
            give(&pool, some);
        }
        expect_examined(&pool); /* carved, but none taken */
        while (gi_pool_has_free(&pool)) {
            take(&pool, &count, &fresh);
        }
        expect_examined(&pool); /* all carved, all taken */
    }
}

/* --- planted faults --------------------------------------------------------------------------- */

/* A pool with three free blocks and something taken and something not yet carved. */
static gi_pool pool_with_three_free(unsigned size_class) {
    gi_pool pool = new_pool(size_class, true);
    gi_link *blocks[6];
    size_t taken = 0;
    while (taken < LENGTH(blocks)) {
        uint32_t count;
        bool fresh;
        for (gi_link *block = take(&pool, &count, &fresh); block != NULL; block = block->next) {
            if (taken < LENGTH(blocks)) {
                blocks[taken++] = block;
            }
        }
    }
    for (size_t i = 0; i < 3; i++) {
        give(&pool, blocks[2 * i]);
    }
    EXPECT(pool.carved < pool.capacity);
    EXPECT_EQ(gi_pool_check(&pool), 0);
    return pool;
}

static const unsigned planted_classes[] = {0, 1, 2, 6, 15, 19};

static void the_check_finds_p1(void) {
    for (size_t i = 0; i < LENGTH(planted_classes); i++) {
        gi_pool pool = pool_with_three_free(planted_classes[i]);
        pool.taken++;
        EXPECT_BROKEN("P1", gi_pool_check(&pool));
        pool.taken -= 2;
        EXPECT_BROKEN("P1", gi_pool_check(&pool));
        pool.taken++;
        pool.carved++;
        EXPECT_BROKEN("P1", gi_pool_check(&pool));
        pool.carved--;
        pool.free_count++;
        EXPECT_BROKEN("P1", gi_pool_check(&pool));
        pool.free_count--;
        EXPECT_EQ(gi_pool_check(&pool), 0);
        uint16_t capacity = pool.capacity;
        pool.capacity = (uint16_t)(pool.carved - 1);
        EXPECT_BROKEN("P1", gi_pool_check(&pool));
        pool.capacity = capacity;
        EXPECT_EQ(gi_pool_check(&pool), 0);
    }
}

static void the_check_finds_p2(void) {
    for (size_t i = 0; i < LENGTH(planted_classes); i++) {
        gi_pool pool = pool_with_three_free(planted_classes[i]);
        pool.free_count++;
        pool.taken--;
        EXPECT_BROKEN("P2", gi_pool_check(&pool));
        pool.free_count -= 2;
        pool.taken += 2;
        EXPECT_BROKEN("P2", gi_pool_check(&pool));
        pool.free_count++;
        pool.taken--;
        gi_link *last = pool.free->next->next;
        last->next = pool.free; /* a ring: a double free */
        EXPECT_BROKEN("P2", gi_pool_check(&pool));
        last->next = NULL;
        gi_link *all = pool.free;
        pool.free = pool.free->next; /* a block is lost */
        EXPECT_BROKEN("P2", gi_pool_check(&pool));
        pool.free = NULL;
        EXPECT_BROKEN("P2", gi_pool_check(&pool));
        pool.free = all;
        EXPECT_EQ(gi_pool_check(&pool), 0);
    }
}

static void the_check_finds_p3(void) {
    for (size_t i = 0; i < LENGTH(planted_classes); i++) {
        gi_pool pool = pool_with_three_free(planted_classes[i]);
        gi_link *last = pool.free->next->next, *second = pool.free->next;
        gi_link elsewhere = {NULL};
        gi_link *const wrong[] = {
            (gi_link *)((char *)last + 8), /* inside a block */
            (gi_link *)((char *)last - 1),
            (gi_link *)(memory + GI_POOL_SIZE),            /* in the next pool */
            (gi_link *)((uintptr_t)memory - GI_POOL_SIZE), /* in the one before */
            &elsewhere,
            (gi_link *)(uintptr_t)0x4141414141414140, /* a use after free wrote text */
        };
        for (size_t j = 0; j < LENGTH(wrong); j++) {
            second->next = wrong[j];
            EXPECT_BROKEN("P3", gi_pool_check(&pool));
        }
        second->next = last;
        EXPECT_EQ(gi_pool_check(&pool), 0);
    }
}

/* What was never carved cannot be free. */
static void the_check_finds_what_was_never_carved(void) {
    for (size_t i = 0; i < LENGTH(planted_classes); i++) {
        gi_pool pool = pool_with_three_free(planted_classes[i]);
        gi_link *second = pool.free->next;
        second->next = (gi_link *)(memory + pool.carved * gi_class_size(pool.size_class));
        EXPECT_BROKEN("P3", gi_pool_check(&pool));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(blocks_are_carved_once_and_in_order),
        IN_CHILD(a_first_take_touches_part_of_a_pool_only),
        IN_CHILD(what_came_back_is_taken_whole_and_newest_first),
        IN_CHILD(a_full_pool_empties_and_fills_again),
        IN_CHILD(every_offset_of_every_class_is_told_apart),
        IN_CHILD(the_check_finds_p1),
        IN_CHILD(the_check_finds_p2),
        IN_CHILD(the_check_finds_p3),
        IN_CHILD(the_check_finds_what_was_never_carved),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
