/* SPDX-License-Identifier: MIT */
/*
 * address_map_test.c - from any address to its page word and its pool's descriptor, in the reservation and outside.
 *   Windows are made for ranges of addresses; whether there is memory does not matter to them, so these are invented.
 */
#include "lib/arena/address_map.h"

#include <stdlib.h>

#include "lib/arena/pool.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

#define RESERVE (256 * GI_ARENA_SIZE)
#define WINDOW ((uintptr_t)1 << 28)        /* what one window covers: address_map.h */
#define USER_END ((uintptr_t)1 << 47)      /* the first address that no program has */
#define SOMEWHERE ((uintptr_t)0x100 << 32) /* at the border of two windows, and nothing near it */

static const void *at(uintptr_t address) { return (const void *)address; }

static uint32_t word_at(uintptr_t address) {
    const gi_page_word *word = gi_address_word(at(address));
    EXPECT(word != NULL);
    return gi_load_relaxed(word);
}

/* --- page words ------------------------------------------------------------------------------- */

static void a_word_holds_heap_kind_and_class(void) {
    static const uint32_t heaps[] = {1, 2, 1000, GI_HEAP_NUMBERS - 2, GI_HEAP_NUMBERS - 1};
    for (size_t h = 0; h < LENGTH(heaps); h++) {
        for (unsigned kind = 0; kind < GI_KINDS_MAX; kind++) {
            for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
                uint32_t word = gi_word_make(heaps[h], kind, size_class);
                EXPECT_EQ(gi_word_heap(word), heaps[h]);
                EXPECT_EQ(gi_word_kind(word), kind);
                EXPECT_EQ(gi_word_class(word), size_class);
                EXPECT(gi_word_is_pool(word));
                /* The fast path's arithmetic: classes of one heap and kind, and nothing else, are near its tag. */
                uint32_t tag = gi_word_make(heaps[h], kind, 0);
                EXPECT_EQ(word ^ tag, size_class << GI_WORD_CLASS_SHIFT);
                EXPECT((word ^ tag) < GI_WORD_CLASS_SPAN);
                EXPECT((word ^ gi_word_make(heaps[h], kind ^ 1, 0)) >= GI_WORD_CLASS_SPAN);
                EXPECT((word ^ gi_word_make(heaps[h] ^ 1, kind, 0)) >= GI_WORD_CLASS_SPAN);
                EXPECT((GI_WORD_NO_ARENA ^ tag) >= GI_WORD_CLASS_SPAN);
                EXPECT((GI_WORD_NO_POOL ^ tag) >= GI_WORD_CLASS_SPAN);
            }
        }
    }
    EXPECT(!gi_word_is_pool(GI_WORD_NO_ARENA));
    EXPECT(!gi_word_is_pool(GI_WORD_NO_POOL));
}

/* --- the reservation -------------------------------------------------------------------------- */

static void every_page_of_the_reservation_has_a_word_and_a_descriptor(void) {
    gi_address_map_init(RESERVE);
    const gi_reservation *r = gi_os_reservation();
    EXPECT(r->base != NULL);
    EXPECT_EQ(gi_load_relaxed(&gi_address_base), (uintptr_t)r->base);
    EXPECT_EQ(gi_address_map_pages(), RESERVE / GI_POOL_SIZE);
    for (size_t page = 0; page < gi_address_map_pages(); page++) {
        char *start = r->base + page * GI_POOL_SIZE, *end = start + GI_POOL_SIZE;
        EXPECT_EQ(gi_address_page((uintptr_t)r->base, start), page);
        EXPECT_EQ(gi_address_page((uintptr_t)r->base, end - 1), page);
        gi_page_word *word = gi_address_word(start);
        EXPECT(word == &gi_address_words((uintptr_t)r->base)[page]);
        EXPECT(gi_address_word(start + GI_POOL_SIZE / 2) == word);
        EXPECT(gi_address_word(end - 1) == word);
        EXPECT_EQ(gi_load_relaxed(word), GI_WORD_NO_ARENA);
        char *pool = (char *)gi_address_pool(start);
        EXPECT(pool == r->descriptors + page * GI_POOL_DESCRIPTOR_SIZE);
        EXPECT((char *)gi_address_pool(end - 1) == pool);
        EXPECT(pool + sizeof(gi_pool) <= (char *)r->free_links);
    }
    /* Words and descriptors are apart: each page keeps what it was told. */
    size_t first = (size_t)(r->slots - r->base) / GI_POOL_SIZE;
    for (size_t page = first; page < gi_address_map_pages(); page++) {
        gi_store_relaxed(gi_address_word(r->base + page * GI_POOL_SIZE), (uint32_t)page);
        gi_address_pool(r->base + page * GI_POOL_SIZE)->memory = r->base + page * GI_POOL_SIZE;
    }
    for (size_t page = first; page < gi_address_map_pages(); page++) {
        EXPECT_EQ(gi_load_relaxed(gi_address_word(r->base + page * GI_POOL_SIZE)), page);
        EXPECT(gi_address_pool(r->base + page * GI_POOL_SIZE)->memory == r->base + page * GI_POOL_SIZE);
    }
}

/* Addresses of all sorts, of which none is in an arena. */
static void expect_nothing_outside(void) {
    static char in_data;
    char on_stack;
    char *in_heap = malloc(100), *mapped = gi_os_map(4096);
    EXPECT(in_heap != NULL && mapped != NULL);
    const uintptr_t addresses[] = {
        0,
        1,
        15,
        4095,
        4096,
        (uintptr_t)&in_data,
        (uintptr_t)&on_stack,
        (uintptr_t)in_heap,
        (uintptr_t)mapped,
        (uintptr_t)&expect_nothing_outside,
        SOMEWHERE,
        USER_END - 1,
        USER_END,
        USER_END + 1,
        (uintptr_t)1 << 56,
        (uintptr_t)1 << 63,
        UINTPTR_MAX - GI_POOL_SIZE,
        UINTPTR_MAX - 1,
        UINTPTR_MAX,
    };
    for (size_t i = 0; i < LENGTH(addresses); i++) {
        EXPECT(gi_address_word(at(addresses[i])) == NULL);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        uintptr_t address = (uintptr_t)1 << bit;
        EXPECT(gi_address_word(at(address)) == NULL);
        EXPECT(gi_address_word(at(UINTPTR_MAX ^ address)) == NULL);
    }
    free(in_heap);
    gi_os_unmap(mapped, 4096);
}

static void no_address_outside_has_a_word(void) {
    gi_address_map_init(RESERVE);
    const gi_reservation *r = gi_os_reservation();
    expect_nothing_outside();
    EXPECT(gi_address_word(r->base - 1) == NULL);
    EXPECT(gi_address_word(r->base + RESERVE) == NULL);
    EXPECT(gi_address_word(r->base - GI_POOL_SIZE) == NULL);
    EXPECT(gi_address_page((uintptr_t)r->base, r->base - 1) >= gi_address_map_pages());
    EXPECT(gi_address_page((uintptr_t)r->base, r->base + RESERVE) >= gi_address_map_pages());
    EXPECT(gi_address_page((uintptr_t)r->base, NULL) >= gi_address_map_pages());
}

static void without_a_reservation_no_address_has_a_word(void) {
    gi_address_map_init(0);
    EXPECT_EQ(gi_address_map_pages(), 0);
    EXPECT_EQ(gi_load_relaxed(&gi_address_base), 0);
    expect_nothing_outside();
    /* And with windows, none outside of these. */
    EXPECT(gi_address_map_cover(at(SOMEWHERE + WINDOW), GI_ARENA_SIZE));
    expect_nothing_outside();
}

static void the_reservation_needs_no_window(void) {
    system_install();
    gi_address_map_init(RESERVE);
    system_refuse_all();
    char *slot = gi_os_reservation()->slots;
    EXPECT(gi_address_map_cover(slot, GI_ARENA_SIZE));
    EXPECT(gi_address_map_cover(gi_os_reservation()->base + RESERVE - GI_ARENA_SIZE, GI_ARENA_SIZE));
    EXPECT_EQ(shared_get(&system_counts.meant), 0);
}

/* --- windows ---------------------------------------------------------------------------------- */

/* Each page of the range keeps a word and a descriptor of its own. */
static void expect_pages(uintptr_t start, size_t size) {
    for (uintptr_t page = start; page < start + size; page += GI_POOL_SIZE) {
        EXPECT_EQ(word_at(page), GI_WORD_NO_ARENA);
        EXPECT(gi_address_word(at(page)) == gi_address_word(at(page + GI_POOL_SIZE - 1)));
        gi_store_relaxed(gi_address_word(at(page)), (uint32_t)(page >> GI_POOL_SHIFT));
        EXPECT(gi_address_pool(at(page)) == gi_address_pool(at(page + GI_POOL_SIZE - 1)));
        EXPECT_EQ((uintptr_t)gi_address_pool(at(page)) % _Alignof(gi_pool), 0);
        gi_address_pool(at(page))->memory = (char *)page;
    }
    for (uintptr_t page = start; page < start + size; page += GI_POOL_SIZE) {
        EXPECT_EQ(word_at(page), (uint32_t)(page >> GI_POOL_SHIFT));
        EXPECT(gi_address_pool(at(page))->memory == (char *)page);
    }
    for (uintptr_t page = start; page < start + size; page += GI_POOL_SIZE) {
        gi_store_relaxed(gi_address_word(at(page)), GI_WORD_NO_ARENA);
    }
}

static void a_window_covers_what_was_asked_for(void) {
    gi_address_map_init(RESERVE);
    EXPECT(gi_address_map_cover(at(SOMEWHERE + 5 * GI_POOL_SIZE), GI_ARENA_SIZE));
    expect_pages(SOMEWHERE + 5 * GI_POOL_SIZE, GI_ARENA_SIZE);
    expect_pages(SOMEWHERE, WINDOW); /* all of the window */
    EXPECT(gi_address_word(at(SOMEWHERE - 1)) == NULL);
    EXPECT(gi_address_word(at(SOMEWHERE + WINDOW)) == NULL);
    EXPECT(gi_address_word(at(SOMEWHERE * 2)) == NULL);
}

static void a_range_across_the_border_of_two_windows_is_covered(void) {
    static const uintptr_t starts[] = {GI_POOL_SIZE, GI_ARENA_SIZE / 2, GI_ARENA_SIZE - GI_POOL_SIZE, 1,
                                       GI_ARENA_SIZE - 1};
    gi_address_map_init(RESERVE);
    for (size_t i = 0; i < LENGTH(starts); i++) {
        uintptr_t border = SOMEWHERE + (2 * i + 1) * WINDOW, start = border - starts[i];
        EXPECT(gi_address_word(at(border - 1)) == NULL);
        EXPECT(gi_address_word(at(border)) == NULL);
        EXPECT(gi_address_map_cover(at(start), GI_ARENA_SIZE));
        uintptr_t first = start & ~(uintptr_t)(GI_POOL_SIZE - 1);
        expect_pages(first, GI_ARENA_SIZE + GI_POOL_SIZE);
    }
    /* What ends at the border needs one window alone. */
    uintptr_t border = SOMEWHERE + 100 * WINDOW;
    EXPECT(gi_address_map_cover(at(border - GI_ARENA_SIZE), GI_ARENA_SIZE));
    EXPECT(gi_address_word(at(border)) == NULL);
    /* More than two at once. */
    EXPECT(gi_address_map_cover(at(border + WINDOW + 1), 2 * WINDOW));
    for (uintptr_t i = 1; i <= 3; i++) {
        EXPECT_EQ(word_at(border + i * WINDOW), GI_WORD_NO_ARENA);
    }
    EXPECT(gi_address_word(at(border + 4 * WINDOW)) == NULL);
}

static void a_window_is_made_once(void) {
    system_install();
    gi_address_map_init(RESERVE);
    EXPECT(gi_address_map_cover(at(SOMEWHERE), GI_ARENA_SIZE));
    gi_page_word *word = gi_address_word(at(SOMEWHERE));
    gi_store_relaxed(word, 77);
    system_refuse_all();
    for (uintptr_t i = 0; i < WINDOW / GI_ARENA_SIZE; i++) {
        EXPECT(gi_address_map_cover(at(SOMEWHERE + i * GI_ARENA_SIZE), GI_ARENA_SIZE));
    }
    EXPECT_EQ(shared_get(&system_counts.meant), 0);
    EXPECT(gi_address_word(at(SOMEWHERE)) == word);
    EXPECT_EQ(gi_load_relaxed(word), 77);
}

static void the_ends_of_the_users_half_are_covered(void) {
    gi_address_map_init(RESERVE);
    EXPECT(gi_address_map_cover(at(4096), GI_ARENA_SIZE));
    expect_pages(0, GI_ARENA_SIZE);
    EXPECT(gi_address_map_cover(at(USER_END - GI_ARENA_SIZE), GI_ARENA_SIZE));
    expect_pages(USER_END - GI_ARENA_SIZE, GI_ARENA_SIZE);
    EXPECT(gi_address_word(at(USER_END)) == NULL);
}

static void out_of_the_users_half_is_refused(void) {
    static const uintptr_t starts[] = {USER_END,          USER_END - 1,       USER_END - GI_ARENA_SIZE + 1,
                                       USER_END + WINDOW, (uintptr_t)1 << 52, UINTPTR_MAX - GI_ARENA_SIZE + 1,
                                       UINTPTR_MAX - 5};
    system_install();
    gi_address_map_init(RESERVE);
    system_refuse_all();
    for (size_t i = 0; i < LENGTH(starts); i++) {
        EXPECT(!gi_address_map_cover(at(starts[i]), GI_ARENA_SIZE));
        EXPECT(gi_address_word(at(starts[i])) == NULL);
    }
    EXPECT_EQ(shared_get(&system_counts.meant), 0); /* it does not come to memory */
}

static void what_memory_is_missing_for_is_not_covered(void) {
    system_install();
    gi_address_map_init(RESERVE);
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true}, .at = 1}); /* the table */
    EXPECT(!gi_address_map_cover(at(SOMEWHERE), GI_ARENA_SIZE));
    EXPECT(gi_address_word(at(SOMEWHERE)) == NULL);
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true}, .at = 2}); /* the first window */
    EXPECT(!gi_address_map_cover(at(SOMEWHERE), GI_ARENA_SIZE));
    EXPECT(gi_address_word(at(SOMEWHERE)) == NULL);
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true}, .at = 2}); /* the second of two */
    uintptr_t start = SOMEWHERE + WINDOW - GI_POOL_SIZE;
    EXPECT(!gi_address_map_cover(at(start), 2 * GI_POOL_SIZE));
    EXPECT(gi_address_word(at(SOMEWHERE + WINDOW)) == NULL);
    /* Now there is memory, and what there was already stays. */
    EXPECT(gi_address_map_cover(at(start), 2 * GI_POOL_SIZE));
    expect_pages(start, 2 * GI_POOL_SIZE);
    EXPECT_EQ(shared_get(&system_counts.meant), 3);
}

/* --- many threads ----------------------------------------------------------------------------- */

/* Thread i covers windows of its own and one of all, and looks up everybody's. */
static void *cover_and_look_up(void *arg) {
    const size_t self = *(const size_t *)arg;
    for (uintptr_t i = 0; i < ROUNDS(400); i++) {
        uintptr_t window = SOMEWHERE + (i % 16) * WINDOW;
        EXPECT(gi_address_map_cover(at(window + self * GI_ARENA_SIZE), GI_ARENA_SIZE));
        gi_page_word *word = gi_address_word(at(window + self * GI_ARENA_SIZE));
        EXPECT(word != NULL);
        gi_store_relaxed(word, (uint32_t)self + 1);
        for (uintptr_t other = 0; other < 64; other++) {
            const gi_page_word *found = gi_address_word(at(SOMEWHERE + other * WINDOW));
            EXPECT(found == NULL || gi_load_relaxed(found) <= 4);
            if (found != NULL) {
                EXPECT(gi_address_pool(at(SOMEWHERE + other * WINDOW)) != NULL);
            }
        }
        EXPECT_EQ(gi_load_relaxed(word), self + 1);
    }
    return NULL;
}

static struct shared covering;

/* A thread that frees blocks looks up addresses before it has made any window. */
static void *only_look_up(void *arg) {
    (void)arg;
    while (shared_get(&covering) != 0) {
        for (uintptr_t other = 0; other < 64; other++) {
            const gi_page_word *found = gi_address_word(at(SOMEWHERE + other * WINDOW));
            EXPECT(found == NULL || gi_load_relaxed(found) <= 4);
        }
    }
    return NULL;
}

static void windows_are_made_and_read_by_many_threads(void) {
    static size_t selves[4] = {0, 1, 2, 3};
    system_install();
    system_write_new_memory();
    gi_address_map_init(RESERVE);
    shared_set(&covering, 1);
    pthread_t looking = thread_start(only_look_up, NULL);
    threads_run(LENGTH(selves), cover_and_look_up, selves, sizeof(selves[0]));
    shared_set(&covering, 0);
    thread_join(looking);
    for (uintptr_t window = 0; window < 16; window++) {
        for (size_t i = 0; i < LENGTH(selves); i++) {
            EXPECT_EQ(word_at(SOMEWHERE + window * WINDOW + i * GI_ARENA_SIZE), i + 1);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_word_holds_heap_kind_and_class),
        IN_CHILD(every_page_of_the_reservation_has_a_word_and_a_descriptor),
        IN_CHILD(no_address_outside_has_a_word),
        IN_CHILD(without_a_reservation_no_address_has_a_word),
        IN_CHILD(the_reservation_needs_no_window),
        IN_CHILD(a_window_covers_what_was_asked_for),
        IN_CHILD(a_range_across_the_border_of_two_windows_is_covered),
        IN_CHILD(a_window_is_made_once),
        IN_CHILD(the_ends_of_the_users_half_are_covered),
        IN_CHILD(out_of_the_users_half_is_refused),
        IN_CHILD(what_memory_is_missing_for_is_not_covered),
        IN_CHILD(windows_are_made_and_read_by_many_threads),
    };
    return cmocka_run_group_tests_name("address map", tests, NULL, NULL);
}
