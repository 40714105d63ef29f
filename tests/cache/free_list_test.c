/* SPDX-License-Identifier: MIT */
/*
 * free_list_test.c - what may be in a list of free blocks, and how each look at one ends that finds something else.
 */
#include "lib/cache/free_list.h"

#include <string.h>

#include "lib/arena/arena.h"
#include "tests/concurrency/unit.h"

#define KIND GI_KIND_OBJECT
#define CLASS 5u /* blocks of 96 bytes */
#define SIZE ((size_t)96)
#define FUNCTION "PyObject_Malloc"
#define HEAP 1u

static gi_pool *make_pool(unsigned kind, unsigned size_class) {
    if (gi_os_reservation()->base == NULL) {
        gi_address_map_init((size_t)64 << 20);
    }
    gi_pool *pool = gi_arena_acquire_pool(size_class, kind, gi_word_make(HEAP, kind, size_class));
    EXPECT(pool != NULL);
    return pool;
}

/* A list of the first blocks of a new pool, four at least: each leads to the next. */
static gi_link *make_list(void) {
    gi_pool *pool = make_pool(KIND, CLASS);
    gi_link *first = NULL, *last = NULL;
    while (pool->carved < 4) {
        uint32_t count;
        bool fresh;
        gi_link *more = gi_pool_take(pool, &count, &fresh);
        if (first == NULL) {
            first = more;
        } else {
            last->next = more;
        }
        for (last = more; last->next != NULL;) {
            last = last->next;
        }
    }
    return first;
}

static gi_link *at(gi_link *list, size_t bytes) { return (gi_link *)(void *)((char *)list + bytes); }

static void only_starts_of_blocks_of_the_kind_and_class_may_be_held(void) {
    gi_link *list = make_list();
    gi_pool *other_kind = make_pool(GI_KIND_MEM, CLASS), *other_class = make_pool(KIND, CLASS + 1);
    for (size_t offset = 0; offset < GI_POOL_SIZE; offset++) {
        EXPECT_EQ(gi_free_list_may_hold(KIND, CLASS, at(list, offset)), offset % SIZE == 0);
    }
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, (gi_link *)(void *)other_kind->memory));
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, (gi_link *)(void *)other_class->memory));
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, NULL));
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, (gi_link *)(uintptr_t)(10 * SIZE)));
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, (gi_link *)(void *)&list));
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, (gi_link *)(void *)gi_os_reservation()->base));
    EXPECT(!gi_free_list_may_hold(KIND, CLASS, (gi_link *)UINTPTR_MAX));
    /* Links behind untouched bytes. */
    int kind = gi_kind_make("test", 20, false);
    gi_pool *pool = make_pool((unsigned)kind, CLASS);
    for (size_t offset = 0; offset < GI_POOL_SIZE; offset++) {
        EXPECT_EQ(gi_free_list_may_hold((unsigned)kind, CLASS, (gi_link *)(void *)(pool->memory + offset)),
                  offset % SIZE == 24);
    }
}

static void addresses_of_one_pool_are_near(void) {
    uintptr_t pool = (uintptr_t)7 << 20;
    EXPECT(gi_free_list_are_near(pool, pool + 16));
    EXPECT(gi_free_list_are_near(pool + GI_POOL_SIZE - 16, pool));
    EXPECT(!gi_free_list_are_near(pool, pool));
    EXPECT(!gi_free_list_are_near(pool, pool + 8));
    EXPECT(!gi_free_list_are_near(pool, pool + GI_POOL_SIZE));
    EXPECT(!gi_free_list_are_near(pool + GI_POOL_SIZE, pool + GI_POOL_SIZE - 16));
    EXPECT(!gi_free_list_are_near(pool, 0));
}

/* Every look, at a list that is right. */
static void a_list_that_is_right_is_left_alone(void) {
    gi_link *list = make_list(), *second = list->next, *elsewhere = make_list();
    elsewhere->next = NULL;
    second->next = elsewhere; /* two pools */
    EXPECT(gi_free_list_begins_well(CLASS, list));
    gi_free_list_look_at_head(KIND, CLASS, list, FUNCTION);
    gi_free_list_look(KIND, CLASS, list, FUNCTION);
    gi_free_list_look(KIND, CLASS, second, FUNCTION);
    gi_free_list_look(KIND, CLASS, elsewhere, FUNCTION);
    gi_free_list_look_at_all(KIND, CLASS, list, elsewhere, 3, FUNCTION);
    gi_free_list_look_at_all(KIND, CLASS, list, second, 2, FUNCTION);
    EXPECT(gi_free_list_next(KIND, CLASS, list, FUNCTION) == second);
    EXPECT(gi_free_list_next(KIND, CLASS, second, FUNCTION) == elsewhere);
    EXPECT(gi_free_list_next(KIND, CLASS, elsewhere, FUNCTION) == NULL);
}

/* --- lists that are wrong --------------------------------------------------------------------- */

static void look_at_a_list_that_goes_on_with(gi_link *list, gi_link *next) {
    list->next = next;
    EXPECT(!gi_free_list_begins_well(CLASS, list));
    gi_free_list_look(KIND, CLASS, list, FUNCTION);
}

static void look_at_a_block_that_leads_to_itself(const void *unused) {
    (void)unused;
    gi_link *list = make_list();
    look_at_a_list_that_goes_on_with(list, list);
}

static void look_at_a_block_that_leads_inside_another(const void *unused) {
    (void)unused;
    gi_link *list = make_list();
    look_at_a_list_that_goes_on_with(list, at(list, SIZE + 8));
}

static void look_at_a_block_that_leads_nowhere(const void *unused) {
    (void)unused;
    look_at_a_list_that_goes_on_with(make_list(), (gi_link *)(uintptr_t)(10 * SIZE));
}

static void look_at_two_in_turns(const void *unused) {
    (void)unused;
    gi_link *list = make_list();
    list->next->next = list;
    EXPECT(!gi_free_list_begins_well(CLASS, list));
    gi_free_list_look(KIND, CLASS, list, FUNCTION);
}

static void look_at_two_of_two_pools_in_turns(const void *unused) {
    (void)unused;
    gi_link *list = make_list();
    list->next = make_list();
    list->next->next = list;
    gi_free_list_look(KIND, CLASS, list, FUNCTION);
}

static void look_at_an_inside(const void *unused) {
    (void)unused;
    gi_link *list = at(make_list(), 32);
    list->next = NULL;
    gi_free_list_look(KIND, CLASS, list, FUNCTION);
}

static void look_at_a_wrong_head(const void *unused) {
    (void)unused;
    make_list();
    gi_free_list_look_at_head(KIND, CLASS, (gi_link *)(uintptr_t)(10 * SIZE), FUNCTION);
}

static void look_at_all_of_a_ring(const void *unused) {
    (void)unused;
    gi_link *list = make_list(), *last = list->next->next;
    last->next = list->next;
    gi_free_list_look_at_all(KIND, CLASS, list, last, 4, FUNCTION);
}

static void look_at_all_of_too_few(const void *unused) {
    (void)unused;
    gi_link *list = make_list(), *last = list->next;
    last->next = NULL;
    gi_free_list_look_at_all(KIND, CLASS, list, last, 3, FUNCTION);
}

static void follow_to_another_class(const void *unused) {
    (void)unused;
    gi_link *list = make_list();
    list->next = (gi_link *)(void *)make_pool(KIND, CLASS + 1)->memory;
    gi_free_list_next(KIND, CLASS, list, FUNCTION);
}

static void follow_to_a_pool_that_has_gone(const void *unused) {
    (void)unused;
    gi_link *list = make_list();
    gi_pool *gone = make_pool(KIND, CLASS);
    list->next = (gi_link *)(void *)gone->memory;
    gi_store_relaxed(gi_address_word(gone->memory), GI_WORD_NO_POOL);
    gi_free_list_next(KIND, CLASS, list, FUNCTION);
}

#define DOUBLE_FREE                                      \
    "Fatal gilloc error: PyObject_Malloc: double free\n" \
    "  domain   object\n"                                \
    "  block    X, of 96 bytes\n"                        \
    "  found    later, in a list of free blocks\n"       \
    "  do       free each block once\n"
#define INSIDE(offset)                                       \
    "Fatal gilloc error: PyObject_Malloc: invalid pointer\n" \
    "  domain   object\n"                                    \
    "  block    X, " offset                                  \
    " bytes behind the start of one of 96 bytes\n"           \
    "  found    later, in a list of free blocks\n"           \
    "  do       free the pointer that the allocation returned\n"
#define CORRUPTED(block, link)                                   \
    "Fatal gilloc error: PyObject_Malloc: corrupted free list\n" \
    "  domain   object\n"                                        \
    "  block    " block                                          \
    "\n"                                                         \
    "  link     " link                                           \
    "\n"                                                         \
    "  do       look for a write to the block while it was free, or past the end of the one before it\n"

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(only_starts_of_blocks_of_the_kind_and_class_may_be_held),
        IN_CHILD(addresses_of_one_pool_are_near),
        IN_CHILD(a_list_that_is_right_is_left_alone),
        DIES(look_at_a_block_that_leads_to_itself, DOUBLE_FREE),
        DIES(look_at_a_block_that_leads_inside_another, INSIDE("8")),
        DIES(look_at_a_block_that_leads_nowhere, CORRUPTED("X, of 96 bytes", "X, not mapped")),
        DIES(look_at_two_in_turns, DOUBLE_FREE),
        DIES(look_at_two_of_two_pools_in_turns, DOUBLE_FREE),
        DIES(look_at_an_inside, INSIDE("32")),
        DIES(look_at_a_wrong_head, CORRUPTED("one of 96 bytes that has been used since", "X, not mapped")),
        DIES(look_at_all_of_a_ring, DOUBLE_FREE),
        DIES(look_at_all_of_too_few, CORRUPTED("X, of 96 bytes", "(nil), not mapped")),
        DIES(follow_to_another_class, CORRUPTED("X, of 96 bytes", "X, in gilloc's arenas")),
        DIES(follow_to_a_pool_that_has_gone, DOUBLE_FREE),
    };
    return cmocka_run_group_tests_name("free list", tests, NULL, NULL);
}
