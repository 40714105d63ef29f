/* SPDX-License-Identifier: MIT */
/*
 * pattern_test.c - each byte that is changed is found, where it is.
 */
#include "stress/pattern.h"

#include <string.h>

#include "tests/stress/files.h"

#define ROOM 1100
static _Alignas(16) unsigned char room[ROOM];

static const size_t sizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 511, 512, 513, 1000};
#define SIZES (sizeof sizes / sizeof *sizes)

static void test_fill_stays_within(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        memset(room, 0xee, sizeof room);
        pattern_fill(room + 16, sizes[i], 42);
        for (size_t j = 0; j < 16; j++) assert_int_equal(room[j], 0xee);
        for (size_t j = 16 + sizes[i]; j < ROOM; j++) assert_int_equal(room[j], 0xee);
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(room[16 + j], pattern_byte(42, j));
        assert_int_equal(pattern_check(room + 16, sizes[i], 42), sizes[i]);
    }
}

static void test_each_changed_byte_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        pattern_fill(room, sizes[i], 7);
        for (size_t j = 0; j < sizes[i]; j++) {
            room[j] ^= 0x10;
            assert_int_equal(pattern_check(room, sizes[i], 7), j);
            room[j] ^= 0x10;
        }
    }
}

static void test_prefix_is_the_pattern_of_the_whole(void **state) {
    (void)state;
    pattern_fill(room, 1000, 9);
    for (size_t size = 0; size <= 1000; size++) assert_int_equal(pattern_check(room, size, 9), size);
}

static void test_ids_and_offsets_differ(void **state) {
    (void)state;
    pattern_fill(room, 64, 1);
    assert_true(pattern_check(room, 64, 2) < 64);
    assert_true(pattern_check(room + 8, 8, 1) < 8);
    memset(room, 0, 64);
    assert_true(pattern_check(room, 64, 0) < 64 || pattern_check(room, 64, 1) < 64);
}

static void test_first_byte_not_zero(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        memset(room, 0, sizeof room);
        assert_int_equal(pattern_check_zero(room, sizes[i]), sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++) {
            room[j] = 1;
            assert_int_equal(pattern_check_zero(room, sizes[i]), j);
            room[j] = 0;
        }
        room[sizes[i]] = 1; /* behind the end */
        assert_int_equal(pattern_check_zero(room, sizes[i]), sizes[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill_stays_within),
        cmocka_unit_test(test_each_changed_byte_is_found),
        cmocka_unit_test(test_prefix_is_the_pattern_of_the_whole),
        cmocka_unit_test(test_ids_and_offsets_differ),
        cmocka_unit_test(test_first_byte_not_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
