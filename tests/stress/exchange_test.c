/* SPDX-License-Identifier: MIT */
/*
 * exchange_test.c - no block is lost or doubled between threads.
 */
#include "stress/exchange.h"

#include <pthread.h>
#include <stdlib.h>

#include "tests/stress/files.h"

#define CAPACITY 8

static struct block made_by(uint32_t thread, uint32_t record) {
    return (struct block){.address = (void *)1, .id = block_id(thread, record)};
}

static void test_give_and_take_in_order(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(3, CAPACITY);
    struct block blocks[CAPACITY], taken[CAPACITY];
    for (uint32_t i = 0; i < 5; i++) blocks[i] = made_by(1, i);
    assert_int_equal(exchange_give(exchange, 0, 0, blocks, 3), 3); /* to place 1 */
    assert_int_equal(exchange_give(exchange, 0, 1, blocks, 1), 1); /* to place 2 */
    assert_int_equal(exchange_give(exchange, 0, 2, blocks + 3, 2), 2);
    assert_int_equal(exchange_take(exchange, 0, 1, taken, CAPACITY), 0);
    assert_int_equal(exchange_take(exchange, 1, 2, taken, 2), 2);
    assert_int_equal(exchange_take(exchange, 1, 2, taken + 2, CAPACITY), 3);
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(taken[i].id, block_id(1, i));
    assert_int_equal(exchange_take(exchange, 2, 3, taken, CAPACITY), 1);
    exchange_delete(exchange);
}

static void test_a_full_mailbox_refuses(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(2, CAPACITY);
    struct block blocks[CAPACITY + 3], taken[CAPACITY];
    for (uint32_t i = 0; i < CAPACITY + 3; i++) blocks[i] = made_by(1, i);
    assert_int_equal(exchange_give(exchange, 0, 0, blocks, CAPACITY + 3), CAPACITY);
    assert_int_equal(exchange_give(exchange, 0, 0, blocks, 1), 0);
    assert_int_equal(exchange_take(exchange, 1, 2, taken, CAPACITY), CAPACITY);
    assert_int_equal(exchange_give(exchange, 0, 0, blocks, 1), 1);
    assert_int_equal(exchange_take(exchange, 1, 2, taken, CAPACITY), 1);
    exchange_delete(exchange);
}

/* With one place the next thread takes what this one gave. */
static void test_own_blocks_are_not_taken(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(1, CAPACITY);
    struct block blocks[] = {made_by(1, 0), made_by(1, 1), made_by(2, 0)}, taken[CAPACITY];
    assert_int_equal(exchange_give(exchange, 0, 0, blocks, 3), 3);
    assert_int_equal(exchange_take(exchange, 0, 1, taken, CAPACITY), 0);
    assert_int_equal(exchange_take(exchange, 0, 2, taken, CAPACITY), 2);
    assert_int_equal(exchange_take(exchange, 0, 3, taken, CAPACITY), 1);
    exchange_delete(exchange);
}

static void test_estates_are_inherited_in_order(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(1, CAPACITY);
    struct block *estate;
    for (size_t count = 1; count <= 3; count++) {
        estate = calloc(count, sizeof *estate);
        assert_int_equal(exchange_bequeath(exchange, estate, count), 0);
    }
    for (size_t count = 1; count <= 3; count++) {
        assert_int_equal(exchange_inherit(exchange, &estate), count);
        free(estate);
    }
    assert_int_equal(exchange_inherit(exchange, &estate), 0);
    assert_null(estate);
    for (size_t count = 4; count <= 5; count++) {
        estate = calloc(count, sizeof *estate);
        assert_int_equal(exchange_bequeath(exchange, estate, count), 0);
    }
    assert_int_equal(exchange_inherit(exchange, &estate), 4);
    free(estate); /* and exchange_delete() the other one */
    exchange_delete(exchange);
}

#define GIVERS 3
#define ROUNDS 20000

struct giver {
    struct exchange *exchange;
    uint32_t thread;
    uint64_t given, taken, sum; /* numbers of records given, less those taken */
};

/* Gives numbered blocks and takes others'; the same number goes out and in. */
static void *give_and_take(void *argument) {
    struct giver *giver = argument;
    struct block taken[CAPACITY];
    unsigned place = giver->thread - 1;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct block block = made_by(giver->thread, i);
        if (exchange_give(giver->exchange, place, i, &block, 1) == 1) {
            giver->given++;
            giver->sum += i;
        }
        size_t n = exchange_take(giver->exchange, place, giver->thread, taken, CAPACITY);
        for (size_t j = 0; j < n; j++) giver->sum -= (uint32_t)taken[j].id;
        giver->taken += n;
    }
    return NULL;
}

static void test_threads_lose_nothing(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(GIVERS, CAPACITY);
    struct giver givers[GIVERS];
    pthread_t threads[GIVERS];
    uint64_t given = 0, taken = 0, sum = 0;
    for (uint32_t i = 0; i < GIVERS; i++) {
        givers[i] = (struct giver){.exchange = exchange, .thread = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, give_and_take, &givers[i]), 0);
    }
    for (int i = 0; i < GIVERS; i++) {
        pthread_join(threads[i], NULL);
        given += givers[i].given;
        taken += givers[i].taken;
        sum += givers[i].sum;
    }
    for (unsigned place = 0; place < GIVERS; place++) {
        struct block rest[CAPACITY];
        size_t n = exchange_take(exchange, place, 0, rest, CAPACITY);
        for (size_t j = 0; j < n; j++) sum -= (uint32_t)rest[j].id;
        taken += n;
    }
    assert_int_equal(given, taken);
    assert_int_equal(sum, 0);
    exchange_delete(exchange);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_give_and_take_in_order),   cmocka_unit_test(test_a_full_mailbox_refuses),
        cmocka_unit_test(test_own_blocks_are_not_taken), cmocka_unit_test(test_estates_are_inherited_in_order),
        cmocka_unit_test(test_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
