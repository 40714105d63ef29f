/* SPDX-License-Identifier: MIT */
/*
 * kind_test.c - kinds are made once, numbered in order, up to as many as there are; where their links stand; pools of
 *               each with links at each offset.
 */
#include "lib/arena/kind.h"

#include <string.h>

#include "concurrency/remote_list.h"
#include "lib/arena/pool.h"
#include "tests/concurrency/unit.h"
#include "tests/support/threads.h"

static void mem_and_object_are_there(void) {
    EXPECT_EQ(gi_kind_count(), 2);
    EXPECT_EQ(strcmp(gi_kinds[GI_KIND_MEM].name, "mem"), 0);
    EXPECT_EQ(strcmp(gi_kinds[GI_KIND_OBJECT].name, "object"), 0);
    for (unsigned kind = 0; kind < 2; kind++) {
        EXPECT_EQ(gi_kinds[kind].link_offset, 0);
        EXPECT(!gi_kinds[kind].type_stable);
    }
}

static void kinds_are_numbered_until_there_are_no_more(void) {
    for (int kind = 2; kind < GI_KINDS; kind++) {
        char name[] = "kind a";
        name[5] = (char)('a' + kind);
        EXPECT_EQ(gi_kind_make(name, (size_t)kind * 8, kind % 2 != 0), kind);
        EXPECT_EQ(gi_kind_count(), kind + 1);
        name[0] = 'X'; /* it has been copied */
    }
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(gi_kind_make("one more", 0, false), -1);
        EXPECT_EQ(gi_kind_count(), GI_KINDS);
    }
    for (int kind = 2; kind < GI_KINDS; kind++) {
        char name[] = "kind a";
        name[5] = (char)('a' + kind);
        EXPECT_EQ(strcmp(gi_kinds[kind].name, name), 0);
        EXPECT_EQ(gi_kinds[kind].link_offset, kind * 8);
        EXPECT_EQ(gi_kinds[kind].type_stable, kind % 2 != 0);
    }
}

static void a_link_stands_behind_the_untouched_bytes_at_a_word(void) {
    static const size_t untouched[] = {0, 1, 7, 8, 9, 16, 24, 25, 503, 504};
    static const size_t offsets[] = {0, 8, 8, 8, 16, 16, 24, 32, 504, 504};
    for (size_t i = 0; i < LENGTH(untouched); i++) {
        int kind = gi_kind_make("k", untouched[i], false);
        EXPECT_EQ(gi_kinds[kind].link_offset, offsets[i]);
    }
}

static void the_longest_name_is_kept_whole(void) {
    char name[GI_KIND_NAME_SIZE];
    memset(name, 'n', sizeof(name));
    name[GI_KIND_NAME_SIZE - 1] = '\0';
    EXPECT_EQ(strcmp(gi_kinds[gi_kind_make(name, 0, false)].name, name), 0);
}

static unsigned char made[GI_KINDS];

static void *make_some(void *arg) {
    (void)arg;
    for (int i = 0; i < 4; i++) {
        int kind = gi_kind_make("made", 16, true);
        if (kind >= 0) {
            EXPECT((unsigned)kind < gi_kind_count());
            EXPECT_EQ(strcmp(gi_kinds[kind].name, "made"), 0);
            EXPECT_EQ(gi_kinds[kind].link_offset, 16);
            made[kind]++; /* nobody else has it */
        }
    }
    return NULL;
}

/* It makes none, so that nothing but the count tells it what there is. */
static void *read_all(void *arg) {
    (void)arg;
    for (unsigned count = 0; count < GI_KINDS; sched_yield()) {
        count = gi_kind_count();
        for (unsigned kind = GI_KIND_OBJECT + 1; kind < count; kind++) {
            EXPECT_EQ(strcmp(gi_kinds[kind].name, "made"), 0);
            EXPECT_EQ(gi_kinds[kind].link_offset, 16);
            EXPECT(gi_kinds[kind].type_stable);
        }
    }
    return NULL;
}

static void threads_make_them_at_once(void) {
    pthread_t reader = thread_start(read_all, NULL);
    threads_run(8, make_some, NULL, 0);
    thread_join(reader);
    EXPECT_EQ(gi_kind_count(), GI_KINDS);
    for (int kind = 2; kind < GI_KINDS; kind++) {
        EXPECT_EQ(made[kind], 1);
    }
}

/* --- pools ------------------------------------------------------------------------------------ */

static _Alignas(GI_POOL_SIZE) unsigned char memory[GI_POOL_SIZE];

/* Nothing of a block but its link is written, as it is carved, taken and given. */
static void a_pool_touches_nothing_but_links(void) {
    static const size_t untouched[] = {0, 8, 16, 24, 104, 504};
    for (size_t i = 0; i < LENGTH(untouched); i++) {
        int kind = gi_kind_make("k", untouched[i], false);
        unsigned smallest = gi_size_class(untouched[i] + sizeof(gi_link));
        for (unsigned size_class = smallest; size_class < GI_CLASSES; size_class++) {
            gi_pool pool = {.memory = (char *)memory};
            memset(memory, 0xA5, sizeof(memory));
            gi_pool_init(&pool, size_class, (unsigned)kind, false);
            size_t size = gi_class_size(size_class), next = 0;
            while (gi_pool_has_free(&pool)) {
                uint32_t count;
                bool fresh;
                gi_link *links = gi_pool_take(&pool, &count, &fresh), *after;
                for (gi_link *link = links; link != NULL; link = after, next++) {
                    after = link->next;
                    EXPECT_EQ((char *)link - pool.memory, next * size + untouched[i]);
                    EXPECT(gi_pool_block(&pool, link) == pool.memory + next * size);
                    EXPECT_EQ(gi_pool_examine(&pool, link, 0), GI_BLOCK_OK);
                    if (untouched[i] != 0) { /* the block itself is no link */
                        EXPECT_EQ(gi_pool_examine(&pool, (gi_link *)(void *)(pool.memory + next * size), 0),
                                  GI_BLOCK_INTERIOR);
                    }
                }
            }
            EXPECT_EQ(next, pool.capacity);
            for (size_t n = 0; n < next; n++) {
                gi_link *link = (gi_link *)(void *)(memory + n * size + untouched[i]);
                gi_pool_give(&pool, link, link, 1);
            }
            EXPECT_EQ(gi_pool_check(&pool), 0);
            EXPECT_EQ(pool.taken, 0);
            for (size_t at = 0; at < next * size; at++) {
                size_t in_block = at % size;
                if (in_block < untouched[i] || in_block >= untouched[i] + sizeof(gi_link)) {
                    EXPECT_EQ(memory[at], 0xA5);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(mem_and_object_are_there),
        IN_CHILD(kinds_are_numbered_until_there_are_no_more),
        IN_CHILD(a_link_stands_behind_the_untouched_bytes_at_a_word),
        IN_CHILD(the_longest_name_is_kept_whole),
        IN_CHILD(threads_make_them_at_once),
        IN_CHILD(a_pool_touches_nothing_but_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
