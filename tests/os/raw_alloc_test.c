/* SPDX-License-Identifier: MIT */
/*
 * raw_alloc_test.c - the raw domain over the C library: CPython's rules for 0 bytes, and what malloc(3) gives.
 */
#include "lib/os/raw_alloc.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "tests/concurrency/unit.h"

static void requests_of_0_bytes_give_distinct_blocks(void) {
    void *blocks[] = {gi_raw_malloc(NULL, 0),      gi_raw_malloc(NULL, 0),      gi_raw_calloc(NULL, 0, 0),
                      gi_raw_calloc(NULL, 0, 100), gi_raw_calloc(NULL, 100, 0), gi_raw_realloc(NULL, NULL, 0)};
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        EXPECT(blocks[i] != NULL);
        EXPECT(gi_raw_usable_size(blocks[i]) >= 1);
        for (size_t j = 0; j < i; j++) {
            EXPECT(blocks[i] != blocks[j]);
        }
    }
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        gi_raw_free(NULL, blocks[i]);
    }
    gi_raw_free(NULL, NULL);
}

static void resizing_to_0_bytes_does_not_free(void) {
    char *block = gi_raw_malloc(NULL, 100);
    EXPECT(block != NULL);
    block[0] = 'x';
    block = gi_raw_realloc(NULL, block, 0);
    EXPECT(block != NULL);
    EXPECT_EQ(block[0], 'x');
    gi_raw_free(NULL, block);
}

static void blocks_hold_what_was_asked_for(void) {
    static const size_t sizes[] = {1, 16, 17, 512, 513, 4096, 100000, 1 << 20};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        unsigned char *block = gi_raw_malloc(NULL, sizes[i]);
        EXPECT(block != NULL && gi_raw_usable_size(block) >= sizes[i]);
        EXPECT_EQ((uintptr_t)block % 16, 0);
        memset(block, 0x5A, sizes[i]);
        block = gi_raw_realloc(NULL, block, 2 * sizes[i]);
        EXPECT(block != NULL && gi_raw_usable_size(block) >= 2 * sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++) {
            EXPECT_EQ(block[j], 0x5A);
        }
        gi_raw_free(NULL, block);
        block = gi_raw_calloc(NULL, 3, sizes[i]);
        EXPECT(block != NULL);
        for (size_t j = 0; j < 3 * sizes[i]; j++) {
            EXPECT_EQ(block[j], 0);
        }
        gi_raw_free(NULL, block);
    }
    EXPECT_EQ(gi_raw_usable_size(NULL), 0);
}

static void what_cannot_be_had_is_null(void) {
    char *block = gi_raw_malloc(NULL, 10);
    EXPECT(block != NULL);
    memcpy(block, "unchanged", 10);
    EXPECT(gi_raw_realloc(NULL, block, PTRDIFF_MAX) == NULL);
    EXPECT(memcmp(block, "unchanged", 10) == 0);
    EXPECT(gi_raw_malloc(NULL, PTRDIFF_MAX) == NULL);
    EXPECT(gi_raw_calloc(NULL, PTRDIFF_MAX / 4, 4) == NULL);
    gi_raw_free(NULL, block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(requests_of_0_bytes_give_distinct_blocks),
        IN_CHILD(resizing_to_0_bytes_does_not_free),
        IN_CHILD(blocks_hold_what_was_asked_for),
        IN_CHILD(what_cannot_be_had_is_null),
    };
    return cmocka_run_group_tests_name("raw alloc", tests, NULL, NULL);
}
