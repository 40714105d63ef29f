/* SPDX-License-Identifier: MIT */
/*
 * remote_list_test.c - push, take, close, open; many push and one takes, each link once.
 *   The links carry plain words that the pusher writes and the taker reads: ThreadSanitizer sees whether the list
 *   orders them.
 */
#include "concurrency/remote_list.h"

#include <stdlib.h>
#include <string.h>

#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static gi_remote_list list;

/* --- one thread ------------------------------------------------------------------------------- */

static gi_link links[6];

/* Chains first..last of the links above. */
static gi_link *chain(size_t first, size_t last) {
    for (size_t i = first; i < last; i++) {
        links[i].next = &links[i + 1];
    }
    links[last].next = (gi_link *)&links; /* the list must overwrite it */
    return &links[first];
}

static void expect_chain(const gi_link *found, const size_t *indices, size_t count) {
    for (size_t i = 0; i < count; i++, found = found->next) {
        EXPECT(found == &links[indices[i]]);
    }
    EXPECT(found == NULL);
}

static void push_and_take(void) {
    EXPECT(!gi_remote_list_any(&list));
    EXPECT(gi_remote_list_take_all(&list) == NULL);
    EXPECT(gi_remote_list_push(&list, chain(0, 0), &links[0], 1));
    EXPECT(gi_remote_list_any(&list));
    EXPECT_EQ(gi_load_relaxed(&list.waiting), 1);
    EXPECT(gi_remote_list_push(&list, chain(1, 3), &links[3], 3));
    EXPECT(gi_remote_list_push(&list, chain(4, 5), &links[5], 2));
    EXPECT_EQ(gi_load_relaxed(&list.waiting), 6);
    /* The newest chain first, each in its own order. */
    expect_chain(gi_remote_list_take_all(&list), (size_t[]){4, 5, 1, 2, 3, 0}, 6);
    EXPECT_EQ(gi_load_relaxed(&list.waiting), 0);
    EXPECT(!gi_remote_list_any(&list));
    EXPECT(gi_remote_list_take_all(&list) == NULL);
}

static void closed_refuses_and_leaves_the_chain(void) {
    EXPECT(gi_remote_list_push(&list, chain(0, 1), &links[1], 2));
    expect_chain(gi_remote_list_close(&list), (size_t[]){0, 1}, 2);
    EXPECT_EQ(gi_load_relaxed(&list.waiting), 0);
    EXPECT(!gi_remote_list_any(&list));
    for (int i = 0; i < 2; i++) {
        gi_link *first = chain(2, 4);
        links[4].next = NULL;
        EXPECT(!gi_remote_list_push(&list, first, &links[4], 3));
        expect_chain(first, (size_t[]){2, 3, 4}, 3);
        EXPECT_EQ(gi_load_relaxed(&list.waiting), 0);
    }
    EXPECT(gi_remote_list_close(&list) == NULL); /* still closed */
    EXPECT(!gi_remote_list_push(&list, chain(2, 2), &links[2], 1));
    gi_remote_list_open(&list);
    EXPECT(!gi_remote_list_any(&list));
    EXPECT(gi_remote_list_push(&list, chain(2, 4), &links[4], 3));
    expect_chain(gi_remote_list_take_all(&list), (size_t[]){2, 3, 4}, 3);
}

static void take_from_a_closed_list(void) {
    (void)gi_remote_list_close(&list);
    (void)gi_remote_list_take_all(&list);
}

static void open_a_list_that_has_something(void) {
    EXPECT(gi_remote_list_push(&list, chain(0, 0), &links[0], 1));
    gi_remote_list_open(&list);
}

/* --- many push, one takes --------------------------------------------------------------------- */

#define PUSHERS 4
#define BATCH 5
#define PUSHES ROUNDS(20000)

typedef struct block {
    gi_link link;
    size_t pusher, number; /* plain: written by the pusher, read by the taker */
} block;

struct pusher {
    size_t index;
    block *blocks; /* PUSHES * BATCH */
    size_t pushed; /* blocks of it that the list has accepted */
    size_t refused;
};

static struct pusher pushers[PUSHERS];
static struct shared pushing; /* pushers that are not done */
static size_t taken_count[PUSHERS];
static unsigned char *taken_marks[PUSHERS];

static void setup_pushers(void) {
    for (size_t i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct pusher){.index = i, .blocks = calloc(PUSHES * BATCH, sizeof(block))};
        taken_marks[i] = calloc(PUSHES * BATCH, 1);
        EXPECT(pushers[i].blocks != NULL && taken_marks[i] != NULL);
    }
    shared_set(&pushing, PUSHERS);
}

static void free_pushers(void) {
    for (size_t i = 0; i < PUSHERS; i++) {
        free(pushers[i].blocks);
        free(taken_marks[i]);
    }
}

/* The next chain of 1..BATCH blocks, written to. */
static uint32_t make_chain(struct pusher *self, size_t next, block **last) {
    uint32_t count = (uint32_t)(1 + next % BATCH);
    for (uint32_t i = 0; i < count; i++) {
        block *at = &self->blocks[next + i];
        at->pusher = self->index;
        at->number = next + i;
        at->link.next = i + 1 < count ? &self->blocks[next + i + 1].link : NULL;
    }
    *last = &self->blocks[next + count - 1];
    return count;
}

static void *push_all(void *arg) {
    struct pusher *self = arg;
    for (size_t next = 0, i = 0; i < PUSHES; i++) {
        block *last;
        uint32_t count = make_chain(self, next, &last);
        if (gi_remote_list_push(&list, &self->blocks[next].link, &last->link, count)) {
            self->pushed += count;
        } else {
            EXPECT(last->link.next == NULL);
            self->refused += count;
        }
        next += count;
    }
    shared_add(&pushing, (size_t)-1);
    return NULL;
}

/* Marks each block as taken, once.  Blocks of one pusher come in the order of its chains, newest first. */
static void mark(gi_link *first) {
    for (gi_link *link = first; link != NULL; link = link->next) {
        block *at = (block *)link;
        EXPECT(at->pusher < PUSHERS);
        EXPECT(at == &pushers[at->pusher].blocks[at->number]);
        EXPECT_EQ(taken_marks[at->pusher][at->number]++, 0);
        taken_count[at->pusher]++;
    }
}

static void *take_until_done(void *arg) {
    (void)arg;
    for (bool last_time = false; !last_time;) {
        last_time = shared_get(&pushing) == 0;
        if (gi_remote_list_any(&list)) {
            mark(gi_remote_list_take_all(&list));
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void many_push_and_one_takes(void) {
    setup_pushers();
    pthread_t taker = thread_start(take_until_done, NULL);
    threads_run(PUSHERS, push_all, pushers, sizeof(pushers[0]));
    thread_join(taker);
    mark(gi_remote_list_take_all(&list));
    for (size_t i = 0; i < PUSHERS; i++) {
        EXPECT_EQ(pushers[i].refused, 0);
        EXPECT_EQ(taken_count[i], pushers[i].pushed);
    }
    EXPECT(!gi_remote_list_any(&list));
    free_pushers();
}

/* --- an owner that ends and comes back -------------------------------------------------------- */

static size_t owners_word; /* plain: the owner writes it before it closes; whoever is refused reads it */

static void *push_until_refused(void *arg) {
    struct pusher *self = arg;
    size_t next = 0;
    for (size_t i = 0; i < PUSHES; i++) {
        block *last;
        uint32_t count = make_chain(self, next, &last);
        if (!gi_remote_list_push(&list, &self->blocks[next].link, &last->link, count)) {
            EXPECT_EQ(owners_word, 42);
            EXPECT_EQ(last->number, next + count - 1);
            break;
        }
        self->pushed += count;
        next += count;
    }
    shared_add(&pushing, (size_t)-1);
    return NULL;
}

static void *take_some_and_close(void *arg) {
    (void)arg;
    for (int i = 0; i < 100; i++) {
        mark(gi_remote_list_take_all(&list));
    }
    owners_word = 42;
    mark(gi_remote_list_close(&list));
    return NULL;
}

static void nothing_is_stranded_behind_an_owner_that_ends(void) {
    setup_pushers();
    pthread_t taker = thread_start(take_some_and_close, NULL);
    threads_run(PUSHERS, push_until_refused, pushers, sizeof(pushers[0]));
    thread_join(taker);
    EXPECT(gi_remote_list_close(&list) == NULL);
    for (size_t i = 0; i < PUSHERS; i++) {
        EXPECT_EQ(taken_count[i], pushers[i].pushed);
    }
    free_pushers();
}

static void *close_and_open(void *arg) {
    (void)arg;
    for (bool last_time = false; !last_time;) {
        last_time = shared_get(&pushing) == 0;
        mark(gi_remote_list_take_all(&list));
        mark(gi_remote_list_close(&list));
        sched_yield();
        gi_remote_list_open(&list);
    }
    mark(gi_remote_list_take_all(&list));
    return NULL;
}

static void owners_come_and_go(void) {
    setup_pushers();
    pthread_t taker = thread_start(close_and_open, NULL);
    threads_run(PUSHERS, push_all, pushers, sizeof(pushers[0]));
    thread_join(taker);
    for (size_t i = 0; i < PUSHERS; i++) {
        EXPECT_EQ(taken_count[i], pushers[i].pushed);
    }
    free_pushers();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(push_and_take),
        IN_CHILD(closed_refuses_and_leaves_the_chain),
        FAILS_ASSERTION(take_from_a_closed_list, "links != GI_REMOTE_CLOSED"),
        FAILS_ASSERTION(open_a_list_that_has_something, "!gi_remote_list_any(list)"),
        IN_CHILD(many_push_and_one_takes),
        IN_CHILD(nothing_is_stranded_behind_an_owner_that_ends),
        IN_CHILD(owners_come_and_go),
    };
    return cmocka_run_group_tests_name("remote list", tests, NULL, NULL);
}
