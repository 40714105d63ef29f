/* SPDX-License-Identifier: MIT */
/*
 * shadow.h - a model of what is allocated: where each block is, and what each of its bytes holds.
 *   No two blocks overlap (a tree of intervals), each byte of a block is what the test wrote (a pattern of the
 *   block's own).  One thread at a time.
 */
#ifndef TESTS_SUPPORT_SHADOW_H
#define TESTS_SUPPORT_SHADOW_H

#include <stddef.h>
#include <stdint.h>

#include "tests/support/domains.h"

struct shadow_block {
    unsigned char *at;
    size_t size;   /* as requested */
    uint32_t seed; /* of its pattern */
    const struct domain *domain;
    size_t index; /* in shadow.blocks */
};

struct shadow {
    struct shadow_block **blocks; /* alive, in no order */
    size_t count;
    size_t room;
    uint32_t last_seed;
    void *tree; /* of struct shadow_block, by address; tsearch(3) */
};

/* Writes the pattern of `seed` to `size` bytes, or checks it; for blocks that are in no shadow. */
void pattern_fill(void *at, size_t size, uint32_t seed);
void pattern_check(const void *at, size_t size, uint32_t seed);

void shadow_init(struct shadow *shadow, uint32_t seed);
/* Every block has been removed. */
void shadow_fini(struct shadow *shadow);

/* A block has been allocated: aligned, apart from all others; fills it. */
struct shadow_block *shadow_add(struct shadow *shadow, const struct domain *domain, void *at, size_t size);
/* All its bytes are as they were left. */
void shadow_check(const struct shadow_block *block);
/* It has been resized and is now at `at`: what both sizes share is as it was left; fills it anew. */
void shadow_resized(struct shadow *shadow, struct shadow_block *block, void *at, size_t size);
/* It is about to be freed: checks it, forgets it, returns its address. */
void *shadow_remove(struct shadow *shadow, struct shadow_block *block);
/* Checks and frees all; the caller is attached. */
void shadow_free_all(struct shadow *shadow);

#endif /* TESTS_SUPPORT_SHADOW_H */
