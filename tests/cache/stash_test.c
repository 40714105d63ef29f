/* SPDX-License-Identifier: MIT */
/*
 * stash_test.c - lists of free blocks that threads leave for each other: what comes in goes out, how much is held.
 *   Lists are made up: the stash looks into none.
 */
#include "lib/cache/stash.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/concurrency/unit.h"

#define KIND 1u
#define CLASS 3u
#define LEAST (GI_STASH_BYTES_MIN / (uint32_t)gi_class_size(CLASS))
#define MOST (GI_STASH_BYTES_MAX / (uint32_t)gi_class_size(CLASS))

static gi_stash stash;
static gi_link links[2 * GI_STASH_LISTS];

static bool put(size_t n, uint32_t length) { return gi_stash_put(&stash, KIND, CLASS, &links[n], length); }

static void expect_list(size_t n, uint32_t length) {
    uint32_t found = 0;
    EXPECT(gi_stash_take(&stash, KIND, CLASS, &found) == &links[n]);
    EXPECT_EQ(found, length);
}

static void expect_none(void) {
    uint32_t length;
    EXPECT(gi_stash_take(&stash, KIND, CLASS, &length) == NULL);
}

/* As many lists of `length` blocks as it takes; they are taken out again. */
static uint32_t room(uint32_t length) {
    uint32_t lists = 0, unused;
    while (put(lists, length)) {
        lists++;
    }
    for (uint32_t i = 0; i < lists; i++) {
        EXPECT(gi_stash_take(&stash, KIND, CLASS, &unused) != NULL);
    }
    return lists;
}

static void an_empty_stash_gives_nothing(void) {
    expect_none();
    EXPECT(gi_stash_surplus(&stash, KIND, CLASS) == NULL);
    EXPECT(gi_stash_empty(&stash, KIND, CLASS) == NULL);
    EXPECT(!gi_stash_any(&stash, KIND, CLASS));
    EXPECT(!gi_stash_waits(&stash, KIND, CLASS));
}

static void the_last_list_comes_first_and_classes_are_apart(void) {
    uint32_t length;
    EXPECT(put(0, 1));
    EXPECT(put(1, 2));
    EXPECT(gi_stash_any(&stash, KIND, CLASS) && gi_stash_waits(&stash, KIND, CLASS));
    EXPECT(!gi_stash_any(&stash, KIND, CLASS + 1) && !gi_stash_any(&stash, KIND - 1, CLASS));
    EXPECT(gi_stash_take(&stash, KIND, CLASS + 1, &length) == NULL);
    expect_list(1, 2);
    expect_list(0, 1);
    expect_none();
    EXPECT(put(2, 1));
    EXPECT(gi_stash_empty(&stash, KIND, CLASS) == &links[2]);
    EXPECT(!gi_stash_any(&stash, KIND, CLASS));
}

static void lists_and_blocks_are_bounded(void) {
    EXPECT_EQ(room(0), GI_STASH_LISTS);
    expect_none(); /* and may hold more from now on */
    EXPECT(!put(0, MOST + 1));
    EXPECT(gi_stash_waits(&stash, KIND, CLASS)); /* whoever needs blocks is to say so */
    EXPECT(!gi_stash_any(&stash, KIND, CLASS));
}

/* Untouched memory is not there: what has a few lists of each class costs little. */
static void few_lists_of_all_classes_touch_few_pages(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (sizeof(gi_stash) + page - 1) / page, touched = 0;
    gi_stash *large = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *is_there = calloc(pages, 1);
    EXPECT(large != MAP_FAILED && is_there != NULL);
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        EXPECT(gi_stash_put(large, 0, size_class, &links[0], 1));
        EXPECT(gi_stash_put(large, 0, size_class, &links[1], 1));
    }
    EXPECT_EQ(mincore(large, pages * page, is_there), 0);
    for (size_t i = 0; i < pages; i++) {
        touched += is_there[i] & 1;
    }
    EXPECT_AT_MOST(touched, 1);
    free(is_there);
    EXPECT_EQ(munmap(large, pages * page), 0);
}

static void it_holds_more_if_it_refused_and_is_found_empty(void) {
    EXPECT(put(0, LEAST));
    EXPECT(!put(1, 1));
    expect_list(0, LEAST);
    for (uint32_t cap = LEAST;;) {
        EXPECT(!put(0, cap + 1));
        EXPECT(put(0, cap));
        EXPECT(!put(1, 1));
        expect_list(0, cap);
        expect_none();
        EXPECT(!gi_stash_waits(&stash, KIND, CLASS));
        if (cap == MOST) {
            break;
        }
        cap = cap * 2 < MOST ? cap * 2 : MOST;
    }
    EXPECT(!put(0, MOST + 1));
}

static void it_holds_less_if_it_refuses_and_nobody_takes(void) {
    for (uint32_t cap = LEAST; cap < MOST; cap *= 2) { /* to the most */
        EXPECT(!put(0, cap + 1));
        expect_none();
    }
    EXPECT(put(0, LEAST));
    EXPECT(put(1, MOST - LEAST));
    gi_link *surplus = NULL;
    for (int i = 0; surplus == NULL; i++) {
        EXPECT(i < 100);
        EXPECT(!put(2, MOST));
        surplus = gi_stash_surplus(&stash, KIND, CLASS);
    }
    EXPECT(surplus == &links[1]); /* to be given back; what is left is no more than may be */
    EXPECT(gi_stash_surplus(&stash, KIND, CLASS) == NULL);
    for (int i = 0; i < 100; i++) {
        EXPECT(!put(2, MOST));
        EXPECT(gi_stash_surplus(&stash, KIND, CLASS) == NULL); /* the least stays */
    }
    expect_list(0, LEAST);
    EXPECT(put(0, LEAST));
    EXPECT(!put(1, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(an_empty_stash_gives_nothing),
        IN_CHILD(the_last_list_comes_first_and_classes_are_apart),
        IN_CHILD(lists_and_blocks_are_bounded),
        IN_CHILD(few_lists_of_all_classes_touch_few_pages),
        IN_CHILD(it_holds_more_if_it_refused_and_is_found_empty),
        IN_CHILD(it_holds_less_if_it_refuses_and_nobody_takes),
    };
    return cmocka_run_group_tests_name("stash", tests, NULL, NULL);
}
