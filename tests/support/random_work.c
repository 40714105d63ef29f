/* SPDX-License-Identifier: MIT */
/*
 * random_work.c - one operation at a time, each checked.
 */
#include "tests/support/random_work.h"

#include <gilloc/gilloc.h>

#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/random.h"
#include "tests/support/shadow.h"

static void allocate(const struct random_work *work, struct shadow *shadow, struct random *random) {
    const struct domain *domain = &domains[random_below(random, DOMAINS)];
    size_t size = random_size(random);
    unsigned char *at;
    switch (random_below(random, 3)) {
        case 0:
            at = domain->calloc(1, size);
            for (size_t i = 0; at != NULL && i < size; i++) {
                EXPECT_EQ(at[i], 0);
            }
            break;
        case 1:
            at = domain->realloc(NULL, size);
            break;
        default:
            at = domain->malloc(size);
    }
    if (at != NULL) {
        shadow_add(shadow, domain, at, size);
    } else {
        EXPECT(work->may_fail);
    }
}

static void resize(const struct random_work *work, struct shadow *shadow, struct shadow_block *block,
                   struct random *random) {
    size_t size = random_below(random, 4) == 0 ? random_size(random) : block->size + random_below(random, 40);
    void *at = block->domain->realloc(block->at, size);
    if (at != NULL) {
        shadow_resized(shadow, block, at, size);
    } else {
        EXPECT(work->may_fail);
        shadow_check(block);
    }
}

static void release(struct shadow *shadow, struct shadow_block *block, struct random *random) {
    const struct domain *domain = block->domain;
    size_t size = block->size;
    void *at = shadow_remove(shadow, block);
    if (random_below(random, 4) == 0) {
        gilloc_free_sized(domain->id, at, size);
    } else {
        domain->free(at);
    }
}

void random_work_do(const struct random_work *work) {
    struct random random = random_seeded(work->seed);
    struct shadow shadow;
    shadow_init(&shadow, (uint32_t)work->seed);
    for (size_t i = 0; i < work->operations; i++) {
        struct shadow_block *block = shadow.count == 0 ? NULL : shadow.blocks[random_below(&random, shadow.count)];
        /* Grows to work->live, then shrinks to a tenth, and again. */
        size_t phase = i / (2 * work->live) % 2;
        size_t choice = random_below(&random, 16);
        if (block == NULL || choice < (phase == 0 ? 9u : 3u)) {
            allocate(work, &shadow, &random);
        } else if (choice < (phase == 0 ? 11u : 5u)) {
            resize(work, &shadow, block, &random);
        } else if (choice == 15) {
            /* Where a hook refuses requests, the usable size of what it gave is not known. */
            EXPECT(work->may_fail || gilloc_usable_size(block->domain->id, block->at) >= block->size);
            shadow_check(block);
        } else {
            release(&shadow, block, &random);
        }
        while (shadow.count > work->live) {
            release(&shadow, shadow.blocks[random_below(&random, shadow.count)], &random);
        }
        if (work->safepoint != 0 && i % work->safepoint == 0) {
            gilloc_safepoint();
        }
    }
    for (size_t i = 0; i < shadow.count; i++) {
        shadow_check(shadow.blocks[i]);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
}
