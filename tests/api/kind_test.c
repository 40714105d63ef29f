/* SPDX-License-Identifier: MIT */
/*
 * kind_test.c - kinds of a runtime's own: how they are made; blocks as of mem and object, apart from all others; bytes
 *               of freed blocks that stay; type-stable pools, which wait for a grace period.
 *   Tests look into freed blocks, which is what these promises are for.
 */
#define _GNU_SOURCE /* pthread_tryjoin_np */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/random.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

/* A pool is one aligned page of this size. */
#define POOL_SIZE (UNDER_HOSTILE ? (size_t)4096 : (size_t)16384)
#define NO_LIMIT SIZE_MAX
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static PyMemAllocatorDomain new_kind(const char *name, unsigned flags, size_t untouched) {
    int kind = gilloc_new_kind(name, flags, untouched);
    EXPECT(kind > 0);
    return (PyMemAllocatorDomain)kind;
}

static unsigned char *alloc_in(PyMemAllocatorDomain domain, size_t size) {
    void *block = gilloc_malloc(domain, size);
    EXPECT(block != NULL);
    return block;
}

static const size_t untouched_sizes[] = {0, 1, 8, 16, 24, 100, 504};
#define UNTOUCHED LENGTH(untouched_sizes)

/* The size of the block that serves a small request in a kind with that many untouched bytes. */
static size_t kind_block_size(size_t untouched, size_t size) {
    size_t least = untouched == 0 ? 0 : (untouched + 7) / 8 * 8 + 8;
    if (least > SMALL_LIMIT) { /* no room for a tail, so that there is none */
        return least;
    }
    return small_block_size(size < least ? least : size);
}

/* --- how they are made ------------------------------------------------------------------------ */

static void expect_refused(const char *name, unsigned flags, size_t untouched, int error) {
    errno = 0;
    EXPECT_EQ(gilloc_new_kind(name, flags, untouched), -1);
    EXPECT_EQ(errno, error);
}

static void kinds_are_domains_from_three_on(void) {
    for (int i = 0; i < GILLOC_KINDS_MAX; i++) {
        EXPECT_EQ(gilloc_new_kind("made", i % 2 == 0 ? 0 : GILLOC_KIND_TYPE_STABLE, (size_t)i * 8), 3 + i);
    }
    EXPECT_EQ(2 + GILLOC_KINDS_MAX, GILLOC_DOMAIN_LAST);
    for (int i = 0; i < 3; i++) {
        expect_refused("one more", 0, 0, ENOSPC);
    }
    expect_refused("one more", 2, 0, EINVAL); /* what is wrong in itself first */
    PyGILState_STATE was = PyGILState_Ensure();
    for (int domain = 1; domain <= GILLOC_DOMAIN_LAST; domain++) {
        unsigned char *block = alloc_in((PyMemAllocatorDomain)domain, 40);
        memset(block, 0x11, 40);
        gilloc_free((PyMemAllocatorDomain)domain, block);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void what_cannot_be_is_refused(void) {
    static const char name_of_31[] = "1234567890123456789012345678901";
    static const char name_of_32[] = "12345678901234567890123456789012";
    expect_refused(NULL, 0, 0, EINVAL);
    expect_refused("", 0, 0, EINVAL);
    expect_refused(name_of_32, 0, 0, EINVAL);
    expect_refused("flag", 2, 0, EINVAL);
    expect_refused("flag", GILLOC_KIND_TYPE_STABLE | 4, 0, EINVAL);
    expect_refused("flag", ~0u, 0, EINVAL);
    expect_refused("untouched", 0, 505, EINVAL);
    expect_refused("untouched", 0, SIZE_MAX, EINVAL);
    /* None of them took a number. */
    EXPECT_EQ(gilloc_new_kind(name_of_31, 0, 504), 3);
    EXPECT_EQ(gilloc_new_kind("n", GILLOC_KIND_TYPE_STABLE, 0), 4);
}

static void kinds_have_no_hooks(void) {
    PyMemAllocatorDomain kind = new_kind("made", 0, 0);
    PyMemAllocatorEx nothing;
    memset(&nothing, 0xA5, sizeof(nothing));
    PyMem_GetAllocator(kind, &nothing);
    EXPECT(nothing.ctx == NULL && nothing.malloc == NULL && nothing.calloc == NULL && nothing.realloc == NULL &&
           nothing.free == NULL);
    static struct spy mem, object, raw;
    spy_install(&mem, PYMEM_DOMAIN_MEM);
    spy_install(&object, PYMEM_DOMAIN_OBJ);
    spy_install(&raw, PYMEM_DOMAIN_RAW);
    PyMem_SetAllocator(kind, &(PyMemAllocatorEx){&mem, mem.inner.malloc, NULL, NULL, NULL}); /* ignored */
    PyGILState_STATE was = PyGILState_Ensure();
    unsigned char *block = gilloc_realloc(kind, alloc_in(kind, 100), 200);
    EXPECT_EQ(gilloc_usable_size(kind, block), small_block_size(200));
    gilloc_free(kind, block);
    spy_expect(&mem, 0, 0, 0, 0);
    spy_expect(&object, 0, 0, 0, 0);
    spy_expect(&raw, 0, 0, 0, 0);
    block = alloc_in(kind, 5000); /* that goes to the raw domain, whose hook sees it */
    spy_expect(&raw, 1, 0, 0, 0);
    EXPECT_EQ(gilloc_usable_size(kind, block), 0);
    block = gilloc_realloc(kind, block, 10);
    spy_expect(&raw, 0, 0, 1, 0);
    gilloc_free(kind, block);
    spy_expect(&raw, 0, 0, 0, 1);
    gilloc_free(kind, gilloc_calloc(kind, 100, 100));
    spy_expect(&raw, 0, 1, 0, 1);
    PyGILState_Release(was);
    spy_remove(&raw);
    spy_remove(&mem);
    spy_remove(&object);
}

/* The functions take the three domains too, and their hooks see it. */
static void the_functions_serve_every_domain(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < DOMAINS; d++) {
        static struct spy spy;
        PyMemAllocatorDomain domain = domains[d].id;
        spy_install(&spy, domain);
        unsigned char *block = alloc_in(domain, 30);
        memset(block, 0x22, 30);
        block = gilloc_realloc(domain, block, 400);
        for (size_t i = 0; i < 30; i++) {
            EXPECT_EQ(block[i], 0x22);
        }
        domains[d].free(block);
        gilloc_free(domain, domains[d].malloc(10));
        unsigned char *zeroed = gilloc_calloc(domain, 10, 7);
        for (size_t i = 0; i < 70; i++) {
            EXPECT_EQ(zeroed[i], 0);
        }
        gilloc_free(domain, zeroed);
        spy_expect(&spy, 2, 1, 1, 3);
        gilloc_free(domain, NULL);
        spy_expect(&spy, 0, 0, 0, 1);
        spy_remove(&spy);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void make_untouched_kinds(PyMemAllocatorDomain *kinds) {
    for (size_t k = 0; k < UNTOUCHED; k++) {
        kinds[k] = new_kind("untouched", k % 2 == 0 ? 0 : GILLOC_KIND_TYPE_STABLE, untouched_sizes[k]);
    }
}

static void expect_zero(const unsigned char *block, size_t size) {
    for (size_t i = 0; i < size; i++) {
        EXPECT_EQ(block[i], 0);
    }
}

static void blocks_have_the_size_that_was_asked_for(void) {
    PyMemAllocatorDomain kinds[UNTOUCHED];
    make_untouched_kinds(kinds);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 0; k < UNTOUCHED; k++) {
        for (size_t size = 0; size <= 2000; size++) {
            unsigned char *block = alloc_in(kinds[k], size);
            EXPECT_EQ((size_t)block % 16, 0);
            size_t usable = gilloc_usable_size(kinds[k], block);
            if (size <= SMALL_LIMIT) {
                EXPECT_EQ(usable, kind_block_size(untouched_sizes[k], size));
            } else {
                EXPECT(usable >= size);
            }
            memset(block, 0xCC, usable);
            if (size % 2 == 0) {
                gilloc_free(kinds[k], block);
            } else {
                gilloc_free_sized(kinds[k], block, size);
            }
        }
        EXPECT_EQ(gilloc_allocated_blocks(), 0);
        EXPECT_EQ(gilloc_usable_size(kinds[k], NULL), 0);
        gilloc_free(kinds[k], NULL);
        gilloc_free_sized(kinds[k], NULL, 10);
        EXPECT(gilloc_malloc(kinds[k], (size_t)PY_SSIZE_T_MAX + 1) == NULL);
        EXPECT(gilloc_calloc(kinds[k], (size_t)1 << 40, (size_t)1 << 40) == NULL);
        EXPECT(gilloc_calloc(kinds[k], (size_t)1 << 32, (size_t)1 << 32) == NULL);
        unsigned char *block = alloc_in(kinds[k], 10);
        EXPECT(gilloc_realloc(kinds[k], block, (size_t)PY_SSIZE_T_MAX + 1) == NULL);
        gilloc_free(kinds[k], block);
    }
    PyGILState_Release(was);
}

static void calloc_is_zero_in_fresh_and_in_used_memory(void) {
    PyMemAllocatorDomain kinds[UNTOUCHED];
    make_untouched_kinds(kinds);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 0; k < UNTOUCHED; k++) {
        for (size_t size = 0; size <= 2000; size += size < 600 ? 1 : 100) {
            enum { EACH = 20 };
            unsigned char *blocks[EACH];
            for (int round = 0; round < 2; round++) { /* fresh at first, used then */
                for (size_t i = 0; i < EACH; i++) {
                    blocks[i] = size % 2 == 0 ? gilloc_calloc(kinds[k], size / 2, 2) : gilloc_calloc(kinds[k], 1, size);
                    EXPECT(blocks[i] != NULL);
                    expect_zero(blocks[i], size);
                    memset(blocks[i], 0xDD, gilloc_usable_size(kinds[k], blocks[i]));
                }
                for (size_t i = 0; i < EACH; i++) {
                    gilloc_free(kinds[k], blocks[i]);
                }
            }
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void realloc_keeps_the_contents(void) {
    PyMemAllocatorDomain kinds[UNTOUCHED];
    make_untouched_kinds(kinds);
    struct random random = random_seeded(3);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 0; k < UNTOUCHED; k++) {
        unsigned char *block = gilloc_realloc(kinds[k], NULL, 0);
        size_t size = 0;
        int large = 0;
        for (size_t i = 0; i < ROUNDS(5000); i++) {
            size_t next = random_below(&random, random_below(&random, 3) == 0 ? 2001 : 520);
            pattern_fill(block, size, (uint32_t)i);
            size_t usable = gilloc_usable_size(kinds[k], block);
            unsigned char *moved = gilloc_realloc(kinds[k], block, next);
            EXPECT(moved != NULL);
            EXPECT_EQ((size_t)moved % 16, 0);
            if (!large && next <= SMALL_LIMIT && kind_block_size(untouched_sizes[k], next) == usable) {
                EXPECT(moved == block); /* of the same class: where it was */
            }
            large |= next > SMALL_LIMIT; /* and stays so, however small it gets */
            pattern_check(moved, size < next ? size : next, (uint32_t)i);
            EXPECT(gilloc_usable_size(kinds[k], moved) >= next);
            block = moved;
            size = next;
            if (i % 8 == 7) {
                gilloc_free_sized(kinds[k], block, size);
                block = gilloc_realloc(kinds[k], NULL, size = random_below(&random, 520));
                large = size > SMALL_LIMIT;
            }
        }
        gilloc_free_sized(kinds[k], block, size);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void blocks_of_no_bytes_are_distinct(void) {
    PyMemAllocatorDomain kinds[UNTOUCHED];
    make_untouched_kinds(kinds);
    static const struct domain kind_domain = {.name = "kind"};
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t k = 0; k < UNTOUCHED; k++) {
        struct shadow shadow;
        shadow_init(&shadow, 1);
        for (int i = 0; i < 500; i++) {
            void *block = i % 2 == 0 ? gilloc_malloc(kinds[k], 0) : gilloc_calloc(kinds[k], 0, 10);
            shadow_add(&shadow, &kind_domain, block, kind_block_size(untouched_sizes[k], 0)); /* none overlaps */
        }
        while (shadow.count > 0) {
            gilloc_free(kinds[k], shadow_remove(&shadow, shadow.blocks[0]));
        }
        shadow_fini(&shadow);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

/* --- apart ------------------------------------------------------------------------------------ */

#define PAGES_MAX 4096

/* Which domain has blocks in which page, of those that are alive. */
struct page_owner {
    size_t page;
    PyMemAllocatorDomain domain;
    size_t size;
    size_t blocks;
};

struct page_map {
    struct page_owner pages[PAGES_MAX];
};

static struct page_owner *page_of(struct page_map *map, const void *block) {
    size_t page = (size_t)block / POOL_SIZE, i = page * 31 % PAGES_MAX;
    while (map->pages[i].blocks != 0 && map->pages[i].page != page) {
        i = (i + 1) % PAGES_MAX;
    }
    return &map->pages[i];
}

static void blocks_of_two_kinds_are_never_in_one_pool(void) {
    PyMemAllocatorDomain all[2 + GILLOC_KINDS_MAX] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (size_t i = 2; i < LENGTH(all); i++) {
        all[i] = new_kind("made", i % 2 == 0 ? 0 : GILLOC_KIND_TYPE_STABLE, i % 3 * 8);
    }
    enum { LIVE = 3000 };
    static struct {
        void *block;
        PyMemAllocatorDomain domain;
    } live[LIVE];
    static struct page_map map;
    struct random random = random_seeded(8);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < ROUNDS(100000); i++) {
        size_t at = random_below(&random, LIVE);
        if (live[at].block != NULL) {
            page_of(&map, live[at].block)->blocks--;
            gilloc_free(live[at].domain, live[at].block);
        }
        /* Busy with some of them at a time, so that pools become empty and go round. */
        size_t d = (i / 2000 + random_below(&random, 4)) % LENGTH(all), size = 1 + random_below(&random, 200);
        live[at].domain = all[d];
        live[at].block = alloc_in(all[d], size);
        struct page_owner *page = page_of(&map, live[at].block);
        if (page->blocks == 0) {
            *page = (struct page_owner){.page = (size_t)live[at].block / POOL_SIZE,
                                        .domain = all[d],
                                        .size = gilloc_usable_size(all[d], live[at].block)};
        }
        page->blocks++;
        EXPECT_EQ(page->domain, all[d]);
        EXPECT_EQ(gilloc_usable_size(all[d], live[at].block), page->size); /* and of one class */
        if (i % 64 == 0) {
            gilloc_safepoint();
        }
        if (i % 1000 == 0) { /* no holes in the table by then: it is made anew */
            memset(&map, 0, sizeof(map));
            for (size_t j = 0; j < LIVE; j++) {
                if (live[j].block != NULL) {
                    page = page_of(&map, live[j].block);
                    if (page->blocks++ == 0) {
                        page->page = (size_t)live[j].block / POOL_SIZE;
                        page->domain = live[j].domain;
                        page->size = gilloc_usable_size(live[j].domain, live[j].block);
                    }
                    EXPECT_EQ(page->domain, live[j].domain);
                }
            }
        }
    }
    for (size_t j = 0; j < LIVE; j++) {
        if (live[j].block != NULL) {
            gilloc_free(live[j].domain, live[j].block);
        }
    }
    gilloc_purge();
    gilloc_reclaim();
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- untouched bytes -------------------------------------------------------------------------- */

#define UNTOUCHED_BLOCKS 900

struct freed {
    PyMemAllocatorDomain kind;
    size_t untouched, size;
    unsigned char *blocks[UNTOUCHED_BLOCKS];
};

/* Some blocks stay, so that no pool becomes empty. */
static int is_kept(size_t i) { return i % 5 == 0 || i == UNTOUCHED_BLOCKS - 1; }

static void check_freed(const struct freed *freed) {
    for (size_t i = 0; i < UNTOUCHED_BLOCKS; i++) {
        pattern_check(freed->blocks[i], is_kept(i) ? freed->size : freed->untouched, (uint32_t)i);
    }
}

static void alloc_all(struct freed *freed) {
    for (size_t i = 0; i < UNTOUCHED_BLOCKS; i++) {
        freed->blocks[i] = alloc_in(freed->kind, freed->size);
        pattern_fill(freed->blocks[i], freed->size, (uint32_t)i);
    }
}

static void free_those(struct freed *freed) {
    for (size_t i = 0; i < UNTOUCHED_BLOCKS; i++) {
        if (!is_kept(i)) {
            gilloc_free(freed->kind, freed->blocks[i]);
        }
    }
}

static void *free_in_thread(void *arg) {
    struct freed *freed = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    free_those(freed);
    check_freed(freed);
    gilloc_safepoint();
    PyGILState_Release(was);
    return NULL;
}

/* Through the bins, the pools, and back. */
static void go_on_until_all_are_back(struct freed *freed) {
    check_freed(freed);
    gilloc_safepoint();
    gilloc_purge(); /* flushed to the pools; in GIL-free mode the remote lists are drained */
    check_freed(freed);
}

static int count_block(void *block, size_t block_size, void *arg) {
    (void)block;
    (void)block_size;
    ++*(size_t *)arg;
    return 0;
}

static void take_up_and_free_the_rest(struct freed *freed) {
    size_t count = 0;
    EXPECT_EQ(gilloc_visit_blocks(freed->kind, count_block, &count), 0);
    EXPECT_EQ(count, UNTOUCHED_BLOCKS / 5 + 1);
    check_freed(freed);
    /* Allocated again, they are whole. */
    void *again[UNTOUCHED_BLOCKS];
    for (size_t i = 0; i < UNTOUCHED_BLOCKS; i++) {
        again[i] = alloc_in(freed->kind, freed->size);
        memset(again[i], 0x99, freed->size);
    }
    for (size_t i = 0; i < UNTOUCHED_BLOCKS; i++) {
        if (is_kept(i)) {
            pattern_check(freed->blocks[i], freed->size, (uint32_t)i);
            gilloc_free(freed->kind, freed->blocks[i]);
        }
        gilloc_free(freed->kind, again[i]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
}

static void each_kind_and_size(void (*body)(struct freed *freed)) {
    PyMemAllocatorDomain kinds[UNTOUCHED];
    make_untouched_kinds(kinds);
    gilloc_set_retire_limit(NO_LIMIT);
    for (size_t k = 0; k < UNTOUCHED; k++) {
        static const size_t more[] = {8, 40, 200};
        for (size_t m = 0; m < LENGTH(more) && untouched_sizes[k] + more[m] <= 512; m++) {
            struct freed *freed = calloc(1, sizeof(*freed));
            EXPECT(freed != NULL);
            freed->kind = kinds[k];
            freed->untouched = untouched_sizes[k];
            freed->size = untouched_sizes[k] + more[m];
            body(freed);
            free(freed);
        }
    }
}

static void free_locally(struct freed *freed) {
    PyGILState_STATE was = PyGILState_Ensure();
    alloc_all(freed);
    free_those(freed);
    go_on_until_all_are_back(freed);
    take_up_and_free_the_rest(freed);
    PyGILState_Release(was);
}

static void the_first_bytes_stay_in_blocks_freed_locally(void) { each_kind_and_size(free_locally); }

static void free_elsewhere(struct freed *freed) {
    PyGILState_STATE was = PyGILState_Ensure();
    alloc_all(freed);
    PyThreadState *mine = PyEval_SaveThread();
    threads_run(1, free_in_thread, freed, 0);
    PyEval_RestoreThread(mine);
    go_on_until_all_are_back(freed);
    take_up_and_free_the_rest(freed);
    PyGILState_Release(was);
}

static void the_first_bytes_stay_in_blocks_freed_by_another_thread(void) { each_kind_and_size(free_elsewhere); }

static void *alloc_in_thread(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    alloc_all(arg);
    PyGILState_Release(was);
    return NULL;
}

static void free_orphans(struct freed *freed) {
    threads_run(1, alloc_in_thread, freed, 0);
    PyGILState_STATE was = PyGILState_Ensure();
    free_those(freed);
    go_on_until_all_are_back(freed);
    take_up_and_free_the_rest(freed);
    PyGILState_Release(was);
}

static void the_first_bytes_stay_in_blocks_of_ended_threads(void) { each_kind_and_size(free_orphans); }

static void free_retired_ones(struct freed *freed) {
    PyGILState_STATE was = PyGILState_Ensure();
    alloc_all(freed);
    for (size_t i = 0; i < UNTOUCHED_BLOCKS; i++) {
        if (!is_kept(i)) {
            gilloc_retire(freed->kind, freed->blocks[i]);
        }
    }
    gilloc_reclaim();
    go_on_until_all_are_back(freed);
    take_up_and_free_the_rest(freed);
    PyGILState_Release(was);
}

static void the_first_bytes_stay_in_blocks_that_were_retired(void) { each_kind_and_size(free_retired_ones); }

/* --- type-stable ------------------------------------------------------------------------------ */

#define STABLE_BLOCKS 2000
#define STABLE_SIZE 100
#define STABLE_UNTOUCHED 16

struct stable {
    PyMemAllocatorDomain kind;
    unsigned char *blocks[STABLE_BLOCKS];
    int by_detach;
    struct shared reading, empty, back;
};

static void alloc_stable(struct stable *stable) {
    for (size_t i = 0; i < STABLE_BLOCKS; i++) {
        stable->blocks[i] = alloc_in(stable->kind, STABLE_SIZE);
        pattern_fill(stable->blocks[i], STABLE_SIZE, (uint32_t)i);
    }
}

static void check_stable(const struct stable *stable) {
    for (size_t i = 0; i < STABLE_BLOCKS; i++) {
        pattern_check(stable->blocks[i], STABLE_UNTOUCHED, (uint32_t)i);
    }
}

/* Frees all, so that every pool becomes empty; then nothing else gets their memory. */
static void empty_all_pools(struct stable *stable) {
    for (size_t i = 0; i < STABLE_BLOCKS; i++) {
        gilloc_free(stable->kind, stable->blocks[i]);
    }
    size_t pools = memory_stats().pools;
    EXPECT(pools >= STABLE_BLOCKS * STABLE_SIZE / POOL_SIZE || memory_stats().retired_bytes != 0);
    gilloc_purge();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT(memory_stats().retired_bytes >= STABLE_BLOCKS * STABLE_SIZE / POOL_SIZE * POOL_SIZE);
    EXPECT_EQ(memory_stats().retired_bytes % POOL_SIZE, 0);
    EXPECT_EQ(memory_stats().retired_blocks, 0);
    check_stable(stable);
}

static void use_other_memory(const struct stable *stable) {
    static const PyMemAllocatorDomain others[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    unsigned char *blocks[600];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        PyMemAllocatorDomain domain = i % 3 == 2 ? stable->kind : others[i % 3];
        size_t size = 113 + i % 400; /* of other classes */
        blocks[i] = alloc_in(domain, size);
        memset(blocks[i], 0xEE, size);
        for (size_t j = 0; j < STABLE_BLOCKS; j += 37) {
            EXPECT((size_t)blocks[i] / POOL_SIZE != (size_t)stable->blocks[j] / POOL_SIZE);
        }
    }
    check_stable(stable);
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        gilloc_free(i % 3 == 2 ? stable->kind : others[i % 3], blocks[i]);
    }
}

static struct stable *stable_new(void) {
    struct stable *stable = calloc(1, sizeof(*stable));
    EXPECT(stable != NULL);
    stable->kind = new_kind("stable", GILLOC_KIND_TYPE_STABLE, STABLE_UNTOUCHED);
    return stable;
}

static void an_empty_pool_waits_for_a_safepoint(void) {
    for (int way = 0; way < 3; way++) {
        gilloc_set_retire_limit(NO_LIMIT);
        struct stable *stable = stable_new();
        PyGILState_STATE was = PyGILState_Ensure();
        alloc_stable(stable);
        empty_all_pools(stable);
        use_other_memory(stable);
        size_t waiting = memory_stats().retired_bytes, to_system = memory_stats().bytes_to_system;
        gilloc_safepoint(); /* below the limit: they go on waiting */
        EXPECT(memory_stats().retired_bytes >= waiting);
        check_stable(stable);
        if (way == 0) {
            gilloc_reclaim();
        } else {
            gilloc_set_retire_limit(0);
            if (way == 1) {
                gilloc_safepoint();
            } else {
                PyEval_RestoreThread(PyEval_SaveThread());
            }
        }
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        gilloc_purge();
        gilloc_reclaim(); /* what use_other_memory() has freed */
        gilloc_purge();
        EXPECT(memory_stats().bytes_to_system >= to_system + waiting);
        memory_expect_all_back();
        PyGILState_Release(was);
        free(stable);
    }
}

static void *look_at_freed_blocks(void *arg) {
    struct stable *stable = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    shared_set(&stable->reading, 1);
    while (!shared_get(&stable->empty)) {
        sched_yield();
    }
    for (int look = 0; look < 300; look++) {
        if (look % 30 == 0) {
            check_stable(stable);
        }
        EXPECT_EQ(shared_get(&stable->back), 0);
        sched_yield();
    }
    check_stable(stable);
    EXPECT_EQ(shared_get(&stable->back), 0);
    while (!stable->by_detach && !shared_get(&stable->back)) {
        gilloc_safepoint();
    }
    PyGILState_Release(was);
    return NULL;
}

static void *empty_pools(void *arg) {
    struct stable *stable = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    while (!shared_get(&stable->reading)) {
        gilloc_safepoint();
        sched_yield();
    }
    empty_all_pools(stable);
    use_other_memory(stable);
    shared_set(&stable->empty, 1);
    if (stable->by_detach) {
        gilloc_reclaim();
    } else {
        gilloc_set_retire_limit(0);
        gilloc_safepoint();
    }
    shared_set(&stable->back, 1);
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    PyGILState_Release(was);
    return NULL;
}

static void a_reader_in_another_thread_keeps_empty_pools(void) {
    for (int by_detach = 0; by_detach < 2; by_detach++) {
        struct stable *stable = stable_new();
        stable->by_detach = by_detach;
        gilloc_set_retire_limit(NO_LIMIT);
        PyGILState_STATE was = PyGILState_Ensure();
        alloc_stable(stable);
        PyGILState_Release(was);
        pthread_t reader = thread_start(look_at_freed_blocks, stable), other = thread_start(empty_pools, stable);
        thread_join(reader);
        thread_join(other);
        was = PyGILState_Ensure();
        gilloc_purge();
        gilloc_reclaim();
        memory_expect_all_back();
        PyGILState_Release(was);
        free(stable);
    }
}

/* Of two safepoints the first frees what is too much, and pools that become empty by that go at the second. */
static void no_more_than_the_limit_waits_in_empty_pools(void) {
    static const size_t limits[] = {0, 40000, 1048576};
    PyMemAllocatorDomain kind = new_kind("stable", GILLOC_KIND_TYPE_STABLE, 8);
    struct random random = random_seeded(11);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t l = 0; l < LENGTH(limits); l++) {
        gilloc_set_retire_limit(limits[l]);
        size_t most = 0;
        for (size_t round = 0; round < ROUNDS(200); round++) {
            enum { BURST = 3000 };
            static void *blocks[BURST];
            for (size_t i = 0; i < BURST; i++) {
                blocks[i] = alloc_in(kind, 1 + random_below(&random, 512));
            }
            for (size_t i = 0; i < BURST; i++) {
                if (round % 2 == 0) {
                    gilloc_free(kind, blocks[i]);
                } else {
                    gilloc_retire(kind, blocks[i]);
                }
            }
            if (round % 3 == 0) {
                gilloc_purge();
            }
            size_t waits = memory_stats().retired_bytes;
            most = waits > most ? waits : most;
            gilloc_safepoint();
            if (round % 2 != 0) {
                gilloc_safepoint();
            }
            EXPECT_AT_MOST(memory_stats().retired_bytes, 2 * limits[l]); /* of the batch, and of the pools */
        }
        EXPECT(most > limits[l]); /* there was something to do */
    }
    gilloc_reclaim();
    gilloc_purge();
    gilloc_reclaim();
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* An attached thread that frees nothing itself frees the pools that ended threads and purges have emptied. */
static void *fill_and_empty(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    static __thread void *blocks[2000];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = alloc_in(*(PyMemAllocatorDomain *)arg, 16 * (1 + i % 32));
    }
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        gilloc_free(*(PyMemAllocatorDomain *)arg, blocks[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

static void pools_that_ended_threads_emptied_are_freed_by_who_is_attached(void) {
    PyMemAllocatorDomain kind = new_kind("stable", GILLOC_KIND_TYPE_STABLE, 0);
    gilloc_set_retire_limit(0);
    gilloc_set_switch_interval(1);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t round = 0; round < 10; round++) {
        pthread_t thread = thread_start(fill_and_empty, &kind);
        while (pthread_tryjoin_np(thread, NULL) != 0) { /* it stays attached, and is a reader that passes safepoints */
            gilloc_safepoint();
            sched_yield();
        }
        gilloc_safepoint();
        EXPECT_EQ(memory_stats().retired_bytes, 0);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- readers without a lock ------------------------------------------------------------------- */

#define OBJECTS 256
#define USERS 4

/* What stands in the untouched bytes of every object of a size, from its first use on. */
static uint64_t magic_of(size_t size) { return 0x51ab1e0000000000u + size; }

struct lookup {
    PyMemAllocatorDomain kind;
    uint64_t *objects[OBJECTS]; /* atomic, and the first word of each object too */
    size_t rounds;
};

struct user {
    struct lookup *lookup;
    size_t number;
};

static size_t size_of_object(size_t at) { return 32 + at % 8 * 48; }

/* Objects are freed at once, not retired, while others read them: what these find is an object of the same size. */
static void *use_objects(void *arg) {
    struct user *user = arg;
    struct lookup *lookup = user->lookup;
    struct random random = random_seeded(user->number);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < lookup->rounds; i++) {
        size_t at = random_below(&random, OBJECTS);
        uint64_t *seen = __atomic_load_n(&lookup->objects[at], __ATOMIC_ACQUIRE);
        if (random_below(&random, 4) == 0) {
            uint64_t *object = NULL;
            if (seen == NULL || random_below(&random, 3) != 0) {
                object = (void *)alloc_in(lookup->kind, size_of_object(at));
                __atomic_store_n(object, magic_of(size_of_object(at)), __ATOMIC_RELAXED);
                memset((char *)object + 8, 0x77, size_of_object(at) - 8);
            }
            object = __atomic_exchange_n(&lookup->objects[at], object, __ATOMIC_ACQ_REL);
            if (object != NULL) {
                gilloc_free(lookup->kind, (void *)object);
            }
        }
        if (i % 8 == 0) {
            sched_yield();
        }
        for (int look = 0; seen != NULL && look < 3; look++) { /* perhaps freed by now, by this thread or another */
            EXPECT_EQ(__atomic_load_n(seen, __ATOMIC_RELAXED), magic_of(size_of_object(at)));
        }
        if (i % 512 == 0) {
            gilloc_purge();
        }
        if (seen != NULL) {
            EXPECT_EQ(__atomic_load_n(seen, __ATOMIC_RELAXED), magic_of(size_of_object(at)));
        }
        if (random_below(&random, 16) == 0) {
            gilloc_safepoint();
        }
        if (random_below(&random, 500) == 0) {
            PyGILState_Release(was);
            was = PyGILState_Ensure();
        }
        if (i % 4096 == 0) { /* all go, so that pools become empty */
            for (at = 0; at < OBJECTS; at++) {
                uint64_t *object = __atomic_exchange_n(&lookup->objects[at], NULL, __ATOMIC_ACQ_REL);
                if (object != NULL) {
                    gilloc_free(lookup->kind, (void *)object);
                }
            }
        }
    }
    PyGILState_Release(was);
    return NULL;
}

static void readers_find_objects_of_the_same_size(void) {
    static struct lookup lookup;
    lookup.kind = new_kind("objects", GILLOC_KIND_TYPE_STABLE, 8);
    lookup.rounds = ROUNDS(40000);
    gilloc_set_retire_limit(POOL_SIZE);
    struct user users[USERS];
    for (size_t i = 0; i < USERS; i++) {
        users[i] = (struct user){&lookup, i};
    }
    threads_run(USERS, use_objects, users, sizeof(users[0]));
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t at = 0; at < OBJECTS; at++) {
        gilloc_free(lookup.kind, (void *)lookup.objects[at]);
    }
    gilloc_purge();
    gilloc_reclaim();
    memory_expect_all_back();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(kinds_are_domains_from_three_on),
        IN_OPEN_MODE(what_cannot_be_is_refused),
        IN_BOTH_MODES(kinds_have_no_hooks),
        IN_BOTH_MODES(the_functions_serve_every_domain),
        IN_BOTH_MODES(blocks_have_the_size_that_was_asked_for),
        IN_BOTH_MODES(calloc_is_zero_in_fresh_and_in_used_memory),
        IN_BOTH_MODES(realloc_keeps_the_contents),
        IN_BOTH_MODES(blocks_of_no_bytes_are_distinct),
        IN_BOTH_MODES(blocks_of_two_kinds_are_never_in_one_pool),
        IN_BOTH_MODES(the_first_bytes_stay_in_blocks_freed_locally),
        IN_BOTH_MODES(the_first_bytes_stay_in_blocks_freed_by_another_thread),
        IN_BOTH_MODES(the_first_bytes_stay_in_blocks_of_ended_threads),
        IN_BOTH_MODES(the_first_bytes_stay_in_blocks_that_were_retired),
        IN_BOTH_MODES(an_empty_pool_waits_for_a_safepoint),
        IN_FREE_MODE(a_reader_in_another_thread_keeps_empty_pools), /* in gil mode nobody frees while another reads */
        IN_BOTH_MODES(no_more_than_the_limit_waits_in_empty_pools),
        IN_BOTH_MODES(pools_that_ended_threads_emptied_are_freed_by_who_is_attached),
        IN_BOTH_MODES(readers_find_objects_of_the_same_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
