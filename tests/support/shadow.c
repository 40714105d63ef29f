/* SPDX-License-Identifier: MIT */
/*
 * shadow.c - the model of shadow.h, on tsearch(3): intervals that overlap compare as equal.
 */
#include "tests/support/shadow.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/expect.h"

static unsigned char pattern_byte(uint32_t seed, size_t i) { return (unsigned char)((seed >> (8 * (i & 3))) + i); }

void pattern_fill(void *at, size_t size, uint32_t seed) {
    unsigned char *bytes = at;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = pattern_byte(seed, i);
    }
}

void pattern_check(const void *at, size_t size, uint32_t seed) {
    const unsigned char *bytes = at;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != pattern_byte(seed, i)) {
            expect_failed(__FILE__, __LINE__, "byte %zu of %zu at %p is %#x, not %#x", i, size, at, bytes[i],
                          pattern_byte(seed, i));
        }
    }
}

static int compare(const void *left, const void *right) {
    const struct shadow_block *a = left;
    const struct shadow_block *b = right;
    uintptr_t a_at = (uintptr_t)a->at;
    uintptr_t b_at = (uintptr_t)b->at;
    if (a_at + (a->size == 0 ? 1 : a->size) <= b_at) {
        return -1;
    }
    return b_at + (b->size == 0 ? 1 : b->size) <= a_at ? 1 : 0;
}

static void insert(struct shadow *shadow, struct shadow_block *block) {
    EXPECT(block->at != NULL);
    EXPECT_EQ((uintptr_t)block->at % 16, 0);
    struct shadow_block **node = tsearch(block, &shadow->tree, compare);
    EXPECT(node != NULL);
    if (*node != block) {
        expect_failed(__FILE__, __LINE__, "%s block of %zu bytes at %p overlaps %s block of %zu bytes at %p",
                      block->domain->name, block->size, (void *)block->at, (*node)->domain->name, (*node)->size,
                      (void *)(*node)->at);
    }
}

void shadow_init(struct shadow *shadow, uint32_t seed) {
    memset(shadow, 0, sizeof(*shadow));
    shadow->last_seed = seed * 0x9e3779b9u;
}

void shadow_fini(struct shadow *shadow) {
    EXPECT_EQ(shadow->count, 0);
    EXPECT(shadow->tree == NULL);
    free(shadow->blocks);
    shadow->blocks = NULL;
}

struct shadow_block *shadow_add(struct shadow *shadow, const struct domain *domain, void *at, size_t size) {
    if (shadow->count == shadow->room) {
        shadow->room = shadow->room == 0 ? 256 : shadow->room * 2;
        shadow->blocks = realloc(shadow->blocks, shadow->room * sizeof(shadow->blocks[0]));
        EXPECT(shadow->blocks != NULL);
    }
    struct shadow_block *block = malloc(sizeof(*block));
    EXPECT(block != NULL);
    shadow->last_seed = shadow->last_seed * 1664525u + 1013904223u;
    *block = (struct shadow_block){
        .at = at, .size = size, .seed = shadow->last_seed, .domain = domain, .index = shadow->count};
    shadow->blocks[shadow->count++] = block;
    insert(shadow, block);
    pattern_fill(block->at, size, block->seed);
    return block;
}

void shadow_check(const struct shadow_block *block) { pattern_check(block->at, block->size, block->seed); }

void shadow_resized(struct shadow *shadow, struct shadow_block *block, void *at, size_t size) {
    EXPECT(at != NULL);
    pattern_check(at, size < block->size ? size : block->size, block->seed);
    EXPECT(tdelete(block, &shadow->tree, compare) != NULL);
    block->at = at;
    block->size = size;
    insert(shadow, block);
    pattern_fill(block->at, size, block->seed);
}

void *shadow_remove(struct shadow *shadow, struct shadow_block *block) {
    shadow_check(block);
    EXPECT(tdelete(block, &shadow->tree, compare) != NULL);
    struct shadow_block *last = shadow->blocks[--shadow->count];
    shadow->blocks[block->index] = last;
    last->index = block->index;
    void *at = block->at;
    free(block);
    return at;
}

void shadow_free_all(struct shadow *shadow) {
    while (shadow->count > 0) {
        struct shadow_block *block = shadow->blocks[shadow->count - 1];
        const struct domain *domain = block->domain;
        domain->free(shadow_remove(shadow, block));
    }
}
