/* SPDX-License-Identifier: MIT */
/*
 * replay_test.c - a pass accounts for every block, also when it is stopped.
 */
#include "stress/replay.h"

#include <stdlib.h>

#include "tests/stress/files.h"

static struct trace trace;
static struct faults faults;

struct watch {
    unsigned calls, parts; /* parts: how many calls before it says stop */
    struct replay_counts sum;
};

static bool go_on(void *argument, const struct replay_counts *done) {
    struct watch *watch = argument;
    assert_int_equal(PyGILState_Check(), 0);
    watch->sum.operations += done->operations;
    watch->sum.allocated += done->allocated;
    watch->sum.freed += done->freed;
    watch->sum.remote_frees += done->remote_frees;
    return ++watch->calls <= watch->parts;
}

static int set_up(void **state) {
    (void)state;
    char error[512];
    faults_init(&faults, NULL, NULL);
    return trace_load(&trace, "stress/traces/startup.trc.xz", error, sizeof error);
}

static int tear_down(void **state) {
    (void)state;
    trace_unload(&trace);
    return 0;
}

static struct watch pass(struct exchange *exchange, uint32_t thread, unsigned parts, unsigned remote_percent) {
    struct watch watch = {.parts = parts};
    struct replay job = {.trace = &trace,
                         .exchange = exchange,
                         .faults = &faults,
                         .seed = 1,
                         .remote_percent = remote_percent,
                         .thread = thread,
                         .go_on = go_on,
                         .argument = &watch};
    replay_pass(&job);
    assert_null(PyGILState_GetThisThreadState());
    assert_string_equal(faults.first, "");
    return watch;
}

static void test_nothing_left_to_others(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(1, REPLAY_MAILBOX);
    struct block *estate;
    struct watch first = pass(exchange, 1, 1000, 0);
    assert_int_equal(first.sum.operations, 53068 + 2818);
    assert_int_equal(first.sum.allocated, first.sum.freed);
    assert_int_equal(first.sum.remote_frees, 0);
    assert_int_equal(exchange_inherit(exchange, &estate), 0);
    assert_int_equal(gilloc_allocated_blocks(), 0);
    exchange_delete(exchange);
}

/* The heir of blocks is stopped early, and still frees all that it took over, at once. */
static void test_stopped_heir(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(1, REPLAY_MAILBOX);
    struct block *estate;
    struct watch first = pass(exchange, 1, 1000, 50);
    uint64_t left = first.sum.allocated - first.sum.freed;
    assert_true(left > 2818 / 4);
    assert_int_equal(first.calls, 53068 / 2048 + 3); /* each part, the end of them, the end of the pass */

    struct watch heir = pass(exchange, 2, 0, 0);
    assert_true(heir.sum.remote_frees == left);
    assert_true(heir.sum.freed == heir.sum.allocated + left);
    assert_true(heir.sum.operations < 53068 / 2);
    assert_int_equal(heir.calls, 3);
    assert_int_equal(exchange_inherit(exchange, &estate), 0);
    assert_int_equal(gilloc_allocated_blocks(), 0);
    exchange_delete(exchange);
}

static void test_rest_is_freed(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(1, REPLAY_MAILBOX);
    struct replay_counts rest = {0};
    struct watch first = pass(exchange, 1, 1000, 50);
    replay_free_rest(exchange, 1, 0, &faults, &rest);
    assert_string_equal(faults.first, "");
    assert_true(rest.freed == first.sum.allocated - first.sum.freed);
    assert_true(rest.remote_frees == rest.freed && rest.operations == rest.freed);
    assert_int_equal(gilloc_allocated_blocks(), 0);
    exchange_delete(exchange);
}

/* An object domain in which, at one call, another thread seems to be attached. */
static PyMemAllocatorEx sound;
static uint32_t attached;
static unsigned mallocs;

static void *intruding_malloc(void *ctx, size_t size) {
    (void)ctx;
    if (++mallocs == 1000) attached = 7;
    return sound.malloc(sound.ctx, size);
}

static void test_two_attached(void **state) {
    (void)state;
    struct exchange *exchange = exchange_new(1, REPLAY_MAILBOX);
    struct watch watch = {.parts = 1000};
    struct replay job = {.trace = &trace,
                         .exchange = exchange,
                         .faults = &faults,
                         .thread = 1,
                         .attached = &attached,
                         .go_on = go_on,
                         .argument = &watch};
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &sound);
    PyMemAllocatorEx intruding = sound;
    intruding.malloc = intruding_malloc;
    replay_pass(&job);
    assert_string_equal(faults.first, "");
    assert_int_equal(attached, 1);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &intruding);
    replay_pass(&job);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &sound);
    assert_string_equal(faults.first, "threads 1 and 7 are attached at one time, in gil mode");
    assert_int_equal(gilloc_allocated_blocks(), 0);
    exchange_delete(exchange);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_left_to_others), cmocka_unit_test(test_stopped_heir),
        cmocka_unit_test(test_rest_is_freed), cmocka_unit_test(test_two_attached), /* the last: it leaves a fault */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
