/* SPDX-License-Identifier: MIT */
/*
 * block_test.c - what an allocator may do wrong is seen, and said in whole.
 */
#include "stress/block.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/pattern.h"
#include "tests/stress/files.h"

static struct faults faults;
static char told[256];

static void tell(void *argument, const char *fault) {
    assert_ptr_equal(argument, told);
    snprintf(told, sizeof told, "%s", fault);
}

static int set_up(void **state) {
    (void)state;
    told[0] = '\0';
    faults_init(&faults, tell, told);
    return 0;
}

static void assert_told(const char *text) {
    assert_string_equal(told, text);
    assert_string_equal(faults.first, text);
    assert_int_equal(faults_count(&faults), 1);
}

/* --- sound ------------------------------------------------------------------------------------ */

static void test_sound_blocks(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 1, 16, 100, 512, 513, 5000};
    PyGILState_STATE outer = PyGILState_Ensure();
    for (int domain = PYMEM_DOMAIN_RAW; domain <= PYMEM_DOMAIN_OBJ; domain++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct block a = {0}, b = {0};
            uint32_t size = sizes[i], other = sizes[(i + 3) % (sizeof sizes / sizeof *sizes)];
            assert_true(block_malloc(&a, (PyMemAllocatorDomain)domain, size, block_id(1, 2), &faults));
            assert_true(block_calloc(&b, (PyMemAllocatorDomain)domain, size, block_id(1, 3), &faults));
            assert_int_equal(block_thread(&a), 1);
            assert_int_equal(pattern_check(a.address, size, block_id(1, 2)), size);
            assert_true(block_realloc(&a, other, block_id(4, 5), &faults));
            assert_int_equal(block_thread(&a), 4);
            assert_int_equal(a.size, other);
            assert_int_equal(pattern_check(a.address, other, block_id(4, 5)), other);
            assert_true(block_free(&a, 9, &faults));
            assert_true(block_free(&b, 9, &faults));
            assert_null(a.address);
        }
    }
    PyGILState_Release(outer);
    assert_int_equal(faults_count(&faults), 0);
    assert_int_equal(gilloc_allocated_blocks(), 0);
}

/* --- damaged by somebody ---------------------------------------------------------------------- */

static void test_damaged_before_free(void **state) {
    (void)state;
    struct block block;
    char text[256];
    assert_true(block_malloc(&block, PYMEM_DOMAIN_RAW, 21, block_id(3, 1234), &faults));
    unsigned char *bytes = block.address, was = bytes[20];
    bytes[20] = (unsigned char)~was;
    assert_false(block_free(&block, 5, &faults));
    snprintf(
        text, sizeof text,
        "raw block of 21 bytes at %p (thread 3, record 1234): byte 20 is 0x%02x, not 0x%02x, before free by thread 5",
        block.address, (unsigned char)~was, was);
    assert_told(text);
    bytes[20] = was; /* it was left alone */
    assert_true(block_free(&block, 5, &faults));
}

static void test_damaged_before_realloc(void **state) {
    (void)state;
    struct block block;
    char text[256];
    assert_true(block_malloc(&block, PYMEM_DOMAIN_RAW, 16, block_id(3, 4), &faults));
    unsigned char *bytes = block.address, was = bytes[0];
    bytes[0] = (unsigned char)~was;
    assert_false(block_realloc(&block, 8, block_id(6, 7), &faults));
    snprintf(
        text, sizeof text,
        "raw block of 16 bytes at %p (thread 3, record 4): byte 0 is 0x%02x, not 0x%02x, before realloc by thread 6",
        block.address, (unsigned char)~was, was);
    assert_told(text);
    bytes[0] = was;
    assert_true(block_free(&block, 5, &faults));
}

static void test_later_faults_are_counted(void **state) {
    (void)state;
    faults_add(&faults, "one %d", 1);
    faults_add(&faults, "two");
    assert_string_equal(told, "one 1");
    assert_string_equal(faults.first, "one 1");
    assert_int_equal(faults_count(&faults), 2);
}

/* --- broken allocators ------------------------------------------------------------------------ */

static _Alignas(16) unsigned char room[64];

static void *none_malloc(void *ctx, size_t size) {
    (void)ctx, (void)size;
    return NULL;
}
static void *none_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx, (void)count, (void)size;
    return NULL;
}
static void *none_realloc(void *ctx, void *block, size_t size) {
    (void)ctx, (void)block, (void)size;
    return NULL;
}
static void *odd_malloc(void *ctx, size_t size) {
    (void)ctx, (void)size;
    return room + 8;
}
static void *dirty_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx, (void)count, (void)size;
    memset(room, 0, sizeof room);
    room[9] = 0xcc;
    return room;
}
/* Keeps all but the last byte that both have. */
static void *forgetful_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    memcpy(room, block, size - 1);
    room[size - 1] = (unsigned char)~((unsigned char *)block)[size - 1];
    return room;
}
static void no_free(void *ctx, void *block) { (void)ctx, (void)block; }

static const PyMemAllocatorEx none = {NULL, none_malloc, none_calloc, none_realloc, no_free};
static const PyMemAllocatorEx broken = {NULL, odd_malloc, dirty_calloc, forgetful_realloc, no_free};

/* The raw domain with another allocator from here to restore(). */
static PyMemAllocatorEx original;
static void replace(const PyMemAllocatorEx *with) {
    PyMemAllocatorEx copy = *with;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &original);
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &copy);
}
static void restore(void) { PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &original); }

static void test_no_memory(void **state) {
    struct block block = {0};
    assert_true(block_malloc(&block, PYMEM_DOMAIN_RAW, 16, block_id(1, 1), &faults));
    struct block before = block;
    replace(&none);
    assert_false(block_malloc(&block, PYMEM_DOMAIN_RAW, 64, block_id(1, 2), &faults));
    assert_told("PyMem_RawMalloc: NULL for 64 bytes (thread 1, record 2)");
    set_up(state);
    assert_false(block_calloc(&block, PYMEM_DOMAIN_RAW, 64, block_id(1, 3), &faults));
    assert_told("PyMem_RawCalloc: NULL for 64 bytes (thread 1, record 3)");
    set_up(state);
    assert_false(block_realloc(&block, 64, block_id(1, 4), &faults));
    assert_told("PyMem_RawRealloc: NULL for 64 bytes (thread 1, record 4)");
    restore();
    assert_memory_equal(&block, &before, sizeof block);
    set_up(state);
    assert_true(block_free(&block, 1, &faults));
}

static void test_not_aligned(void **state) {
    (void)state;
    struct block block = {0};
    char text[256];
    replace(&broken);
    assert_false(block_malloc(&block, PYMEM_DOMAIN_RAW, 5, block_id(1, 2), &faults));
    restore();
    snprintf(text, sizeof text, "PyMem_RawMalloc: %p for 5 bytes is not aligned to 16 (thread 1, record 2)",
             (void *)(room + 8));
    assert_told(text);
    assert_null(block.address);
}

static void test_calloc_not_zero(void **state) {
    (void)state;
    struct block block = {0};
    char text[256];
    replace(&broken);
    assert_false(block_calloc(&block, PYMEM_DOMAIN_RAW, 10, block_id(1, 2), &faults));
    restore();
    snprintf(text, sizeof text,
             "PyMem_RawCalloc: byte 9 of a block of 10 bytes at %p is 0xcc, not 0 (thread 1, record 2)", (void *)room);
    assert_told(text);
    assert_null(block.address);
}

static void test_realloc_loses_a_byte(void **state) {
    (void)state;
    struct block block = {0};
    char text[256];
    assert_true(block_malloc(&block, PYMEM_DOMAIN_RAW, 48, block_id(1, 2), &faults));
    void *before = block.address;
    replace(&broken);
    assert_false(block_realloc(&block, 40, block_id(7, 8), &faults));
    restore();
    unsigned char byte = pattern_byte(block_id(1, 2), 39);
    snprintf(
        text, sizeof text,
        "raw block of 48 bytes at %p (thread 1, record 2): byte 39 is 0x%02x, not 0x%02x, after realloc by thread 7",
        (void *)room, (unsigned char)~byte, byte);
    assert_told(text);
    PyMem_RawFree(before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_sound_blocks, set_up),
        cmocka_unit_test_setup(test_damaged_before_free, set_up),
        cmocka_unit_test_setup(test_damaged_before_realloc, set_up),
        cmocka_unit_test_setup(test_later_faults_are_counted, set_up),
        cmocka_unit_test_setup(test_no_memory, set_up),
        cmocka_unit_test_setup(test_not_aligned, set_up),
        cmocka_unit_test_setup(test_calloc_not_zero, set_up),
        cmocka_unit_test_setup(test_realloc_loses_a_byte, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
